//! One connection: a socket of TCP, and what is left of it when the socket is gone.
//!
//! ```text
//! Opening (by a machine) ─┐                    ┌─▶ Left: nobody holds it, the rest is sent ─▶ forgotten
//!                         ├─ hands shaken ─ Open
//! Calling (by us) ────────┘                    └─▶ Ended: bytes to read, then the end or a fault
//! ```
//!
//! A socket goes as soon as TCP is done with it, and its buffers with it; there is no TIME-WAIT. What was not read yet
//! is kept with the connection. A FIN of a machine that comes again is answered with RST, which ends it just as well.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use tokio::io::ReadBuf;

/// Bytes that a machine may send before somebody reads them.
pub const RECEIVE_BUFFER: usize = 16 * 1024;
/// Bytes that wait for a machine's acknowledgement. It is less than TCP may send at once without looking at the line
/// (RFC 6928: ten segments), so that no control of congestion is needed.
pub const SEND_BUFFER: usize = 8 * 1024;
/// How long hands may take to be shaken while the other end says nothing.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(60);
/// After so long without a packet a sign of life is asked for. Most connections have traffic more often.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// After so long without a packet the other end is gone. It is what the kernel's TCP takes, by default, for one that
/// does not acknowledge.
const SILENCE_LIMIT: Duration = Duration::from_secs(15 * 60);
/// How long the rest of a connection that nobody holds any more may take.
const REST_LIMIT: Duration = Duration::from_secs(60);

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Calling,
    Open,
    /// Nobody holds it; it ends at the latest then.
    Left(Instant),
}

#[derive(Debug)]
enum Body {
    Live(SocketHandle),
    /// TCP is done with it. Without a fault both sides have closed it.
    Ended {
        rest: Bytes,
        fault: Option<ErrorKind>,
    },
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Stays,
    /// Hands were shaken with a machine that opened it.
    Accepted,
    /// It was broken off; the machine is to be told.
    BrokenOff,
    /// It is to be forgotten.
    Over,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    /// Its number, never used twice with one machine.
    pub number: u32,
    /// Its port here.
    pub local: u16,
    /// Its port there.
    pub remote: u16,
    /// Whether the machine has opened it.
    pub is_incoming: bool,
    phase: Phase,
    body: Body,
}

/// A socket that neither listens nor connects yet.
pub fn socket() -> Socket<'static> {
    let buffer = |length| SocketBuffer::new(vec![0; length]);
    let mut socket = Socket::new(buffer(RECEIVE_BUFFER), buffer(SEND_BUFFER));
    socket.set_keep_alive(Some(KEEP_ALIVE.into()));
    socket.set_timeout(Some(HANDSHAKE_LIMIT.into()));
    socket
}

impl Connection {
    /// One that a machine opens, with the socket that takes it.
    pub const fn opening(number: u32, local: u16, remote: u16, handle: SocketHandle) -> Self {
        Self { number, local, remote, is_incoming: true, phase: Phase::Opening, body: Body::Live(handle) }
    }

    /// One that we open.
    pub const fn calling(number: u32, local: u16, remote: u16, handle: SocketHandle) -> Self {
        Self { number, local, remote, is_incoming: false, phase: Phase::Calling, body: Body::Live(handle) }
    }

    /// Whether it has a socket with these ports.
    pub fn has(&self, local: u16, remote: u16) -> bool {
        matches!(self.body, Body::Live(_)) && (self.local, self.remote) == (local, remote)
    }

    /// When it is to be looked at even if nothing happens.
    pub const fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Left(until) => Some(until),
            Phase::Opening | Phase::Calling | Phase::Open => None,
        }
    }

    /// Looks at what TCP made of it. `fault` is what has happened if it is broken.
    pub fn settle(&mut self, sockets: &mut SocketSet<'static>, now: Instant, fault: ErrorKind) -> Fate {
        let Body::Live(handle) = self.body else { return self.settle_ended() };
        let socket = sockets.get_mut::<Socket>(handle);
        // A socket that listens again was opened by nobody after all.
        let is_over = matches!(socket.state(), State::Closed | State::TimeWait | State::Listen);
        match self.phase {
            Phase::Opening | Phase::Left(_) if is_over => {
                sockets.remove(handle);
                Fate::Over
            }
            Phase::Calling | Phase::Open if is_over => {
                self.end(sockets, fault);
                Fate::Stays
            }
            Phase::Opening | Phase::Calling if socket.may_send() => {
                socket.set_timeout(Some(SILENCE_LIMIT.into()));
                let was = std::mem::replace(&mut self.phase, Phase::Open);
                if was == Phase::Opening { Fate::Accepted } else { Fate::Stays }
            }
            Phase::Left(until) if socket.can_recv() || now >= until => {
                socket.abort();
                Fate::BrokenOff
            }
            _ => Fate::Stays,
        }
    }

    const fn settle_ended(&self) -> Fate {
        match self.phase {
            Phase::Left(_) => Fate::Over,
            Phase::Opening | Phase::Calling | Phase::Open => Fate::Stays,
        }
    }

    /// Takes the socket away and keeps what is to be read.
    fn end(&mut self, sockets: &mut SocketSet<'static>, fault: ErrorKind) {
        let Body::Live(handle) = self.body else { return };
        let socket = sockets.get_mut::<Socket>(handle);
        let mut rest = BytesMut::new();
        while socket.can_recv() {
            let taken = socket.recv(|data| {
                rest.extend_from_slice(data);
                (data.len(), data.len())
            });
            if !matches!(taken, Ok(1..)) {
                break;
            }
        }
        let is_whole = matches!(socket.recv(|_| (0, ())), Err(RecvError::Finished));
        let fault = (!is_whole).then_some(match (self.phase, fault) {
            (Phase::Calling, ErrorKind::ConnectionReset) => ErrorKind::ConnectionRefused,
            _ => fault,
        });
        self.body = Body::Ended { rest: rest.freeze(), fault };
        sockets.remove(handle);
    }

    /// Ends it at once, without a look at the line; whoever waits is woken.
    pub fn break_off(&mut self, sockets: &mut SocketSet<'static>) {
        if let Body::Live(handle) = self.body {
            sockets.get_mut::<Socket>(handle).abort();
            self.end(sockets, ErrorKind::ConnectionAborted);
        }
    }

    /// Has TCP end it at once, so that the machine is told.
    pub fn abort(&self, sockets: &mut SocketSet<'static>) {
        if let Body::Live(handle) = self.body {
            sockets.get_mut::<Socket>(handle).abort();
        }
    }

    /// Whether hands are shaken.
    pub fn poll_open(&self, sockets: &mut SocketSet<'static>, cx: &Context<'_>) -> Poll<io::Result<()>> {
        match &self.body {
            Body::Live(handle) if self.phase == Phase::Calling => {
                sockets.get_mut::<Socket>(*handle).register_send_waker(cx.waker());
                Poll::Pending
            }
            Body::Ended { fault: Some(fault), .. } => Poll::Ready(Err((*fault).into())),
            Body::Live(_) | Body::Ended { .. } => Poll::Ready(Ok(())),
        }
    }

    /// Reads what there is.
    pub fn poll_read(
        &mut self,
        sockets: &mut SocketSet<'static>,
        cx: &Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.body {
            Body::Live(handle) => read(sockets.get_mut(*handle), cx, buffer),
            Body::Ended { rest, .. } if !rest.is_empty() => {
                let length = rest.len().min(buffer.remaining());
                buffer.put_slice(rest.get(..length).unwrap_or_default());
                rest.advance(length);
                Poll::Ready(Ok(()))
            }
            Body::Ended { fault, .. } => Poll::Ready(fault.map_or(Ok(()), |fault| Err(fault.into()))),
        }
    }

    /// Takes bytes to send.
    pub fn poll_write(
        &self,
        sockets: &mut SocketSet<'static>,
        cx: &Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let fault = match &self.body {
            Body::Live(handle) => {
                let socket = sockets.get_mut::<Socket>(*handle);
                match socket.send_slice(data) {
                    Ok(0) if !data.is_empty() => {
                        socket.register_send_waker(cx.waker());
                        return Poll::Pending;
                    }
                    Ok(length) => return Poll::Ready(Ok(length)),
                    Err(_) => ErrorKind::BrokenPipe,
                }
            }
            Body::Ended { fault, .. } => fault.unwrap_or(ErrorKind::BrokenPipe),
        };
        Poll::Ready(Err(fault.into()))
    }

    /// Sends no more after what was taken; what the machine sends is still read.
    pub fn shut_down(&self, sockets: &mut SocketSet<'static>) {
        if let Body::Live(handle) = self.body {
            sockets.get_mut::<Socket>(handle).close();
        }
    }

    /// Nobody holds it any more: what was taken is still sent, unless the machine has sent what nobody will read.
    pub fn leave(&mut self, sockets: &mut SocketSet<'static>, now: Instant) {
        self.phase = Phase::Left(now + REST_LIMIT.into());
        if let Body::Live(handle) = self.body {
            let socket = sockets.get_mut::<Socket>(handle);
            if socket.can_recv() { socket.abort() } else { socket.close() }
        }
    }

    /// Whether small writes are sent at once.
    pub fn set_nodelay(&self, sockets: &mut SocketSet<'static>, nodelay: bool) {
        if let Body::Live(handle) = self.body {
            sockets.get_mut::<Socket>(handle).set_nagle_enabled(!nodelay);
        }
    }

    /// Asks for a sign of life after `period` without a packet, and gives up when none comes for `limit` more.
    pub fn set_signs_of_life(&self, sockets: &mut SocketSet<'static>, period: Duration, limit: Duration) {
        if let Body::Live(handle) = self.body {
            let socket = sockets.get_mut::<Socket>(handle);
            socket.set_keep_alive(Some(period.into()));
            // The first one is asked for when it was to be before.
            socket.set_timeout(Some(period.max(KEEP_ALIVE).saturating_add(limit).into()));
        }
    }
}

fn read(socket: &mut Socket<'static>, cx: &Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    let before = buffer.filled().len();
    while buffer.remaining() > 0 && socket.can_recv() {
        let taken = socket.recv(|data| {
            let length = data.len().min(buffer.remaining());
            buffer.put_slice(data.get(..length).unwrap_or_default());
            (length, length)
        });
        if !matches!(taken, Ok(1..)) {
            break;
        }
    }
    if buffer.filled().len() > before || buffer.remaining() == 0 {
        return Poll::Ready(Ok(()));
    }
    if socket.may_recv() {
        socket.register_recv_waker(cx.waker());
        return Poll::Pending;
    }
    match socket.recv(|_| (0, ())) {
        Err(RecvError::Finished) => Poll::Ready(Ok(())),
        Ok(()) | Err(RecvError::InvalidState) => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
    }
}
