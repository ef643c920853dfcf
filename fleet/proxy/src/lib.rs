//! The ways through the manager to what is behind it: the API of machines and the Kubernetes of clusters.
//!
//! ```text
//! talosctl ─▶ fleet/api: signature ─Arc<Caller>─▶ talos ─▶ machine, role ────┐
//!                                                                            ├─▶ tunnel ─▶ machine :50000
//! kubectl ──▶ fleet/api: Door ─Bearer token─▶ kubernetes ─▶ cluster, groups ─┴─▶ tunnel ─▶ machine :6443
//!
//! management.Kubeconfig, Talosconfig ─▶ ClusterCredentials ─▶ YAML
//!                                              └▶ JwtPublicKey ◀─ JwtKeys ─▶ verified tokens, /oidc/keys
//! ```
//!
//! - [`talos`] routes calls byte for byte; [`kubernetes`] requests, watches, and connections that are upgraded.
//! - [`credentials`] makes client configurations and [`keys`] keeps what verifies the tokens in them.
//! - [`log`] is what is told to the audit log about both ways.
//!
//! Invariants:
//! 1. What a client says about who it is never reaches what is behind: not its roles, and not whom it impersonates.
//! 2. Rights that are withdrawn end what is under way within [`CHECK`].
//! 3. A machine that is silent or slow costs bounded memory, and delays nobody who calls another one.
//! 4. Connections here are not those of the controllers, so that no client holds a controller back.

mod body;
pub mod credentials;
pub mod keys;
pub mod kubernetes;
pub mod log;
mod pool;
pub mod talos;
#[cfg(test)]
mod testing;
mod token;
mod way;

pub use body::CHECK;
pub use credentials::{ClusterCredentials, CredentialOptions};
pub use keys::JwtKeys;
pub use kubernetes::KubernetesParts;
pub use log::{AccessEvent, AccessKind, AccessLog, NoAccessLog};
pub use talos::TalosParts;
