//! A small synchronous rtnetlink client: just the links, addresses and routes that a launcher of machines makes.
//!
//! machined's network controllers use a full library; this exists because init and the launchers have no runtime.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::error::failed;
use crate::netlink::{Flags, Message, Socket};
use crate::{Error, Result};

const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;

/// A rtnetlink socket of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Links {
    socket: Socket,
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
        Ok(Self { socket: Socket::route().map_err(failed("open", "a netlink socket"))? })
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
        self.add(name, "bridge")
    }

    /// Makes a WireGuard link, which is nobody's peer yet. The kernel may load a module for it; one without such links
    /// answers `EOPNOTSUPP`.
    pub fn add_wireguard(&mut self, name: &str) -> Result<()> {
        self.add(name, "wireguard")
    }

    fn add(&mut self, name: &str, kind: &'static str) -> Result<()> {
        let mut message = Message::new(libc::RTM_NEWLINK, Flags::CREATE);
        link_header(&mut message, 0, 0);
        message.text(libc::IFLA_IFNAME, name);
        message.nest(libc::IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, kind));
        self.call(message).map_err(failed("make the link", name))
    }

    /// Makes a virtual cable: `name` here, `peer` with the hardware address `mac` in another namespace.
    pub fn add_cable(
        &mut self,
        name: &str,
        peer: &str,
        mac: [u8; 6],
        namespace: PeerNamespace<'_>,
    ) -> Result<()> {
        let mut message = Message::new(libc::RTM_NEWLINK, Flags::CREATE);
        link_header(&mut message, 0, 0);
        message.text(libc::IFLA_IFNAME, name);
        let write_peer = |message: &mut Message| {
            link_header(message, 0, 0);
            message.text(libc::IFLA_IFNAME, peer);
            message.attribute(libc::IFLA_ADDRESS, &mac);
            match namespace {
                PeerNamespace::Process(pid) => message.attribute(libc::IFLA_NET_NS_PID, &pid.to_ne_bytes()),
                PeerNamespace::Descriptor(fd) => {
                    message.attribute(libc::IFLA_NET_NS_FD, &fd.as_raw_fd().to_ne_bytes());
                }
            }
        };
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth");
            info.nest(IFLA_INFO_DATA, |data| data.with(VETH_INFO_PEER, write_peer));
        });
        self.call(message).map_err(failed("make the cable", name))
    }

    /// Brings a link up.
    pub fn set_up(&mut self, name: &str) -> Result<()> {
        let up = libc::IFF_UP as u32;
        self.change(name, "bring up the link", |message, index| link_header(message, index, up))
    }

    /// Plugs a link into a bridge.
    pub fn set_bridge(&mut self, name: &str, bridge: &str) -> Result<()> {
        let bridge_index = self.required_index(bridge)?;
        self.change(name, "plug in the link", |message, index| {
            link_header(message, index, 0);
            message.attribute(libc::IFLA_MASTER, &bridge_index.to_ne_bytes());
        })
    }

    /// Deletes a link; a missing one is fine.
    pub fn delete(&mut self, name: &str) -> Result<()> {
        let Some(index) = self.index(name)? else { return Ok(()) };
        let mut message = Message::new(libc::RTM_DELLINK, Flags::ACK);
        link_header(&mut message, index, 0);
        self.call(message).map_err(failed("delete the link", name))
    }

    /// Sets the largest packet of a link, bytes.
    pub fn set_mtu(&mut self, name: &str, mtu: u32) -> Result<()> {
        self.change(name, "set the MTU of the link", |message, index| {
            link_header(message, index, 0);
            message.attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
        })
    }

    /// Adds an address; one that is there already is fine. An IPv6 address is used at once, without looking for another
    /// holder.
    pub fn add_address(&mut self, name: &str, address: impl Into<IpAddr>, prefix_length: u8) -> Result<()> {
        let address = address.into();
        let index = self.required_index(name)?;
        let mut message = Message::new(libc::RTM_NEWADDR, Flags::CREATE);
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
        let mut message = Message::new(libc::RTM_NEWROUTE, Flags::CREATE);
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
        let mut message = Message::new(libc::RTM_NEWLINK, Flags::ACK);
        fill(&mut message, index);
        self.call(message).map_err(failed(action, name))
    }

    fn required_index(&mut self, name: &str) -> Result<u32> {
        self.index(name)?.ok_or_else(|| Error::new("find the link", name, io::ErrorKind::NotFound))
    }

    fn call(&mut self, message: Message) -> io::Result<()> {
        self.socket.exchange(message).map(drop)
    }
}

fn tolerate_existing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        result => result,
    }
}

/// `struct ifinfomsg`: family, type, index, flags, and which flags are meant.
fn link_header(message: &mut Message, index: u32, flags: u32) {
    message.bytes(&[0; 4]);
    for word in [index, flags, flags] {
        message.bytes(&word.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{Namespaces, unshare};

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
