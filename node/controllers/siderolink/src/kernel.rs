//! WireGuard of the kernel: the link over route netlink, keys and peers over generic netlink.
//!
//! The calls are synchronous and short, but for the first one, at which the kernel may load a module: whoever runs an
//! asynchronous runtime calls them on its bounded pool. Numbers are those of linux/wireguard.h and linux/genetlink.h.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corten_base::Secret;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use crate::link::KEEPALIVE;
use crate::netlink::{Message, attributes, messages};

/// Bytes of a key.
const KEY: usize = 32;
/// Largest packet of the kernel that is read.
const PACKET_BYTES: usize = 32 * 1024;
/// Packets of one answer; a link with one peer has one.
const PACKETS_MAX: usize = 64;
/// Nanoseconds of a second.
const NANOS: u32 = 1_000_000_000;
/// The kernel answers at once, or never.
const TIMEOUT: Duration = Duration::from_secs(5);

const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_ACK: u16 = 0x004;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const RTM_NEWLINK: u16 = 16;
const IFINFOMSG_BYTES: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;

/// `struct genlmsghdr`: command, version, two bytes of nothing.
const GENL_HEADER: usize = 4;
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_VERSION: u8 = 1;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// Name of the kind of link and of the family of messages.
const WIREGUARD: &str = "wireguard";
const WG_VERSION: u8 = 1;
const WG_CMD_GET_DEVICE: u8 = 0;
const WG_CMD_SET_DEVICE: u8 = 1;
const WGDEVICE_A_IFNAME: u16 = 2;
const WGDEVICE_A_PRIVATE_KEY: u16 = 3;
const WGDEVICE_A_PUBLIC_KEY: u16 = 4;
const WGDEVICE_A_PEERS: u16 = 8;
const WGPEER_A_PUBLIC_KEY: u16 = 1;
const WGPEER_A_FLAGS: u16 = 3;
const WGPEER_A_ENDPOINT: u16 = 4;
const WGPEER_A_KEEPALIVE: u16 = 5;
const WGPEER_A_LAST_HANDSHAKE: u16 = 6;
const WGPEER_A_ALLOWED_IPS: u16 = 9;
const WGPEER_F_REMOVE_ME: u32 = 1;
const WGPEER_F_REPLACE_ALLOWED_IPS: u32 = 2;
const WGALLOWEDIP_A_FAMILY: u16 = 1;
const WGALLOWEDIP_A_ADDRESS: u16 = 2;
const WGALLOWEDIP_A_CIDR: u16 = 3;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// What came of making a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is there.
    Yes,
    /// The kernel has no such kind of link.
    Unsupported,
}

/// A WireGuard link as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Private key; nothing when none was set.
    pub private_key: Option<Secret<[u8; KEY]>>,
    /// Public key; nothing when none was set.
    pub public_key: Option<[u8; KEY]>,
    /// Peers.
    pub peers: Vec<DevicePeer>,
}

/// A peer as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicePeer {
    /// Its key.
    pub key: [u8; KEY],
    /// When hands were shaken last; nothing before the first time.
    pub last_handshake: Option<SystemTime>,
    /// Seconds between keep-alives.
    pub keepalive_seconds: u16,
    /// What is let through: addresses of IPv6 with prefix lengths.
    pub allowed: Vec<(Ipv6Addr, u8)>,
}

/// The one peer as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerWish {
    /// Its key.
    pub key: [u8; KEY],
    /// Its address in the tunnel.
    pub address: Ipv6Addr,
    /// Where it is.
    pub endpoint: Option<SocketAddr>,
}

/// Makes a link; one that is there already is fine.
///
/// # Errors
/// When the kernel refuses.
pub fn create(name: &str) -> io::Result<Made> {
    let mut message = Message::new(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    message.bytes(&[0; IFINFOMSG_BYTES]);
    message.text(IFLA_IFNAME, name);
    message.nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, WIREGUARD));
    match Socket::open(None)?.exchange(message) {
        Err(error) if is(&error, Errno::EXIST) => Ok(Made::Yes),
        Err(error) if is(&error, Errno::OPNOTSUPP) => Ok(Made::Unsupported),
        result => result.map(|_| Made::Yes),
    }
}

/// The link as it is; nothing when there is none, or when the kernel has no WireGuard.
///
/// # Errors
/// When the kernel refuses.
pub fn device(name: &str) -> io::Result<Option<Device>> {
    let mut socket = Socket::open(Some(netlink::GENERIC))?;
    let Some(family) = family(&mut socket)? else { return Ok(None) };
    let mut message = Message::new(family, NLM_F_REQUEST | NLM_F_DUMP);
    message.bytes(&[WG_CMD_GET_DEVICE, WG_VERSION, 0, 0]);
    message.text(WGDEVICE_A_IFNAME, name);
    match socket.exchange(message) {
        Err(error) if is(&error, Errno::NODEV) => Ok(None),
        result => Ok(Some(read_device(&result?))),
    }
}

/// Gives the link its key and its one peer. A peer that is there keeps its session; others go.
///
/// # Errors
/// When the kernel refuses, or has no WireGuard.
pub fn configure(name: &str, private_key: &Secret<[u8; KEY]>, peer: &PeerWish) -> io::Result<()> {
    let before = device(name)?.unwrap_or_default();
    let mut socket = Socket::open(Some(netlink::GENERIC))?;
    let family = family(&mut socket)?.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
    let mut message = Message::new(family, NLM_F_REQUEST | NLM_F_ACK);
    message.bytes(&[WG_CMD_SET_DEVICE, WG_VERSION, 0, 0]);
    message.text(WGDEVICE_A_IFNAME, name);
    message.attribute(WGDEVICE_A_PRIVATE_KEY, &clamped(*private_key.reveal()));
    message.nest(WGDEVICE_A_PEERS, |peers| {
        for other in before.peers.iter().filter(|other| other.key != peer.key) {
            peers.nest(0, |gone| {
                gone.attribute(WGPEER_A_PUBLIC_KEY, &other.key);
                gone.attribute(WGPEER_A_FLAGS, &WGPEER_F_REMOVE_ME.to_ne_bytes());
            });
        }
        peers.nest(0, |message| write_peer(message, peer));
    });
    socket.exchange(message).map(drop)
}

/// The key as the kernel keeps it (RFC 7748, section 5). Another form of the same key would end the sessions.
fn clamped(mut key: [u8; KEY]) -> [u8; KEY] {
    let [first, .., last] = &mut key;
    *first &= 0b1111_1000;
    *last = (*last & 0b0111_1111) | 0b0100_0000;
    key
}

fn write_peer(message: &mut Message, peer: &PeerWish) {
    let keepalive = u16::try_from(KEEPALIVE.as_secs()).unwrap_or(u16::MAX);
    message.attribute(WGPEER_A_PUBLIC_KEY, &peer.key);
    message.attribute(WGPEER_A_FLAGS, &WGPEER_F_REPLACE_ALLOWED_IPS.to_ne_bytes());
    message.attribute(WGPEER_A_KEEPALIVE, &keepalive.to_ne_bytes());
    if let Some(endpoint) = peer.endpoint {
        message.attribute(WGPEER_A_ENDPOINT, &socket_address(endpoint));
    }
    message.nest(WGPEER_A_ALLOWED_IPS, |allowed| {
        allowed.nest(0, |network| {
            network.attribute(WGALLOWEDIP_A_FAMILY, &AF_INET6.to_ne_bytes());
            network.attribute(WGALLOWEDIP_A_ADDRESS, &peer.address.octets());
            network.attribute(WGALLOWEDIP_A_CIDR, &[128]);
        });
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

/// Number of WireGuard's family of messages; nothing when the kernel has none.
fn family(socket: &mut Socket) -> io::Result<Option<u16>> {
    let mut message = Message::new(GENL_ID_CTRL, NLM_F_REQUEST | NLM_F_ACK);
    message.bytes(&[CTRL_CMD_GETFAMILY, CTRL_VERSION, 0, 0]);
    message.text(CTRL_ATTR_FAMILY_NAME, WIREGUARD);
    match socket.exchange(message) {
        Err(error) if is(&error, Errno::NOENT) => Ok(None),
        result => {
            let bodies = result?;
            let number = fields(&bodies).find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID);
            Ok(number.and_then(|(_, value)| Some(u16::from_ne_bytes(*value.first_chunk()?))))
        }
    }
}

/// The attributes of all messages.
fn fields(bodies: &[Vec<u8>]) -> impl Iterator<Item = (u16, &[u8])> {
    bodies.iter().flat_map(|body| attributes(body.get(GENL_HEADER..).unwrap_or_default()))
}

/// A link from the bodies of the kernel's messages; the peers of a large one are spread over several.
fn read_device(bodies: &[Vec<u8>]) -> Device {
    let mut device = Device::default();
    for (kind, value) in fields(bodies) {
        match kind {
            WGDEVICE_A_PRIVATE_KEY => device.private_key = key(value).map(Secret::new),
            WGDEVICE_A_PUBLIC_KEY => device.public_key = key(value),
            WGDEVICE_A_PEERS => device.peers.extend(attributes(value).map(|(_, peer)| read_peer(peer))),
            _ => {}
        }
    }
    device
}

fn read_peer(bytes: &[u8]) -> DevicePeer {
    let mut peer = DevicePeer::default();
    for (kind, value) in attributes(bytes) {
        match kind {
            WGPEER_A_PUBLIC_KEY => peer.key = value.try_into().unwrap_or_default(),
            WGPEER_A_KEEPALIVE => peer.keepalive_seconds = value.try_into().map_or(0, u16::from_ne_bytes),
            WGPEER_A_LAST_HANDSHAKE => peer.last_handshake = time(value),
            WGPEER_A_ALLOWED_IPS => {
                peer.allowed.extend(attributes(value).filter_map(|(_, network)| read_network(network)));
            }
            _ => {}
        }
    }
    peer
}

/// Nothing for a network of IPv4, of which a manager has none.
fn read_network(bytes: &[u8]) -> Option<(Ipv6Addr, u8)> {
    let (mut address, mut length) = (None, None);
    for (kind, value) in attributes(bytes) {
        match kind {
            WGALLOWEDIP_A_ADDRESS => address = <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from),
            WGALLOWEDIP_A_CIDR => length = value.first().copied(),
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

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// A netlink socket of this thread's network namespace.
struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        set_socket_timeout(&fd, Timeout::Recv, Some(TIMEOUT))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends a request and collects the bodies of the answers until the kernel says that it is done.
    fn exchange(&mut self, message: Message) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        send(&self.fd, &message.finish(self.sequence), SendFlags::empty())?;
        let mut buffer = vec![0; PACKET_BYTES];
        let mut bodies = Vec::new();
        for _ in 0..PACKETS_MAX {
            let (length, _) = recv(&self.fd, &mut buffer[..], RecvFlags::empty())?;
            let packet = buffer.get(..length).unwrap_or_default();
            for message in messages(packet).filter(|message| message.sequence == self.sequence) {
                match (message.kind, code(message.body)) {
                    (NLMSG_ERROR | NLMSG_DONE, None | Some(0)) => return Ok(bodies),
                    (NLMSG_ERROR | NLMSG_DONE, Some(code)) => {
                        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                    }
                    _ => bodies.push(message.body.to_vec()),
                }
            }
        }
        Err(io::Error::from(io::ErrorKind::InvalidData))
    }
}

/// The number at the begin of an error or of the end of a list: zero, or a negative error.
fn code(body: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(*body.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use corten_sys::namespace::{Namespaces, unshare};

    use super::*;

    /// In a network namespace of its own, which needs root. A kernel without WireGuard has to say so.
    #[test]
    fn the_kernel_keeps_one_peer_or_says_that_it_has_no_wireguard() {
        let work = || {
            unshare(Namespaces::NET).expect("a namespace");
            assert_eq!(device("wg-test").expect("an answer"), None);
            if create("wg-test").expect("an answer") == Made::Unsupported {
                return;
            }
            assert_eq!(create("wg-test").expect("it is there"), Made::Yes);
            let key = Secret::new([7; KEY]);
            for peer in [8, 9] {
                let endpoint = "192.0.2.1:1".parse().ok();
                let peer = PeerWish { key: [peer; KEY], address: Ipv6Addr::LOCALHOST, endpoint };
                configure("wg-test", &key, &peer).expect("configured");
            }
            let device = device("wg-test").expect("an answer").expect("a link");
            assert_eq!(device.private_key, Some(Secret::new(clamped([7; KEY]))));
            let peer = DevicePeer {
                key: [9; KEY],
                last_handshake: None,
                keepalive_seconds: 25,
                allowed: vec![(Ipv6Addr::LOCALHOST, 128)],
            };
            assert_eq!((device.public_key.is_some(), device.peers), (true, vec![peer]));
        };
        std::thread::scope(|scope| scope.spawn(work).join()).expect("no assertion failed");
    }

    #[test]
    fn addresses_are_the_kernels_structures() {
        let four = socket_address("192.0.2.1:258".parse().expect("an address"));
        assert_eq!((four.len(), &four[2..8]), (16, &[1, 2, 192, 0, 2, 1][..]));
        let six = socket_address("[fd00::1]:258".parse().expect("an address"));
        assert_eq!((six.len(), &six[2..4], six[8], six[23]), (28, &[1, 2][..], 0xfd, 1));
    }

    #[test]
    fn a_link_is_read_as_the_kernel_tells_it() {
        let mut message = Message::new(1, 0);
        message.bytes(&[0; GENL_HEADER]);
        message.attribute(WGDEVICE_A_PRIVATE_KEY, &[7; KEY]);
        message.attribute(WGDEVICE_A_PUBLIC_KEY, &[0; KEY]);
        message.nest(WGDEVICE_A_PEERS, |peers| {
            peers.nest(0, |peer| {
                let wish = PeerWish { key: [9; KEY], address: Ipv6Addr::LOCALHOST, endpoint: None };
                write_peer(peer, &wish);
                let time = [5_i64.to_ne_bytes(), 6_i64.to_ne_bytes()].concat();
                peer.attribute(WGPEER_A_LAST_HANDSHAKE, &time);
            });
        });
        let packet = message.finish(1);
        let bodies: Vec<_> = messages(&packet).map(|message| message.body.to_vec()).collect();
        let peer = DevicePeer {
            key: [9; KEY],
            last_handshake: Some(UNIX_EPOCH + Duration::new(5, 6)),
            keepalive_seconds: 25,
            allowed: vec![(Ipv6Addr::LOCALHOST, 128)],
        };
        let expected =
            Device { private_key: Some(Secret::new([7; KEY])), public_key: None, peers: vec![peer] };
        assert_eq!(read_device(&bodies), expected);
        assert_eq!(time(&[0; 16]), None, "never");
    }

    #[test]
    fn fuzz_any_answer_of_the_kernel_is_read() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = read_device(&[bytes.to_vec()]);
            let _ = (time(bytes), code(bytes));
        });
    }
}
