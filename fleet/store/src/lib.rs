//! Where the manager keeps its resources.
//!
//! ```text
//! store in memory ──batches of changes──▶ Rows (compress, encrypt) ─┬▶ Embedded: one file
//!        ▲                                                          └▶ Etcd: transactions ─▶ watch ─┐
//!        └──────────────────── what every manager sees ─────────────────────────────────────────────┘
//! ```
//!
//! Reads and watches never come here; the store in memory serves them (`corten_resource::MemoryStore::backed`).
//!
//! Invariants:
//! - A change is acknowledged and published after it is on the disk.
//! - Nothing but types and namespaces is kept in clear. Ids are sealed too: some are secrets.
//! - A wrong key, a damaged file or a store of a newer program is refused and left as it is.
//! - A store of an older program is brought forward by named steps, each of which may be done again.

mod embedded;
mod error;
mod etcd;
mod key;
mod migration;
mod rows;
mod sealer;

pub use corten_etcd::{Looked, Lookup};
pub use embedded::Embedded;
pub use error::OpenError;
pub use etcd::{Candidate, Etcd, EtcdOptions, Lead, NOTICE, Starting};
pub use key::{KeyError, KeyFile};
pub use rows::{RowError, Unreadable};
pub use sealer::{SealError, Sealer};
