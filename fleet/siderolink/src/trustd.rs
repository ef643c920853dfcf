//! trustd for members of clusters: machines without the key of the authority get their serving certificates here
//! (fleet.md 1.9). All clusters share the port; which one a caller is of, its address in the tunnel tells.
//!
//! ```text
//! address ─▶ Machine ─▶ ClusterMachine ─▶ ClusterMachineSecrets, or else ClusterSecrets ─▶ Member
//! TLS 1.3 with a certificate of that cluster (5 minutes) ─▶ token ─▶ request ─▶ certificate (server, 24 hours)
//! ```
//!
//! While a rotation replaces the authority, machines of one cluster differ in what they trust. A machine is therefore
//! served with its own secrets: their authority is what its configuration has, whatever the phase.
//!
//! Invariants: nothing is signed without the token; a request with organizations (roles) is refused; a certificate
//! serves and never authenticates a client, and names no address of the tunnel but that of its machine.

mod request;
mod tls;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time;
use corten_api::securityapi::security_service_server::{SecurityService, SecurityServiceServer};
use corten_api::securityapi::{CertificateRequest as Asked, CertificateResponse};
use corten_base::{Clock, Rng, Secret, chain};
use corten_client::TOKEN_KEY;
use corten_config::view::Pair;
use corten_config::{SecretsBundle, SecretsError};
use corten_fleet_resources::cluster::ClusterMachine;
use corten_fleet_resources::labels::CLUSTER;
use corten_fleet_resources::secrets::{CertificateAuthorities, ClusterMachineSecrets, ClusterSecrets};
use corten_fleet_tunnel::TunnelStream;
use corten_pki::{Authority, Certificate, CertificateRequest, PkiError};
use corten_resource::State;
use ipnet::Ipv6Net;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status};

use crate::connections::{canonical, http2};
use crate::places::Place;
use crate::senders::{Senders, source};

use tls::{Configs, TlsError};

/// Machines renew at half of it.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Largest request, in bytes.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// How long the handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Nobody needs longer for a certificate.
const CONNECTION_MAX: Duration = Duration::from_secs(120);

/// The service. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Trustd(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: State,
    clock: Clock,
    rng: Rng,
    senders: Senders,
    /// Addresses of machines in the tunnel.
    machines: Ipv6Net,
    configs: Configs,
}

/// A machine with what its cluster has.
#[derive(Debug)]
struct Member {
    machine: Arc<str>,
    cluster: String,
    /// What it shows.
    token: Secret<String>,
    /// Authority of the API of machines.
    authority: Pair,
    /// Authorities that it trusts beside that one, PEM.
    accepted: Vec<Vec<u8>>,
}

/// A caller that is nobody's member, or whose cluster cannot be served.
#[derive(Debug, thiserror::Error)]
enum MemberError {
    #[error("no machine has this address")]
    Unknown,
    #[error("machine {0} is in no cluster; it gets certificates when it is")]
    NoCluster(Arc<str>),
    #[error("cluster {0} has no secrets yet; ask again")]
    NoSecrets(String),
    #[error("failed to read the secrets of cluster {0}")]
    Bundle(String, #[source] SecretsError),
}

/// A connection that is not served to its end.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the connection of a machine broke")]
    Io(#[from] io::Error),
    #[error("the connection of a machine took too long")]
    Elapsed(#[from] tokio::time::error::Elapsed),
}

impl Trustd {
    /// A service that machines reach at `server`; `machines` is the network of the tunnel.
    pub fn new(
        state: State,
        clock: Clock,
        rng: Rng,
        senders: Senders,
        server: Ipv6Addr,
        machines: Ipv6Net,
    ) -> Self {
        let configs = Configs::new(server);
        Self(Arc::new(Inner { state, clock, rng, senders, machines, configs }))
    }

    /// Serves one connection.
    pub async fn connection(self, stream: TunnelStream, peer: SocketAddr, place: Place) {
        if let Err(error) = self.serve(stream, peer, place).await {
            let text = chain(&error);
            match error {
                ConnectionError::Member(MemberError::Bundle(..)) | ConnectionError::Tls(_) => {
                    tracing::error!(%peer, error = text, "failed to serve certificates to a machine");
                }
                _ => tracing::debug!(%peer, error = text, "a connection for certificates ended"),
            }
        }
    }

    async fn serve(
        &self,
        stream: TunnelStream,
        peer: SocketAddr,
        place: Place,
    ) -> Result<(), ConnectionError> {
        let member = self.0.member(canonical(peer))?;
        let config = self.0.configs.of(&member.cluster, &member.authority, &self.0.clock, &self.0.rng)?;
        let stream = timeout(HANDSHAKE_MAX, TlsAcceptor::from(config).accept(stream)).await??;
        let service = SecurityServiceServer::new(self.clone()).max_decoding_message_size(REQUEST_BYTES_MAX);
        timeout(CONNECTION_MAX, http2(stream, peer, place, service)).await??;
        Ok(())
    }
}

impl Inner {
    /// The member of a cluster that has this address.
    fn member(&self, address: IpAddr) -> Result<Member, MemberError> {
        let machine = self.senders.machine(address).ok_or(MemberError::Unknown)?;
        let member = self.state.get::<ClusterMachine>(&machine);
        let cluster = member.and_then(|member| member.metadata.labels.get(CLUSTER).cloned());
        let cluster = cluster.ok_or_else(|| MemberError::NoCluster(Arc::clone(&machine)))?;
        let (data, extra) = match self.state.get::<ClusterMachineSecrets>(&machine) {
            Some(own) => (own.spec.data, own.spec.rotation.and_then(|rotation| rotation.extra_certs)),
            None => {
                let shared = self.state.get::<ClusterSecrets>(&cluster);
                let shared = shared.ok_or_else(|| MemberError::NoSecrets(cluster.clone()))?;
                (shared.spec.data, shared.spec.extra_certs)
            }
        };
        let bundle = SecretsBundle::from_json(&data);
        let bundle = bundle.map_err(|error| MemberError::Bundle(cluster.clone(), error))?;
        let (token, authority) = (bundle.trustd_token, bundle.talos);
        Ok(Member { machine, cluster, token, authority, accepted: accepted(extra) })
    }

    fn sign(&self, member: &Member, asked: &CertificateRequest) -> Result<CertificateResponse, PkiError> {
        let authority = Authority::from_pem(&member.authority.crt, member.authority.key.reveal())?;
        let signed = authority.sign_server_request(asked, LIFETIME, self.clock.now(), &self.rng)?;
        let mut handed = vec![authority.certificate().to_pem()];
        for text in &member.accepted {
            for accepted in Certificate::bundle_from_pem(text)? {
                let pem = accepted.to_pem();
                if !handed.contains(&pem) {
                    handed.push(pem);
                }
            }
        }
        Ok(CertificateResponse { ca: handed.concat().into_bytes(), crt: signed.to_pem().into_bytes() })
    }
}

fn accepted(extra: Option<CertificateAuthorities>) -> Vec<Vec<u8>> {
    extra.and_then(|extra| extra.os).map(|authority| authority.crt).into_iter().collect()
}

impl MemberError {
    fn status(&self) -> Status {
        match self {
            Self::Unknown => Status::permission_denied(self.to_string()),
            Self::NoCluster(_) => Status::failed_precondition(self.to_string()),
            Self::NoSecrets(_) => Status::unavailable(self.to_string()),
            Self::Bundle(..) => {
                tracing::error!(error = chain(self), "failed to serve certificates to a machine");
                Status::internal("the manager failed to read the secrets of the cluster; its log says why")
            }
        }
    }
}

#[tonic::async_trait]
impl SecurityService for Trustd {
    async fn certificate(&self, request: Request<Asked>) -> Result<Response<CertificateResponse>, Status> {
        let source = source(&request).ok_or_else(|| MemberError::Unknown.status())?;
        let member = self.0.member(source).map_err(|error| error.status())?;
        let token = request.metadata().get(TOKEN_KEY);
        let token = token.ok_or_else(|| Status::unauthenticated("missing token"))?;
        if !is_same(token.as_bytes(), member.token.reveal().as_bytes()) {
            return Err(Status::unauthenticated("invalid token"));
        }
        let asked = CertificateRequest::from_pem(&request.get_ref().csr)
            .map_err(|error| Status::invalid_argument(chain(&error)))?;
        request::check(&asked, source, self.0.machines)
            .map_err(|error| Status::permission_denied(chain(&error)))?;
        let signed = self.0.sign(&member, &asked).map_err(|error| {
            tracing::error!(cluster = member.cluster, error = chain(&error), "failed to sign a certificate");
            Status::internal("the certificate cannot be signed; the log of the manager says why")
        })?;
        tracing::info!(machine = &*member.machine, cluster = member.cluster, "signed a certificate");
        Ok(Response::new(signed))
    }
}

/// Compares digests, so that time tells neither bytes nor the length of the token.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(&Sha256::digest(a), &Sha256::digest(b)).is_ok()
}

#[cfg(test)]
mod tests;
