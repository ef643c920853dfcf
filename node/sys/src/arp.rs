//! Telling the neighbours of a link where an address is now (ARP announcements, RFC 5227).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::Result;
use crate::error::failed;
use crate::ffi::check;
use crate::packet;

/// Bytes of an Ethernet address.
const MAC: usize = 6;
const BROADCAST: [u8; MAC] = [0xff; MAC];
/// Asks, and answers, in turn: some neighbours believe only one of them.
const OPERATIONS: [u16; 2] = [1, 2];

/// Tells everybody on the link with this index that the address is at it. Links without Ethernet addresses have
/// nobody to tell.
///
/// # Errors
/// When there is no such link, or it is down.
pub fn announce(link: u32, address: Ipv4Addr) -> Result<()> {
    let tell = || -> io::Result<()> {
        let link = libc::c_int::try_from(link).map_err(|_| io::ErrorKind::NotFound)?;
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        packet::bind(&socket, link, libc::ETH_P_ARP as u16)?;
        let Some(own) = hardware_address(&socket)? else { return Ok(()) };
        for operation in OPERATIONS {
            rustix::net::send(&socket, &frame(operation, own, address), rustix::net::SendFlags::empty())?;
        }
        Ok(())
    };
    tell().map_err(failed("announce", address))
}

/// The Ethernet address of the link that the socket is bound to.
fn hardware_address(socket: &OwnedFd) -> io::Result<Option<[u8; MAC]>> {
    let mut address = packet::address(0, 0);
    let mut length = packet::size::<libc::sockaddr_ll>();
    // SAFETY: the kernel writes at most `length` bytes to the address, which has that many.
    check(unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut length) })?;
    let is_ethernet = address.sll_hatype == libc::ARPHRD_ETHER && usize::from(address.sll_halen) == MAC;
    Ok(address.sll_addr.first_chunk().copied().filter(|_| is_ethernet))
}

/// An Ethernet frame to everybody: the address belongs to this hardware.
fn frame(operation: u16, own: [u8; MAC], address: Ipv4Addr) -> Vec<u8> {
    const ETHERNET: u16 = 1;
    const IPV4: u16 = 0x0800;
    const ARP: u16 = 0x0806;
    let address = address.octets();
    let mut frame = [BROADCAST, own].concat();
    for word in [ARP, ETHERNET, IPV4] {
        frame.extend_from_slice(&word.to_be_bytes());
    }
    frame.extend_from_slice(&[MAC as u8, address.len() as u8]);
    frame.extend_from_slice(&operation.to_be_bytes());
    // Sender and target are the same; who asks does not know the hardware of the target.
    let target = if operation == 1 { [0; MAC] } else { BROADCAST };
    frame.extend_from_slice(&[&own[..], &address, &target, &address].concat());
    frame
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;
    use crate::namespace::{Namespaces, unshare};
    use crate::network::{Links, PeerNamespace};
    use crate::packet::{Capture, Settings};

    /// Tenths of a second.
    const PATIENCE_TENTHS: usize = 100;

    #[test]
    fn the_other_end_of_a_cable_hears_where_the_address_is() {
        let work = || {
            unshare(Namespaces::NET).unwrap();
            let mut links = Links::open().unwrap();
            let here = PeerNamespace::Process(rustix::thread::gettid().as_raw_pid() as u32);
            // The hardware address that is given is that of the second end.
            links.add_cable("b", "a", [2, 0, 0, 0, 0, 7], here).unwrap();
            links.set_up("a").and_then(|()| links.set_up("b")).unwrap();
            let index = |links: &mut Links, name: &str| links.index(name).unwrap().unwrap();
            let (a, b) = (index(&mut links, "a"), index(&mut links, "b"));
            let settings = Settings { link: b, promiscuous: false, snap_bytes: 64, filter: &[] };
            let mut heard = Capture::open(&settings).unwrap();
            let mut operations = Vec::new();
            // What is sent before the kernel has noticed that both ends are up is lost, also one of the two alone.
            for _ in 0..PATIENCE_TENTHS {
                operations.clear();
                announce(a, Ipv4Addr::new(10, 9, 0, 100)).unwrap();
                let tenth = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
                while poll(&mut [PollFd::new(&heard, PollFlags::IN)], Some(&tenth)).unwrap() > 0 {
                    while let Some(packet) = heard.next_packet().unwrap() {
                        if packet.bytes.get(12..14) == Some(&[8, 6]) {
                            assert_eq!(packet.bytes[22..32], [2, 0, 0, 0, 0, 7, 10, 9, 0, 100]);
                            assert_eq!(packet.bytes[38..42], [10, 9, 0, 100]);
                            operations.push(packet.bytes[21]);
                        }
                    }
                }
                if operations.len() >= 2 {
                    break;
                }
            }
            assert_eq!(operations, [1, 2]);
            // Nobody is at the loopback link.
            let lo = index(&mut links, "lo");
            links.set_up("lo").unwrap();
            announce(lo, Ipv4Addr::LOCALHOST).unwrap();
            assert!(announce(9999, Ipv4Addr::LOCALHOST).is_err());
        };
        std::thread::scope(|scope| scope.spawn(work).join()).unwrap();
    }
}
