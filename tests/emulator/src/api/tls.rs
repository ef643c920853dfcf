//! With what a machine serves, and whose clients it believes.
//!
//! | | serves with | believes |
//! |---|---|---|
//! | maintenance | a certificate of its own | everybody |
//! | control plane | a certificate of the Talos CA, whose key it has | clients of the Talos CAs |
//! | worker | a certificate that trustd signs | clients of the Talos CAs |

use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corten_api::securityapi::CertificateRequest as SignRequest;
use corten_api::securityapi::security_service_client::SecurityServiceClient;
use corten_client::{Credentials, Server, TOKEN_KEY, TRUSTD_PORT, TlsError};
use corten_pki::{
    Authority, Certificate, CertificateRequest, Identity, LeafRequest, PkiError, PrivateKey, RequestTemplate,
    Subject,
};
use hyper_util::rt::TokioIo;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{ServerName, UnixTime};
use tokio_rustls::TlsConnector;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;
use tonic::{Request, Status};
use tower::service_fn;

use crate::applied::{Applied, Trust};
use crate::link::place::Place;
use crate::machine::Machine;

/// The one protocol of the API.
pub const ALPN: &[u8] = b"h2";
/// How long a serving certificate is valid (node.md 2.3).
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Name of the certificate of a machine in maintenance (node.md 2.2).
const MAINTENANCE_NAME: &str = "maintenance-service.talos.dev";

/// A machine cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A key or certificate cannot be made or read.
    #[error("cannot make a serving certificate")]
    Pki(#[from] PkiError),
    /// The TLS library refuses.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// There is nobody to believe.
    #[error("no CA is accepted for clients")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// trustd cannot be believed.
    #[error(transparent)]
    Trustd(#[from] TlsError),
    /// trustd is out of reach.
    #[error("trustd does not answer")]
    Connect(#[from] tonic::transport::Error),
    /// trustd refuses.
    #[error("trustd does not sign: {}", .0.message())]
    Refused(#[from] Status),
    /// The configuration names no control plane that can be reached through the tunnel.
    #[error("the cluster's endpoint {0:?} is no address in the tunnel; trustd cannot be asked")]
    Endpoint(String),
    /// The machine's token cannot be sent.
    #[error("the machine's token has characters that cannot be sent")]
    Token,
}

/// How the machine speaks TLS now.
///
/// # Errors
/// When there is no certificate; a worker may get one later.
pub async fn server(machine: &Machine, place: &Place) -> Result<Arc<ServerConfig>, ServeError> {
    let applied = machine.applied().filter(|applied| applied.complete);
    let now = machine.now();
    let rng = &machine.world().options.rng;
    match applied.filter(|_| !machine.is_maintenance()) {
        None => {
            let subject = Subject::common_name(MAINTENANCE_NAME);
            let request = LeafRequest::server(subject, LIFETIME)
                .with_names([MAINTENANCE_NAME.to_owned()], [IpAddr::V6(place.address())]);
            config(&Identity::self_signed(&request, now, rng)?, None, now, &[ALPN])
        }
        Some(applied) => {
            let identity = match issuer(&applied.trust)? {
                Some(authority) => authority.issue(&leaf(machine, &applied, place), now, rng)?,
                None => ask_trustd(machine, &applied, place).await?,
            };
            config(&identity, Some(&applied.trust.bundle), now, &[ALPN])
        }
    }
}

/// The authority, where its key is.
///
/// # Errors
/// When key and certificate cannot be read.
pub fn issuer(trust: &Trust) -> Result<Option<Authority>, PkiError> {
    trust.signer().map(|pair| Authority::from_pem(&pair.crt, pair.key.reveal())).transpose()
}

fn names(machine: &Machine, applied: &Applied, place: &Place) -> (Vec<String>, Vec<IpAddr>) {
    let mut dns = vec![machine.hostname()];
    let mut ips = vec![IpAddr::V6(place.address())];
    for san in &applied.cert_sans {
        match san.parse::<IpAddr>() {
            Ok(ip) => ips.push(ip),
            Err(_) => dns.push(san.clone()),
        }
    }
    (dns, ips)
}

fn leaf(machine: &Machine, applied: &Applied, place: &Place) -> LeafRequest {
    let (dns, ips) = names(machine, applied, place);
    LeafRequest::server(Subject::common_name(machine.hostname()), LIFETIME).with_names(dns, ips)
}

/// The cryptography of all machines.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}

/// A TLS set-up for these protocols; clients of the authorities in `believed` are demanded, if there are any.
///
/// # Errors
/// When certificates cannot be used.
pub fn config(
    identity: &Identity,
    believed: Option<&[u8]>,
    now: SystemTime,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, ServeError> {
    let builder = ServerConfig::builder_with_details(provider(), Arc::new(Skewed::new(now)))
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)?;
    let builder = match believed {
        None => builder.with_no_client_auth(),
        Some(bundle) => builder.with_client_cert_verifier(verifier(bundle)?),
    };
    let (chain, key) = identity.to_rustls();
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn verifier(bundle: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, ServeError> {
    let mut roots = RootCertStore::empty();
    for authority in Certificate::bundle_from_pem(bundle)? {
        roots.add(authority.to_rustls())?;
    }
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?)
}

/// The machine's clock, which goes on from the moment at which it was looked at.
#[derive(Debug)]
struct Skewed {
    then: SystemTime,
    since: tokio::time::Instant,
}

impl Skewed {
    fn new(then: SystemTime) -> Self {
        Self { then, since: tokio::time::Instant::now() }
    }
}

impl TimeProvider for Skewed {
    fn current_time(&self) -> Option<UnixTime> {
        let now = self.then.checked_add(self.since.elapsed())?;
        now.duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

/// A certificate from trustd, asked for through the tunnel as a worker does (node.md 2.5).
async fn ask_trustd(machine: &Machine, applied: &Applied, place: &Place) -> Result<Identity, ServeError> {
    let endpoint = &applied.cluster.endpoint;
    let control_plane = endpoint.parse::<Ipv6Addr>().map_err(|_| ServeError::Endpoint(endpoint.clone()))?;
    let to = SocketAddrV6::new(control_plane, TRUSTD_PORT, 0, 0);
    let key = PrivateKey::ed25519(&machine.world().options.rng)?;
    let (dns_names, ip_addresses) = names(machine, applied, place);
    let subject = Subject::common_name(machine.hostname());
    let template = RequestTemplate { subject, dns_names, ip_addresses };
    let request = CertificateRequest::create(&template, &key)?;
    let channel = trustd(machine, applied, place, to).await?;
    let token = MetadataValue::<Ascii>::try_from(applied.token.reveal().as_str());
    let token = token.map_err(|_| ServeError::Token)?;
    let mut call = Request::new(SignRequest { csr: request.to_pem().into_bytes() });
    call.metadata_mut().insert(TOKEN_KEY, token);
    let signed = SecurityServiceClient::new(channel).certificate(call).await?.into_inner();
    Ok(Identity { certificate: Certificate::from_pem(&signed.crt)?, key })
}

async fn trustd(
    machine: &Machine,
    applied: &Applied,
    place: &Place,
    to: SocketAddrV6,
) -> Result<tonic::transport::Channel, ServeError> {
    let clock = machine.world().options.clock.clone();
    let server = Server::Authorities(applied.trust.bundle.clone());
    let connector = TlsConnector::from(Credentials { server, own: None, clock }.config()?);
    let name = ServerName::from(IpAddr::V6(*to.ip()));
    let (network, from) = (machine.world().network.clone(), place.address());
    let connect = move |_: http::Uri| {
        let (network, connector, name) = (network.clone(), connector.clone(), name.clone());
        async move {
            let stream = network.connect(from, to).await?;
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    };
    let endpoint = Endpoint::from_shared(format!("https://{to}"))?.connect_timeout(Duration::from_secs(10));
    Ok(endpoint.connect_with_connector(service_fn(connect)).await?)
}
