//! The store in memory, with an optional journal that survives a restart of the program within one boot.
//!
//! Invariants: a resource changes only under the one lock, which is never held across an await; an event
//! is in the history before the lock is released; a watcher has no queue of its own but a position in
//! the history, so that a slow one costs nothing and ends with an error.

mod collection;
mod journal;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use corten_base::{Clock, Rng};
use parking_lot::Mutex;

use crate::metadata::{Phase, Pointer};
use crate::query::Query;
use crate::registry::Registry;
use crate::resource::AnyResource;
use crate::store::{Answer, Change, Start, StateError, Store, UpdateOptions, Watch, WatchOptions};
use collection::Collection;
use journal::Journal;

/// What a store needs besides its types.
#[derive(Clone, Debug, Default)]
pub struct StateOptions {
    /// File that every change is appended to; without one, a restart begins empty.
    pub journal: Option<PathBuf>,
    /// Clock of the time stamps.
    pub clock: Clock,
    /// Randomness of the bookmarks.
    pub rng: Rng,
}

/// Told about every change of a type, under the store's lock: it must only make a note.
pub(crate) trait Listener: Send + Sync {
    /// A resource changed.
    fn changed(&self, change: &Change);
}

/// Resources in memory. Clones share them.
#[derive(Clone)]
pub struct MemoryStore(Arc<Shared>);

struct Shared {
    inner: Mutex<Inner>,
    registry: Registry,
    clock: Clock,
    /// Marks the bookmarks of this store, so that those of an earlier one are refused.
    cookie: [u8; 8],
}

#[derive(Default)]
struct Inner {
    /// By type, then by namespace. Most types have one, and each map has room for eleven: boxes are smaller.
    collections: BTreeMap<String, BTreeMap<String, Box<Collection>>>,
    journal: Option<Journal>,
}

impl Inner {
    fn collection(&self, kind: &Pointer) -> Option<&Collection> {
        self.collections.get(&kind.kind)?.get(&kind.namespace).map(Box::as_ref)
    }

    fn collection_mut(&mut self, kind: &Pointer) -> &mut Collection {
        let by_namespace = self.collections.entry(kind.kind.clone()).or_default();
        by_namespace.entry(kind.namespace.clone()).or_default()
    }

    fn existing(&self, pointer: &Pointer) -> Result<&AnyResource, StateError> {
        let found = self.collection(pointer).and_then(|collection| collection.items.get(&pointer.id));
        found.ok_or_else(|| StateError::NotFound(pointer.clone()))
    }

    /// Writes the journal anew with what exists.
    fn compact(&mut self) {
        let Self { collections, journal } = self;
        if let Some(journal) = journal {
            let all = collections
                .values()
                .flat_map(BTreeMap::values)
                .flat_map(|collection| collection.items.values());
            journal.compact(all);
        }
    }

    fn put(&mut self, resource: AnyResource, change: Change) {
        if let Some(journal) = &mut self.journal {
            journal.put(&resource);
        }
        let pointer = resource.pointer();
        let collection = self.collection_mut(&pointer);
        collection.items.insert(pointer.id, resource);
        collection.publish(change);
        if self.journal.as_ref().is_some_and(Journal::is_due) {
            self.compact();
        }
    }
}

impl MemoryStore {
    /// A store with these types; definitions of types and namespaces are in it from the start.
    ///
    /// # Errors
    /// When the journal cannot be opened.
    ///
    /// # Panics
    /// When a registered type has an invalid name, which is an error of the program.
    pub fn open(registry: Registry, options: StateOptions) -> io::Result<Self> {
        let mut inner = Inner::default();
        if let Some(path) = options.journal {
            let (journal, resources) = Journal::open(path, &registry)?;
            for resource in resources {
                let pointer = resource.pointer();
                inner.collection_mut(&pointer).items.insert(pointer.id, resource);
            }
            inner.journal = Some(journal);
            inner.compact();
        }
        let cookie = options.rng.bytes();
        let descriptions = registry.describe().expect("registered types have valid names");
        let shared = Shared { inner: Mutex::new(inner), registry, clock: options.clock, cookie };
        let store = Self(Arc::new(shared));
        for resource in descriptions {
            store.replace(resource).map_err(io::Error::other)?;
        }
        Ok(store)
    }

    /// The types that it knows.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// The clock of its time stamps.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn get_now(&self, pointer: &Pointer) -> Result<AnyResource, StateError> {
        self.0.inner.lock().existing(pointer).cloned()
    }

    pub(crate) fn list_now(&self, kind: &Pointer, query: &Query) -> Vec<AnyResource> {
        let inner = self.0.inner.lock();
        let items = inner.collection(kind).into_iter().flat_map(|collection| collection.items.values());
        items.filter(|resource| query.matches(resource.metadata())).cloned().collect()
    }

    /// All resources of several types at one moment.
    pub(crate) fn snapshot(&self, kinds: &[Pointer]) -> Vec<Vec<AnyResource>> {
        let inner = self.0.inner.lock();
        let all = |kind: &Pointer| {
            inner
                .collection(kind)
                .map(|collection| collection.items.values().cloned().collect())
                .unwrap_or_default()
        };
        kinds.iter().map(all).collect()
    }

    pub(crate) fn create_now(&self, resource: AnyResource, owner: &str) -> Result<AnyResource, StateError> {
        let pointer = resource.pointer();
        let mut inner = self.0.inner.lock();
        if inner.existing(&pointer).is_ok() {
            return Err(StateError::AlreadyExists(pointer));
        }
        let now = self.0.clock.now();
        let created = resource.edit(|metadata| {
            metadata.version = 1;
            owner.clone_into(&mut metadata.owner);
            metadata.created = now;
            metadata.updated = now;
        });
        inner.put(created.clone(), Change::Created(created.clone()));
        Ok(created)
    }

    pub(crate) fn update_now(
        &self,
        resource: AnyResource,
        options: &UpdateOptions,
    ) -> Result<AnyResource, StateError> {
        let pointer = resource.pointer();
        let mut inner = self.0.inner.lock();
        let old = inner.existing(&pointer)?.clone();
        let Some(conflict) = conflict(&old, resource.metadata().version, options) else {
            let now = self.0.clock.now();
            let new = resource.inherit_unknown(&old).edit(|metadata| {
                metadata.version = old.metadata().version + 1;
                metadata.owner.clone_from(&old.metadata().owner);
                metadata.created = old.metadata().created;
                metadata.updated = now;
            });
            inner.put(new.clone(), Change::Updated { new: new.clone(), old });
            return Ok(new);
        };
        Err(conflict)
    }

    pub(crate) fn destroy_now(&self, pointer: &Pointer, owner: &str) -> Result<(), StateError> {
        let mut inner = self.0.inner.lock();
        let metadata = inner.existing(pointer)?.metadata();
        if metadata.owner != owner {
            return Err(StateError::Owner { pointer: pointer.clone(), owner: metadata.owner.clone() });
        }
        if !metadata.finalizers.is_empty() {
            let finalizers = metadata.finalizers.clone();
            return Err(StateError::Finalizers { pointer: pointer.clone(), finalizers });
        }
        if let Some(journal) = &mut inner.journal {
            journal.destroy(pointer);
        }
        let collection = inner.collection_mut(pointer);
        if let Some(resource) = collection.items.remove(&pointer.id) {
            collection.publish(Change::Destroyed(resource));
        }
        Ok(())
    }

    /// Stores a resource that nobody owns, if it differs from what is there.
    fn replace(&self, resource: AnyResource) -> Result<(), StateError> {
        match self.get_now(&resource.pointer()) {
            Ok(current) if current.same_spec(&resource) => Ok(()),
            Ok(current) => {
                let version = current.metadata().version;
                let resource = resource.edit(|metadata| metadata.version = version);
                self.update_now(resource, &UpdateOptions::any_phase("")).map(drop)
            }
            Err(_) => self.create_now(resource, "").map(drop),
        }
    }

    /// Has `listener` told about changes of a type for as long as it lives.
    pub(crate) fn listen(&self, kind: &Pointer, listener: Weak<dyn Listener>) {
        self.0.inner.lock().collection_mut(kind).listen(listener);
    }
}

/// Why an update is refused.
fn conflict(old: &AnyResource, version: u64, options: &UpdateOptions) -> Option<StateError> {
    let (metadata, pointer) = (old.metadata(), old.pointer());
    if metadata.owner != options.owner {
        return Some(StateError::Owner { pointer, owner: metadata.owner.clone() });
    }
    if metadata.version != version {
        return Some(StateError::Version { pointer, expected: version, actual: metadata.version });
    }
    match options.expected_phase {
        Some(expected) if expected != metadata.phase => Some(StateError::Phase { pointer, expected }),
        _ => None,
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

fn answer<'a, T: Send + 'a>(result: Result<T, StateError>) -> Answer<'a, T> {
    Box::pin(std::future::ready(result))
}

impl Store for MemoryStore {
    fn get<'a>(&'a self, pointer: &'a Pointer) -> Answer<'a, AnyResource> {
        answer(self.get_now(pointer))
    }
    fn list<'a>(&'a self, kind: &'a Pointer, query: &'a Query) -> Answer<'a, Vec<AnyResource>> {
        answer(Ok(self.list_now(kind, query)))
    }
    fn create<'a>(&'a self, resource: AnyResource, owner: &'a str) -> Answer<'a, AnyResource> {
        answer(self.create_now(resource, owner))
    }
    fn update<'a>(&'a self, resource: AnyResource, options: &'a UpdateOptions) -> Answer<'a, AnyResource> {
        answer(self.update_now(resource, options))
    }
    fn destroy<'a>(&'a self, pointer: &'a Pointer, owner: &'a str) -> Answer<'a, ()> {
        answer(self.destroy_now(pointer, owner))
    }
    fn watch<'a>(&'a self, pointer: &'a Pointer, start: Start) -> Answer<'a, Watch> {
        answer(self.watch_now(pointer, start))
    }
    fn watch_all<'a>(&'a self, kind: &'a Pointer, options: WatchOptions) -> Answer<'a, Watch> {
        answer(self.watch_all_now(kind, options))
    }
}

/// Whether a resource is in use; those in teardown are listed separately.
pub(crate) fn is_running(resource: &AnyResource) -> bool {
    resource.metadata().phase == Phase::Running
}
