//! How a machine leaves its cluster for good, once it is reset.
//!
//! ```text
//! ClusterMachine, MachineSetNode, ClusterMachineIdentity (held)
//!   torn down ─▶ reset by others, to its end ─▶ leftovers ─┬▶ DiscoveryAffiliateDeleteTask
//!                                                          └▶ Kubernetes: the node goes (5 min at most)
//!                                            ─▶ all three are let go of
//! ```
//!
//! The identity is held, since nobody else knows afterwards what the machine was called. A MachineSetNode is held until
//! the machine has left, so that it cannot come into another set before. A Kubernetes that does not answer keeps no
//! machine: the audit of its nodes finds what stays.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use corten_base::chain;
use corten_fleet_cluster::secrets;
use corten_fleet_cluster::teardown::{Leaver, Leftovers, leftovers};
use corten_fleet_resources::cluster::{Cluster, ClusterMachine, ClusterMachineIdentity, MachineSetNode};
use corten_fleet_resources::labels::CLUSTER;
use corten_fleet_resources::machine::NodeForceDestroyRequest;
use corten_fleet_resources::secrets::ClusterSecrets;
use corten_resource::{
    AnyResource, Concern, Declared as _, ItemDriver, Plan, Resource, Spec as _, State, View, controller,
};
use parking_lot::Mutex;

use crate::RESET;
use crate::kubernetes::KubernetesNodes;
use crate::view::{any, label};

/// How long it is tried to remove a node from Kubernetes, since the machine was reset.
const NODE_MAX: Duration = Duration::from_secs(5 * 60);
// Both are problems and no waits: the runtime would let go of what goes away while a plan merely waits.
/// What a MachineSetNode waits for.
const STAYS: &str = "the machine leaves its cluster first; its machine set says why it does not yet";
/// What a ClusterMachine waits for.
const IS_RESET: &str = "the machine is reset or let go first; a NodeForceDestroyRequest hastens that";

/// Cleans up after machines that leave their cluster.
#[derive(Debug)]
pub struct ClusterMachineTeardownController<K> {
    kubernetes: K,
    state: State,
    /// Machines that leave and were cleaned up after. Forgotten with the program, and then done once more.
    cleaned: Mutex<BTreeSet<String>>,
}

impl<K: KubernetesNodes> ClusterMachineTeardownController<K> {
    /// A controller that removes nodes through `kubernetes`, and looks up in `state` what concerns the whole cluster.
    pub const fn new(kubernetes: K, state: State) -> Self {
        Self { kubernetes, state, cleaned: Mutex::new(BTreeSet::new()) }
    }

    /// What others still know of a machine.
    fn leftovers(
        &self,
        identity: &Resource<ClusterMachineIdentity>,
        cluster: &str,
        is_forced: bool,
    ) -> Leftovers {
        let definition = ClusterMachineIdentity::DEFINITION;
        let all = self.state.list_any(definition.namespace, definition.kind);
        let stays = |other: &&AnyResource| {
            let metadata = other.metadata();
            let is_near = label(metadata, CLUSTER) == cluster && metadata.id != identity.id();
            is_near && !metadata.is_tearing_down()
        };
        let others: Vec<&ClusterMachineIdentity> =
            all.iter().filter(stays).filter_map(AnyResource::spec).collect();
        let wanted = self.state.get::<Cluster>(cluster);
        let cluster_id = self.cluster_id(cluster);
        let found = leftovers(&Leaver {
            identity: &identity.spec,
            others: &others,
            cluster_id: &cluster_id,
            is_forced,
            is_cluster_going: wanted.is_none_or(|wanted| wanted.metadata.is_tearing_down()),
        });
        // Without the id of the cluster the discovery service cannot be told, and forgets by itself.
        Leftovers { affiliate: found.affiliate.filter(|_| !cluster_id.is_empty()), ..found }
    }

    /// Id of a cluster at discovery services; empty when its secrets cannot be read.
    fn cluster_id(&self, cluster: &str) -> String {
        let Some(found) = self.state.get::<ClusterSecrets>(cluster) else { return String::new() };
        match secrets::read(&found.data) {
            Ok(bundle) => bundle.cluster_id,
            Err(error) => {
                tracing::warn!(cluster, error = chain(&error), "its discovery services cannot be told");
                String::new()
            }
        }
    }
}

controller!(impl<K: KubernetesNodes> ClusterMachineTeardownController<K>, "ClusterMachineTeardownController",
    inputs: [strong ClusterMachine, strong MachineSetNode, strong ClusterMachineIdentity,
        weak NodeForceDestroyRequest],
    outputs: []);

/// What is seen of a machine that leaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// It was cleaned up after.
    is_cleaned: bool,
    /// What is to be cleaned up; nothing as long as it is not reset.
    leftovers: Leftovers,
}

/// What is done for a machine that leaves.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// It is cleaned up after it, in the cluster of this name.
    CleanUp(String, Box<Leftovers>),
    /// It has left, or came back: nothing is remembered of it.
    Forget,
}

/// Whether a member leaves and is reset.
fn is_reset(member: &Resource<ClusterMachine>) -> bool {
    let metadata = &member.metadata;
    metadata.is_tearing_down() && !metadata.finalizers.iter().any(|holder| holder == RESET)
}

impl<K: KubernetesNodes> ItemDriver for ClusterMachineTeardownController<K> {
    type Observed = Observed;
    type Op = Op;

    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Observed> {
        let is_cleaned = self.cleaned.lock().contains(item);
        let member = any::<ClusterMachine, _>(view).filter(|member| is_reset(member));
        let identity = any::<ClusterMachineIdentity, _>(view);
        let Some((member, identity)) = member.zip(identity).filter(|_| !is_cleaned) else {
            return Ok(Observed { is_cleaned, leftovers: Leftovers::default() });
        };
        let is_forced = view.get::<NodeForceDestroyRequest>(item).is_some();
        let leftovers = self.leftovers(identity, label(&member.metadata, CLUSTER), is_forced);
        Ok(Observed { is_cleaned, leftovers })
    }

    fn plan(&self, _: &str, view: &View<Self>, observed: &Observed) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let member = any::<ClusterMachine, _>(view);
        let Some(member) = member.filter(|member| member.metadata.is_tearing_down()) else {
            if observed.is_cleaned {
                plan.op(Op::Forget);
            }
            if member.is_some() && !view.tearing_down::<MachineSetNode>().is_empty() {
                plan.unfinished(STAYS);
            }
            return plan;
        };
        if !is_reset(member) {
            return plan.holding(IS_RESET);
        }
        if !observed.is_cleaned {
            let mut leftovers = observed.leftovers.clone();
            let waited = view.now().duration_since(member.metadata.updated).unwrap_or_default();
            if waited >= NODE_MAX {
                leftovers.node = None;
            }
            let cluster = label(&member.metadata, CLUSTER).to_owned();
            plan.op(Op::CleanUp(cluster, Box::new(leftovers)));
        }
        plan
    }

    async fn apply(&self, item: &str, op: Op) -> anyhow::Result<()> {
        match op {
            Op::CleanUp(cluster, leftovers) => {
                let Leftovers { affiliate, node } = *leftovers;
                if let Some((affiliate, task)) = affiliate {
                    self.state.put(Self::NAME, &affiliate, task)?;
                }
                if let Some(node) = node {
                    let deleted = self.kubernetes.delete(&cluster, &node).await;
                    deleted.with_context(|| remains(&node))?;
                }
                self.cleaned.lock().insert(item.to_owned());
            }
            Op::Forget => drop(self.cleaned.lock().remove(item)),
        }
        Ok(())
    }
}

/// Why a machine that is reset is not let go yet.
fn remains(node: &str) -> String {
    let minutes = NODE_MAX.as_secs() / 60;
    format!("node {node} is still in Kubernetes; {minutes} min after the reset it is left to the node audit")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::{NAME, WORKERS, cluster, in_set, node, registry};
    use crate::view::pointer;

    /// The nodes that were removed; none ever is where the cluster does not answer.
    #[derive(Clone, Default)]
    struct Nodes {
        removed: Arc<Mutex<Vec<String>>>,
        is_silent: bool,
    }

    impl KubernetesNodes for Nodes {
        async fn delete(&self, cluster: &str, node: &str) -> anyhow::Result<()> {
            anyhow::ensure!(!self.is_silent, "no answer");
            self.removed.lock().push(format!("{cluster}/{node}"));
            Ok(())
        }
    }

    fn identity(id: &str, name: &str) -> AnyResource {
        let spec = ClusterMachineIdentity { nodename: name.to_owned(), ..ClusterMachineIdentity::default() };
        in_set(resource(id, spec), WORKERS)
    }

    /// A member that its reset holds.
    async fn started(nodes: &Nodes) -> TestRuntime {
        let runtime = TestRuntime::new(registry(), |runtime| {
            let state = runtime.state().clone();
            runtime.register_items(ClusterMachineTeardownController::new(nodes.clone(), state));
        });
        runtime.put(cluster());
        runtime.put(node("m1", WORKERS));
        runtime.put(in_set(resource("m1", ClusterMachine::default()), WORKERS));
        runtime.put(identity("m1", "n1"));
        runtime.quiet().await;
        runtime.state().add_finalizer(&pointer::<ClusterMachine>("m1"), RESET).expect("held");
        runtime
    }

    fn leave(runtime: &TestRuntime) {
        for resource in [pointer::<MachineSetNode>("m1"), pointer::<ClusterMachine>("m1")] {
            runtime.state().remove_any("", &resource).expect("torn down");
        }
    }

    fn holders(runtime: &TestRuntime) -> [usize; 3] {
        let of = |resource| {
            let found = runtime.state().get_any(&resource);
            found.map_or(0, |found| found.metadata().finalizers.len())
        };
        let node = of(pointer::<MachineSetNode>("m1"));
        [node, of(pointer::<ClusterMachine>("m1")), of(pointer::<ClusterMachineIdentity>("m1"))]
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_was_reset_leaves_kubernetes_and_is_let_go_of() {
        let nodes = Nodes::default();
        let runtime = started(&nodes).await;
        leave(&runtime);
        runtime.state().remove_any("", &pointer::<ClusterMachineIdentity>("m1")).expect("torn down");
        runtime.advance(Duration::from_secs(60)).await;
        assert_eq!(holders(&runtime), [1, 2, 1], "it is not reset yet");
        runtime.state().remove_finalizer(&pointer::<ClusterMachine>("m1"), RESET).expect("reset");
        runtime.advance(Duration::from_secs(60)).await;
        assert_eq!(*nodes.removed.lock(), [format!("{NAME}/n1")]);
        assert_eq!(holders(&runtime), [0, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_still_is_a_member_keeps_its_place() {
        let runtime = started(&Nodes::default()).await;
        runtime.state().remove::<MachineSetNode>("", "m1").expect("torn down");
        runtime.advance(Duration::from_secs(600)).await;
        assert_eq!(holders(&runtime), [1, 2, 1]);
        let reason = runtime.status("ClusterMachineTeardownController/m1").expect("it waits").reason;
        assert!(reason.contains("its machine set says why"), "{reason}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_kubernetes_that_does_not_answer_keeps_no_machine() {
        let nodes = Nodes { is_silent: true, ..Nodes::default() };
        let runtime = started(&nodes).await;
        leave(&runtime);
        runtime.state().remove_finalizer(&pointer::<ClusterMachine>("m1"), RESET).expect("reset");
        runtime.advance(Duration::from_secs(60)).await;
        assert_eq!(holders(&runtime), [1, 1, 1]);
        let reason = runtime.status("ClusterMachineTeardownController/m1").expect("it failed").reason;
        assert!(reason.contains("node n1 is still in Kubernetes"), "{reason}");
        assert!(reason.contains("no answer"), "{reason}");
        runtime.advance(NODE_MAX).await;
        assert_eq!(holders(&runtime), [0, 0, 1], "the identity is not removed, so it stays held");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_another_machine_has_stays_in_kubernetes() {
        let nodes = Nodes::default();
        let runtime = started(&nodes).await;
        runtime.put(identity("m2", "n1"));
        leave(&runtime);
        runtime.state().remove_finalizer(&pointer::<ClusterMachine>("m1"), RESET).expect("reset");
        runtime.advance(Duration::from_secs(60)).await;
        assert!(nodes.removed.lock().is_empty());
        assert_eq!(holders(&runtime)[..2], [0, 0]);
    }
}
