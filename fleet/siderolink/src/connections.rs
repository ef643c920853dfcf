//! Connections on a port of the tunnel: accepted within bounds, served on their own.
//!
//! ```text
//! listener ─▶ accept ─▶ Place ─▶ task of the connection ─▶ http2 ─▶ gRPC service
//! ```

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use corten_base::{Tasks, chain};
use corten_fleet_tunnel::{TunnelListener, TunnelStream};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tower_service::Service;

use crate::places::{Place, Places};

/// Calls at a time on one connection.
const STREAMS_MAX: u32 = 32;
/// Between two signs of life that are asked for on a silent connection.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long one may take.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// After a connection that could not be accepted.
const PAUSE: Duration = Duration::from_secs(1);
/// So many in a row, and the listener is made anew.
const FAILURES_MAX: u32 = 10;

/// Accepts until the listener is broken, and tells why; what was accepted ends with it.
pub(crate) async fn accept<H, F>(mut listener: TunnelListener, places: Places, handle: H) -> io::Error
where
    H: Fn(TunnelStream, SocketAddr, Place) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = Tasks::new();
    let mut failures = 0;
    loop {
        tokio::select! {
            // Either may be dropped at any time: a connection that is not accepted stays queued.
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    failures = 0;
                    match places.take(canonical(peer)) {
                        Some(place) => connections.start(handle(stream, peer, place)),
                        None => tracing::debug!(%peer, "closed a connection: there are too many"),
                    }
                }
                Err(error) => {
                    failures += 1;
                    if failures >= FAILURES_MAX {
                        return error;
                    }
                    tracing::debug!(error = chain(&error), "failed to accept a connection");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = connections.ended() => {}
        }
    }
}

/// The address of a peer as machines are known by it.
pub(crate) fn canonical(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

/// Serves gRPC on a connection until it ends or its place is needed. Calls carry the address of the peer.
pub(crate) async fn http2<IO, S>(io: IO, peer: SocketAddr, mut place: Place, service: S) -> io::Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let info = TcpConnectInfo { local_addr: None, remote_addr: Some(peer) };
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(info.clone());
        service.clone().call(request)
    });
    let mut builder = Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    tokio::select! {
        served = builder.serve_connection(TokioIo::new(io), service) => served.map_err(io::Error::other),
        () = place.evicted() => Ok(()),
    }
}
