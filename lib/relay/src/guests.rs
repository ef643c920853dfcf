//! Connections of whoever comes to a listener: how many, from where, how fast, and who leaves when it is full.
//!
//! ```text
//! accepted ─▶ arrive ─▶ Arrival (silent) ─▶ has spoken (shakes hands) ─▶ settle ─▶ Guest (calls)
//!                │           ╰ the oldest of its origin leaves for a new one, then the oldest of all that are as far
//!                ╰▶ refused: too fast, too many of its origin, or full and nobody of those who idle has to leave
//! ```
//!
//! A listener never waits for a place: whoever has none is let go at once, so that the kernel's queue is free for others.
//! Whoever shakes hands has shown nothing yet and stays only as long as nobody newer comes; a client that means it is
//! done in a moment. Those who have not even said what they want are many and cheap, and are nobody's loss but their own:
//! they never take the place of one who has. A guest without a call leaves when there is no other place for a new one.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corten_base::rate::{Buckets, Rate};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::shares::Origin;

/// How many may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Guests in all.
    pub guests: usize,
    /// Guests of one origin.
    pub guests_each: usize,
    /// Those who have said nothing yet, or not all of their greeting.
    pub silent: usize,
    /// Those whose greeting is being answered.
    pub shaking: usize,
    /// Those of one origin who are either.
    pub arrivals_each: usize,
    /// How fast those of one origin may come.
    pub rate: Rate,
}

/// Origins whose pace is remembered.
const ORIGINS_MAX: usize = 1024;

/// What became of all who came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Let in.
    pub served: u64,
    /// Let go at once.
    pub refused: u64,
    /// Had to leave for somebody else.
    pub evicted: u64,
}

/// The connections of a listener. Clones share them.
#[derive(Clone, Debug)]
pub struct Guests(Arc<House>);

#[derive(Debug)]
struct House {
    welcome: Welcome,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    next: u64,
    pace: Buckets<Origin>,
    silent: BTreeMap<u64, Entry>,
    shaking: BTreeMap<u64, Entry>,
    guests: BTreeMap<u64, Entry>,
    counts: Counts,
}

/// How far somebody is who is no guest yet.
#[derive(Clone, Copy)]
enum Stage {
    Silent,
    Shaking,
}

/// One connection; newer ones have larger numbers.
#[derive(Clone, Debug)]
struct Entry {
    origin: Origin,
    calls: Arc<AtomicUsize>,
    leave: Arc<Notify>,
}

impl Guests {
    /// Nobody is here.
    #[must_use]
    pub fn new(welcome: Welcome) -> Self {
        let book = Book {
            next: 0,
            pace: Buckets::new(welcome.rate, Duration::ZERO, ORIGINS_MAX),
            silent: BTreeMap::new(),
            shaking: BTreeMap::new(),
            guests: BTreeMap::new(),
            counts: Counts::default(),
        };
        Self(Arc::new(House { welcome, book: Mutex::new(book) }))
    }

    /// Somebody has come from this address; `None` when it has to go at once.
    #[must_use]
    pub fn arrive(&self, address: IpAddr, now: Instant) -> Option<Arrival> {
        let origin = Origin::from(address);
        let mut book = self.0.book.lock();
        let entry = book.arrive(&self.0.welcome, origin, now);
        match entry {
            Some((number, entry)) => Some(Arrival { house: Arc::clone(&self.0), number, entry }),
            None => {
                book.counts.refused += 1;
                None
            }
        }
    }

    /// What became of all who came.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.book.lock().counts
    }

    /// How many are here: those who shake hands, and guests.
    #[must_use]
    pub fn here(&self) -> (usize, usize) {
        let book = self.0.book.lock();
        (book.silent.len() + book.shaking.len(), book.guests.len())
    }
}

impl Book {
    fn arrive(&mut self, welcome: &Welcome, origin: Origin, now: Instant) -> Option<(u64, Entry)> {
        if of(&self.guests, origin) >= welcome.guests_each {
            return None;
        }
        self.pace.take(&origin, now)?;
        if of(&self.silent, origin) + of(&self.shaking, origin) >= welcome.arrivals_each {
            let is_gone = self.evict(Stage::Silent, |entry| entry.origin == origin)
                || self.evict(Stage::Shaking, |entry| entry.origin == origin);
            debug_assert!(is_gone, "somebody of it was there");
        }
        if self.silent.len() >= welcome.silent {
            self.evict(Stage::Silent, |_| true);
        }
        let entry = Entry { origin, calls: Arc::default(), leave: Arc::default() };
        let number = self.next;
        self.next += 1;
        self.silent.insert(number, entry.clone());
        Some((number, entry))
    }

    /// Whoever had to leave meanwhile stays away.
    fn has_spoken(&mut self, welcome: &Welcome, number: u64) {
        let Some(entry) = self.silent.remove(&number) else { return };
        if self.shaking.len() >= welcome.shaking {
            self.evict(Stage::Shaking, |_| true);
        }
        self.shaking.insert(number, entry);
    }

    /// The oldest at a stage leaves; whether there was one.
    fn evict(&mut self, stage: Stage, is_it: impl Fn(&Entry) -> bool) -> bool {
        let entries = match stage {
            Stage::Silent => &mut self.silent,
            Stage::Shaking => &mut self.shaking,
        };
        let oldest = entries.iter().find(|(_, entry)| is_it(entry)).map(|(number, _)| *number);
        let Some(gone) = oldest.and_then(|number| entries.remove(&number)) else { return false };
        gone.leave.notify_one();
        self.counts.evicted += 1;
        true
    }

    /// Whether a guest may stay, with the place of somebody who idles if there is no other.
    fn settle(&mut self, welcome: &Welcome, number: u64, entry: &Entry) -> bool {
        // Whoever had to leave while it shook hands is not in the book any more.
        if self.shaking.remove(&number).is_none() || of(&self.guests, entry.origin) >= welcome.guests_each {
            return false;
        }
        if self.guests.len() >= welcome.guests && !self.evict_idle() {
            return false;
        }
        self.guests.insert(number, entry.clone());
        self.counts.served += 1;
        true
    }

    /// The oldest guest without a call leaves, of the origin that has the most.
    fn evict_idle(&mut self) -> bool {
        let mut by_origin: HashMap<Origin, usize> = HashMap::new();
        for entry in self.guests.values() {
            *by_origin.entry(entry.origin).or_default() += 1;
        }
        let idle = self.guests.iter().filter(|(_, entry)| entry.calls.load(Ordering::Relaxed) == 0);
        let most = |entry: &Entry| by_origin.get(&entry.origin).copied().unwrap_or_default();
        // Of several that are as good the last is taken by `max_by_key`: so from the newest to the oldest.
        let found = idle.rev().max_by_key(|(_, entry)| most(entry)).map(|(number, _)| *number);
        let Some(gone) = found.and_then(|number| self.guests.remove(&number)) else { return false };
        gone.leave.notify_one();
        self.counts.evicted += 1;
        true
    }
}

fn of(entries: &BTreeMap<u64, Entry>, origin: Origin) -> usize {
    entries.values().filter(|entry| entry.origin == origin).count()
}

/// Somebody who shakes hands.
#[derive(Debug)]
pub struct Arrival {
    house: Arc<House>,
    number: u64,
    entry: Entry,
}

impl Arrival {
    /// Returns when it has to leave.
    pub async fn leaves(&self) {
        self.entry.leave.notified().await;
    }

    /// Its greeting is whole, and is answered now.
    pub fn has_spoken(&self) {
        self.house.book.lock().has_spoken(&self.house.welcome, self.number);
    }

    /// It has shaken hands; `None` when there is no place for it.
    #[must_use]
    pub fn settle(self) -> Option<Guest> {
        let (house, number, entry) = (Arc::clone(&self.house), self.number, self.entry.clone());
        let mut book = house.book.lock();
        let stays = book.settle(&house.welcome, number, &entry);
        if !stays {
            book.counts.refused += 1;
        }
        drop(book);
        stays.then_some(Guest { house, number, entry })
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut book = self.house.book.lock();
        book.silent.remove(&self.number);
        book.shaking.remove(&self.number);
    }
}

/// Somebody who makes calls.
#[derive(Debug)]
pub struct Guest {
    house: Arc<House>,
    number: u64,
    entry: Entry,
}

impl Guest {
    /// Returns when it has to leave.
    pub async fn leaves(&self) {
        self.entry.leave.notified().await;
    }

    /// Counts its calls, for as long as they go on.
    #[must_use]
    pub fn calls(&self) -> Calls {
        Calls(Arc::clone(&self.entry.calls))
    }

    /// Where it comes from.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.entry.origin
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.house.book.lock().guests.remove(&self.number);
    }
}

/// Counts the calls of a guest.
#[derive(Clone, Debug)]
pub struct Calls(Arc<AtomicUsize>);

impl Calls {
    /// A call begins; it goes on until this is dropped.
    #[must_use]
    pub fn begin(&self) -> Call {
        self.0.fetch_add(1, Ordering::Relaxed);
        Call(Arc::clone(&self.0))
    }
}

/// A call that goes on.
#[derive(Debug)]
pub struct Call(Arc<AtomicUsize>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const WELCOME: Welcome = Welcome {
        guests: 4,
        guests_each: 3,
        silent: 4,
        shaking: 2,
        arrivals_each: 2,
        rate: Rate { per_second: 1, burst: 5 },
    };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 5, 0, last])
    }

    fn guest(guests: &Guests, last: u8) -> Option<Guest> {
        let arrival = guests.arrive(address(last), Instant::now())?;
        arrival.has_spoken();
        arrival.settle()
    }

    fn has_to_leave(leaves: impl Future<Output = ()>) -> bool {
        leaves.now_or_never().is_some()
    }

    #[test]
    fn the_oldest_of_an_origin_leaves_for_its_newest_and_nobody_else_does() {
        let guests = Guests::new(WELCOME);
        let now = Instant::now();
        let of_other = guests.arrive(address(2), now).expect("comes");
        let silent: Vec<Arrival> = (0..5).map(|_| guests.arrive(address(1), now).expect("comes")).collect();
        let left: Vec<bool> = silent.iter().map(|arrival| has_to_leave(arrival.leaves())).collect();
        assert_eq!(left, [true, true, true, false, false]);
        assert!(!has_to_leave(of_other.leaves()));
        assert!(guests.arrive(address(1), now).is_none(), "too fast");
        let _third = guests.arrive(address(3), now).expect("comes");
        let _fourth = guests.arrive(address(4), now).expect("comes");
        assert!(has_to_leave(of_other.leaves()), "the oldest of all");
        assert!(of_other.settle().is_none(), "it has left");
        assert_eq!(guests.counts(), Counts { served: 0, refused: 2, evicted: 4 });
        assert_eq!(guests.here(), (4, 0));
    }

    #[test]
    fn who_has_spoken_leaves_only_for_others_who_have() {
        let guests = Guests::new(WELCOME);
        let now = Instant::now();
        let polite = guests.arrive(address(9), now).expect("comes");
        polite.has_spoken();
        let silent: Vec<Arrival> =
            (1..8).map(|last| guests.arrive(address(last), now).expect("comes")).collect();
        assert!(!has_to_leave(polite.leaves()));
        silent[6].has_spoken();
        silent[0].has_spoken();
        assert!(!has_to_leave(polite.leaves()), "one that had to leave has no greeting");
        silent[5].has_spoken();
        assert!(has_to_leave(polite.leaves()), "the oldest of those who shake hands");
        assert!(polite.settle().is_none());
        assert!(guests.arrive(address(5), now).expect("comes").settle().is_none(), "it has not shaken hands");
    }

    #[test]
    fn guests_that_idle_leave_for_new_ones_and_those_with_calls_stay() {
        let guests = Guests::new(WELCOME);
        let mut of_one: Vec<Guest> = (0..3).map(|_| guest(&guests, 1).expect("stays")).collect();
        assert!(guest(&guests, 1).is_none(), "an origin has its share");
        let of_two = guest(&guests, 2).expect("stays");
        let call = of_one[0].calls().begin();
        let of_three = guest(&guests, 3).expect("the place of one that idles");
        let left: Vec<bool> = of_one.iter().map(|guest| has_to_leave(guest.leaves())).collect();
        assert_eq!(left, [false, true, false], "the oldest without a call, of those who are many");
        let busy = [of_one[2].calls().begin(), of_two.calls().begin(), of_three.calls().begin()];
        assert!(guest(&guests, 4).is_none(), "nobody idles");
        drop((call, busy));
        of_one.remove(0);
        assert!(guest(&guests, 4).is_some(), "somebody has gone");
    }

    #[test]
    fn who_goes_away_is_forgotten() {
        let guests = Guests::new(WELCOME);
        drop(guests.arrive(address(1), Instant::now()).expect("comes"));
        drop(guest(&guests, 1).expect("stays"));
        assert_eq!(guests.here(), (0, 0));
    }
}
