//! What can go wrong with logs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corten_base::blocking::BlockingError;

/// A log that cannot be written or read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The name is none of a log.
    #[error("`{0}` cannot name a log: 1 to 128 letters, digits, `-`, `_` and `.`, not beginning with `.`")]
    Name(String),
    /// The file system refused.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// Another program keeps logs in the same folder.
    #[error("{0} is in use by another program: one manager at a time keeps logs there")]
    Busy(PathBuf),
    /// Made with another key, or its head is damaged. Nothing was changed.
    #[error("the key does not open {0}: give the key of these logs, or move the file away if it is damaged")]
    Key(PathBuf),
    /// No segment of a log, or one of a newer program. Nothing was changed.
    #[error("{0} is no segment that this program knows: use the program that wrote it, or move it away")]
    Format(PathBuf),
    /// The lines of a closed segment cannot be had any more.
    #[error("{0} is damaged; its lines are lost, move it away")]
    Damaged(PathBuf),
    /// Compression or encryption failed.
    #[error("cannot encode lines for {0}")]
    Encode(PathBuf),
    /// Work on the disk did not come to an end.
    #[error("the work on the logs was not finished; try again later")]
    Unfinished(#[source] Arc<BlockingError>),
    /// The writer is gone.
    #[error("the writer of the logs has ended, the manager is stopping; try again when it is back")]
    Closed,
    /// More than can be sorted at once.
    #[error("more than {0} bytes of audit records match; ask for less time, for one type, or sort by date")]
    TooMany(usize),
}

/// Names the action and the file in an error of the file system.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
    move |source| LogError::File { action, path: path.to_owned(), source: Arc::new(source) }
}
