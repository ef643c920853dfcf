//! The patches of a machine in the order in which they apply (fleet.md 3.14).
//!
//! ```text
//! MemberScope (which patches of cluster, set, member) ─texts from the store─┐
//! ConfigPatch of the machine itself ────────────────────────────────────────┴─selected─▶ ClusterMachineConfigPatches
//! ```
//!
//! A machine may have brought documents along, which become a patch of it; what it would have without them might cut it
//! off, so everything waits until they are saved.

use corten_fleet_cluster::patches::{Place, named, selected, to_spec};
use corten_fleet_resources::cluster::ClusterMachine;
use corten_fleet_resources::config::{ClusterMachineConfigPatches, ConfigPatch};
use corten_fleet_resources::labels::{CLUSTER, MACHINE, MACHINE_SET};
use corten_fleet_resources::machine::MachineConfigExtractionStatus;
use corten_resource::{
    AnyResource, Concern, ItemDriver, Never, Plan, Resource, Spec, State, StateError, View, controller,
};

use crate::member_scope::MemberScope;
use crate::tags::{any, copy_place, label};

/// Owner of what people may change.
const NOBODY: &str = "";

/// Where patches are. Implemented for the store.
pub trait PatchStore: Send + Sync + 'static {
    /// A patch, whatever it is for.
    fn patch(&self, id: &str) -> Option<Resource<ConfigPatch>>;

    /// Makes a patch that belongs to people from then on, unless there is one of that id.
    ///
    /// # Errors
    /// When the store does not take it.
    fn save(&self, patch: AnyResource) -> Result<(), StateError>;
}

impl PatchStore for State {
    fn patch(&self, id: &str) -> Option<Resource<ConfigPatch>> {
        self.get(id)
    }

    fn save(&self, patch: AnyResource) -> Result<(), StateError> {
        if self.get_any(&patch.pointer()).is_some() {
            return Ok(());
        }
        self.put_any(NOBODY, patch).map(drop)
    }
}

/// Collects the patches of machines.
#[derive(Debug)]
pub struct ClusterMachineConfigPatchesController<P> {
    patches: P,
}

impl<P: PatchStore> ClusterMachineConfigPatchesController<P> {
    /// A controller that reads the texts of patches from `patches`.
    pub const fn new(patches: P) -> Self {
        Self { patches }
    }
}

controller!(impl<P: PatchStore> ClusterMachineConfigPatchesController<P>,
    "ClusterMachineConfigPatchesController",
    inputs: [weak ClusterMachine, weak MemberScope, weak ConfigPatch, weak MachineConfigExtractionStatus],
    outputs: [exclusive ClusterMachineConfigPatches]);

impl<P: PatchStore> ItemDriver for ClusterMachineConfigPatchesController<P> {
    /// The patches of the cluster, the set and the member.
    type Observed = Vec<Resource<ConfigPatch>>;
    type Op = Never;
    const PARALLEL: usize = 64;

    fn concern(resource: &AnyResource) -> Concern {
        match resource.metadata().kind == ConfigPatch::DEFINITION.kind {
            true => Concern::by_label(resource, MACHINE),
            false => Concern::by_id(resource),
        }
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Self::Observed> {
        let scope = view.get::<MemberScope>(item);
        let ids = scope.into_iter().flat_map(|scope| &scope.spec.patches).map(|patch| patch.id.as_str());
        Ok(ids.filter_map(|id| self.patches.patch(id)).collect())
    }

    fn plan(&self, item: &str, view: &View<Self>, wide: &Self::Observed) -> Plan<Self, Never> {
        let mut plan = Plan::new();
        let Some(member) = any::<ClusterMachine, _>(view, item) else { return plan };
        let place = Place {
            cluster: label(&member.metadata, CLUSTER),
            machine_set: label(&member.metadata, MACHINE_SET),
            machine: item,
        };
        let has_scope = view.get::<MemberScope>(item).is_some();
        let extraction = view.get::<MachineConfigExtractionStatus>(item);
        let is_extracted = extraction.is_some_and(|extraction| extraction.initialized);
        if !has_scope {
            plan.missing("what its cluster says of it");
        }
        if !is_extracted {
            plan.missing("the documents that the machine brought along to be saved, when it is connected");
        }
        if !has_scope || !is_extracted {
            plan.keep::<ClusterMachineConfigPatches>();
            return plan;
        }
        let mine = view.list::<ConfigPatch>();
        match named(&selected(wide.iter().chain(mine), &place)) {
            Ok(patches) => {
                plan.put_with(item, to_spec(&patches), |metadata| copy_place(&member.metadata, metadata));
                plan
            }
            Err(error) => {
                plan.keep::<ClusterMachineConfigPatches>();
                plan.waiting(corten_base::chain(&error))
            }
        }
    }

    async fn apply(&self, _: &str, never: Never) -> anyhow::Result<()> {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::member_scope::{MemberScopeController, types};

    fn labelled(resource: AnyResource, labels: &[(&str, &str)]) -> AnyResource {
        resource.edit(|metadata| {
            for (key, value) in labels {
                metadata.labels.insert((*key).to_owned(), (*value).to_owned());
            }
        })
    }

    fn patch(id: &str, labels: &[(&str, &str)]) -> AnyResource {
        labelled(resource(id, ConfigPatch { data: format!("# {id}\n"), ..ConfigPatch::default() }), labels)
    }

    #[tokio::test(start_paused = true)]
    async fn all_layers_are_collected_in_order_once_nothing_of_the_machine_can_be_lost() {
        let mut registry = corten_fleet_resources::registry();
        types(&mut registry);
        let runtime = TestRuntime::new(registry, |runtime| {
            let state = runtime.state().clone();
            runtime.register_item_transform(MemberScopeController);
            runtime.register_items(ClusterMachineConfigPatchesController::new(state));
        });
        let place = [(CLUSTER, "prod"), (MACHINE_SET, "prod-workers")];
        runtime.put(labelled(resource("m1", ClusterMachine::default()), &place));
        runtime.put(patch("100-machine", &[(MACHINE, "m1")]));
        runtime.put(patch("500-set", &place));
        runtime.put(patch("900-cluster", &[(CLUSTER, "prod")]));
        runtime.put(patch("900-other", &[(CLUSTER, "test")]));
        runtime.quiet().await;
        let found = || runtime.state().get::<ClusterMachineConfigPatches>("m1").map(|it| it.spec.patches);
        assert_eq!(found(), None);
        let status = runtime.status("ClusterMachineConfigPatchesController/m1").expect("it waits");
        assert!(status.reason.contains("brought along"), "{}", status.reason);
        let extracted = MachineConfigExtractionStatus { initialized: true, error: String::new() };
        runtime.put(resource("m1", extracted));
        runtime.quiet().await;
        let expected = ["# 900-cluster\n", "# 500-set\n", "# 100-machine\n"].map(ToOwned::to_owned);
        assert_eq!(found(), Some(expected.to_vec()));
        runtime.state().remove::<ConfigPatch>("", "500-set").expect("removed");
        runtime.quiet().await;
        assert_eq!(found().map(|patches| patches.len()), Some(2));
    }
}
