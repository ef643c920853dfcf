//! etcd on this control plane: intent, specification, files, the way into the cluster, and the member's state.
//!
//!     machine configuration ──▶ EtcdConfig ──▶ EtcdSpec ─┐
//!     EtcdSecrets ──▶ files ──▶ EtcdPkiStatus ───────────┼─▶ ServiceSpec/etcd ──▶ EtcdMember
//!     BootstrapIntent or data on disk or other members ──┘

pub mod arguments;
pub mod member;
pub mod pki;
pub mod service;
pub mod spec;

/// Folder of etcd's keys and certificates.
pub const PKI_FOLDER: &str = "/system/secrets/etcd";
/// Data of the member.
pub const DATA_FOLDER: &str = "/var/lib/etcd";
/// Exists from the order to found a cluster until the cluster has answered once.
pub const FOUNDING_FILE: &str = "/var/lib/etcd-founding";
/// Id of the service.
pub const SERVICE: &str = "etcd";
/// Port for clients.
pub const CLIENT_PORT: u16 = 2379;
/// Port for members.
pub const PEER_PORT: u16 = 2380;
/// Port for clients that speak HTTP/1 only.
pub const HTTP_PORT: u16 = 2383;
/// Loopback port of health and metrics, without TLS.
pub const HEALTH_PORT: u16 = 2384;
