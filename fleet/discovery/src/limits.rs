//! How often an address may ask: a bucket of [`BURST`] requests that fills at [`REQUESTS_PER_SECOND`].
//!
//! ```text
//! address, time ─▶ take ─▶ how long the request waits, or TooManyRequests
//! ```
//!
//! A bucket is one instant: until when its address has booked requests. It is full when that is past, and empty when it
//! is the whole burst ahead. Pure: the time comes in as an argument.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Requests a second that an address may make for ever (fleet.md 12).
pub const REQUESTS_PER_SECOND: u64 = 15;
/// Requests that it may make at once when it was silent before (fleet.md 12).
pub const BURST: u32 = 60;
/// Longest time that a request waits for its turn. Members tell many endpoints one after another, each request when the
/// one before was answered: they wait and are not refused.
pub const WAIT_MAX: Duration = Duration::from_secs(1);
/// Most addresses that are remembered.
pub const ADDRESSES_MAX: usize = 16_384;

/// What a request costs.
const INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / REQUESTS_PER_SECOND);
/// How far ahead an address may book and not wait.
const SLACK: Duration = INTERVAL.saturating_mul(BURST - 1);

/// An address asks too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} makes more than {} requests a second; wait before the next one", REQUESTS_PER_SECOND)]
pub struct TooManyRequests {
    /// The address.
    pub address: IpAddr,
}

/// The buckets of the addresses that have asked lately.
#[derive(Debug, Default)]
pub struct Limits {
    booked: BTreeMap<IpAddr, Instant>,
}

impl Limits {
    /// Books a request; it may be served after the returned time. A refused one costs nothing.
    ///
    /// # Errors
    /// [`TooManyRequests`] when it would wait longer than [`WAIT_MAX`].
    pub fn take(&mut self, address: IpAddr, now: Instant) -> Result<Duration, TooManyRequests> {
        let address = address.to_canonical();
        let known = self.booked.get(&address).copied();
        let booked = known.map_or(now, |booked| booked.max(now));
        let wait = booked.saturating_duration_since(now).saturating_sub(SLACK);
        if wait > WAIT_MAX {
            return Err(TooManyRequests { address });
        }
        if known.is_none() {
            self.make_room(now);
        }
        self.booked.insert(address, booked + INTERVAL);
        Ok(wait)
    }

    /// Forgets the addresses whose buckets are full again.
    pub fn collect(&mut self, now: Instant) {
        self.booked.retain(|_, booked| *booked > now);
    }

    /// Makes room for one address. When all are busy, the one that has booked least is forgotten.
    fn make_room(&mut self, now: Instant) {
        if self.booked.len() < ADDRESSES_MAX {
            return;
        }
        self.collect(now);
        if self.booked.len() < ADDRESSES_MAX {
            return;
        }
        let least = self.booked.iter().min_by_key(|(_, booked)| **booked).map(|(address, _)| *address);
        if let Some(address) = least {
            self.booked.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    fn burst(limits: &mut Limits, now: Instant) {
        for _ in 0..BURST {
            assert_eq!(limits.take(ADDRESS, now), Ok(Duration::ZERO));
        }
    }

    #[test]
    fn after_a_burst_requests_wait_and_those_that_would_wait_too_long_are_refused() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        burst(&mut limits, now);
        for turn in 1..=15 {
            assert_eq!(limits.take(ADDRESS, now), Ok(INTERVAL * turn));
        }
        assert_eq!(limits.take(ADDRESS, now), Err(TooManyRequests { address: ADDRESS }));
        assert_eq!(limits.take(ADDRESS, now + INTERVAL), Ok(INTERVAL * 15), "a refusal costs nothing");
    }

    #[test]
    fn a_bucket_fills_with_the_rate_and_no_further_than_the_burst() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        burst(&mut limits, now);
        let later = now + INTERVAL * 3;
        for _ in 0..3 {
            assert_eq!(limits.take(ADDRESS, later), Ok(Duration::ZERO));
        }
        assert_eq!(limits.take(ADDRESS, later), Ok(INTERVAL));
        let much_later = now + Duration::from_secs(3600);
        burst(&mut limits, much_later);
        assert_eq!(limits.take(ADDRESS, much_later), Ok(INTERVAL));
    }

    #[test]
    fn an_address_has_one_bucket_in_both_its_forms_and_shares_it_with_nobody() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        burst(&mut limits, now);
        let mapped = IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
        assert_eq!(limits.take(mapped, now), Ok(INTERVAL));
        assert_eq!(limits.take(IpAddr::V6(Ipv6Addr::LOCALHOST), now), Ok(Duration::ZERO));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_idle_addresses_first_and_then_the_calmest() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        let address = |number: u32| IpAddr::V4(Ipv4Addr::from_bits(number));
        let most = u32::try_from(ADDRESSES_MAX).unwrap();
        for number in 0..most {
            limits.take(address(number), now).unwrap();
            limits.take(address(number), now).unwrap();
        }
        limits.take(address(most), now).unwrap();
        limits.take(address(most + 1), now).unwrap();
        assert_eq!(limits.booked.len(), ADDRESSES_MAX);
        assert!(!limits.booked.contains_key(&address(most)), "it had booked least");
        limits.take(address(0), now + INTERVAL * 2).unwrap();
        limits.take(address(most), now + INTERVAL * 2).unwrap();
        assert!(limits.booked.len() <= 2, "all others are idle: {}", limits.booked.len());
        limits.collect(now + INTERVAL * 9);
        assert!(limits.booked.is_empty());
    }
}
