//! Connections to gRPC services of the manager, and the calls of joining.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use corten_api::sidero::link::provision_service_client::ProvisionServiceClient;
use corten_api::sidero::link::{ProvisionRequest, ProvisionResponse};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::address::HostPort;
use crate::url::ApiAddress;

/// Time for a call of joining, the connection included (fleet.md 1.2).
const PROVISION_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for one address to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that is not answered for so long is broken: pause between pings, and time for the answer.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(15));
/// The authorities that the image ships.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What a machine may ask before it has joined. Implemented over the network and by a fake for tests.
pub trait JoinApi: Send + Sync + 'static {
    /// Asks the manager for a place in its network.
    ///
    /// # Errors
    /// When the manager is not reached or refuses.
    fn provision(
        &self,
        api: &ApiAddress,
        request: ProvisionRequest,
    ) -> impl Future<Output = anyhow::Result<ProvisionResponse>> + Send;

    /// The address of a host; the first one of several.
    ///
    /// # Errors
    /// When it has none.
    fn resolve(&self, host: &str) -> impl Future<Output = anyhow::Result<IpAddr>> + Send;
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcApi;

impl JoinApi for GrpcApi {
    async fn provision(
        &self,
        api: &ApiAddress,
        request: ProvisionRequest,
    ) -> anyhow::Result<ProvisionResponse> {
        let call = async {
            let mut client = ProvisionServiceClient::new(connect(api).await?);
            client.provision(request).await.map_err(|status| refused(api, &status))
        };
        let answer = timeout(PROVISION_TIMEOUT, call).await;
        let answer = answer.with_context(|| {
            format!("the manager at {} did not answer within {PROVISION_TIMEOUT:?}", api.host)
        })?;
        Ok(answer?.into_inner())
    }

    async fn resolve(&self, host: &str) -> anyhow::Result<IpAddr> {
        let addresses = corten_client::resolve::lookup(host).await?;
        addresses.first().copied().with_context(|| format!("{host} has no address"))
    }
}

/// A refusal in words; the status says why, and which of them a person can mend.
fn refused(api: &ApiAddress, status: &tonic::Status) -> anyhow::Error {
    let way_out = match status.code() {
        tonic::Code::PermissionDenied => "; check the join token, and whether the manager knows the machine",
        tonic::Code::Unimplemented => "; the address of the join URL is not that of a manager's join API",
        _ => "",
    };
    let (host, code, message) = (&api.host, status.code(), status.message());
    anyhow::anyhow!("the manager at {host} refused the machine: {code:?}: {message}{way_out}")
}

/// One connection to a service. When it breaks, calls over it fail.
///
/// # Errors
/// When no address of the host takes a connection, or the host does not prove who it is.
pub async fn connect(api: &ApiAddress) -> anyhow::Result<Channel> {
    let scheme = if api.is_tls { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{}", api.host))?
        .http2_keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .keep_alive_while_idle(true);
    let stream = tcp(&api.host).await?;
    if !api.is_tls {
        return over(endpoint, stream).await;
    }
    let name = ServerName::try_from(api.host.host.clone())?;
    let stream = TlsConnector::from(Arc::new(tls()?)).connect(name, stream).await;
    let stream = stream.with_context(|| format!("{} does not prove who it is", api.host))?;
    over(endpoint, stream).await
}

/// A connection to the first address of a host that takes one.
///
/// # Errors
/// The last failure.
pub async fn tcp(host: &HostPort) -> anyhow::Result<TcpStream> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in corten_client::resolve::lookup(&host.host).await? {
        let address = SocketAddr::new(address, host.port);
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure).with_context(|| format!("cannot connect to {host}"))
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
    use corten_api::sidero::link::provision_service_server::{ProvisionService, ProvisionServiceServer};
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::transport::Server;
    use tonic::{Request, Response, Status};

    use super::*;

    /// A manager that lets in whoever shows the token `good`.
    struct Manager;

    #[tonic::async_trait]
    impl ProvisionService for Manager {
        async fn provision(
            &self,
            request: Request<ProvisionRequest>,
        ) -> Result<Response<ProvisionResponse>, Status> {
            match request.into_inner().join_token.as_deref() {
                Some("good") => {
                    let server_address = "fdae::1".to_owned();
                    Ok(Response::new(ProvisionResponse { server_address, ..ProvisionResponse::default() }))
                }
                _ => Err(Status::permission_denied("unauthorized")),
            }
        }
    }

    #[tokio::test]
    async fn a_manager_without_tls_is_asked_and_its_refusal_says_what_to_check() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = HostPort::parse(&listener.local_addr().expect("an address").to_string(), None);
        let serve = Server::builder()
            .add_service(ProvisionServiceServer::new(Manager))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let _server = corten_base::spawn("manager", serve);
        let (client, api) = (GrpcApi, ApiAddress { host: host.expect("a host"), is_tls: false });
        let ask = |token: &str| {
            let request =
                ProvisionRequest { join_token: Some(token.to_owned()), ..ProvisionRequest::default() };
            client.provision(&api, request)
        };
        assert_eq!(ask("good").await.expect("an answer").server_address, "fdae::1");
        let refusal = ask("bad").await.expect_err("a refusal").to_string();
        assert!(refusal.contains("unauthorized; check the join token"), "{refusal}");
    }
}
