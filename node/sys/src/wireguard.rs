//! WireGuard of the kernel: keys and peers of a link, over generic netlink.
//!
//! The link itself is made over route netlink ([`crate::network::Links::add_wireguard`]). A change leaves the sessions of
//! peers that stay alone. Numbers are those of linux/wireguard.h.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corten_base::Secret;

use crate::netlink::{Flags, Generic, Message, attributes, generic_attributes, number};

/// Bytes of a key.
pub const KEY: usize = 32;
/// Name of the kind of link and of the family of messages.
pub const WIREGUARD: &str = "wireguard";
/// Peers of one message; all allowed networks of so many fit in it by far.
const PEERS_MAX: usize = 64;
/// Nanoseconds of a second.
const NANOS: u32 = 1_000_000_000;

const VERSION: u8 = 1;
const CMD_GET_DEVICE: u8 = 0;
const CMD_SET_DEVICE: u8 = 1;
const DEVICE_NAME: u16 = 2;
const DEVICE_PRIVATE_KEY: u16 = 3;
const DEVICE_PUBLIC_KEY: u16 = 4;
const DEVICE_LISTEN_PORT: u16 = 6;
const DEVICE_MARK: u16 = 7;
const DEVICE_PEERS: u16 = 8;
const PEER_PUBLIC_KEY: u16 = 1;
const PEER_PRESHARED_KEY: u16 = 2;
const PEER_FLAGS: u16 = 3;
const PEER_ENDPOINT: u16 = 4;
const PEER_KEEPALIVE: u16 = 5;
const PEER_LAST_HANDSHAKE: u16 = 6;
const PEER_ALLOWED: u16 = 9;
const FLAG_REMOVE: u32 = 1;
const FLAG_REPLACE_ALLOWED: u32 = 2;
const ALLOWED_FAMILY: u16 = 1;
const ALLOWED_ADDRESS: u16 = 2;
const ALLOWED_LENGTH: u16 = 3;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Networks with the lengths of their prefixes.
pub type Networks = Vec<(IpAddr, u8)>;

/// A WireGuard link as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Private key; nothing when none was set.
    pub private_key: Option<Secret<[u8; KEY]>>,
    /// Public key; nothing when none was set.
    pub public_key: Option<[u8; KEY]>,
    /// UDP port.
    pub listen_port: u16,
    /// Mark of its own packets; 0 for none.
    pub firewall_mark: u32,
    /// Peers.
    pub peers: Vec<Peer>,
}

/// A peer as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its key.
    pub public_key: [u8; KEY],
    /// Key that both know; nothing when none was set.
    pub preshared_key: Option<Secret<[u8; KEY]>>,
    /// Where it was heard from last, or should be.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keep-alives; 0 for none.
    pub keepalive_seconds: u16,
    /// When hands were shaken last; nothing before the first time.
    pub last_handshake: Option<SystemTime>,
    /// Networks whose packets are taken from it and sent to it.
    pub allowed: Networks,
}

/// How a link is to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceChange {
    /// Private key; nothing leaves it alone.
    pub private_key: Option<Secret<[u8; KEY]>>,
    /// UDP port, 0 for any; nothing leaves it alone.
    pub listen_port: Option<u16>,
    /// Mark of its own packets, 0 for none; nothing leaves it alone.
    pub firewall_mark: Option<u32>,
    /// Changes of peers; those that are not named stay as they are.
    pub peers: Vec<PeerChange>,
}

/// How a peer is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerChange {
    /// It goes.
    Remove([u8; KEY]),
    /// It becomes this; its session stays.
    Set(PeerWish),
}

/// A peer as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerWish {
    /// Its key.
    pub public_key: [u8; KEY],
    /// Key that both know; nothing for none.
    pub preshared_key: Option<Secret<[u8; KEY]>>,
    /// Where it is; nothing leaves it alone.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keep-alives; 0 for none.
    pub keepalive_seconds: u16,
    /// Networks whose packets are taken from it and sent to it.
    pub allowed: Networks,
}

/// The link as it is; nothing when there is none of that name, it is of another kind, or the kernel has no WireGuard.
///
/// # Errors
/// When the kernel refuses.
pub fn device(generic: &mut Generic, name: &str) -> io::Result<Option<Device>> {
    if generic.family(WIREGUARD)?.is_none() {
        return Ok(None);
    }
    let command = (CMD_GET_DEVICE, VERSION);
    match generic.call(WIREGUARD, command, Flags::DUMP, |message| message.text(DEVICE_NAME, name)) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EOPNOTSUPP)) => Ok(None),
        result => Ok(Some(read_device(&result?))),
    }
}

/// Changes a link.
///
/// # Errors
/// When the kernel refuses; `Unsupported` when it has no WireGuard.
pub fn change(generic: &mut Generic, name: &str, change: &DeviceChange) -> io::Result<()> {
    let command = (CMD_SET_DEVICE, VERSION);
    generic.call(WIREGUARD, command, Flags::ACK, |message| write_device(message, name, change))?;
    for peers in change.peers.chunks(PEERS_MAX) {
        generic.call(WIREGUARD, command, Flags::ACK, |message| {
            message.text(DEVICE_NAME, name);
            message.nest(DEVICE_PEERS, |list| {
                for peer in peers {
                    list.nest(0, |message| write_peer(message, peer));
                }
            });
        })?;
    }
    Ok(())
}

/// The key as the kernel keeps it (RFC 7748, section 5). Another form of the same key would end the sessions.
#[must_use]
pub fn clamped(key: &Secret<[u8; KEY]>) -> Secret<[u8; KEY]> {
    let mut key = *key.reveal();
    let [first, .., last] = &mut key;
    *first &= 0b1111_1000;
    *last = (*last & 0b0111_1111) | 0b0100_0000;
    Secret::new(key)
}

fn write_device(message: &mut Message, name: &str, change: &DeviceChange) {
    message.text(DEVICE_NAME, name);
    if let Some(key) = &change.private_key {
        message.attribute(DEVICE_PRIVATE_KEY, clamped(key).reveal());
    }
    if let Some(port) = change.listen_port {
        message.attribute(DEVICE_LISTEN_PORT, &port.to_ne_bytes());
    }
    if let Some(mark) = change.firewall_mark {
        message.attribute(DEVICE_MARK, &mark.to_ne_bytes());
    }
}

fn write_peer(message: &mut Message, change: &PeerChange) {
    let peer = match change {
        PeerChange::Remove(key) => {
            message.attribute(PEER_PUBLIC_KEY, key);
            message.attribute(PEER_FLAGS, &FLAG_REMOVE.to_ne_bytes());
            return;
        }
        PeerChange::Set(peer) => peer,
    };
    message.attribute(PEER_PUBLIC_KEY, &peer.public_key);
    message.attribute(PEER_FLAGS, &FLAG_REPLACE_ALLOWED.to_ne_bytes());
    // A key of zeros says that there is none.
    let shared = peer.preshared_key.as_ref().map_or([0; KEY], |key| *key.reveal());
    message.attribute(PEER_PRESHARED_KEY, &shared);
    message.attribute(PEER_KEEPALIVE, &peer.keepalive_seconds.to_ne_bytes());
    if let Some(endpoint) = peer.endpoint {
        message.attribute(PEER_ENDPOINT, &socket_address(endpoint));
    }
    message.nest(PEER_ALLOWED, |all| {
        for (address, length) in &peer.allowed {
            all.nest(0, |network| {
                let (family, octets) = match address {
                    IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
                    IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
                };
                network.attribute(ALLOWED_FAMILY, &family.to_ne_bytes());
                network.attribute(ALLOWED_ADDRESS, &octets);
                network.attribute(ALLOWED_LENGTH, &[*length]);
            });
        }
    });
}

/// `struct sockaddr_in` or `struct sockaddr_in6`.
fn socket_address(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(address) => {
            [&AF_INET.to_ne_bytes()[..], &port, &address.ip().octets(), &[0; 8]].concat()
        }
        SocketAddr::V6(address) => {
            let (flow, scope) = (address.flowinfo().to_be_bytes(), address.scope_id().to_ne_bytes());
            [&AF_INET6.to_ne_bytes()[..], &port, &flow, &address.ip().octets(), &scope].concat()
        }
    }
}

/// Reads `struct sockaddr_in` or `struct sockaddr_in6`.
fn read_socket_address(value: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*value.first_chunk()?);
    let port = u16::from_be_bytes(*value.get(2..)?.first_chunk()?);
    let address = match family {
        AF_INET => ip(value.get(4..8)?)?,
        AF_INET6 => ip(value.get(8..24)?)?,
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// An address of 4 or 16 bytes.
fn ip(value: &[u8]) -> Option<IpAddr> {
    let four = || <[u8; 4]>::try_from(value).ok().map(|octets| Ipv4Addr::from(octets).into());
    let six = || <[u8; 16]>::try_from(value).ok().map(|octets| Ipv6Addr::from(octets).into());
    four().or_else(six)
}

/// A link from the bodies of the kernel's messages. The peers of a large one are spread over several, and so are the
/// networks of one peer.
fn read_device(bodies: &[Vec<u8>]) -> Device {
    let mut device = Device::default();
    for (kind, value) in generic_attributes(bodies) {
        match kind {
            DEVICE_PRIVATE_KEY => device.private_key = key(value).map(Secret::new),
            DEVICE_PUBLIC_KEY => device.public_key = key(value),
            DEVICE_LISTEN_PORT => device.listen_port = value.try_into().map_or(0, u16::from_ne_bytes),
            DEVICE_MARK => device.firewall_mark = number(value).unwrap_or(0),
            DEVICE_PEERS => attributes(value).for_each(|(_, peer)| take_peer(&mut device, read_peer(peer))),
            _ => {}
        }
    }
    device
}

/// A peer that is told a second time is the rest of the first.
fn take_peer(device: &mut Device, peer: Peer) {
    match device.peers.last_mut() {
        Some(last) if last.public_key == peer.public_key => last.allowed.extend(peer.allowed),
        _ => device.peers.push(peer),
    }
}

fn read_peer(bytes: &[u8]) -> Peer {
    let mut peer = Peer::default();
    for (kind, value) in attributes(bytes) {
        match kind {
            PEER_PUBLIC_KEY => peer.public_key = value.try_into().unwrap_or_default(),
            PEER_PRESHARED_KEY => peer.preshared_key = key(value).map(Secret::new),
            PEER_ENDPOINT => peer.endpoint = read_socket_address(value),
            PEER_KEEPALIVE => peer.keepalive_seconds = value.try_into().map_or(0, u16::from_ne_bytes),
            PEER_LAST_HANDSHAKE => peer.last_handshake = time(value),
            PEER_ALLOWED => {
                peer.allowed.extend(attributes(value).filter_map(|(_, network)| read_network(network)));
            }
            _ => {}
        }
    }
    peer
}

fn read_network(bytes: &[u8]) -> Option<(IpAddr, u8)> {
    let (mut address, mut length) = (None, None);
    for (kind, value) in attributes(bytes) {
        match kind {
            ALLOWED_ADDRESS => address = ip(value),
            ALLOWED_LENGTH => length = value.first().copied(),
            _ => {}
        }
    }
    Some((address?, length?))
}

/// A key; all zeros say that there is none.
fn key(value: &[u8]) -> Option<[u8; KEY]> {
    value.try_into().ok().filter(|key| *key != [0; KEY])
}

/// `struct __kernel_timespec`; zero says never.
fn time(value: &[u8]) -> Option<SystemTime> {
    let (seconds, rest) = value.split_first_chunk()?;
    let seconds = u64::try_from(i64::from_ne_bytes(*seconds)).ok()?;
    let nanos = u32::try_from(i64::from_ne_bytes(*rest.first_chunk()?)).ok()?;
    if nanos >= NANOS || (seconds, nanos) == (0, 0) {
        return None;
    }
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{Namespaces, unshare};
    use crate::netlink::messages;
    use crate::network::Links;

    fn wish(number: u8) -> PeerWish {
        PeerWish {
            public_key: [number; KEY],
            preshared_key: Some(Secret::new([5; KEY])),
            endpoint: "192.0.2.1:1".parse().ok(),
            keepalive_seconds: 25,
            allowed: vec![("10.1.0.0".parse().unwrap(), 16), ("fd00::".parse().unwrap(), 8)],
        }
    }

    fn peer(wish: PeerWish) -> Peer {
        let PeerWish { public_key, preshared_key, endpoint, keepalive_seconds, allowed } = wish;
        Peer { public_key, preshared_key, endpoint, keepalive_seconds, last_handshake: None, allowed }
    }

    /// In a network namespace of its own, which needs root. A kernel without WireGuard has to say so.
    #[test]
    fn the_kernel_keeps_keys_and_peers_or_says_that_it_has_no_wireguard() {
        let work = || {
            unshare(Namespaces::NET).unwrap();
            let mut generic = Generic::open().unwrap();
            assert_eq!(device(&mut generic, "wg-test").unwrap(), None);
            if let Err(error) = Links::open().unwrap().add_wireguard("wg-test") {
                assert_eq!(error.errno(), Some(libc::EOPNOTSUPP));
                return;
            }
            let set = |peers| DeviceChange {
                private_key: Some(Secret::new([7; KEY])),
                listen_port: Some(51_820),
                firewall_mark: Some(32),
                peers,
            };
            let both = set(vec![PeerChange::Set(wish(8)), PeerChange::Set(wish(9))]);
            change(&mut generic, "wg-test", &both).unwrap();
            change(&mut generic, "wg-test", &set(vec![PeerChange::Remove([8; KEY])])).unwrap();
            let device = device(&mut generic, "wg-test").unwrap().unwrap();
            assert_eq!(device.private_key, Some(clamped(&Secret::new([7; KEY]))));
            assert_eq!((device.listen_port, device.firewall_mark), (51_820, 32));
            assert_eq!((device.public_key.is_some(), device.peers), (true, vec![peer(wish(9))]));
        };
        std::thread::scope(|scope| scope.spawn(work).join()).unwrap();
    }

    #[test]
    fn addresses_are_the_kernels_structures() {
        let four = "192.0.2.1:258".parse().unwrap();
        let bytes = socket_address(four);
        assert_eq!((bytes.len(), &bytes[2..8]), (16, &[1, 2, 192, 0, 2, 1][..]));
        assert_eq!(read_socket_address(&bytes), Some(four));
        let six = "[fd00::1]:258".parse().unwrap();
        let bytes = socket_address(six);
        assert_eq!((bytes.len(), &bytes[2..4], bytes[8], bytes[23]), (28, &[1, 2][..], 0xfd, 1));
        assert_eq!(read_socket_address(&bytes), Some(six));
    }

    #[test]
    fn a_link_is_read_as_the_kernel_tells_it() {
        let mut message = Message::new(1, Flags::ACK);
        message.bytes(&[0; 4]);
        message.attribute(DEVICE_PRIVATE_KEY, &[7; KEY]);
        message.attribute(DEVICE_PUBLIC_KEY, &[0; KEY]);
        for _ in 0..2 {
            message.nest(DEVICE_PEERS, |peers| {
                peers.nest(0, |peer| {
                    write_peer(peer, &PeerChange::Set(wish(9)));
                    let time = [5_i64.to_ne_bytes(), 6_i64.to_ne_bytes()].concat();
                    peer.attribute(PEER_LAST_HANDSHAKE, &time);
                });
            });
        }
        let packet = message.finish(1).unwrap();
        let bodies: Vec<_> = messages(&packet).map(|message| message.body.to_vec()).collect();
        let twice = [wish(9).allowed, wish(9).allowed].concat();
        let peer =
            Peer { last_handshake: Some(UNIX_EPOCH + Duration::new(5, 6)), allowed: twice, ..peer(wish(9)) };
        let private_key = Some(Secret::new([7; KEY]));
        let expected = Device { private_key, peers: vec![peer], ..Device::default() };
        assert_eq!(read_device(&bodies), expected);
        assert_eq!(time(&[0; 16]), None, "never");
    }

    #[test]
    fn fuzz_any_answer_of_the_kernel_is_read() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = read_device(&[bytes.to_vec()]);
            let _ = (time(bytes), read_socket_address(bytes));
        });
    }
}
