//! Certificates for machines that do not hold the CA's key: asked from trustd of the control planes.

use std::time::Duration;

use corten_api::securityapi;
use corten_base::{Clock, Rng, Secret};
use corten_pki::{Certificate, CertificateRequest, PkiError};
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::{Client, Credentials, DialError, Endpoints, Server};

/// Port of trustd.
pub const TRUSTD_PORT: u16 = 50001;
/// Metadata key of the machine token.
pub const TOKEN_KEY: &str = "token";

const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// What a machine needs to ask.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Control planes: addresses or names, with or without port.
    pub endpoints: Vec<String>,
    /// CAs that trustd must be certified by, PEM.
    pub authorities: Vec<u8>,
    /// The machine token.
    pub token: Secret<String>,
    /// Judges trustd's certificate.
    pub clock: Clock,
}

/// What trustd answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// All accepted CAs, PEM.
    pub authorities: Vec<u8>,
    /// The new certificate, PEM.
    pub certificate: Vec<u8>,
}

/// A certificate that was not given.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// No control plane can be dialled.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// trustd refused, or none answered.
    #[error("trustd did not sign")]
    Refused(#[source] Status),
    /// The answer is not a certificate.
    #[error("trustd answered without a usable certificate")]
    Answer(#[source] PkiError),
}

impl Trust {
    /// Asks one of the control planes, beginning with a random one; the next ones follow if it cannot be reached.
    ///
    /// # Errors
    /// When none signs. The caller decides when to ask again.
    pub async fn sign(&self, request: &CertificateRequest, rng: &Rng) -> Result<Signed, TrustError> {
        let mut endpoints = self.endpoints.clone();
        if !endpoints.is_empty() {
            let start = rng.below(u32::try_from(endpoints.len()).unwrap_or(u32::MAX)) as usize;
            endpoints.rotate_left(start);
        }
        let server = Server::Authorities(self.authorities.clone());
        let credentials = Credentials { server, own: None, clock: self.clock.clone() };
        let channel = Endpoints::parse(endpoints, TRUSTD_PORT)?.connect(&credentials)?;
        let mut client = Client::new(channel).tagged(TOKEN_KEY, self.token.reveal()).security();
        let request = securityapi::CertificateRequest { csr: request.to_pem().into_bytes() };
        let answer = timeout(ANSWER_TIMEOUT, client.certificate(request)).await;
        let answer = answer
            .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "no control plane answered in time")))
            .map_err(TrustError::Refused)?
            .into_inner();
        Certificate::from_pem(&answer.crt).map_err(TrustError::Answer)?;
        Certificate::bundle_from_pem(&answer.ca).map_err(TrustError::Answer)?;
        Ok(Signed { authorities: answer.ca, certificate: answer.crt })
    }
}
