//! How something behind the tunnel is reached: the API of a machine, or that of a Kubernetes.

use std::io;
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::time::Duration;

use corten_base::chain;
use corten_fleet_controllers_machine::connect::Streams;
use corten_fleet_tunnel::TunnelStream;
use corten_relay::{Dial, Link, Pings};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;

/// Something behind the tunnel with the open connections to it.
pub(crate) type Upstream<S> = corten_relay::Upstream<Way<S>>;

/// How something behind the tunnel is reached.
#[derive(Clone)]
pub(crate) struct Way<S> {
    /// Makes connections of TCP.
    pub(crate) streams: S,
    /// Where it listens.
    pub(crate) to: SocketAddrV6,
    /// The name that its certificate must carry.
    pub(crate) name: ServerName<'static>,
    /// Whom to trust, and what to show.
    pub(crate) tls: Arc<ClientConfig>,
    /// Which boot of the machine it is: with another one old connections are dead. Empty when that is not known.
    pub(crate) boot: String,
    /// How long a connection may take to come about.
    pub(crate) limit: Duration,
}

impl<S> Way<S> {
    /// Whether connections that were made this way serve the other one too.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.to == other.to
            && self.name == other.name
            && self.boot == other.boot
            && Arc::ptr_eq(&self.tls, &other.tls)
    }
}

impl<S: Streams> Way<S> {
    /// A connection.
    pub(crate) async fn open(&self) -> io::Result<TlsStream<TunnelStream>> {
        let connect = async {
            let tcp = self.streams.connect(self.to).await?;
            tcp.set_nodelay(true)?;
            TlsConnector::from(Arc::clone(&self.tls)).connect(self.name.clone(), tcp).await
        };
        timeout(self.limit, connect).await?
    }
}

impl<S: Streams> Dial for Way<S> {
    async fn link(&self) -> io::Result<Link> {
        Link::open(self.open().await?, Pings::Sent).await
    }

    fn unreachable(&self, error: &io::Error) -> Status {
        Status::unavailable(format!(
            "machine {} cannot be reached through the tunnel: {}; see whether it is connected",
            self.to.ip(),
            chain(error)
        ))
    }

    fn closed(&self) -> Status {
        self.unreachable(&io::ErrorKind::ConnectionReset.into())
    }
}
