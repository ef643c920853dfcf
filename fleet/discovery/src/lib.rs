//! The discovery service that the manager embeds: members of a cluster tell about themselves here and learn of each
//! other (package `sidero.discovery.server`, service `Cluster`; fleet.md 12).
//!
//! ```text
//! member ──gRPC over the tunnel──▶ service ──Update──▶ registry ──Notice──▶ watchers ──WatchResponse──▶ members
//!                                    ▲ limits             ▲  │
//! manager ──run (collects each minute), delete────────────┘  └──▶ snapshot ──bytes──▶ the manager's database
//! ```
//!
//! What members tell is encrypted with a secret of their cluster; it is kept, compared by its bytes and handed on, and
//! never understood. Everything ends with its TTL. A lost registry costs little: members that watch again tell
//! everything again.
//!
//! Deviation from the field, on purpose: the end of one endpoint is told as an update with those that are left, where
//! the public service tells the deletion of the whole affiliate.

mod convert;
mod limits;
pub mod registry;
mod service;
pub mod snapshot;
mod watchers;

use corten_api::MESSAGE_BYTES_MAX;
use corten_api::sidero::discovery::server::cluster_server::ClusterServer;

pub use registry::{Registry, RegistryError};
pub use service::Discovery;
pub use snapshot::SnapshotError;

/// Largest request, in bytes. The largest one within the limits of [`registry`] has about 5 KiB; what is somewhat
/// larger is still read, so that its sender is told which limit it breaks.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// The gRPC service over `discovery`, for the router of whoever listens.
///
/// The listener must leave a [`TcpConnectInfo`](tonic::transport::server::TcpConnectInfo) in the extensions of every
/// request, as tonic's own does: requests are limited by the address of their sender, and those without one share a
/// limit. It also bounds connections, streams of a connection, and how long a silent one is kept.
pub fn service(discovery: Discovery) -> ClusterServer<Discovery> {
    ClusterServer::new(discovery)
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}
