//! What a machine set needs to know of its cluster.
//!
//! ```text
//! Cluster, its MachineSets ─▶ one MachineSetCluster for each set
//! ```
//!
//! A set names its cluster, and a cluster does not name its sets. Without this, each change of one cluster would have
//! the sets of all clusters planned anew, or none.

use corten_fleet_resources::cluster::{Cluster, MachineSet};
use corten_fleet_resources::labels::CLUSTER;
use corten_resource::{
    AnyResource, Concern, ItemTransform, Plan, Registry, Resource, Spec, View, controller,
};

use crate::view::{all, any, is_locked};

/// What a machine set needs to know of its cluster, by the set.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineSetClusters.corten.dev", namespace = "ephemeral", internal)]
pub struct MachineSetCluster {
    /// Version of Kubernetes that is wanted, without `v`.
    #[field(1, "kubernetesversion")]
    pub kubernetes_version: String,
    /// Nothing of the cluster is changed.
    #[field(2, "locked")]
    pub locked: bool,
    /// The cluster goes away.
    #[field(3, "going")]
    pub going: bool,
}

/// Registers the type by which clusters wake their machine sets; the state of the manager must know it.
pub fn types(registry: &mut Registry) {
    registry.register::<MachineSetCluster>();
}

/// Tells machine sets of their clusters.
#[derive(Debug)]
pub struct MachineSetClusterController;

controller!(MachineSetClusterController, "MachineSetClusterController",
    inputs: [weak Cluster, weak MachineSet],
    outputs: [exclusive MachineSetCluster]);

impl ItemTransform for MachineSetClusterController {
    fn concern(resource: &AnyResource) -> Concern {
        match resource.metadata().kind == Cluster::DEFINITION.kind {
            true => Concern::by_id(resource),
            false => Concern::by_label(resource, CLUSTER),
        }
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(cluster) = any::<Cluster, _>(view) else { return plan };
        let known = MachineSetCluster {
            kubernetes_version: cluster.kubernetes_version.clone(),
            locked: is_locked(&cluster.metadata),
            going: cluster.metadata.is_tearing_down(),
        };
        for set in all::<MachineSet, _>(view) {
            plan.put_with(set.id(), known.clone(), |metadata| {
                metadata.labels.insert(CLUSTER.to_owned(), item.to_owned());
            });
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::labels::annotation::{CLUSTER_IMPORT_IS_IN_PROGRESS, CLUSTER_LOCKED};
    use corten_resource::testing::TestRuntime;

    use super::*;
    use crate::testing::{CONTROL_PLANES, WORKERS, annotated, cluster, machine_set, registry};

    fn started() -> TestRuntime {
        TestRuntime::new(registry(), |runtime| {
            runtime.register_item_transform(MachineSetClusterController);
        })
    }

    fn is_locked(runtime: &TestRuntime, set: &str) -> Option<bool> {
        runtime.state().get::<MachineSetCluster>(set).map(|known| known.locked)
    }

    #[tokio::test(start_paused = true)]
    async fn all_sets_of_a_cluster_learn_that_it_is_locked_unless_it_is_being_imported() {
        let runtime = started();
        runtime.put(cluster());
        for set in [CONTROL_PLANES, WORKERS] {
            runtime.put(machine_set(set));
        }
        runtime.quiet().await;
        assert_eq!(is_locked(&runtime, WORKERS), Some(false));
        runtime.put(annotated(cluster(), &[CLUSTER_LOCKED]));
        runtime.quiet().await;
        assert_eq!(is_locked(&runtime, WORKERS), Some(true));
        assert_eq!(is_locked(&runtime, CONTROL_PLANES), Some(true));
        runtime.put(annotated(cluster(), &[CLUSTER_LOCKED, CLUSTER_IMPORT_IS_IN_PROGRESS]));
        runtime.quiet().await;
        assert_eq!(is_locked(&runtime, WORKERS), Some(false));
    }
}
