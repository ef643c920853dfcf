//! One connection to a discovery service.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// Time for one address to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that is not answered for so long is broken: pause between pings, and time for the answer.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(15));
/// The authorities that the image ships.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name or address, without brackets.
    host: String,
    port: u16,
    /// Whether it proves who it is, to the machine's list of authorities.
    is_tls: bool,
}

impl Place {
    /// Reads `host:port`; without a port it is the usual one.
    pub fn parse(text: &str, is_tls: bool) -> Option<Self> {
        let text = Some(text).filter(|text| !text.contains('/'))?;
        let scheme = if is_tls { "https" } else { "http" };
        let url = corten_config::values::url(&format!("{scheme}://{text}"))?;
        Some(Self { port: url.port_or_default(), host: url.host, is_tls })
    }

    /// The place that a service sends to, reached the same way.
    pub fn elsewhere(&self, text: &str) -> Option<Self> {
        Self::parse(text, self.is_tls)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, is_tls } = self;
        let scheme = if *is_tls { "https" } else { "http" };
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

/// A connection. When it breaks, calls over it fail.
///
/// # Errors
/// When no address takes a connection, or the service does not prove who it is.
pub async fn connect(place: &Place) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(place.to_string())?
        .http2_keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .keep_alive_while_idle(true);
    let stream = tcp(place).await?;
    if !place.is_tls {
        return over(endpoint, stream).await;
    }
    let name = ServerName::try_from(place.host.clone())?;
    let stream = TlsConnector::from(Arc::new(tls()?)).connect(name, stream).await;
    over(endpoint, stream.context("it does not prove who it is")?).await
}

/// A connection to the first address that takes one.
async fn tcp(place: &Place) -> anyhow::Result<TcpStream> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in corten_client::resolve::lookup(&place.host).await? {
        let address = SocketAddr::new(address, place.port);
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure.into())
}

async fn over<S>(endpoint: Endpoint, stream: S) -> anyhow::Result<Channel>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut once = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let taken = once.take().ok_or_else(|| io::Error::other("the connection is broken"));
        std::future::ready(taken)
    });
    Ok(endpoint.connect_with_connector(connector).await?)
}

fn tls() -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(ROOTS).with_context(|| format!("cannot read {ROOTS}"))?;
    roots.add_parsable_certificates(certificates.flatten());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        let written = |text, is_tls| Place::parse(text, is_tls).map(|place| place.to_string());
        assert_eq!(written("discovery.test:443", true).as_deref(), Some("https://discovery.test:443"));
        assert_eq!(written("discovery.test", true).as_deref(), Some("https://discovery.test:443"));
        assert_eq!(written("[fdae::1]:8093", false).as_deref(), Some("http://[fdae::1]:8093"));
        for none in ["", ":1", "a:x", "a b:1", "[a]:1", "https://"] {
            assert_eq!(written(none, true), None, "{none}");
        }
        let place = Place::parse("[fdae::1]:8093", false).expect("a place");
        assert_eq!(place.elsewhere("b:1").map(|place| place.to_string()).as_deref(), Some("http://b:1"));
    }

    #[test]
    fn any_text_is_a_place_that_is_written_alike_or_none() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            if let Some(read) = Place::parse(&text, false) {
                let written = read.to_string();
                let again = written.strip_prefix("http://").and_then(|place| Place::parse(place, false));
                assert_eq!(again.map(|place| place.to_string()), Some(written));
            }
        });
    }
}
