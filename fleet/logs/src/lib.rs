//! Logs of machines and the audit log: on disk, encrypted, bounded, compressed, searchable, with tail and follow.
//!
//! ```text
//! line of a machine ─▶ Intake: redact, rate, room ─▶ queue ─▶ Writer ─▶ segments of the machine's log on disk
//!                                                               │                   │ snapshot
//!                                                               └─▶ recent lines ───┴─▶ tail, since, search, follow
//! audit record ─▶ line of JSON ─▶ the same in a folder of its own; acknowledged when it is on the disk
//! ```
//!
//! A log is a folder of segments. Lines are appended to the open one, a frame for each batch; a closed one is one zstd
//! frame. Each segment is encrypted with its own key, derived from the master secret.
//!
//! Invariants:
//! - Lines have numbers, from 1 and without holes. What a reader misses in the numbers is gone, and it is told how
//!   many.
//! - Nothing but names of logs, numbers and times of lines is on the disk in clear.
//! - A line that was written survives the end of the process. It survives a loss of power [`Options::flush_every`]
//!   later, an audit record at once. What is half written at the end of a segment is cut off when the log is opened.
//! - Everything has a bound: the queue, each machine's share of it, a segment, a page, the bytes on the disk. A machine
//!   that sends faster than its rate loses lines, and its log says how many; below it, a full queue holds it back.
//! - A reader never holds the writer back, and no machine another.

pub mod audit;
mod caps;
mod error;
mod follow;
mod frame;
mod intake;
mod key;
mod machine;
mod read;
mod segment;
mod shared;
mod store;
mod writer;

pub use caps::Caps;
pub use error::LogError;
pub use follow::Follower;
pub use frame::{LINE_MAX, Line};
pub use intake::{Intake, MACHINE_LINE_MAX, Rate};
pub use read::{Limit, Page, Start};
pub use store::{LogStats, Logs, Options, Stats};
pub use writer::Writer;
