//! Packets on their way into and out of a stack.

use std::net::Ipv6Addr;

use bytes::BytesMut;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Largest packet in the tunnel, bytes (the machines' end has the same).
pub const MTU: usize = 1280;
/// Length of the fixed header of IPv6, bytes.
const HEADER: usize = 40;
/// Length of the fixed header of TCP, bytes.
const TCP_HEADER: usize = 20;
/// Number of TCP in the header.
const TCP: u8 = 6;
/// Number of ICMPv6 in the header.
const ICMP: u8 = 58;
/// The type of ICMPv6 that asks for an answer.
const ECHO_REQUEST: u8 = 128;
/// Flags of TCP: `SYN` and `ACK`.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It asks for a connection.
    Opening {
        /// To this port of ours.
        to: u16,
        /// From this port of the machine.
        from: u16,
    },
    /// Another one of TCP.
    Segment,
    /// A machine asks whether we are there.
    Echo,
}

/// Where a packet comes from and what it is, if it is one of the few that concern us: TCP, or the question whether we are
/// there, to our address and of the tunnel's size.
pub fn look(packet: &[u8], own: Ipv6Addr) -> Option<(Ipv6Addr, Kind)> {
    let header = packet.first_chunk::<HEADER>()?;
    let address = |from: usize| {
        let bytes: [u8; 16] = header.get(from..from + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(bytes))
    };
    let (source, destination) = (address(8)?, address(24)?);
    let is_ours = header[0] >> 4 == 6 && packet.len() <= MTU && destination == own && source != own;
    is_ours.then_some(())?;
    let payload = packet.get(HEADER..)?;
    let kind = match header[6] {
        TCP => segment(payload)?,
        ICMP if payload.first() == Some(&ECHO_REQUEST) => Kind::Echo,
        _ => return None,
    };
    Some((source, kind))
}

fn segment(payload: &[u8]) -> Option<Kind> {
    let header = payload.first_chunk::<TCP_HEADER>()?;
    let port = |high: usize| u16::from_be_bytes([header[high], header[high + 1]]);
    let is_opening = header[13] & (SYN | ACK) == SYN;
    Some(if is_opening { Kind::Opening { to: port(2), from: port(0) } } else { Kind::Segment })
}

/// The way into and out of a stack: one packet in, any number out. What comes out is bounded by what is in the sockets.
#[derive(Debug, Default)]
pub struct Line {
    /// The packet to take.
    pub inbound: Option<BytesMut>,
    /// Packets to send.
    pub outbound: Vec<BytesMut>,
}

/// The packet that is taken.
pub struct Taken(BytesMut);

/// Room for a packet.
pub struct Room<'a>(&'a mut Vec<BytesMut>);

impl RxToken for Taken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut packet = BytesMut::zeroed(length);
        let result = fill(&mut packet);
        self.0.push(packet);
        result
    }
}

impl Device for Line {
    type RxToken<'a> = Taken;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Taken, Room<'_>)> {
        let packet = self.inbound.take()?;
        Some((Taken(packet), Room(&mut self.outbound)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        Some(Room(&mut self.outbound))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    const MACHINE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7);

    fn packet(to: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; HEADER];
        packet[0] = 0x60;
        packet[6] = protocol;
        packet[8..24].copy_from_slice(&MACHINE.octets());
        packet[24..40].copy_from_slice(&to.octets());
        packet.extend_from_slice(payload);
        packet
    }

    fn tcp(flags: u8) -> [u8; TCP_HEADER] {
        let mut header = [0; TCP_HEADER];
        header[0..4].copy_from_slice(&[0x80, 0x01, 0x1f, 0x9a]);
        header[13] = flags;
        header
    }

    #[test]
    fn tcp_and_the_question_whether_we_are_there_concern_us() {
        let opening = Kind::Opening { to: 0x1f9a, from: 0x8001 };
        assert_eq!(look(&packet(OWN, TCP, &tcp(SYN)), OWN), Some((MACHINE, opening)));
        assert_eq!(look(&packet(OWN, TCP, &tcp(SYN | ACK)), OWN), Some((MACHINE, Kind::Segment)));
        assert_eq!(look(&packet(OWN, ICMP, &[ECHO_REQUEST, 0]), OWN), Some((MACHINE, Kind::Echo)));
    }

    #[test]
    fn nothing_else_does() {
        const UDP: u8 = 17;
        let other = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 8);
        let long = packet(OWN, ICMP, &[ECHO_REQUEST; MTU]);
        for dropped in [
            packet(other, TCP, &tcp(SYN)),
            packet(OWN, UDP, &[0; 20]),
            packet(OWN, 0, &tcp(SYN)),
            packet(OWN, ICMP, &[135, 0]),
            packet(OWN, ICMP, &[]),
            packet(OWN, TCP, &tcp(SYN)[..19]),
            long,
        ] {
            assert_eq!(look(&dropped, OWN), None, "{dropped:?}");
        }
        assert_eq!(look(&packet(OWN, TCP, &tcp(SYN)), MACHINE), None);
    }
}
