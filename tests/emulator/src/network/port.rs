//! One machine's end of the tunnel.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use corten_wireguard::{Engine, Output, PublicKey};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use super::Network;
use crate::faults::Faults;

/// Largest datagram, bytes.
const BUFFER: usize = 2048;
/// Datagrams that are taken before other machines have their turn.
const BATCH: usize = 32;

/// What carries datagrams to the manager.
#[derive(Debug)]
pub enum Carrier {
    /// UDP.
    Udp(UdpSocket),
    /// A gRPC stream, which takes datagrams from a queue.
    Stream(mpsc::Sender<Bytes>),
}

/// One machine's end of the tunnel.
#[derive(Debug)]
pub struct Port {
    address: Ipv6Addr,
    engine: Mutex<Engine>,
    carrier: Carrier,
    faults: watch::Receiver<Faults>,
    network: Network,
}

impl Port {
    /// An end with this address.
    #[must_use]
    pub const fn new(
        address: Ipv6Addr,
        engine: Engine,
        carrier: Carrier,
        faults: watch::Receiver<Faults>,
        network: Network,
    ) -> Self {
        Self { address, engine: Mutex::new(engine), carrier, faults, network }
    }

    /// Its address in the tunnel.
    #[must_use]
    pub const fn address(&self) -> Ipv6Addr {
        self.address
    }

    /// Since the last handshake with the peer; `None` before the first one.
    #[must_use]
    pub fn handshake_age(&self, peer: &PublicKey) -> Option<Duration> {
        self.engine.lock().status(peer).and_then(|status| status.handshake_age)
    }

    /// Calls the peer.
    pub fn greet(&self, peer: &PublicKey) {
        let output = self.engine.lock().greet(peer);
        self.carry_out(output);
    }

    /// Takes a packet that the machine sends.
    pub fn send(&self, packet: BytesMut) {
        let output = self.engine.lock().send(packet);
        self.carry_out(output);
    }

    /// Takes a datagram from the manager.
    pub fn receive(&self, from: SocketAddr, datagram: BytesMut) {
        if self.is_silent() {
            return;
        }
        let output = self.engine.lock().receive(from, datagram);
        self.carry_out(output);
    }

    /// Looks at the timers.
    pub fn tick(&self) {
        let output = {
            let mut engine = self.engine.lock();
            engine.sweep();
            engine.tick(1)
        };
        self.carry_out(output);
    }

    /// Receives datagrams for ever; returns at once when they come by a stream.
    pub async fn run(&self) {
        let Carrier::Udp(socket) = &self.carrier else { return };
        loop {
            if socket.readable().await.is_ok() {
                self.take(socket);
            }
            // An earlier datagram that found nobody makes the socket ready too: others have their turn first.
            tokio::task::yield_now().await;
        }
    }

    fn take(&self, socket: &UdpSocket) {
        let mut buffer = [0; BUFFER];
        for _ in 0..BATCH {
            match socket.try_recv_from(&mut buffer) {
                Ok((length, from)) => {
                    self.receive(from, BytesMut::from(buffer.get(..length).unwrap_or_default()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {}
            }
        }
    }

    /// Sends what the engine wants sent. What cannot be sent now is lost, as on any line.
    fn carry_out(&self, output: Output) {
        if !self.is_silent() {
            for (to, datagram) in output.datagrams {
                match &self.carrier {
                    Carrier::Udp(socket) => drop(socket.try_send_to(&datagram, to)),
                    Carrier::Stream(queue) => drop(queue.try_send(datagram.freeze())),
                }
            }
        }
        self.network.deliver(output.packets);
    }

    fn is_silent(&self) -> bool {
        self.faults.borrow().silent
    }
}
