//! TUN devices: the IP packets of a link as reads and writes of a descriptor.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

use crate::Result;
use crate::error::failed;
use crate::ffi::check;

/// `TUNSETIFF`, from linux/if_tun.h.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
/// Packets without link header.
const IFF_TUN: libc::c_short = 1;
/// Packets without the four bytes of packet information.
const IFF_NO_PI: libc::c_short = 0x1000;
/// Longest name of a link, bytes.
const NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// `struct ifreq` as `TUNSETIFF` reads it.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// Makes a TUN link of that name in this thread's network namespace. Each read of the descriptor is a packet that the
/// kernel sends over the link, each write one that arrives; neither blocks. The link goes with the descriptor.
pub fn open(name: &str) -> Result<File> {
    let action = "make the TUN link";
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags: IFF_TUN | IFF_NO_PI, rest: [0; 22] };
    let place = request.name.get_mut(..name.len()).filter(|place| place.len() <= NAME_MAX);
    let too_long = || failed(action, name)(std::io::Error::from(std::io::ErrorKind::InvalidInput));
    place.ok_or_else(too_long)?.copy_from_slice(name.as_bytes());
    let mut options = OpenOptions::new();
    let device = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    let device = device.map_err(failed("open", "/dev/net/tun"))?;
    // SAFETY: the request reads and writes one `struct ifreq`, which `Request` lays out, and the pointer is valid for
    // the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, &raw mut request) })
        .map_err(failed(action, name))?;
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{Namespaces, unshare};
    use crate::network::Links;

    #[test]
    fn a_link_is_there_as_long_as_its_descriptor() {
        let work = || -> Result<(bool, bool)> {
            unshare(Namespaces::NET)?;
            let device = open("tun-test")?;
            let mut links = Links::open()?;
            links.set_mtu("tun-test", 1280)?;
            links.add_address("tun-test", std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), 64)?;
            links.set_up("tun-test")?;
            let before = links.index("tun-test")?.is_some();
            drop(device);
            Ok((before, links.index("tun-test")?.is_some()))
        };
        let found = std::thread::scope(|scope| scope.spawn(work).join().unwrap());
        assert_eq!(found.unwrap(), (true, false));
    }

    #[test]
    fn a_name_that_is_too_long_is_refused() {
        assert!(open("a-name-of-sixteen").is_err());
    }
}
