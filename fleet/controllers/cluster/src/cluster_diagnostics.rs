//! The machines of a cluster that find something wrong with themselves.
//!
//! ```text
//! MachineStatus of each machine ─▶ ClusterDiagnostics: those with findings, and how many
//! ```

use corten_fleet_resources::cluster::{Cluster, ClusterDestroyStatus, ClusterDiagnostics, DiagnosedNode};
use corten_fleet_resources::machine::MachineStatus;
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, Resource, View, controller};

use crate::scope;

/// Publishes which machines find something wrong with themselves.
#[derive(Debug)]
pub(crate) struct ClusterDiagnosticsController;

controller!(ClusterDiagnosticsController, "ClusterDiagnosticsController",
    inputs: [strong Cluster, weak ClusterDestroyStatus, weak MachineStatus],
    outputs: [exclusive ClusterDiagnostics]);

impl ItemTransform for ClusterDiagnosticsController {
    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        if scope::living(view).is_none() {
            return plan;
        }
        let nodes = view.list::<MachineStatus>().into_iter().filter_map(diagnosed).collect();
        plan.put(item, ClusterDiagnostics { nodes });
        plan
    }
}

fn diagnosed(status: &Resource<MachineStatus>) -> Option<DiagnosedNode> {
    let num_diagnostics = u32::try_from(status.diagnostics.len()).unwrap_or(u32::MAX);
    (num_diagnostics > 0).then(|| DiagnosedNode { id: status.id().to_owned(), num_diagnostics })
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::machine::Diagnostic;
    use corten_resource::testing::{check, resource};

    use super::*;
    use crate::testing::{in_cluster, machine_status};

    #[test]
    fn machines_with_findings_are_listed() {
        let ill = MachineStatus { diagnostics: vec![Diagnostic::default(); 2], ..MachineStatus::default() };
        let nodes = vec![DiagnosedNode { id: "b".to_owned(), num_diagnostics: 2 }];
        check(
            corten_fleet_resources::registry(),
            |runtime| {
                runtime.register_item_transform(ClusterDiagnosticsController);
            },
            &[
                resource("prod", Cluster::default()),
                machine_status("a", "fdae::1", true),
                in_cluster(resource("b", ill)),
            ],
            &[resource("prod", ClusterDiagnostics { nodes })],
        );
    }
}
