//! How often a caller may call.
//!
//! ```text
//! name of the caller, time ─▶ take ─▶ how long the call waits, or TooOften
//! ```

use std::time::Duration;

use corten_base::{Buckets, Rate};
use tokio::time::Instant;

/// How often one caller may call, unless told otherwise: more than tools need that apply hundreds of resources one
/// after another, and less than a program needs that has run wild.
pub const RATE: Rate = Rate { per_second: 1000, burst: 5000 };
/// Longest time that a call waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Most callers that are remembered.
const CALLERS_MAX: usize = 16_384;

/// A caller calls too often.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{caller} makes more than {per_second} calls a second; wait before the next one")]
pub(super) struct TooOften {
    caller: String,
    per_second: u64,
}

/// The buckets of those who called lately.
#[derive(Debug)]
pub(super) struct Limits {
    per_second: u64,
    callers: Buckets<String>,
}

impl Limits {
    pub(super) const fn new(rate: Rate) -> Self {
        Self { per_second: rate.per_second, callers: Buckets::new(rate, WAIT_MAX, CALLERS_MAX) }
    }

    /// Books a call; it may be served after the returned time. A refused one costs nothing.
    pub(super) fn take(&mut self, caller: &str, now: Instant) -> Result<Duration, TooOften> {
        let refused = || TooOften { caller: caller.to_owned(), per_second: self.per_second };
        self.callers.take(caller, now).ok_or_else(refused)
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
}
