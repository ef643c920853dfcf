//! TCP sockets: when whoever reads one is woken, and the kernel's tables of them, `/proc/net/tcp` and `/proc/net/tcp6` (proc_net_tcp.rst of the kernel's documentation).

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::Result;
use crate::error::failed;

const TABLES: [&str; 2] = ["/proc/self/net/tcp6", "/proc/self/net/tcp"];
/// `TCP_LISTEN` of the kernel's `tcp_states.h`. Sockets that listen come first in a table.
const LISTEN: &str = "0A";

/// Whoever waits for a socket is woken when so many bytes are there, or when the other side has closed it (`SO_RCVLOWAT`,
/// socket(7)). Where the kernel refuses that, it is woken more often, and nothing else is different.
pub fn wake_at(socket: BorrowedFd<'_>, bytes: u16) {
    let value = libc::c_int::from(bytes);
    let size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the kernel reads a number of the size that it is told, and keeps nothing of it.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const value).cast(),
            size,
        );
    }
}

/// Whether somebody in this network namespace listens for connections to an address. A connection would show the same,
/// for the kernel takes it by itself; it would wake whoever listens, too.
///
/// # Errors
/// When the kernel's tables cannot be read.
pub fn listens(address: SocketAddr) -> Result<bool> {
    for table in TABLES {
        let file = match File::open(table) {
            Ok(file) => file,
            // A kernel without IPv6.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("read", table)(error)),
        };
        for line in BufReader::new(file).lines().skip(1) {
            let line = line.map_err(failed("read", table))?;
            let Some(local) = listener(&line) else { break };
            let takes = local.ip().is_unspecified() || local.ip() == address.ip().to_canonical();
            if takes && local.port() == address.port() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Where the socket of a line listens; `None` for any other socket.
fn listener(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let local = endpoint(words.next()?)?;
    (words.nth(1)? == LISTEN).then_some(local)
}

/// An address and a port as the tables have them. An IPv4 address within IPv6 is told as what it is.
#[must_use]
pub fn endpoint(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(address)?)),
        32 => {
            let mut octets = [0; 16];
            for (index, group) in octets.chunks_exact_mut(4).enumerate() {
                group.copy_from_slice(&word(address.get(index * 8..index * 8 + 8)?)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some((address, u16::from_str_radix(port, 16).ok()?).into())
}

/// The kernel prints each four bytes of an address as a number of its own byte order.
fn word(digits: &str) -> Option<[u8; 4]> {
    u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    #[test]
    fn nobody_is_woken_before_enough_is_there_or_the_other_side_has_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let mut near = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let (mut far, _) = listener.accept().expect("accepted");
        let can_be_read = |far: &TcpStream, wait: i64| {
            let mut polled = [PollFd::new(far, PollFlags::IN)];
            let wait = Timespec { tv_sec: wait, tv_nsec: 0 };
            poll(&mut polled, Some(&wait)).expect("polled") > 0
        };
        wake_at(far.as_fd(), 5);
        near.write_all(b"four").expect("written");
        // The kernel has taken the bytes over when the call returns: this network is inside of the host.
        assert!(!can_be_read(&far, 0), "four of five");
        near.write_all(b"5").expect("written");
        assert!(can_be_read(&far, 10));
        assert_eq!(far.read(&mut [0; 8]).expect("read"), 5);
        drop(near);
        assert!(can_be_read(&far, 10), "the end");
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn only_who_listens_is_a_listener() {
        let listening = "   1: 00000000000000000000000000000000:C350 00000000000000000000000000000000:0000 0A 00000000:00000000";
        assert_eq!(listener(listening), Some("[::]:50000".parse().expect("an address")));
        let connected = "   1: 0200050A:C350 0100050A:18EB 01 0000001A:00000002";
        assert_eq!(listener(connected), None);
        assert_eq!(listener("  sl  local_address rem_address   st tx_queue"), None);
    }

    #[test]
    fn who_listens_on_one_address_or_on_all_is_found_until_it_goes() {
        for (own, asked) in
            [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "127.0.0.1")]
        {
            let listener = TcpListener::bind(own).expect("bound");
            let port = listener.local_addr().expect("an address").port();
            let asked = SocketAddr::new(asked.parse().expect("an address"), port);
            assert!(listens(asked).expect("tables"), "{own}");
            drop(listener);
            assert!(!listens(asked).expect("tables"), "{own}");
        }
    }
}
