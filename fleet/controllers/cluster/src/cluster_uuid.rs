//! The identity of a cluster that outlives its name.
//!
//! ```text
//! Cluster (held) ─▶ a random UUID, once ─▶ ClusterUUID
//! ```

use corten_base::Rng;
use corten_fleet_resources::cluster::{Cluster, ClusterDestroyStatus, ClusterUuid};
use corten_fleet_resources::labels::CLUSTER_UUID;
use corten_resource::{AnyResource, Concern, ItemDriver, Never, Plan, View, controller};

use crate::scope;

/// Gives each cluster a UUID.
#[derive(Debug)]
pub(crate) struct ClusterUuidController {
    rng: Rng,
}

impl ClusterUuidController {
    /// A controller that draws from `rng`.
    pub(crate) const fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

controller!(ClusterUuidController, "ClusterUUIDController",
    inputs: [strong Cluster, weak ClusterDestroyStatus, weak ClusterUuid],
    outputs: [exclusive ClusterUuid]);

impl ItemDriver for ClusterUuidController {
    /// A UUID that nobody has.
    type Observed = String;
    type Op = Never;

    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    async fn observe(&self, _: &str, _: &View<Self>) -> anyhow::Result<String> {
        Ok(self.rng.uuid())
    }

    fn plan(&self, item: &str, view: &View<Self>, fresh: &String) -> Plan<Self, Never> {
        let mut plan = Plan::new();
        if scope::living(view).is_none() {
            return plan;
        }
        let kept = view.get::<ClusterUuid>(item).map(|kept| &kept.uuid).filter(|uuid| !uuid.is_empty());
        let uuid = kept.unwrap_or(fresh).clone();
        plan.put_with(item, ClusterUuid { uuid: uuid.clone() }, |metadata| {
            metadata.labels.insert(CLUSTER_UUID.to_owned(), uuid);
        });
        plan
    }

    async fn apply(&self, _: &str, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cluster_keeps_its_uuid_for_life_and_the_next_of_its_name_has_another() {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_items(ClusterUuidController::new(Rng::seeded(1)));
        });
        let uuid = || runtime.state().get::<ClusterUuid>("prod").map(|found| found.uuid.clone());
        runtime.put(resource("prod", Cluster::default()));
        runtime.quiet().await;
        let first = uuid();
        assert!(first.is_some());
        runtime.put(resource("prod", Cluster { talos_version: "1.14.0".to_owned(), ..Cluster::default() }));
        runtime.quiet().await;
        assert_eq!(uuid(), first);
        runtime.state().remove::<Cluster>("", "prod").expect("torn down");
        runtime.quiet().await;
        assert_eq!(uuid(), None);
        runtime.state().remove::<Cluster>("", "prod").expect("destroyed");
        runtime.put(resource("prod", Cluster::default()));
        runtime.quiet().await;
        assert!(uuid().is_some_and(|second| Some(second) != first));
    }
}
