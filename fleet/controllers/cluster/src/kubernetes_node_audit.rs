//! Deletes nodes in Kubernetes that no machine stands behind (fleet.md 4.5).
//!
//! ```text
//! KubernetesStatus: nodes that are not ready ─┐
//! ClusterKubernetesNodes: those that are known ┼─▶ orphans, seen twice in a minute or more ─▶ Kubernetes: delete
//! identities that are still awaited ───────────┘        └─▶ KubernetesNodeAuditResult
//! ```
//!
//! A node that is ready is never deleted, nor is one while a machine is there whose name is not known yet. Nothing of a
//! cluster that is locked, or still being taken over, is touched.

use std::collections::BTreeSet;

use corten_fleet_resources::cluster::{
    Cluster, ClusterDestroyStatus, ClusterKubernetesNodes, ClusterMachine, ClusterMachineIdentity,
};
use corten_fleet_resources::kubernetes::{KubernetesNodeAuditResult, KubernetesStatus};
use corten_fleet_resources::machine::MachineStatus;
use corten_resource::{AnyResource, Concern, ItemDriver, Plan, View, controller};

use crate::audit::{Audits, Turn, may_touch, told};
use crate::kubernetes_status::Kubernetes;
use crate::{roll, scope};

/// What the last audit of a cluster saw and did; nodes are named by their names.
type Round = crate::audit::Round<String>;
/// What an audit begins with. What Kubernetes has is an input.
type Seen = crate::audit::Seen<String, ()>;

/// Deletes nodes that nobody stands behind.
#[derive(Debug)]
pub(crate) struct KubernetesNodeAuditController<K> {
    kubernetes: K,
    audits: Audits<String>,
}

impl<K: Kubernetes> KubernetesNodeAuditController<K> {
    /// A controller that has seen nothing yet.
    pub(crate) const fn new(kubernetes: K) -> Self {
        Self { kubernetes, audits: Audits::new() }
    }
}

controller!(impl<K: Kubernetes> KubernetesNodeAuditController<K>, "KubernetesNodeAuditController",
    inputs: [strong Cluster, weak ClusterDestroyStatus, weak ClusterKubernetesNodes, weak KubernetesStatus,
        weak ClusterMachine, weak MachineStatus, weak ClusterMachineIdentity, weak KubernetesNodeAuditResult],
    outputs: [exclusive KubernetesNodeAuditResult]);

/// What an audit does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    /// Nodes that are deleted.
    delete: Vec<String>,
    /// What is noted, with those that were.
    round: Round,
}

impl<K: Kubernetes> ItemDriver for KubernetesNodeAuditController<K> {
    type Observed = Seen;
    type Op = Op;

    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Seen> {
        if let Err(why) = may_touch(item, view) {
            self.audits.forget(item);
            return Ok(Seen::Nothing(why));
        }
        Ok(match self.audits.turn(item) {
            Turn::Early(left, round) => Seen::Early(left, round),
            Turn::Due(before) => Seen::Due((), before),
        })
    }

    fn plan(&self, item: &str, view: &View<Self>, seen: &Seen) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        if scope::living(view).is_none() {
            return plan;
        }
        plan.keep::<KubernetesNodeAuditResult>();
        match seen {
            Seen::Nothing(None) => plan,
            Seen::Nothing(Some(why)) => plan.waiting(*why),
            Seen::Early(left, round) => {
                told(plan, item, *left, round, |deleted_nodes| KubernetesNodeAuditResult { deleted_nodes })
            }
            Seen::Due((), before) => {
                plan.op(audited(orphans(item, view), &before.orphans, view));
                plan
            }
        }
    }

    async fn apply(&self, item: &str, op: Op) -> anyhow::Result<()> {
        let mut removed = Vec::new();
        for node in op.delete {
            if self.kubernetes.delete_node(item, &node).await? {
                tracing::info!(cluster = item, node, "deleted a node that no machine stands behind");
                removed.push(node);
            }
        }
        self.audits.note(item, Round { removed, ..op.round });
        Ok(())
    }
}

/// What is done about orphans, of which some were seen before.
fn audited<K: Kubernetes>(
    orphans: BTreeSet<String>,
    before: &BTreeSet<String>,
    view: &View<KubernetesNodeAuditController<K>>,
) -> Op {
    let confirmed: Vec<String> = orphans.intersection(before).cloned().collect();
    let members = roll::members(view);
    let awaited = roll::unidentified(view, &members, |identity| !identity.nodename.is_empty());
    let round = Round { orphans, ..Round::default() };
    match awaited {
        Some(machine) if !confirmed.is_empty() => {
            let nodes = confirmed.join(", ");
            let reason =
                format!("the name of machine {machine} in Kubernetes, which may be one of the nodes {nodes}");
            Op { delete: Vec::new(), round: Round { reason, ..round } }
        }
        _ => Op { delete: confirmed, round },
    }
}

/// Nodes that are not ready and that no machine of the cluster is known to be.
fn orphans<K: Kubernetes>(item: &str, view: &View<KubernetesNodeAuditController<K>>) -> BTreeSet<String> {
    let known = view.get::<ClusterKubernetesNodes>(item);
    let (Some(known), Some(status)) = (known, view.get::<KubernetesStatus>(item)) else {
        return BTreeSet::new();
    };
    let features = view.get::<Cluster>(item).and_then(|cluster| cluster.features.as_ref());
    let may_skip = features.is_some_and(|features| features.enable_node_audit_skip);
    let nodes = status.nodes.iter().filter(|node| !(node.ready || may_skip && node.skip_audit));
    let names = nodes.map(|node| node.nodename.clone());
    names.filter(|name| !known.nodes.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corten_fleet_resources::cluster::ClusterFeatures;
    use corten_fleet_resources::kubernetes::KubernetesNode;
    use corten_fleet_resources::labels::annotation::CLUSTER_LOCKED;
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::kubernetes_status::tests::Fake;
    use crate::testing::{machine_status, registry, worker};

    /// From one audit to the next, and a little more.
    const STEP: Duration = Duration::from_secs(61);

    fn node(name: &str, ready: bool, skip_audit: bool) -> KubernetesNode {
        KubernetesNode { nodename: name.to_owned(), ready, skip_audit, ..KubernetesNode::default() }
    }

    fn started(fake: &Fake, cluster: AnyResource) -> TestRuntime {
        let runtime = TestRuntime::new(registry(), |runtime| {
            runtime.register_items(KubernetesNodeAuditController::new(fake.clone()));
        });
        let nodes = vec![
            node("known", false, false),
            node("ready", true, false),
            node("lost", false, false),
            node("kept", false, true),
        ];
        runtime.put(resource("prod", KubernetesStatus { nodes, ..KubernetesStatus::default() }));
        let nodes = vec!["known".to_owned()];
        runtime.put(resource("prod", ClusterKubernetesNodes { nodes }));
        runtime.put(cluster);
        runtime
    }

    fn cluster() -> AnyResource {
        let features = ClusterFeatures { enable_node_audit_skip: true, ..ClusterFeatures::default() };
        resource("prod", Cluster { features: Some(features), ..Cluster::default() })
    }

    fn result(runtime: &TestRuntime) -> Option<Vec<String>> {
        let result = runtime.state().get::<KubernetesNodeAuditResult>("prod");
        result.map(|result| result.deleted_nodes.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_nobody_stands_behind_is_deleted_when_it_is_seen_again() {
        let fake = Fake::default();
        let runtime = started(&fake, cluster());
        runtime.quiet().await;
        assert!(fake.take().is_empty(), "it was seen once");
        runtime.put(machine_status("m", "fdae::1", false));
        runtime.quiet().await;
        assert!(fake.take().is_empty(), "a change is no second look");
        runtime.advance(STEP).await;
        assert_eq!(fake.take(), ["delete lost"]);
        assert_eq!(result(&runtime), Some(vec!["lost".to_owned()]));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_deleted_while_a_machine_may_be_the_node_or_the_cluster_is_locked() {
        let fake = Fake::default();
        let runtime = started(&fake, cluster());
        runtime.put(worker("w"));
        runtime.put(machine_status("w", "fdae::2", true));
        for _ in 0..3 {
            runtime.advance(STEP).await;
        }
        assert!(fake.take().is_empty());
        let status = runtime.status("KubernetesNodeAuditController/prod").expect("it waits");
        assert!(status.reason.contains("the name of machine w"), "{}", status.reason);
        let locked = cluster();
        let locked = locked
            .edit(|metadata| drop(metadata.annotations.insert(CLUSTER_LOCKED.to_owned(), String::new())));
        let runtime = started(&fake, locked);
        for _ in 0..3 {
            runtime.advance(STEP).await;
        }
        assert!(fake.take().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_ready_after_all_stays() {
        let fake = Fake::default();
        fake.0.lock().ready.push("lost".to_owned());
        let runtime = started(&fake, cluster());
        for _ in 0..3 {
            runtime.advance(STEP).await;
        }
        assert!(fake.take().is_empty());
        assert_eq!(result(&runtime), None);
    }
}
