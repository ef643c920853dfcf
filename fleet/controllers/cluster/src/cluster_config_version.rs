//! The version whose form the configurations of a cluster keep for life (fleet.md 13, point 31).
//!
//! ```text
//! Cluster (held), its version when it is seen first ─▶ ClusterConfigVersion
//! ```

use corten_fleet_cluster::TalosVersion;
use corten_fleet_resources::cluster::{Cluster, ClusterConfigVersion, ClusterDestroyStatus};
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, View, controller};

use crate::scope;

/// Pins the contract of each cluster.
#[derive(Debug)]
pub(crate) struct ClusterConfigVersionController;

controller!(ClusterConfigVersionController, "ClusterConfigVersionController",
    inputs: [strong Cluster, weak ClusterDestroyStatus, weak ClusterConfigVersion],
    outputs: [exclusive ClusterConfigVersion]);

impl ItemTransform for ClusterConfigVersionController {
    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(cluster) = scope::living(view) else { return plan };
        if let Some(pinned) = view.get::<ClusterConfigVersion>(item) {
            plan.put(item, pinned.spec.clone());
            return plan;
        }
        match TalosVersion::parse(&cluster.talos_version) {
            Ok(version) => {
                plan.put(item, ClusterConfigVersion { version: format!("v{version}") });
            }
            Err(error) => return plan.waiting(format!("a version of the operating system: {error}")),
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    fn cluster(version: &str) -> AnyResource {
        resource("prod", Cluster { talos_version: version.to_owned(), ..Cluster::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn an_upgrade_does_not_change_the_form_of_configurations() {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_item_transform(ClusterConfigVersionController);
        });
        let state = runtime.state().clone();
        let pinned = || state.get::<ClusterConfigVersion>("prod").map(|found| found.version.clone());
        runtime.put(cluster(""));
        runtime.quiet().await;
        let status = runtime.status("ClusterConfigVersionController/prod").expect("it waits");
        assert!(status.reason.contains("expected one such as 1.12.4"), "{}", status.reason);
        for version in ["1.13.2", "1.14.0"] {
            runtime.put(cluster(version));
            runtime.quiet().await;
            assert_eq!(pinned().as_deref(), Some("v1.13.2"));
        }
    }
}
