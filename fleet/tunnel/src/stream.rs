//! Connections through the tunnel, whoever does TCP for them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::keeper::{KeptStream, Pool, Ticket, set_signs_of_life};
use crate::user::{UserListener, UserStream};

/// A connection with a machine.
#[derive(Debug)]
pub struct TunnelStream(Stream);

#[derive(Debug)]
enum Stream {
    Kernel(TcpStream, #[expect(dead_code, reason = "it counts until it is dropped")] Option<Ticket>),
    Kept(KeptStream),
    User(UserStream),
}

/// Accepts connections of machines to one port.
#[derive(Debug)]
pub struct TunnelListener(Listener);

#[derive(Debug)]
enum Listener {
    Kernel(TcpListener, Option<Arc<Pool>>),
    User(UserListener),
}

impl From<TcpStream> for TunnelStream {
    fn from(stream: TcpStream) -> Self {
        Self(Stream::Kernel(stream, None))
    }
}

impl From<KeptStream> for TunnelStream {
    fn from(stream: KeptStream) -> Self {
        Self(Stream::Kept(stream))
    }
}

impl From<UserStream> for TunnelStream {
    fn from(stream: UserStream) -> Self {
        Self(Stream::User(stream))
    }
}

impl From<TcpListener> for TunnelListener {
    fn from(listener: TcpListener) -> Self {
        Self(Listener::Kernel(listener, None))
    }
}

impl From<UserListener> for TunnelListener {
    fn from(listener: UserListener) -> Self {
        Self(Listener::User(listener))
    }
}

impl TunnelListener {
    /// A listener whose connections find their places in a pool.
    pub(crate) const fn pooled(listener: TcpListener, pool: Arc<Pool>) -> Self {
        Self(Listener::Kernel(listener, Some(pool)))
    }

    /// Waits for a connection, and says whose it is. It may be dropped at any time: a connection that is not accepted
    /// stays queued. One for which there is no room is closed, and the next one is waited for.
    ///
    /// # Errors
    /// When a connection broke before it was accepted, or the tunnel is closed.
    pub async fn accept(&mut self) -> io::Result<(TunnelStream, SocketAddr)> {
        match &mut self.0 {
            Listener::Kernel(listener, None) => {
                listener.accept().await.map(|(stream, from)| (stream.into(), from))
            }
            Listener::Kernel(listener, Some(pool)) => loop {
                let (stream, from) = listener.accept().await?;
                // The pool tells of those that it refuses.
                if let Ok(stream) = pool.place_accepted(stream, from) {
                    return Ok((stream, from));
                }
            },
            Listener::User(listener) => listener.accept().await.map(|(stream, from)| (stream.into(), from)),
        }
    }
}

impl TunnelStream {
    /// A connection whose socket counts as one of the manager's own.
    pub(crate) const fn counted(stream: TcpStream, ticket: Ticket) -> Self {
        Self(Stream::Kernel(stream, Some(ticket)))
    }

    /// The machine's end.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Stream::Kernel(stream, _) => stream.peer_addr(),
            Stream::Kept(stream) => Ok(stream.peer_addr()),
            Stream::User(stream) => Ok(stream.peer_addr()),
        }
    }

    /// Whether small writes are sent at once, instead of with the next ones.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match &self.0 {
            Stream::Kernel(stream, _) => stream.set_nodelay(nodelay),
            Stream::Kept(stream) => stream.set_nodelay(nodelay),
            Stream::User(stream) => stream.set_nodelay(nodelay),
        }
    }

    /// Asks for a sign of life after `period` of silence, and ends the connection when the machine owes one, or an
    /// acknowledgement, for `limit`.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn set_signs_of_life(&self, period: Duration, limit: Duration) -> io::Result<()> {
        match &self.0 {
            Stream::Kernel(stream, _) => set_signs_of_life(stream, period, limit),
            Stream::Kept(stream) => stream.set_signs_of_life(period, limit),
            Stream::User(stream) => stream.set_signs_of_life(period, limit),
        }
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Stream::Kernel(stream, _) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Kept(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::User(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Stream::Kernel(stream, _) => Pin::new(stream).poll_write(cx, data),
            Stream::Kept(stream) => Pin::new(stream).poll_write(cx, data),
            Stream::User(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Stream::Kernel(stream, _) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Kept(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::User(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(&self.0, Stream::Kernel(stream, _) if stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Stream::Kernel(stream, _) => Pin::new(stream).poll_flush(cx),
            Stream::Kept(stream) => Pin::new(stream).poll_flush(cx),
            Stream::User(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Stream::Kernel(stream, _) => Pin::new(stream).poll_shutdown(cx),
            Stream::Kept(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::User(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
