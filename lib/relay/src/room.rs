//! Bytes that many hold together: a bound over all calls, where a bound for each would be too much in sum.
//!
//! ```text
//! bytes ─▶ Room::take ─▶ Held, until it is dropped
//!                    └─▶ nothing, when others hold too much, or this one does
//! ```

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How many bytes may be held. Clones share it.
#[derive(Clone, Debug)]
pub struct Room {
    all: Arc<Semaphore>,
    /// The part of whoever takes; all of it without one.
    part: Option<Arc<Semaphore>>,
}

/// A room of which nobody has more than a part.
#[derive(Debug)]
pub struct Rooms<K> {
    all: Arc<Semaphore>,
    each: usize,
    parts: Mutex<HashMap<K, Arc<Semaphore>>>,
}

/// Bytes that are held until this is dropped.
#[derive(Debug, Default)]
#[must_use = "room that is dropped is free again"]
pub struct Held {
    all: Option<OwnedSemaphorePermit>,
    part: Option<OwnedSemaphorePermit>,
}

fn semaphore(bytes: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS)))
}

impl<K: Eq + Hash> Rooms<K> {
    /// Room for so many bytes in all, and so many of each.
    #[must_use]
    pub fn new(all: usize, each: usize) -> Self {
        Self { all: semaphore(all), each, parts: Mutex::default() }
    }

    /// The room as one has it.
    #[must_use]
    pub fn of(&self, who: K) -> Room {
        let mut parts = self.parts.lock();
        // Parts that nobody uses are whole, and need not be remembered.
        parts.retain(|_, part| Arc::strong_count(part) > 1);
        let part = parts.entry(who).or_insert_with(|| semaphore(self.each));
        Room { all: Arc::clone(&self.all), part: Some(Arc::clone(part)) }
    }
}

impl Room {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { all: semaphore(bytes), part: None }
    }

    /// Takes so many bytes, or none when there is not enough room.
    #[must_use]
    pub fn take(&self, bytes: usize) -> Option<Held> {
        if bytes == 0 {
            return Some(Held::default());
        }
        let permits = u32::try_from(bytes).ok()?;
        let take = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_many_owned(permits).ok();
        let part = self.part.as_ref().map(take);
        let part = if let Some(part) = part { Some(part?) } else { None };
        Some(Held { all: Some(take(&self.all)?), part })
    }

    /// Takes so many bytes as soon as there is enough room, or none when there is not for so long.
    pub async fn take_within(&self, bytes: usize, patience: Duration) -> Option<Held> {
        if bytes == 0 {
            return Some(Held::default());
        }
        let permits = u32::try_from(bytes).ok()?;
        let take = |of: &Arc<Semaphore>| Arc::clone(of).acquire_many_owned(permits);
        let taken = async {
            // Whoever waits for its own part takes nothing that others need.
            let part = if let Some(part) = &self.part { Some(take(part).await.ok()?) } else { None };
            Some(Held { all: Some(take(&self.all).await.ok()?), part })
        };
        timeout(patience, taken).await.ok()?
    }
}

impl Held {
    /// Holds what another holds too, of the same room.
    pub fn merge(&mut self, other: Self) {
        merge(&mut self.all, other.all);
        merge(&mut self.part, other.part);
    }

    /// What holds so many bytes of these; all of them when there are fewer.
    pub fn split(&mut self, bytes: usize) -> Self {
        Self { all: split(&mut self.all, bytes), part: split(&mut self.part, bytes) }
    }
}

fn merge(own: &mut Option<OwnedSemaphorePermit>, other: Option<OwnedSemaphorePermit>) {
    match (own, other) {
        (Some(own), Some(other)) => own.merge(other),
        (own @ None, other) => *own = other,
        (Some(_), None) => {}
    }
}

fn split(own: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    match own {
        Some(all) if all.num_permits() > bytes => all.split(bytes),
        all => all.take(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_taken_until_it_is_dropped() {
        let room = Room::new(10);
        let mut held = room.take(6).expect("room");
        assert!(room.take(5).is_none());
        held.merge(room.take(4).expect("the rest"));
        assert!(room.take(1).is_none());
        let part = held.split(3);
        assert!(room.take(1).is_none());
        drop(held);
        assert!(room.take(8).is_none());
        drop(room.take(7).expect("what was not split off"));
        drop(part);
        assert!(room.take(10).is_some());
        assert!(room.take(usize::MAX).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_has_more_than_a_part() {
        let rooms = Rooms::new(10, 6);
        let mut greedy = rooms.of("one").take(6).expect("its part");
        assert!(rooms.of("one").take(1).is_none(), "however often it asks");
        let second = Duration::from_secs(1);
        assert!(rooms.of("one").take_within(1, second).await.is_none());
        let other = rooms.of("two").take_within(4, second).await.expect("what is left");
        assert!(rooms.of("two").take(1).is_none(), "there is no more");
        let half = greedy.split(3);
        drop(greedy);
        assert!(rooms.of("one").take(4).is_none());
        drop((half, other));
        assert!(rooms.of("one").take(6).is_some());
        drop(rooms.of("three"));
        assert_eq!(rooms.of("four").take(0).map(drop), Some(()));
        assert_eq!(rooms.parts.lock().len(), 1, "who holds nothing is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_room_when_it_comes_and_gives_up_when_it_does_not() {
        let room = Room::new(10);
        let held = room.take(10).expect("room");
        let second = Duration::from_secs(1);
        assert!(room.take_within(1, second).await.is_none());
        let (other, _) = tokio::join!(room.take_within(10, second), async { drop(held) });
        assert!(other.is_some());
    }
}
