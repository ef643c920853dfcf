//! Addresses of the tunnel: where the manager is, and where machines and virtual peers are put.
//!
//! ```text
//! SHA-256(installation id), last 16 bytes ─▶ fd.. .. .. .. .. .. .. purpose ::/64
//!                                                         purpose 3: manager at ::1, machines at random
//!                                                         purpose 4: peers that tunnel through gRPC, at random
//! ```

use std::net::{Ipv6Addr, SocketAddrV6};

use corten_base::Rng;
use ipnet::Ipv6Net;
use sha2::{Digest as _, Sha256};

/// Installation id of every manager. Clients write the addresses that follow from it into their own texts.
pub const INSTALLATION: &str = "";
/// Bits of a network that its members share.
pub const PREFIX_LENGTH: u8 = 64;
/// Port of every virtual peer. It is a name only; nobody listens there.
pub const VIRTUAL_PORT: u16 = 50_889;

/// First byte of unique local addresses (RFC 4193).
const UNIQUE_LOCAL: u8 = 0xfd;
/// Purpose of a network of machines, in byte 7 of the prefix.
const MACHINES: u8 = 0x03;
/// Purpose of a network of virtual peers, in byte 7 of the prefix.
const VIRTUAL_PEERS: u8 = 0x04;
/// Host part of the manager's address. Zero belongs to all routers of the network (RFC 4291, 2.6.1).
const SERVER_HOST: u64 = 1;
/// Draws before there is no free address; with 2^64 of them the first one is free but for broken randomness.
const DRAWS_MAX: usize = 64;

/// No address was found for a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "failed to find a free address in {network}: {draws} random ones were all taken; \
     check the source of randomness of this host, then let the machine call again",
    draws = DRAWS_MAX
)]
pub struct AddressError {
    /// Where it was looked for.
    pub network: Ipv6Net,
}

/// An address that is already there, or the wish for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<T> {
    /// This one stays.
    Keep(T),
    /// A new one is drawn.
    Fresh,
}

/// The two networks of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPlan {
    machines: Ipv6Net,
    virtual_peers: Ipv6Net,
}

impl AddressPlan {
    /// The networks of an installation, which for managers is [`INSTALLATION`].
    #[must_use]
    pub fn of(installation: &str) -> Self {
        let of = |purpose| network(installation, purpose);
        Self { machines: of(MACHINES), virtual_peers: of(VIRTUAL_PEERS) }
    }

    /// Network of the manager and its machines, a /64.
    #[must_use]
    pub const fn machines(&self) -> Ipv6Net {
        self.machines
    }

    /// Network of the addresses that stand for peers behind gRPC, a /64. No packet on a wire carries one.
    #[must_use]
    pub const fn virtual_peers(&self) -> Ipv6Net {
        self.virtual_peers
    }

    /// Address of the manager in the tunnel.
    #[must_use]
    pub fn server(&self) -> Ipv6Addr {
        member(self.machines, SERVER_HOST)
    }

    /// Address of a machine, with the prefix length of the network: the chosen one, or a new one that is not taken.
    ///
    /// # Errors
    /// When every address that was drawn is taken.
    pub fn machine(
        &self,
        choice: Choice<Ipv6Net>,
        rng: &Rng,
        is_taken: impl Fn(Ipv6Addr) -> bool,
    ) -> Result<Ipv6Net, AddressError> {
        match choice {
            Choice::Keep(address) => Ok(address),
            Choice::Fresh => Ok(with_prefix(draw(self.machines, rng, is_taken)?)),
        }
    }

    /// Address and port of a virtual peer: the chosen one, or a new one that is not taken.
    ///
    /// # Errors
    /// When every address that was drawn is taken.
    pub fn virtual_peer(
        &self,
        choice: Choice<SocketAddrV6>,
        rng: &Rng,
        is_taken: impl Fn(Ipv6Addr) -> bool,
    ) -> Result<SocketAddrV6, AddressError> {
        match choice {
            Choice::Keep(peer) => Ok(peer),
            Choice::Fresh => {
                let address = draw(self.virtual_peers, rng, is_taken)?;
                Ok(SocketAddrV6::new(address, VIRTUAL_PORT, 0, 0))
            }
        }
    }
}

impl Default for AddressPlan {
    fn default() -> Self {
        Self::of(INSTALLATION)
    }
}

/// Network of an installation for one purpose.
fn network(installation: &str, purpose: u8) -> Ipv6Net {
    let digest: [u8; 32] = Sha256::digest(installation.as_bytes()).into();
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&digest[16..24]);
    octets[0] = UNIQUE_LOCAL;
    octets[7] = purpose;
    with_prefix(Ipv6Addr::from(octets))
}

/// An address with the prefix length of its network.
const fn with_prefix(address: Ipv6Addr) -> Ipv6Net {
    Ipv6Net::new_assert(address, PREFIX_LENGTH)
}

/// The member of a network with the given host part.
fn member(network: Ipv6Net, host: u64) -> Ipv6Addr {
    let mut octets = network.addr().octets();
    octets[8..].copy_from_slice(&host.to_be_bytes());
    Ipv6Addr::from(octets)
}

/// A random member that nobody has: never the manager's, nor that of all routers.
fn draw(network: Ipv6Net, rng: &Rng, is_taken: impl Fn(Ipv6Addr) -> bool) -> Result<Ipv6Addr, AddressError> {
    (0..DRAWS_MAX)
        .map(|_| u64::from_be_bytes(rng.bytes()))
        .filter(|host| *host > SERVER_HOST)
        .map(|host| member(network, host))
        .find(|address| !is_taken(*address))
        .ok_or(AddressError { network })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn every_manager_has_the_networks_that_clients_know() {
        let plan = AddressPlan::default();
        assert_eq!(plan.machines().to_string(), "fdae:41e4:649b:9303::/64");
        assert_eq!(plan.virtual_peers().to_string(), "fdae:41e4:649b:9304::/64");
        assert_eq!(plan.server().to_string(), "fdae:41e4:649b:9303::1");
        assert_ne!(AddressPlan::of("another").machines(), plan.machines());
    }

    #[test]
    fn a_machine_gets_an_address_that_nobody_has() {
        let plan = AddressPlan::default();
        let refused = RefCell::new(Vec::new());
        let is_taken = |address: Ipv6Addr| {
            let mut refused = refused.borrow_mut();
            refused.push(address);
            refused.len() < 3
        };
        let drawn = plan.machine(Choice::Fresh, &Rng::seeded(1), is_taken).unwrap();
        assert_eq!(drawn.prefix_len(), 64);
        assert!(plan.machines().contains(&drawn.addr()));
        assert_eq!(refused.borrow().len(), 3);
        assert_eq!(refused.borrow().last(), Some(&drawn.addr()));
    }

    #[test]
    fn what_is_there_is_kept() {
        let plan = AddressPlan::default();
        let machine = with_prefix(member(plan.machines(), 7));
        let peer = SocketAddrV6::new(member(plan.virtual_peers(), 7), 1, 0, 0);
        let rng = Rng::seeded(1);
        assert_eq!(plan.machine(Choice::Keep(machine), &rng, |_| true), Ok(machine));
        assert_eq!(plan.virtual_peer(Choice::Keep(peer), &rng, |_| true), Ok(peer));
    }

    #[test]
    fn a_virtual_peer_is_in_its_own_network_at_the_port_of_all() {
        let plan = AddressPlan::default();
        let peer = plan.virtual_peer(Choice::Fresh, &Rng::seeded(1), |_| false).unwrap();
        assert!(plan.virtual_peers().contains(peer.ip()));
        assert!(!plan.machines().contains(peer.ip()));
        assert_eq!(peer.port(), 50_889);
    }

    #[test]
    fn draws_end_when_everything_is_taken() {
        let plan = AddressPlan::default();
        let error = plan.machine(Choice::Fresh, &Rng::seeded(1), |_| true).unwrap_err();
        assert_eq!(error, AddressError { network: plan.machines() });
        assert!(error.to_string().contains("fdae:41e4:649b:9303::/64: 64 random ones"), "{error}");
    }
}
