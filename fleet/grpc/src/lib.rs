//! gRPC for connections that mostly stand still, thousands in one process.
//!
//! ```text
//! bytes ─▶ Endpoint: frames ─▶ fields (HPACK), messages ─▶ Event        pure
//!    ▲        └▶ bytes to send                                │
//!  Link ◀──── socket, signs of life                           │         effects
//!    └▶ Client: many calls, one answer after the other ◀──────┤
//!    └▶ serve:  one unary call after the other ◀──────────────┘
//! ```
//!
//! The libraries that the rest of the manager stands on keep some 90 KiB for a connection on which nothing happens, of
//! which 24 KiB are buffers of a fixed size. Here a silent connection is a few hundred bytes: buffers exist as long as
//! something is in them, and the peer is asked not to refer to earlier fields (`SETTINGS_HEADER_TABLE_SIZE` 0): one that
//! does so all the same costs 4 KiB. `cargo xtask bench fleet-join` measures both.
//!
//! What a general library does and this does not: other content than gRPC, server push, priorities, compressed messages,
//! requests of more than 16 KiB on the client's side, several calls at a time on the server's side.

mod client;
mod endpoint;
mod event;
mod fields;
mod frame;
mod hpack;
mod link;
mod message;
mod server;
mod streams;
mod table;

pub use client::{Answer, Client, TooLarge};
pub use event::StreamId;
pub use server::{Request, serve};

#[cfg(test)]
mod tests;
