//! The order in which a machine goes when its link is removed.
//!
//! ```text
//! Link torn down ─▶ Machine torn down
//!                     └─ MachineCleanupController: MachineSetNode goes, ClusterMachine goes after it ─▶ Machine let go
//! Machine gone ─▶ LinkCleanupController: what was said of the machine by people and at its joining goes ─▶ Link let go
//! ```
//!
//! A machine that waits for others to go is let go of by nobody: its plan has a problem until they are gone, and a plan
//! with a problem lets go of nothing.

use corten_fleet_resources::cluster::{ClusterMachine, MachineSetNode};
use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::labels::MACHINE;
use corten_fleet_resources::link::{GrpcTunnelConfig, JoinTokenUsage, Link, NodeUniqueToken};
use corten_fleet_resources::machine::{
    KernelArgs, Machine, MachineInstallDiskConfig, MachineLabels, NodeForceDestroyRequest,
};
use corten_resource::{
    AnyResource, Concern, ItemDriver, Metadata, Plan, Pointer, Reads, Spec, State, View, controller,
};

use crate::view::{all, is_removable, remove};

/// Has a machine leave its cluster before it goes.
#[derive(Debug)]
pub struct MachineCleanupController {
    state: State,
}

impl MachineCleanupController {
    /// A controller that removes from `state`.
    pub const fn new(state: State) -> Self {
        Self { state }
    }
}

controller!(MachineCleanupController, "MachineCleanupController",
    inputs: [strong Machine, weak MachineSetNode, weak ClusterMachine],
    outputs: []);

impl ItemDriver for MachineCleanupController {
    type Observed = ();
    type Op = Pointer;

    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    async fn observe(&self, _: &str, _: &View<Self>) -> anyhow::Result<()> {
        Ok(())
    }

    fn plan(&self, _: &str, view: &View<Self>, _: &()) -> Plan<Self, Pointer> {
        let mut plan = Plan::new();
        if view.tearing_down::<Machine>().is_empty() {
            return plan;
        }
        for pointer in removable::<MachineSetNode, _>(view) {
            plan.op(pointer);
        }
        let (places, members) = (all::<MachineSetNode, _>(view), all::<ClusterMachine, _>(view));
        if !places.is_empty() || !members.is_empty() {
            plan.unfinished("the machine leaves its cluster first");
        }
        plan
    }

    async fn apply(&self, _: &str, pointer: Pointer) -> anyhow::Result<()> {
        Ok(remove(&self.state, &pointer)?)
    }
}

/// Has everything that was kept of a machine go with its link.
#[derive(Debug)]
pub struct LinkCleanupController {
    state: State,
}

impl LinkCleanupController {
    /// A controller that removes from `state`.
    pub const fn new(state: State) -> Self {
        Self { state }
    }
}

controller!(LinkCleanupController, "LinkCleanupController",
    inputs: [strong Link, weak Machine, weak JoinTokenUsage, weak NodeUniqueToken, weak GrpcTunnelConfig,
        weak MachineLabels, weak KernelArgs, weak MachineInstallDiskConfig, weak NodeForceDestroyRequest,
        weak ConfigPatch],
    outputs: []);

impl ItemDriver for LinkCleanupController {
    type Observed = ();
    type Op = Pointer;

    fn concern(resource: &AnyResource) -> Concern {
        match resource.metadata().kind == ConfigPatch::DEFINITION.kind {
            true => Concern::by_label(resource, MACHINE),
            false => Concern::by_id(resource),
        }
    }

    async fn observe(&self, _: &str, _: &View<Self>) -> anyhow::Result<()> {
        Ok(())
    }

    fn plan(&self, _: &str, view: &View<Self>, _: &()) -> Plan<Self, Pointer> {
        let mut plan = Plan::new();
        if view.tearing_down::<Link>().is_empty() {
            return plan;
        }
        if !all::<Machine, _>(view).is_empty() {
            return plan.holding("its machine goes first");
        }
        let kept = [
            removable::<JoinTokenUsage, _>(view),
            removable::<NodeUniqueToken, _>(view),
            removable::<GrpcTunnelConfig, _>(view),
            removable::<MachineLabels, _>(view),
            removable::<KernelArgs, _>(view),
            removable::<MachineInstallDiskConfig, _>(view),
            removable::<NodeForceDestroyRequest, _>(view),
            removable::<ConfigPatch, _>(view),
        ];
        for pointer in kept.into_iter().flatten() {
            plan.op(pointer);
        }
        plan
    }

    async fn apply(&self, _: &str, pointer: Pointer) -> anyhow::Result<()> {
        Ok(remove(&self.state, &pointer)?)
    }
}

/// Those of a type that concern the item, also those that go away, with which anything can be done.
fn removable<S: Spec, C: Reads<S>>(view: &View<C>) -> Vec<Pointer> {
    let all = all::<S, C>(view).into_iter().map(|resource| &resource.metadata);
    all.filter(|metadata| is_removable(metadata)).map(Metadata::pointer).collect()
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    fn started() -> TestRuntime {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            let state = runtime.state().clone();
            runtime.register_items(MachineCleanupController::new(state.clone()));
            runtime.register_items(LinkCleanupController::new(state));
        });
        runtime.put(resource("m1", Link::default()));
        runtime.put(resource("m1", Machine::default()));
        runtime.put(resource("m1", MachineSetNode {}));
        runtime.put(resource("m1", ClusterMachine::default()));
        runtime.put(resource("m1", MachineLabels {}));
        let patch = resource("500-m1", ConfigPatch::default());
        runtime.put(patch.edit(|metadata| drop(metadata.labels.insert(MACHINE.to_owned(), "m1".to_owned()))));
        runtime
    }

    fn finalizers<S: Spec>(runtime: &TestRuntime) -> Vec<String> {
        runtime.state().get::<S>("m1").map(|resource| resource.metadata.finalizers).unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_leaves_its_cluster_before_it_goes() {
        let runtime = started();
        runtime.quiet().await;
        assert!(runtime.state().get::<MachineSetNode>("m1").is_some());
        runtime.state().remove::<Machine>("", "m1").expect("torn down");
        runtime.quiet().await;
        assert!(runtime.state().get::<MachineSetNode>("m1").is_none());
        let held = finalizers::<Machine>(&runtime);
        assert_eq!(held, ["MachineCleanupController"], "it is still in its cluster");
        runtime.state().remove::<ClusterMachine>("", "m1").expect("reset and gone");
        runtime.advance(std::time::Duration::from_secs(600)).await;
        assert!(finalizers::<Machine>(&runtime).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_kept_of_a_machine_goes_with_its_link_and_after_the_machine() {
        let runtime = started();
        runtime.quiet().await;
        runtime.state().remove::<Link>("", "m1").expect("torn down");
        runtime.quiet().await;
        assert!(runtime.state().get::<MachineLabels>("m1").is_some(), "its machine is still there");
        runtime.state().remove::<ClusterMachine>("", "m1").expect("gone");
        runtime.state().remove::<Machine>("", "m1").expect("torn down");
        runtime.advance(std::time::Duration::from_secs(600)).await;
        runtime.state().remove::<Machine>("", "m1").expect("destroyed");
        runtime.advance(std::time::Duration::from_secs(600)).await;
        assert!(runtime.state().get::<MachineLabels>("m1").is_none());
        assert!(runtime.state().get::<ConfigPatch>("500-m1").is_none());
        assert!(finalizers::<Link>(&runtime).is_empty());
    }
}
