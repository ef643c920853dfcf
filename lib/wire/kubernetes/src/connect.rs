//! Dialing: name to addresses by the caller's function, TCP by the host or by the caller, TLS.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Limit for one address: TCP and TLS together.
const DIAL: Duration = Duration::from_secs(10);

/// Turns a host name into addresses.
pub type Resolver = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// A connection of TCP, whoever does it.
pub trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

/// Opens a connection of TCP to an address, where the host's own network does not lead there. Small writes are to be sent
/// at once.
pub type Dialer = Arc<dyn Fn(SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Line>>> + Send + Sync>;

/// Connections of the host's own network.
pub(crate) fn host_network() -> Dialer {
    Arc::new(|address: SocketAddr| {
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Line>)
        }
        .boxed()
    })
}

/// Knows `localhost` and nothing else; addresses need no resolver.
pub(crate) fn no_names() -> Resolver {
    Arc::new(|name| {
        let known = match name.as_str() {
            "localhost" => Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
            _ => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no resolver is set to look up `{name}`"),
            )),
        };
        futures::future::ready(known).boxed()
    })
}

/// Opens connections for the HTTP client.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) resolver: Resolver,
    pub(crate) dialer: Dialer,
    /// Name that the server's certificate must carry, when it is not the host.
    pub(crate) server_name: Option<String>,
}

impl Connector {
    async fn connect(self, uri: Uri) -> io::Result<Stream> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(443);
        let name = self.server_name.clone().unwrap_or_else(|| host.clone());
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => (self.resolver)(host).await?,
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
        for address in addresses {
            let dial = self.dial(SocketAddr::new(address, port), name.clone());
            match tokio::time::timeout(DIAL, dial).await {
                Ok(Ok(stream)) => return Ok(Stream(TokioIo::new(stream))),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    async fn dial(
        &self,
        address: SocketAddr,
        name: ServerName<'static>,
    ) -> io::Result<TlsStream<Box<dyn Line>>> {
        let stream = (self.dialer)(address).await?;
        TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        self.clone().connect(uri).boxed()
    }
}

/// An open connection that knows which HTTP it speaks.
pub(crate) struct Stream(TokioIo<TlsStream<Box<dyn Line>>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        match self.0.inner().get_ref().1.alpn_protocol() {
            Some(b"h2") => connected.negotiated_h2(),
            _ => connected,
        }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
