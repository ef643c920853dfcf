//! How a batch of changes is kept in etcd.
//!
//! ```text
//! changes, in order ─▶ chunks: no row twice, not too many, not too large ─▶ one transaction each
//!     conditions: every row is what the change was decided on, and the head is the one that we know
//!     held ─▶ kept      not held ─▶ the changes that were overtaken are refused, the others tried again
//!     no answer ─▶ the same transaction again: it happens once, and its values tell whether it was ours
//! all kept ─▶ wait until they are visible here ─▶ acknowledged
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use corten_base::{Backoff, chain};
use corten_etcd::{Error, KeyValue, Outcome, Txn};
use corten_resource::{AnyResource, Change, StateError};
use tokio::time::{Instant, timeout};

use super::follow::FORWARD;
use super::known::{Base, base};
use super::{Shared, trouble};

/// Most changes in a transaction. etcd takes 128 operations (`--max-txn-ops`), and one comparison is that of the head.
const CHANGES_MAX: usize = 100;
/// Most bytes in a transaction, and in a value. etcd takes 1.5 MiB (`--max-request-bytes`).
const BYTES_MAX: usize = 1 << 20;
/// What a change adds to a transaction besides its key and its value, bytes.
const OVERHEAD: usize = 128;
/// How long a transaction is tried while etcd does not answer.
const TRY_MAX: Duration = Duration::from_secs(20);
/// Between the first two attempts.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// Between attempts that have failed often.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// How long to wait until what somebody else did is visible here too.
const SEEN_MAX: Duration = Duration::from_secs(10);

/// A change as it is written.
struct Write {
    /// Its number in the batch.
    index: usize,
    place: Vec<u8>,
    base: Base,
    /// Nothing when the row goes.
    value: Option<Vec<u8>>,
}

impl Write {
    fn bytes(&self) -> usize {
        // The key stands in the comparison, in the operation, and in what is told otherwise.
        3 * self.place.len() + self.value.as_ref().map_or(0, Vec::len) + OVERHEAD
    }
}

/// A batch on its way.
struct Batch<'a> {
    changes: &'a [Change],
    /// The first change that is in no chunk yet.
    next: usize,
    results: Vec<Result<(), StateError>>,
    /// Rows that this batch has written, with the revision; nothing for those that it has removed.
    own: BTreeMap<Vec<u8>, Option<i64>>,
    /// Rows of which a change was refused: all later ones are refused too.
    refused: BTreeMap<Vec<u8>, StateError>,
    /// Newest revision that must be visible before this is acknowledged.
    newest: i64,
}

impl<'a> Batch<'a> {
    fn new(changes: &'a [Change]) -> Self {
        let results = vec![Ok(()); changes.len()];
        Self { changes, next: 0, results, own: BTreeMap::new(), refused: BTreeMap::new(), newest: 0 }
    }

    /// The next changes that go together; none after the last one.
    fn chunk(&mut self, shared: &Shared) -> Vec<Write> {
        let changes = self.changes;
        let (mut chunk, mut bytes) = (Vec::<Write>::new(), 0);
        while let Some(change) = changes.get(self.next).filter(|_| chunk.len() < CHANGES_MAX) {
            let place = change.resource().map(|it| shared.rows.place(&it.pointer()));
            let place = match place.unwrap_or_else(|| Ok(Vec::new())) {
                Ok(place) => place,
                Err(error) => {
                    self.refuse(self.next, Vec::new(), error);
                    self.next += 1;
                    continue;
                }
            };
            if chunk.iter().any(|other| other.place == place) {
                break;
            }
            match self.write(shared, change, place.clone()) {
                Ok(write) if !chunk.is_empty() && bytes + write.bytes() > BYTES_MAX => break,
                Ok(write) => {
                    bytes += write.bytes();
                    chunk.push(write);
                }
                Err(error) => self.refuse(self.next, place, error),
            }
            self.next += 1;
        }
        chunk
    }

    /// The next change as it is written.
    fn write(&self, shared: &Shared, change: &Change, place: Vec<u8>) -> Result<Write, StateError> {
        if let Some(error) = self.refused.get(&place) {
            return Err(error.clone());
        }
        let base = match self.own.get(&place) {
            Some(revision) => Base::of(*revision),
            None => base(&shared.known.lock(), &place, change)?,
        };
        let value = match change {
            Change::Created(new) | Change::Updated { new, .. } => Some(shared.rows.write(new)?),
            _ => None,
        };
        let write = Write { index: self.next, place, base, value };
        let bytes = write.bytes();
        if bytes > BYTES_MAX {
            let what = change.resource().map(AnyResource::pointer).unwrap_or_default();
            return Err(StateError::Invalid(format!(
                "{what} has {bytes} bytes as it is kept, and etcd takes {BYTES_MAX}; make it smaller"
            )));
        }
        Ok(write)
    }

    fn refuse(&mut self, index: usize, place: Vec<u8>, error: StateError) {
        if let Some(result) = self.results.get_mut(index) {
            *result = Err(error.clone());
        }
        self.refused.insert(place, error);
    }

    fn kept(&mut self, writes: Vec<Write>, revision: i64) {
        self.newest = self.newest.max(revision);
        for Write { place, value, .. } in writes {
            self.own.insert(place, value.map(|_| revision));
        }
    }

    /// Nothing more can be kept now.
    fn give_up(&mut self, writes: Vec<Write>, error: &StateError) {
        for Write { index, place, .. } in writes {
            self.refuse(index, place, error.clone());
        }
        for result in self.results.iter_mut().skip(self.next) {
            *result = Err(error.clone());
        }
        self.next = self.changes.len();
    }
}

impl Shared {
    /// Keeps changes in this order; one result each.
    pub async fn keep(&self, changes: &[Change]) -> Vec<Result<(), StateError>> {
        let mut batch = Batch::new(changes);
        loop {
            let chunk = batch.chunk(self);
            if chunk.is_empty() {
                break;
            }
            self.keep_chunk(&mut batch, chunk).await;
        }
        let newest = batch.newest;
        // It is kept, so it will be acknowledged, however long it takes until it is visible. The sender outlives this.
        let _ = self.shown.subscribe().wait_for(|shown| *shown >= newest).await;
        batch.results
    }

    /// Keeps a chunk, or what is left of it after changes that were overtaken.
    async fn keep_chunk(&self, batch: &mut Batch<'_>, chunk: Vec<Write>) {
        let (mut writes, mut waits) = (chunk, Backoff::new(RETRY_FIRST, RETRY_MAX));
        let (mut began, mut may_have_happened) = (Instant::now(), false);
        while !writes.is_empty() {
            match self.client().run(self.transaction(&writes)).await {
                Ok(Outcome::Done(revision)) => {
                    self.trouble.lock().set_full(false);
                    return batch.kept(writes, revision);
                }
                Ok(Outcome::Refused(told)) => {
                    if may_have_happened && let Some(revision) = self.landed(&writes, &told).await {
                        return batch.kept(writes, revision);
                    }
                    let is_all = writes.iter().all(|write| self.is_overtaken(write, &told));
                    let is_uncertain = may_have_happened && is_all;
                    writes = self.overtaken(batch, writes, &told, is_uncertain).await;
                    (began, may_have_happened) = (Instant::now(), false);
                }
                Err(error) if !error.is_full() && error.is_transient() && began.elapsed() < TRY_MAX => {
                    may_have_happened = true;
                    tokio::time::sleep(waits.next_delay(&self.rng)).await;
                }
                Err(error) => {
                    let error = self.failed(&error);
                    return batch.give_up(writes, &if may_have_happened { self.unknown() } else { error });
                }
            }
        }
    }

    fn transaction(&self, writes: &[Write]) -> Txn {
        let head = self.keys.head();
        let mut txn = Txn::new().if_modified_at(head.clone(), self.head).or_tell(head);
        for write in writes {
            let key = self.keys.row(&write.place);
            txn = match write.base {
                Base::Absent => txn.if_absent(key.clone()),
                Base::At(revision) => txn.if_modified_at(key.clone(), revision),
            };
            txn = match &write.value {
                Some(value) => txn.put(key.clone(), value.clone(), 0),
                None => txn.delete(key.clone()),
            };
            txn = txn.or_tell(key);
        }
        txn
    }

    /// What a failed transaction told of a row.
    fn told(&self, write: &Write, told: &[KeyValue]) -> Option<i64> {
        let key = self.keys.row(&write.place);
        told.iter().find(|pair| pair.key == key).map(|pair| pair.modified)
    }

    fn is_overtaken(&self, write: &Write, told: &[KeyValue]) -> bool {
        Base::of(self.told(write, told)) != write.base
    }

    /// Whether an attempt without an answer was carried out, and at which revision: its first value is there, since all
    /// of it happens or nothing. Rows that were to go and are gone are as good.
    async fn landed(&self, writes: &[Write], told: &[KeyValue]) -> Option<i64> {
        let Some((write, value)) = writes.iter().find_map(|it| Some((it, it.value.as_ref()?))) else {
            let are_gone = writes.iter().all(|write| self.told(write, told).is_none());
            if are_gone {
                for write in writes {
                    self.seen(write).await;
                }
            }
            return are_gone.then_some(0);
        };
        let found = self.client().get(self.keys.row(&write.place)).await.ok().flatten()?;
        (found.value == *value).then_some(found.modified)
    }

    /// Refuses the changes that were overtaken, and gives the others.
    async fn overtaken(
        &self,
        batch: &mut Batch<'_>,
        writes: Vec<Write>,
        told: &[KeyValue],
        is_uncertain: bool,
    ) -> Vec<Write> {
        let (gone, left): (Vec<Write>, Vec<Write>) =
            writes.into_iter().partition(|write| self.is_overtaken(write, told));
        if gone.is_empty() {
            batch.give_up(left, &StateError::Unavailable(FORWARD.to_owned()));
            return Vec::new();
        }
        for write in gone {
            self.seen(&write).await;
            let conflict = batch.changes.get(write.index).map(|change| self.conflict(change, &write));
            let error = conflict.filter(|_| !is_uncertain).unwrap_or_else(|| self.unknown());
            batch.refuse(write.index, write.place, error);
        }
        left
    }

    /// Waits until what has overtaken a change is visible here, so that whoever tries again decides on that.
    async fn seen(&self, write: &Write) {
        let mut shown = self.shown.subscribe();
        let modified = || self.known.lock().get(write.place.as_slice()).map(|entry| entry.modified);
        let seen = async {
            while Base::of(modified()) == write.base {
                if shown.changed().await.is_err() {
                    return;
                }
            }
        };
        // What is not visible in time is told as a conflict all the same.
        let _ = timeout(SEEN_MAX, seen).await;
    }

    /// Why a change that was overtaken is refused, as the store would have refused it.
    fn conflict(&self, change: &Change, write: &Write) -> StateError {
        let unseen = || match change {
            Change::Updated { old, .. } | Change::Destroyed(old) => {
                let (pointer, expected) = (old.pointer(), old.metadata().version);
                StateError::Version { pointer, expected, actual: expected.saturating_add(1) }
            }
            other => {
                let pointer = other.resource().map(AnyResource::pointer);
                StateError::AlreadyExists(pointer.unwrap_or_default())
            }
        };
        base(&self.known.lock(), &write.place, change).err().unwrap_or_else(unseen)
    }

    fn unknown(&self) -> StateError {
        StateError::Unavailable(format!(
            "the store in {} did not answer, and whether the change was kept is not known: look at it",
            self.place
        ))
    }

    fn failed(&self, error: &Error) -> StateError {
        if error.is_full() {
            self.trouble.lock().set_full(true);
            return StateError::Unavailable(trouble::full(&self.place));
        }
        let (place, why) = (&self.place, chain(error));
        StateError::Unavailable(format!("the store in {place} keeps nothing now; look after etcd: {why}"))
    }
}
