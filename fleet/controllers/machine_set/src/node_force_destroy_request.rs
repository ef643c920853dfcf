//! Takes a machine out of its cluster because a person insists, whatever state it is in.
//!
//! ```text
//! NodeForceDestroyRequest ─▶ MachineSetNode torn down
//!                         └▶ (ClusterMachineStatus says so, and the machine set asks nobody)
//! machine out of its cluster ─▶ the request goes
//! ```

use corten_fleet_resources::cluster::{ClusterMachine, MachineSetNode};
use corten_fleet_resources::machine::NodeForceDestroyRequest;
use corten_resource::{AnyResource, Concern, ItemDriver, Plan, Pointer, State, View, controller};

use crate::view::{any, is_removable, remove};

/// Carries out the requests.
#[derive(Debug)]
pub struct NodeForceDestroyRequestController {
    state: State,
}

impl NodeForceDestroyRequestController {
    /// A controller that changes `state`.
    pub const fn new(state: State) -> Self {
        Self { state }
    }
}

controller!(NodeForceDestroyRequestController, "NodeForceDestroyRequestController",
    inputs: [weak NodeForceDestroyRequest, weak MachineSetNode, weak ClusterMachine],
    outputs: []);

impl ItemDriver for NodeForceDestroyRequestController {
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
        let Some(request) = any::<NodeForceDestroyRequest, _>(view) else { return plan };
        let node = any::<MachineSetNode, _>(view);
        let is_member = any::<ClusterMachine, _>(view).is_some();
        if request.metadata.is_tearing_down() || (node.is_none() && !is_member) {
            if is_removable(&request.metadata) {
                plan.op(request.metadata.pointer());
            }
            return plan;
        }
        if let Some(node) = node.filter(|node| !node.metadata.is_tearing_down()) {
            plan.op(node.metadata.pointer());
        }
        plan.waiting("the machine to be out of its cluster; remove the request to have it asked again")
    }

    async fn apply(&self, _: &str, pointer: Pointer) -> anyhow::Result<()> {
        Ok(remove(&self.state, &pointer)?)
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::{WORKERS, in_set, node, registry};

    #[tokio::test(start_paused = true)]
    async fn a_request_takes_the_machine_out_of_its_set_and_goes_when_it_has_left() {
        let runtime = TestRuntime::new(registry(), |runtime| {
            let state = runtime.state().clone();
            runtime.register_items(NodeForceDestroyRequestController::new(state));
        });
        let state = runtime.state();
        runtime.put(node("m1", WORKERS));
        runtime.put(in_set(resource("m1", ClusterMachine::default()), WORKERS));
        runtime.put(resource("m1", NodeForceDestroyRequest {}));
        runtime.quiet().await;
        assert!(state.get::<MachineSetNode>("m1").is_none());
        assert!(state.get::<NodeForceDestroyRequest>("m1").is_some(), "the machine is still a member");
        state.remove::<ClusterMachine>("", "m1").expect("gone");
        runtime.quiet().await;
        assert!(state.get::<NodeForceDestroyRequest>("m1").is_none());
    }
}
