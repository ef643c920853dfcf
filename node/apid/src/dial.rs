//! Where calls go: machined's socket, or another machine's apid.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corten_client::resolve;
use corten_relay::{Dial, Link, Pings};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::Status;

use crate::bounds::{LOCAL_WINDOW, REMOTE_WINDOW};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A destination with the open connections to it.
pub type Upstream = corten_relay::Upstream<Destination>;

/// How to reach a destination.
pub enum Destination {
    /// machined on this machine.
    Local(PathBuf),
    /// apid of another machine.
    Remote {
        /// Address or name.
        target: String,
        /// Port of its apid.
        port: u16,
        /// Our identity and whom to trust.
        tls: Arc<ClientConfig>,
    },
}

impl Dial for Destination {
    async fn link(&self) -> io::Result<Link> {
        let opened = timeout(CONNECT_TIMEOUT, self.open()).await;
        opened.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "i/o timeout")))
    }

    fn unreachable(&self, error: &io::Error) -> Status {
        let (network, address) = match self {
            Self::Local(path) => ("unix", path.display().to_string()),
            Self::Remote { target, port, .. } => ("tcp", authority(target, *port)),
        };
        Status::unavailable(format!(
            "connection error: desc = \"transport: Error while dialing: dial {network} {address}: {error}\""
        ))
    }
}

impl Destination {
    async fn open(&self) -> io::Result<Link> {
        match self {
            Self::Local(path) => {
                Link::with_window(UnixStream::connect(path).await?, Pings::None, LOCAL_WINDOW).await
            }
            Self::Remote { target, port, tls } => {
                let stream = connect_tcp(target, *port).await?;
                stream.set_nodelay(true)?;
                let name = ServerName::try_from(target.clone()).map_err(io::Error::other)?;
                let stream = TlsConnector::from(tls.clone()).connect(name, stream).await?;
                Link::with_window(stream, Pings::Sent, REMOTE_WINDOW).await
            }
        }
    }
}

/// `target` with a port, brackets around IPv6.
fn authority(target: &str, port: u16) -> String {
    match target.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => format!("[{target}]:{port}"),
        _ => format!("{target}:{port}"),
    }
}

async fn connect_tcp(target: &str, port: u16) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for address in resolve::lookup(target).await? {
        match TcpStream::connect((address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
