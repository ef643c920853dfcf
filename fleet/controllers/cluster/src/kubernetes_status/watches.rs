//! One watch of Kubernetes for each cluster, through its load balancer.
//!
//! ```text
//! Kubeconfig ─▶ client ─Balancers::connect─▶ Kubernetes
//!                 ├─ watch of nodes ──────────────┐
//!                 └─ list of pods, now and then ──┴▶ Seen ─news─▶ Bell
//! ```
//!
//! Nodes are many and large, so they are watched; the pods of the control plane are a few, so they are listed. What a
//! watch keeps is a row for each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use corten_base::{Task, chain, spawn};
use corten_fleet_resources::secrets::Kubeconfig;
use corten_kubernetes::{ApiResource, Client, Dialer, Kubeconfig as File, Line, ListOptions, object};
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use super::seen::Seen;
use super::{Kubernetes, Mark, Sight, mark};
use crate::bell::Bell;
use crate::load_balancer::{Balancers, Ports};

/// Clusters that are watched at most; each has one connection.
const CLUSTERS_MAX: usize = 4096;
/// Between two lists of pods.
const PODS_INTERVAL: Duration = Duration::from_secs(30);
/// Namespace of the pods of the control plane.
const SYSTEM: &str = "kube-system";
/// What they all have.
const SELECTOR: &str = "tier=control-plane";

struct Watch {
    mark: Mark,
    client: Client,
    seen: Arc<Seen>,
    _task: Task,
}

/// Watches of the Kubernetes of clusters; they end with it.
pub struct KubernetesWatches<N> {
    balancers: Arc<Balancers<N>>,
    bell: Bell,
    watches: Mutex<BTreeMap<String, Watch>>,
}

impl<N> std::fmt::Debug for KubernetesWatches<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesWatches")
            .field("clusters", &self.watches.lock().len())
            .finish_non_exhaustive()
    }
}

impl<N: Ports> KubernetesWatches<N> {
    /// Watches of no cluster yet.
    pub(crate) const fn new(balancers: Arc<Balancers<N>>, bell: Bell) -> Self {
        Self { balancers, bell, watches: Mutex::new(BTreeMap::new()) }
    }

    /// A client of the Kubernetes of a cluster, as an administrator; `None` while it is not watched.
    pub fn client(&self, cluster: &str) -> Option<Client> {
        self.watches.lock().get(cluster).map(|watch| watch.client.clone())
    }

    /// Makes a client whose connections are led to the control plane as those of machines are.
    async fn connect(&self, cluster: &str, kubeconfig: &Kubeconfig) -> anyhow::Result<Client> {
        let text = std::str::from_utf8(&kubeconfig.data).context("its Kubeconfig is no text")?;
        // All that it needs stands in it, so no folder is looked into.
        let config = File::parse(text)?.config(Path::new("/")).await?;
        let (balancers, name) = (Arc::clone(&self.balancers), cluster.to_owned());
        let dialer: Dialer = Arc::new(move |_: SocketAddr| {
            let (balancers, name) = (Arc::clone(&balancers), name.clone());
            async move {
                let stream = balancers.connect(&name).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream) as Box<dyn Line>)
            }
            .boxed()
        });
        Ok(Client::with_dialer(&config, dialer)?)
    }
}

impl<N: Ports> Kubernetes for Arc<KubernetesWatches<N>> {
    fn sight(&self, cluster: &str) -> Option<Sight> {
        let watches = self.watches.lock();
        let watch = watches.get(cluster)?;
        let (status, error) = watch.seen.status();
        Some(Sight { mark: watch.mark, status, error })
    }

    async fn watch(&self, cluster: &str, kubeconfig: &Kubeconfig) -> anyhow::Result<()> {
        let client = self.connect(cluster, kubeconfig).await;
        let client = client.context("its Kubeconfig cannot be used; delete it to have it made anew")?;
        let seen = Arc::new(Seen::default());
        let follower = Follower {
            client: client.clone(),
            seen: Arc::clone(&seen),
            bell: self.bell.clone(),
            cluster: cluster.to_owned(),
        };
        let mut watches = self.watches.lock();
        anyhow::ensure!(
            watches.len() < CLUSTERS_MAX || watches.contains_key(cluster),
            "the manager watches the Kubernetes of {CLUSTERS_MAX} clusters and of no more; remove some"
        );
        let task = spawn("Kubernetes watch", follower.follow());
        watches.insert(cluster.to_owned(), Watch { mark: mark(kubeconfig), client, seen, _task: task });
        Ok(())
    }

    fn unwatch(&self, cluster: &str) {
        self.watches.lock().remove(cluster);
    }

    async fn delete_node(&self, cluster: &str, node: &str) -> anyhow::Result<bool> {
        let client = self.client(cluster).context("its Kubernetes does not answer")?;
        let nodes = client.api(&ApiResource::nodes(), None);
        match nodes.find(node).await? {
            Some(found) if object::has_condition(&found, "Ready") => return Ok(false),
            Some(_) => nodes.delete(node).await?,
            None => {}
        }
        Ok(true)
    }
}

/// Follows the Kubernetes of one cluster.
struct Follower {
    client: Client,
    seen: Arc<Seen>,
    bell: Bell,
    cluster: String,
}

impl Follower {
    /// Takes in what comes, for ever.
    async fn follow(self) {
        let mut nodes = self.client.api(&ApiResource::nodes(), None).watch(&ListOptions::default());
        let pods = self.client.api(&ApiResource::pods(), Some(SYSTEM));
        let selector = ListOptions::labels(SELECTOR);
        let mut looks = interval(PODS_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_news = tokio::select! {
                // Either may be dropped at any time: the watch keeps its place, the clock its beat.
                told = nodes.next() => match told {
                    Some(told) => self.seen.nodes(told.map_err(|error| chain(&error))),
                    None => return,
                },
                _ = looks.tick() => {
                    let listed = pods.list(&selector).await;
                    self.seen.pods(listed.map(|list| list.items).map_err(|error| chain(&error)))
                }
            };
            if is_news {
                self.bell.ring(&self.cluster);
            }
        }
    }
}
