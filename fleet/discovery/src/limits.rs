//! How often an address may ask: a bucket of [`BURST`] requests that fills at [`REQUESTS_PER_SECOND`].
//!
//! ```text
//! address, time ─▶ take ─▶ how long the request waits, or TooManyRequests
//! ```

use std::net::IpAddr;
use std::time::Duration;

use corten_base::{Buckets, Rate};
use tokio::time::Instant;

/// Requests a second that an address may make for ever (fleet.md 12).
pub const REQUESTS_PER_SECOND: u64 = 15;
/// Requests that it may make at once when it was silent before (fleet.md 12).
pub const BURST: u64 = 60;
/// Longest time that a request waits for its turn. Members tell many endpoints one after another, each request when the
/// one before was answered: they wait and are not refused.
pub const WAIT_MAX: Duration = Duration::from_secs(1);
/// Most addresses that are remembered.
pub const ADDRESSES_MAX: usize = 16_384;

/// An address asks too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} makes more than {} requests a second; wait before the next one", REQUESTS_PER_SECOND)]
pub struct TooManyRequests {
    /// The address.
    pub address: IpAddr,
}

/// The buckets of the addresses that have asked lately.
#[derive(Debug)]
pub struct Limits(Buckets<IpAddr>);

impl Default for Limits {
    fn default() -> Self {
        let rate = Rate { per_second: REQUESTS_PER_SECOND, burst: BURST };
        Self(Buckets::new(rate, WAIT_MAX, ADDRESSES_MAX))
    }
}

impl Limits {
    /// Books a request; it may be served after the returned time. A refused one costs nothing.
    ///
    /// # Errors
    /// [`TooManyRequests`] when it would wait longer than [`WAIT_MAX`].
    pub fn take(&mut self, address: IpAddr, now: Instant) -> Result<Duration, TooManyRequests> {
        let address = address.to_canonical();
        self.0.take(&address, now).ok_or(TooManyRequests { address })
    }

    /// Forgets the addresses whose buckets are full again.
    pub fn collect(&mut self, now: Instant) {
        self.0.collect(now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    #[test]
    fn after_a_burst_requests_wait_and_those_that_would_wait_too_long_are_refused() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        for _ in 0..BURST {
            assert_eq!(limits.take(ADDRESS, now), Ok(Duration::ZERO));
        }
        let waits: Vec<_> = (0..16).map(|_| limits.take(ADDRESS, now)).collect();
        assert!(waits[..15].iter().all(|wait| wait.is_ok_and(|wait| !wait.is_zero() && wait <= WAIT_MAX)));
        assert_eq!(waits[15], Err(TooManyRequests { address: ADDRESS }));
    }

    #[test]
    fn an_address_has_one_bucket_in_both_its_forms_and_shares_it_with_nobody() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        for _ in 0..BURST {
            limits.take(ADDRESS, now).unwrap();
        }
        let mapped = IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
        assert!(limits.take(mapped, now).is_ok_and(|wait| !wait.is_zero()));
        assert_eq!(limits.take(IpAddr::V6(Ipv6Addr::LOCALHOST), now), Ok(Duration::ZERO));
    }
}
