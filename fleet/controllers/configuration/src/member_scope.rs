//! What a cluster and a machine set say to each of their machines, in one place for each machine.
//!
//! ```text
//! Cluster, ClusterConfigVersion, ClusterStatus, ClusterSecrets ─┐
//! LoadBalancerConfig, MachineSetConfigStatus ───────────────────┼─(item: the cluster)─▶ MemberScope of each machine
//! ConfigPatch of cluster, set, member ──────────────────────────┘                            │
//!                                                      controllers over machines ◀───────────┘
//! ```
//!
//! Controllers over machines cannot see what is said by the cluster: a change of one cluster would have every machine
//! of every cluster planned anew. So a controller over clusters says it again for each machine, and a machine is
//! planned when its own scope changes. Texts of patches are not in it, only which there are and their versions.

use corten_fleet_cluster::patches::{Place, selected};
use corten_fleet_cluster::scale::parallelism;
use corten_fleet_resources::cluster::{
    Cluster, ClusterConfigVersion, ClusterMachine, ClusterStatus, MachineSetConfigStatus,
};
use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::kubernetes::LoadBalancerConfig;
use corten_fleet_resources::labels::annotation::CLUSTER_LOCKED;
use corten_fleet_resources::labels::{
    CLUSTER, MACHINE, MACHINE_SET, TAINTED_BY_EXPORTING, TAINTED_BY_IMPORTING,
};
use corten_fleet_resources::secrets::ClusterSecrets;
use corten_resource::{
    AnyResource, Concern, ItemTransform, Plan, Record, Registry, Resource, Spec, View, controller,
};

use crate::tags::{all, any, copy_place, label};

/// A patch that a machine gets.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct PatchRef {
    /// Id of the ConfigPatch.
    #[field(1, "id")]
    pub id: String,
    /// Its version; another one means another text.
    #[field(2, "version")]
    pub version: u64,
}

/// What its cluster and its machine set say to a machine, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MemberScopes.corten.dev", namespace = "ephemeral", internal)]
pub struct MemberScope {
    /// Version of the operating system that the cluster wants, without `v`.
    #[field(1, "talosVersion")]
    pub talos_version: String,
    /// Version that the cluster was created with; empty while it is not known.
    #[field(2, "initialVersion")]
    pub initial_version: String,
    /// URL of the Kubernetes API of the cluster; empty while it has none.
    #[field(3, "endpoint")]
    pub endpoint: String,
    /// Patches of the cluster, the set and the member, in the order in which they apply.
    #[field(4, "patches")]
    pub patches: Vec<PatchRef>,
    /// Changed configurations may go to the machine.
    #[field(5, "configUpdatesAllowed")]
    pub config_updates_allowed: bool,
    /// A machine that leaves does so in order.
    #[field(6, "shouldResetGraceful")]
    pub should_reset_graceful: bool,
    /// Most machines of the set whose configuration changes at a time; 0 for no limit.
    #[field(7, "updatesMax")]
    pub updates_max: u32,
    /// Nothing of the cluster is changed.
    #[field(8, "locked")]
    pub is_locked: bool,
    /// An import is given up, or the cluster was given away: its machines are left as they are.
    #[field(9, "keepsMachines")]
    pub keeps_machines: bool,
}

impl MemberScope {
    /// Most machines of the set whose configuration changes at a time; `None` for no limit.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        let most = usize::try_from(self.updates_max).unwrap_or(usize::MAX);
        (most > 0).then_some(most)
    }
}

/// Registers the type by which machines are told what their cluster says; the state of the manager must know it.
pub fn types(registry: &mut Registry) {
    registry.register::<MemberScope>();
}

/// Tells each machine of a cluster what the cluster says.
#[derive(Debug)]
pub struct MemberScopeController;

controller!(MemberScopeController, "MemberScopeController",
    inputs: [weak ClusterMachine, weak Cluster, weak ClusterConfigVersion, weak ClusterStatus,
        weak ClusterSecrets, weak LoadBalancerConfig, weak MachineSetConfigStatus, weak ConfigPatch],
    outputs: [exclusive MemberScope]);

/// Types whose id is the cluster.
const BY_CLUSTER: [&str; 5] = [
    Cluster::DEFINITION.kind,
    ClusterConfigVersion::DEFINITION.kind,
    ClusterStatus::DEFINITION.kind,
    ClusterSecrets::DEFINITION.kind,
    LoadBalancerConfig::DEFINITION.kind,
];

impl ItemTransform for MemberScopeController {
    fn concern(resource: &AnyResource) -> Concern {
        let metadata = resource.metadata();
        if BY_CLUSTER.contains(&metadata.kind.as_str()) {
            return Concern::by_id(resource);
        }
        // A patch of a machine itself follows the machine, whatever cluster it is in.
        let is_of_machine =
            metadata.kind == ConfigPatch::DEFINITION.kind && metadata.labels.contains_key(MACHINE);
        if is_of_machine { Concern::Nobody } else { Concern::by_label(resource, CLUSTER) }
    }

    fn plan(&self, cluster: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let shared = of_cluster(cluster, view);
        let patches = view.list::<ConfigPatch>();
        for member in all::<ClusterMachine, _>(view) {
            let machine_set = label(&member.metadata, MACHINE_SET);
            let mut scope = shared.clone();
            if let Some(status) = any::<MachineSetConfigStatus, _>(view, machine_set) {
                of_set(&mut scope, status);
            }
            let place = Place { cluster, machine_set, machine: member.id() };
            let mine = selected(patches.iter().copied(), &place);
            scope.patches = mine.iter().map(|selected| patch_ref(selected.patch)).collect();
            plan.put_with(member.id(), scope, |metadata| copy_place(&member.metadata, metadata));
        }
        plan
    }
}

fn patch_ref(patch: &Resource<ConfigPatch>) -> PatchRef {
    PatchRef { id: patch.id().to_owned(), version: patch.metadata.version }
}

/// What a cluster says to all its machines.
fn of_cluster(id: &str, view: &View<MemberScopeController>) -> MemberScope {
    let cluster = any::<Cluster, _>(view, id);
    let is_locked = cluster.is_some_and(|cluster| cluster.metadata.annotations.contains_key(CLUSTER_LOCKED));
    let is_imported = any::<ClusterSecrets, _>(view, id).is_some_and(|secrets| secrets.imported);
    let is_tainted = any::<ClusterStatus, _>(view, id).is_some_and(|status| {
        let has = |key: &str| status.metadata.labels.contains_key(key);
        has(TAINTED_BY_IMPORTING) || has(TAINTED_BY_EXPORTING)
    });
    let version = any::<ClusterConfigVersion, _>(view, id);
    let balancer = any::<LoadBalancerConfig, _>(view, id);
    MemberScope {
        talos_version: cluster.map(|cluster| cluster.talos_version.clone()).unwrap_or_default(),
        initial_version: version.map(|version| version.version.clone()).unwrap_or_default(),
        endpoint: balancer.map(|balancer| balancer.siderolink_endpoint.clone()).unwrap_or_default(),
        updates_max: 1,
        is_locked,
        keeps_machines: is_locked && (is_imported || is_tainted),
        ..MemberScope::default()
    }
}

fn of_set(scope: &mut MemberScope, status: &MachineSetConfigStatus) {
    let most = parallelism(status.update_strategy, status.update_strategy_config.as_ref(), Some(1));
    scope.config_updates_allowed = status.config_updates_allowed;
    scope.should_reset_graceful = status.should_reset_graceful;
    scope.updates_max = most.map_or(0, |most| u32::try_from(most).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::{RollingUpdateConfig, UpdateStrategy, UpdateStrategyConfig};
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    fn labelled(resource: AnyResource, labels: &[(&str, &str)]) -> AnyResource {
        resource.edit(|metadata| {
            for (key, value) in labels {
                metadata.labels.insert((*key).to_owned(), (*value).to_owned());
            }
        })
    }

    fn started() -> TestRuntime {
        let mut registry = corten_fleet_resources::registry();
        types(&mut registry);
        let runtime = TestRuntime::new(registry, |runtime| {
            runtime.register_item_transform(MemberScopeController);
        });
        for (id, cluster) in [("m1", "prod"), ("m2", "test")] {
            let set = format!("{cluster}-workers");
            let labels = [(CLUSTER, cluster), (MACHINE_SET, set.as_str())];
            runtime.put(labelled(resource(id, ClusterMachine::default()), &labels));
        }
        runtime
    }

    fn scope(runtime: &TestRuntime, machine: &str) -> MemberScope {
        runtime.state().get::<MemberScope>(machine).expect("a scope").spec
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_hears_its_cluster_and_its_set_and_no_other() {
        let runtime = started();
        let cluster = Cluster { talos_version: "1.14.0".to_owned(), ..Cluster::default() };
        runtime.put(resource("prod", cluster));
        let rolling = Some(RollingUpdateConfig { max_parallelism: 3 });
        let set = MachineSetConfigStatus {
            config_updates_allowed: true,
            should_reset_graceful: true,
            update_strategy: UpdateStrategy::Rolling,
            update_strategy_config: Some(UpdateStrategyConfig { rolling }),
        };
        runtime.put(labelled(resource("prod-workers", set), &[(CLUSTER, "prod")]));
        let patch = || resource("200-a", ConfigPatch::default());
        runtime.put(labelled(patch(), &[(CLUSTER, "prod")]));
        runtime.put(labelled(resource("100-m", ConfigPatch::default()), &[(MACHINE, "m1")]));
        runtime.quiet().await;
        let (mine, other) = (scope(&runtime, "m1"), scope(&runtime, "m2"));
        assert_eq!((mine.talos_version.as_str(), mine.limit()), ("1.14.0", Some(3)));
        assert!(mine.config_updates_allowed && mine.should_reset_graceful);
        let ids: Vec<&str> = mine.patches.iter().map(|patch| patch.id.as_str()).collect();
        assert_eq!(ids, ["200-a"], "a patch of the machine is no business of its cluster");
        assert_eq!(other, MemberScope { updates_max: 1, ..MemberScope::default() });
        let version = mine.patches.first().map(|patch| patch.version);
        let changed = ConfigPatch { data: "machine: {}".to_owned(), ..ConfigPatch::default() };
        runtime.put(labelled(resource("200-a", changed), &[(CLUSTER, "prod")]));
        runtime.quiet().await;
        assert_ne!(scope(&runtime, "m1").patches.first().map(|patch| patch.version), version);
    }

    #[tokio::test(start_paused = true)]
    async fn a_locked_cluster_that_was_imported_keeps_its_machines() {
        let runtime = started();
        let locked = resource("prod", Cluster::default())
            .edit(|metadata| drop(metadata.annotations.insert(CLUSTER_LOCKED.to_owned(), String::new())));
        runtime.put(locked);
        runtime.quiet().await;
        assert!(scope(&runtime, "m1").is_locked && !scope(&runtime, "m1").keeps_machines);
        runtime.put(resource("prod", ClusterSecrets { imported: true, ..ClusterSecrets::default() }));
        runtime.quiet().await;
        assert!(scope(&runtime, "m1").keeps_machines);
    }
}
