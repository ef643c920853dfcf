//! Where the control plane of a cluster is reached.
//!
//! ```text
//! ClusterMachines of the control plane, MachineStatus (address) ─▶ ClusterEndpoint: the first ones in front
//! ```

use corten_fleet_resources::cluster::{Cluster, ClusterDestroyStatus, ClusterEndpoint, ClusterMachine};
use corten_fleet_resources::machine::MachineStatus;
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, View, controller};

use crate::{roll, scope};

/// Publishes the addresses of control planes.
#[derive(Debug)]
pub(crate) struct ClusterEndpointController;

controller!(ClusterEndpointController, "ClusterEndpointController",
    inputs: [strong Cluster, weak ClusterDestroyStatus, weak ClusterMachine, weak MachineStatus],
    outputs: [exclusive ClusterEndpoint]);

impl ItemTransform for ClusterEndpointController {
    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        if scope::living(view).is_none() {
            return plan;
        }
        let control_planes = roll::control_planes(view);
        let there = control_planes.iter().filter(|member| !member.is_leaving && !member.address.is_empty());
        let management_addresses: Vec<String> = there.map(|member| member.address.to_owned()).collect();
        let is_empty = management_addresses.is_empty();
        plan.put(item, ClusterEndpoint { management_addresses });
        match is_empty {
            true => plan.waiting("a machine in its control plane; add one"),
            false => plan,
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{check, resource};

    use super::*;
    use crate::testing::{control_plane, machine_status, worker};

    #[test]
    fn only_the_control_plane_is_an_endpoint() {
        let management_addresses = vec!["fdae::1".to_owned()];
        check(
            corten_fleet_resources::registry(),
            |runtime| {
                runtime.register_item_transform(ClusterEndpointController);
            },
            &[
                resource("prod", Cluster::default()),
                control_plane("a"),
                control_plane("b"),
                worker("w"),
                machine_status("a", "fdae::1", true),
                machine_status("w", "fdae::3", true),
            ],
            &[resource("prod", ClusterEndpoint { management_addresses })],
        );
    }
}
