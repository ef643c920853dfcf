//! The connection: addresses tried in order, mutual TLS or none, one channel that dials again by itself.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corten_base::Secret;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::error::Error;
use crate::tls;
use crate::wire::grpc::health::v1 as health;

/// Limit of a call that reads or changes little.
pub(crate) const CALL: Duration = Duration::from_secs(15);
/// Largest message accepted.
pub(crate) const MESSAGE: usize = 32 << 20;
/// Limit for one address: TCP and TLS together.
const DIAL: Duration = Duration::from_secs(5);
/// A connection without traffic is asked for life this often.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// etcd hangs up on those who ask for life more often.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);
/// More members than a cluster has.
const ENDPOINTS: usize = 64;

/// Certificates and key, all PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster's authorities.
    pub ca: Vec<u8>,
    /// Our client certificate.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Secret<Vec<u8>>,
}

/// Where the cluster is and who we are.
#[derive(Clone, Debug)]
pub struct Config {
    /// `https://ADDRESS:PORT` of members, tried in order. Addresses only; members are known by address.
    pub endpoints: Vec<String>,
    /// Who we are.
    pub identity: Identity,
}

/// Addresses of a host, on their way.
pub type Looked = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;
/// Finds the addresses of a host by its name; an address is its own.
pub type Lookup = fn(String) -> Looked;

/// A cluster that somebody else runs.
#[derive(Clone, Debug)]
pub struct Remote {
    /// `http://HOST:PORT` or `https://HOST:PORT` of members. Each new connection begins with another one.
    pub endpoints: Vec<String>,
    /// Who we are; needed for `https`.
    pub identity: Option<Identity>,
    /// How often a connection without traffic is asked for life; less than five seconds count as five.
    pub keep_alive: Duration,
    /// How long the answer may take.
    pub keep_alive_timeout: Duration,
    /// Finds hosts.
    pub lookup: Lookup,
}

/// A connection to a cluster.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) channel: Channel,
    connector: Connector,
}

impl Client {
    /// A client; it dials when it is first used.
    ///
    /// # Errors
    /// When there is no usable URL, or a certificate or the key cannot be read.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let places = config.endpoints.iter().take(ENDPOINTS).map(|it| address(it).map(Place::from));
        Self::over(Connector {
            places: places.collect::<Result<_, Error>>()?,
            turn: None,
            tls: Some(tls::client_config(&config.identity)?),
            lookup: literal,
            keep_alive: KEEP_ALIVE,
            keep_alive_timeout: KEEP_ALIVE,
        })
    }

    /// A client of a cluster that somebody else runs; it dials when it is first used.
    ///
    /// # Errors
    /// When there is no usable URL, or a certificate or the key is missing or cannot be read.
    pub fn remote(remote: &Remote) -> Result<Self, Error> {
        let places = remote.endpoints.iter().take(ENDPOINTS).map(|it| place(it));
        let places: Arc<[Place]> = places.collect::<Result<_, Error>>()?;
        let tls = match (&remote.identity, places.iter().find(|place| place.is_tls)) {
            (_, None) => None,
            (Some(identity), _) => Some(tls::client_config(identity)?),
            (None, Some(place)) => {
                let text = format!("{} speaks TLS, and there are no certificates for it", place.host);
                return Err(Error::Config(text));
            }
        };
        Self::over(Connector {
            places,
            turn: Some(Arc::default()),
            tls,
            lookup: remote.lookup,
            keep_alive: remote.keep_alive.max(KEEP_ALIVE_MIN),
            keep_alive_timeout: remote.keep_alive_timeout,
        })
    }

    /// The same client over a new connection, when the member at the other end of this one is of no use.
    ///
    /// # Errors
    /// Never, as far as the first connection could be prepared.
    pub fn redialled(&self) -> Result<Self, Error> {
        Self::over(self.connector.clone())
    }

    fn over(connector: Connector) -> Result<Self, Error> {
        if connector.places.is_empty() {
            return Err(Error::Config("no endpoints".to_owned()));
        }
        let dialer = connector.clone();
        let connect = service_fn(move |_: Uri| {
            let dialer = dialer.clone();
            async move { dialer.connect().await.map(TokioIo::new) }
        });
        // The authority is never resolved: the connector dials the addresses.
        let channel = Endpoint::from_static("http://etcd.local")
            .keep_alive_while_idle(true)
            .http2_keep_alive_interval(connector.keep_alive)
            .keep_alive_timeout(connector.keep_alive_timeout)
            .connect_with_connector_lazy(connect);
        Ok(Self { channel, connector })
    }

    /// Whether the member that answers serves (gRPC health check).
    ///
    /// # Errors
    /// When no member answers.
    pub async fn healthy(&self) -> Result<bool, Error> {
        let answer = health::health_client::HealthClient::new(self.channel.clone())
            .check(request(health::HealthCheckRequest::default()))
            .await
            .map_err(Error::call("tell its health"))?;
        Ok(answer.into_inner().status() == health::health_check_response::ServingStatus::Serving)
    }
}

/// A request with the usual limit.
pub(crate) fn request<T>(message: T) -> tonic::Request<T> {
    limited(message, CALL)
}

pub(crate) fn limited<T>(message: T, limit: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit);
    request
}

fn address(url: &str) -> Result<SocketAddr, Error> {
    let wrong = || Error::Config(format!("`{url}` is not https://ADDRESS:PORT"));
    let rest = url.strip_prefix("https://").ok_or_else(wrong)?;
    rest.trim_end_matches('/').parse().map_err(|_| wrong())
}

/// Where a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    host: String,
    port: u16,
    is_tls: bool,
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port(), is_tls: true }
    }
}

fn place(url: &str) -> Result<Place, Error> {
    let wrong = || Error::Config(format!("`{url}` is not http://HOST:PORT or https://HOST:PORT"));
    let (rest, is_tls) = match url.strip_prefix("https://") {
        Some(rest) => (rest, true),
        None => (url.strip_prefix("http://").ok_or_else(wrong)?, false),
    };
    let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let fits = !host.is_empty() && !host.contains(['/', '@', '[', ']', ' ']);
    let port: u16 = port.parse().map_err(|_| wrong())?;
    if fits { Ok(Place { host: host.to_owned(), port, is_tls }) } else { Err(wrong()) }
}

/// The address that a text is.
fn literal(host: String) -> Looked {
    let address = host.parse::<IpAddr>().map(|address| vec![address]).map_err(io::Error::other);
    Box::pin(std::future::ready(address))
}

/// A connection with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[derive(Clone, Debug)]
struct Connector {
    places: Arc<[Place]>,
    /// Counts connections, so that each begins with another place; without it all begin with the first one.
    turn: Option<Arc<AtomicUsize>>,
    tls: Option<Arc<ClientConfig>>,
    lookup: Lookup,
    keep_alive: Duration,
    keep_alive_timeout: Duration,
}

impl Connector {
    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let count = self.places.len();
        let turn = self.turn.as_ref().map_or(0, |turn| turn.fetch_add(1, Ordering::Relaxed));
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for place in self.places.iter().cycle().skip(turn % count.max(1)).take(count) {
            match tokio::time::timeout(DIAL, self.dial(place)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
            let Place { host, port, .. } = place;
            tracing::debug!(%host, port, error = %last, "cannot connect to this etcd member");
        }
        Err(last)
    }

    async fn dial(&self, place: &Place) -> io::Result<Box<dyn Stream>> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for ip in (self.lookup)(place.host.clone()).await? {
            match TcpStream::connect((ip, place.port)).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return self.protect(place, stream).await;
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn protect(&self, place: &Place, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        let Some(tls) = self.tls.as_ref().filter(|_| place.is_tls) else { return Ok(Box::new(stream)) };
        let name = match place.host.parse::<IpAddr>() {
            Ok(ip) => ServerName::from(ip),
            Err(_) => ServerName::try_from(place.host.clone()).map_err(io::Error::other)?,
        };
        Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_addresses() {
        assert_eq!(address("https://[fd00::1]:2379/").unwrap().to_string(), "[fd00::1]:2379");
        for bad in ["http://10.0.0.1:2379", "https://etcd:2379", "https://10.0.0.1", ""] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn members_elsewhere_have_names_and_tls_or_none() {
        let found = |url: &str| place(url).map(|it| (it.host, it.port, it.is_tls)).unwrap();
        assert_eq!(found("http://localhost:2379"), ("localhost".to_owned(), 2379, false));
        assert_eq!(found("https://[fd00::1]:2379/"), ("fd00::1".to_owned(), 2379, true));
        for bad in ["etcd:2379", "http://etcd", "https://:2379", "http://a/b:1", "http://a:b", "ftp://a:1"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tls_without_certificates_is_told_before_anything_is_dialled() {
        let remote = Remote {
            endpoints: vec!["http://a:1".to_owned(), "https://b:1".to_owned()],
            identity: None,
            keep_alive: KEEP_ALIVE,
            keep_alive_timeout: KEEP_ALIVE,
            lookup: literal,
        };
        let text = Client::remote(&remote).unwrap_err().to_string();
        assert!(text.contains("b speaks TLS"), "{text}");
    }

    proptest::proptest! {
        #[test]
        fn no_endpoint_makes_the_parser_panic(url in ".{0,60}") {
            let _ = (address(&url), place(&url));
        }
    }

    #[test]
    fn any_url_of_a_member_is_a_place_or_refused() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            // A member names itself as it likes.
            drop(address(&text));
            if let Ok(place) = place(&text) {
                assert!(!place.host.is_empty() && !place.host.contains('/'));
            }
        });
    }
}
