//! The little of IPv6 that routing needs (RFC 8200, section 3).

use std::net::Ipv6Addr;

/// Length of the fixed header, bytes.
const HEADER: usize = 40;

/// Where a packet comes from and goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Length with header, bytes; what follows is padding.
    pub length: usize,
}

/// The route of a packet; `None` when it is no whole IPv6 packet.
pub fn route(packet: &[u8]) -> Option<Route> {
    let header = packet.first_chunk::<HEADER>()?;
    let address = |from: usize| {
        let bytes: [u8; 16] = header.get(from..from + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(bytes))
    };
    let [first, _, _, _, high, low, ..] = header;
    let length = HEADER + usize::from(u16::from_be_bytes([*high, *low]));
    let is_whole = first >> 4 == 6 && packet.len() >= length;
    is_whole.then_some(())?;
    Some(Route { source: address(8)?, destination: address(24)?, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(payload: usize) -> Vec<u8> {
        let mut packet = vec![0; HEADER + payload];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&u16::try_from(payload).expect("short").to_be_bytes());
        packet[23] = 1;
        packet[39] = 2;
        packet
    }

    #[test]
    fn a_packet_says_where_it_goes_and_how_long_it_is() {
        let mut padded = packet(3);
        padded.extend([0; 5]);
        let route = route(&padded).expect("a packet");
        assert_eq!((route.source, route.destination), (Ipv6Addr::LOCALHOST, Ipv6Addr::from(2)));
        assert_eq!(route.length, HEADER + 3);
    }

    #[test]
    fn what_is_cut_off_or_of_another_version_is_no_packet() {
        let whole = packet(3);
        assert_eq!(route(&whole[..whole.len() - 1]), None);
        let mut other = whole;
        other[0] = 0x45;
        assert_eq!(route(&other), None);
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = route(bytes);
        });
    }
}
