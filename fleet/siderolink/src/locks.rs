//! One call at a time for each machine; a bounded number of machines and of calls of one machine.
//!
//! ```text
//! key ─▶ lock ─▶ Held, until it is dropped; nothing when too many wait already
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Most keys that are locked or waited for.
const KEYS_MAX: usize = 4096;
/// Most calls that wait for one key. Machines whose firmware has no UUID share one, and come by the rack.
const USERS_MAX: usize = 256;

/// Locks by key. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locks(Arc<Mutex<HashMap<String, Entry>>>);

#[derive(Debug, Default)]
struct Entry {
    lock: Arc<AsyncMutex<()>>,
    /// How many hold it or wait for it.
    users: usize,
}

/// A key that is locked.
#[derive(Debug)]
pub(crate) struct Held {
    // Let go of before the ticket: fields are dropped in order.
    _guard: OwnedMutexGuard<()>,
    _ticket: Ticket,
}

/// Counts somebody who holds a lock or waits for it.
#[derive(Debug)]
struct Ticket {
    locks: Locks,
    key: String,
    lock: Arc<AsyncMutex<()>>,
}

impl Locks {
    /// Waits until nobody else holds the key; `None` when too many wait already.
    pub async fn lock(&self, key: &str) -> Option<Held> {
        let ticket = self.ticket(key)?;
        let guard = Arc::clone(&ticket.lock).lock_owned().await;
        Some(Held { _guard: guard, _ticket: ticket })
    }

    fn ticket(&self, key: &str) -> Option<Ticket> {
        let mut entries = self.0.lock();
        if entries.len() >= KEYS_MAX && !entries.contains_key(key) {
            return None;
        }
        let entry = entries.entry(key.to_owned()).or_default();
        if entry.users >= USERS_MAX {
            return None;
        }
        entry.users += 1;
        Some(Ticket { locks: self.clone(), key: key.to_owned(), lock: Arc::clone(&entry.lock) })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut entries = self.locks.0.lock();
        let Some(entry) = entries.get_mut(&self.key) else { return };
        entry.users = entry.users.saturating_sub(1);
        if entry.users == 0 {
            entries.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_key_is_held_by_one_and_forgotten_when_nobody_wants_it() {
        let locks = Locks::default();
        let first = locks.lock("a").await.unwrap();
        assert!(locks.lock("a").now_or_never().is_none(), "it waits");
        assert!(locks.lock("b").now_or_never().flatten().is_some());
        assert_eq!(locks.0.lock().len(), 1, "whoever gave up is not counted");
        drop(first);
        assert!(locks.0.lock().is_empty());
        assert!(locks.lock("a").now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn more_than_so_many_are_turned_away() {
        let locks = Locks::default();
        let tickets: Vec<_> = (0..USERS_MAX).map(|_| locks.ticket("a").unwrap()).collect();
        assert!(locks.lock("a").await.is_none());
        drop(tickets);
        let tickets: Vec<_> = (0..KEYS_MAX).map(|key| locks.ticket(&key.to_string()).unwrap()).collect();
        assert!(locks.lock("a").await.is_none());
        assert!(locks.ticket("0").is_some());
        drop(tickets);
    }
}
