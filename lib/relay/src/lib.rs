//! Calls of gRPC that pass through unread: to one destination, or to several whose answers come back together.
//!
//! ```text
//! request ─┬▶ Upstream ─ Lease: a place on a connection ─▶ answer ─▶ grpc(): bytes untouched, a well-formed ending
//!          └▶ fan::call ─┬▶ Upstream ─▶ messages ─▶ envelope ─┬▶ one answer, which names its machines
//!                        └▶ Upstream ─▶ a failure is one too ─┘
//! ```
//!
//! apid and the manager's proxy are made of it. Who may call what, and where a call goes, is theirs; so is how a
//! destination is dialled ([`Dial`]). Bounds that doors share are here too: who may come ([`Guests`]), and who may have how
//! much of what there is ([`Shares`]).
//!
//! Invariants:
//! 1. A slow or silent destination costs a bounded amount of memory and never delays a call to another one.
//! 2. An answer always ends with a status, also when what it comes from breaks off.
//! 3. What calls to several destinations hold is bounded over all of them ([`Room`]).
//! 4. Messages are not understood; several answers are merged without knowing their types.

mod body;
pub mod envelope;
pub mod fan;
pub mod frame;
mod guests;
mod handshake;
mod room;
mod shares;
mod upstream;

pub use body::{broken, grpc, plain, trailers};
pub use guests::{Arrival, Call, Calls, Counts, Guest, Guests, Welcome};
pub use handshake::Handshake;
pub use room::{Held, Room, Rooms};
pub use shares::{Bounds, Origin, Place, Shares};
pub use upstream::{
    Broken, CONNECTION_WINDOW, Dial, HEADERS_BYTES_MAX, Lease, Link, Pings, Reached, STREAM_WINDOW,
    STREAMS_MAX, Upstream,
};
