//! A small synchronous rtnetlink client: just the links, addresses and routes that a launcher of machines makes.
//!
//! machined's network controllers use a full library; this exists because init and the launchers have no runtime.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

use crate::error::failed;
use crate::{Error, Result};

const HEADER_BYTES: usize = 16;
const REQUEST: u16 = libc::NLM_F_REQUEST as u16 | libc::NLM_F_ACK as u16;
const CREATE: u16 = REQUEST | libc::NLM_F_CREATE as u16 | libc::NLM_F_EXCL as u16;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;

/// A rtnetlink socket of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Links {
    socket: OwnedFd,
    sequence: u32,
}

/// Where the other end of a virtual cable goes.
#[derive(Clone, Copy, Debug)]
pub enum PeerNamespace<'a> {
    /// Into the namespace of this process.
    Process(u32),
    /// Into the namespace that the descriptor stands for.
    Descriptor(BorrowedFd<'a>),
}

impl Links {
    /// Opens a socket in this thread's network namespace.
    pub fn open() -> Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .map_err(failed("open", "a netlink socket"))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Index of a link, `None` if there is none of that name.
    pub fn index(&mut self, name: &str) -> Result<Option<u32>> {
        rustix::net::netdevice::name_to_index(self.socket.as_fd(), name).map(Some).or_else(
            |errno| match errno {
                rustix::io::Errno::NODEV => Ok(None),
                errno => Err(failed("find the link", name)(errno)),
            },
        )
    }

    /// Makes a bridge.
    pub fn add_bridge(&mut self, name: &str) -> Result<()> {
        let mut message = Message::new(libc::RTM_NEWLINK, CREATE);
        message.link_header(0, 0);
        message.text(libc::IFLA_IFNAME, name);
        let info = message.begin(libc::IFLA_LINKINFO);
        message.text(IFLA_INFO_KIND, "bridge");
        message.end(info);
        self.call(message).map_err(failed("make the bridge", name))
    }

    /// Makes a virtual cable: `name` here, `peer` with the hardware address `mac` in another namespace.
    pub fn add_cable(
        &mut self,
        name: &str,
        peer: &str,
        mac: [u8; 6],
        namespace: PeerNamespace<'_>,
    ) -> Result<()> {
        let mut message = Message::new(libc::RTM_NEWLINK, CREATE);
        message.link_header(0, 0);
        message.text(libc::IFLA_IFNAME, name);
        let info = message.begin(libc::IFLA_LINKINFO);
        message.text(IFLA_INFO_KIND, "veth");
        let data = message.begin(IFLA_INFO_DATA);
        let peer_part = message.begin(VETH_INFO_PEER);
        message.link_header(0, 0);
        message.text(libc::IFLA_IFNAME, peer);
        message.attribute(libc::IFLA_ADDRESS, &mac);
        match namespace {
            PeerNamespace::Process(pid) => message.attribute(libc::IFLA_NET_NS_PID, &pid.to_ne_bytes()),
            PeerNamespace::Descriptor(fd) => {
                message.attribute(libc::IFLA_NET_NS_FD, &fd.as_raw_fd().to_ne_bytes());
            }
        }
        message.end(peer_part);
        message.end(data);
        message.end(info);
        self.call(message).map_err(failed("make the cable", name))
    }

    /// Brings a link up.
    pub fn set_up(&mut self, name: &str) -> Result<()> {
        let up = libc::IFF_UP as u32;
        self.change(name, "bring up the link", |message, index| message.link_header(index, up))
    }

    /// Plugs a link into a bridge.
    pub fn set_bridge(&mut self, name: &str, bridge: &str) -> Result<()> {
        let bridge_index = self.required_index(bridge)?;
        self.change(name, "plug in the link", |message, index| {
            message.link_header(index, 0);
            message.attribute(libc::IFLA_MASTER, &bridge_index.to_ne_bytes());
        })
    }

    /// Deletes a link; a missing one is fine.
    pub fn delete(&mut self, name: &str) -> Result<()> {
        let Some(index) = self.index(name)? else { return Ok(()) };
        let mut message = Message::new(libc::RTM_DELLINK, REQUEST);
        message.link_header(index, 0);
        self.call(message).map_err(failed("delete the link", name))
    }

    /// Sets the largest packet of a link, bytes.
    pub fn set_mtu(&mut self, name: &str, mtu: u32) -> Result<()> {
        self.change(name, "set the MTU of the link", |message, index| {
            message.link_header(index, 0);
            message.attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
        })
    }

    /// Adds an address; one that is there already is fine. An IPv6 address is used at once, without looking for another
    /// holder.
    pub fn add_address(&mut self, name: &str, address: impl Into<IpAddr>, prefix_length: u8) -> Result<()> {
        let address = address.into();
        let index = self.required_index(name)?;
        let mut message = Message::new(libc::RTM_NEWADDR, CREATE);
        let (family, flags) = match address {
            IpAddr::V4(_) => (libc::AF_INET as u8, 0),
            IpAddr::V6(_) => (libc::AF_INET6 as u8, libc::IFA_F_NODAD as u8),
        };
        // struct ifaddrmsg: family, prefix length, flags, scope, index.
        message.bytes(&[family, prefix_length, flags, 0]);
        message.bytes(&index.to_ne_bytes());
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        message.attribute(libc::IFA_LOCAL, &octets);
        message.attribute(libc::IFA_ADDRESS, &octets);
        tolerate_existing(self.call(message)).map_err(failed("add the address", address))
    }

    /// Adds a default route through a gateway; one that is there already is fine.
    pub fn add_default_route(&mut self, gateway: Ipv4Addr) -> Result<()> {
        let mut message = Message::new(libc::RTM_NEWROUTE, CREATE);
        // struct rtmsg: family, destination and source prefix lengths, tos, table, protocol, scope, type, flags.
        let (table, protocol, kind) = (libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, libc::RTN_UNICAST);
        message.bytes(&[libc::AF_INET as u8, 0, 0, 0, table, protocol, libc::RT_SCOPE_UNIVERSE, kind]);
        message.bytes(&0u32.to_ne_bytes());
        message.attribute(libc::RTA_GATEWAY, &gateway.octets());
        tolerate_existing(self.call(message)).map_err(failed("add the default route through", gateway))
    }

    fn change(
        &mut self,
        name: &str,
        action: &'static str,
        fill: impl FnOnce(&mut Message, u32),
    ) -> Result<()> {
        let index = self.required_index(name)?;
        let mut message = Message::new(libc::RTM_NEWLINK, REQUEST);
        fill(&mut message, index);
        self.call(message).map_err(failed(action, name))
    }

    fn required_index(&mut self, name: &str) -> Result<u32> {
        self.index(name)?.ok_or_else(|| Error::new("find the link", name, io::ErrorKind::NotFound))
    }

    /// Sends a request and waits for the kernel's acknowledgement.
    fn call(&mut self, message: Message) -> io::Result<()> {
        self.sequence += 1;
        let packet = message.finish(self.sequence)?;
        send(&self.socket, &packet, SendFlags::empty())?;
        let mut buffer = [0; 8192];
        loop {
            let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            let reply = buffer.get(..length).unwrap_or_default();
            if let Some(outcome) = acknowledgement(reply, self.sequence) {
                return outcome;
            }
        }
    }
}

fn tolerate_existing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        result => result,
    }
}

/// The outcome in an `NLMSG_ERROR` packet with our sequence number; `None` for any other packet.
fn acknowledgement(packet: &[u8], sequence: u32) -> Option<io::Result<()>> {
    let kind = u16::from_ne_bytes(*packet.get(4..)?.first_chunk()?);
    let answered = u32::from_ne_bytes(*packet.get(8..)?.first_chunk()?);
    if i32::from(kind) != libc::NLMSG_ERROR || answered != sequence {
        return None;
    }
    let code = i32::from_ne_bytes(*packet.get(HEADER_BYTES..)?.first_chunk()?);
    Some(if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code.saturating_neg())) })
}

/// A netlink message under construction; lengths are filled in when its parts end.
struct Message {
    bytes: Vec<u8>,
}

/// Where an attribute that contains others began.
struct Nest(usize);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.resize(HEADER_BYTES, 0);
        Self { bytes }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// `struct ifinfomsg`: family, type, index, flags, and which flags are meant.
    fn link_header(&mut self, index: u32, flags: u32) {
        self.bytes(&[0; 4]);
        for word in [index, flags, flags] {
            self.bytes(&word.to_ne_bytes());
        }
    }

    fn text(&mut self, kind: u16, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let nest = self.begin(kind);
        self.bytes.extend_from_slice(value);
        self.end(nest);
    }

    fn begin(&mut self, kind: u16) -> Nest {
        let start = self.bytes.len();
        self.bytes(&[0; 2]);
        self.bytes.truncate(start + 2);
        self.bytes(&kind.to_ne_bytes());
        Nest(start)
    }

    /// The length in an attribute's header leaves out the padding after it.
    fn end(&mut self, nest: Nest) {
        let length = u16::try_from(self.bytes.len() - nest.0).unwrap_or(u16::MAX);
        if let Some(field) = self.bytes.get_mut(nest.0..nest.0 + 2) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        self.bytes(&[]);
    }

    fn finish(mut self, sequence: u32) -> io::Result<Vec<u8>> {
        let length =
            u32::try_from(self.bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let fields = [(0, length), (8, sequence)];
        for (at, value) in fields {
            if let Some(field) = self.bytes.get_mut(at..at + 4) {
                field.copy_from_slice(&value.to_ne_bytes());
            }
        }
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{Namespaces, unshare};

    #[test]
    fn messages_are_padded_and_lengths_are_not() {
        let mut message = Message::new(16, CREATE);
        message.text(3, "br0");
        message.text(3, "eth00");
        let bytes = message.finish(9).unwrap();
        assert_eq!(bytes.len(), 16 + 8 + 12);
        assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()), 36);
        assert_eq!(u16::from_ne_bytes(bytes[24..26].try_into().unwrap()), 10);
    }

    #[test]
    fn any_packet_is_an_answer_or_none() {
        bolero::check!().with_type::<(Vec<u8>, u32)>().for_each(|(packet, sequence)| {
            let _ = acknowledgement(packet, *sequence);
        });
    }

    #[test]
    fn builds_a_small_network_in_own_namespaces() {
        let work = || {
            unshare(Namespaces::NET).unwrap();
            let mut links = Links::open().unwrap();
            links.set_up("lo").unwrap();
            links.add_bridge("br0").unwrap();
            links.add_address("br0", Ipv4Addr::new(10, 5, 0, 1), 24).unwrap();
            links.add_address("br0", Ipv4Addr::new(10, 5, 0, 1), 24).unwrap();
            links.set_up("br0").unwrap();
            let here = PeerNamespace::Process(rustix::thread::gettid().as_raw_pid() as u32);
            links.add_cable("n1", "eth0", [2, 0, 0, 0, 0, 1], here).unwrap();
            links.set_bridge("n1", "br0").unwrap();
            links.add_default_route(Ipv4Addr::new(10, 5, 0, 254)).unwrap();
            assert!(links.index("eth0").unwrap().is_some());
            assert!(links.set_up("eth9").is_err());
            links.delete("n1").unwrap();
            links.delete("n1").unwrap();
            assert_eq!(links.index("eth0").unwrap(), None);
        };
        std::thread::scope(|scope| scope.spawn(work).join()).unwrap();
    }
}
