//! Which machine a name stands for (fleet.md 1.10), and how it is called.
//!
//! ```text
//! UUID ──────────────────────────────────────────▶ Machine ─▶ Target: address, boot, cluster, maintenance, version
//! name of the node, host name, address ─▶ UUIDs ──▶ the only one in the named cluster, else the only one at all
//! ```
//!
//! What a caller may not call does not exist for it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use corten_fleet_controllers_machine::connect::Keyring as _;
use corten_fleet_resources::cluster::{ClusterMachine, ClusterMachineIdentity};
use corten_fleet_resources::labels;
use corten_fleet_resources::link::Link;
use corten_fleet_resources::machine::{Machine, MachineStatus};
use corten_resource::{AnyResource, Pointer, Spec, State};
use tonic::Status;

use super::gate::Place;

/// Machines of an ambiguous name that an error tells.
const SHOWN_MAX: usize = 5;

/// A machine, and how it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its UUID.
    pub(crate) machine: String,
    /// Its address in the tunnel.
    pub(crate) address: Ipv6Addr,
    /// Its WireGuard key; another one means that it booted since.
    pub(crate) boot: String,
    /// Name of its cluster.
    pub(crate) cluster: Option<String>,
    /// What it is.
    pub(crate) place: Place,
    /// Its version; empty while that is not known.
    pub(crate) version: String,
}

/// Whom a caller may see: machines of a cluster, or in none.
pub(crate) type Sight<'a> = &'a dyn Fn(&Target) -> bool;

/// The only machine that a name stands for; `cluster` is what the call names.
///
/// # Errors
/// `NotFound` without one, `InvalidArgument` with several.
pub(crate) fn find(
    state: &State,
    name: &str,
    cluster: Option<&str>,
    sight: Sight<'_>,
) -> Result<Target, Status> {
    if let Some(target) = target(state, name).filter(|target| sight(target)) {
        return Ok(target);
    }
    let found = called(state, name).into_iter().filter_map(|id| target(state, &id));
    let (inside, outside): (Vec<Target>, Vec<Target>) = found
        .filter(|target| sight(target))
        .partition(|target| cluster.is_some() && target.cluster.as_deref() == cluster);
    only(name, if inside.is_empty() { outside } else { inside })
}

/// A machine of the control plane of a cluster, one that is connected if there is one; `turn` says which.
///
/// # Errors
/// `FailedPrecondition` when there is none.
pub(crate) fn control_plane(state: &State, cluster: &str, turn: usize) -> Result<Target, Status> {
    let members = all::<ClusterMachine>(state).into_iter().filter(|member| {
        let labels = &member.metadata().labels;
        labels.get(labels::CLUSTER).is_some_and(|name| name == cluster)
            && labels.contains_key(labels::ROLE_CONTROL_PLANE)
    });
    let is_connected = |id: &str| state.get::<Machine>(id).is_some_and(|machine| machine.connected);
    let (connected, away): (Vec<String>, Vec<String>) =
        members.map(|member| member.id().to_owned()).partition(|id| is_connected(id));
    let candidates = if connected.is_empty() { away } else { connected };
    let index = turn.checked_rem(candidates.len()).unwrap_or_default();
    let found = candidates.get(index).and_then(|id| target(state, id));
    found.ok_or_else(|| {
        Status::failed_precondition(format!(
            "cluster {cluster:?} has no machine of the control plane yet; name a machine, or add one to the \
             cluster"
        ))
    })
}

/// The machine with this UUID.
fn target(state: &State, id: &str) -> Option<Target> {
    let machine = state.get::<Machine>(id)?;
    let address = machine.management_address.parse().ok()?;
    let cluster = state.cluster_of(id);
    let status = one::<MachineStatus>(state, id);
    let status = status.as_ref().and_then(|status| status.spec::<MachineStatus>());
    let is_waiting = status.map_or(cluster.is_none(), |status| status.maintenance);
    Some(Target {
        machine: id.to_owned(),
        address,
        boot: state.get::<Link>(id).map(|link| link.spec.node_public_key).unwrap_or_default(),
        cluster,
        place: if is_waiting { Place::Maintenance } else { Place::Member },
        version: status.map(|status| status.talos_version.clone()).unwrap_or_default(),
    })
}

/// UUIDs of all machines that are called so.
fn called(state: &State, name: &str) -> BTreeSet<String> {
    let address = name.parse::<IpAddr>().ok();
    let is_address = |text: &str| {
        let text = text.split_once('/').map_or(text, |(address, _)| address);
        address.is_some() && text.parse::<IpAddr>().ok() == address
    };
    let by_identity = all::<ClusterMachineIdentity>(state).into_iter().filter(|resource| {
        let identity = resource.spec::<ClusterMachineIdentity>();
        identity.is_some_and(|identity| {
            identity.nodename == name || identity.node_ips.iter().any(|text| is_address(text))
        })
    });
    let by_status = all::<MachineStatus>(state).into_iter().filter(|resource| {
        resource.spec::<MachineStatus>().is_some_and(|status| {
            let network = status.network.as_ref();
            is_address(&status.management_address)
                || network.is_some_and(|network| {
                    network.hostname == name || network.addresses.iter().any(|text| is_address(text))
                })
        })
    });
    by_identity.chain(by_status).map(|resource| resource.id().to_owned()).collect()
}

fn only(name: &str, mut found: Vec<Target>) -> Result<Target, Status> {
    match (found.len(), found.pop()) {
        (1, Some(target)) => Ok(target),
        (0, _) | (_, None) => Err(Status::not_found(format!(
            "there is no machine {name:?}; name it by its UUID, by its name in Kubernetes, or by its address"
        ))),
        (count, Some(last)) => {
            let shown = [last].into_iter().chain(found).map(|target| target.machine);
            let shown = shown.take(SHOWN_MAX).collect::<Vec<_>>().join(", ");
            Err(Status::invalid_argument(format!(
                "{name:?} stands for {count} machines ({shown}); name one by its UUID, or name the cluster"
            )))
        }
    }
}

fn one<S: Spec>(state: &State, id: &str) -> Option<AnyResource> {
    state.get_any(&Pointer::new(S::DEFINITION.namespace, S::DEFINITION.kind, id))
}

fn all<S: Spec>(state: &State) -> Vec<AnyResource> {
    state.list_any(S::DEFINITION.namespace, S::DEFINITION.kind)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::testing::{CLUSTER, FREE, ONE, TWO, put, store};

    const EVERYTHING: Sight<'static> = &|_| true;

    fn found(state: &State, name: &str, cluster: Option<&str>) -> Result<String, Code> {
        let found = find(state, name, cluster, EVERYTHING);
        found.map(|target| target.machine).map_err(|status| status.code())
    }

    #[test]
    fn a_machine_is_found_by_each_of_its_names() {
        let state = store();
        for (name, id) in [
            (ONE, ONE),
            ("node-1", ONE),
            ("host-1", ONE),
            ("10.0.0.2", TWO),
            ("fdae:41e4:649b:9303::3", FREE),
            ("fdae:41e4:649b:9303:0:0:0:3", FREE),
        ] {
            assert_eq!(found(&state, name, None).as_deref(), Ok(id), "{name}");
        }
        assert_eq!(found(&state, "10.0.0.9", None), Err(Code::NotFound));
        let target = find(&state, FREE, None, EVERYTHING).expect("found");
        assert_eq!((target.place, target.cluster, target.boot.as_str()), (Place::Maintenance, None, "key 3"));
        let member = find(&state, TWO, None, EVERYTHING).expect("found");
        assert_eq!((member.place, member.cluster.as_deref()), (Place::Member, Some(CLUSTER)));
    }

    #[test]
    fn a_name_counts_in_the_named_cluster_first_and_must_be_the_only_one_beyond() {
        let state = store();
        let nodename = "node-1".to_owned();
        let twin = ClusterMachineIdentity { nodename, ..ClusterMachineIdentity::default() };
        put(&state, FREE, ClusterMachine::default(), &[(labels::CLUSTER, "lab")]);
        put(&state, FREE, twin, &[(labels::CLUSTER, "lab")]);
        assert_eq!(found(&state, "node-1", None), Err(Code::InvalidArgument));
        assert_eq!(found(&state, "node-1", Some("lab")).as_deref(), Ok(FREE));
        assert_eq!(found(&state, "node-1", Some(CLUSTER)).as_deref(), Ok(ONE));
        assert_eq!(found(&state, "node-2", Some("lab")).as_deref(), Ok(TWO), "the only one at all");
    }

    #[test]
    fn what_a_caller_does_not_see_is_not_there() {
        let state = store();
        let sight: Sight<'_> = &|target| target.cluster.is_none();
        for name in [ONE, "node-1", "10.0.0.1"] {
            let status = find(&state, name, None, sight).expect_err("hidden");
            assert_eq!(status.code(), Code::NotFound, "{name}");
        }
    }

    #[test]
    fn a_control_plane_that_is_connected_comes_first() {
        let state = store();
        let away = "44444444-4444-4444-4444-444444444444";
        let machine =
            Machine { management_address: "fdae:41e4:649b:9303::4".to_owned(), ..Machine::default() };
        put(&state, away, machine, &[]);
        let member = &[(labels::CLUSTER, CLUSTER), (labels::ROLE_CONTROL_PLANE, "")];
        put(&state, away, ClusterMachine::default(), member);
        for turn in 0..3 {
            assert_eq!(control_plane(&state, CLUSTER, turn).expect("one").machine, ONE);
        }
        let status = control_plane(&state, "lab", 0).expect_err("none");
        assert_eq!(status.code(), Code::FailedPrecondition);
    }
}
