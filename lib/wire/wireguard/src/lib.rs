//! WireGuard in user space, without sockets: datagrams and IP packets go in and come out.
//!
//! ```text
//! UDP or gRPC ──datagram──▶ Engine ──packet──▶ TUN device or user-space TCP
//!             ◀─datagram──        ◀─packet──
//! ```
//!
//! The Noise protocol is that of the crate `gotatun`; here is the table of peers, which packets of them are taken, and
//! which way packets go. The manager is the hub of many peers; a machine whose kernel has no WireGuard is a hub of one.

mod engine;
mod ip;
mod key;

pub use engine::{Engine, Output, PeerStatus};
pub use key::{InvalidKey, PrivateKey, PublicKey};
