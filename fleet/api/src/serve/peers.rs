//! Who is connected: so many connections of one peer, so that nobody takes the places of all others.
//!
//! ```text
//! address ─▶ peer ─▶ take ─▶ Place, kept for as long as the connection | None: closed at once
//! ```
//!
//! A peer is the address at the other end: a proxy, or a router that translates addresses, is one peer for everybody
//! behind it. What a proxy says about whom it speaks for is not asked: anybody could say that. Of an IPv6 address the
//! first half counts, since a host chooses the other half itself.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::CONNECTIONS_MAX;

/// Connections of one peer elsewhere. It is a site of a thousand machines behind one address that tunnel through gRPC,
/// and less than a proxy needs that has a connection for every browser: let such a one speak HTTP/2, or run it on the
/// manager's own host.
pub const PEER_CONNECTIONS_MAX: usize = 1024;
/// How often it is told that peers have too many connections.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// How many connections one peer may have at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerBounds {
    /// A peer elsewhere.
    pub remote: usize,
    /// A peer on the manager's own host: programs there, such as a proxy for everybody.
    pub local: usize,
}

impl Default for PeerBounds {
    /// Any number for programs on the host: whoever starts them can do worse.
    fn default() -> Self {
        Self { remote: PEER_CONNECTIONS_MAX, local: CONNECTIONS_MAX }
    }
}

/// The peer that has an address.
#[must_use]
pub(crate) fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

/// All connections of one listener, by peer.
#[derive(Debug)]
pub(super) struct Peers {
    bounds: PeerBounds,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    told: Option<Instant>,
}

/// The place of one connection; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    peer: IpAddr,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Peers {
    pub(super) fn new(bounds: PeerBounds) -> Self {
        Self { bounds, open: Arc::default(), told: None }
    }

    /// A place for a connection from there; `None` when the peer has as many as it may, which is told now and then.
    pub(super) fn take(&mut self, address: IpAddr) -> Option<Place> {
        let peer = peer(address);
        let most = if peer.is_loopback() { self.bounds.local } else { self.bounds.remote };
        let mut open = self.open.lock();
        let count = open.entry(peer).or_default();
        if *count < most {
            *count += 1;
            return Some(Place { peer, open: Arc::clone(&self.open) });
        }
        drop(open);
        if self.told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
            self.told = Some(Instant::now());
            tracing::warn!(%peer, most, "a peer has too many connections; further ones are closed");
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        let left = open.get(&self.peer).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            open.remove(&self.peer);
        } else {
            open.insert(self.peer, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_peer_has_so_many_connections_and_takes_none_from_others() {
        let mut peers = Peers::new(PeerBounds { remote: 2, local: 3 });
        let held: Vec<Option<Place>> = (0..3).map(|_| peers.take(address("192.0.2.1"))).collect();
        assert_eq!(held.iter().flatten().count(), 2);
        assert!(peers.take(address("::ffff:192.0.2.1")).is_none(), "the same in other words");
        assert!(peers.take(address("192.0.2.2")).is_some());
        drop(held);
        assert!(peers.take(address("192.0.2.1")).is_some(), "what was given back is there again");
        assert!(peers.open.lock().is_empty(), "nobody is remembered who is not connected");
        let local: Vec<Option<Place>> = (0..4).map(|_| peers.take(address("127.0.0.1"))).collect();
        assert_eq!(local.iter().flatten().count(), 3);
    }

    #[test]
    fn the_first_half_of_an_ipv6_address_counts() {
        assert_eq!(peer(address("2001:db8:1:2:3::4")), peer(address("2001:db8:1:2::")));
        assert_ne!(peer(address("2001:db8:1:2::")), peer(address("2001:db8:1:3::")));
        assert_eq!(peer(address("::1")), address("::1"));
        assert_eq!(peer(address("::ffff:10.0.0.1")), address("10.0.0.1"));
    }
}
