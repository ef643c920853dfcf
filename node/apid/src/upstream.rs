//! HTTP/2 connections to where calls go: machined's socket, or another machine's apid.
//!
//! One stream must never hold up another. A connection's window is therefore as large as the windows of all streams
//! it may carry, so that a reader who stops reading blocks only itself; when a connection is full, the next one is
//! opened. What is not read is bounded by [`STREAM_WINDOW`] per call.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Task, spawn};
use corten_client::resolve;
use http::{Request, Response};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::body::Body;

use crate::relay::Relay;

/// Bytes that may be in flight unread for one call, in each direction.
pub const STREAM_WINDOW: u32 = 128 * 1024;
/// Calls on one connection.
pub const STREAMS_MAX: u32 = 64;
/// Window of a whole connection.
pub const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX;
/// Bytes of metadata accepted with one request or response.
pub const HEADERS_BYTES_MAX: u32 = 64 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// How to reach a destination.
pub enum Dial {
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

/// A destination with its open connections.
pub struct Upstream {
    dial: Dial,
    links: tokio::sync::Mutex<Vec<Arc<Link>>>,
}

struct Link {
    sender: SendRequest<Body>,
    streams: Arc<Semaphore>,
    used: Mutex<Instant>,
    _driver: Task,
}

/// A stream's place on a connection; the connection lives as long as one is held.
pub struct Lease {
    link: Arc<Link>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.link.used.lock() = Instant::now();
    }
}

impl Upstream {
    /// A destination that is dialled when the first call goes there.
    #[must_use]
    pub fn new(dial: Dial) -> Self {
        Self { dial, links: tokio::sync::Mutex::new(Vec::new()) }
    }

    /// Sends a request; its URI must be absolute. The response's body keeps its place on the connection.
    ///
    /// # Errors
    /// `Unavailable` when the destination cannot be reached or breaks off before it answers.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        for _ in 0..2 {
            let lease = self.lease().await?;
            let sent = lease.link.sender.clone().try_send_request(request).await;
            match sent {
                Ok(response) => {
                    let (parts, body) = response.into_parts();
                    let body = Relay::response(&parts.headers, body, lease);
                    return Ok(Response::from_parts(parts, body));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Status::unavailable(corten_base::chain(error.error()))),
                },
            }
        }
        Err(Status::unavailable("connection closed before the request was sent"))
    }

    /// Closes connections that carried nothing for a while; tells whether any is left.
    pub async fn sweep(&self) -> bool {
        let mut links = self.links.lock().await;
        links.retain(|link| {
            link.is_busy() || (!link.sender.is_closed() && link.used.lock().elapsed() < IDLE_TIMEOUT)
        });
        !links.is_empty()
    }

    /// A place on an open connection, or on a new one. Callers wait here for one dial, not each for their own.
    async fn lease(&self) -> Result<Lease, Status> {
        let mut links = self.links.lock().await;
        links.retain(|link| !link.sender.is_closed());
        for link in links.iter() {
            if let Ok(place) = link.streams.clone().try_acquire_owned() {
                return Ok(Lease { link: link.clone(), _place: place });
            }
        }
        let link = Arc::new(self.connect().await?);
        let place = link
            .streams
            .clone()
            .try_acquire_owned()
            .map_err(|_| Status::internal("a new connection is full"))?;
        links.push(link.clone());
        Ok(Lease { link, _place: place })
    }

    async fn connect(&self) -> Result<Link, Status> {
        match timeout(CONNECT_TIMEOUT, self.open()).await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(error)) => Err(self.unreachable(&error.to_string())),
            Err(_) => Err(self.unreachable("i/o timeout")),
        }
    }

    async fn open(&self) -> io::Result<Link> {
        match &self.dial {
            Dial::Local(path) => link(UnixStream::connect(path).await?, false).await,
            Dial::Remote { target, port, tls } => {
                let stream = connect_tcp(target, *port).await?;
                stream.set_nodelay(true)?;
                let name = ServerName::try_from(target.clone()).map_err(io::Error::other)?;
                link(TlsConnector::from(tls.clone()).connect(name, stream).await?, true).await
            }
        }
    }

    fn unreachable(&self, reason: &str) -> Status {
        let (network, address) = match &self.dial {
            Dial::Local(path) => ("unix", path.display().to_string()),
            Dial::Remote { target, port, .. } => ("tcp", authority(target, *port)),
        };
        Status::unavailable(format!(
            "connection error: desc = \"transport: Error while dialing: dial {network} {address}: {reason}\""
        ))
    }
}

impl Link {
    fn is_busy(&self) -> bool {
        self.streams.available_permits() < STREAMS_MAX as usize
    }
}

/// `target` with a port, brackets around IPv6.
#[must_use]
pub fn authority(target: &str, port: u16) -> String {
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

async fn link(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, ping: bool) -> io::Result<Link> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_send_buf_size(STREAM_WINDOW as usize);
    if ping {
        builder.keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_TIMEOUT);
    }
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let driver = spawn("upstream", async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = corten_base::chain(&error), "connection ended");
        }
    });
    Ok(Link {
        sender,
        streams: Arc::new(Semaphore::new(STREAMS_MAX as usize)),
        used: Mutex::new(Instant::now()),
        _driver: driver,
    })
}
