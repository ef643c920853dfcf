//! The embedded store: one file, one transaction for each batch of changes.
//!
//! ```text
//! file ─▶ tried aside: every page checked, every row opened ─▶ opened ─▶ resources
//! changes ─▶ rows ─▶ one transaction ─▶ kept
//!                        └─ refused ─▶ trouble ─▶ every second or more: tried aside, opened again, undone ─▶ kept
//! ```
//!
//! Invariants:
//! - A file that fails any check is not written to, and its database never panics into the program.
//! - After a write that failed nothing is kept until the file was opened again, and what was refused is undone in it: it
//!   holds what was acknowledged, and nothing else.

mod disk;
mod file;
mod quiet;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Backoff, Rng, Secret, chain};
use corten_resource::{
    Answer, AnyResource, Backing, Change, Kept, Mirror, Pointer, Registry, StateError, Tending,
};
use parking_lot::Mutex;
use redb::Database;
use tokio::sync::Notify;

use crate::error::OpenError;
use crate::key::KeyFile;
use crate::migration::{Format, names};
use crate::rows::{self, RowError, Rows};
use crate::sealer::KEY_BYTES;
use file::{StoreFile, Writing};
use quiet::quietly;

/// Between the first attempts to open a file again.
const MEND_FIRST: Duration = Duration::from_secs(1);
/// Between attempts that have failed often.
const MEND_MAX: Duration = Duration::from_secs(10);

/// An open store in a file.
#[derive(Debug)]
pub struct Embedded(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    open: Mutex<Open>,
    file: StoreFile,
    rows: Rows,
    /// What was in the file when it was opened, until somebody takes it.
    loaded: Mutex<Option<Vec<AnyResource>>>,
    /// Why nothing is kept now.
    trouble: Mutex<Option<String>>,
    /// Fires when something is to be mended.
    broken: Notify,
    rng: Rng,
}

/// The database, and what is to be undone in it before anything else.
#[derive(Debug)]
struct Open {
    /// Nothing after a failure, until the file was opened again.
    database: Option<Database>,
    /// Rows that a transaction which failed may have left, with their acknowledged values.
    undo: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Embedded {
    /// Opens the store in a file; one that is not there is made, with a new key unless there is one. A store of an older
    /// program is brought forward.
    ///
    /// # Errors
    /// When it is open elsewhere, damaged, of a newer program, or the key does not fit. The file is left as it is then.
    pub fn open(path: &Path, key: &KeyFile, registry: Registry, rng: &Rng) -> Result<Self, OpenError> {
        let is_new = !path.exists();
        let wrapping = if is_new && !key.path().exists() { key.create(rng)? } else { key.read()? };
        let file = StoreFile::open(path)?;
        let opening = Opening { file: &file, key: key.path(), wrapping, registry, rng };
        let is_empty = file.is_empty().map_err(|error| OpenError::of(path, redb::Error::Io(error)))?;
        let loaded = if is_empty { Vec::new() } else { opening.attempt()? };
        let database = file.database(Writing::Through)?;
        let prepared = quietly(|| opening.prepare(&database));
        let rows = prepared.unwrap_or_else(|why| Err(OpenError::of(path, redb::Error::Corrupted(why))))?;
        Ok(Self(Arc::new(Shared {
            open: Mutex::new(Open { database: Some(database), undo: BTreeMap::new() }),
            file,
            rows,
            loaded: Mutex::new(Some(loaded)),
            trouble: Mutex::default(),
            broken: Notify::new(),
            rng: rng.clone(),
        })))
    }

    /// A key for what is kept beside the store, the same for the same purpose as long as the store is the same. It
    /// tells nothing of the key of the store (HMAC-SHA256 of the purpose).
    #[must_use]
    pub fn key_for(&self, purpose: &str) -> Secret<[u8; KEY_BYTES]> {
        self.0.rows.key_for(purpose)
    }
}

/// What a file is opened with.
struct Opening<'a> {
    file: &'a StoreFile,
    key: &'a Path,
    wrapping: Secret<[u8; KEY_BYTES]>,
    registry: Registry,
    rng: &'a Rng,
}

impl Opening<'_> {
    fn place(&self) -> String {
        self.file.path().display().to_string()
    }

    fn failed(&self, error: redb::Error) -> OpenError {
        OpenError::of(self.file.path(), error)
    }

    fn unusable(&self, source: RowError) -> OpenError {
        OpenError::Row { place: self.place(), source }
    }

    /// Opens the file without a write to it, and reads everything.
    fn attempt(&self) -> Result<Vec<AnyResource>, OpenError> {
        let read = || -> Result<Vec<AnyResource>, OpenError> {
            let database = self.file.database(Writing::Aside)?;
            let rows = self.prepare(&database)?;
            let all = tables::each_row(&database, |place, value| rows.read(place, value));
            all.map_err(|error| self.failed(error))?.map_err(|error| self.unusable(error))
        };
        quietly(read).unwrap_or_else(|why| Err(self.failed(redb::Error::Corrupted(why))))
    }

    /// Makes an empty database a store, or brings one forward that is; gives what reads and writes its rows.
    fn prepare(&self, database: &Database) -> Result<Rows, OpenError> {
        let Some(head) = tables::head(database).map_err(|error| self.failed(error))? else {
            let master = rows::new_master(self.rng);
            let wrapped = rows::wrap(&self.wrapping, &master, self.rng);
            let wrapped = wrapped.map_err(|source| OpenError::Sealer { place: self.place(), source })?;
            tables::write_head(database, &wrapped).map_err(|error| self.failed(error))?;
            return self.rows(&master);
        };
        let steps = Format::read(&head.format).and_then(Format::due).ok_or_else(|| OpenError::Format {
            place: self.place(),
            format: String::from_utf8_lossy(&head.format).into_owned(),
        })?;
        let master = rows::unwrap(&self.wrapping, &head.master_key, self.rng);
        let wrong = || OpenError::WrongKey { key: self.key.to_owned(), place: self.place() };
        let rows = self.rows(&master.ok_or_else(wrong)?)?;
        if !steps.is_empty() {
            tracing::info!(store = self.place(), steps = names(steps), "a store of an older program");
            let migrated = tables::migrate(database, steps, &rows);
            migrated.map_err(|error| self.failed(error))?.map_err(|error| self.unusable(error))?;
        }
        Ok(rows)
    }

    fn rows(&self, master: &Secret<[u8; KEY_BYTES]>) -> Result<Rows, OpenError> {
        let rows = Rows::new(master, self.rng.clone(), self.registry.clone());
        rows.map_err(|source| OpenError::Sealer { place: self.place(), source })
    }
}

/// A row to write, or to remove.
struct Row {
    place: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Shared {
    fn load(&self) -> Result<Vec<AnyResource>, StateError> {
        if let Some(loaded) = self.loaded.lock().take() {
            return Ok(loaded);
        }
        let open = self.open.lock();
        let database = open.database.as_ref().ok_or_else(|| self.refusal())?;
        let all = tables::each_row(database, |place, value| self.rows.read(place, value));
        let failed = |error: redb::Error| StateError::Unavailable(disk::trouble(self.file.path(), &error));
        all.map_err(failed)?.map_err(|error| StateError::Unavailable(chain(&error)))
    }

    /// What a change does to the table.
    fn row(&self, change: &Change) -> Result<Row, StateError> {
        match change {
            Change::Created(new) | Change::Updated { new, .. } => {
                Ok(Row { place: self.rows.place(&new.pointer())?, value: Some(self.rows.write(new)?) })
            }
            Change::Destroyed(old) => Ok(Row { place: self.rows.place(&old.pointer())?, value: None }),
            Change::Bootstrapped | Change::Errored(_) | Change::Noop => {
                Err(StateError::Invalid("it is no change of a resource".to_owned()))
            }
        }
    }

    /// What changes do to the table, and what is answered when that is kept. One that cannot be written, such as one
    /// that is too large, is refused alone, and with it later ones of the same resource, which were decided on it.
    fn to_rows(&self, changes: &[Change]) -> (Vec<Row>, Vec<Result<(), StateError>>) {
        let mut rows = Vec::with_capacity(changes.len());
        let mut results = Vec::with_capacity(changes.len());
        let mut refused: BTreeMap<Pointer, StateError> = BTreeMap::new();
        for change in changes {
            let pointer = change.resource().map(AnyResource::pointer).unwrap_or_default();
            let row = match refused.get(&pointer) {
                Some(error) => Err(error.clone()),
                None => self.row(change),
            };
            results.push(match row {
                Ok(row) => {
                    rows.push(row);
                    Ok(())
                }
                Err(error) => {
                    refused.insert(pointer, error.clone());
                    Err(error)
                }
            });
        }
        (rows, results)
    }

    /// Keeps changes in one transaction; one result each. What the database refuses is refused as a whole: it has no
    /// room, or does not work. No value is too large for it, since none is that can be sealed.
    fn keep(&self, changes: &[Change]) -> Vec<Result<(), StateError>> {
        let (rows, results) = self.to_rows(changes);
        let mut open = self.open.lock();
        let Some(database) = &open.database else { return vec![Err(self.refusal()); changes.len()] };
        let all = rows.iter().map(|row| (row.place.as_slice(), row.value.as_deref()));
        let kept = quietly(|| tables::put(database, all));
        match kept.unwrap_or_else(|why| Err(redb::Error::Corrupted(why))) {
            Ok(()) => results,
            Err(error) => vec![Err(self.fail(&mut open, changes, &error)); changes.len()],
        }
    }

    /// Gives the database up, and notes what it may have kept of changes that are refused.
    fn fail(&self, open: &mut Open, changes: &[Change], error: &redb::Error) -> StateError {
        for change in changes {
            if let Some(Row { place, value }) = self.before(change) {
                open.undo.entry(place).or_insert(value);
            }
        }
        let database = open.database.take();
        if let Err(why) = quietly(|| drop(database)) {
            tracing::debug!(why, "the database did not end well");
        }
        let text = disk::trouble(self.file.path(), error);
        tracing::error!("{text}");
        *self.trouble.lock() = Some(text);
        self.broken.notify_one();
        self.refusal()
    }

    /// The acknowledged row of a resource that was to change.
    fn before(&self, change: &Change) -> Option<Row> {
        match change {
            Change::Created(new) => Some(Row { place: self.rows.place(&new.pointer()).ok()?, value: None }),
            Change::Updated { old, .. } | Change::Destroyed(old) => {
                let value = self.rows.write(old).ok()?;
                Some(Row { place: self.rows.place(&old.pointer()).ok()?, value: Some(value) })
            }
            Change::Bootstrapped | Change::Errored(_) | Change::Noop => None,
        }
    }

    /// What is answered while nothing is kept.
    fn refusal(&self) -> StateError {
        StateError::Unavailable(self.trouble.lock().clone().unwrap_or_default())
    }

    /// Opens the file again and undoes what was refused; until that succeeds nothing is kept.
    fn mend(&self) {
        let mut open = self.open.lock();
        let mended = quietly(|| self.reopen(&open.undo));
        match mended.unwrap_or_else(|why| Err(redb::Error::Corrupted(why))) {
            Ok(database) => {
                *open = Open { database: Some(database), undo: BTreeMap::new() };
                *self.trouble.lock() = None;
                tracing::info!(store = %self.file.path().display(), "the store keeps what it is given again");
            }
            Err(error) => *self.trouble.lock() = Some(disk::trouble(self.file.path(), &error)),
        }
    }

    fn reopen(&self, undo: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<Database, redb::Error> {
        self.file.forget_cache();
        let failed = |error: OpenError| match error {
            OpenError::File { source, .. } => *source,
            error => redb::Error::Corrupted(chain(&error)),
        };
        drop(self.file.database(Writing::Aside).map_err(failed)?);
        let database = self.file.database(Writing::Through).map_err(failed)?;
        tables::put(&database, undo.iter().map(|(place, value)| (place.as_slice(), value.as_deref())))?;
        Ok(database)
    }
}

/// Runs blocking work of the database; it must not be given up half-way.
async fn off_loop<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    let panicked = |_| Err(StateError::Unavailable("the store panicked".to_owned()));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(panicked)
}

/// Mends the store whenever it is broken, with growing waits between attempts.
async fn mend_always(shared: Arc<Shared>) {
    loop {
        shared.broken.notified().await;
        let mut waits = Backoff::new(MEND_FIRST, MEND_MAX);
        while shared.trouble.lock().is_some() {
            tokio::time::sleep(waits.next_delay(&shared.rng)).await;
            let broken = Arc::clone(&shared);
            let mend = move || {
                broken.mend();
                Ok(())
            };
            if let Err(error) = off_loop(mend).await {
                tracing::error!(error = chain(&error), "the store could not be mended");
            }
        }
    }
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

    fn tend(&self, _: Mirror) -> Tending<'_> {
        Box::pin(mend_always(Arc::clone(&self.0)))
    }

    fn trouble(&self) -> Option<String> {
        self.0.trouble.lock().clone()
    }
}
