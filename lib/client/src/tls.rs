//! TLS as a client of the machine API: whom to trust and what to show.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use corten_base::{Clock, Secret};
use corten_pki::{Certificate, PkiError, PrivateKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

const ALPN: &[u8] = b"h2";

/// How the server proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// By a certificate of one of these CAs (PEM) for the name that was dialled.
    Authorities(Vec<u8>),
    /// By its key: base64 of SHA-256 of its public key, as the console of a machine in maintenance shows it.
    /// Any of them suffices.
    Fingerprints(Vec<String>),
    /// Not at all.
    Anyone,
}

/// Both sides of the proof.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The server's.
    pub server: Server,
    /// Our certificate and key, PEM; none for a machine in maintenance.
    pub own: Option<(Vec<u8>, Secret<Vec<u8>>)>,
    /// Judges certificates.
    pub clock: Clock,
}

/// Credentials that TLS cannot work with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not readable.
    #[error("failed to read the {what}")]
    Read {
        /// Which of them.
        what: &'static str,
        /// Why.
        #[source]
        source: PkiError,
    },
    /// Refused by the TLS library.
    #[error("failed to set up TLS")]
    Setup(#[source] Error),
}

impl Credentials {
    /// A TLS set-up for any number of connections.
    ///
    /// # Errors
    /// When certificates or the key cannot be used.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let time = Arc::new(ClockTime(self.clock.clone()));
        let builder = ClientConfig::builder_with_details(provider.clone(), time)
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .map_err(TlsError::Setup)?;
        let builder = match &self.server {
            Server::Authorities(pem) => builder.with_root_certificates(roots(pem)?),
            Server::Fingerprints(known) => {
                dangerous(builder, Pinned { known: Some(known.clone()), provider })
            }
            Server::Anyone => dangerous(builder, Pinned { known: None, provider }),
        };
        let mut config = match &self.own {
            None => builder.with_no_client_auth(),
            Some((certificates, key)) => {
                let read = |source| TlsError::Read { what: "client certificate", source };
                let chain = Certificate::bundle_from_pem(certificates).map_err(read)?;
                let key = PrivateKey::from_pem(key.reveal()).map_err(read)?;
                let chain = chain.iter().map(Certificate::to_rustls).collect();
                builder.with_client_auth_cert(chain, key.to_rustls()).map_err(TlsError::Setup)?
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Arc::new(config))
    }
}

type Wanting<S> = rustls::ConfigBuilder<ClientConfig, S>;

fn dangerous(
    builder: Wanting<rustls::WantsVerifier>,
    verifier: Pinned,
) -> Wanting<rustls::client::WantsClientCert> {
    builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let read = |source| TlsError::Read { what: "CA of the server", source };
    let mut store = RootCertStore::empty();
    for authority in Certificate::bundle_from_pem(pem).map_err(read)? {
        store.add(authority.to_rustls()).map_err(TlsError::Setup)?;
    }
    Ok(store)
}

/// Accepts a server by its key alone, or any server that holds the key it shows.
#[derive(Debug)]
struct Pinned {
    known: Option<Vec<String>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(known) = &self.known else { return Ok(ServerCertVerified::assertion()) };
        let shown = Certificate::from_der(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?
            .fingerprint();
        if known.contains(&shown) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General(format!(
                "the server's certificate has the fingerprint {shown}, which is not expected"
            )))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[derive(Debug)]
struct ClockTime(Clock);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}
