//! Connections of HTTP/2 to a destination of calls.
//!
//! ```text
//! request ─▶ lease: a place on an open connection, or on a new one ─▶ answer, which keeps the place until it is read
//! ```
//!
//! One stream must never hold up another. A connection's window is therefore as large as the windows of all streams
//! that it may carry, so that a reader who stops reading blocks only itself; when a connection is full, the next one
//! is opened. What is not read is bounded by [`STREAM_WINDOW`] per call.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Task, chain, spawn};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

/// Bytes that may be unread for one call, in each direction.
pub const STREAM_WINDOW: u32 = 128 * 1024;
/// Calls on one connection.
pub const STREAMS_MAX: u32 = 64;
/// Bytes that may be unread on one connection.
pub const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX;
/// Bytes of metadata of one request or answer.
pub const HEADERS_BYTES_MAX: u32 = 64 * 1024;

/// Between two questions whether the other end is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long it may take to answer them.
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection that carries nothing is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// How often a request is sent that no connection has taken.
const TRIES: usize = 2;

/// How a destination is reached, and what a caller is told when it is not.
pub trait Dial: Send + Sync + 'static {
    /// A fresh connection. It is the dialler's to give up after a while.
    ///
    /// # Errors
    /// When none comes about.
    fn link(&self) -> impl Future<Output = io::Result<Link>> + Send;

    /// The status of a call when no connection comes about.
    fn unreachable(&self, error: &io::Error) -> Status;

    /// The status of a call when connections end before they take it.
    fn closed(&self) -> Status {
        Status::unavailable("connection closed before the request was sent")
    }
}

/// Whether the other end is asked now and then if it is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pings {
    /// It is; for whatever may vanish without a word.
    Sent,
    /// It is not; for what is on this machine.
    None,
}

/// One connection.
pub struct Link {
    sender: SendRequest<Body>,
    places: Arc<Semaphore>,
    used: Mutex<Instant>,
    _driver: Task,
}

impl Link {
    /// Speaks HTTP/2 on a stream whose other handshakes are done.
    ///
    /// # Errors
    /// When the stream breaks off.
    pub async fn open(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        pings: Pings,
    ) -> io::Result<Self> {
        Self::with_window(stream, pings, STREAM_WINDOW).await
    }

    /// The same with so many bytes that may be unread for one call, in each direction. Fewer are enough where the other
    /// end is near.
    ///
    /// # Errors
    /// When the stream breaks off.
    pub async fn with_window(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        pings: Pings,
        window: u32,
    ) -> io::Result<Self> {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(window)
            .initial_connection_window_size(window.saturating_mul(STREAMS_MAX))
            .max_header_list_size(HEADERS_BYTES_MAX)
            .max_send_buf_size(window as usize);
        if pings == Pings::Sent {
            builder.keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_TIMEOUT);
        }
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let driver = spawn("upstream", async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = chain(&error), "connection ended");
            }
        });
        let places = Arc::new(Semaphore::new(STREAMS_MAX as usize));
        Ok(Self { sender, places, used: Mutex::new(Instant::now()), _driver: driver })
    }

    fn is_busy(&self) -> bool {
        self.places.available_permits() < STREAMS_MAX as usize
    }
}

/// A request that was not answered.
pub enum Broken {
    /// It was not sent; the same may be sent again.
    Unsent(Box<Request<Body>>),
    /// Nobody knows what became of it.
    Lost(hyper::Error),
}

/// The place of a call on a connection, which lives as long as one is held.
pub struct Lease {
    link: Arc<Link>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.link.used.lock() = Instant::now();
    }
}

impl Lease {
    /// Sends a request, whose URI is absolute. The lease comes back with the answer, to be held until that is read.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(self, request: Request<Body>) -> Result<(Response<Incoming>, Self), Broken> {
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

/// A destination with the open connections to it.
pub struct Upstream<D> {
    dial: D,
    links: tokio::sync::Mutex<Links>,
}

#[derive(Default)]
struct Links {
    open: Vec<Arc<Link>>,
    failed: Option<Failed>,
}

/// A dial that came to nothing.
struct Failed {
    at: Instant,
    kind: io::ErrorKind,
    text: String,
}

impl Failed {
    fn error(&self) -> io::Error {
        io::Error::new(self.kind, self.text.clone())
    }
}

impl<D: Dial> Upstream<D> {
    /// It is dialled when the first call goes there.
    #[must_use]
    pub fn new(dial: D) -> Self {
        Self { dial, links: tokio::sync::Mutex::default() }
    }

    /// How it is reached.
    #[must_use]
    pub const fn dial(&self) -> &D {
        &self.dial
    }

    /// A place on an open connection, or on a new one. Callers wait here for one dial, not each for its own; if it fails,
    /// it has failed for all who waited.
    ///
    /// # Errors
    /// When no connection comes about.
    pub async fn lease(&self) -> io::Result<Lease> {
        let began = Instant::now();
        let mut links = self.links.lock().await;
        links.open.retain(|link| !link.sender.is_closed());
        for link in &links.open {
            if let Ok(place) = Arc::clone(&link.places).try_acquire_owned() {
                return Ok(Lease { link: Arc::clone(link), _place: place });
            }
        }
        if let Some(failed) = links.failed.as_ref().filter(|failed| failed.at > began) {
            return Err(failed.error());
        }
        let link = match self.dial.link().await {
            Ok(link) => Arc::new(link),
            Err(error) => {
                let failed = Failed { at: Instant::now(), kind: error.kind(), text: error.to_string() };
                links.failed = Some(failed);
                return Err(error);
            }
        };
        let place = Arc::clone(&link.places).try_acquire_owned().map_err(io::Error::other)?;
        links.open.push(Arc::clone(&link));
        Ok(Lease { link, _place: place })
    }

    /// Sends a request, whose URI is absolute; the lease is held until its answer is read. A connection that ended
    /// meanwhile has not taken it, and the next one may.
    ///
    /// # Errors
    /// `Unavailable` when the destination cannot be reached, or breaks off before it answers.
    pub async fn send(&self, mut request: Request<Body>) -> Result<(Response<Incoming>, Lease), Status> {
        for _ in 0..TRIES {
            let lease = self.lease().await.map_err(|error| self.dial.unreachable(&error))?;
            match lease.send(request).await {
                Ok(answered) => return Ok(answered),
                Err(Broken::Unsent(unsent)) => request = *unsent,
                Err(Broken::Lost(error)) => return Err(Status::unavailable(chain(&error))),
            }
        }
        Err(self.dial.closed())
    }

    /// Closes connections that carried nothing for a while; tells whether any is left, or is about to be. It waits for
    /// nobody's dial.
    pub fn sweep(&self) -> bool {
        let Ok(mut links) = self.links.try_lock() else { return true };
        links.open.retain(|link| {
            link.is_busy() || (!link.sender.is_closed() && link.used.lock().elapsed() < IDLE_TIMEOUT)
        });
        !links.open.is_empty()
    }
}

/// A destination with what is sent to it.
pub struct Reached<D> {
    /// The destination.
    pub upstream: Arc<Upstream<D>>,
    /// Everything but the body.
    pub head: Request<()>,
}

impl<D: Dial> Reached<D> {
    /// Sends the request with this body; see [`Upstream::send`].
    ///
    /// # Errors
    /// `Unavailable` when the destination cannot be reached, or breaks off before it answers.
    pub async fn send(self, body: Body) -> Result<(Response<Incoming>, Lease), Status> {
        self.upstream.send(self.head.map(|()| body)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// Leads nowhere, and takes a while to find out.
    #[derive(Default)]
    struct Nowhere(AtomicUsize);

    const DIAL: Duration = Duration::from_secs(10);

    impl Dial for Nowhere {
        async fn link(&self) -> io::Result<Link> {
            self.0.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(DIAL).await;
            Err(io::Error::new(io::ErrorKind::TimedOut, "i/o timeout"))
        }

        fn unreachable(&self, error: &io::Error) -> Status {
            Status::unavailable(chain(error))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dial_that_fails_has_failed_for_all_who_waited_for_it() {
        let upstream = Arc::new(Upstream::new(Nowhere::default()));
        let began = Instant::now();
        let waiting: Vec<Task<io::Result<Lease>>> = (0..100)
            .map(|_| {
                let upstream = Arc::clone(&upstream);
                spawn("caller", async move { upstream.lease().await })
            })
            .collect();
        for caller in waiting {
            let failure = caller.join().await.expect("no panic").err().expect("it leads nowhere");
            assert_eq!(
                (failure.kind(), failure.to_string().as_str()),
                (io::ErrorKind::TimedOut, "i/o timeout")
            );
        }
        assert_eq!(began.elapsed().as_secs(), DIAL.as_secs());
        assert_eq!(upstream.dial().0.load(Ordering::Relaxed), 1);
        assert!(upstream.lease().await.is_err(), "whoever comes later has a dial of its own");
        assert_eq!(upstream.dial().0.load(Ordering::Relaxed), 2);
    }
}
