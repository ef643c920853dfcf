//! Netlink: messages as bytes (headers, attributes, attributes in attributes), and the socket on which the kernel takes
//! and answers them.
//!
//! The calls are synchronous and short: whoever runs an asynchronous runtime makes them on its bounded pool. The network
//! controllers use a full library for route netlink; this serves init and the launchers, which have no runtime, and the
//! families of generic netlink.

use std::io;
use std::iter;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_send_buffer_size_force, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// Bytes of a message's header: length, type, flags, sequence number, port.
const HEADER: usize = 16;
/// Bytes of an attribute's header: length and type.
const ATTRIBUTE_HEADER: usize = 4;
/// Everything begins at a multiple of so many bytes.
const ALIGNMENT: usize = 4;
/// Marks an attribute that holds attributes (`NLA_F_NESTED`).
const NESTED: u16 = 0x8000;
/// The bits of an attribute's type that are no marks.
const TYPE: u16 = 0x3fff;
/// Largest packet of the kernel that is read.
const PACKET_BYTES: usize = 64 * 1024;
/// Packets of one answer, at most.
const PACKETS_MAX: usize = 4096;
/// Bytes of a transaction, at most.
const TRANSACTION_BYTES: usize = 4 << 20;
/// The kernel answers at once, or never.
const TIMEOUT: Duration = Duration::from_secs(5);
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `struct genlmsghdr`: command, version, two bytes of nothing.
const GENERIC_HEADER: usize = 4;
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_VERSION: u8 = 1;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// What is asked of the kernel with a message (`NLM_F_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// An acknowledgement.
    pub const ACK: Self = Self(libc::NLM_F_REQUEST as u16 | libc::NLM_F_ACK as u16);
    /// Something new; that it is there already is an error.
    pub const CREATE: Self = Self(Self::ACK.0 | libc::NLM_F_CREATE as u16 | libc::NLM_F_EXCL as u16);
    /// Nothing but to do it; for messages of a transaction, of which the last asks for an acknowledgement.
    pub const REQUEST: Self = Self(libc::NLM_F_REQUEST as u16);
    /// Something new after what is there, in a transaction.
    pub const APPEND: Self = Self(Self::REQUEST.0 | libc::NLM_F_CREATE as u16 | libc::NLM_F_APPEND as u16);
    /// A list.
    pub const DUMP: Self = Self(libc::NLM_F_REQUEST as u16 | libc::NLM_F_DUMP as u16);
}

/// A message under construction. It may hold keys, so that it does not print.
#[derive(Clone)]
pub struct Message {
    bytes: Vec<u8>,
    /// An attribute grew beyond what its length can say.
    is_too_long: bool,
}

impl Message {
    /// A message without content.
    #[must_use]
    pub fn new(kind: u16, flags: Flags) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.0.to_ne_bytes());
        bytes.resize(HEADER, 0);
        Self { bytes, is_too_long: false }
    }

    /// Adds bytes as they are, with padding.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }

    /// Adds an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.with(kind, |message| message.bytes.extend_from_slice(value));
    }

    /// Adds an attribute with a text, which ends with a zero.
    pub fn text(&mut self, kind: u16, text: &str) {
        self.with(kind, |message| {
            message.bytes.extend_from_slice(text.as_bytes());
            message.bytes.push(0);
        });
    }

    /// Adds an attribute that holds the attributes which `fill` adds.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        self.with(kind | NESTED, fill);
    }

    /// Adds an attribute whose content `fill` adds, without the mark of those that hold others. The length in its header
    /// leaves out the padding after it.
    pub fn with(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.bytes.len() - start);
        self.is_too_long |= length.is_err();
        if let (Some(field), Ok(length)) = (self.bytes.get_mut(start..start + 2), length) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        self.bytes(&[]);
    }

    /// The whole message.
    ///
    /// # Errors
    /// When an attribute is longer than its length can say, 64 KiB.
    pub fn finish(mut self, sequence: u32) -> io::Result<Vec<u8>> {
        let length = u32::try_from(self.bytes.len()).ok().filter(|_| !self.is_too_long);
        let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        for (at, value) in [(0, length), (8, sequence)] {
            if let Some(field) = self.bytes.get_mut(at..at + 4) {
                field.copy_from_slice(&value.to_ne_bytes());
            }
        }
        Ok(self.bytes)
    }
}

/// A message of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Its type.
    pub kind: u16,
    /// The request that it answers.
    pub sequence: u32,
    /// What comes after the header.
    pub body: &'a [u8],
}

/// The messages in a packet; what is cut off ends them.
pub fn messages(packet: &[u8]) -> impl Iterator<Item = Received<'_>> {
    let mut rest = packet;
    iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*rest.first_chunk()?)).ok()?;
        let message = rest.get(..length).filter(|message| message.len() >= HEADER)?;
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some(Received {
            kind: u16::from_ne_bytes(*message.get(4..)?.first_chunk()?),
            sequence: u32::from_ne_bytes(*message.get(8..)?.first_chunk()?),
            body: message.get(HEADER..)?,
        })
    })
}

/// Types and contents of the attributes in `bytes`; what is cut off ends them.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let attribute = rest.get(..length).filter(|attribute| attribute.len() >= ATTRIBUTE_HEADER)?;
        let kind = u16::from_ne_bytes(*attribute.get(2..)?.first_chunk()?) & TYPE;
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, attribute.get(ATTRIBUTE_HEADER..)?))
    })
}

/// A netlink socket of the network namespace in which this thread was when it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket for route netlink.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn route() -> io::Result<Self> {
        Self::open(None)
    }

    /// Opens a socket for the packet filters.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn netfilter() -> io::Result<Self> {
        let socket = Self::open(Some(netlink::NETFILTER))?;
        // A transaction is one packet. Who may not force it has room for the usual ones.
        let _ = set_socket_send_buffer_size_force(&socket.fd, TRANSACTION_BYTES);
        Ok(socket)
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        set_socket_timeout(&fd, Timeout::Recv, Some(TIMEOUT))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends a request and collects the bodies of the answers until the kernel says that it is done.
    ///
    /// # Errors
    /// When the kernel refuses, or does not come to an end.
    pub fn exchange(&mut self, message: Message) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        send(&self.fd, &message.finish(self.sequence)?, SendFlags::empty())?;
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

impl Socket {
    /// Sends messages that take effect together or not at all; only the last may ask for an acknowledgement.
    ///
    /// # Errors
    /// When the kernel refuses any of them; nothing has changed then.
    pub fn transact(&mut self, transaction: Vec<Message>) -> io::Result<()> {
        let first = self.sequence + 1;
        let mut packet = Vec::new();
        for message in transaction {
            self.sequence += 1;
            packet.extend(message.finish(self.sequence)?);
        }
        send(&self.fd, &packet, SendFlags::empty())?;
        let ours = first..=self.sequence;
        let mut buffer = vec![0; PACKET_BYTES];
        for _ in 0..PACKETS_MAX {
            let (length, _) = recv(&self.fd, &mut buffer[..], RecvFlags::empty())?;
            let answers = messages(buffer.get(..length).unwrap_or_default());
            let mut answers =
                answers.filter(|answer| answer.kind == NLMSG_ERROR && ours.contains(&answer.sequence));
            // Answers come in the order of the messages: a refusal before the acknowledgement of the last.
            match answers.next().map(|answer| code(answer.body)) {
                None => {}
                Some(None | Some(0)) => return Ok(()),
                Some(Some(code)) => return Err(io::Error::from_raw_os_error(code.saturating_neg())),
            }
        }
        Err(io::Error::from(io::ErrorKind::InvalidData))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The number at the begin of an error or of the end of a list: zero, or a negative error.
fn code(body: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(*body.first_chunk()?))
}

/// A socket for the families of generic netlink, of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Generic {
    socket: Socket,
    /// Numbers of families that the kernel has told.
    families: Vec<(&'static str, u16)>,
}

impl Generic {
    /// Opens a socket.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Some(netlink::GENERIC))?, families: Vec::new() })
    }

    /// Number of a family of messages; nothing when the kernel has none. The kernel may load a module for it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn family(&mut self, name: &'static str) -> io::Result<Option<u16>> {
        if let Some((_, number)) = self.families.iter().find(|(known, _)| *known == name) {
            return Ok(Some(*number));
        }
        let mut message = Message::new(GENL_ID_CTRL, Flags::ACK);
        message.bytes(&[CTRL_CMD_GETFAMILY, CTRL_VERSION, 0, 0]);
        message.text(CTRL_ATTR_FAMILY_NAME, name);
        let bodies = match self.socket.exchange(message) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            result => result?,
        };
        let number = generic_attributes(&bodies).find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID);
        let number = number.and_then(|(_, value)| Some(u16::from_ne_bytes(*value.first_chunk()?)));
        self.families.extend(number.map(|number| (name, number)));
        Ok(number)
    }

    /// Sends a command of a family with the attributes that `fill` adds; the bodies of the answers come back.
    ///
    /// # Errors
    /// When the kernel refuses; `Unsupported` when it has no such family.
    pub fn call(
        &mut self,
        family: &'static str,
        (command, version): (u8, u8),
        flags: Flags,
        fill: impl FnOnce(&mut Message),
    ) -> io::Result<Vec<Vec<u8>>> {
        let number = self.family(family)?.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        let mut message = Message::new(number, flags);
        message.bytes(&[command, version, 0, 0]);
        fill(&mut message);
        self.socket.exchange(message)
    }
}

/// The attributes of all messages of generic netlink.
pub fn generic_attributes(bodies: &[Vec<u8>]) -> impl Iterator<Item = (u16, &[u8])> {
    bodies.iter().flat_map(|body| attributes(body.get(GENERIC_HEADER..).unwrap_or_default()))
}

/// A number at the begin of an attribute.
#[must_use]
pub fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*value.first_chunk()?))
}

/// A text up to its zero.
#[must_use]
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_padding_is_no_content() {
        let mut message = Message::new(7, Flags::ACK);
        message.bytes(&[1, 1, 0, 0]);
        message.text(2, "wg0");
        message.nest(8, |peers| {
            peers.nest(0, |peer| {
                peer.attribute(1, &[9; 5]);
                peer.attribute(5, &25_u16.to_ne_bytes());
            });
        });
        let packet = [message.clone().finish(3).expect("short"), message.finish(4).expect("short")].concat();
        let read: Vec<_> = messages(&packet).collect();
        let sequences: Vec<_> = read.iter().map(|message| (message.kind, message.sequence)).collect();
        assert_eq!(sequences, [(7, 3), (7, 4)]);
        let top: Vec<_> = attributes(&read[0].body[4..]).collect();
        assert_eq!(top[0], (2, &b"wg0\0"[..]));
        let peer = attributes(top[1].1).next().expect("a peer");
        let fields: Vec<_> = attributes(peer.1).collect();
        assert_eq!((top[1].0, peer.0), (8, 0), "marks are no part of the type");
        assert_eq!(fields, [(1, &[9_u8; 5][..]), (5, &25_u16.to_ne_bytes()[..])]);
    }

    #[test]
    fn an_attribute_that_is_too_long_is_refused() {
        let mut message = Message::new(1, Flags::ACK);
        message.nest(1, |all| all.attribute(2, &[0; 65_536]));
        assert!(message.finish(1).is_err());
    }

    #[test]
    fn the_kernel_tells_its_families() {
        let mut generic = Generic::open().expect("a socket");
        assert!(generic.family("nlctrl").expect("an answer").is_some_and(|number| number == GENL_ID_CTRL));
        assert_eq!(generic.family("corten-none").expect("an answer"), None);
        let refused = generic.call("corten-none", (1, 1), Flags::ACK, |_| {});
        assert_eq!(refused.map_err(|error| error.kind()), Err(io::ErrorKind::Unsupported));
    }

    #[test]
    fn fuzz_any_packet_ends() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let most = bytes.len() / ATTRIBUTE_HEADER;
            assert!(messages(bytes).count() <= most);
            assert!(attributes(bytes).count() <= most);
            let _ = (code(bytes), number(bytes), text(bytes));
        });
    }
}
