//! How a listener speaks TLS: with files that somebody gives, or with a certificate of its own.
//!
//! ```text
//! files ─▶ Pair ─▶ the same as before? ─▶ ServerConfig for the handshakes from now on
//! ```
//!
//! TLS 1.2 at least; `h2` and `http/1.1` are offered. Nobody is asked for a certificate: calls are signed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use corten_base::blocking::BlockingError;
use corten_base::{Secret, blocking, chain};
use corten_fleet_settings::TlsFiles;
use corten_pki::{Certificate, PkiError, PrivateKey};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;

use super::own::{OwnCertificate, OwnError};

/// Protocols inside of TLS, the preferred one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// How long reading and making certificates may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How a listener speaks TLS.
#[derive(Clone, Debug)]
pub enum Tls {
    /// Not at all: a proxy in front does, or the network is trusted.
    Clear,
    /// With these files, PEM.
    Files(TlsFiles),
    /// With a certificate that the manager makes itself.
    Own(OwnCertificate),
}

impl Tls {
    /// TLS with these files, and without any in clear.
    #[must_use]
    pub fn of(files: Option<TlsFiles>) -> Self {
        files.map_or(Self::Clear, Self::Files)
    }
}

/// Certificates that TLS cannot work with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not readable.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not PEM of a certificate and its key.
    #[error("failed to read the certificate or its key")]
    Pem(#[from] PkiError),
    /// Refused by the TLS library.
    #[error("failed to set up TLS")]
    Setup(#[from] rustls::Error),
    /// Our own one cannot be made.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// The disk did not answer.
    #[error("failed to read certificates in time")]
    Blocked(#[from] BlockingError),
}

/// A certificate chain with its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    certificates: Vec<u8>,
    key: Secret<Vec<u8>>,
}

/// The certificates of a listener, followed as they change.
#[derive(Debug)]
pub(super) struct Certificates {
    tls: Tls,
    /// What is in use; nothing in clear.
    used: Option<(Pair, Arc<ServerConfig>)>,
}

impl Certificates {
    pub(super) async fn open(tls: Tls) -> Result<Self, TlsError> {
        let used = match load(tls.clone()).await? {
            Some(pair) => Some((pair.clone(), server(&pair)?)),
            None => None,
        };
        Ok(Self { tls, used })
    }

    /// The set-up for the next handshake; none in clear.
    pub(super) fn current(&self) -> Option<Arc<ServerConfig>> {
        self.used.as_ref().map(|(_, config)| Arc::clone(config))
    }

    /// Takes what has changed into use. What cannot be used is told, and the old stays.
    pub(super) async fn reload(&mut self) {
        if let Err(error) = self.try_reload().await {
            tracing::error!(error = chain(&error), "the new certificates cannot be used");
        }
    }

    async fn try_reload(&mut self) -> Result<(), TlsError> {
        let Some(pair) = load(self.tls.clone()).await? else { return Ok(()) };
        if self.used.as_ref().is_some_and(|(used, _)| *used == pair) {
            return Ok(());
        }
        let config = server(&pair)?;
        tracing::info!("new certificates are in use");
        self.used = Some((pair, config));
        Ok(())
    }
}

/// What the files have now; nothing in clear.
async fn load(tls: Tls) -> Result<Option<Pair>, TlsError> {
    if matches!(tls, Tls::Clear) {
        return Ok(None);
    }
    let read = move || match tls {
        Tls::Clear => Ok(None),
        Tls::Files(files) => pair(&files).map(Some),
        Tls::Own(own) => pair(&own.ensure()?).map(Some),
    };
    blocking(DEADLINE, read).await?
}

fn pair(files: &TlsFiles) -> Result<Pair, TlsError> {
    let certificates = read(&files.certificate)?;
    Ok(Pair { certificates, key: Secret::new(read(&files.key)?) })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn server(pair: &Pair) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = Certificate::bundle_from_pem(&pair.certificates)?;
    let key = PrivateKey::from_pem(pair.key.reveal())?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)?
        .with_no_client_auth()
        .with_single_cert(chain.iter().map(Certificate::to_rustls).collect(), key.to_rustls())?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}
