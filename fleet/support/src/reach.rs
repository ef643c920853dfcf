//! Ways to machines and to the Kubernetes of clusters, for those who only look.
//!
//! ```text
//! cluster, machine ─Pool─▶ Client        cluster ─KubernetesWatches─▶ Kubernetes client
//! ```

use std::sync::Arc;

use corten_client::Client;
use corten_fleet_controllers_cluster::{KubernetesWatches, Ports};
use corten_fleet_controllers_machine::Pool;
use corten_fleet_controllers_machine::calls::{self, CallError};
use corten_fleet_controllers_machine::connect::Dial;
use corten_resource::State;
use futures::future::BoxFuture;

/// Leads to machines and to Kubernetes. Implemented over the manager's connections, and by fakes.
pub trait Reach: Send + Sync + 'static {
    /// The API of a machine that is a member of a cluster.
    fn machine<'a>(&'a self, cluster: &'a str, machine: &'a str) -> BoxFuture<'a, Result<Client, CallError>>;

    /// The Kubernetes of a cluster, as an administrator; none while the manager does not see it.
    fn kubernetes(&self, cluster: &str) -> Option<corten_kubernetes::Client>;
}

/// The manager's own connections.
pub struct Connections<D, N> {
    /// The store.
    pub state: State,
    /// Connections to machines.
    pub pool: Arc<Pool<D>>,
    /// Clients of the Kubernetes of clusters.
    pub kubernetes: Arc<KubernetesWatches<N>>,
}

impl<D, N> std::fmt::Debug for Connections<D, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

impl<D: Dial, N: Ports> Reach for Connections<D, N> {
    fn machine<'a>(&'a self, cluster: &'a str, machine: &'a str) -> BoxFuture<'a, Result<Client, CallError>> {
        Box::pin(async move {
            let connection = calls::member(&self.pool, &self.state, cluster, machine).await?;
            Ok(connection.client().clone())
        })
    }

    fn kubernetes(&self, cluster: &str) -> Option<corten_kubernetes::Client> {
        self.kubernetes.client(cluster)
    }
}
