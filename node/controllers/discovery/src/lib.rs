//! How the members of a cluster find each other through discovery services (node.md 7.6).
//!
//! ```text
//! DiscoveryConfig, Identity ──▶ registry ──▶ one session for each service ──▶ Hello, Watch, AffiliateUpdate
//! Affiliate (cluster), ours ──▶    │                       │
//!                                  ▼                       ▼ affiliate, seal: what members tell, in the clear
//!          Affiliates "service/<node id>" (cluster-raw) ◀── members
//! ```
//!
//! What is told of a member is merged with what the other registries say, and becomes a `Member`, in the domain of
//! Kubernetes. A service sees the id of the cluster, the ids of its members and their addresses on the network; all
//! else is sealed with the secret of the cluster.
//!
//! Invariants:
//! 1. Nothing waits for a service: a machine without any boots and runs, and members that are known stay.
//! 2. Whoever knows the id of a cluster can write there; what is not sealed with its secret changes nothing.
//! 3. What is kept of a service is bounded, whatever it tells.
//!
//! Absent: endpoints of others are read and none are told, since KubeSpan, which they are for, is not supported.

mod affiliate;
mod connect;
#[cfg(test)]
mod fake;
mod registry;
mod seal;
mod service;
mod session;

use corten_base::Rng;
use corten_resource::Runtime;

/// Registers all controllers of the domain.
pub fn register(runtime: &mut Runtime, rng: &Rng) {
    runtime.register(registry::ServiceRegistry::new(service::GrpcService, rng.clone()));
}
