//! Connections as those who use them see them.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use super::peer::Peer;
use super::{Core, Moment};

/// A connection with a machine. When it is dropped, what was written is still sent.
pub struct UserStream {
    core: Arc<Core>,
    peer: Arc<Mutex<Peer>>,
    remote: SocketAddrV6,
    local: u16,
    number: u32,
}

/// Accepts connections of machines to one port, which is free when it is dropped.
pub struct UserListener {
    core: Arc<Core>,
    port: u16,
    number: u64,
    accepted: mpsc::Receiver<UserStream>,
}

impl std::fmt::Debug for UserStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserStream").field("local", &self.local).field("remote", &self.remote).finish()
    }
}

impl std::fmt::Debug for UserListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserListener").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Drop for UserListener {
    fn drop(&mut self) {
        let mut ports = self.core.ports.lock();
        if ports.open.get(&self.port).is_some_and(|(number, _)| *number == self.number) {
            ports.open.remove(&self.port);
        }
    }
}

impl Drop for UserStream {
    fn drop(&mut self) {
        let number = self.number;
        self.work(|peer, now| peer.leave(number, now));
    }
}

impl UserListener {
    pub(super) const fn new(
        core: Arc<Core>,
        port: u16,
        number: u64,
        accepted: mpsc::Receiver<UserStream>,
    ) -> Self {
        Self { core, port, number, accepted }
    }

    /// Waits for a connection. It may be dropped at any time: one that is not accepted stays queued.
    ///
    /// # Errors
    /// When the tunnel is closed.
    pub async fn accept(&mut self) -> io::Result<(UserStream, SocketAddr)> {
        let closed = || io::Error::new(ErrorKind::NotConnected, "the tunnel is closed");
        let stream = self.accepted.recv().await.ok_or_else(closed)?;
        let from = stream.peer_addr();
        Ok((stream, from))
    }
}

impl UserStream {
    pub(super) const fn new(
        core: Arc<Core>,
        peer: Arc<Mutex<Peer>>,
        remote: SocketAddrV6,
        local: u16,
        number: u32,
    ) -> Self {
        Self { core, peer, remote, local, number }
    }

    /// Waits until hands are shaken.
    pub(super) async fn opened(&self) -> io::Result<()> {
        poll_fn(|cx| self.work(|peer, _| peer.poll_open(self.number, cx))).await
    }

    /// The machine's end.
    pub const fn peer_addr(&self) -> SocketAddr {
        SocketAddr::V6(self.remote)
    }

    /// Whether small writes are sent at once.
    ///
    /// # Errors
    /// Never while the stream is held.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.work(|peer, _| peer.set_nodelay(self.number, nodelay))
    }

    /// Asks for a sign of life after `period` without a packet, and gives up when none comes for `limit` more.
    ///
    /// # Errors
    /// Never while the stream is held.
    pub fn set_signs_of_life(&self, period: Duration, limit: Duration) -> io::Result<()> {
        self.work(|peer, _| peer.set_signs_of_life(self.number, period, limit))
    }

    fn work<R>(&self, work: impl FnOnce(&mut Peer, Moment) -> R) -> R {
        self.core.work(*self.remote.ip(), &self.peer, work)
    }
}

impl AsyncRead for UserStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.work(|peer, _| peer.poll_read(self.number, cx, buffer))
    }
}

impl AsyncWrite for UserStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.work(|peer, _| peer.poll_write(self.number, cx, data))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was taken is on its way.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.work(|peer, _| peer.shut_down(self.number)))
    }
}
