//! The listener on port 50001: TLS with our certificate, none asked from clients; few, small, short calls.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use corten_api::securityapi::security_service_server::SecurityServiceServer;
use corten_base::Clock;
use corten_pki::{Certificate, PkiError, PrivateKey};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::service::Signer;
use crate::{Feed, Identity, Options};

const CONNECTIONS_MAX: usize = 256;
const STREAMS_MAX: u32 = 8;
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
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
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
                changed = feed.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                accepted = accept(&listener, config.as_ref(), &places) => match accepted {
                    Ok((stream, config, place)) => {
                        let service = service.clone();
                        connections.spawn(async move {
                            let _place = place;
                            if let Err(error) = connection(stream, config, service).await {
                                tracing::debug!(error = corten_base::chain(&error), "connection ended");
                            }
                        });
                    }
                    Err(error) => {
                        tracing::warn!(error = corten_base::chain(&error), "cannot accept a connection");
                        sleep(RETRY_DELAY).await;
                    }
                },
                Some(_) = connections.join_next() => {}
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

type Accepted = (TcpStream, Arc<ServerConfig>, tokio::sync::OwnedSemaphorePermit);

async fn accept(
    listener: &TcpListener,
    config: Option<&Arc<ServerConfig>>,
    places: &Arc<Semaphore>,
) -> io::Result<Accepted> {
    let Some(config) = config else { return std::future::pending().await };
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, config.clone(), place))
}

async fn connection(stream: TcpStream, config: Arc<ServerConfig>, service: Service) -> io::Result<()> {
    let tls = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await??;
    let mut builder = Builder::new(TokioExecutor::new()).http2_only();
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX);
    let serving = builder.serve_connection(TokioIo::new(tls), TowerToHyperService::new(service));
    timeout(CONNECTION_TIMEOUT, serving).await?.map_err(io::Error::other)
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
