//! More connections than one process may have open files: keepers, children that hold sockets for the manager.
//!
//! ```text
//! accepted, connected ─▶ decide ─┬▶ the manager's process
//!                                ├▶ a keeper: the socket goes there, frames come and go ─▶ KeptStream
//!                                └▶ nowhere: closed, and told once a minute
//!
//! manager                                                  keeper (one thread, epoll)
//!   KeptStream ⇄ Link ══ one local socket, a packet each ══ Held ⇄ the machine's socket
//!         ─ Hold + descriptor, Data, Credit, Finish, NoDelay, SignsOfLife, Leave ─▶
//!         ◀─ Data, Credit, Finish, Gone ─
//! ```
//!
//! Invariants:
//! - Neither end sends more bytes of a stream than the other has given it credit for, at most [`WINDOW`](frame::WINDOW):
//!   that is all the memory that a stream can take, and no stream waits for another one.
//! - Both ends always receive, whether or not they can send, so that they never wait for each other.
//! - Each Hold is answered by one Gone, so that the manager knows how many sockets a keeper has.
//! - A stream at rest has no buffer at either end, and no packet is sent for it.
//! - A keeper ends with the manager. When it ends earlier, its streams fail, and the next ones go to a new one.

mod child;
mod frame;
mod held;
mod link;
mod local;
mod policy;
mod pool;
mod stream;
#[cfg(test)]
mod tests;

pub use child::keeper;
pub use held::set_signs_of_life;
pub use pool::{Pool, Sockets, Ticket};
pub use stream::KeptStream;

/// Name of the command that makes the manager's program a keeper.
pub const KEEPER: &str = "tunnel-keeper";
