//! From endpoints to a connection: tries them in turn, reconnects to the next one when a connection breaks.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::resolve;
use crate::tls::{Credentials, TlsError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// Endpoints that cannot be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// There is none.
    #[error("no endpoint is given")]
    NoEndpoint,
    /// Not a host, optionally with a port.
    #[error("invalid endpoint {0:?}")]
    Endpoint(String),
    /// Credentials that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A host with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    host: String,
    port: u16,
}

/// Where a service is; one of several equal places.
#[derive(Clone, Debug)]
pub struct Endpoints(Vec<Address>);

impl Endpoints {
    /// Reads endpoints such as `10.5.0.2`, `node:50000`, `[fd00::1]:50000` or `https://host`; `default_port` counts
    /// where none is given, 443 for an URL.
    ///
    /// # Errors
    /// When there is no endpoint or one cannot be read.
    pub fn parse<S: AsRef<str>>(
        texts: impl IntoIterator<Item = S>,
        default_port: u16,
    ) -> Result<Self, DialError> {
        let parse = |text: S| {
            let text = text.as_ref().trim();
            address(text, default_port).ok_or_else(|| DialError::Endpoint(text.to_owned()))
        };
        let all = texts.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() { Err(DialError::NoEndpoint) } else { Ok(Self(all)) }
    }

    /// A channel that connects when it is used first. Must be called inside a runtime.
    ///
    /// # Errors
    /// When the credentials cannot be used.
    pub fn connect(self, credentials: &Credentials) -> Result<Channel, DialError> {
        let config = credentials.config()?;
        let first = self.0.first().ok_or(DialError::NoEndpoint)?;
        let uri = format!("https://{}", authority(first));
        let endpoint = Endpoint::from_shared(uri).map_err(|_| DialError::Endpoint(first.host.clone()))?;
        let endpoint = endpoint
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .user_agent(concat!("corten/", env!("CARGO_PKG_VERSION")))
            .map_err(|_| DialError::Endpoint(first.host.clone()))?;
        let dialer = Arc::new(Dialer { addresses: self.0, next: AtomicUsize::new(0), config });
        Ok(endpoint.connect_with_connector_lazy(service_fn(move |_| {
            let dialer = dialer.clone();
            async move { dialer.dial().await.map(TokioIo::new) }
        })))
    }
}

/// A channel to a service on this machine.
pub fn unix(path: PathBuf) -> Channel {
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    }))
}

struct Dialer {
    addresses: Vec<Address>,
    next: AtomicUsize,
    config: Arc<ClientConfig>,
}

impl Dialer {
    /// The first endpoint that answers, beginning after the one that was used last.
    async fn dial(&self) -> io::Result<TlsStream<TcpStream>> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let mut failures = Vec::new();
        for offset in 0..self.addresses.len() {
            let address = &self.addresses[(start + offset) % self.addresses.len()];
            match timeout(CONNECT_TIMEOUT, self.dial_one(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failures.push(format!("{}: {error}", authority(address))),
                Err(_) => failures.push(format!("{}: timed out", authority(address))),
            }
        }
        Err(io::Error::other(failures.join("; ")))
    }

    async fn dial_one(&self, address: &Address) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "no such host");
        for ip in resolve::lookup(&address.host).await? {
            match TcpStream::connect((ip, address.port)).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return TlsConnector::from(self.config.clone()).connect(name, stream).await;
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

fn address(text: &str, default_port: u16) -> Option<Address> {
    let (text, default_port) = match text.strip_prefix("https://") {
        Some(rest) => (rest.trim_end_matches('/'), 443),
        None => (text, default_port),
    };
    if text.parse::<IpAddr>().is_ok() {
        return Some(Address { host: text.to_owned(), port: default_port });
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<IpAddr>().ok()?;
            (host, port.strip_prefix(':').or(if port.is_empty() { None } else { Some("x") }))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(Ok(default_port), str::parse).ok()?;
    let fits = !host.is_empty() && !host.contains(['/', '[', ']', ' ', '@']);
    fits.then(|| Address { host: host.to_owned(), port })
}

fn authority(address: &Address) -> String {
    if address.host.contains(':') {
        format!("[{}]:{}", address.host, address.port)
    } else {
        format!("{}:{}", address.host, address.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_have_a_host_and_a_port() {
        let good = [
            ("10.5.0.2", "10.5.0.2:50000"),
            ("10.5.0.2:1", "10.5.0.2:1"),
            ("fd00::1", "[fd00::1]:50000"),
            ("[fd00::1]", "[fd00::1]:50000"),
            ("[fd00::1]:2", "[fd00::1]:2"),
            ("node", "node:50000"),
            ("https://omni.example/", "omni.example:443"),
            ("https://omni.example:8443", "omni.example:8443"),
        ];
        for (text, expected) in good {
            assert_eq!(authority(&address(text, 50000).expect(text)), expected, "{text}");
        }
        for bad in ["", ":1", "node:x", "[node]:1", "[fd00::1]x", "a/b", "http://x", "node:70000"] {
            assert_eq!(address(bad, 50000), None, "{bad}");
        }
        assert!(matches!(Endpoints::parse(Vec::<String>::new(), 1), Err(DialError::NoEndpoint)));
    }

    #[test]
    fn any_endpoint_is_read_as_one_that_can_be_written_again_or_refused() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            if let Some(read) = address(&text, 50_000) {
                assert_eq!(address(&authority(&read), 1), Some(read), "{text}");
            }
        });
    }
}
