//! How often a caller may call: a bucket that fills steadily.
//!
//! ```text
//! name of the caller, time ─▶ take ─▶ how long the call waits, or TooOften
//! ```
//!
//! A bucket is one instant: until when its caller has booked calls. It is full when that is past, and empty when it is
//! the whole burst ahead. Pure: the time comes in as an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Longest time that a call waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Most callers that are remembered.
const CALLERS_MAX: usize = 16_384;

/// How often one caller may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls a second for ever; at least one.
    pub per_second: u32,
    /// Calls at once after a silence; at least one.
    pub burst: u32,
}

impl Default for Rate {
    /// More than tools need that apply hundreds of resources one after another, and less than a program needs that
    /// has run wild.
    fn default() -> Self {
        Self { per_second: 1000, burst: 5000 }
    }
}

/// A caller calls too often.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{caller} makes more than {per_second} calls a second; wait before the next one")]
pub(super) struct TooOften {
    caller: String,
    per_second: u32,
}

/// The buckets of those who called lately.
#[derive(Debug)]
pub(super) struct Limits {
    rate: Rate,
    booked: BTreeMap<String, Instant>,
}

impl Limits {
    pub(super) const fn new(rate: Rate) -> Self {
        Self { rate, booked: BTreeMap::new() }
    }

    /// Books a call; it may be served after the returned time. A refused one costs nothing.
    pub(super) fn take(&mut self, caller: &str, now: Instant) -> Result<Duration, TooOften> {
        let interval = Duration::from_secs(1) / self.rate.per_second.max(1);
        let slack = interval.saturating_mul(self.rate.burst.max(1) - 1);
        let known = self.booked.get(caller).copied();
        let booked = known.map_or(now, |booked| booked.max(now));
        let wait = booked.saturating_duration_since(now).saturating_sub(slack);
        if wait > WAIT_MAX {
            return Err(TooOften { caller: caller.to_owned(), per_second: self.rate.per_second });
        }
        if known.is_none() {
            self.make_room(now);
        }
        self.booked.insert(caller.to_owned(), booked + interval);
        Ok(wait)
    }

    /// Makes room for one caller. When all are busy, the one that has booked least is forgotten.
    fn make_room(&mut self, now: Instant) {
        if self.booked.len() < CALLERS_MAX {
            return;
        }
        self.booked.retain(|_, booked| *booked > now);
        if self.booked.len() < CALLERS_MAX {
            return;
        }
        let least = self.booked.iter().min_by_key(|(_, booked)| **booked).map(|(caller, _)| caller.clone());
        if let Some(caller) = least {
            self.booked.remove(&caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::new(Rate { per_second: 10, burst: 3 })
    }

    #[test]
    fn a_burst_is_free_then_calls_wait_and_at_last_are_refused() {
        let (mut limits, now) = (limits(), Instant::now());
        let waits: Vec<_> = (0..24).map(|_| limits.take("kim", now).ok()).collect();
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(waits[..5], [millis(0), millis(0), millis(0), millis(100), millis(200)]);
        assert_eq!(waits[22..], [millis(2000), None]);
        assert_eq!(limits.take("lee", now), Ok(Duration::ZERO), "others do not wait");
        assert!(limits.take("kim", now + Duration::from_secs(1)).is_ok(), "the bucket fills again");
    }

    #[test]
    fn the_table_is_bounded_and_forgets_whom_it_costs_least() {
        let (mut limits, now) = (limits(), Instant::now());
        limits.take("busy", now).expect("first");
        limits.take("busy", now).expect("second");
        for index in 0..CALLERS_MAX + 10 {
            limits.take(&index.to_string(), now).expect("first");
        }
        assert_eq!(limits.booked.len(), CALLERS_MAX);
        assert!(limits.booked.contains_key("busy"));
    }
}
