//! The classic format of libpcap: a header, then a record for each packet. Numbers are little-endian, times in
//! microseconds (<https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/>).

use bytes::{BufMut as _, BytesMut};
use corten_sys::packet::Packet;

/// Packets with Ethernet headers (`LINKTYPE_ETHERNET`).
pub const ETHERNET: u32 = 1;
/// Packets that begin with the header of IPv4 or IPv6 (`LINKTYPE_RAW`).
pub const RAW_IP: u32 = 101;

const MAGIC: u32 = 0xa1b2_c3d4;
const VERSION: (u16, u16) = (2, 4);
const HEADER_BYTES: usize = 24;

/// What a file says about all its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// What packets begin with.
    pub link_type: u32,
    /// Most bytes that are kept of each.
    pub snap_bytes: u32,
}

impl Format {
    /// The header.
    #[must_use]
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let mut rest = &mut header[..];
        rest.put_u32_le(MAGIC);
        rest.put_u16_le(VERSION.0);
        rest.put_u16_le(VERSION.1);
        // Offset and accuracy of times, which nobody fills in.
        rest.put_u64_le(0);
        rest.put_u32_le(self.snap_bytes);
        rest.put_u32_le(self.link_type);
        header
    }

    /// Appends the record of a packet.
    pub fn record(&self, packet: &Packet<'_>, out: &mut BytesMut) {
        let word = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        // The format's seconds end in 2106.
        out.put_u32_le(u32::try_from(packet.at.as_secs()).unwrap_or(u32::MAX));
        out.put_u32_le(packet.at.subsec_micros());
        out.put_u32_le(word(packet.bytes.len()));
        out.put_u32_le(word(packet.length));
        out.put_slice(packet.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bytes_of_a_file() {
        let format = Format { link_type: RAW_IP, snap_bytes: 65536 };
        let header = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 101, 0, 0, 0];
        assert_eq!(format.header(), header);
        let at = Duration::new(0x0102_0304, 5_000_000);
        let mut out = BytesMut::new();
        format.record(&Packet { bytes: &[0x45, 0], length: 1500, at, is_outgoing: true }, &mut out);
        assert_eq!(out[..], [4, 3, 2, 1, 0x88, 0x13, 0, 0, 2, 0, 0, 0, 0xdc, 5, 0, 0, 0x45, 0]);
    }
}
