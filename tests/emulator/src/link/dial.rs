//! Connections to the manager from outside the tunnel.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use corten_base::Clock;
use corten_client::{Credentials, Server, TlsError, resolve};
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::kernel_args::JoinUrl;

/// What a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Without traffic the manager is asked for life this often; streams of the tunnel have no other sign.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// The manager cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name or address cannot stand in a URL.
    #[error("the manager's address {0} is none")]
    Address(String),
    /// What the manager is to be judged by cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nobody answers.
    #[error("the manager does not answer")]
    Connect(#[from] tonic::transport::Error),
}

/// A connection of its own to the manager, as a machine has it.
///
/// # Errors
/// When the manager cannot be reached.
pub async fn channel(join: &JoinUrl, manager: &Server, clock: &Clock) -> Result<Channel, DialError> {
    let wrong = || DialError::Address(join.authority());
    let scheme = if join.tls { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{}", join.authority())).map_err(|_| wrong())?;
    let endpoint = endpoint.http2_keep_alive_interval(PING_INTERVAL).connect_timeout(CONNECT_TIMEOUT);
    let (host, port) = (join.host.clone(), join.port);
    if !join.tls {
        let connect = move |_: Uri| {
            let host = host.clone();
            async move { tcp(&host, port).await.map(TokioIo::new) }
        };
        return Ok(endpoint.connect_with_connector(service_fn(connect)).await?);
    }
    let credentials = Credentials { server: manager.clone(), own: None, clock: clock.clone() };
    let connector = TlsConnector::from(credentials.config()?);
    let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
    let connect = move |_: Uri| {
        let (host, connector, name) = (host.clone(), connector.clone(), name.clone());
        async move {
            let stream = tcp(&host, port).await?;
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    };
    Ok(endpoint.connect_with_connector(service_fn(connect)).await?)
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in resolve::lookup(host).await? {
        match TcpStream::connect((address, port)).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The address of an endpoint `host:port`, which is looked up anew at each connection.
///
/// # Errors
/// When it has no port, or the name no address.
pub async fn endpoint(text: &str) -> io::Result<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("{text:?} is no host with a port"));
    let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
    let port = port.parse().map_err(|_| invalid())?;
    let addresses = timeout(CONNECT_TIMEOUT, resolve::lookup(host)).await??;
    let address = addresses.first().copied().ok_or_else(invalid)?;
    Ok(SocketAddr::new(address, port))
}

/// The address as a socket for both families takes it.
#[must_use]
pub fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(four) => SocketAddr::new(IpAddr::V6(four.to_ipv6_mapped()), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn literal_endpoints_need_no_lookup() {
        let six = endpoint("[fd00::1]:50180").await.expect("an address");
        assert_eq!(mapped(six), six);
        let four = endpoint("192.0.2.1:50180").await.expect("an address");
        assert_eq!(mapped(four).to_string(), "[::ffff:192.0.2.1]:50180");
        assert!(endpoint("manager").await.is_err());
    }
}
