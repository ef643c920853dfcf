//! How often a caller may call, and what signatures cost that do not hold.
//!
//! ```text
//! name of the caller, time          ─▶ take  ─▶ how long the call waits, or TooOften
//! address and key, time             ─▶ check ─▶ how long its signature waits to be looked at, or TooOften
//!      └─ the signature does not hold ─▶ fine: as if more calls had come from there
//! ```
//!
//! A signature is booked before it is looked at, which is what costs time, and by where it comes from: whoever sends
//! bad ones with the id of a key of somebody else takes no turn of theirs.

use std::time::Duration;

use corten_base::{Buckets, Rate};
use tokio::time::Instant;

/// How often one caller may call, unless told otherwise: more than tools need that apply hundreds of resources one
/// after another, and less than a program needs that has run wild.
pub const RATE: Rate = Rate { per_second: 1000, burst: 5000 };
/// How many calls a signature costs that does not hold.
const FINE: usize = 20;
/// Longest time that a call waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Most callers that are remembered, and most places where signatures come from.
const CALLERS_MAX: usize = 16_384;

/// A caller calls too often.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooOften {
    /// It makes too many calls.
    #[error("{caller} makes more than {per_second} calls a second; wait before the next one")]
    Calls { caller: String, per_second: u64 },
    /// Its calls are not what they say.
    #[error(
        "too many calls, or calls whose signatures do not hold, come from {source_name}; check the key and \
         the clock, and wait before the next one"
    )]
    Signatures { source_name: String },
}

/// The buckets of those who called lately.
#[derive(Debug)]
pub(super) struct Limits {
    per_second: u64,
    callers: Buckets<String>,
    signatures: Buckets<String>,
}

impl Limits {
    pub(super) const fn new(rate: Rate) -> Self {
        Self {
            per_second: rate.per_second,
            callers: Buckets::new(rate, WAIT_MAX, CALLERS_MAX),
            signatures: Buckets::new(rate, WAIT_MAX, CALLERS_MAX),
        }
    }

    /// Books a call; it may be served after the returned time. A refused one costs nothing.
    pub(super) fn take(&mut self, caller: &str, now: Instant) -> Result<Duration, TooOften> {
        let refused = || TooOften::Calls { caller: caller.to_owned(), per_second: self.per_second };
        self.callers.take(caller, now).ok_or_else(refused)
    }

    /// Books a signature from there; it may be looked at after the returned time.
    pub(super) fn check(&mut self, source: &str, now: Instant) -> Result<Duration, TooOften> {
        let refused = || TooOften::Signatures { source_name: source.to_owned() };
        self.signatures.take(source, now).ok_or_else(refused)
    }

    /// Books what a signature from there costs beyond that, which did not hold.
    pub(super) fn fine(&mut self, source: &str, now: Instant) {
        // A bucket that gives nothing any more is as empty as it can be.
        let _ = (1..FINE).all(|_| self.signatures.take(source, now).is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_then_calls_wait_and_at_last_are_refused() {
        let (mut limits, now) = (Limits::new(Rate { per_second: 10, burst: 3 }), Instant::now());
        let waits: Vec<_> = (0..24).map(|_| limits.take("kim", now).ok()).collect();
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(waits[..5], [millis(0), millis(0), millis(0), millis(100), millis(200)]);
        assert_eq!(waits[22..], [millis(2000), None]);
        let refused = limits.take("kim", now).unwrap_err().to_string();
        assert_eq!(refused, "kim makes more than 10 calls a second; wait before the next one");
        assert_eq!(limits.take("lee", now), Ok(Duration::ZERO), "others do not wait");
        assert!(limits.take("kim", now + Duration::from_secs(1)).is_ok(), "the bucket fills again");
    }

    #[test]
    fn a_signature_that_does_not_hold_costs_as_much_as_many_calls_where_it_comes_from() {
        let (mut limits, now) = (Limits::new(Rate { per_second: 10, burst: 40 }), Instant::now());
        let bad = (0..20).take_while(|_| {
            let is_looked_at = limits.check("far away", now).is_ok();
            limits.fine("far away", now);
            is_looked_at
        });
        assert_eq!(bad.count(), 3, "two that are free, and one that waits");
        assert!(limits.check("far away", now).is_err());
        assert_eq!(limits.check("elsewhere", now), Ok(Duration::ZERO));
        assert_eq!(limits.take("kim", now), Ok(Duration::ZERO), "the caller itself has lost nothing");
        assert!(limits.check("far away", now + Duration::from_secs(10)).is_ok());
    }
}
