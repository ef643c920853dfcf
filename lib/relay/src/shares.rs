//! Places that many share: a bound over all, a bound for each, and some that are kept for those who have few.
//!
//! ```text
//! who ─▶ Shares::take ─▶ Place, until it is dropped
//!                    └─▶ nothing: there is none left, this one has its share, or what is left is kept for others
//! ```
//!
//! So nobody, and no two or three together, keep others out: the last places go to those who have hardly any.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// Where somebody calls from: an address, for IPv6 the network of 64 bits that a host has all to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(four) => Self(IpAddr::V4(four)),
            IpAddr::V6(six) => {
                let network = six.to_bits() & (u128::MAX << 64);
                Self(IpAddr::V6(Ipv6Addr::from_bits(network)))
            }
        }
    }
}

/// How many places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In all.
    pub all: usize,
    /// For each.
    pub each: usize,
    /// How many of all are kept for those who have few.
    pub kept: usize,
    /// How many places are few.
    pub few: usize,
}

#[derive(Debug)]
struct Taken<K> {
    all: usize,
    by: HashMap<K, usize>,
}

/// Places. Clones share them.
#[derive(Debug)]
pub struct Shares<K> {
    bounds: Bounds,
    taken: Arc<Mutex<Taken<K>>>,
}

impl<K> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self { bounds: self.bounds, taken: Arc::clone(&self.taken) }
    }
}

/// Places that are taken until this is dropped.
#[derive(Debug)]
#[must_use = "a place that is dropped is free again"]
pub struct Place<K: Eq + Hash> {
    who: K,
    count: usize,
    taken: Arc<Mutex<Taken<K>>>,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// All places are free.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, taken: Arc::new(Mutex::new(Taken { all: 0, by: HashMap::new() })) }
    }

    /// Takes some places for somebody, all or none.
    #[must_use]
    pub fn take(&self, who: &K, count: usize) -> Option<Place<K>> {
        let mut taken = self.taken.lock();
        let own = taken.by.get(who).copied().unwrap_or_default();
        let Bounds { all, each, kept, few } = self.bounds;
        let (own, total) = (own.checked_add(count)?, taken.all.checked_add(count)?);
        let is_free = total <= all && own <= each && (own <= few || total <= all.saturating_sub(kept));
        if !is_free {
            return None;
        }
        taken.all = total;
        taken.by.insert(who.clone(), own);
        drop(taken);
        Some(Place { who: who.clone(), count, taken: Arc::clone(&self.taken) })
    }

    /// How many places are taken.
    #[must_use]
    pub fn count(&self) -> usize {
        self.taken.lock().all
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.all = taken.all.saturating_sub(self.count);
        let left = taken.by.get_mut(&self.who).map(|own| {
            *own = own.saturating_sub(self.count);
            *own
        });
        if left == Some(0) {
            taken.by.remove(&self.who);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { all: 10, each: 6, kept: 3, few: 2 };

    #[test]
    fn the_last_places_are_for_those_who_have_few() {
        let shares = Shares::new(BOUNDS);
        let of_one = shares.take(&"one", 6).expect("its share");
        assert!(shares.take(&"one", 1).is_none(), "more than its share");
        let _second = shares.take(&"two", 1).expect("the last that is not kept");
        assert!(shares.take(&"two", 2).is_none(), "three are not few");
        let _few = [shares.take(&"two", 1).expect("few"), shares.take(&"three", 2).expect("few")];
        assert!(shares.take(&"four", 1).is_none(), "there is none left");
        drop(of_one);
        assert!(shares.take(&"four", 3).is_some());
    }

    #[test]
    fn a_host_is_one_origin_whatever_address_it_takes() {
        let origin = |text: &str| Origin::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(origin("10.5.0.2"), origin("::ffff:10.5.0.2"));
        assert_ne!(origin("10.5.0.2"), origin("10.5.0.3"));
        assert_eq!(origin("fd00::1"), origin("fd00::2:3:4:5"));
        assert_ne!(origin("fd00::1"), origin("fd00:0:0:1::1"));
    }

    proptest! {
        #[test]
        fn places_come_back_and_bounds_hold(steps in prop::collection::vec((0_u8..4, 0_usize..4, any::<bool>()), 0..60)) {
            let shares = Shares::new(BOUNDS);
            let mut held: Vec<Place<u8>> = Vec::new();
            for (who, count, lets_go) in steps {
                if lets_go && !held.is_empty() {
                    drop(held.remove(0));
                }
                held.extend(shares.take(&who, count));
                let of = |who: u8| held.iter().filter(|place| place.who == who).map(|place| place.count).sum::<usize>();
                prop_assert_eq!(shares.count(), held.iter().map(|place| place.count).sum::<usize>());
                prop_assert!(shares.count() <= BOUNDS.all && of(who) <= BOUNDS.each);
            }
            held.clear();
            prop_assert_eq!(shares.count(), 0);
            prop_assert!(shares.taken.lock().by.is_empty());
        }
    }
}
