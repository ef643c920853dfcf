//! A connection whose socket a keeper has.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::{Link, Wish};

/// A connection with a machine. When it is dropped, what was written is still sent.
pub struct KeptStream {
    link: Arc<Link>,
    number: u64,
    peer: SocketAddr,
}

impl std::fmt::Debug for KeptStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptStream").field("number", &self.number).field("peer", &self.peer).finish()
    }
}

impl Drop for KeptStream {
    fn drop(&mut self) {
        self.link.leave(self.number);
    }
}

impl KeptStream {
    pub(super) const fn new(link: Arc<Link>, number: u64, peer: SocketAddr) -> Self {
        Self { link, number, peer }
    }

    /// The machine's end.
    pub const fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Whether small writes are sent at once.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.link.wish(self.number, Wish::NoDelay(nodelay))
    }

    /// Asks for a sign of life after `period` of silence, and ends the connection when one is owed for `limit`.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn set_signs_of_life(&self, period: Duration, limit: Duration) -> io::Result<()> {
        self.link.wish(self.number, Wish::SignsOfLife { period, limit })
    }
}

impl AsyncRead for KeptStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.link.poll_read(self.number, cx, buffer)
    }
}

impl AsyncWrite for KeptStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.link.poll_write(self.number, cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was taken is on its way.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.link.wish(self.number, Wish::Finish))
    }
}
