//! The controllers of clusters as a whole.
//!
//! ```text
//! Cluster ─▶ cluster_uuid, cluster_config_version (made once, kept for life)
//!         ├▶ cluster_members ─▶ cluster_load_balancer ─▶ load_balancer ══ ports in the tunnel ◀── machines
//!         ├▶ secrets (made once) ─▶ credentials ═▶ calls to machines, Kubernetes
//!         ├▶ cluster_bootstrap_status ═▶ one machine starts etcd
//!         ├▶ cluster_machine_identity ◀═ machines      kubernetes_status ◀═ Kubernetes
//!         ├▶ etcd_audit, kubernetes_node_audit: what nobody stands behind goes when it is seen twice
//!         ├▶ control_plane_status, cluster_status
//!         └▶ cluster_destroy_status: empties a cluster that is removed, in order
//! ```
//!
//! What is decided is decided in `corten_fleet_cluster`; here is what is asked of whom, and when.
//!
//! - [`machine_calls`] are the calls to machines; [`KubernetesWatches`] and [`Balancers`] are what runs for a cluster.
//! - `scope` says which cluster a resource concerns and how long what was made for one stays; `roll` lists machines;
//!   `audit` is when audits look, and what they tell.
//!
//! Invariants: etcd is started on one machine, which is on the disk before it is asked; secrets, UUID, contract and
//! port of a cluster never change; what machines are reset with stays until the last of them is gone; nothing is
//! removed from etcd or Kubernetes that was seen once, or that a machine whose name is awaited may be.

mod audit;
mod bell;
mod cluster_bootstrap_status;
mod cluster_config_version;
mod cluster_destroy_status;
mod cluster_load_balancer;
mod cluster_machine_identity;
mod cluster_members;
mod cluster_status;
mod cluster_uuid;
mod control_plane_status;
mod credentials;
mod etcd_audit;
mod kubernetes_node_audit;
mod kubernetes_status;
mod load_balancer;
pub mod machine_calls;
mod roll;
mod rounds;
mod scope;
mod secrets;
#[cfg(test)]
mod testing;

use std::net::Ipv6Addr;
use std::sync::Arc;

use corten_base::Rng;
use corten_fleet_controllers_machine::Pool;
use corten_fleet_controllers_machine::connect::Dial;
use corten_fleet_settings::LoadBalancer;
use corten_resource::Runtime;

pub use bell::{ClusterObservation, types};
pub use kubernetes_status::{Kubernetes, KubernetesWatches, Sight};
pub use load_balancer::{Balancers, Balancing, Ports, Running};

use bell::Bell;
use cluster_bootstrap_status::ClusterBootstrapStatusController;
use cluster_config_version::ClusterConfigVersionController;
use cluster_destroy_status::ClusterDestroyStatusController;
use cluster_load_balancer::ClusterLoadBalancerController;
use cluster_machine_identity::ClusterMachineIdentityController;
use cluster_members::ClusterMembersController;
use cluster_status::ClusterStatusController;
use cluster_uuid::ClusterUuidController;
use control_plane_status::ControlPlaneStatusController;
use credentials::CredentialsController;
use etcd_audit::EtcdAuditController;
use kubernetes_node_audit::KubernetesNodeAuditController;
use kubernetes_status::KubernetesStatusController;
use load_balancer::LoadBalancerController;
use machine_calls::{Calls, MachineCalls};
use secrets::SecretsController;

/// What the controllers of this domain need.
#[derive(Debug)]
pub struct Dependencies<D, N> {
    /// Connections to machines.
    pub pool: Arc<Pool<D>>,
    /// Opens ports in the tunnel, and connects to machines.
    pub ports: N,
    /// The manager's address in the tunnel.
    pub address: Ipv6Addr,
    /// How load balancers work, and which ports they have.
    pub load_balancer: LoadBalancer,
    /// Source of keys and UUIDs.
    pub rng: Rng,
}

/// What the rest of the manager needs of this domain.
#[derive(Debug)]
pub struct Clusters<N> {
    /// Connections to the Kubernetes API of clusters, for proxies.
    pub balancers: Arc<Balancers<N>>,
    /// Clients of the Kubernetes of clusters, as an administrator.
    pub kubernetes: Arc<KubernetesWatches<N>>,
}

/// Registers the controllers of this domain. The state of the runtime must know the type of [`types`]. Must be called
/// inside a Tokio runtime.
pub fn register<D: Dial, N: Ports>(runtime: &mut Runtime, dependencies: Dependencies<D, N>) -> Clusters<N> {
    let Dependencies { pool, ports, address, load_balancer, rng } = dependencies;
    let state = runtime.state().clone();
    let bell = Bell::new(state.clone());
    let port_range = load_balancer.min_port..=load_balancer.max_port;
    let balancers = Arc::new(Balancers::new(ports, load_balancer, bell.clone()));
    let kubernetes = Arc::new(KubernetesWatches::new(Arc::clone(&balancers), bell));
    runtime.register_items(ClusterUuidController::new(rng.clone()));
    runtime.register_item_transform(ClusterConfigVersionController);
    runtime.register_item_transform(ClusterMembersController);
    runtime.register_items(ClusterLoadBalancerController::new(state.clone(), address, port_range));
    runtime.register_items(LoadBalancerController::new(Arc::clone(&balancers)));
    runtime.register_items(SecretsController::new(state.clone(), rng.clone()));
    runtime.register_items(CredentialsController::new(rng));
    runtime.register_item_transform(ClusterStatusController);
    runtime.register_items(KubernetesStatusController::new(Arc::clone(&kubernetes)));
    runtime.register_items(KubernetesNodeAuditController::new(Arc::clone(&kubernetes)));
    runtime.register_items(ClusterDestroyStatusController::new(state.clone()));
    register_callers(runtime, || Calls::new(Arc::clone(&pool), state.clone()));
    Clusters { balancers, kubernetes }
}

/// Registers the controllers that call machines.
fn register_callers<M: MachineCalls>(runtime: &mut Runtime, calls: impl Fn() -> M) {
    runtime.register_items(ClusterBootstrapStatusController::new(calls()));
    runtime.register_items(ClusterMachineIdentityController::new(calls()));
    runtime.register_items(ControlPlaneStatusController::new(calls()));
    runtime.register_items(EtcdAuditController::new(calls()));
}

#[cfg(test)]
mod tests;
