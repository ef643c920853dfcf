//! Connections to managers and image factories: name to addresses, TCP, and TLS where the address says so.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use corten_base::Clock;
use corten_client::{Credentials, Server, resolve};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::{Address, Security};
use crate::context::Cx;
use crate::failure::Cause;

/// Limit for one address: TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Where operating systems keep the authorities that they trust; the first file that is there counts.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How servers prove who they are.
#[derive(Clone, Debug)]
pub enum Trust {
    /// By a certificate of an authority: of those in this file, or of those that the operating system trusts.
    Authorities(Option<PathBuf>),
    /// Not at all; the clock is that of the library's checks.
    Anyone(Clock),
}

impl Trust {
    /// What flags and `$SSL_CERT_FILE` say.
    pub fn of(cx: &Cx) -> Self {
        if cx.fleet.insecure_skip_tls_verify {
            return Self::Anyone(cx.clock.clone());
        }
        let file = std::env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty());
        Self::Authorities(file.map(PathBuf::from))
    }

    /// TLS for a protocol over it, named as in ALPN.
    fn tls(&self, protocol: &[u8]) -> Result<Arc<ClientConfig>, Cause> {
        let mut config = match self {
            Self::Anyone(clock) => {
                let credentials = Credentials { server: Server::Anyone, own: None, clock: clock.clone() };
                let config = credentials.config().map_err(|error| Cause::new(corten_base::chain(&error)))?;
                Arc::unwrap_or_clone(config)
            }
            Self::Authorities(file) => {
                let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                let builder =
                    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
                let builder = builder.map_err(|error| Cause::new(error.to_string()))?;
                builder.with_root_certificates(roots(file.as_deref())?).with_no_client_auth()
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Arc::new(config))
    }
}

/// The authorities in this file, or in that of the operating system.
fn roots(file: Option<&Path>) -> Result<RootCertStore, Cause> {
    let usual = || BUNDLES.iter().map(Path::new).find(|path| path.exists());
    let Some(path) = file.or_else(usual) else {
        return Err(Cause::new("this system has no list of certificate authorities")
            .way_out("name a file with them in SSL_CERT_FILE"));
    };
    let unreadable = |text: String| {
        Cause::new(format!("cannot read the certificate authorities in `{}`: {text}", path.display()))
            .way_out("name a PEM file with them in SSL_CERT_FILE")
    };
    let certificates = CertificateDer::pem_file_iter(path);
    let certificates = certificates.map_err(|error| unreadable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    // Lists of operating systems have entries that no library understands; the others count.
    roots.add_parsable_certificates(certificates.flatten());
    if roots.is_empty() { Err(unreadable("there is none in it".to_owned())) } else { Ok(roots) }
}

/// A connection of any kind.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections to one server.
#[derive(Clone)]
pub struct Dialer {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

impl Dialer {
    /// Connections to an address for a protocol over TLS, named as in ALPN.
    pub fn new(address: &Address, trust: &Trust, protocol: &[u8]) -> Result<Self, Cause> {
        let tls = match address.security {
            Security::Plain => None,
            Security::Tls => Some(trust.tls(protocol)?),
        };
        Ok(Self { host: address.host.clone(), port: address.port, tls })
    }

    /// A connection to the first address of the host that answers.
    pub async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "no such host");
        for ip in resolve::lookup(&self.host).await? {
            let connect = async {
                let stream = TcpStream::connect((ip, self.port)).await?;
                stream.set_nodelay(true)?;
                self.protect(stream).await
            };
            match timeout(CONNECT_TIMEOUT, connect).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = io::Error::new(io::ErrorKind::TimedOut, "timed out"),
            }
        }
        Err(failure)
    }

    async fn protect(&self, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
        Ok(Box::new(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().expect(text)
    }

    #[test]
    fn an_open_address_needs_no_authorities_and_a_protected_one_names_what_is_missing() {
        let trust = Trust::Authorities(Some("/no/such/file".into()));
        assert!(Dialer::new(&address("grpc://fleet"), &trust, b"h2").is_ok());
        let refused = Dialer::new(&address("grpcs://fleet"), &trust, b"h2").err().expect("refused");
        assert!(refused.lines[0].contains("/no/such/file"), "{refused:?}");
        assert!(refused.way_out.expect("a way out").contains("SSL_CERT_FILE"));
        assert!(Dialer::new(&address("grpcs://fleet"), &Trust::Anyone(Clock::fixed(0)), b"h2").is_ok());
    }

    #[tokio::test]
    async fn the_host_is_dialled() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let trust = Trust::Anyone(Clock::fixed(0));
        let dialer =
            Dialer::new(&address(&format!("http://127.0.0.1:{port}")), &trust, b"h2").expect("ready");
        let (dialled, accepted) = tokio::join!(dialer.dial(), listener.accept());
        assert!(dialled.is_ok() && accepted.is_ok());
    }
}
