//! Connections of HTTP/2 to something behind the tunnel: the API of a machine, or that of a Kubernetes.
//!
//! ```text
//! request ─▶ lease: a place on an open connection, or on a new one ─▶ answer, which keeps the place until it is read
//! ```
//!
//! One stream must never hold up another. A connection's window is therefore as large as the windows of all streams
//! that it may carry, so that a client who stops reading blocks only itself; when a connection is full, the next one
//! is opened. What is not read is bounded by [`STREAM_WINDOW`] for each call.

use std::io;
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Task, spawn};
use corten_fleet_controllers_machine::connect::Streams;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::body::Body;

/// Bytes that may be unread for one call, in each direction.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Calls on one connection.
const STREAMS_MAX: u32 = 64;
/// Bytes that may be unread on one connection.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX;
/// Bytes of headers of one answer.
const HEADERS_BYTES_MAX: u32 = 64 * 1024;
/// Between two questions whether the other end is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long it may take to answer them.
const PING_TIMEOUT: Duration = Duration::from_secs(15);

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
    pub(crate) async fn open(&self) -> io::Result<TlsStream<TcpStream>> {
        let connect = async {
            let tcp = self.streams.connect(self.to).await?;
            tcp.set_nodelay(true)?;
            TlsConnector::from(Arc::clone(&self.tls)).connect(self.name.clone(), tcp).await
        };
        timeout(self.limit, connect).await?
    }
}

/// A request that was not answered.
pub(crate) enum Broken {
    /// It was not sent; the same may be sent again.
    Unsent(Box<Request<Body>>),
    /// Nobody knows what became of it.
    Lost(hyper::Error),
}

/// Something behind the tunnel with the open connections to it.
pub(crate) struct Upstream<S> {
    way: Way<S>,
    links: tokio::sync::Mutex<Vec<Arc<Link>>>,
}

/// One connection.
struct Link {
    sender: SendRequest<Body>,
    places: Arc<Semaphore>,
    _driver: Task,
}

/// The place of a call on a connection, which lives as long as one is held.
pub(crate) struct Lease {
    link: Arc<Link>,
    _place: OwnedSemaphorePermit,
}

impl Lease {
    /// Sends a request, whose URI is absolute. The lease comes back with the answer, to be held until that is read.
    pub(crate) async fn send(self, request: Request<Body>) -> Result<(Response<Incoming>, Self), Broken> {
        let sent = self.link.sender.clone().try_send_request(request).await;
        match sent {
            Ok(response) => Ok((response, self)),
            Err(mut error) => match error.take_message() {
                Some(unsent) => Err(Broken::Unsent(Box::new(unsent))),
                None => Err(Broken::Lost(error.into_error())),
            },
        }
    }
}

impl<S: Streams> Upstream<S> {
    /// It is dialled when the first call goes there.
    pub(crate) fn new(way: Way<S>) -> Self {
        Self { way, links: tokio::sync::Mutex::default() }
    }

    /// How it is reached.
    pub(crate) const fn way(&self) -> &Way<S> {
        &self.way
    }

    /// A place on an open connection, or on a new one. Callers wait here for one dial, not each for its own.
    pub(crate) async fn lease(&self) -> io::Result<Lease> {
        let mut links = self.links.lock().await;
        links.retain(|link| !link.sender.is_closed());
        for link in links.iter() {
            if let Ok(place) = Arc::clone(&link.places).try_acquire_owned() {
                return Ok(Lease { link: Arc::clone(link), _place: place });
            }
        }
        let link = Arc::new(link(self.way.open().await?).await?);
        let place = Arc::clone(&link.places).try_acquire_owned().map_err(io::Error::other)?;
        links.push(Arc::clone(&link));
        Ok(Lease { link, _place: place })
    }
}

async fn link(stream: TlsStream<TcpStream>) -> io::Result<Link> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_send_buf_size(STREAM_WINDOW as usize)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let driver = spawn("proxied connection", async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = corten_base::chain(&error), "a connection through the tunnel ended");
        }
    });
    Ok(Link { sender, places: Arc::new(Semaphore::new(STREAMS_MAX as usize)), _driver: driver })
}
