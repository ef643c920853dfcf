//! Who is connected: so many connections at all, so many of one source, and how much a source may send.
//!
//! ```text
//! accept ─▶ take ─▶ Place, kept for as long as the connection
//!             └▶ the oldest connection of the same source ends, or the new one is refused
//! ```
//!
//! A machine that loses its power leaves connections behind that look alive. So that it gets in again, its oldest one
//! makes room; nobody else's ever does.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Bucket, Rate};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// What becomes of one connection too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// The oldest one of its source ends.
    EndOldest,
    /// It is refused itself.
    Refuse,
}

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections of all sources.
    pub total: usize,
    /// Connections of one source.
    pub per_source: usize,
    /// What becomes of one more.
    pub overflow: Overflow,
    /// How much a source may send over all its connections; `None` without a limit.
    pub rate: Option<Rate>,
}

/// All connections of one listener. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    bounds: Bounds,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    /// Connections of all sources.
    count: usize,
    /// How many places were ever given, which is the number of the last one.
    given: u64,
    sources: HashMap<IpAddr, Source>,
}

#[derive(Debug)]
struct Source {
    bucket: Bucket,
    /// Its connections, the oldest first. Dropping the sender ends one.
    held: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// The place of one connection; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    source: IpAddr,
    number: u64,
    ended: oneshot::Receiver<()>,
}

impl Places {
    /// Nobody is connected yet.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, table: Arc::default() }
    }

    /// A place for a connection; `None` when there is none.
    pub fn take(&self, source: IpAddr) -> Option<Place> {
        let now = Instant::now();
        let mut guard = self.table.lock();
        let table = &mut *guard;
        let held = table.sources.get(&source).map_or(0, |source| source.held.len());
        let is_full = held >= self.bounds.per_source || table.count >= self.bounds.total;
        if is_full && (self.bounds.overflow == Overflow::Refuse || !table.end_oldest(source)) {
            return None;
        }
        if table.sources.len() >= self.bounds.total {
            table.sources.retain(|_, source| !source.is_idle(now));
        }
        table.count += 1;
        table.given += 1;
        let number = table.given;
        let (end, ended) = oneshot::channel();
        let entry = table.sources.entry(source);
        let entry = entry.or_insert_with(|| Source { bucket: Bucket::full(now), held: VecDeque::new() });
        entry.held.push_back((number, end));
        Some(Place { places: self.clone(), source, number, ended })
    }

    /// Books what a source has sent, and waits until it may send more.
    pub async fn spend(&self, source: IpAddr, amount: usize) {
        let wait = self.book(source, amount);
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    fn book(&self, source: IpAddr, amount: usize) -> Duration {
        let Some(rate) = self.bounds.rate else { return Duration::ZERO };
        let amount = u64::try_from(amount).unwrap_or(u64::MAX);
        let now = Instant::now();
        let mut table = self.table.lock();
        let source = table.sources.get_mut(&source);
        source.map_or(Duration::ZERO, |source| source.bucket.take(rate, amount, now))
    }

    fn give_back(&self, source: IpAddr, number: u64) {
        let now = Instant::now();
        let mut guard = self.table.lock();
        let table = &mut *guard;
        let Some(entry) = table.sources.get_mut(&source) else { return };
        let before = entry.held.len();
        entry.held.retain(|(held, _)| *held != number);
        table.count = table.count.saturating_sub(before - entry.held.len());
        if entry.is_idle(now) {
            table.sources.remove(&source);
        }
    }
}

impl Table {
    /// Ends the oldest connection of a source; false when it has none.
    fn end_oldest(&mut self, source: IpAddr) -> bool {
        let oldest = self.sources.get_mut(&source).and_then(|source| source.held.pop_front());
        self.count = self.count.saturating_sub(usize::from(oldest.is_some()));
        oldest.is_some()
    }
}

impl Source {
    /// Whether nothing is lost when it is forgotten.
    fn is_idle(&self, now: Instant) -> bool {
        self.held.is_empty() && self.bucket.is_full(now)
    }
}

impl Place {
    /// Waits until the connection has to end for a newer one. To be waited for once.
    pub async fn evicted(&mut self) {
        // Nobody ever sends: the other side goes away.
        let _ = (&mut self.ended).await;
    }

    /// As [`Places::spend`], for the source of this connection.
    pub async fn spend(&self, amount: usize) {
        self.places.spend(self.source, amount).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.give_back(self.source, self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn source(host: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, host])
    }

    fn places(overflow: Overflow) -> Places {
        let rate = Some(Rate { per_second: 10, burst: 10 });
        Places::new(Bounds { total: 3, per_source: 2, overflow, rate })
    }

    #[tokio::test]
    async fn a_new_connection_ends_the_oldest_of_its_source_and_nobody_elses() {
        let places = places(Overflow::EndOldest);
        let mut first = places.take(source(1)).unwrap();
        let mut second = places.take(source(1)).unwrap();
        let mut other = places.take(source(2)).unwrap();
        let _third = places.take(source(1)).unwrap();
        assert_eq!(first.evicted().now_or_never(), Some(()));
        assert_eq!((second.evicted().now_or_never(), other.evicted().now_or_never()), (None, None));
        assert!(places.take(source(3)).is_none(), "all places are taken by others");
        drop(first);
        assert!(places.take(source(3)).is_none(), "an ended connection had no place any more");
        drop(other);
        assert!(places.take(source(3)).is_some());
    }

    #[tokio::test]
    async fn where_places_are_refused_those_that_have_one_keep_it() {
        let places = places(Overflow::Refuse);
        let mut first = places.take(source(1)).unwrap();
        let _second = places.take(source(1)).unwrap();
        assert!(places.take(source(1)).is_none());
        assert_eq!(first.evicted().now_or_never(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_sends_too_much_waits_also_after_it_connected_again() {
        let places = places(Overflow::EndOldest);
        let place = places.take(source(1)).unwrap();
        let start = Instant::now();
        place.spend(10).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        drop(place);
        let again = places.take(source(1)).unwrap();
        again.spend(10).await;
        assert!(start.elapsed() >= Duration::from_secs(1));
    }
}
