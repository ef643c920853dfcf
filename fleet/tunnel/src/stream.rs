//! Connections through the tunnel, whoever does TCP for them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::user::{UserListener, UserStream};

/// A connection with a machine.
#[derive(Debug)]
pub struct TunnelStream(Stream);

#[derive(Debug)]
enum Stream {
    Kernel(TcpStream),
    User(UserStream),
}

/// Accepts connections of machines to one port.
#[derive(Debug)]
pub struct TunnelListener(Listener);

#[derive(Debug)]
enum Listener {
    Kernel(TcpListener),
    User(UserListener),
}

impl From<TcpStream> for TunnelStream {
    fn from(stream: TcpStream) -> Self {
        Self(Stream::Kernel(stream))
    }
}

impl From<UserStream> for TunnelStream {
    fn from(stream: UserStream) -> Self {
        Self(Stream::User(stream))
    }
}

impl From<TcpListener> for TunnelListener {
    fn from(listener: TcpListener) -> Self {
        Self(Listener::Kernel(listener))
    }
}

impl From<UserListener> for TunnelListener {
    fn from(listener: UserListener) -> Self {
        Self(Listener::User(listener))
    }
}

impl TunnelListener {
    /// Waits for a connection, and says whose it is. It may be dropped at any time: a connection that is not accepted
    /// stays queued.
    ///
    /// # Errors
    /// When a connection broke before it was accepted, or the tunnel is closed.
    pub async fn accept(&mut self) -> io::Result<(TunnelStream, SocketAddr)> {
        match &mut self.0 {
            Listener::Kernel(listener) => listener.accept().await.map(|(stream, from)| (stream.into(), from)),
            Listener::User(listener) => listener.accept().await.map(|(stream, from)| (stream.into(), from)),
        }
    }
}

impl TunnelStream {
    /// The machine's end.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Stream::Kernel(stream) => stream.peer_addr(),
            Stream::User(stream) => Ok(stream.peer_addr()),
        }
    }

    /// Whether small writes are sent at once, instead of with the next ones.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match &self.0 {
            Stream::Kernel(stream) => stream.set_nodelay(nodelay),
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
            Stream::Kernel(stream) => {
                let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
                sockopt::set_socket_keepalive(stream, true)?;
                sockopt::set_tcp_keepidle(stream, period)?;
                sockopt::set_tcp_keepintvl(stream, period)?;
                Ok(sockopt::set_tcp_user_timeout(stream, millis)?)
            }
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
            Stream::Kernel(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::User(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Stream::Kernel(stream) => Pin::new(stream).poll_write(cx, data),
            Stream::User(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Stream::Kernel(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::User(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(&self.0, Stream::Kernel(stream) if stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Stream::Kernel(stream) => Pin::new(stream).poll_flush(cx),
            Stream::User(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Stream::Kernel(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::User(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
