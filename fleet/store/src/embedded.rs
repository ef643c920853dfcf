//! The embedded store: one file, one transaction for each batch of changes.
//!
//! ```text
//! table "store":     format, wrapped master key
//! table "resources": namespace 0 type 0 id ──▶ sealed envelope
//! ```

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::hmac;
use corten_base::{Rng, Secret};
use corten_resource::{Answer, AnyResource, Backing, Change, Kept, Pointer, Registry, StateError, envelope};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::key::{KeyError, KeyFile};
use crate::sealer::{KEY_BYTES, Sealer};

const RESOURCES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("resources");
const STORE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("store");
/// Key of the format in table "store".
const FORMAT_KEY: &str = "format";
/// Key of the wrapped master key in table "store".
const MASTER_KEY: &str = "master-key";
/// The only format so far.
const FORMAT: &[u8] = b"1";
/// Pages that the database keeps in memory, bytes: everything is in memory once already.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

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
    /// Written by a newer program.
    #[error("{path} has format {format:?}; this program knows format 1: use the program that wrote it")]
    Format {
        /// The file.
        path: PathBuf,
        /// What stands in it.
        format: String,
    },
    /// The key is that of another store.
    #[error("the key in {key} does not open the store in {path}: give the key that was made with it")]
    WrongKey {
        /// The file with the key.
        key: PathBuf,
        /// The store.
        path: PathBuf,
    },
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
        redb::Error::Corrupted(_) => "it is damaged; restore it from a backup",
        redb::Error::UpgradeRequired(_) => {
            "its format is not that of this program; use the program that wrote it"
        }
        redb::Error::PreviousIo => "its disk failed before; look after it, and start the manager again",
        _ => "start the manager again; if it stays so, restore the file from a backup",
    }
}

/// An open store in a file.
#[derive(Debug)]
pub struct Embedded(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    database: Database,
    path: PathBuf,
    sealer: Sealer,
    /// Makes the keys of what is kept beside the store.
    derivation: hmac::Key,
    registry: Registry,
}

impl Embedded {
    /// Opens the store in a file; one that is not there is made, with a new key unless there is one.
    ///
    /// # Errors
    /// When it is open elsewhere, damaged, of a newer program, or the key does not fit.
    pub fn open(path: &Path, key: &KeyFile, registry: Registry, rng: &Rng) -> Result<Self, OpenError> {
        let is_new = !path.exists();
        let wrapping = if is_new && !key.path().exists() { key.create(rng)? } else { key.read()? };
        let wrong_key = || OpenError::WrongKey { key: key.path().to_owned(), path: path.to_owned() };
        let wrapping = Sealer::new(&wrapping, rng.clone()).map_err(|_| wrong_key())?;
        let failed = |source: redb::Error| match source {
            redb::Error::DatabaseAlreadyOpen => OpenError::Busy(path.to_owned()),
            source => OpenError::File { path: path.to_owned(), source: Box::new(source) },
        };
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder.create(path).map_err(|error| failed(error.into()))?;
        let master = match head(&database).map_err(failed)? {
            None => {
                let master: [u8; KEY_BYTES] = rng.bytes();
                let sealed = wrapping.seal(MASTER_KEY.as_bytes(), &master).map_err(|_| wrong_key())?;
                write_head(&database, &sealed).map_err(failed)?;
                Secret::new(master)
            }
            Some(head) if head.format != FORMAT => {
                let format = String::from_utf8_lossy(&head.format).into_owned();
                return Err(OpenError::Format { path: path.to_owned(), format });
            }
            Some(head) => unwrap(&wrapping, &head.master_key).ok_or_else(wrong_key)?,
        };
        let sealer = Sealer::new(&master, rng.clone()).map_err(|_| wrong_key())?;
        let derivation = hmac::Key::new(hmac::HMAC_SHA256, master.reveal());
        Ok(Self(Arc::new(Shared { database, path: path.to_owned(), sealer, derivation, registry })))
    }

    /// A key for what is kept beside the store, the same for the same purpose as long as the store is the same. It
    /// tells nothing of the key of the store (HMAC-SHA256 of the purpose).
    #[must_use]
    pub fn key_for(&self, purpose: &str) -> Secret<[u8; KEY_BYTES]> {
        let tag = hmac::sign(&self.0.derivation, purpose.as_bytes());
        let mut key = [0; KEY_BYTES];
        for (byte, derived) in key.iter_mut().zip(tag.as_ref()) {
            *byte = *derived;
        }
        Secret::new(key)
    }
}

fn unwrap(wrapping: &Sealer, sealed: &[u8]) -> Option<Secret<[u8; KEY_BYTES]>> {
    let master = wrapping.open(MASTER_KEY.as_bytes(), sealed).ok()?;
    <[u8; KEY_BYTES]>::try_from(master.as_slice()).ok().map(Secret::new)
}

/// What makes a file a store.
struct Head {
    format: Vec<u8>,
    master_key: Vec<u8>,
}

/// The head of a store that is not empty.
fn head(database: &Database) -> Result<Option<Head>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(STORE) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let value = |key: &str| -> Result<Vec<u8>, redb::Error> {
        Ok(table.get(key)?.map(|value| value.value().to_vec()).unwrap_or_default())
    };
    Ok(Some(Head { format: value(FORMAT_KEY)?, master_key: value(MASTER_KEY)? }))
}

/// Makes an empty file a store.
fn write_head(database: &Database, sealed: &[u8]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(STORE)?;
        table.insert(FORMAT_KEY, FORMAT)?;
        table.insert(MASTER_KEY, sealed)?;
        transaction.open_table(RESOURCES)?;
    }
    transaction.commit()?;
    Ok(())
}

/// A row to write, or to remove.
struct Row {
    place: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// Where a resource is in the table.
fn place(pointer: &Pointer) -> Vec<u8> {
    [pointer.namespace.as_bytes(), &[0], pointer.kind.as_bytes(), &[0], pointer.id.as_bytes()].concat()
}

impl Shared {
    fn load(&self) -> Result<Vec<AnyResource>, StateError> {
        let failed = |error: redb::Error| self.unavailable(&error);
        let transaction = self.database.begin_read().map_err(|error| failed(error.into()))?;
        let table = transaction.open_table(RESOURCES).map_err(|error| failed(error.into()))?;
        let mut all = Vec::new();
        for row in table.iter().map_err(|error| failed(error.into()))? {
            let (key, value) = row.map_err(|error| failed(error.into()))?;
            all.push(self.decode(key.value(), value.value())?);
        }
        Ok(all)
    }

    fn decode(&self, place: &[u8], value: &[u8]) -> Result<AnyResource, StateError> {
        let damaged = |why: &dyn std::error::Error| {
            let name = String::from_utf8_lossy(place).replace('\0', "/");
            StateError::Unavailable(format!(
                "{name} in {} cannot be read: {}; restore the file from a backup",
                self.path.display(),
                corten_base::chain(why)
            ))
        };
        let content = self.sealer.open(place, value).map_err(|error| damaged(&error))?;
        envelope::decode(&content, &self.registry).map_err(|error| damaged(&error))
    }

    /// Keeps all rows in one transaction, or none.
    fn commit(&self, rows: &[Row]) -> Result<(), StateError> {
        let failed = |error: redb::Error| self.unavailable(&error);
        let transaction = self.database.begin_write().map_err(|error| failed(error.into()))?;
        {
            let mut table = transaction.open_table(RESOURCES).map_err(|error| failed(error.into()))?;
            for Row { place, value } in rows {
                let changed = match value {
                    Some(value) => table.insert(place.as_slice(), value.as_slice()).map(drop),
                    None => table.remove(place.as_slice()).map(drop),
                };
                changed.map_err(|error| failed(error.into()))?;
            }
        }
        transaction.commit().map_err(|error| failed(error.into()))
    }

    /// What a change does to the table. One that cannot be written is refused alone, and does not take others with it.
    fn row(&self, change: &Change) -> Result<Row, StateError> {
        match change {
            Change::Created(new) | Change::Updated { new, .. } => {
                let place = place(&new.pointer());
                let sealed = self.sealer.seal(&place, &envelope::encode(new));
                let value = sealed.map_err(|error| StateError::Invalid(corten_base::chain(&error)))?;
                Ok(Row { place, value: Some(value) })
            }
            Change::Destroyed(old) => Ok(Row { place: place(&old.pointer()), value: None }),
            Change::Bootstrapped | Change::Errored(_) | Change::Noop => {
                Err(StateError::Invalid("it is no change of a resource".to_owned()))
            }
        }
    }

    fn keep(&self, changes: &[Change]) -> Vec<Result<(), StateError>> {
        let mut rows = Vec::with_capacity(changes.len());
        let written: Vec<Result<(), StateError>> =
            changes.iter().map(|change| self.row(change).map(|row| rows.push(row))).collect();
        match self.commit(&rows) {
            Ok(()) => written,
            Err(error) => vec![Err(error); changes.len()],
        }
    }

    fn unavailable(&self, error: &redb::Error) -> StateError {
        let (path, way_out) = (self.path.display(), way_out(error));
        let why = corten_base::chain(error);
        StateError::Unavailable(format!("the store in {path} does not work: {way_out}: {why}"))
    }
}

/// Runs blocking work of the database; it must not be given up half-way.
async fn off_loop<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    let panicked = |_| Err(StateError::Unavailable("the store panicked".to_owned()));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(panicked)
}

impl Backing for Embedded {
    fn load(&self) -> Answer<'_, Vec<AnyResource>> {
        let shared = Arc::clone(&self.0);
        Box::pin(off_loop(move || shared.load()))
    }

    fn commit(&self, changes: Vec<Change>) -> Kept<'_> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let count = changes.len();
            match off_loop(move || Ok(shared.keep(&changes))).await {
                Ok(results) => results,
                Err(error) => vec![Err(error); count],
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corten_resource::{MemoryStore, Query, StateOptions, Store as _, conformance};

    use super::*;

    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().expect("a folder") }
        }

        fn open(&self) -> Result<Embedded, OpenError> {
            let key = KeyFile::at(self.folder.path().join("key"));
            let rng = Rng::kernel();
            Embedded::open(&self.folder.path().join("store"), &key, conformance::registry(), &rng)
        }

        async fn store(&self) -> (MemoryStore, corten_base::Task) {
            let backing = Arc::new(self.open().expect("opens"));
            let registry = conformance::registry();
            let (store, keeper) = MemoryStore::backed(registry, StateOptions::default(), backing, |_| true)
                .await
                .expect("loads");
            (store, corten_base::spawn("keeper", keeper.run()))
        }
    }

    fn thing(id: &str) -> AnyResource {
        let spec = conformance::ConformanceThing { text: "something that nobody may read".to_owned() };
        AnyResource::new("conformance", id, spec)
    }

    #[tokio::test]
    async fn a_backed_store_conforms() {
        let place = Place::new();
        let (store, _task) = place.store().await;
        tokio::time::timeout(Duration::from_secs(60), conformance::run(Arc::new(store))).await.expect("ends");
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_a_restart_and_not_in_clear() {
        let place = Place::new();
        let (store, task) = place.store().await;
        let made = store.create(thing("a"), "me").await.expect("created");
        store.create(thing("b"), "me").await.expect("created");
        store.destroy(&thing("b").pointer(), "me").await.expect("destroyed");
        drop((store, task));
        tokio::task::yield_now().await;
        let bytes = std::fs::read(place.folder.path().join("store")).expect("the file");
        let needle = b"something that nobody may read";
        assert!(!bytes.windows(needle.len()).any(|window| window == needle), "in clear on the disk");
        let (store, _task) = place.store().await;
        let kind = Pointer::to_kind("conformance", "ConformanceThings.corten.dev");
        let all = store.list(&kind, &Query::default()).await.expect("a list");
        assert_eq!(all, [made]);
    }

    #[test]
    fn another_key_and_a_second_program_are_refused_and_nothing_is_lost() {
        let place = Place::new();
        let key = place.folder.path().join("key");
        let first = place.open().expect("opens");
        assert!(matches!(place.open(), Err(OpenError::Busy(_))));
        drop(first);
        let right = std::fs::read(&key).expect("the key");
        std::fs::remove_file(&key).expect("removed");
        assert!(matches!(place.open(), Err(OpenError::Key(_))), "no new key for a store that is there");
        KeyFile::at(&key).create(&Rng::kernel()).expect("another key");
        assert!(matches!(place.open(), Err(OpenError::WrongKey { .. })));
        std::fs::write(&key, right).expect("the key is back");
        place.open().expect("opens again");
    }

    #[test]
    fn a_file_that_is_no_store_is_refused_and_left_alone() {
        let place = Place::new();
        let file = place.folder.path().join("store");
        std::fs::write(&file, b"a letter to grandmother").expect("written");
        KeyFile::at(place.folder.path().join("key")).create(&Rng::kernel()).expect("a key");
        let error = place.open().expect_err("no store");
        assert!(matches!(error, OpenError::File { .. }));
        assert!(error.to_string().contains("it is no store, or it is damaged; restore it"), "{error}");
        assert_eq!(std::fs::read(&file).expect("read"), b"a letter to grandmother");
    }

    #[test]
    fn keys_for_what_is_beside_the_store_differ_by_purpose_and_stay() {
        let place = Place::new();
        let key = |purpose: &str| place.open().expect("opens").key_for(purpose);
        let logs = key("logs");
        assert!(logs == key("logs") && logs != key("audit"));
        assert_ne!(*logs.reveal(), [0; KEY_BYTES]);
    }
}
