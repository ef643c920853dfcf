//! What a machine of a cluster is called by others, read from the machine.
//!
//! ```text
//! ClusterMachine (held), Machine (connected) ─┐
//! MachineStatusSnapshot (stage, boot) ────────┼─▶ changed, or some time ago ─▶ machine ─▶ ClusterMachineIdentity
//! ClusterMachineConfigStatus (configuration) ─┘
//! ```
//!
//! What a machine was called stays while it is not connected, and while it is reset: others look for its member of etcd
//! and for its node until it is gone.

use std::time::Duration;

use corten_base::chain;
use corten_fleet_cluster::Role;
use corten_fleet_resources::cluster::{ClusterMachine, ClusterMachineIdentity};
use corten_fleet_resources::config::ClusterMachineConfigStatus;
use corten_fleet_resources::labels::{CLUSTER, MACHINE_SET, ROLE_CONTROL_PLANE, ROLE_WORKER};
use corten_fleet_resources::link::Link;
use corten_fleet_resources::machine::{Machine, MachineStage, MachineStatusSnapshot};
use corten_resource::{AnyResource, Concern, ItemDriver, Never, Plan, Resource, View, controller};

use crate::machine_calls::MachineCalls;
use crate::rounds::Rounds;

/// The controller that resets machines. As long as it holds a machine, others look for what that was called.
const RESETTER: &str = "ClusterMachineConfigStatusController";
/// Labels of a ClusterMachine that its identity has too.
const LABELS: [&str; 4] = [CLUSTER, MACHINE_SET, ROLE_CONTROL_PLANE, ROLE_WORKER];
/// Between two looks at a machine that does not know yet what it is called.
const SOON: Duration = Duration::from_secs(10);
/// Between two looks at one that does.
const LATER: Duration = Duration::from_secs(3600);

/// What a machine told, and what was known of it then.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// Differs when it may be called otherwise: it booted, or was configured.
    mark: String,
    identity: ClusterMachineIdentity,
}

/// What is seen of a machine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    /// It was not asked, for this reason.
    Away(&'static str),
    /// It did not answer; why.
    Silent(String),
    /// It told this.
    Told(ClusterMachineIdentity),
}

/// Publishes what machines are called.
#[derive(Debug)]
pub(crate) struct ClusterMachineIdentityController<M> {
    calls: M,
    rounds: Rounds<Told>,
}

impl<M: MachineCalls> ClusterMachineIdentityController<M> {
    /// A controller that has asked nobody yet.
    pub(crate) const fn new(calls: M) -> Self {
        Self { calls, rounds: Rounds::new() }
    }
}

controller!(impl<M: MachineCalls> ClusterMachineIdentityController<M>, "ClusterMachineIdentityController",
    inputs: [strong ClusterMachine, weak Machine, weak Link, weak MachineStatusSnapshot,
        weak ClusterMachineConfigStatus],
    outputs: [exclusive ClusterMachineIdentity]);

impl<M: MachineCalls> ItemDriver for ClusterMachineIdentityController<M> {
    type Observed = Seen;
    type Op = Never;
    const PARALLEL: usize = 32;

    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Seen> {
        let Some(machine) = view.get::<ClusterMachine>(item) else {
            self.rounds.forget(item);
            return Ok(Seen::Away("it leaves"));
        };
        let mark = match reachable(item, view) {
            Ok(mark) => mark,
            Err(why) => return Ok(Seen::Away(why)),
        };
        if let Some((age, told)) = self.rounds.last(item)
            && told.mark == mark
            && age < pause(machine, &told.identity)
        {
            return Ok(Seen::Told(told.identity));
        }
        let cluster = machine.metadata.labels.get(CLUSTER).map(String::as_str).unwrap_or_default();
        match self.calls.identity(cluster, item).await {
            Ok(identity) => {
                self.rounds.note(item, Told { mark, identity: identity.clone() });
                Ok(Seen::Told(identity))
            }
            Err(error) => Ok(Seen::Silent(chain(&error))),
        }
    }

    fn plan(&self, item: &str, view: &View<Self>, seen: &Seen) -> Plan<Self, Never> {
        let mut plan = Plan::new();
        let Some(machine) = view.get::<ClusterMachine>(item) else {
            if view.tearing_down::<ClusterMachine>().into_iter().any(is_resetting) {
                plan.keep::<ClusterMachineIdentity>();
            }
            return plan;
        };
        match seen {
            Seen::Away(why) => {
                plan.keep::<ClusterMachineIdentity>();
                plan.waiting(*why)
            }
            Seen::Silent(why) => {
                plan.keep::<ClusterMachineIdentity>();
                plan.waiting(format!("an answer of the machine: {why}")).again_in(SOON)
            }
            Seen::Told(identity) => {
                plan.put_with(item, identity.clone(), |metadata| {
                    let labels = machine.metadata.labels.iter();
                    let own = labels.filter(|(key, _)| LABELS.contains(&key.as_str()));
                    metadata.labels = own.map(|(key, value)| (key.clone(), value.clone())).collect();
                });
                for what in lacks(machine, identity) {
                    plan.missing(format!("the machine to know {what}; it is asked again until it does"));
                }
                plan.again_in(pause(machine, identity))
            }
        }
    }

    async fn apply(&self, _: &str, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}

fn is_resetting(machine: &Resource<ClusterMachine>) -> bool {
    machine.metadata.finalizers.iter().any(|holder| holder == RESETTER)
}

/// What a machine does not know of itself yet.
fn lacks(machine: &Resource<ClusterMachine>, identity: &ClusterMachineIdentity) -> Vec<&'static str> {
    let is_control_plane = Role::of(&machine.metadata.labels) == Some(Role::ControlPlane);
    let rules = [
        (identity.node_identity.is_empty(), "its identity at discovery services"),
        (identity.nodename.is_empty(), "its name in Kubernetes"),
        (is_control_plane && identity.etcd_member_id == 0, "its member of etcd, which it has once etcd runs"),
    ];
    rules.iter().filter(|(is_lacking, _)| *is_lacking).map(|(_, what)| *what).collect()
}

/// Until a machine is asked again.
fn pause(machine: &Resource<ClusterMachine>, identity: &ClusterMachineIdentity) -> Duration {
    if lacks(machine, identity).is_empty() { LATER } else { SOON }
}

/// The mark of a machine that can be asked; the error is what it waits for.
fn reachable<M: MachineCalls>(
    item: &str,
    view: &View<ClusterMachineIdentityController<M>>,
) -> Result<String, &'static str> {
    if !view.get::<Machine>(item).is_some_and(|machine| machine.connected) {
        return Err("the tunnel of the machine to be up; switch it on, or look after its network");
    }
    let snapshot = view.get::<MachineStatusSnapshot>(item);
    let event = snapshot.and_then(|snapshot| snapshot.machine_status.as_ref());
    let stage = event.map(|event| event.stage).unwrap_or_default();
    if !matches!(stage, MachineStage::Booting | MachineStage::Running) {
        return Err("the machine to start with the configuration of its cluster, of which its \
                    ClusterMachineConfigStatus tells");
    }
    let boot = snapshot.map(|snapshot| snapshot.boot_id.as_str()).unwrap_or_default();
    let key = view.get::<Link>(item).map(|link| link.node_public_key.as_str()).unwrap_or_default();
    let config = view.get::<ClusterMachineConfigStatus>(item);
    let config = config.map(|status| status.cluster_machine_config_sha256.as_str()).unwrap_or_default();
    Ok(format!("{key} {boot} {stage:?} {config}"))
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::machine::MachineStatusEvent;
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::{Recorder, control_plane, registry};

    fn snapshot(stage: MachineStage, boot_id: &str) -> AnyResource {
        let spec = MachineStatusSnapshot {
            machine_status: Some(MachineStatusEvent { stage, status: None }),
            boot_id: boot_id.to_owned(),
            ..MachineStatusSnapshot::default()
        };
        resource("a", spec)
    }

    fn started(recorder: &Recorder) -> TestRuntime {
        let runtime = TestRuntime::new(registry(), |runtime| {
            runtime.register_items(ClusterMachineIdentityController::new(recorder.clone()));
        });
        runtime.put(control_plane("a"));
        runtime.put(resource("a", Machine { connected: true, ..Machine::default() }));
        runtime
    }

    fn identity(etcd_member_id: u64) -> ClusterMachineIdentity {
        ClusterMachineIdentity {
            node_identity: "id".to_owned(),
            etcd_member_id,
            nodename: "a".to_owned(),
            ..ClusterMachineIdentity::default()
        }
    }

    fn found(runtime: &TestRuntime) -> Option<Resource<ClusterMachineIdentity>> {
        runtime.state().get::<ClusterMachineIdentity>("a")
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_is_asked_until_it_knows_all_and_again_when_it_booted() {
        let recorder = Recorder::default();
        let runtime = started(&recorder);
        runtime.put(snapshot(MachineStage::Maintenance, "1"));
        runtime.quiet().await;
        assert_eq!((recorder.asked(), found(&runtime).is_some()), (0, false));
        recorder.set(|told| drop(told.identities.insert("a".to_owned(), identity(0))));
        runtime.put(snapshot(MachineStage::Booting, "1"));
        runtime.quiet().await;
        assert_eq!(found(&runtime).map(|found| found.etcd_member_id), Some(0));
        let status = runtime.status("ClusterMachineIdentityController/a").expect("it waits");
        assert!(status.reason.contains("its member of etcd"), "{}", status.reason);
        recorder.set(|told| drop(told.identities.insert("a".to_owned(), identity(7))));
        runtime.advance(SOON + Duration::from_secs(1)).await;
        let told = found(&runtime).expect("an identity");
        assert_eq!(told.etcd_member_id, 7);
        assert!(told.metadata.labels.contains_key(ROLE_CONTROL_PLANE));
        let asked = recorder.asked();
        runtime.advance(SOON * 6).await;
        assert_eq!(recorder.asked(), asked, "it knows all");
        runtime.put(snapshot(MachineStage::Booting, "2"));
        runtime.quiet().await;
        assert_eq!(recorder.asked(), asked + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_machine_was_called_stays_while_it_is_away_and_while_it_is_reset() {
        let recorder = Recorder::default();
        recorder.set(|told| drop(told.identities.insert("a".to_owned(), identity(7))));
        let runtime = started(&recorder);
        runtime.put(snapshot(MachineStage::Running, "1"));
        runtime.quiet().await;
        runtime.put(resource("a", Machine::default()));
        runtime.quiet().await;
        assert!(found(&runtime).is_some(), "it is away");
        let pointer = control_plane("a").pointer();
        runtime.state().add_finalizer(&pointer, RESETTER).expect("held");
        runtime.state().remove::<ClusterMachine>("", "a").expect("torn down");
        runtime.quiet().await;
        assert!(found(&runtime).is_some(), "it is reset");
        runtime.state().remove_finalizer(&pointer, RESETTER).expect("released");
        runtime.quiet().await;
        assert!(found(&runtime).is_none());
    }
}
