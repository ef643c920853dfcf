//! The connection: addresses tried in order, mutual TLS, one channel that dials again by itself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corten_base::Secret;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::error::Error;
use crate::tls;
use crate::wire::grpc::health::v1 as health;

/// Limit of a call that reads or changes little.
pub(crate) const CALL: Duration = Duration::from_secs(15);
/// Largest message accepted.
pub(crate) const MESSAGE: usize = 32 << 20;
/// Limit for one address: TCP and TLS together.
const DIAL: Duration = Duration::from_secs(5);
/// A connection without traffic is asked for life this often.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// More members than a cluster has.
const ENDPOINTS: usize = 64;

/// Certificates and key, all PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster's authorities.
    pub ca: Vec<u8>,
    /// Our client certificate.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Secret<Vec<u8>>,
}

/// Where the cluster is and who we are.
#[derive(Clone, Debug)]
pub struct Config {
    /// `https://ADDRESS:PORT` of members, tried in order. Addresses only; members are known by address.
    pub endpoints: Vec<String>,
    /// Who we are.
    pub identity: Identity,
}

/// A connection to a cluster.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) channel: Channel,
}

impl Client {
    /// A client; it dials when it is first used.
    ///
    /// # Errors
    /// When there is no usable URL, or a certificate or the key cannot be read.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let addresses: Vec<SocketAddr> =
            config.endpoints.iter().take(ENDPOINTS).map(|it| address(it)).collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            return Err(Error::Config("no endpoints".to_owned()));
        }
        let connector = Connector { addresses: addresses.into(), tls: tls::client_config(&config.identity)? };
        let connect = service_fn(move |_: Uri| {
            let connector = connector.clone();
            async move { connector.connect().await.map(TokioIo::new) }
        });
        // The authority is never resolved: the connector dials the addresses.
        let channel = Endpoint::from_static("http://etcd.local")
            .keep_alive_while_idle(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .connect_with_connector_lazy(connect);
        Ok(Self { channel })
    }

    /// Whether the member that answers serves (gRPC health check).
    ///
    /// # Errors
    /// When no member answers.
    pub async fn healthy(&self) -> Result<bool, Error> {
        let answer = health::health_client::HealthClient::new(self.channel.clone())
            .check(request(health::HealthCheckRequest::default()))
            .await
            .map_err(Error::call("tell its health"))?;
        Ok(answer.into_inner().status() == health::health_check_response::ServingStatus::Serving)
    }
}

/// A request with the usual limit.
pub(crate) fn request<T>(message: T) -> tonic::Request<T> {
    limited(message, CALL)
}

pub(crate) fn limited<T>(message: T, limit: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit);
    request
}

fn address(url: &str) -> Result<SocketAddr, Error> {
    let wrong = || Error::Config(format!("`{url}` is not https://ADDRESS:PORT"));
    let rest = url.strip_prefix("https://").ok_or_else(wrong)?;
    rest.trim_end_matches('/').parse().map_err(|_| wrong())
}

#[derive(Clone)]
struct Connector {
    addresses: Arc<[SocketAddr]>,
    tls: Arc<ClientConfig>,
}

impl Connector {
    async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in self.addresses.iter() {
            match tokio::time::timeout(DIAL, self.dial(*address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
            tracing::debug!(%address, error = %last, "cannot connect to this etcd member");
        }
        Err(last)
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name: IpAddr = address.ip();
        TlsConnector::from(Arc::clone(&self.tls)).connect(ServerName::from(name), stream).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_addresses() {
        assert_eq!(address("https://[fd00::1]:2379/").unwrap().to_string(), "[fd00::1]:2379");
        for bad in ["http://10.0.0.1:2379", "https://etcd:2379", "https://10.0.0.1", ""] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_endpoint_makes_the_parser_panic(url in ".{0,60}") {
            let _ = address(&url);
        }
    }
}
