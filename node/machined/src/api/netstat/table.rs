//! The kernel's tables of sockets: `/proc/net/{tcp,udp,udplite,raw}` and those of IPv6, which have the same columns.

use std::net::SocketAddr;

use corten_api::machine::ConnectRecord;
use corten_api::machine::connect_record::{State, TimerActive};
use corten_sys::sockets::endpoint;

/// A socket of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Socket {
    /// The other end; unspecified without one.
    pub remote: SocketAddr,
    /// What the line says, but for the protocol, the namespace and who holds the socket, which it does not.
    pub record: ConnectRecord,
}

/// The socket of a line; `None` for the headings and for what is no line of a table.
#[must_use]
pub fn parse(line: &str) -> Option<Socket> {
    let mut words = line.split_whitespace();
    let slot = words.next()?.strip_suffix(':')?;
    slot.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    let local = endpoint(words.next()?)?;
    let remote = endpoint(words.next()?)?;
    let state = i32::try_from(hexadecimal(words.next()?)?).ok()?;
    let (txqueue, rxqueue) = pair(words.next()?)?;
    let (timer, timerwhen) = pair(words.next()?)?;
    let retrnsmt = hexadecimal(words.next()?)?;
    let record = ConnectRecord {
        localip: local.ip().to_string(),
        localport: local.port().into(),
        remoteip: remote.ip().to_string(),
        remoteport: remote.port().into(),
        state: State::try_from(state).unwrap_or(State::Reserved).into(),
        txqueue,
        rxqueue,
        tr: TimerActive::try_from(i32::try_from(timer).ok()?).unwrap_or(TimerActive::Off).into(),
        timerwhen,
        retrnsmt,
        uid: words.next()?.parse().ok()?,
        timeout: words.next()?.parse().ok()?,
        inode: words.next()?.parse().ok()?,
        r#ref: words.next()?.parse().ok()?,
        pointer: hexadecimal(words.next()?)?,
        ..ConnectRecord::default()
    };
    Some(Socket { remote, record })
}

/// The inode of the socket that a link below `/proc/PID/fd` means; `None` if it means something else.
#[must_use]
pub fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn hexadecimal(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

fn pair(text: &str) -> Option<(u64, u64)> {
    let (first, second) = text.split_once(':')?;
    Some((hexadecimal(first)?, hexadecimal(second)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADINGS: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
    const TCP: &str = "   1: 0200050A:C350 0100050A:18EB 01 0000001A:00000002 02:000003A9 00000001   101        7 20477 2 ffff8881048f1b00 20 4 30 10 -1";

    #[test]
    #[cfg(target_endian = "little")]
    fn every_column_has_its_field() {
        let Socket { remote, record } = parse(TCP).expect("a socket");
        assert_eq!(remote, "10.5.0.1:6379".parse().expect("an address"));
        let expected = ConnectRecord {
            localip: "10.5.0.2".into(),
            localport: 50000,
            remoteip: "10.5.0.1".into(),
            remoteport: 6379,
            state: State::Established.into(),
            txqueue: 26,
            rxqueue: 2,
            tr: TimerActive::Keepalive.into(),
            timerwhen: 937,
            retrnsmt: 1,
            uid: 101,
            timeout: 7,
            inode: 20477,
            r#ref: 2,
            pointer: 0xffff_8881_048f_1b00,
            ..ConnectRecord::default()
        };
        assert_eq!(record, expected);
        assert_eq!(parse(HEADINGS), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_of_both_families() {
        let ip = |text: &str| endpoint(text).map(|endpoint| endpoint.ip().to_string());
        assert_eq!(ip("00000000000000000000000001000000:0016").as_deref(), Some("::1"));
        assert_eq!(
            ip("B80D01200000000067452301EFCDAB89:0016").as_deref(),
            Some("2001:db8::123:4567:89ab:cdef")
        );
        assert_eq!(ip("0000000000000000FFFF00000200050A:0016").as_deref(), Some("10.5.0.2"));
        assert_eq!(ip("0100007F"), None);
        assert_eq!(ip("0100007F:10000"), None);
    }

    #[test]
    fn only_sockets_are_sockets() {
        assert_eq!(socket_inode("socket:[4711]"), Some(4711));
        assert_eq!(socket_inode("pipe:[4711]"), None);
        assert_eq!(socket_inode("/run/socket"), None);
    }

    #[test]
    fn nothing_makes_the_parser_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let _ = parse(&text);
            let _ = parse(&format!("0: {text}"));
            let _ = endpoint(&text);
            let _ = socket_inode(&text);
        });
    }
}
