//! A machine of our own making: it has a place in the manager's network, and sends there what no honest machine sends.
//!
//! ```text
//! Provision (an old machine, which needs no token of its own) ─▶ place
//! packet ─▶ WireGuard engine that sends to anybody ─▶ manager ─▶ ? ─▶ another stranger's engine ─▶ packet
//! ```

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::BytesMut;
use corten_api::sidero::link::{ProvisionRequest, ProvisionResponse};
use corten_base::Rng;
use corten_harness::Lab;
use corten_wireguard::{Engine, Output, PrivateKey, PublicKey};

use super::wire;

/// How long the socket waits before timers are looked at.
const TICK: Duration = Duration::from_millis(100);
/// Largest datagram, bytes.
const BUFFER: usize = 2048;
/// What a machine says that is too old to have a token of its own.
const OLD_VERSION: &str = "v1.5.5";

/// A machine in the manager's network.
#[derive(Debug)]
pub struct Stranger {
    engine: Engine,
    socket: UdpSocket,
    /// Its address in the tunnel.
    pub address: Ipv6Addr,
    /// The manager's address in the tunnel.
    pub manager: Ipv6Addr,
    key: PublicKey,
    endpoint: SocketAddr,
}

impl Stranger {
    /// Joins as an old machine. `lab` is the network in which the manager is, if it is in one.
    pub fn join(machine_api: SocketAddr, lab: Option<&Lab>, uuid: &str, token: &str) -> Result<Self> {
        let key = PrivateKey::generate(&Rng::kernel());
        let request = ProvisionRequest {
            talos_version: Some(OLD_VERSION.to_owned()),
            node_unique_token: None,
            ..wire::newcomer(uuid, &key.public().to_string(), token)
        };
        let answer = wire::provision(machine_api, request)?;
        let answer = answer.map_err(|status| anyhow!("the manager refuses a machine: {status}"))?;
        let bind = || UdpSocket::bind("0.0.0.0:0");
        let socket = match lab {
            Some(lab) => lab.run(bind)?,
            None => bind(),
        };
        let socket = socket.context("cannot open a socket")?;
        socket.set_read_timeout(Some(TICK)).context("cannot set a time limit")?;
        Self::at(&key, &answer, socket)
    }

    fn at(own: &PrivateKey, answer: &ProvisionResponse, socket: UdpSocket) -> Result<Self> {
        let address = answer.node_address_prefix.split('/').next().unwrap_or_default();
        let address: Ipv6Addr = address.parse().context("the place has no address")?;
        let manager: Ipv6Addr = answer.server_address.parse().context("the manager has no address")?;
        let key = answer.server_public_key.parse::<PublicKey>();
        let key = key.map_err(|_| anyhow!("the manager has no key"))?;
        let endpoint = answer.server_endpoint.first().context("the manager has no endpoint")?;
        let endpoint: SocketAddr = endpoint.parse().with_context(|| format!("{endpoint} is no endpoint"))?;
        let mut stranger =
            Self { engine: Engine::new(own, address), socket, address, manager, key, endpoint };
        stranger.talk_to(manager);
        Ok(stranger)
    }

    /// From now on packets with this other end are sent and taken, and no others. The way is by the manager anyhow.
    pub fn talk_to(&mut self, address: Ipv6Addr) {
        self.engine.set_peer(self.key, address, Some(self.endpoint), None);
    }

    /// Sends an echo request (RFC 4443).
    pub fn send_echo(&mut self, to: Ipv6Addr) -> Result<()> {
        let output = self.engine.send(echo_request(self.address, to));
        self.carry_out(output).map(drop)
    }

    /// Shakes hands with the manager, so that it knows where we are.
    pub fn greet(&mut self, deadline: Duration) -> Result<()> {
        let output = self.engine.greet(&self.key);
        self.carry_out(output)?;
        let start = Instant::now();
        while self.engine.status(&self.key).is_none_or(|status| status.handshake_age.is_none()) {
            ensure!(start.elapsed() < deadline, "the manager does not shake hands");
            self.listen_once()?;
        }
        Ok(())
    }

    /// Takes what comes until a packet is there, or for so long. Gives the packets.
    pub fn listen(&mut self, duration: Duration) -> Result<Vec<BytesMut>> {
        let start = Instant::now();
        loop {
            let packets = self.listen_once()?;
            if !packets.is_empty() || start.elapsed() >= duration {
                return Ok(packets);
            }
        }
    }

    fn listen_once(&mut self) -> Result<Vec<BytesMut>> {
        let mut buffer = [0; BUFFER];
        let output = match self.socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                self.engine.receive(from, BytesMut::from(buffer.get(..length).unwrap_or_default()))
            }
            // Nothing came in this while.
            Err(_) => self.engine.tick(1),
        };
        self.carry_out(output)
    }

    fn carry_out(&mut self, output: Output) -> Result<Vec<BytesMut>> {
        for (to, datagram) in output.datagrams {
            self.socket.send_to(&datagram, to).with_context(|| format!("cannot send to {to}"))?;
        }
        Ok(output.packets)
    }
}

/// An ICMPv6 echo request in an IPv6 packet.
fn echo_request(from: Ipv6Addr, to: Ipv6Addr) -> BytesMut {
    const ICMP: u8 = 58;
    const ECHO_REQUEST: u8 = 128;
    const BODY: [u8; 16] = *b"corten-stranger!";
    let length = 8 + BODY.len() as u16;
    let mut message = vec![ECHO_REQUEST, 0, 0, 0, 0, 1, 0, 1];
    message.extend(BODY);
    let mut pseudo: Vec<u8> = [from.octets(), to.octets()].concat();
    pseudo.extend([0, 0]);
    pseudo.extend(length.to_be_bytes());
    pseudo.extend([0, 0, 0, ICMP]);
    let sum = checksum(pseudo.iter().chain(&message).copied());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([ICMP, 64]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(message);
    BytesMut::from(packet.as_slice())
}

/// The Internet checksum of an even number of bytes.
fn checksum(bytes: impl Iterator<Item = u8>) -> u16 {
    let bytes: Vec<u8> = bytes.collect();
    let word = |pair: &[u8]| (u32::from(pair[0]) << 8) + pair.get(1).map_or(0, |low| u32::from(*low));
    let words = bytes.chunks(2).map(word);
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_request_has_the_checksum_that_proves_itself() {
        let (from, to) = ("fdae::5".parse().unwrap(), "fdae::1".parse().unwrap());
        let packet = echo_request(from, to);
        assert_eq!((packet.len(), packet[6]), (40 + 24, 58));
        let mut whole: Vec<u8> = packet[8..40].to_vec();
        whole.extend([0, 0, 0, 24, 0, 0, 0, 58]);
        whole.extend(&packet[40..]);
        assert_eq!(checksum(whole.into_iter()), 0);
    }
}
