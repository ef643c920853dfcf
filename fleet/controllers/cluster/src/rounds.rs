//! What was seen of each cluster last, so that it is not looked at more often than is good.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// What was seen last, by cluster or machine. It is in memory only.
#[derive(Debug)]
pub(crate) struct Rounds<T>(Mutex<BTreeMap<String, (Instant, T)>>);

impl<T: Clone> Rounds<T> {
    /// Nothing was looked at yet.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// What was seen last, and how long ago.
    pub(crate) fn last(&self, item: &str) -> Option<(Duration, T)> {
        let rounds = self.0.lock();
        rounds.get(item).map(|(at, seen)| (at.elapsed(), seen.clone()))
    }

    /// Notes what is seen now.
    pub(crate) fn note(&self, item: &str, seen: T) {
        self.0.lock().insert(item.to_owned(), (Instant::now(), seen));
    }

    /// Forgets an item that is gone.
    pub(crate) fn forget(&self, item: &str) {
        self.0.lock().remove(item);
    }
}
