//! What a cluster has of its machines, each in a resource of its own.
//!
//! ```text
//! ClusterMachines of the control plane, MachineStatus (address) ─▶ ClusterEndpoint: those that came first in front
//! MachineStatus (findings) ──────────────────────────────────────▶ ClusterDiagnostics: who has some, and how many
//! ClusterMachineIdentity (name in Kubernetes) ───────────────────▶ ClusterKubernetesNodes: the names, sorted
//! ```

use std::collections::BTreeSet;

use corten_fleet_resources::cluster::{
    Cluster, ClusterDestroyStatus, ClusterDiagnostics, ClusterEndpoint, ClusterKubernetesNodes,
    ClusterMachine, ClusterMachineIdentity, DiagnosedNode,
};
use corten_fleet_resources::machine::MachineStatus;
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, Resource, View, controller};

use crate::{roll, scope};

/// Publishes what a cluster has of its machines.
#[derive(Debug)]
pub(crate) struct ClusterMembersController;

controller!(ClusterMembersController, "ClusterMembersController",
    inputs: [strong Cluster, weak ClusterDestroyStatus, weak ClusterMachine, weak MachineStatus,
        weak ClusterMachineIdentity],
    outputs: [exclusive ClusterEndpoint, exclusive ClusterDiagnostics, exclusive ClusterKubernetesNodes]);

impl ItemTransform for ClusterMembersController {
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
        let nodes = view.list::<MachineStatus>().into_iter().filter_map(diagnosed).collect();
        plan.put(item, ClusterDiagnostics { nodes });
        plan.put(item, ClusterKubernetesNodes { nodes: names(view).into_iter().collect() });
        match is_empty {
            true => plan.waiting("a machine in its control plane; add one"),
            false => plan,
        }
    }
}

/// A machine that finds something wrong with itself.
fn diagnosed(status: &Resource<MachineStatus>) -> Option<DiagnosedNode> {
    let num_diagnostics = u32::try_from(status.diagnostics.len()).unwrap_or(u32::MAX);
    (num_diagnostics > 0).then(|| DiagnosedNode { id: status.id().to_owned(), num_diagnostics })
}

/// Names of the machines in Kubernetes, as far as they know them.
fn names(view: &View<ClusterMembersController>) -> BTreeSet<String> {
    let names = view.list::<ClusterMachineIdentity>().into_iter().map(|identity| identity.nodename.clone());
    names.filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::machine::Diagnostic;
    use corten_resource::testing::{check, resource};

    use super::*;
    use crate::testing::{control_plane, identity, in_cluster, machine_status, worker};

    #[test]
    fn a_cluster_has_the_addresses_of_its_control_plane_and_findings_and_names_of_all_its_machines() {
        let ill = MachineStatus { diagnostics: vec![Diagnostic::default(); 2], ..MachineStatus::default() };
        let management_addresses = vec!["fdae::1".to_owned()];
        let diagnosed = DiagnosedNode { id: "c".to_owned(), num_diagnostics: 2 };
        check(
            corten_fleet_resources::registry(),
            |runtime| {
                runtime.register_item_transform(ClusterMembersController);
            },
            &[
                resource("prod", Cluster::default()),
                control_plane("a"),
                worker("b"),
                machine_status("a", "fdae::1", true),
                machine_status("b", "fdae::2", true),
                in_cluster(resource("c", ill)),
                identity("a", 1, "n2"),
                identity("b", 0, "n1"),
                identity("c", 0, ""),
            ],
            &[
                resource("prod", ClusterEndpoint { management_addresses }),
                resource("prod", ClusterDiagnostics { nodes: vec![diagnosed] }),
                resource("prod", ClusterKubernetesNodes { nodes: ["n1", "n2"].map(str::to_owned).to_vec() }),
            ],
        );
    }
}
