//! Certificates, keys and tokens of a machine: taken from the configuration, issued, and renewed in time.
//!
//! ```text
//! machine configuration ──▶ roots (CAs, tokens) ─┐
//! names and addresses ──▶ CertSANs ──────────────┴─▶ leaf certificates, kubeconfigs
//! ```
//!
//! A certificate is issued again only when its names, its CA or its remaining life ask for it: every planner looks first at what it published
//! before, and the state outlives machined, so a restart changes nothing.

mod api;
mod configuration;
mod etcd;
mod issue;
mod kubeconfig;
mod kubelet;
mod kubernetes;
mod roots;
mod sans;
mod trustd_client;

use corten_base::Rng;
use corten_resource::Runtime;

pub use kubeconfig::{Refused, admin as admin_kubeconfig};
pub use trustd_client::{Signer, TrustdClient};

/// Registers every controller of this domain.
pub fn register(runtime: &mut Runtime, rng: &Rng) {
    register_with(runtime, rng, TrustdClient::default());
}

/// Registers every controller, with another way to have requests signed.
pub fn register_with<S: Signer>(runtime: &mut Runtime, rng: &Rng, signer: S) {
    runtime
        .register_transform(roots::Roots)
        .register_transform(sans::Names)
        .register_transform(api::MaintenanceAuthority::new(rng.clone()))
        .register(api::ApiCertificates::new(rng.clone(), signer))
        .register_transform(api::TrustdCertificates::new(rng.clone()))
        .register_transform(etcd::EtcdCertificates::new(rng.clone()))
        .register_transform(kubernetes::DynamicCertificates::new(rng.clone()))
        .register_transform(kubernetes::Kubeconfigs::new(rng.clone()))
        .register_transform(kubelet::KubeletBootstrap);
}
