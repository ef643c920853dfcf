//! The listener on port 50000: accepts, shakes hands, serves; follows the machine's identity while it runs.
//!
//! Certificates and CAs are taken from the identity at each handshake, so rotation needs no restart. When the
//! machine leaves maintenance mode, connections that showed no certificate are ended.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corten_base::Clock;
use corten_relay::{CONNECTION_WINDOW, HEADERS_BYTES_MAX, STREAM_WINDOW, STREAMS_MAX};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::caller::Peer;
use crate::identity::{Feed, Identity};
use crate::proxy::Proxy;
use crate::tls::{self, TlsError};

/// Connections at a time; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 1024;

const BACKLOG: u32 = 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// For what is under way when a connection is to end; applying the first configuration waits for a partition.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(60);
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Not an address with a port.
    #[error("invalid listen address `{0}`")]
    Address(String),
    /// Refused by the kernel.
    #[error("failed to listen on {address}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Serves for as long as the feed lives. An address that is not there yet is tried again.
pub async fn serve(mut feed: Feed, proxy: Arc<Proxy>, clock: Clock, bound: impl Fn(SocketAddr)) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut door = None;
    let mut sweep = interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let current = feed.borrow_and_update().clone();
        if let Some(identity) = current {
            door = Door::follow(door, &identity, &proxy, &clock, &bound);
        }
        loop {
            tokio::select! {
                // Every arm may be dropped at any time: a change stays marked, an unaccepted connection stays queued.
                changed = feed.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                accepted = accept(door.as_ref(), &places) => match accepted {
                    Ok((stream, address, config, place)) => {
                        let connection = Connection { address, config, proxy: proxy.clone(), feed: feed.clone() };
                        connections.spawn(connection.run(stream, place));
                    }
                    Err(error) => {
                        tracing::warn!(error = corten_base::chain(&error), "cannot accept a connection");
                        sleep(RETRY_DELAY).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                () = sleep(RETRY_DELAY), if door.is_none() && feed.borrow().is_some() => break,
                _ = sweep.tick() => proxy.remotes.sweep().await,
            }
        }
    }
}

/// An open listener and the TLS set-up for what it accepts next.
struct Door {
    listen: String,
    listener: TcpListener,
    config: Arc<ServerConfig>,
}

impl Door {
    /// The door that fits `identity`; on failure the old one stays, so that a bad certificate does not lock out.
    fn follow(
        old: Option<Self>,
        identity: &Identity,
        proxy: &Proxy,
        clock: &Clock,
        bound: &impl Fn(SocketAddr),
    ) -> Option<Self> {
        let (config, client) = match material(identity, clock) {
            Ok(material) => material,
            Err(error) => {
                tracing::error!(error = corten_base::chain(&error), "the new certificates cannot be used");
                return old;
            }
        };
        proxy.remotes.set_credentials(client);
        if let Some(old) = old.filter(|door| door.listen == identity.listen) {
            return Some(Self { config, ..old });
        }
        match listen(&identity.listen) {
            Ok(listener) => {
                if let Ok(address) = listener.local_addr() {
                    tracing::info!(%address, "listening");
                    bound(address);
                }
                Some(Self { listen: identity.listen.clone(), listener, config })
            }
            Err(error) => {
                tracing::error!(error = corten_base::chain(&error), "not listening");
                None
            }
        }
    }
}

type Material = (Arc<ServerConfig>, Option<Arc<rustls::ClientConfig>>);

fn material(identity: &Identity, clock: &Clock) -> Result<Material, TlsError> {
    Ok((tls::server(identity, clock)?, tls::client(identity, clock)?))
}

async fn accept(
    door: Option<&Door>,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, Arc<ServerConfig>, OwnedSemaphorePermit)> {
    let Some(door) = door else { return std::future::pending().await };
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = door.listener.accept().await?;
    Ok((stream, address, door.config.clone(), place))
}

/// Binds `:port` to all addresses of both families, anything else as it says.
fn listen(text: &str) -> Result<TcpListener, ListenError> {
    let invalid = || ListenError::Address(text.to_owned());
    let Some(port) = text.strip_prefix(':') else {
        return bind(text.parse().map_err(|_| invalid())?);
    };
    let port: u16 = port.parse().map_err(|_| invalid())?;
    bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))
        .or_else(|_| bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)))
}

fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let open = || {
        let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|source| ListenError::Bind { address, source })
}

struct Connection {
    address: SocketAddr,
    config: Arc<ServerConfig>,
    proxy: Arc<Proxy>,
    feed: Feed,
}

impl Connection {
    async fn run(self, stream: TcpStream, _place: OwnedSemaphorePermit) {
        let address = self.address;
        if let Err(error) = self.serve(stream).await {
            tracing::debug!(peer = %address, error = corten_base::chain(&error), "connection ended");
        }
    }

    async fn serve(mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let own = stream.local_addr().ok().map(|address| address.ip().to_canonical());
        let handshake = TlsAcceptor::from(self.config).accept(stream);
        let tls = timeout(HANDSHAKE_TIMEOUT, handshake).await??;
        let session = tls.get_ref().1;
        if session.alpn_protocol() != Some(tls::ALPN) {
            return Err(io::Error::other("the peer does not speak h2"));
        }
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let peer = Arc::new(Peer::new(self.address.ip().to_canonical(), own, certificate));
        let (proxy, caller) = (self.proxy, peer.clone());
        let service = service_fn(move |request| {
            let (proxy, caller) = (proxy.clone(), caller.clone());
            async move { proxy.handle(&caller, request).await }
        });
        let mut connection = std::pin::pin!(builder().serve_connection(TokioIo::new(tls), service));
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(io::Error::other),
            () = unwelcome(&mut self.feed, &peer) => {}
        }
        connection.as_mut().graceful_shutdown();
        match timeout(GOODBYE_TIMEOUT, connection).await {
            Ok(ended) => ended.map_err(io::Error::other),
            Err(_) => Ok(()),
        }
    }
}

/// Returns when the machine no longer wants this peer.
async fn unwelcome(feed: &mut Feed, peer: &Peer) {
    let gone = feed.wait_for(|identity| identity.as_ref().is_some_and(|identity| !peer.is_welcome(identity)));
    if gone.await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
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
