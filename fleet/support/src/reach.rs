//! Ways to machines and to the Kubernetes of clusters, for those who only look.
//!
//! ```text
//! cluster ─Keyring─▶ MemberAccess ─┐
//! machine ─▶ Machine, Link ────────┴─Pool─▶ Client        cluster ─KubernetesWatches─▶ Kubernetes client
//! ```

use std::net::Ipv6Addr;
use std::sync::Arc;

use corten_client::Client;
use corten_fleet_controllers_cluster::{KubernetesWatches, Ports};
use corten_fleet_controllers_machine::connect::{Dial, DialError, Keyring as _};
use corten_fleet_controllers_machine::{Pool, Target};
use corten_fleet_resources::link::Link;
use corten_fleet_resources::machine::Machine;
use corten_resource::State;
use futures::future::BoxFuture;

/// A machine that cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReachError {
    /// There are no credentials.
    #[error("cluster {0} has no TalosConfig yet; it is made with the secrets of the cluster")]
    NoCredentials(String),
    /// The machine is not there.
    #[error("the machine is away; look at its power and its network")]
    Away,
    /// The machine does not answer as it should.
    #[error(transparent)]
    Dial(#[from] DialError),
}

/// Leads to machines and to Kubernetes. Implemented over the manager's connections, and by fakes.
pub trait Reach: Send + Sync + 'static {
    /// The API of a machine that is a member of a cluster.
    fn machine<'a>(&'a self, cluster: &'a str, machine: &'a str)
    -> BoxFuture<'a, Result<Client, ReachError>>;

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

impl<D: Dial, N: Ports> Connections<D, N> {
    async fn connect(&self, cluster: &str, machine: &str) -> Result<Client, ReachError> {
        let found = self.state.get::<Machine>(machine).filter(|machine| machine.connected);
        let found = found.ok_or(ReachError::Away)?;
        let address: Ipv6Addr = found.management_address.parse().map_err(|_| ReachError::Away)?;
        let missing = || ReachError::NoCredentials(cluster.to_owned());
        let access = self.state.access(cluster).ok_or_else(missing)?;
        let link = self.state.get::<Link>(machine);
        let public_key = link.map(|link| link.node_public_key.clone()).unwrap_or_default();
        let target = Target { address, public_key, cluster: Some(cluster.to_owned()) };
        Ok(self.pool.get(machine, &target, Some(&access)).await?.client().clone())
    }
}

impl<D: Dial, N: Ports> Reach for Connections<D, N> {
    fn machine<'a>(
        &'a self,
        cluster: &'a str,
        machine: &'a str,
    ) -> BoxFuture<'a, Result<Client, ReachError>> {
        Box::pin(self.connect(cluster, machine))
    }

    fn kubernetes(&self, cluster: &str) -> Option<corten_kubernetes::Client> {
        self.kubernetes.client(cluster)
    }
}
