//! The nodes of a cluster as Kubernetes is to have them.
//!
//! ```text
//! ClusterMachineIdentity of each machine ─▶ ClusterKubernetesNodes: their names, sorted
//! ```

use std::collections::BTreeSet;

use corten_fleet_resources::cluster::{
    Cluster, ClusterDestroyStatus, ClusterKubernetesNodes, ClusterMachineIdentity,
};
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, View, controller};

use crate::scope;

/// Publishes the names of nodes that are known.
#[derive(Debug)]
pub(crate) struct ClusterKubernetesNodesController;

controller!(ClusterKubernetesNodesController, "ClusterKubernetesNodesController",
    inputs: [strong Cluster, weak ClusterDestroyStatus, weak ClusterMachineIdentity],
    outputs: [exclusive ClusterKubernetesNodes]);

impl ItemTransform for ClusterKubernetesNodesController {
    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        if scope::living(view).is_none() {
            return plan;
        }
        let identities = view.list::<ClusterMachineIdentity>().into_iter();
        let names = identities.map(|identity| identity.nodename.clone()).filter(|name| !name.is_empty());
        let names: BTreeSet<String> = names.collect();
        plan.put(item, ClusterKubernetesNodes { nodes: names.into_iter().collect() });
        plan
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{check, resource};

    use super::*;
    use crate::testing::identity;

    #[test]
    fn machines_that_know_their_name_are_nodes() {
        let nodes = vec!["a".to_owned(), "b".to_owned()];
        check(
            corten_fleet_resources::registry(),
            |runtime| {
                runtime.register_item_transform(ClusterKubernetesNodesController);
            },
            &[
                resource("prod", Cluster::default()),
                identity("m1", 1, "b"),
                identity("m2", 0, "a"),
                identity("m3", 0, ""),
            ],
            &[resource("prod", ClusterKubernetesNodes { nodes })],
        );
    }
}
