//! One machine's TCP: an interface with our address, and a socket for each connection.
//!
//! ```text
//! packet ─▶ receive ┐                                    ┌─▶ packets for the machine
//! connect, read, write, … ┴─▶ turn ─ TCP ─ settle ──────┴─▶ connections that the machine has opened
//! ```
//!
//! It knows no lock, no task and no clock: whoever holds it gives it the time. A socket that listens is there only while
//! a machine asks for a connection, since TCP here has no backlog.
//!
//! Costs, on a host with addresses of 64 bits: [`Peer`] with its interface 0.5 KiB, a connection 0.6 KiB and its buffers of
//! 16 KiB and 8 KiB, so that 2,000 machines with five connections each take 240 MiB when all buffers were used to their
//! end. Measured in a process: 18 KiB for a connection that has moved a few KiB, 26 KiB after some 40 KiB each way.
//! A machine without connections has no [`Peer`].

use std::io::{self, ErrorKind};
use std::net::Ipv6Addr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint};
use tokio::io::ReadBuf;

use super::connection::{Connection, Fate, socket};
use super::packet::{Kind, Line};

/// Connections that a machine may have opened at a time.
pub const INCOMING_MAX: usize = 256;
/// Connections that there may be with a machine at a time.
const CONNECTIONS_MAX: usize = 2048;
/// Prefix of our address.
const PREFIX_LENGTH: u8 = 64;
/// First of the ports that calls come from.
const CALLS_FIRST: u16 = 49_152;

/// A connection that a machine has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its number.
    pub number: u32,
    /// Our port.
    pub local: u16,
    /// The machine's port.
    pub remote: u16,
}

/// What comes of a turn.
#[derive(Debug, Default)]
pub struct Turn {
    /// Packets for the machine.
    pub packets: Vec<BytesMut>,
    /// Connections that it has opened.
    pub accepted: Vec<Accepted>,
}

/// A machine's TCP.
pub struct Peer {
    own: Ipv6Addr,
    address: Ipv6Addr,
    interface: Interface,
    sockets: SocketSet<'static>,
    line: Line,
    connections: Vec<Connection>,
    number: u32,
    incoming: usize,
    /// Something was done since the last turn.
    is_stirred: bool,
    /// It takes no more connections: another one may have its place.
    pub is_retired: bool,
    /// When the timers look at it.
    pub scheduled: Option<Instant>,
}

impl Peer {
    /// No connections yet. `seed` is for numbers that machines should not guess.
    pub fn new(own: Ipv6Addr, address: Ipv6Addr, seed: u64, now: Instant) -> Self {
        let mut line = Line::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut line, now);
        interface.update_ip_addrs(|addresses| {
            // There is room for one.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv6(own), PREFIX_LENGTH));
        });
        Self {
            own,
            address,
            interface,
            sockets: SocketSet::new(Vec::new()),
            line,
            connections: Vec::new(),
            number: 0,
            incoming: 0,
            is_stirred: false,
            is_retired: false,
            scheduled: None,
        }
    }

    /// Whether nothing is left of any connection.
    pub const fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Takes a packet of the machine. `is_open` says whether somebody listens on the port that it asks for.
    pub fn receive(&mut self, packet: BytesMut, kind: Kind, is_open: bool) {
        if let Kind::Opening { to, from } = kind
            && is_open
            && self.has_room()
            && !self.connections.iter().any(|connection| connection.has(to, from))
        {
            self.expect(to, from);
        }
        self.line.inbound = Some(packet);
        self.is_stirred = true;
    }

    fn has_room(&self) -> bool {
        self.incoming < INCOMING_MAX && self.connections.len() < CONNECTIONS_MAX
    }

    /// A socket for the connection that a machine asks for.
    fn expect(&mut self, local: u16, remote: u16) {
        let mut socket = socket();
        if socket.listen(IpEndpoint::new(IpAddress::Ipv6(self.own), local)).is_ok() {
            let handle = self.sockets.add(socket);
            let number = self.next_number();
            self.connections.push(Connection::opening(number, local, remote, handle));
        }
    }

    /// Begins to connect, from a port near `local`; the connection's number and its port.
    ///
    /// # Errors
    /// When there are too many connections with the machine, or it has no such port.
    pub fn connect(&mut self, port: u16, local: u16) -> io::Result<(u32, u16)> {
        if self.connections.len() >= CONNECTIONS_MAX {
            return Err(io::Error::new(
                ErrorKind::ResourceBusy,
                format!(
                    "there are {CONNECTIONS_MAX} connections with machine {address}, which is the most; some must end first",
                    address = self.address
                ),
            ));
        }
        // There are more ports than connections.
        let is_free = |local: &u16| !self.connections.iter().any(|known| known.has(*local, port));
        let local = local.max(CALLS_FIRST);
        let local = (local..=u16::MAX).chain(CALLS_FIRST..local).find(is_free).unwrap_or(local);
        let to = IpEndpoint::new(IpAddress::Ipv6(self.address), port);
        let from = IpEndpoint::new(IpAddress::Ipv6(self.own), local);
        let mut socket = socket();
        socket.connect(self.interface.context(), to, from).map_err(|error| {
            io::Error::new(ErrorKind::InvalidInput, format!("nobody can be called at {to}: {error}"))
        })?;
        let handle = self.sockets.add(socket);
        let number = self.next_number();
        self.connections.push(Connection::calling(number, local, port, handle));
        self.is_stirred = true;
        Ok((number, local))
    }

    const fn next_number(&mut self) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    /// Has TCP do what is to be done now, if there is anything.
    pub fn turn(&mut self, now: Instant) -> Turn {
        let mut accepted = Vec::new();
        if std::mem::take(&mut self.is_stirred) {
            let has_packet = self.line.inbound.is_some();
            let fault = if has_packet { ErrorKind::ConnectionReset } else { ErrorKind::TimedOut };
            self.interface.poll(now, &mut self.line, &mut self.sockets);
            if self.settle(now, fault, &mut accepted) {
                self.interface.poll(now, &mut self.line, &mut self.sockets);
                self.settle(now, fault, &mut accepted);
            }
        }
        Turn { packets: std::mem::take(&mut self.line.outbound), accepted }
    }

    /// Has the next turn look at timers too.
    pub const fn stir(&mut self) {
        self.is_stirred = true;
    }

    /// Looks at what became of the connections; whether one was broken off, which the machine is still to be told.
    fn settle(&mut self, now: Instant, fault: ErrorKind, accepted: &mut Vec<Accepted>) -> bool {
        let Self { connections, sockets, .. } = self;
        let mut is_broken_off = false;
        connections.retain_mut(|connection| match connection.settle(sockets, now, fault) {
            Fate::Stays => true,
            Fate::Accepted => {
                let Connection { number, local, remote, .. } = *connection;
                accepted.push(Accepted { number, local, remote });
                true
            }
            Fate::BrokenOff => {
                is_broken_off = true;
                true
            }
            Fate::Over => false,
        });
        self.incoming = connections.iter().filter(|connection| connection.is_incoming).count();
        is_broken_off
    }

    /// When something is to be done even if nothing happens.
    pub fn next(&mut self, now: Instant) -> Option<Instant> {
        let of_tcp = self.interface.poll_at(now, &self.sockets);
        let of_others = self.connections.iter().filter_map(Connection::deadline).min();
        [of_tcp, of_others].into_iter().flatten().min()
    }

    /// Ends all connections and takes no more. The machine is told with the turn that comes.
    pub fn retire(&mut self, now: Instant) -> Turn {
        self.is_retired = true;
        for connection in &self.connections {
            connection.abort(&mut self.sockets);
        }
        self.interface.poll(now, &mut self.line, &mut self.sockets);
        self.break_off()
    }

    /// Ends all connections at once and takes no more, whatever state TCP is in.
    pub fn break_off(&mut self) -> Turn {
        self.is_retired = true;
        self.is_stirred = false;
        for connection in &mut self.connections {
            connection.break_off(&mut self.sockets);
        }
        Turn { packets: std::mem::take(&mut self.line.outbound), accepted: Vec::new() }
    }

    fn connection(&mut self, number: u32) -> io::Result<(&mut Connection, &mut SocketSet<'static>)> {
        let Self { connections, sockets, .. } = self;
        // It is there for as long as somebody holds it.
        let found = connections.iter_mut().find(|connection| connection.number == number);
        Ok((found.ok_or(ErrorKind::NotConnected)?, sockets))
    }

    /// Whether hands are shaken.
    pub fn poll_open(&mut self, number: u32, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let (connection, sockets) = self.connection(number)?;
        connection.poll_open(sockets, cx)
    }

    /// Reads what a connection has.
    pub fn poll_read(
        &mut self,
        number: u32,
        cx: &Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (connection, sockets) = self.connection(number)?;
        let read = connection.poll_read(sockets, cx, buffer);
        // There is room that the machine does not know of.
        self.is_stirred |= read.is_ready();
        read
    }

    /// Takes bytes to send.
    pub fn poll_write(&mut self, number: u32, cx: &Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let (connection, sockets) = self.connection(number)?;
        let written = connection.poll_write(sockets, cx, data);
        self.is_stirred |= written.is_ready();
        written
    }

    /// Sends no more on a connection.
    pub fn shut_down(&mut self, number: u32) -> io::Result<()> {
        let (connection, sockets) = self.connection(number)?;
        connection.shut_down(sockets);
        self.is_stirred = true;
        Ok(())
    }

    /// Nobody holds a connection any more.
    pub fn leave(&mut self, number: u32, now: Instant) {
        if let Ok((connection, sockets)) = self.connection(number) {
            connection.leave(sockets, now);
            self.is_stirred = true;
        }
    }

    /// Whether small writes are sent at once.
    pub fn set_nodelay(&mut self, number: u32, nodelay: bool) -> io::Result<()> {
        let (connection, sockets) = self.connection(number)?;
        connection.set_nodelay(sockets, nodelay);
        Ok(())
    }

    /// Asks for signs of life.
    pub fn set_signs_of_life(&mut self, number: u32, period: Duration, limit: Duration) -> io::Result<()> {
        let (connection, sockets) = self.connection(number)?;
        connection.set_signs_of_life(sockets, period, limit);
        self.is_stirred = true;
        Ok(())
    }
}
