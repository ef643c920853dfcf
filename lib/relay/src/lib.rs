//! Calls of gRPC that pass through unread: to one destination, or to several whose answers come back together.
//!
//! ```text
//! request ─┬▶ Upstream ─ Lease: a place on a connection ─▶ answer ─▶ grpc(): bytes untouched, a well-formed ending
//!          └▶ fan::call ─┬▶ Upstream ─▶ messages ─▶ envelope ─┬▶ one answer, which names its machines
//!                        └▶ Upstream ─▶ a failure is one too ─┘
//! ```
//!
//! apid and the manager's proxy are made of it. Who may call what, and where a call goes, is theirs; so is how a
//! destination is dialled ([`Dial`]).
//!
//! Invariants:
//! 1. A slow or silent destination costs a bounded amount of memory and never delays a call to another one.
//! 2. An answer always ends with a status, also when what it comes from breaks off.
//! 3. Messages are not understood; several answers are merged without knowing their types.

mod body;
pub mod envelope;
pub mod fan;
pub mod frame;
mod upstream;

pub use body::{broken, grpc, plain, trailers};
pub use upstream::{
    Broken, CONNECTION_WINDOW, Dial, HEADERS_BYTES_MAX, Lease, Link, Pings, Reached, STREAM_WINDOW,
    STREAMS_MAX, Upstream,
};
