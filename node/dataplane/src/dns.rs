//! The host's resolver: caches, answers members' names, forwards the rest byte for byte.
//!
//! ```text
//! client ──UDP/TCP──▶ server ──▶ own names ──▶ cache ──▶ forward ──▶ upstreams, in order
//! ```
//! Messages are never re-encoded: what an upstream said reaches the client with another id and smaller TTLs,
//! so extensions this file has never heard of pass through.

mod cache;
mod forward;
mod resolver;
mod server;
pub mod wire;

pub use resolver::Resolver;
pub use server::serve;
