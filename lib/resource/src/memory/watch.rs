//! Watches: positions in the history of a collection.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{MemoryStore, Shared};
use crate::memory::collection::{Collection, KEPT_MAX};
use crate::memory::filter::Filter;
use crate::metadata::Pointer;
use crate::resource::AnyResource;
use crate::store::{Bookmark, Change, Event, Start, StateError, Watch, WatchOptions};

/// A watcher's place.
struct Cursor {
    shared: Arc<Shared>,
    kind: Pointer,
    filter: Arc<Filter>,
    aggregated: bool,
    id: u64,
    wake: Arc<Notify>,
    initial: Vec<Event>,
    lost: bool,
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.shared.inner.lock().collection_mut(&self.kind).leave(self.id);
    }
}

impl Cursor {
    async fn batch(&mut self) -> Option<Vec<Event>> {
        if self.lost {
            return None;
        }
        if !self.initial.is_empty() {
            return Some(std::mem::take(&mut self.initial));
        }
        loop {
            let events = self.take();
            if !events.is_empty() {
                return Some(events);
            }
            self.wake.notified().await;
        }
    }

    /// What happened since the last call.
    fn take(&mut self) -> Vec<Event> {
        let mut inner = self.shared.inner.lock();
        let collection = inner.collection_mut(&self.kind);
        let mut events = Vec::new();
        let start = collection.position(self.id);
        let Some(changes) = collection.since(start) else {
            self.lost = true;
            let behind = collection.next() - start;
            let text = format!(
                "buffer overrun: namespace {:?} type {:?}, {behind} events behind, capacity {KEPT_MAX}",
                self.kind.namespace, self.kind.kind
            );
            return vec![Event { change: Change::Errored(text), bookmark: None }];
        };
        let mut position = start;
        for (at, change) in changes {
            position = at + 1;
            if let Some(change) = self.filter.apply(change) {
                events.push(Event { change, bookmark: Some(bookmark(&self.shared.cookie, at)) });
                if !self.aggregated {
                    break;
                }
            }
        }
        if position != start {
            collection.advance(self.id, position);
        }
        events
    }
}

/// The bookmark of the event at `position`; `u64::MAX` stands before the first one.
fn bookmark(cookie: &[u8; 8], position: u64) -> Bookmark {
    Bookmark([&cookie[..], &position.to_be_bytes()[..]].concat())
}

/// Position after the event of a bookmark.
fn resume(cookie: &[u8; 8], bookmark: &Bookmark, collection: &Collection) -> Result<u64, StateError> {
    let (prefix, position) = bookmark.0.split_first_chunk::<8>().ok_or(StateError::Bookmark)?;
    let position = <[u8; 8]>::try_from(position).map(u64::from_be_bytes).map_err(|_| StateError::Bookmark)?;
    let next = position.wrapping_add(1);
    let is_known = prefix == cookie && (collection.first()..=collection.next()).contains(&next);
    is_known.then_some(next).ok_or(StateError::Bookmark)
}

/// Position of the `count`th last event that matches.
fn tail(collection: &Collection, filter: &Filter, count: usize) -> u64 {
    let matching = collection.backwards().filter(|(_, change)| filter.apply(change).is_some());
    matching.take(count).last().map_or(collection.next(), |(position, _)| position)
}

impl MemoryStore {
    pub(crate) fn watch_now(&self, pointer: &Pointer, start: Start) -> Result<Watch, StateError> {
        let contents = start == Start::Contents;
        let filter = Filter::Id(pointer.id.clone());
        let options = WatchOptions { start, ..WatchOptions::default() };
        self.start(pointer, filter, options, |collection, _| {
            if !contents {
                return Vec::new();
            }
            let change = match collection.items.get(&pointer.id) {
                Some(resource) => Change::Created(resource.clone()),
                None => Change::Destroyed(AnyResource::tombstone(pointer)),
            };
            vec![Event { change, bookmark: None }]
        })
    }

    pub(crate) fn watch_all_now(&self, kind: &Pointer, options: WatchOptions) -> Result<Watch, StateError> {
        let contents = options.start == Start::Contents;
        let noop = options.initial_bookmark;
        let query = options.query.clone();
        self.start(kind, Filter::Query(options.query.clone()), options, |collection, mark| {
            let mut events = Vec::new();
            if contents {
                let matching =
                    collection.items.values().filter(|resource| query.matches(resource.metadata()));
                events.extend(
                    matching
                        .map(|resource| Event { change: Change::Created(resource.clone()), bookmark: None }),
                );
                events.push(Event { change: Change::Bootstrapped, bookmark: Some(mark.clone()) });
            }
            if noop {
                events.push(Event { change: Change::Noop, bookmark: Some(mark) });
            }
            events
        })
    }

    fn start(
        &self,
        kind: &Pointer,
        filter: Filter,
        options: WatchOptions,
        initial: impl FnOnce(&Collection, Bookmark) -> Vec<Event>,
    ) -> Result<Watch, StateError> {
        let cookie = &self.0.cookie;
        let mut inner = self.0.inner.lock();
        let collection = inner.collection_mut(kind);
        let position = match &options.start {
            Start::Now | Start::Contents => collection.next(),
            Start::Tail(count) => tail(collection, &filter, *count),
            Start::Bookmark(bookmark) => resume(cookie, bookmark, collection)?,
        };
        let initial = initial(collection, bookmark(cookie, position.wrapping_sub(1)));
        let wake = Arc::new(Notify::new());
        let filter = Arc::new(filter);
        let id = collection.join(position, Arc::clone(&filter), Arc::clone(&wake));
        drop(inner);
        let cursor = Cursor {
            shared: Arc::clone(&self.0),
            kind: Pointer::to_kind(&kind.namespace, &kind.kind),
            filter,
            aggregated: options.aggregated,
            id,
            wake,
            initial,
            lost: false,
        };
        Ok(Watch::new(futures::stream::unfold(cursor, |mut cursor| async move {
            cursor.batch().await.map(|batch| (batch, cursor))
        })))
    }
}
