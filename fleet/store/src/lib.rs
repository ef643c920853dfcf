//! Where the manager keeps its resources.
//!
//! ```text
//! store in memory ──batches of changes──▶ Sealer (compress, encrypt) ──▶ embedded file
//! ```
//!
//! Reads and watches never come here; the store in memory serves them (`corten_resource::MemoryStore::backed`).
//!
//! Invariants:
//! - A change is acknowledged and published after it is on the disk.
//! - Nothing but ids, types and namespaces is on the disk in clear.
//! - A wrong key, a damaged file or one of a newer program is refused and left as it is.

mod embedded;
mod key;
mod sealer;

pub use embedded::{Embedded, OpenError};
pub use key::{KeyError, KeyFile};
pub use sealer::{SealError, Sealer};
