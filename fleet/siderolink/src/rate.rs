//! How much a source may send: a bucket that fills at a rate, and tells how long to wait when it is empty.
//!
//! ```text
//! amount, time ─▶ take ─▶ how long to wait before the next one
//! ```
//!
//! A bucket is one instant: until when its source has booked. Pure: the time comes in as an argument.

use std::time::Duration;

use tokio::time::Instant;

/// A rate and what may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How much for ever, in units a second; zero counts as one.
    pub per_second: u64,
    /// How much at once after a silence, in units.
    pub burst: u64,
}

impl Rate {
    /// The time that an amount takes at this rate.
    fn time_of(self, amount: u64) -> Duration {
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(self.per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// What one source has booked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    until: Instant,
}

impl Bucket {
    /// A full one.
    pub const fn full(now: Instant) -> Self {
        Self { until: now }
    }

    /// Whether nothing is booked any more.
    pub fn is_full(&self, now: Instant) -> bool {
        self.until <= now
    }

    /// Books an amount; the next one may come after the returned time.
    pub fn take(&mut self, rate: Rate, amount: u64, now: Instant) -> Duration {
        let booked = self.until.max(now);
        self.until = booked.checked_add(rate.time_of(amount)).unwrap_or(booked);
        self.until.saturating_duration_since(now).saturating_sub(rate.time_of(rate.burst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 20 };

    #[test]
    fn a_burst_is_free_and_what_is_beyond_it_waits() {
        let now = Instant::now();
        let mut bucket = Bucket::full(now);
        assert_eq!(bucket.take(RATE, 20, now), Duration::ZERO);
        assert_eq!(bucket.take(RATE, 5, now), Duration::from_millis(500));
        assert!(!bucket.is_full(now));
        let later = now + Duration::from_secs(1);
        assert_eq!(bucket.take(RATE, 5, later), Duration::ZERO);
        assert!(bucket.is_full(now + Duration::from_secs(3)));
    }

    #[test]
    fn no_rate_and_no_amount_overflows() {
        let now = Instant::now();
        let rate = Rate { per_second: 0, burst: u64::MAX };
        assert_eq!(Bucket::full(now).take(rate, u64::MAX, now), Duration::ZERO);
    }
}
