//! Connections to the API of machines, through the tunnel.
//!
//! ```text
//! address ─▶ tunnel ─▶ TCP ─▶ TLS: in maintenance nobody proves anything, as a member both sides do
//!                               └▶ first word of the machine ─▶ Stream ─┬▶ HTTP/2 ─▶ Connection ─▶ Client
//!                                                                       └▶ the watches of one machine
//! outcomes of both ways ─▶ verdict: member | maintenance | foreign | unreachable
//! ```
//!
//! Connections share the set-up of TLS: one for maintenance and one for each cluster. A set-up of its own would cost
//! every machine more memory than its connection does.

mod keyring;
mod verdict;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use corten_base::Clock;
use corten_client::{Client, Credentials, Server, TlsError};
use corten_fleet_tunnel::{Tunnel, TunnelStream};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::{AlertDescription, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

pub use keyring::{InvalidAccess, Keyring, MemberAccess};
pub use verdict::{Outcome, Verdict, is_maintenance_worth_a_try, verdict};

/// Port of the machine API.
pub const PORT: u16 = 50_000;

/// How long a connection may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a machine may take to say its first word. One that says nothing has refused nothing.
const FIRST_WORD_LIMIT: Duration = Duration::from_secs(3);
/// Silence of a machine after which TCP asks it for a sign of life. HTTP/2 does not: servers may hang up on clients that
/// ask often.
const SIGN_INTERVAL: Duration = Duration::from_secs(30);
/// Silence after which it is gone.
const SIGN_LIMIT: Duration = Duration::from_secs(90);
/// What of the first word is kept until somebody reads, bytes.
const WORD_BYTES: usize = 256;
/// Clusters whose set-up of TLS is kept.
const CLUSTERS_MAX: usize = 1024;

/// A connection to a machine. Clones share it; when it breaks, the next call makes it again.
#[derive(Clone, Debug)]
pub struct Connection(Client);

impl Connection {
    /// A connection over a channel.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self(Client::new(channel))
    }

    /// The services of the machine.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.0
    }
}

/// A connection that did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// There is no way to the machine.
    #[error("machine {address} cannot be reached through the tunnel; it is tried again")]
    Unreachable {
        /// Its address in the tunnel.
        address: Ipv6Addr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The machine says nothing.
    #[error(
        "machine {address} did not answer within {limit} s; it is tried again",
        limit = CONNECT_LIMIT.as_secs()
    )]
    Silent {
        /// Its address in the tunnel.
        address: Ipv6Addr,
    },
    /// The machine wants another certificate than the manager showed, or one at all.
    #[error("machine {address} refuses the manager: it belongs to a cluster that is unknown here; reset it")]
    Refused {
        /// Its address in the tunnel.
        address: Ipv6Addr,
        /// Its words.
        #[source]
        source: io::Error,
    },
    /// The machine shows a certificate that its cluster did not issue; one in maintenance does.
    #[error("machine {address} is not certified by the cluster that it should be a member of")]
    Distrusted {
        /// Its address in the tunnel.
        address: Ipv6Addr,
        /// What is wrong with the certificate.
        #[source]
        source: io::Error,
    },
    /// The manager's own credentials do not work.
    #[error("the credentials for cluster {cluster} do not work; delete its TalosConfig to get new ones")]
    Credentials {
        /// The cluster.
        cluster: String,
        /// What is wrong with them.
        #[source]
        source: Box<TlsError>,
    },
}

/// How machines are called. Implemented over the tunnel and by a recording fake.
pub trait Dial: Send + Sync + 'static {
    /// Connects to a machine in maintenance: neither side proves who it is.
    ///
    /// # Errors
    /// When the machine is not reached, or refuses callers without a certificate.
    fn maintenance(&self, address: Ipv6Addr) -> impl Future<Output = Result<Connection, DialError>> + Send;

    /// Connects to a member of a cluster: both sides show a certificate of the cluster.
    ///
    /// # Errors
    /// When the machine is not reached, or one side does not accept the other.
    fn member(
        &self,
        address: Ipv6Addr,
        access: &MemberAccess,
    ) -> impl Future<Output = Result<Connection, DialError>> + Send;

    /// Connects for one caller alone, who brings the protocol: as a member of a cluster with credentials, in maintenance
    /// without.
    ///
    /// # Errors
    /// When the machine is not reached, or one side does not accept the other.
    fn stream(
        &self,
        address: Ipv6Addr,
        access: Option<&MemberAccess>,
    ) -> impl Future<Output = Result<Stream, DialError>> + Send;

    /// Waits until there is a way to a machine; not at all where nobody can tell.
    fn way(&self, _address: Ipv6Addr) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Waits until a machine is heard anew, so that it is worth a call; for ever where nobody can tell.
    fn heard(&self, _address: Ipv6Addr) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// What makes TCP connections to machines.
pub trait Streams: Clone + Send + Sync + 'static {
    /// Connects to a machine.
    ///
    /// # Errors
    /// When it does not answer.
    fn connect(&self, to: SocketAddrV6) -> impl Future<Output = io::Result<TunnelStream>> + Send;

    /// Waits until there is a way to a machine; not at all where nobody can tell.
    fn way(&self, _address: Ipv6Addr) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Waits until a machine is heard anew; for ever where nobody can tell.
    fn heard(&self, _address: Ipv6Addr) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

impl Streams for Tunnel {
    async fn connect(&self, to: SocketAddrV6) -> io::Result<TunnelStream> {
        Self::connect(self, to).await
    }

    async fn way(&self, address: Ipv6Addr) {
        self.reach(address).await;
    }

    async fn heard(&self, address: Ipv6Addr) {
        self.shaken(address).await;
    }
}

/// A set-up of TLS with the mark of what it was made of.
type Marked = ([u8; 32], Arc<ClientConfig>);

/// Calls machines through the tunnel.
#[derive(Debug)]
pub struct Dialer<S = Tunnel> {
    streams: S,
    clock: Clock,
    maintenance: Arc<ClientConfig>,
    /// Set-ups of TLS by cluster, with the mark of the credentials that they were made of.
    members: Mutex<BTreeMap<String, Marked>>,
}

impl<S: Streams> Dialer<S> {
    /// A dialer over a tunnel; `clock` judges certificates.
    ///
    /// # Errors
    /// When TLS cannot be set up on this host.
    pub fn new(streams: S, clock: Clock) -> Result<Self, TlsError> {
        let anyone = Credentials { server: Server::Anyone, own: None, clock: clock.clone() };
        Ok(Self { streams, maintenance: anyone.config()?, clock, members: Mutex::default() })
    }

    /// The set-up of TLS for a cluster.
    fn config(&self, access: &MemberAccess) -> Result<Arc<ClientConfig>, DialError> {
        let mark = access.mark();
        let mut members = self.members.lock();
        if let Some((known, config)) = members.get(&access.cluster)
            && *known == mark
        {
            return Ok(Arc::clone(config));
        }
        let credentials = Credentials {
            server: Server::Authorities(access.authorities.clone()),
            own: Some((access.certificate.clone(), access.key.clone())),
            clock: self.clock.clone(),
        };
        let failed =
            |source| DialError::Credentials { cluster: access.cluster.clone(), source: Box::new(source) };
        let config = credentials.config().map_err(failed)?;
        if members.len() >= CLUSTERS_MAX {
            members.pop_first();
        }
        members.insert(access.cluster.clone(), (mark, Arc::clone(&config)));
        Ok(config)
    }

    fn line(&self, address: Ipv6Addr, access: Option<&MemberAccess>) -> Result<Line<S>, DialError> {
        let config = match access {
            Some(access) => self.config(access)?,
            None => Arc::clone(&self.maintenance),
        };
        Ok(Line { streams: self.streams.clone(), address, config })
    }

    async fn open(&self, address: Ipv6Addr, access: Option<&MemberAccess>) -> Result<Connection, DialError> {
        let line = self.line(address, access)?;
        let first = line.open().await?;
        line.connection(first)
    }
}

impl<S: Streams> Dial for Dialer<S> {
    async fn maintenance(&self, address: Ipv6Addr) -> Result<Connection, DialError> {
        self.open(address, None).await
    }

    async fn member(&self, address: Ipv6Addr, access: &MemberAccess) -> Result<Connection, DialError> {
        self.open(address, Some(access)).await
    }

    async fn stream(&self, address: Ipv6Addr, access: Option<&MemberAccess>) -> Result<Stream, DialError> {
        self.line(address, access)?.open().await
    }

    async fn way(&self, address: Ipv6Addr) {
        self.streams.way(address).await;
    }

    async fn heard(&self, address: Ipv6Addr) {
        self.streams.heard(address).await;
    }
}

/// TLS to a machine that has said its first word.
pub type Stream = BufReader<TlsStream<TunnelStream>>;

/// The way to one machine.
struct Line<S> {
    streams: S,
    address: Ipv6Addr,
    config: Arc<ClientConfig>,
}

impl<S: Streams> Line<S> {
    async fn open(&self) -> Result<Stream, DialError> {
        match timeout(CONNECT_LIMIT, self.connect()).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(failure(self.address, error)),
            Err(_) => Err(DialError::Silent { address: self.address }),
        }
    }

    async fn connect(&self) -> io::Result<Stream> {
        let tcp = self.streams.connect(SocketAddrV6::new(self.address, PORT, 0, 0)).await?;
        tcp.set_nodelay(true)?;
        tcp.set_signs_of_life(SIGN_INTERVAL, SIGN_LIMIT)?;
        let name = ServerName::from(IpAddr::V6(self.address));
        let tls = TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp).await?;
        // A refusal of our certificate comes after the handshake (RFC 8446, 4.4.2.4); HTTP/2 would tell it as a broken
        // connection.
        let mut stream = BufReader::with_capacity(WORD_BYTES, tls);
        let word = timeout(FIRST_WORD_LIMIT, stream.fill_buf()).await;
        match word.map(|word| word.map(|bytes| bytes.is_empty())) {
            Ok(Ok(true)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Err(error)) => Err(error),
            Ok(Ok(false)) | Err(_) => Ok(stream),
        }
    }

    /// A connection that begins with a stream and makes the next ones itself.
    fn connection(self, first: Stream) -> Result<Connection, DialError> {
        let address = self.address;
        let failed = |error| DialError::Unreachable { address, source: io::Error::other(error) };
        let endpoint = Endpoint::from_shared(format!("https://[{address}]:{PORT}")).map_err(failed)?;
        let line = Arc::new(self);
        let ready = Arc::new(Mutex::new(Some(first)));
        Ok(Connection::new(endpoint.connect_with_connector_lazy(service_fn(move |_| {
            let (line, ready) = (Arc::clone(&line), Arc::clone(&ready));
            async move {
                let first = ready.lock().take();
                match first {
                    Some(stream) => Ok(TokioIo::new(stream)),
                    None => line.open().await.map(TokioIo::new),
                }
            }
        }))))
    }
}

/// What a broken attempt means.
fn failure(address: Ipv6Addr, source: io::Error) -> DialError {
    let tls = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => DialError::Distrusted { address, source },
        Some(rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::AccessDenied
            | AlertDescription::HandshakeFailure,
        )) => DialError::Refused { address, source },
        _ => DialError::Unreachable { address, source },
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rustls::CertificateError;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const ADDRESS: Ipv6Addr = Ipv6Addr::LOCALHOST;

    fn of(error: rustls::Error) -> Outcome {
        Outcome::of_dial(&failure(ADDRESS, io::Error::new(io::ErrorKind::InvalidData, error)))
    }

    #[test]
    fn what_a_machine_says_about_certificates_tells_refusal_distrust_and_absence_apart() {
        assert_eq!(of(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)), Outcome::Refused);
        assert_eq!(of(rustls::Error::AlertReceived(AlertDescription::UnknownCA)), Outcome::Refused);
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(of(unknown), Outcome::Distrusted);
        assert_eq!(of(rustls::Error::AlertReceived(AlertDescription::InternalError)), Outcome::Missed);
        let refused = failure(ADDRESS, io::ErrorKind::ConnectionRefused.into());
        assert_eq!(Outcome::of_dial(&refused), Outcome::Missed, "TCP refuses while the machine starts");
    }

    /// Leads to a listener on this host, whoever is called.
    #[derive(Clone, Debug)]
    struct Here(SocketAddr);

    impl Streams for Here {
        async fn connect(&self, _: SocketAddrV6) -> io::Result<TunnelStream> {
            TcpStream::connect(self.0).await.map(TunnelStream::from)
        }
    }

    async fn listening() -> (TcpListener, Dialer<Here>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let here = Here(listener.local_addr().expect("an address"));
        (listener, Dialer::new(here, Clock::fixed(1_700_000_000)).expect("TLS"))
    }

    #[tokio::test]
    async fn a_machine_that_hangs_up_is_unreachable() {
        let (listener, dialer) = listening().await;
        let hanging_up = async { drop(listener.accept().await) };
        let (result, ()) = tokio::join!(dialer.maintenance(ADDRESS), hanging_up);
        assert!(matches!(result, Err(DialError::Unreachable { .. })), "{result:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_says_nothing_is_given_up_in_time() {
        let (_listener, dialer) = listening().await;
        let result = dialer.maintenance(ADDRESS).await;
        assert!(matches!(result, Err(DialError::Silent { .. })), "{result:?}");
    }
}
