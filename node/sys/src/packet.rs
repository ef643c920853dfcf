//! Packets of a link, both ways, as the kernel hands them to whoever looks: a packet socket with the looker's filter.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::error::failed;
use crate::ffi::check;
use crate::{Error, Result};

/// Most instructions of a filter (`BPF_MAXINSNS`).
pub const INSTRUCTIONS_MAX: usize = 4096;
/// Packets that wait to be read, bytes; what comes when it is full is lost, and counted.
const WAITING_BYTES: libc::c_int = 4 << 20;
/// A VLAN tag within an Ethernet header.
const TAG_BYTES: usize = 4;
/// The two hardware addresses that stand before the tag.
const BEFORE_TAG: usize = 12;
/// The usual tag, of a kernel that does not say which it was.
const DOT1Q: u16 = 0x8100;
/// Room for a time and for what the kernel took out of the packet.
const CONTROL_BYTES: usize = 256;

/// An instruction of classic BPF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// Instructions to pass over when the condition holds.
    pub jump_true: u8,
    /// Instructions to pass over when it does not.
    pub jump_false: u8,
    /// Number, offset or address.
    pub operand: u32,
}

/// What to look at.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Index of the link.
    pub link: u32,
    /// Also what is meant for other machines, where the link hears it.
    pub promiscuous: bool,
    /// Bytes of each packet that are wanted.
    pub snap_bytes: usize,
    /// Which packets; all without a filter.
    pub filter: &'a [Instruction],
}

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its beginning.
    pub bytes: &'a [u8],
    /// Its whole length, bytes.
    pub length: usize,
    /// When it passed, since the Unix epoch.
    pub at: Duration,
    /// Whether this machine sent it.
    pub is_outgoing: bool,
}

/// Looks at a link for as long as it exists.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    /// Room for a tag that the kernel took out, then for a packet.
    buffer: Box<[u8]>,
    snap_bytes: usize,
}

impl Capture {
    /// Begins to look.
    pub fn open(settings: &Settings<'_>) -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Without a protocol nothing arrives before the filter is in its place.
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)
            .map_err(failed("open", "a packet socket"))?;
        filter(&socket, settings.filter)?;
        let enable: libc::c_int = 1;
        set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &enable)
            .and_then(|()| set(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &enable))
            .map_err(failed("prepare", "a packet socket"))?;
        // Machines in containers may not force this; they have the usual buffer.
        let _ = set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &WAITING_BYTES);
        let link = libc::c_int::try_from(settings.link)
            .map_err(|_| Error::new("find the link", settings.link.to_string(), io::ErrorKind::NotFound))?;
        bind(&socket, link, libc::ETH_P_ALL as u16).map_err(failed("look at the link", link))?;
        if settings.promiscuous {
            let membership = libc::packet_mreq {
                mr_ifindex: link,
                mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
                mr_alen: 0,
                mr_address: [0; 8],
            };
            set(&socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)
                .map_err(failed("hear what is meant for others on the link", link))?;
        }
        let buffer = vec![0; TAG_BYTES + settings.snap_bytes].into_boxed_slice();
        Ok(Self { socket, buffer, snap_bytes: settings.snap_bytes })
    }

    /// The next packet; `None` if there is none yet, then poll the descriptor.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>> {
        let place = self.buffer.get_mut(TAG_BYTES..).unwrap_or_default();
        let received = loop {
            match receive(&self.socket, place) {
                Ok(received) => break received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", "a packet socket")(error)),
            }
        };
        let Received { captured, length, at, is_outgoing, tag } = received;
        let packet = |bytes, length| Some(Packet { bytes, length, at, is_outgoing });
        let end = TAG_BYTES + captured;
        if let Some(tag) = tag.filter(|_| captured >= BEFORE_TAG) {
            self.buffer.copy_within(TAG_BYTES..TAG_BYTES + BEFORE_TAG, 0);
            if let Some(place) = self.buffer.get_mut(BEFORE_TAG..BEFORE_TAG + TAG_BYTES) {
                place.copy_from_slice(&tag);
            }
            let bytes = self.buffer.get(..end.min(self.snap_bytes)).unwrap_or_default();
            return Ok(packet(bytes, length + TAG_BYTES));
        }
        Ok(packet(self.buffer.get(TAG_BYTES..end).unwrap_or_default(), length))
    }

    /// Packets that were lost since this was last asked, because they were not read quickly enough.
    pub fn lost(&self) -> Result<u32> {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = size::<libc::tpacket_stats>();
        // SAFETY: the kernel writes at most `length` bytes to `statistics`, which has that many.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        check(result).map_err(failed("ask about lost packets of", "a packet socket"))?;
        Ok(statistics.tp_drops)
    }
}

impl AsRawFd for Capture {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What one read gave.
struct Received {
    captured: usize,
    length: usize,
    at: Duration,
    is_outgoing: bool,
    tag: Option<[u8; TAG_BYTES]>,
}

/// Room for control messages, aligned as they are.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

fn receive(socket: &OwnedFd, place: &mut [u8]) -> io::Result<Received> {
    let mut from = address(0, 0);
    let mut control = Control([0; CONTROL_BYTES]);
    let mut part = libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: place.len() };
    // SAFETY: a message header is plain data, and all zeros is one without any parts.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = (&raw mut from).cast();
    header.msg_namelen = size::<libc::sockaddr_ll>();
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES as _;
    // SAFETY: the header's parts are valid for the call and as long as it says.
    let length = check(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_TRUNC) })?;
    // With MSG_TRUNC this is the packet's length, not how much of it was written.
    let length = usize::try_from(length).unwrap_or_default();
    let (at, tag) = notes(&header);
    let is_outgoing = from.sll_pkttype == libc::PACKET_OUTGOING;
    Ok(Received { captured: length.min(place.len()), length, at, is_outgoing, tag })
}

/// When the packet passed, and the VLAN tag that the kernel took out of it.
fn notes(header: &libc::msghdr) -> (Duration, Option<[u8; TAG_BYTES]>) {
    let (mut at, mut tag) = (Duration::ZERO, None);
    // SAFETY: the kernel filled in the header that it was given, so that it and its control messages are well formed.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: it points to a control message within the header's buffer; see above.
        let message = unsafe { next.read() };
        match (message.cmsg_level, message.cmsg_type) {
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS) => {
                // SAFETY: the data of this message is a time; it need not be aligned.
                let time = unsafe { libc::CMSG_DATA(next).cast::<libc::timespec>().read_unaligned() };
                at = since_epoch(time);
            }
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                // SAFETY: the data of this message is that structure; it need not be aligned.
                let notes = unsafe { libc::CMSG_DATA(next).cast::<libc::tpacket_auxdata>().read_unaligned() };
                tag = tag_of(&notes);
            }
            _ => {}
        }
        // SAFETY: both are what they were above.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    (at, tag)
}

fn since_epoch(time: libc::timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn tag_of(notes: &libc::tpacket_auxdata) -> Option<[u8; TAG_BYTES]> {
    let has = |flag| notes.tp_status & flag != 0;
    let kind = if has(libc::TP_STATUS_VLAN_TPID_VALID) { notes.tp_vlan_tpid } else { DOT1Q };
    let [a, b] = kind.to_be_bytes();
    let [c, d] = notes.tp_vlan_tci.to_be_bytes();
    has(libc::TP_STATUS_VLAN_VALID).then_some([a, b, c, d])
}

fn filter(socket: &OwnedFd, program: &[Instruction]) -> Result<()> {
    let Ok(length) = libc::c_ushort::try_from(program.len()) else {
        return Err(Error::new("attach", "a filter of so many instructions", io::ErrorKind::InvalidInput));
    };
    if length == 0 {
        return Ok(());
    }
    let mut instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|it| libc::sock_filter { code: it.code, jt: it.jump_true, jf: it.jump_false, k: it.operand })
        .collect();
    let program = libc::sock_fprog { len: length, filter: instructions.as_mut_ptr() };
    // The kernel reads `len` instructions, which live until after the call.
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program).map_err(failed("attach", "a filter"))
}

/// The address of a link, for packets of a protocol.
pub(crate) fn address(link: libc::c_int, protocol: u16) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        sll_protocol: protocol.to_be(),
        sll_ifindex: link,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

/// Has a packet socket send and receive packets of this protocol on a link.
pub(crate) fn bind(socket: &OwnedFd, link: libc::c_int, protocol: u16) -> io::Result<()> {
    let address = address(link, protocol);
    let length = size::<libc::sockaddr_ll>();
    // SAFETY: the kernel reads `length` bytes of the address, which has that many.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) }).map(drop)
}

/// Sets an option to a plain structure of the kernel's interface.
fn set<T: Copy>(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let value: *const T = value;
    // SAFETY: the kernel reads as many bytes as the value has, and what these point to as the callers say.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.cast(), size::<T>()) }).map(drop)
}

/// Size of a structure of the kernel's interface.
pub(crate) const fn size<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;
    use crate::namespace::{Namespaces, unshare};
    use crate::network::{Links, PeerNamespace};

    /// Accepts everything, as far as `k` bytes.
    const fn accept(bytes: u32) -> Instruction {
        Instruction { code: 0x06, jump_true: 0, jump_false: 0, operand: bytes }
    }

    /// The two ends of a cable in a namespace of their own, the first with an address.
    fn cable() -> Links {
        unshare(Namespaces::NET).unwrap();
        let mut links = Links::open().unwrap();
        let here = PeerNamespace::Process(rustix::thread::gettid().as_raw_pid() as u32);
        links.add_cable("a", "b", [2, 0, 0, 0, 0, 2], here).unwrap();
        for name in ["lo", "a", "b"] {
            links.set_up(name).unwrap();
        }
        links.add_address("a", Ipv4Addr::new(10, 9, 0, 1), 24).unwrap();
        // It carries nothing until the kernel has noticed both its ends, a second later on a host with work.
        let sender = UdpSocket::bind((Ipv4Addr::new(10, 9, 0, 1), 0)).unwrap();
        sender.set_broadcast(true).unwrap();
        let carries = (0..2000).any(|_| {
            sender.send_to(&[0], (Ipv4Addr::new(10, 9, 0, 255), 9)).unwrap();
            let pause = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
            received("b") > 0 || poll(&mut [], Some(&pause)).is_err()
        });
        assert!(carries, "the cable carries nothing");
        links
    }

    /// Packets that came to a link of this thread's network.
    fn received(link: &str) -> u64 {
        let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let row = table.lines().find_map(|line| line.trim().strip_prefix(link)?.strip_prefix(':'));
        row.and_then(|row| row.split_whitespace().nth(1)?.parse().ok()).unwrap_or_default()
    }

    fn settings(link: u32, filter: &[Instruction]) -> Settings<'_> {
        Settings { link, promiscuous: true, snap_bytes: 64, filter }
    }

    /// Bytes and lengths of what was captured until `count` packets were.
    fn packets(capture: &mut Capture, count: usize) -> Vec<(Vec<u8>, usize, bool)> {
        let mut found = Vec::new();
        while found.len() < count {
            match capture.next_packet().unwrap() {
                Some(packet) => {
                    assert!(packet.at > Duration::from_secs(1 << 30));
                    found.push((packet.bytes.to_vec(), packet.length, packet.is_outgoing));
                }
                None => {
                    let mut ready = [PollFd::new(&*capture, PollFlags::IN)];
                    let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
                    assert_eq!(poll(&mut ready, Some(&patience)).unwrap(), 1, "{} packets came", found.len());
                }
            }
        }
        found
    }

    fn in_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(work).join()).unwrap()
    }

    #[test]
    fn packets_are_cut_and_their_length_is_told() {
        in_a_thread(|| {
            let mut links = cable();
            let sender = UdpSocket::bind((Ipv4Addr::new(10, 9, 0, 1), 0)).unwrap();
            sender.set_broadcast(true).unwrap();
            // ldh [12]; jeq #0x800: only IPv4.
            let program = [
                Instruction { code: 0x28, operand: 12, ..Instruction::default() },
                Instruction { code: 0x15, jump_true: 0, jump_false: 1, operand: 0x0800 },
                accept(u32::MAX),
                accept(0),
            ];
            let link = |links: &mut Links, name: &str| links.index(name).unwrap().unwrap();
            let mut sent = Capture::open(&settings(link(&mut links, "a"), &program)).unwrap();
            let mut heard = Capture::open(&settings(link(&mut links, "b"), &program)).unwrap();
            sender.send_to(&[7; 200], (Ipv4Addr::new(10, 9, 0, 255), 9)).unwrap();
            for (capture, is_sent) in [(&mut sent, true), (&mut heard, false)] {
                let [(bytes, length, is_outgoing)] = &packets(capture, 1)[..] else { panic!("one packet") };
                // Ethernet, IPv4 and UDP headers.
                assert_eq!((bytes.len(), *length, *is_outgoing), (64, 14 + 20 + 8 + 200, is_sent));
                assert_eq!(bytes[12..14], [8, 0]);
            }
            assert!(sent.next_packet().unwrap().is_none());
            assert_eq!(sent.lost().unwrap(), 0);
        });
    }

    #[test]
    fn what_is_not_read_is_counted_as_lost() {
        in_a_thread(|| {
            let mut links = cable();
            let index = links.index("a").unwrap().unwrap();
            let capture = Capture::open(&settings(index, &[])).unwrap();
            let sender = UdpSocket::bind((Ipv4Addr::new(10, 9, 0, 1), 0)).unwrap();
            sender.set_broadcast(true).unwrap();
            for _ in 0..20_000 {
                sender.send_to(&[0; 1400], (Ipv4Addr::new(10, 9, 0, 255), 9)).unwrap();
            }
            assert!(capture.lost().unwrap() > 0);
        });
    }

    #[test]
    fn a_filter_that_never_ends_is_refused() {
        in_a_thread(|| {
            let mut links = cable();
            let index = links.index("a").unwrap().unwrap();
            let endless = [Instruction { code: 0x28, operand: 12, ..Instruction::default() }];
            let error = Capture::open(&settings(index, &endless)).unwrap_err();
            assert_eq!(error.errno(), Some(libc::EINVAL));
            assert!(Capture::open(&settings(9999, &[])).is_err());
        });
    }

    #[test]
    fn a_tag_comes_back_as_it_was() {
        let notes = libc::tpacket_auxdata {
            tp_status: libc::TP_STATUS_VLAN_VALID,
            tp_len: 0,
            tp_snaplen: 0,
            tp_mac: 0,
            tp_net: 0,
            tp_vlan_tci: 0x2005,
            tp_vlan_tpid: 0x88a8,
        };
        assert_eq!(tag_of(&notes), Some([0x81, 0, 0x20, 5]));
        let valid = notes.tp_status | libc::TP_STATUS_VLAN_TPID_VALID;
        assert_eq!(tag_of(&libc::tpacket_auxdata { tp_status: valid, ..notes }), Some([0x88, 0xa8, 0x20, 5]));
        assert_eq!(tag_of(&libc::tpacket_auxdata { tp_status: 0, ..notes }), None);
    }
}
