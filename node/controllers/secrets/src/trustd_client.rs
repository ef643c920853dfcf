//! Has a certificate request signed by the trustd of a control plane.
//!
//! The other side proves itself with a certificate of the machine's CA; this side with the machine's token, which is therefore sent only after
//! that proof.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use corten_api::securityapi::CertificateRequest as Call;
use corten_api::securityapi::security_service_client::SecurityServiceClient;
use corten_base::{Rng, Secret};
use corten_pki::{CertificateRequest, PrivateKey, RequestTemplate, Subject};
use corten_resources::secrets::{CertSan, Certificate, CertificateAndKey};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;

/// Port of trustd.
const PORT: u16 = 50_001;
/// Time for one control plane to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A wanted signature.
#[derive(Clone, Debug)]
pub struct Request {
    /// Control planes to ask, in this order.
    pub hosts: Vec<String>,
    /// Token of the machine.
    pub token: Secret<String>,
    /// CAs whose certificates the control planes have.
    pub accepted_cas: Vec<Certificate>,
    /// Names and addresses to certify.
    pub san: CertSan,
}

/// A signed certificate with its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Signed {
    /// Certificate and key.
    pub server: CertificateAndKey,
    /// CAs that the control plane accepts.
    pub accepted_cas: Vec<Certificate>,
}

/// Where requests are signed.
pub trait Signer: Send + Sync + 'static {
    /// Makes a key and has its certificate signed.
    fn sign(&self, request: &Request, rng: &Rng) -> impl Future<Output = anyhow::Result<Signed>> + Send;
}

/// The real one.
#[derive(Debug, Default)]
pub struct TrustdClient {}

impl Signer for TrustdClient {
    async fn sign(&self, request: &Request, rng: &Rng) -> anyhow::Result<Signed> {
        let key = PrivateKey::ed25519(rng)?;
        let template = RequestTemplate {
            subject: Subject::common_name(request.san.fqdn.clone()),
            dns_names: request.san.dns_names.clone(),
            ip_addresses: request.san.ips.clone(),
        };
        let csr = CertificateRequest::create(&template, &key)?.to_pem();
        let mut failure = anyhow::anyhow!("there is no control plane to ask");
        for host in &request.hosts {
            match tokio::time::timeout(TIMEOUT, ask(host, request, &csr)).await {
                Ok(Ok((crt, accepted_cas))) => {
                    let key = key.to_pem().reveal().clone().into_bytes();
                    return Ok(Signed { server: CertificateAndKey { crt, key }, accepted_cas });
                }
                Ok(Err(error)) => failure = error.context(format!("{host} did not sign the certificate")),
                Err(_) => failure = anyhow::anyhow!("{host} did not answer in {} s", TIMEOUT.as_secs()),
            }
        }
        Err(failure)
    }
}

async fn ask(host: &str, request: &Request, csr: &str) -> anyhow::Result<(Vec<u8>, Vec<Certificate>)> {
    let tls = connect(host, &request.accepted_cas).await?;
    let mut once = Some(TokioIo::new(tls));
    let connector = tower::service_fn(move |_| {
        let taken = once.take().ok_or_else(|| std::io::Error::other("the connection was used"));
        std::future::ready(taken)
    });
    let channel = Endpoint::from_static("http://trustd").connect_with_connector(connector).await?;
    let mut call = tonic::Request::new(Call { csr: csr.as_bytes().to_vec() });
    call.metadata_mut()
        .insert("token", request.token.reveal().parse().context("the machine's token is unusable")?);
    let answer = SecurityServiceClient::new(channel).certificate(call).await?.into_inner();
    let accepted = corten_pki::Certificate::bundle_from_pem(&answer.ca)?;
    corten_pki::Certificate::from_pem(&answer.crt)?;
    let accepted = accepted.iter().map(|ca| Certificate { crt: ca.to_pem().into_bytes() }).collect();
    Ok((answer.crt, accepted))
}

async fn connect(
    host: &str,
    cas: &[Certificate],
) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots.add(corten_pki::Certificate::from_pem(&ca.crt)?.to_rustls())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(host.to_owned())?;
    let mut failure = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in corten_client::resolve::lookup(host).await? {
        match TcpStream::connect(SocketAddr::new(address, PORT)).await {
            Ok(stream) => return Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?),
            Err(error) => failure = error,
        }
    }
    Err(failure).with_context(|| format!("cannot connect to {host}"))
}
