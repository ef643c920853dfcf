//! TLS on both sides: who may connect, and how apid connects to other machines.
//!
//! Invariants: TLS 1.2 at least, ALPN `h2`, no session tickets or caches (a resumed session would outlive the trust
//! it was made with), and a client certificate whose only extended usage is client authentication. A certificate
//! that may also serve is refused: otherwise every machine's serving certificate would be a client of the API.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use corten_base::Clock;
use corten_pki::{Certificate, PkiError, PrivateKey};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::identity::{Identity, KeyPair};

/// The one protocol spoken inside TLS.
pub const ALPN: &[u8] = b"h2";

/// Certificates that TLS cannot work with.
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
    /// Clients must be verified, but there is nothing to verify them with.
    #[error("no CA is accepted for client certificates")]
    NoAuthorities,
    /// Refused by the TLS library.
    #[error("failed to set up TLS")]
    Setup(#[source] Error),
    /// Client verification could not be set up.
    #[error("failed to set up the verification of clients")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

/// How the listener speaks TLS.
pub fn server(identity: &Identity, clock: &Clock) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let (chain, key) = pair("serving certificate", &identity.server)?;
    let builder = ServerConfig::builder_with_details(provider.clone(), time(clock))
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .map_err(TlsError::Setup)?;
    let builder = if identity.verify_clients {
        builder.with_client_cert_verifier(verifier(identity, provider)?)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Setup)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// How apid dials other machines; `None` for a machine without a client certificate.
pub fn client(identity: &Identity, clock: &Clock) -> Result<Option<Arc<ClientConfig>>, TlsError> {
    let Some(own) = identity.client.as_ref().filter(|_| identity.routing) else { return Ok(None) };
    let (chain, key) = pair("client certificate", own)?;
    let mut config = ClientConfig::builder_with_details(provider(), time(clock))
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .map_err(TlsError::Setup)?
        .with_root_certificates(roots(identity)?)
        .with_client_auth_cert(chain, key)
        .map_err(TlsError::Setup)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Some(Arc::new(config)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn pair(
    what: &'static str,
    pair: &KeyPair,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let read = |source| TlsError::Read { what, source };
    let chain = Certificate::bundle_from_pem(&pair.certificates).map_err(read)?;
    let key = PrivateKey::from_pem(pair.key.reveal()).map_err(read)?;
    Ok((chain.iter().map(Certificate::to_rustls).collect(), key.to_rustls()))
}

fn roots(identity: &Identity) -> Result<RootCertStore, TlsError> {
    let read = |source| TlsError::Read { what: "accepted CAs", source };
    if identity.accepted_cas.iter().all(u8::is_ascii_whitespace) {
        return Err(TlsError::NoAuthorities);
    }
    let mut store = RootCertStore::empty();
    for authority in Certificate::bundle_from_pem(&identity.accepted_cas).map_err(read)? {
        store.add(authority.to_rustls()).map_err(TlsError::Setup)?;
    }
    if store.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(store) }
}

fn verifier(identity: &Identity, provider: Arc<CryptoProvider>) -> Result<Arc<ClientOnly>, TlsError> {
    let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(identity)?), provider)
        .build()
        .map_err(TlsError::Verifier)?;
    Ok(Arc::new(ClientOnly { chain }))
}

/// Verifies the chain, then that the certificate is for clients and nothing else.
#[derive(Debug)]
struct ClientOnly {
    chain: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for ClientOnly {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(certificate, intermediates, now)?;
        match Certificate::from_der(certificate) {
            Ok(parsed) if parsed.is_client_only() => Ok(verified),
            Ok(_) => Err(Error::InvalidCertificate(CertificateError::InvalidPurpose)),
            Err(_) => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Certificates are judged by the clock that was passed in.
#[derive(Debug)]
struct ClockTime(Clock);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

fn time(clock: &Clock) -> Arc<dyn TimeProvider> {
    Arc::new(ClockTime(clock.clone()))
}
