//! Nodes and components as the Kubernetes of a cluster has them.
//!
//! ```text
//! Kubeconfig (held) ───────────┐
//! LoadBalancerStatus (open) ───┼─▶ Kubernetes: watch, unwatch ─▶ KubernetesStatus
//!                              │        └─ news ─ClusterObservation─┐
//!                              └────────────────────────────────────┘
//! ```
//!
//! What was seen last stays while Kubernetes does not answer.
//!
//! - `seen`: from objects to rows; `watches`: one watch for each cluster, through its load balancer

mod seen;
mod watches;

use corten_fleet_resources::kubernetes::{KubernetesStatus, LoadBalancerStatus};
use corten_fleet_resources::secrets::Kubeconfig;
use corten_resource::{AnyResource, Concern, ItemDriver, Plan, View, controller};
use sha2::{Digest as _, Sha256};

pub use watches::KubernetesWatches;

use crate::bell::ClusterObservation;
use crate::scope;

/// Differs when the credentials do.
pub(crate) type Mark = [u8; 32];

/// What is seen of the Kubernetes of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sight {
    /// Mark of the credentials that it is watched with.
    pub(crate) mark: Mark,
    /// What it has; `None` until it told all.
    pub status: Option<KubernetesStatus>,
    /// Why nothing new comes at present; empty when something does.
    pub error: String,
}

/// The Kubernetes of clusters. Implemented over the network and by a recording fake.
pub trait Kubernetes: Send + Sync + 'static {
    /// What is seen of that of a cluster; `None` while it is not watched.
    fn sight(&self, cluster: &str) -> Option<Sight>;

    /// Watches that of a cluster from now on, with these credentials.
    ///
    /// # Errors
    /// When the credentials cannot be used.
    fn watch(
        &self,
        cluster: &str,
        kubeconfig: &Kubeconfig,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Ends the watch and forgets what was seen.
    fn unwatch(&self, cluster: &str);

    /// Deletes a node, unless it is ready after all; whether it is gone.
    ///
    /// # Errors
    /// When Kubernetes is not watched, does not answer, or refuses.
    fn delete_node(&self, cluster: &str, node: &str) -> impl Future<Output = anyhow::Result<bool>> + Send;
}

/// Publishes what Kubernetes has, and has it watched.
#[derive(Debug)]
pub(crate) struct KubernetesStatusController<K> {
    kubernetes: K,
}

impl<K: Kubernetes> KubernetesStatusController<K> {
    /// A controller that watches with `kubernetes`.
    pub(crate) const fn new(kubernetes: K) -> Self {
        Self { kubernetes }
    }
}

controller!(impl<K: Kubernetes> KubernetesStatusController<K>, "KubernetesStatusController",
    inputs: [strong Kubeconfig, weak LoadBalancerStatus, weak ClusterObservation],
    outputs: [exclusive KubernetesStatus]);

/// What is done for a cluster. It cannot be printed, for there are credentials in it.
pub(crate) enum Op {
    /// It is watched with these.
    Watch(Kubeconfig),
    /// It is watched no more.
    Unwatch,
}

impl<K: Kubernetes> ItemDriver for KubernetesStatusController<K> {
    type Observed = Option<Sight>;
    type Op = Op;

    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    async fn observe(&self, item: &str, _: &View<Self>) -> anyhow::Result<Option<Sight>> {
        Ok(self.kubernetes.sight(item))
    }

    fn plan(&self, item: &str, view: &View<Self>, sight: &Option<Sight>) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let Some(kubeconfig) = view.get::<Kubeconfig>(item) else {
            if sight.is_some() {
                plan.op(Op::Unwatch);
            }
            return plan;
        };
        let balancer = view.get::<LoadBalancerStatus>(item);
        let is_open = balancer.is_some_and(|status| !status.stopped);
        let is_healthy = is_open && balancer.is_some_and(|status| status.healthy);
        match sight {
            Some(_) if !is_open => drop_watch(plan),
            Some(sight) if sight.mark != mark(kubeconfig) => watch(plan, kubeconfig),
            None if is_healthy => watch(plan, kubeconfig),
            None => waiting(plan, "a healthy load balancer; see its LoadBalancerStatus"),
            Some(Sight { status: Some(status), error, .. }) => {
                plan.put(item, status.clone());
                match error.is_empty() {
                    true => plan,
                    false => plan.waiting(format!("an answer of Kubernetes: {error}")),
                }
            }
            Some(Sight { error, .. }) => waiting(plan, &format!("the nodes of Kubernetes; {error}")),
        }
    }

    async fn apply(&self, item: &str, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Watch(kubeconfig) => self.kubernetes.watch(item, &kubeconfig).await?,
            Op::Unwatch => self.kubernetes.unwatch(item),
        }
        Ok(())
    }
}

/// A plan of the controller.
type Planned<K> = Plan<KubernetesStatusController<K>, Op>;

fn watch<K: Kubernetes>(mut plan: Planned<K>, kubeconfig: &Kubeconfig) -> Planned<K> {
    plan.keep::<KubernetesStatus>();
    plan.op(Op::Watch(kubeconfig.clone()));
    plan
}

fn drop_watch<K: Kubernetes>(mut plan: Planned<K>) -> Planned<K> {
    plan.keep::<KubernetesStatus>();
    plan.op(Op::Unwatch);
    plan
}

fn waiting<K: Kubernetes>(mut plan: Planned<K>, what: &str) -> Planned<K> {
    plan.keep::<KubernetesStatus>();
    plan.waiting(what.trim_end_matches("; "))
}

/// The mark of credentials.
pub(crate) fn mark(kubeconfig: &Kubeconfig) -> Mark {
    Sha256::digest(&kubeconfig.data).into()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use corten_fleet_resources::kubernetes::KubernetesNode;
    use corten_resource::testing::{TestRuntime, resource};
    use parking_lot::Mutex;

    use super::*;
    use crate::testing::registry;

    /// One Kubernetes that shows what the test says.
    #[derive(Clone, Default)]
    pub(crate) struct Fake(pub(crate) Arc<Mutex<Shown>>);

    /// What is shown, and what was done.
    #[derive(Default)]
    pub(crate) struct Shown {
        watched: Option<Mark>,
        pub(crate) status: Option<KubernetesStatus>,
        pub(crate) calls: Vec<String>,
        pub(crate) ready: Vec<String>,
    }

    impl Fake {
        pub(crate) fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().calls)
        }
    }

    impl Kubernetes for Fake {
        fn sight(&self, _: &str) -> Option<Sight> {
            let shown = self.0.lock();
            shown.watched.map(|mark| Sight { mark, status: shown.status.clone(), error: String::new() })
        }
        async fn watch(&self, _: &str, kubeconfig: &Kubeconfig) -> anyhow::Result<()> {
            let mut shown = self.0.lock();
            shown.watched = Some(mark(kubeconfig));
            shown.calls.push(format!("watch {}", String::from_utf8_lossy(&kubeconfig.data)));
            Ok(())
        }
        fn unwatch(&self, _: &str) {
            let mut shown = self.0.lock();
            shown.watched = None;
            shown.calls.push("unwatch".to_owned());
        }
        async fn delete_node(&self, _: &str, node: &str) -> anyhow::Result<bool> {
            let mut shown = self.0.lock();
            let is_gone = !shown.ready.iter().any(|ready| ready == node);
            if is_gone {
                shown.calls.push(format!("delete {node}"));
            }
            Ok(is_gone)
        }
    }

    fn kubeconfig(data: &str) -> AnyResource {
        resource("prod", Kubeconfig { data: data.as_bytes().to_vec() })
    }

    fn balancer(healthy: bool, stopped: bool) -> AnyResource {
        resource("prod", LoadBalancerStatus { healthy, stopped })
    }

    #[tokio::test(start_paused = true)]
    async fn kubernetes_is_watched_from_the_first_answer_until_the_control_plane_is_away() {
        let fake = Fake::default();
        let runtime = TestRuntime::new(registry(), |runtime| {
            runtime.register_items(KubernetesStatusController::new(fake.clone()));
        });
        let found = || runtime.state().get::<KubernetesStatus>("prod").map(|status| status.nodes.len());
        runtime.put(kubeconfig("one"));
        runtime.put(balancer(false, false));
        runtime.quiet().await;
        let status = runtime.status("KubernetesStatusController/prod").expect("it waits");
        assert!(status.reason.contains("a healthy load balancer"), "{}", status.reason);
        fake.0.lock().status =
            Some(KubernetesStatus { nodes: vec![KubernetesNode::default()], ..KubernetesStatus::default() });
        runtime.put(balancer(true, false));
        runtime.quiet().await;
        assert_eq!((found(), fake.take()), (Some(1), vec!["watch one".to_owned()]));
        runtime.put(balancer(false, false));
        runtime.quiet().await;
        assert!(fake.take().is_empty(), "it may be back in a moment");
        runtime.put(kubeconfig("two"));
        runtime.quiet().await;
        runtime.put(balancer(false, true));
        runtime.quiet().await;
        assert_eq!(fake.take(), ["watch two", "unwatch"]);
        assert_eq!(found(), Some(1), "what was seen last stays");
        runtime.state().remove::<Kubeconfig>("", "prod").expect("torn down");
        runtime.quiet().await;
        assert_eq!(found(), None);
    }
}
