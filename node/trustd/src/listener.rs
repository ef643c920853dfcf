//! The listener on port 50001: TLS with our certificate, none asked from clients; few, small, short calls. Whoever comes
//! is taken from the kernel's queue at once, and let go at once if there is no place ([`Guests`]): anybody may come, and a
//! worker's certificate must not wait for those who say nothing.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use corten_api::securityapi::security_service_server::SecurityServiceServer;
use corten_base::{Clock, Rate, Tasks};
use corten_pki::{Certificate, PkiError, PrivateKey};
use corten_relay::{Arrival, Guests, Handshake, Welcome};
use corten_sys::sockets;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::service::Signer;
use crate::{Feed, Identity, Options};

/// Connections. A machine needs one, for a moment, twice a day.
const GUESTS: Welcome = Welcome {
    guests: 64,
    guests_each: 16,
    silent: 128,
    shaking: 16,
    arrivals_each: 8,
    rate: Rate { per_second: 10, burst: 50 },
};
const STREAMS_MAX: u32 = 8;
const HEADERS_BYTES_MAX: u32 = 16 * 1024;
/// Bytes that may be unread of a call, and of all calls on a connection.
const WINDOW: u32 = 64 * 1024;
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Nobody needs longer for a certificate.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
const RETRY_DELAY: Duration = Duration::from_secs(1);
const BACKLOG: u32 = 256;

/// A certificate that cannot be served with.
#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error("failed to read the serving certificate")]
    Read(#[from] PkiError),
    #[error("failed to set up TLS")]
    Tls(#[from] rustls::Error),
}

type Service = SecurityServiceServer<Signer>;

/// Accepts for as long as the feed lives; the certificate is the current one at each handshake.
pub async fn serve(options: &Options, mut feed: Feed, signer: Signer) {
    let service = SecurityServiceServer::new(signer)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let Some(listener) = listen(options).await else { return };
    let guests = Guests::new(GUESTS);
    let mut connections = Tasks::new();
    let mut config: Option<Arc<ServerConfig>> = None;
    loop {
        if let Some(identity) = feed.borrow_and_update().clone() {
            match tls(&identity, &options.clock) {
                Ok(current) => config = Some(current),
                Err(error) => {
                    tracing::error!(error = corten_base::chain(&error), "the certificate cannot be used")
                }
            }
        }
        loop {
            tokio::select! {
                // Every arm may be dropped at any time: a change stays marked, an unaccepted connection stays queued.
                // Whoever comes after a change finds it made.
                biased;
                changed = feed.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(_) = connections.ended() => {}
                accepted = accept(&listener, config.as_ref()) => match accepted {
                    Ok((stream, address, config)) => {
                        let Some(arrival) = guests.arrive(address.ip(), Instant::now()) else { continue };
                        let service = service.clone();
                        connections.start(async move {
                            if let Err(error) = connection(stream, config, service, arrival).await {
                                tracing::debug!(error = corten_base::chain(&error), "connection ended");
                            }
                        });
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

async fn listen(options: &Options) -> Option<TcpListener> {
    loop {
        let every = options.listen.ip().is_unspecified();
        let four = SocketAddr::from((Ipv4Addr::UNSPECIFIED, options.listen.port()));
        match bind(options.listen).or_else(|error| if every { bind(four) } else { Err(error) }) {
            Ok(listener) => {
                if let Ok(address) = listener.local_addr() {
                    tracing::info!(%address, "listening");
                    (options.bound)(address);
                }
                return Some(listener);
            }
            Err(error) => tracing::error!(error = corten_base::chain(&error), "not listening"),
        }
        sleep(RETRY_DELAY).await;
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(
    listener: &TcpListener,
    config: Option<&Arc<ServerConfig>>,
) -> io::Result<(TcpStream, SocketAddr, Arc<ServerConfig>)> {
    let Some(config) = config else { return std::future::pending().await };
    let (stream, address) = listener.accept().await?;
    Ok((stream, address, config.clone()))
}

async fn connection(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    service: Service,
    arrival: Arrival,
) -> io::Result<()> {
    let handshake = Handshake { config, limit: HANDSHAKE_TIMEOUT, wake_at: sockets::wake_at };
    let tls = handshake.shake(stream, &arrival, |_| ()).await?;
    let guest = arrival.settle().ok_or_else(|| io::Error::other("there is no place for it"))?;
    let mut builder = Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(WINDOW as usize);
    let serving = builder.serve_connection(TokioIo::new(tls), TowerToHyperService::new(service));
    tokio::select! {
        served = timeout(CONNECTION_TIMEOUT, serving) => served?.map_err(io::Error::other),
        // Whoever has a place longer than a call takes gives it to somebody who has none.
        () = guest.leaves() => Ok(()),
    }
}

fn tls(identity: &Identity, clock: &Clock) -> Result<Arc<ServerConfig>, SetupError> {
    let chain = Certificate::bundle_from_pem(&identity.certificates)?;
    let key = PrivateKey::from_pem(identity.key.reveal())?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(ClockTime(clock.clone())))
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)?
        .with_no_client_auth()
        .with_single_cert(chain.iter().map(Certificate::to_rustls).collect(), key.to_rustls())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct ClockTime(Clock);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}
