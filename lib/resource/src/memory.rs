//! The store in memory: alone, with a journal that survives a restart of the program within one boot, or in front of a
//! [`Backing`] that keeps what it decides.
//!
//! Invariants: a resource changes only under the one lock, which is never held across an await; an event
//! is in the history before the lock is released; a watcher has no queue of its own but a position in
//! the history, so that a slow one costs nothing and ends with an error. With a backing nobody sees or is told of a change
//! before it is kept; with one that other programs write to, everybody sees what is there in the order in which it came.

mod collection;
mod filter;
mod journal;
mod keeper;
mod mirror;
mod pending;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use corten_base::{Clock, Rng};
use parking_lot::Mutex;

use crate::backing::Backing;
use crate::metadata::{Phase, Pointer};
use crate::query::Query;
use crate::registry::Registry;
use crate::resource::AnyResource;
use crate::store::{Answer, Change, Start, StateError, Store, UpdateOptions, Watch, WatchOptions};
use collection::Collection;
use journal::Journal;
pub use keeper::Keeper;
pub use mirror::{Mirror, Shown};
use pending::{Pending, Ticket};

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
    /// A decided change could not be kept; whoever decided or relied on it looks again.
    fn refused(&self, change: &Change);
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
    pending: Option<Pending>,
    backing: Option<Arc<dyn Backing>>,
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

    /// The newest decided state of a resource, which the next change is based on.
    fn head(&self, pointer: &Pointer) -> Result<&AnyResource, StateError> {
        match self.pending.as_ref().and_then(|pending| pending.head(pointer)) {
            Some(head) => head.ok_or_else(|| StateError::NotFound(pointer.clone())),
            None => self.existing(pointer),
        }
    }

    /// The newest decided states of all resources of a type, sorted by id.
    fn heads(&self, kind: &Pointer) -> Vec<AnyResource> {
        let items = self.collection(kind).into_iter().flat_map(|collection| &collection.items);
        let mut all: BTreeMap<&str, &AnyResource> =
            items.map(|(id, resource)| (id.as_str(), resource)).collect();
        for (id, head) in self.pending.iter().flat_map(|pending| pending.heads(kind)) {
            match head {
                Some(resource) => drop(all.insert(id, resource)),
                None => drop(all.remove(id)),
            }
        }
        all.into_values().cloned().collect()
    }

    /// Carries out a decided change: at once, or through the backing that is to keep it first.
    fn decide(&mut self, change: Change) -> Result<Option<Ticket>, StateError> {
        let namespace = change.resource().map(|resource| resource.metadata().namespace.clone());
        match &mut self.pending {
            Some(pending) if namespace.is_some_and(|namespace| pending.keeps(&namespace)) => {
                pending.push(change).map(Some)
            }
            _ => {
                self.carry_out(change);
                Ok(None)
            }
        }
    }

    /// Writes the journal anew with what exists.
    fn compact(&mut self) {
        let Self { collections, journal, .. } = self;
        if let Some(journal) = journal {
            let all = collections
                .values()
                .flat_map(BTreeMap::values)
                .flat_map(|collection| collection.items.values());
            journal.compact(all);
        }
    }

    /// Makes a change visible.
    fn carry_out(&mut self, change: Change) {
        let Some(resource) = change.resource().cloned() else { return };
        let pointer = resource.pointer();
        let is_gone = matches!(change, Change::Destroyed(_));
        match &mut self.journal {
            Some(journal) if is_gone => journal.destroy(&pointer),
            Some(journal) => journal.put(&resource),
            None => {}
        }
        let collection = self.collection_mut(&pointer);
        if is_gone {
            collection.items.remove(&pointer.id);
        } else {
            collection.items.insert(pointer.id, resource);
        }
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
        Self::with(inner, registry, options.clock, &options.rng).map_err(io::Error::other)
    }

    /// A store of `inner` in which the types describe themselves.
    fn with(inner: Inner, registry: Registry, clock: Clock, rng: &Rng) -> Result<Self, StateError> {
        let descriptions = registry.describe().expect("registered types have valid names");
        let shared = Shared { inner: Mutex::new(inner), registry, clock, cookie: rng.bytes() };
        let store = Self(Arc::new(shared));
        for resource in descriptions {
            store.replace(resource)?;
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

    /// The newest decided state of a resource; what others see of it may be older.
    pub(crate) fn head_now(&self, pointer: &Pointer) -> Result<AnyResource, StateError> {
        self.0.inner.lock().head(pointer).cloned()
    }

    /// The newest decided states of all resources of a type, sorted by id.
    pub(crate) fn heads_now(&self, kind: &Pointer) -> Vec<AnyResource> {
        self.0.inner.lock().heads(kind)
    }

    /// Resources of some types at one moment: those with the ids that `rows` names, which is asked under the lock.
    pub(crate) fn snapshot_of(
        &self,
        rows: impl FnOnce() -> Vec<(Pointer, Vec<String>)>,
    ) -> Vec<(Pointer, Vec<AnyResource>)> {
        let inner = self.0.inner.lock();
        let found = |(kind, ids): (Pointer, Vec<String>)| {
            let collection = inner.collection(&kind);
            let get = |id: &String| collection.and_then(|collection| collection.items.get(id)).cloned();
            let resources = ids.iter().filter_map(get).collect();
            (kind, resources)
        };
        rows().into_iter().map(found).collect()
    }

    pub(crate) fn create_now(&self, resource: AnyResource, owner: &str) -> Result<AnyResource, StateError> {
        self.create_with_ticket(resource, owner).map(|(created, _)| created)
    }

    fn create_with_ticket(&self, resource: AnyResource, owner: &str) -> Result<Decided, StateError> {
        let pointer = resource.pointer();
        let mut inner = self.0.inner.lock();
        if inner.head(&pointer).is_ok() {
            return Err(StateError::AlreadyExists(pointer));
        }
        let now = self.0.clock.now();
        let created = resource.edit(|metadata| {
            metadata.version = 1;
            owner.clone_into(&mut metadata.owner);
            metadata.created = now;
            metadata.updated = now;
        });
        let ticket = inner.decide(Change::Created(created.clone()))?;
        Ok((created, ticket))
    }

    pub(crate) fn update_now(
        &self,
        resource: AnyResource,
        options: &UpdateOptions,
    ) -> Result<AnyResource, StateError> {
        self.update_with_ticket(resource, options).map(|(updated, _)| updated)
    }

    fn update_with_ticket(
        &self,
        resource: AnyResource,
        options: &UpdateOptions,
    ) -> Result<Decided, StateError> {
        let pointer = resource.pointer();
        let mut inner = self.0.inner.lock();
        let old = inner.head(&pointer)?.clone();
        let Some(conflict) = conflict(&old, resource.metadata().version, options) else {
            let now = self.0.clock.now();
            let new = resource.inherit_unknown(&old).edit(|metadata| {
                metadata.version = old.metadata().version + 1;
                metadata.owner.clone_from(&old.metadata().owner);
                metadata.created = old.metadata().created;
                metadata.updated = now;
            });
            let ticket = inner.decide(Change::Updated { new: new.clone(), old })?;
            return Ok((new, ticket));
        };
        Err(conflict)
    }

    pub(crate) fn destroy_now(&self, pointer: &Pointer, owner: &str) -> Result<(), StateError> {
        self.destroy_with_ticket(pointer, owner).map(drop)
    }

    fn destroy_with_ticket(&self, pointer: &Pointer, owner: &str) -> Result<Option<Ticket>, StateError> {
        let mut inner = self.0.inner.lock();
        let head = inner.head(pointer)?.clone();
        let metadata = head.metadata();
        if metadata.owner != owner {
            return Err(StateError::Owner { pointer: pointer.clone(), owner: metadata.owner.clone() });
        }
        if !metadata.finalizers.is_empty() {
            let finalizers = metadata.finalizers.clone();
            return Err(StateError::Finalizers { pointer: pointer.clone(), finalizers });
        }
        inner.decide(Change::Destroyed(head))
    }

    /// What is wrong with what keeps the resources, with what would help; nothing when it keeps what it is given.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let backing = self.0.inner.lock().backing.clone();
        backing.and_then(|backing| backing.trouble())
    }

    /// Waits until everything that was decided so far is kept, or refused.
    pub async fn settled(&self) {
        let progress = self.0.inner.lock().pending.as_ref().map(Pending::progress);
        if let Some((decided, mut settled)) = progress {
            // The sender lives as long as the store.
            let _ = settled.wait_for(|settled| *settled >= decided).await;
        }
    }

    /// Waits until one more change may be decided.
    async fn room(&self) {
        loop {
            // Subscribed under the lock: a batch that is settled from now on is seen.
            let mut settled = match &self.0.inner.lock().pending {
                Some(pending) if pending.len() >= pending::QUEUE_MAX => pending.progress().1,
                _ => return,
            };
            // The sender lives as long as the store.
            let _ = settled.changed().await;
        }
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

    /// As [`MemoryStore::listen`], and tells the listener first of everything that is there, as if it was created now.
    pub(crate) fn listen_from_now(&self, kind: &Pointer, listener: &Arc<dyn Listener>) {
        let mut inner = self.0.inner.lock();
        let collection = inner.collection_mut(kind);
        for resource in collection.items.values() {
            listener.changed(&Change::Created(resource.clone()));
        }
        collection.listen(Arc::downgrade(listener));
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

/// A resource as it was decided, and who tells when it is kept.
type Decided = (AnyResource, Option<Ticket>);

/// Waits for the backing, if there is one.
async fn kept(ticket: Option<Ticket>) -> Result<(), StateError> {
    match ticket {
        None => Ok(()),
        Some(ticket) => {
            let stopped = |_| Err(StateError::Unavailable(pending::CLOSED.to_owned()));
            ticket.await.unwrap_or_else(stopped)
        }
    }
}

impl Store for MemoryStore {
    fn get<'a>(&'a self, pointer: &'a Pointer) -> Answer<'a, AnyResource> {
        answer(self.get_now(pointer))
    }
    fn list<'a>(&'a self, kind: &'a Pointer, query: &'a Query) -> Answer<'a, Vec<AnyResource>> {
        answer(Ok(self.list_now(kind, query)))
    }
    fn create<'a>(&'a self, resource: AnyResource, owner: &'a str) -> Answer<'a, AnyResource> {
        Box::pin(async move {
            self.room().await;
            let (created, ticket) = self.create_with_ticket(resource, owner)?;
            kept(ticket).await.map(|()| created)
        })
    }
    fn update<'a>(&'a self, resource: AnyResource, options: &'a UpdateOptions) -> Answer<'a, AnyResource> {
        Box::pin(async move {
            self.room().await;
            let (updated, ticket) = self.update_with_ticket(resource, options)?;
            kept(ticket).await.map(|()| updated)
        })
    }
    fn destroy<'a>(&'a self, pointer: &'a Pointer, owner: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.room().await;
            kept(self.destroy_with_ticket(pointer, owner)?).await
        })
    }
    fn newest<'a>(&'a self, pointer: &'a Pointer) -> Answer<'a, AnyResource> {
        answer(self.head_now(pointer))
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
