//! One listener: TLS or in clear, HTTP/1.1 and HTTP/2 on the same port, everything bounded.
//!
//! ```text
//! TcpListener ─▶ places ─▶ TLS handshake (certificate of now) ─▶ HTTP/1.1 or HTTP/2, as the client speaks ─▶ service
//!    stop ─▶ no more connections ─▶ those that are there end what is under way ─▶ the end
//! ```
//!
//! Certificates are read again when their files change, without a restart; a bad pair keeps the old one in use.

mod own;
mod peers;
mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corten_base::Tasks;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;
use tower_service::Service;

use crate::metrics::Metrics;
use peers::{Peers, Place};
use tls::Certificates;

pub use own::{OwnCertificate, OwnError};
pub(crate) use peers::peer;
pub use peers::{PEER_CONNECTIONS_MAX, PeerBounds};
pub use tls::{Tls, TlsError};

/// Connections at a time; more wait in the kernel's queue. One peer has fewer, see [`PeerBounds`].
pub const CONNECTIONS_MAX: usize = 4096;
/// For what is under way when a listener stops. Watches and tunnels never end by themselves and are cut then; clients
/// come again. Whoever waits for the end of a listener needs no bound of its own.
pub const GOODBYE_MAX: Duration = Duration::from_secs(5);
/// Calls at a time on one connection of HTTP/2. A web interface watches many types.
const STREAMS_MAX: u32 = 256;
/// Bytes of headers of one request.
const HEADERS_BYTES_MAX: u32 = 128 * 1024;
/// Headers of one request of HTTP/1.1.
const HEADERS_MAX: usize = 128;
/// Bytes that may be unread for one call, in each direction.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes that may be unread on one connection.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const BACKLOG: u32 = 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the headers of a request of HTTP/1.1, also of the next one on the same connection.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(60);
/// From the handshake to the first request.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is looked whether certificates have changed.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A listener that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Refused by the kernel.
    #[error("failed to listen on {address}; is another program there?")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error("failed to set up TLS for {address}")]
    Tls {
        /// Which address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: TlsError,
    },
}

/// An open listener.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    certificates: Certificates,
    metrics: Arc<Metrics>,
    bounds: PeerBounds,
}

/// What answers HTTP requests; [`Door::serve`] takes it. [`tower::service_fn`] makes one.
pub trait HttpService:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> HttpService for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// An [`HttpService`] whose type can be named.
pub type BoxedService = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

impl Door {
    /// Listens on an address. Certificates of our own are made if there are none.
    ///
    /// # Errors
    /// When the address is taken, or TLS cannot be set up.
    pub async fn open(address: SocketAddr, tls: Tls, metrics: Arc<Metrics>) -> Result<Self, ServeError> {
        let certificates = Certificates::open(tls).await;
        let certificates = certificates.map_err(|source| ServeError::Tls { address, source })?;
        let listener = listen(address).map_err(|source| ServeError::Bind { address, source })?;
        Ok(Self { listener, certificates, metrics, bounds: PeerBounds::default() })
    }

    /// The same with other bounds for single peers.
    #[must_use]
    pub fn with_bounds(mut self, bounds: PeerBounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// The address, with the port that the kernel chose for port 0.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` comes, then lets connections end what is under way, for [`GOODBYE_MAX`] and no longer.
    pub async fn serve(self, service: impl HttpService, stop: impl Future<Output = ()>) {
        let Self { listener, mut certificates, metrics, bounds } = self;
        let (places, mut peers) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Peers::new(bounds));
        let (stopping, stopped) = watch::channel(false);
        let mut connections = Tasks::new();
        let mut reload = interval(RELOAD_INTERVAL);
        reload.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                // Every arm may be dropped at any time: an unaccepted connection stays queued.
                () = stop.as_mut() => break,
                accepted = accept(&listener, &places) => match accepted {
                    Ok((stream, remote, place)) => {
                        // One too many is closed, and its place is free again.
                        let Some(of_peer) = peers.take(remote.ip()) else { continue };
                        let connection = Connection {
                            remote,
                            tls: certificates.current(),
                            service: service.clone(),
                            metrics: Arc::clone(&metrics),
                            stopped: stopped.clone(),
                        };
                        connections.start(connection.run(stream, (place, of_peer)));
                    }
                    Err(error) => {
                        tracing::warn!(error = corten_base::chain(&error), "cannot accept a connection");
                        sleep(RETRY_DELAY).await;
                    }
                },
                Some(_) = connections.ended() => {}
                _ = reload.tick() => certificates.reload().await,
            }
        }
        drop(listener);
        // Every connection has a receiver, or has ended.
        let _ = stopping.send(true);
        let all = async { while connections.ended().await.is_some() {} };
        if timeout(GOODBYE_MAX, all).await.is_err() {
            tracing::info!(open = connections.len(), "connections that were still open are cut");
        }
    }
}

/// Binds all addresses of a family as they are written; `[::]` takes both families.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let is_every = address.ip().is_unspecified() && address.is_ipv6();
    let four = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    // A kernel without IPv6 has no `[::]`.
    bind(address).or_else(|error| if is_every { bind(four) } else { Err(error) })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, remote) = listener.accept().await?;
    Ok((stream, remote, place))
}

/// One connection with what it serves.
struct Connection<S> {
    remote: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    service: S,
    metrics: Arc<Metrics>,
    stopped: watch::Receiver<bool>,
}

/// Counts a connection for as long as it is there.
struct Counted(Arc<Metrics>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.disconnected();
    }
}

impl<S: HttpService> Connection<S> {
    async fn run(self, stream: TcpStream, _places: (OwnedSemaphorePermit, Place)) {
        self.metrics.connected();
        let _counted = Counted(Arc::clone(&self.metrics));
        let remote = self.remote;
        if let Err(error) = self.shake_hands(stream).await {
            tracing::debug!(peer = %remote, error = corten_base::chain(&error), "connection ended");
        }
    }

    async fn shake_hands(self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let info = TcpConnectInfo { local_addr: stream.local_addr().ok(), remote_addr: Some(self.remote) };
        match self.tls.clone() {
            None => self.serve(stream, info).await,
            Some(config) => {
                let handshake = TlsAcceptor::from(config).accept(stream);
                let stream = timeout(HANDSHAKE_TIMEOUT, handshake).await??;
                self.serve(stream, info).await
            }
        }
    }

    async fn serve<I>(self, stream: I, info: TcpConnectInfo) -> io::Result<()>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { service, mut stopped, .. } = self;
        let is_used = Arc::new(AtomicBool::new(false));
        let used = Arc::clone(&is_used);
        let service = service_fn(move |request: Request<Incoming>| {
            used.store(true, Ordering::Relaxed);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(info.clone());
            service.clone().oneshot(request)
        });
        let builder = builder();
        let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(served);
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(io::Error::other),
            () = unused(&is_used) => return Err(io::Error::other("no request came")),
            () = told(&mut stopped) => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await.map_err(io::Error::other)
    }
}

/// Returns when the listener stops, or is gone.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
}

/// Returns when no request has come in time.
async fn unused(is_used: &AtomicBool) {
    sleep(FIRST_REQUEST_TIMEOUT).await;
    if is_used.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADERS_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(STREAM_WINDOW as usize)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

#[cfg(test)]
mod tests;
