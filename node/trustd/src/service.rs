//! The one method: a certificate for a request, if the token is right.

use std::time::Duration;

use corten_api::securityapi::security_service_server::SecurityService;
use corten_api::securityapi::{CertificateRequest as Asked, CertificateResponse};
use corten_base::{Clock, Rng};
use corten_client::TOKEN_KEY;
use corten_pki::{Authority, Certificate, CertificateRequest, PkiError};
use sha2::{Digest as _, Sha256};
use tonic::{Request, Response, Status};

use crate::{Feed, Identity};

/// Machines renew at half of it.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Signs requests.
pub struct Signer {
    feed: Feed,
    clock: Clock,
    rng: Rng,
}

impl Signer {
    pub const fn new(feed: Feed, clock: Clock, rng: Rng) -> Self {
        Self { feed, clock, rng }
    }

    fn sign(
        &self,
        identity: &Identity,
        request: &CertificateRequest,
    ) -> Result<CertificateResponse, PkiError> {
        let authority = Authority::from_pem(&identity.issuing_certificate, identity.issuing_key.reveal())?;
        let signed = authority.sign_server_request(request, LIFETIME, self.clock.now(), &self.rng)?;
        let mut handed = vec![authority.certificate().to_pem()];
        for bundle in &identity.accepted_cas {
            for accepted in Certificate::bundle_from_pem(bundle)? {
                let pem = accepted.to_pem();
                if !handed.contains(&pem) {
                    handed.push(pem);
                }
            }
        }
        Ok(CertificateResponse { ca: handed.concat().into_bytes(), crt: signed.to_pem().into_bytes() })
    }
}

#[tonic::async_trait]
impl SecurityService for Signer {
    async fn certificate(&self, request: Request<Asked>) -> Result<Response<CertificateResponse>, Status> {
        let identity =
            self.feed.borrow().clone().ok_or_else(|| Status::unavailable("the machine is starting"))?;
        let token =
            request.metadata().get(TOKEN_KEY).ok_or_else(|| Status::unauthenticated("missing token"))?;
        if !same(token.as_bytes(), identity.token.reveal().as_bytes()) {
            return Err(Status::unauthenticated("invalid token"));
        }
        let parsed = CertificateRequest::from_pem(&request.get_ref().csr)
            .map_err(|error| Status::invalid_argument(corten_base::chain(&error)))?;
        let signed = self.sign(&identity, &parsed).map_err(|error| {
            tracing::error!(error = corten_base::chain(&error), "cannot sign");
            Status::internal("the certificate cannot be signed")
        })?;
        tracing::info!(names = ?parsed.dns_names(), addresses = ?parsed.ip_addresses(), "signed a certificate");
        Ok(Response::new(signed))
    }
}

/// Compares digests, every byte of them, so that time tells nothing about the token.
fn same(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    a.iter().zip(b.iter()).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
