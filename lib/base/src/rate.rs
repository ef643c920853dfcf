//! How much somebody may send or ask for: a bucket that fills steadily, and a bounded table of such buckets.
//!
//! ```text
//! amount, time ─▶ take ─▶ how long to wait, or a refusal that costs nothing
//! ```
//!
//! A bucket is one instant: until when its owner has booked. It is full when that is past, and empty when it is the
//! whole burst ahead. Pure: the time comes in as an argument.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// A rate and what may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How much for ever, in units a second; zero counts as one.
    pub per_second: u64,
    /// How much at once after a silence, in units; zero counts as one.
    pub burst: u64,
}

impl Rate {
    /// The time that an amount takes at this rate.
    fn time_of(self, amount: u64) -> Duration {
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(self.per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// What somebody has booked.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    until: Instant,
}

impl Bucket {
    /// A bucket from which nothing was taken.
    #[must_use]
    pub const fn full(now: Instant) -> Self {
        Self { until: now }
    }

    /// Whether nothing is booked any more.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.until <= now
    }

    /// Books an amount, whatever it is; the next one may come after the returned time.
    pub fn take(&mut self, rate: Rate, amount: u64, now: Instant) -> Duration {
        let (until, wait) = self.booking(rate, amount, now);
        self.until = until;
        wait
    }

    /// Books an amount if it need not wait longer than `wait_max`; it may be served after the returned time. A full
    /// bucket refuses nothing, for what is above the burst would never come otherwise.
    pub fn try_take(
        &mut self,
        rate: Rate,
        amount: u64,
        wait_max: Duration,
        now: Instant,
    ) -> Option<Duration> {
        let (until, wait) = self.booking(rate, amount, now);
        if wait > wait_max && !self.is_full(now) {
            return None;
        }
        self.until = until;
        Some(wait)
    }

    /// Until when is booked after this amount, and how long it waits.
    fn booking(&self, rate: Rate, amount: u64, now: Instant) -> (Instant, Duration) {
        let start = self.until.max(now);
        let until = start.checked_add(rate.time_of(amount)).unwrap_or(start);
        let ahead = until.saturating_duration_since(now);
        (until, ahead.saturating_sub(rate.time_of(rate.burst.max(1))))
    }
}

/// The buckets of those who came lately, each of which takes one unit at a time.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    wait_max: Duration,
    most: usize,
    buckets: BTreeMap<K, Bucket>,
}

impl<K: Clone + Ord> Buckets<K> {
    /// Nobody came yet. At most `most` are remembered; who would wait longer than `wait_max` is refused.
    #[must_use]
    pub const fn new(rate: Rate, wait_max: Duration, most: usize) -> Self {
        Self { rate, wait_max, most, buckets: BTreeMap::new() }
    }

    /// Books one unit of `who`; it may be served after the returned time. `None` is a refusal, which costs nothing.
    pub fn take<Q>(&mut self, who: &Q, now: Instant) -> Option<Duration>
    where
        K: Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(bucket) = self.buckets.get_mut(who) {
            return bucket.try_take(self.rate, 1, self.wait_max, now);
        }
        self.make_room(now);
        let mut bucket = Bucket::full(now);
        let wait = bucket.try_take(self.rate, 1, self.wait_max, now);
        self.buckets.insert(who.to_owned(), bucket);
        wait
    }

    /// Forgets those whose buckets are full again.
    pub fn collect(&mut self, now: Instant) {
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
    }

    /// Makes room for one more. When all are busy, the one that has booked least is forgotten.
    fn make_room(&mut self, now: Instant) {
        if self.buckets.len() < self.most {
            return;
        }
        self.collect(now);
        if self.buckets.len() < self.most {
            return;
        }
        let least = self.buckets.iter().min_by_key(|(_, bucket)| bucket.until).map(|(who, _)| who.clone());
        if let Some(who) = least {
            self.buckets.remove(&who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 20 };

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_is_free_and_what_is_beyond_it_waits() {
        let now = Instant::now();
        let mut bucket = Bucket::full(now);
        assert_eq!(bucket.take(RATE, 20, now), Duration::ZERO);
        assert_eq!(bucket.take(RATE, 5, now), millis(500));
        assert!(!bucket.is_full(now));
        assert_eq!(bucket.take(RATE, 5, now + millis(1000)), Duration::ZERO);
        assert!(bucket.is_full(now + millis(3000)));
    }

    #[test]
    fn a_refusal_costs_nothing_and_a_full_bucket_refuses_nothing() {
        let now = Instant::now();
        let mut bucket = Bucket::full(now);
        assert_eq!(bucket.try_take(RATE, 50, Duration::ZERO, now), Some(millis(3000)));
        for _ in 0..3 {
            assert_eq!(bucket.try_take(RATE, 1, millis(3000), now), None);
        }
        assert_eq!(bucket.try_take(RATE, 1, millis(3100), now), Some(millis(3100)));
    }

    #[test]
    fn no_rate_and_no_amount_overflows() {
        let now = Instant::now();
        let rate = Rate { per_second: 0, burst: u64::MAX };
        assert_eq!(Bucket::full(now).take(rate, u64::MAX, now), Duration::ZERO);
        let none = Rate { per_second: 0, burst: 0 };
        assert_eq!(Bucket::full(now).take(none, 2, now), millis(1000));
    }

    #[test]
    fn a_table_has_a_bucket_for_each_that_fills_with_the_rate_and_no_further_than_the_burst() {
        let (mut buckets, now) = (Buckets::<String>::new(RATE, millis(200), 8), Instant::now());
        let burst = |buckets: &mut Buckets<String>, now| {
            for _ in 0..20 {
                assert_eq!(buckets.take("kim", now), Some(Duration::ZERO));
            }
        };
        burst(&mut buckets, now);
        assert_eq!(buckets.take("kim", now), Some(millis(100)));
        assert_eq!(buckets.take("kim", now), Some(millis(200)));
        assert_eq!(buckets.take("kim", now), None);
        assert_eq!(buckets.take("lee", now), Some(Duration::ZERO), "others do not wait");
        assert_eq!(buckets.take("kim", now + millis(100)), Some(millis(200)), "the refusal cost nothing");
        burst(&mut buckets, now + millis(3_600_000));
    }

    #[test]
    fn a_table_is_bounded_and_forgets_idle_ones_first_and_then_the_calmest() {
        let (mut buckets, now) = (Buckets::<u32>::new(RATE, millis(200), 3), Instant::now());
        for who in [1_u32, 1, 2, 2, 3] {
            buckets.take(&who, now);
        }
        buckets.take(&4_u32, now);
        assert_eq!(buckets.buckets.keys().copied().collect::<Vec<_>>(), [1, 2, 4], "3 had booked least");
        buckets.take(&5_u32, now + millis(100));
        assert_eq!(buckets.buckets.keys().copied().collect::<Vec<_>>(), [1, 2, 5], "4 was idle");
        buckets.collect(now + millis(200));
        assert_eq!(buckets.buckets.len(), 0);
    }
}
