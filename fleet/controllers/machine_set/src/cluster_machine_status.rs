//! How the members of clusters are.
//!
//! ```text
//! ClusterMachine ─(while it is there)─┐
//! Machine, MachineStatusSnapshot ─────┤
//! ClusterMachineConfig, …Status ──────┼─▶ ClusterMachineStatus, with labels: connected, host name, name in Kubernetes,
//! ClusterMachineIdentity ─────────────┤                                      an update that waits for a lock
//! MachineSetNode (wanted, locked) ────┤
//! NodeForceDestroyRequest ────────────┘
//! ```

use corten_fleet_cluster::Labels;
use corten_fleet_cluster::status::{MachineView, machine};
use corten_fleet_resources::cluster::{
    ClusterMachine, ClusterMachineIdentity, ClusterMachineStatus, MachineSetNode, ProvisionStatus,
};
use corten_fleet_resources::config::{
    ClusterMachineConfig, ClusterMachineConfigStatus, MachinePendingUpdates,
};
use corten_fleet_resources::labels::{
    HOSTNAME, INFRA_PROVIDER_ID, LOCKED_UPDATE, MACHINE_REQUEST, NODE_NAME, annotation, machine_status,
};
use corten_fleet_resources::machine::{
    Machine, MachineStatus, MachineStatusSnapshot, NodeForceDestroyRequest,
};
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, Resource, View, controller};
use sha2::{Digest as _, Sha256};

use crate::view::any;

/// Annotation of a ClusterMachineStatus: a person asked to take the machine out without asking it. Machine sets learn
/// it from here, for a NodeForceDestroyRequest does not say which set it is about.
pub const FORCED: &str = "corten.dev/forced-removal";

/// Publishes how the members of clusters are.
#[derive(Debug)]
pub struct ClusterMachineStatusController;

controller!(ClusterMachineStatusController, "ClusterMachineStatusController",
    inputs: [weak ClusterMachine, weak Machine, weak MachineStatus, weak MachineStatusSnapshot,
        weak MachineSetNode, weak ClusterMachineConfig, weak ClusterMachineConfigStatus,
        weak ClusterMachineIdentity, weak MachinePendingUpdates, weak NodeForceDestroyRequest],
    outputs: [exclusive ClusterMachineStatus]);

impl ItemTransform for ClusterMachineStatusController {
    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(member) = any::<ClusterMachine, _>(view) else { return plan };
        let known = view.get::<Machine>(item);
        let node = view.get::<MachineSetNode>(item);
        let config = Config::of(item, view);
        let provision = known.and_then(|known| provision(&known.metadata.labels));
        let snapshot = view.get::<MachineStatusSnapshot>(item);
        let status = machine(&MachineView {
            snapshot: snapshot.map(|snapshot| &snapshot.spec),
            is_connected: known.is_some_and(|known| known.connected),
            is_removed: known.is_none(),
            is_tearing_down: member.metadata.is_tearing_down(),
            is_unwanted: node.is_none(),
            wanted_sha256: &config.wanted,
            taken_sha256: config.taken,
            generation_error: config.generation_error,
            apply_error: config.apply_error,
            management_address: known.map_or("", |known| known.management_address.as_str()),
            provision: provision.as_ref(),
        });
        let is_locked = node.is_some_and(|node| node.metadata.annotations.contains_key(annotation::LOCKED));
        let is_pending = view.get::<MachinePendingUpdates>(item).is_some() || config.is_outdated();
        let mut labels = member.metadata.labels.clone();
        mark(&mut labels, machine_status::CONNECTED, known.is_some_and(|known| known.connected));
        mark(&mut labels, LOCKED_UPDATE, is_locked && is_pending);
        name(&mut labels, HOSTNAME, hostname(view.get::<MachineStatus>(item)));
        let identity = any::<ClusterMachineIdentity, _>(view);
        name(&mut labels, NODE_NAME, identity.map_or("", |identity| identity.nodename.as_str()));
        let is_forced = view.get::<NodeForceDestroyRequest>(item).is_some();
        plan.put_with(item, status, |metadata| {
            metadata.labels = labels;
            if is_forced {
                metadata.annotations.insert(FORCED.to_owned(), String::new());
            }
        });
        plan
    }
}

/// What is known of the configuration of a machine.
struct Config<'a> {
    /// Hash of the documents that are wanted; empty when there are none.
    wanted: String,
    /// Hash of those that it took.
    taken: &'a str,
    generation_error: &'a str,
    apply_error: &'a str,
}

impl<'a> Config<'a> {
    fn of(item: &str, view: &'a View<ClusterMachineStatusController>) -> Self {
        let wanted = view.get::<ClusterMachineConfig>(item);
        let taken = any::<ClusterMachineConfigStatus, _>(view);
        let documents = wanted.map(|wanted| wanted.data.as_slice()).filter(|data| !data.is_empty());
        Self {
            wanted: documents.map(|data| hex::encode(Sha256::digest(data))).unwrap_or_default(),
            taken: taken.map_or("", |taken| taken.cluster_machine_config_sha256.as_str()),
            generation_error: wanted.map_or("", |wanted| wanted.generation_error.as_str()),
            apply_error: taken.map_or("", |taken| taken.last_config_error.as_str()),
        }
    }

    /// Whether the machine took a configuration, and another one is wanted now.
    fn is_outdated(&self) -> bool {
        !self.taken.is_empty() && !self.wanted.is_empty() && self.wanted != self.taken
    }
}

/// Who made a machine, if it was made on request.
fn provision(labels: &Labels) -> Option<ProvisionStatus> {
    let label = |key: &str| labels.get(key).cloned();
    Some(ProvisionStatus { provider_id: label(INFRA_PROVIDER_ID)?, request_id: label(MACHINE_REQUEST)? })
}

fn hostname(status: Option<&Resource<MachineStatus>>) -> &str {
    let network = status.and_then(|status| status.network.as_ref());
    network.map_or("", |network| network.hostname.as_str())
}

/// Sets a label that says all by being there.
fn mark(labels: &mut Labels, key: &str, holds: bool) {
    if holds {
        labels.insert(key.to_owned(), String::new());
    }
}

/// Sets a label that has something to say.
fn name(labels: &mut Labels, key: &str, value: &str) {
    if !value.is_empty() {
        labels.insert(key.to_owned(), value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::{ClusterMachineStage, ConfigApplyStatus};
    use corten_fleet_resources::labels::{CLUSTER, MACHINE_SET};
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::{NAME, WORKERS, annotated, in_set, labelled, node, registry};

    fn started() -> TestRuntime {
        let runtime = TestRuntime::new(registry(), |runtime| {
            runtime.register_item_transform(ClusterMachineStatusController);
        });
        runtime.put(in_set(resource("m1", ClusterMachine::default()), WORKERS));
        runtime
    }

    fn found(runtime: &TestRuntime) -> Resource<ClusterMachineStatus> {
        runtime.state().get("m1").expect("a status")
    }

    fn took(sha256: &str) -> AnyResource {
        let status = ClusterMachineConfigStatus {
            cluster_machine_config_sha256: sha256.to_owned(),
            ..ClusterMachineConfigStatus::default()
        };
        resource("m1", status)
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_names_the_set_the_connection_and_the_maker_of_its_machine() {
        let runtime = started();
        let management_address = "fdae::7".to_owned();
        let machine = Machine { management_address, connected: true, use_grpc_tunnel: false };
        let made = [(INFRA_PROVIDER_ID, "cloud"), (MACHINE_REQUEST, "r1")];
        runtime.put(labelled(resource("m1", machine), &made));
        let nodename = "n1".to_owned();
        runtime.put(resource("m1", ClusterMachineIdentity { nodename, ..ClusterMachineIdentity::default() }));
        runtime.quiet().await;
        let status = found(&runtime);
        let label = |key: &str| status.metadata.labels.get(key).map(String::as_str);
        assert_eq!((label(CLUSTER), label(MACHINE_SET)), (Some(NAME), Some(WORKERS)));
        assert_eq!((label(machine_status::CONNECTED), label(NODE_NAME)), (Some(""), Some("n1")));
        let provision = status.provision_status.as_ref().expect("made on request");
        assert_eq!((provision.provider_id.as_str(), provision.request_id.as_str()), ("cloud", "r1"));
        assert_eq!(status.management_address, "fdae::7");
        assert_eq!(status.stage, ClusterMachineStage::BeforeDestroy, "no set wants it");
        assert!(!status.is_removed);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_locked_machine_waits_for_is_a_label() {
        let runtime = started();
        runtime.put(node("m1", WORKERS));
        let data = b"machine: {}\n".to_vec();
        let hash = hex::encode(Sha256::digest(&data));
        runtime.put(resource("m1", ClusterMachineConfig { data, ..ClusterMachineConfig::default() }));
        runtime.put(took("other"));
        runtime.quiet().await;
        let is_locked_update = || found(&runtime).metadata.labels.contains_key(LOCKED_UPDATE);
        assert_eq!(found(&runtime).config_apply_status, ConfigApplyStatus::Pending);
        assert!(!is_locked_update());
        runtime.put(annotated(node("m1", WORKERS), &[annotation::LOCKED]));
        runtime.quiet().await;
        assert!(is_locked_update());
        runtime.put(took(&hash));
        runtime.quiet().await;
        assert!(!is_locked_update() && found(&runtime).config_up_to_date);
    }

    #[tokio::test(start_paused = true)]
    async fn a_forced_removal_is_noted_and_the_status_lives_as_long_as_the_member() {
        let runtime = started();
        runtime.put(resource("m1", NodeForceDestroyRequest {}));
        runtime.quiet().await;
        assert!(found(&runtime).metadata.annotations.contains_key(FORCED));
        assert!(found(&runtime).is_removed, "the manager does not know the machine any more");
        runtime.state().remove::<ClusterMachine>("", "m1").expect("gone");
        runtime.quiet().await;
        assert!(runtime.state().get::<ClusterMachineStatus>("m1").is_none());
    }
}
