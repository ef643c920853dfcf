//! Captured packets as lines for people.
//!
//! ```text
//! bytes of the classic format ──▶ Reader ──▶ Captured ──▶ line
//! ```
//!
//! Whoever wants to know more than addresses and ports writes the capture to a file and opens it with a program for it.

use std::time::Duration;

use etherparse::{LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpSlice, TransportSlice};
use jiff::Timestamp;

/// Header of a capture, bytes.
const HEADER: usize = 24;
/// Header of a packet, bytes.
const RECORD: usize = 16;
/// No capture has packets of more bytes.
const PACKET_MAX: usize = 1 << 20;
/// Packets with Ethernet headers.
const ETHERNET: u32 = 1;

/// A packet and when it passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Since the Unix epoch.
    pub at: Duration,
    /// Its beginning.
    pub bytes: Vec<u8>,
    /// Its whole length, bytes.
    pub length: u32,
    /// Begins with an Ethernet header instead of an IP one.
    pub is_ethernet: bool,
}

/// How a capture is written, by the header it begins with.
#[derive(Clone, Copy, Debug)]
struct Layout {
    is_big_endian: bool,
    nanos_per_unit: u32,
    is_ethernet: bool,
}

impl Layout {
    fn of(header: &[u8; HEADER]) -> Option<Self> {
        let magic = u32::from_le_bytes(*header.first_chunk()?);
        let (is_big_endian, nanos_per_unit) = match magic {
            0xa1b2_c3d4 => (false, 1000),
            0xa1b2_3c4d => (false, 1),
            0xd4c3_b2a1 => (true, 1000),
            0x4d3c_b2a1 => (true, 1),
            _ => return None,
        };
        let layout = Self { is_big_endian, nanos_per_unit, is_ethernet: false };
        let is_ethernet = layout.word(header, 20)? == ETHERNET;
        Some(Self { is_ethernet, ..layout })
    }

    fn word(self, bytes: &[u8], at: usize) -> Option<u32> {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(if self.is_big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
    }
}

/// Takes a capture as it comes, in pieces.
#[derive(Debug, Default)]
pub struct Reader {
    pending: Vec<u8>,
    layout: Option<Layout>,
}

impl Reader {
    /// The packets that this piece completes.
    ///
    /// # Errors
    /// When this is no capture in the classic format.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<Captured>, &'static str> {
        self.pending.extend_from_slice(piece);
        let mut taken = 0;
        let layout = match self.layout {
            Some(layout) => layout,
            None => {
                let Some(header) = self.pending.first_chunk() else { return Ok(Vec::new()) };
                taken = HEADER;
                *self.layout.insert(Layout::of(header).ok_or("the machine sent no capture in pcap format")?)
            }
        };
        let mut packets = Vec::new();
        while let Some((packet, bytes)) = next(layout, self.pending.get(taken..).unwrap_or_default())? {
            packets.push(packet);
            taken += bytes;
        }
        self.pending.drain(..taken);
        Ok(packets)
    }
}

/// The first packet, and the bytes that it takes; nothing if it is not whole.
fn next(layout: Layout, bytes: &[u8]) -> Result<Option<(Captured, usize)>, &'static str> {
    let word = |at| layout.word(bytes, at);
    let (Some(seconds), Some(fraction), Some(kept), Some(length)) = (word(0), word(4), word(8), word(12))
    else {
        return Ok(None);
    };
    let kept = usize::try_from(kept).unwrap_or(usize::MAX);
    if kept > PACKET_MAX {
        return Err("the machine sent a packet larger than packets are");
    }
    let Some(packet) = bytes.get(RECORD..RECORD + kept) else { return Ok(None) };
    let fraction = Duration::from_nanos(u64::from(fraction) * u64::from(layout.nanos_per_unit));
    let at = Duration::from_secs(seconds.into()) + fraction;
    let is_ethernet = layout.is_ethernet;
    Ok(Some((Captured { at, bytes: packet.to_vec(), length, is_ethernet }, RECORD + kept)))
}

/// A packet as a line without its newline: when, from where to where, which protocol, how long.
#[must_use]
pub fn line(packet: &Captured) -> String {
    let at = Timestamp::from_duration(packet.at.try_into().unwrap_or_default()).unwrap_or_default();
    let sliced = if packet.is_ethernet {
        LaxSlicedPacket::from_ethernet(&packet.bytes).ok()
    } else {
        LaxSlicedPacket::from_ip(&packet.bytes).ok()
    };
    let what = sliced.as_ref().map_or_else(|| "?".to_owned(), describe);
    format!("{at:.6} {what} {} bytes", packet.length)
}

fn describe(packet: &LaxSlicedPacket<'_>) -> String {
    let (source, destination, protocol) = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => (
            ip.header().source_addr().to_string(),
            ip.header().destination_addr().to_string(),
            ip.payload_ip_number(),
        ),
        Some(LaxNetSlice::Ipv6(ip)) => (
            format!("[{}]", ip.header().source_addr()),
            format!("[{}]", ip.header().destination_addr()),
            ip.payload().ip_number,
        ),
        _ => return hardware(packet),
    };
    match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            format!(
                "{source}:{} > {destination}:{} TCP [{}]",
                tcp.source_port(),
                tcp.destination_port(),
                flags(tcp)
            )
        }
        Some(TransportSlice::Udp(udp)) => {
            format!("{source}:{} > {destination}:{} UDP", udp.source_port(), udp.destination_port())
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            format!("{source} > {destination} ICMP {}/{}", icmp.type_u8(), icmp.code_u8())
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            format!("{source} > {destination} ICMPv6 {}/{}", icmp.type_u8(), icmp.code_u8())
        }
        None => {
            let number = protocol.0.to_string();
            format!("{source} > {destination} {}", protocol.keyword_str().unwrap_or(&number))
        }
    }
}

fn flags(tcp: &TcpSlice<'_>) -> String {
    let all =
        [(tcp.syn(), "SYN"), (tcp.fin(), "FIN"), (tcp.rst(), "RST"), (tcp.psh(), "PSH"), (tcp.ack(), "ACK")];
    all.iter().filter_map(|(is_set, name)| is_set.then_some(*name)).collect::<Vec<_>>().join(",")
}

/// What is no IP packet.
fn hardware(packet: &LaxSlicedPacket<'_>) -> String {
    let Some(LinkSlice::Ethernet2(frame)) = &packet.link else { return "?".to_owned() };
    let address = |octets: [u8; 6]| octets.map(|octet| format!("{octet:02x}")).join(":");
    let kind = match packet.net {
        Some(LaxNetSlice::Arp(_)) => "ARP".to_owned(),
        _ => format!("0x{:04x}", frame.ether_type().0),
    };
    format!("{} > {} {kind}", address(frame.source()), address(frame.destination()))
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    /// A capture of one packet, as a little-endian machine writes it.
    fn capture(link_type: u32, packet: &[u8]) -> Vec<u8> {
        let length = u32::try_from(packet.len()).expect("small");
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        let header = words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65536, link_type]);
        [header, words(&[1_764_392_000, 250_000, length, length + 100]), packet.to_vec()].concat()
    }

    fn lines(bytes: &[u8]) -> Vec<String> {
        Reader::default().push(bytes).expect("a capture").iter().map(line).collect()
    }

    #[test]
    fn packets_are_lines_with_ends_and_protocols() {
        let ethernet = || PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let mut tcp = Vec::new();
        let builder = ethernet().ipv4([10, 5, 0, 2], [10, 5, 0, 1], 64).tcp(50000, 443, 7, 8).syn().ack(9);
        builder.write(&mut tcp, &[]).expect("a packet");
        let at = "2025-11-29T04:53:20.250000Z";
        assert_eq!(
            lines(&capture(1, &tcp)),
            [format!("{at} 10.5.0.2:50000 > 10.5.0.1:443 TCP [SYN,ACK] 154 bytes")]
        );
        let mut udp = Vec::new();
        let (one, two) = ([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0xfe; 16]);
        PacketBuilder::ipv6(one, two, 64).udp(53, 9).write(&mut udp, &[1, 2]).expect("a packet");
        let expected = "[fd00::1]:53 > [fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe]:9 UDP 150 bytes";
        assert_eq!(lines(&capture(101, &udp)), [format!("{at} {expected}")]);
        let unknown = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 0x88, 0xcc], &[0; 10]].concat();
        let expected = "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff 0x88cc 124 bytes";
        assert_eq!(lines(&capture(1, &unknown)), [format!("{at} {expected}")]);
    }

    #[test]
    fn pieces_do_not_matter_and_other_formats_are_told() {
        let whole = [capture(1, &[0; 60]), capture(1, &[0; 60])[HEADER..].to_vec()].concat();
        let mut reader = Reader::default();
        let one_by_one: Vec<_> =
            whole.chunks(1).flat_map(|byte| reader.push(byte).expect("a capture")).collect();
        assert_eq!(one_by_one, Reader::default().push(&whole).expect("a capture"));
        assert_eq!(one_by_one.len(), 2);
        assert!(Reader::default().push(&[0; HEADER]).is_err());
        let mut endless = capture(1, &[]);
        endless[HEADER + 8..HEADER + 12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Reader::default().push(&endless).is_err());
    }

    #[test]
    fn nothing_makes_the_reader_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = Reader::default().push(bytes);
            for link_type in [1, 101] {
                let packets = Reader::default().push(&capture(link_type, bytes)).unwrap_or_default();
                packets.iter().for_each(|packet| drop(line(packet)));
            }
        });
    }
}
