//! How a cluster is, in one resource (fleet.md 4.13).
//!
//! ```text
//! MachineSet, MachineSetStatus ───────────────────────┐
//! ClusterMachine, MachineStatus (connected) ──────────┼─▶ ClusterStatus
//! ControlPlaneStatus, LoadBalancerStatus ─────────────┤      labels: those of the Cluster, and its taints
//! ClusterSecrets (imported), ClusterTaint ────────────┘
//! ```

use corten_fleet_cluster::status::{ClusterView, cluster};
use corten_fleet_cluster::{Labels, Role, TalosVersion};
use corten_fleet_resources::cluster::{
    Cluster, ClusterConfigVersion, ClusterDestroyStatus, ClusterMachine, ClusterStatus, ClusterTaint,
    ControlPlaneStatus, MachineSet, MachineSetStatus,
};
use corten_fleet_resources::kubernetes::LoadBalancerStatus;
use corten_fleet_resources::labels::{TAINTED_BY_BREAK_GLASS, TAINTED_BY_IMPORTING};
use corten_fleet_resources::machine::MachineStatus;
use corten_fleet_resources::secrets::ClusterSecrets;
use corten_fleet_resources::system::FeaturesConfig;
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, Reads, Resource, Spec, View, controller};

use crate::{roll, scope};

/// First minor release whose machines can use a discovery service without TLS, which that of the manager is.
const KNOWS_PLAIN_DISCOVERY: (u64, u64) = (1, 5);

/// Publishes how clusters are.
#[derive(Debug)]
pub(crate) struct ClusterStatusController;

controller!(ClusterStatusController, "ClusterStatusController",
    inputs: [strong Cluster, weak ClusterDestroyStatus, weak ClusterConfigVersion, weak MachineSet,
        weak MachineSetStatus, weak ClusterMachine, weak MachineStatus, weak ControlPlaneStatus,
        weak LoadBalancerStatus, weak ClusterSecrets, weak ClusterTaint, weak FeaturesConfig],
    outputs: [exclusive ClusterStatus]);

impl ItemTransform for ClusterStatusController {
    fn concern(resource: &AnyResource) -> Concern {
        match resource.metadata().kind == FeaturesConfig::DEFINITION.kind {
            true => Concern::Everybody,
            false => scope::cluster(resource),
        }
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(wanted) = scope::living(view) else { return plan };
        let unknown = MachineSetStatus::default();
        let control_planes = roll::judged(&roll::control_planes(view));
        let control_plane = view.list::<ControlPlaneStatus>().into_iter().next();
        let version = view.get::<ClusterConfigVersion>(item).map(|pinned| pinned.version.as_str());
        let status = cluster(&ClusterView {
            cluster: &wanted.spec,
            sets: sets(view, &unknown),
            control_planes: &control_planes,
            control_plane: control_plane.map(|status| &status.spec),
            is_api_healthy: view.get::<LoadBalancerStatus>(item).is_some_and(|status| status.healthy),
            is_tearing_down: wanted.metadata.is_tearing_down(),
            uses_embedded_discovery: uses_embedded_discovery(wanted, view),
            initial_version: version.unwrap_or_default().trim_start_matches('v'),
        });
        let labels = labels(item, wanted, view);
        plan.put_with(item, status, |metadata| metadata.labels = labels);
        plan
    }
}

/// All resources of a type that concern the item, also those that go away.
fn all<S: Spec, C: Reads<S>>(view: &View<C>) -> impl Iterator<Item = &Resource<S>> {
    view.list::<S>().into_iter().chain(view.tearing_down::<S>())
}

/// The machine sets; one of which nothing is said yet has the status `unknown`.
fn sets<'v>(
    view: &'v View<ClusterStatusController>,
    unknown: &'v MachineSetStatus,
) -> Vec<(Role, &'v MachineSetStatus)> {
    let status = |set: &Resource<MachineSet>| {
        let found = all::<MachineSetStatus, _>(view).find(|status| status.id() == set.id());
        found.map_or(unknown, |status| &status.spec)
    };
    let sets = all::<MachineSet, _>(view);
    sets.filter_map(|set| Some((Role::of(&set.metadata.labels)?, status(set)))).collect()
}

fn uses_embedded_discovery(cluster: &Resource<Cluster>, view: &View<ClusterStatusController>) -> bool {
    let features = cluster.features.as_ref();
    let is_wanted = features.is_some_and(|features| features.use_embedded_discovery_service);
    let settings = view.get::<FeaturesConfig>(FeaturesConfig::ID);
    let is_served = settings.is_some_and(|settings| settings.embedded_discovery_service);
    let (major, minor) = KNOWS_PLAIN_DISCOVERY;
    let version = TalosVersion::parse(&cluster.talos_version);
    is_wanted && is_served && version.is_ok_and(|version| version.is_since(major, minor))
}

fn labels(item: &str, cluster: &Resource<Cluster>, view: &View<ClusterStatusController>) -> Labels {
    let mut labels = cluster.metadata.labels.clone();
    let is_imported = view.get::<ClusterSecrets>(item).is_some_and(|secrets| secrets.imported);
    let is_open = view.get::<ClusterTaint>(item).is_some();
    for (key, is_tainted) in [(TAINTED_BY_IMPORTING, is_imported), (TAINTED_BY_BREAK_GLASS, is_open)] {
        if is_tainted {
            labels.insert(key.to_owned(), String::new());
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::{ClusterPhase, MachineSetPhase};
    use corten_fleet_resources::labels::{ROLE_CONTROL_PLANE, ROLE_WORKER};
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::{control_plane, in_cluster, machine_status};

    fn set(id: &str, role: &str) -> AnyResource {
        let set = in_cluster(resource(id, MachineSet::default()));
        set.edit(|metadata| drop(metadata.labels.insert(role.to_owned(), String::new())))
    }

    fn running(id: &str) -> AnyResource {
        let status =
            MachineSetStatus { phase: MachineSetPhase::Running, ready: true, ..MachineSetStatus::default() };
        in_cluster(resource(id, status))
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_is_what_its_parts_are() {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_item_transform(ClusterStatusController);
        });
        let found = || runtime.state().get::<ClusterStatus>("prod").expect("a status");
        let spec = Cluster { talos_version: "1.14.0".to_owned(), ..Cluster::default() };
        let cluster = resource("prod", spec);
        runtime.put(cluster.edit(|metadata| drop(metadata.labels.insert("team".into(), "a".into()))));
        runtime.put(set("prod-control-planes", ROLE_CONTROL_PLANE));
        runtime.put(set("prod-workers", ROLE_WORKER));
        runtime.put(running("prod-control-planes"));
        runtime.put(control_plane("a"));
        runtime.put(machine_status("a", "fdae::1", true));
        runtime.put(resource("prod", LoadBalancerStatus { healthy: true, stopped: false }));
        runtime.quiet().await;
        let status = found();
        assert_eq!((status.phase, status.ready), (ClusterPhase::Unknown, false), "of its workers");
        assert!(status.available && status.has_connected_control_planes && status.kubernetes_api_ready);
        runtime.put(running("prod-workers"));
        runtime.put(resource("prod", ClusterSecrets { imported: true, ..ClusterSecrets::default() }));
        runtime.quiet().await;
        let status = found();
        assert_eq!((status.phase, status.ready), (ClusterPhase::Running, true));
        let labels: Vec<&str> = status.metadata.labels.keys().map(String::as_str).collect();
        assert_eq!(labels, [TAINTED_BY_IMPORTING, "team"]);
    }
}
