//! The tunnel's line: datagrams to machines, by UDP or through their streams.

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use corten_wireguard::{Engine, Output, PublicKey};
use parking_lot::Mutex;
use tokio::net::UdpSocket;

use crate::carrier::Carriers;
use crate::waiting::Waiting;

/// WireGuard and the ways of its datagrams.
pub struct Line {
    pub engine: Mutex<Engine>,
    pub udp: UdpSocket,
    pub carriers: Mutex<Carriers>,
    /// Machines by virtual address.
    pub virtual_peers: Mutex<HashMap<Ipv6Addr, PublicKey>>,
    pub waiting: Waiting,
}

impl Line {
    /// A line without machines.
    pub fn new(engine: Engine, udp: UdpSocket) -> Self {
        Self {
            engine: Mutex::new(engine),
            udp,
            carriers: Mutex::default(),
            virtual_peers: Mutex::default(),
            waiting: Waiting::default(),
        }
    }

    /// Sends a packet of this end to the machine that has its destination.
    pub fn send(&self, packet: BytesMut) {
        let output = self.engine.lock().send(packet);
        self.carry_out(output);
    }

    /// Sends what the engine wants sent; packets for this end come back. What cannot be sent now is lost, as on any line.
    pub fn carry_out(&self, output: Output) -> Vec<BytesMut> {
        for (to, datagram) in output.datagrams {
            match to {
                SocketAddr::V6(to) if self.virtual_peers.lock().contains_key(to.ip()) => {
                    self.carriers.lock().send(*to.ip(), Bytes::from(datagram));
                }
                to => drop(self.udp.try_send_to(&datagram, to)),
            }
        }
        if let Some(address) = output.shaken {
            self.waiting.wake(address);
        }
        output.packets
    }
}
