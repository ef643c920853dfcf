//! The listener on port 50000: accepts, shakes hands, serves; follows the machine's identity while it runs.
//!
//! Certificates and CAs are taken from the identity at each handshake, so rotation needs no restart. When the
//! machine leaves maintenance mode, connections that showed no certificate are ended. Whoever comes is taken from the
//! kernel's queue at once, and let go at once if there is no place ([`Guests`]).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Clock, Tasks};
use corten_relay::{Arrival, Counts, Guest, Guests, Handshake};
use corten_sys::sockets;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::server::TlsStream;

use crate::bounds::{
    ANSWER_BYTES_MAX, EVICTION_TIMEOUT, GOODBYE_TIMEOUT, GUESTS, HANDSHAKE_TIMEOUT, HEADERS_BYTES_MAX,
    PING_INTERVAL, PING_TIMEOUT, REQUEST_WINDOW, RESETS_MAX, STREAMS_MAX, TLS_BYTES_MAX,
};
use crate::caller::Peer;
use crate::identity::{Feed, Identity, KeyPair};
use crate::proxy::Proxy;
use crate::tls::{self, TlsError};

/// Connections that wait in the kernel; what it allows at most by default (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;
/// Connections that are taken one after the other, and the pause after them: a flood takes a third of a processor at most.
const ARRIVALS_AT_ONCE: u32 = 16;
const ARRIVALS_PAUSE: Duration = Duration::from_millis(1);
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
    let guests = Guests::new(GUESTS);
    let mut told = guests.counts();
    let mut connections = Tasks::new();
    let (mut door, mut arrivals) = (None, 0_u32);
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
                // Whoever comes after a change finds it made, and a flood does not keep the rest from its turn.
                biased;
                changed = feed.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(_) = connections.ended() => {}
                () = sleep(RETRY_DELAY), if door.is_none() && feed.borrow().is_some() => break,
                _ = sweep.tick() => {
                    proxy.remotes.sweep();
                    told = tell(&guests, told);
                }
                accepted = accept(door.as_ref()) => match accepted {
                    Ok((stream, address, config)) => {
                        if let Some(arrival) = guests.arrive(address.ip(), Instant::now()) {
                            let connection = Connection { address, config, proxy: proxy.clone(), feed: feed.clone() };
                            connections.start(connection.run(stream, arrival));
                        }
                        // Calls under way do not wait for a flood of newcomers, also not of those who have to go: others
                        // of this process come first, and then others on this processor.
                        arrivals = arrivals.wrapping_add(1);
                        match arrivals.is_multiple_of(ARRIVALS_AT_ONCE) {
                            true => sleep(ARRIVALS_PAUSE).await,
                            false => yield_now().await,
                        }
                    }
                    Err(error) => {
                        tracing::warn!(error = corten_base::chain(&error), "cannot accept a connection");
                        sleep(RETRY_DELAY).await;
                    }
                },
            }
        }
    }
}

/// Says how many had to go since the last time, if any had to.
fn tell(guests: &Guests, before: Counts) -> Counts {
    let now = guests.counts();
    if (now.refused, now.evicted) != (before.refused, before.evicted) {
        tracing::warn!(
            served = now.served - before.served,
            refused = now.refused - before.refused,
            evicted = now.evicted - before.evicted,
            "more connections than there are places"
        );
    }
    now
}

/// An open listener and the TLS set-up for what it accepts next.
struct Door {
    listen: String,
    listener: TcpListener,
    config: Arc<ServerConfig>,
    /// What the set-up was made from.
    credentials: Credentials,
}

/// What of an identity makes TLS.
#[derive(PartialEq, Eq)]
struct Credentials {
    server: KeyPair,
    client: Option<KeyPair>,
    accepted_cas: Vec<u8>,
    verify_clients: bool,
    routing: bool,
}

impl Credentials {
    fn of(identity: &Identity) -> Self {
        Self {
            server: identity.server.clone(),
            client: identity.client.clone(),
            accepted_cas: identity.accepted_cas.clone(),
            verify_clients: identity.verify_clients,
            routing: identity.routing,
        }
    }
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
        let credentials = Credentials::of(identity);
        // Names and addresses of the machine change more often than what it is known by; connections to others stay.
        if old.as_ref().is_some_and(|door| door.credentials == credentials && door.listen == identity.listen)
        {
            return old;
        }
        let (config, client) = match material(identity, clock) {
            Ok(material) => material,
            Err(error) => {
                tracing::error!(error = corten_base::chain(&error), "the new certificates cannot be used");
                return old;
            }
        };
        proxy.remotes.set_credentials(client);
        if let Some(old) = old.filter(|door| door.listen == identity.listen) {
            return Some(Self { config, credentials, ..old });
        }
        match listen(&identity.listen) {
            Ok(listener) => {
                if let Ok(address) = listener.local_addr() {
                    tracing::info!(%address, "listening");
                    bound(address);
                }
                Some(Self { listen: identity.listen.clone(), listener, config, credentials })
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

async fn accept(door: Option<&Door>) -> io::Result<(TcpStream, SocketAddr, Arc<ServerConfig>)> {
    let Some(door) = door else { return std::future::pending().await };
    let (stream, address) = door.listener.accept().await?;
    Ok((stream, address, door.config.clone()))
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
    async fn run(self, stream: TcpStream, arrival: Arrival) {
        let address = self.address;
        if let Err(error) = self.serve(stream, arrival).await {
            tracing::debug!(peer = %address, error = corten_base::chain(&error), "connection ended");
        }
    }

    async fn serve(self, stream: TcpStream, arrival: Arrival) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let own = stream.local_addr().ok().map(|address| address.ip().to_canonical());
        let handshake = Handshake {
            config: Arc::clone(&self.config),
            limit: HANDSHAKE_TIMEOUT,
            wake_at: sockets::wake_at,
        };
        let bounded = |tls: &mut rustls::ServerConnection| tls.set_buffer_limit(Some(TLS_BYTES_MAX));
        let tls = handshake.shake(stream, &arrival, bounded).await?;
        let session = tls.get_ref().1;
        if session.alpn_protocol() != Some(tls::ALPN) {
            return Err(io::Error::other("the peer does not speak h2"));
        }
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let peer = Peer::new(self.address.ip().to_canonical(), own, certificate);
        let guest = arrival.settle().ok_or_else(|| io::Error::other("there is no place for it"))?;
        self.answer(tls, peer, guest).await
    }

    async fn answer(mut self, tls: TlsStream<TcpStream>, peer: Peer, guest: Guest) -> io::Result<()> {
        let mut goodbye = GOODBYE_TIMEOUT;
        let (peer, calls) = (Arc::new(peer), guest.calls());
        let (proxy, caller) = (self.proxy, Arc::clone(&peer));
        let service = service_fn(move |request| {
            let (proxy, caller, call) = (Arc::clone(&proxy), Arc::clone(&caller), calls.begin());
            async move { proxy.handle(&caller, request, call).await }
        });
        let mut connection = std::pin::pin!(builder().serve_connection(TokioIo::new(tls), service));
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(io::Error::other),
            () = unwelcome(&mut self.feed, &peer) => {}
            () = guest.leaves() => goodbye = EVICTION_TIMEOUT,
        }
        connection.as_mut().graceful_shutdown();
        match timeout(goodbye, connection).await {
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
        .initial_stream_window_size(REQUEST_WINDOW)
        .initial_connection_window_size(REQUEST_WINDOW * STREAMS_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_send_buf_size(ANSWER_BYTES_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}
