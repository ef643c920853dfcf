//! Which cluster a resource belongs to, and how long what was made for a cluster stays.
//!
//! ```text
//! Cluster runs ────────────────────────────────────────────▶ it stays
//! Cluster is torn down, and its sets or machines are there ─▶ it stays: machines are reset with it
//! Cluster is torn down, and they are gone ─▶ ClusterDestroyStatus says so ─▶ it goes, and the Cluster after it
//! ```

use corten_fleet_cluster::status::remains;
use corten_fleet_resources::cluster::{
    Cluster, ClusterDestroyStatus, ClusterMachine, ClusterMachineIdentity, ClusterMachineStatus,
    ControlPlaneStatus, MachineSet, MachineSetNode, MachineSetStatus,
};
use corten_fleet_resources::config::{ClusterMachineConfigStatus, ConfigPatch};
use corten_fleet_resources::kubernetes::{KubernetesHealthCheck, KubernetesManifestGroup};
use corten_fleet_resources::labels::{CLUSTER, annotation};
use corten_fleet_resources::machine::{ExtensionsConfiguration, MachineStatus};
use corten_resource::{AnyResource, Concern, Reads, Resource, Spec, View};

/// The controller that empties clusters which are removed. As long as it holds a cluster, there may be machines in it.
pub(crate) const CLEANER: &str = "ClusterDestroyStatusController";

/// Types whose resources name their cluster by a label. All others that concern a cluster have its name as their id.
const LABELLED: [&str; 13] = [
    MachineSet::DEFINITION.kind,
    MachineSetStatus::DEFINITION.kind,
    MachineSetNode::DEFINITION.kind,
    ClusterMachine::DEFINITION.kind,
    ClusterMachineStatus::DEFINITION.kind,
    ClusterMachineConfigStatus::DEFINITION.kind,
    ClusterMachineIdentity::DEFINITION.kind,
    ControlPlaneStatus::DEFINITION.kind,
    MachineStatus::DEFINITION.kind,
    ConfigPatch::DEFINITION.kind,
    ExtensionsConfiguration::DEFINITION.kind,
    KubernetesManifestGroup::DEFINITION.kind,
    KubernetesHealthCheck::DEFINITION.kind,
];

/// The cluster that a resource concerns.
pub(crate) fn cluster(resource: &AnyResource) -> Concern {
    match LABELLED.contains(&resource.metadata().kind.as_str()) {
        true => Concern::by_label(resource, CLUSTER),
        false => Concern::by_id(resource),
    }
}

/// The cluster of the item, as long as what was made for it is needed.
pub(crate) fn living<C>(view: &View<C>) -> Option<&Resource<Cluster>>
where
    C: Reads<Cluster> + Reads<ClusterDestroyStatus>,
{
    let running = view.list::<Cluster>().into_iter().next();
    running.or_else(|| {
        let statuses = view.list::<ClusterDestroyStatus>();
        let is_empty = statuses.iter().any(|status| status.phase == remains(0, 0));
        let going = view.tearing_down::<Cluster>().into_iter().next()?;
        (!is_empty && is_held(going)).then_some(going)
    })
}

fn is_held(cluster: &Resource<Cluster>) -> bool {
    cluster.metadata.finalizers.iter().any(|holder| holder == CLEANER)
}

/// Whether nothing is removed from a cluster by itself: a person locked it, or its machines are still being taken over,
/// so that what looks left behind may be one of them.
pub(crate) fn is_left_alone(cluster: &Resource<Cluster>) -> bool {
    let annotations = &cluster.metadata.annotations;
    [annotation::CLUSTER_LOCKED, annotation::CLUSTER_IMPORT_IS_IN_PROGRESS]
        .iter()
        .any(|key| annotations.contains_key(*key))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;
    use corten_resource::{Phase, controller};

    use super::*;

    struct Reader;
    controller!(Reader, "test.Reader", inputs: [weak Cluster, weak ClusterDestroyStatus], outputs: []);

    fn is_living(resources: impl IntoIterator<Item = AnyResource>) -> bool {
        living(&View::<Reader>::of(resources, UNIX_EPOCH)).is_some()
    }

    fn going(holder: &str) -> AnyResource {
        resource("prod", Cluster::default()).edit(|metadata| {
            metadata.phase = Phase::TearingDown;
            metadata.add_finalizer(holder);
        })
    }

    fn phase(phase: String) -> AnyResource {
        resource("prod", ClusterDestroyStatus { phase })
    }

    #[test]
    fn what_was_made_for_a_cluster_stays_until_its_machines_are_gone() {
        assert!(is_living([resource("prod", Cluster::default())]));
        assert!(is_living([going(CLEANER)]));
        assert!(is_living([going(CLEANER), phase(remains(1, 3))]));
        assert!(!is_living([going(CLEANER), phase(remains(0, 0))]));
        assert!(!is_living([going("somebody")]), "nobody empties it any more");
        assert!(!is_living([]));
    }

    #[test]
    fn resources_name_their_cluster_by_label_or_id() {
        let machine = resource("m1", ClusterMachine::default());
        assert_eq!(cluster(&machine), Concern::Nobody);
        let machine = machine.edit(|metadata| drop(metadata.labels.insert(CLUSTER.into(), "prod".into())));
        assert_eq!(cluster(&machine), Concern::Item("prod".to_owned()));
        assert_eq!(cluster(&resource("prod", Cluster::default())), Concern::Item("prod".to_owned()));
    }
}
