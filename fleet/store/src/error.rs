//! Why a store cannot be opened: what it is about, the cause, and the way out. It is left as it is.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::key::KeyError;
use crate::migration::NEWEST;
use crate::rows::RowError;
use crate::sealer::SealError;

/// A store that cannot be opened. It is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No key, or none that may be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Another program has it open.
    #[error("{0} is open in another program: one manager at a time works on a store")]
    Busy(PathBuf),
    /// The file cannot be read or written, or is no store.
    #[error("cannot open the store in {path}: {}", way_out(source))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// Its bytes are not those that were written.
    #[error("the store in {path} is damaged, and was left as it is: {why}; {}", restore(path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// Written by a newer program.
    #[error(
        "the store in {place} has format {format:?}, and this program knows formats up to {newest}; use the \
         program that wrote it, or restore a backup from before",
        newest = NEWEST
    )]
    Format {
        /// The store.
        place: String,
        /// What stands in it.
        format: String,
    },
    /// The key is that of another store.
    #[error("the key in {key} does not open the store in {place}: give the key that was made with it")]
    WrongKey {
        /// The file with the key.
        key: PathBuf,
        /// The store.
        place: String,
    },
    /// Something in it cannot be read.
    #[error("the store in {place} cannot be used, and was left as it is")]
    Row {
        /// The store.
        place: String,
        /// What, and why.
        source: RowError,
    },
    /// A key that the library refuses.
    #[error("the store in {place} cannot be sealed; this is an error of the program, report it")]
    Sealer {
        /// The store.
        place: String,
        /// Why.
        source: SealError,
    },
    /// What makes it a store is gone from etcd.
    #[error(
        "{place} has resources, and the key that opens them is gone; restore etcd from a backup, or remove \
         what is there for a new beginning"
    )]
    Headless {
        /// The store.
        place: String,
    },
    /// etcd does not do what it is asked.
    #[error("cannot open the store in {place}: look after etcd, and after storage.default.etcd.endpoints")]
    Etcd {
        /// The store.
        place: String,
        /// Why.
        source: corten_etcd::Error,
    },
    /// Certificates for etcd cannot be read.
    #[error("cannot read {path}, which {setting} names and an https endpoint of etcd needs")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The setting.
        setting: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl OpenError {
    /// The error of a file that the database refuses.
    pub(crate) fn of(path: &Path, source: redb::Error) -> Self {
        let path = path.to_owned();
        match source {
            redb::Error::DatabaseAlreadyOpen => Self::Busy(path),
            redb::Error::Corrupted(why) => Self::Damaged { path, why },
            source => Self::File { path, source: Box::new(source) },
        }
    }
}

/// How a file comes back.
fn restore(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(
        "to restore it, stop the manager, put {name} and the file of its key from one backup in their \
         places, and start the manager; machines and clusters go on meanwhile"
    )
}

/// What to do about a file that does not work.
fn way_out(error: &redb::Error) -> &'static str {
    match error {
        redb::Error::Io(error) => match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                "its disk has no room; make some, and start the manager again"
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "the manager may not write it; change its owner or its mode"
            }
            ErrorKind::NotFound | ErrorKind::NotADirectory => "its folder is not there; make it",
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
                "it is no store, or it is damaged; restore it from a backup, or name another file"
            }
            _ => "look after its disk, and start the manager again",
        },
        redb::Error::UpgradeRequired(_) => {
            "its format is not that of this program; use the program that wrote it"
        }
        _ => "start the manager again; if it stays so, restore the file from a backup",
    }
}
