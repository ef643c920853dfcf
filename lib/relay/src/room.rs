//! Bytes that many hold together: a bound over all calls, where a bound for each would be too much in sum.
//!
//! ```text
//! bytes ─▶ Room::take ─▶ Held, until it is dropped
//!                    └─▶ nothing, when others hold too much
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How many bytes may be held. Clones share it.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

/// Bytes that are held until this is dropped.
#[derive(Debug, Default)]
#[must_use = "room that is dropped is free again"]
pub struct Held(Option<OwnedSemaphorePermit>);

impl Room {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// Takes so many bytes, or none when there is not enough room.
    #[must_use]
    pub fn take(&self, bytes: usize) -> Option<Held> {
        if bytes == 0 {
            return Some(Held::default());
        }
        let permits = u32::try_from(bytes).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(permits).ok().map(|permit| Held(Some(permit)))
    }

    /// Takes so many bytes as soon as there is enough room, or none when there is not for so long.
    pub async fn take_within(&self, bytes: usize, patience: Duration) -> Option<Held> {
        if bytes == 0 {
            return Some(Held::default());
        }
        let permits = u32::try_from(bytes).ok()?;
        let taken = timeout(patience, Arc::clone(&self.0).acquire_many_owned(permits)).await;
        taken.ok()?.ok().map(|permit| Held(Some(permit)))
    }
}

impl Held {
    /// Holds what another holds too.
    pub fn merge(&mut self, other: Self) {
        match (&mut self.0, other.0) {
            (Some(own), Some(other)) => own.merge(other),
            (own @ None, other) => *own = other,
            (Some(_), None) => {}
        }
    }

    /// What holds so many bytes of these; all of them when there are fewer.
    pub fn split(&mut self, bytes: usize) -> Self {
        let Some(own) = &mut self.0 else { return Self::default() };
        if own.num_permits() <= bytes {
            return std::mem::take(self);
        }
        Self(own.split(bytes))
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
    async fn who_waits_gets_room_when_it_comes_and_gives_up_when_it_does_not() {
        let room = Room::new(10);
        let held = room.take(10).expect("room");
        let second = Duration::from_secs(1);
        assert!(room.take_within(1, second).await.is_none());
        let (other, _) = tokio::join!(room.take_within(10, second), async { drop(held) });
        assert!(other.is_some());
    }
}
