//! Resources of one type in one namespace, and what lately happened to them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use super::Listener;
use super::filter::Filter;
use crate::resource::AnyResource;
use crate::store::Change;

/// Events that are kept when nobody waits for them, for bookmarks and tails.
const KEPT: usize = 32;
/// Events that are kept for the slowest watcher; one that is further behind has lost.
pub const KEPT_MAX: usize = 1024;

/// Resources by id and their history.
#[derive(Default)]
pub struct Collection {
    pub items: BTreeMap<String, AnyResource>,
    history: VecDeque<Change>,
    /// Position of the next event; the history ends before it.
    next: u64,
    watchers: BTreeMap<u64, Watcher>,
    next_watcher: u64,
    listeners: Vec<Weak<dyn Listener>>,
}

struct Watcher {
    position: u64,
    filter: Arc<Filter>,
    wake: Arc<Notify>,
}

impl Collection {
    /// Position of the oldest event that is kept.
    pub fn first(&self) -> u64 {
        self.next - self.history.len() as u64
    }

    /// Position of the next event.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Adds an event to the history and wakes those that it concerns. Whoever waits at the end for something else moves
    /// on with it, so that a watcher of one resource does not fall behind while others change.
    pub fn publish(&mut self, change: Change) {
        self.listeners.retain(|listener| match listener.upgrade() {
            Some(listener) => {
                listener.changed(&change);
                true
            }
            None => false,
        });
        for watcher in self.watchers.values_mut() {
            if watcher.position == self.next && !watcher.filter.concerns(&change) {
                watcher.position += 1;
            } else {
                watcher.wake.notify_one();
            }
        }
        self.history.push_back(change);
        self.next += 1;
        self.trim();
    }

    /// Tells the listeners, and nobody else, that a decided change could not be kept.
    pub fn tell_refused(&self, change: &Change) {
        for listener in self.listeners.iter().filter_map(Weak::upgrade) {
            listener.refused(change);
        }
    }

    fn trim(&mut self) {
        let slowest = self.watchers.values().map(|watcher| watcher.position).min().unwrap_or(self.next);
        let wanted = usize::try_from(self.next.saturating_sub(slowest)).unwrap_or(KEPT_MAX);
        let kept = wanted.clamp(KEPT, KEPT_MAX);
        while self.history.len() > kept {
            self.history.pop_front();
        }
    }

    /// Events from `position` on, each with its position; `None` when some of them are gone.
    pub fn since(&self, position: u64) -> Option<impl Iterator<Item = (u64, &Change)>> {
        let skip = usize::try_from(position.checked_sub(self.first())?).ok()?;
        Some((position..).zip(self.history.iter().skip(skip)))
    }

    /// Events from the newest to the oldest, each with its position.
    pub fn backwards(&self) -> impl Iterator<Item = (u64, &Change)> {
        (self.first()..self.next).rev().zip(self.history.iter().rev())
    }

    /// A new watcher at `position` of what `filter` lets through; woken through `wake`.
    pub fn join(&mut self, position: u64, filter: Arc<Filter>, wake: Arc<Notify>) -> u64 {
        let id = self.next_watcher;
        self.next_watcher += 1;
        self.watchers.insert(id, Watcher { position, filter, wake });
        id
    }

    /// How far a watcher is; one that is not known is at the end.
    pub fn position(&self, id: u64) -> u64 {
        self.watchers.get(&id).map_or(self.next, |watcher| watcher.position)
    }

    /// Notes how far a watcher is.
    pub fn advance(&mut self, id: u64, position: u64) {
        if let Some(watcher) = self.watchers.get_mut(&id) {
            watcher.position = position;
        }
        self.trim();
    }

    /// Forgets a watcher.
    pub fn leave(&mut self, id: u64) {
        self.watchers.remove(&id);
        self.trim();
    }

    pub fn listen(&mut self, listener: Weak<dyn Listener>) {
        self.listeners.retain(|listener| listener.strong_count() > 0);
        self.listeners.push(listener);
    }
}
