//! The listener of one machine: accepts, shakes hands, serves, follows the machine's place and configuration.

use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use corten_base::chain;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::PORT;
use super::caller::Peer;
use super::door::Door;
use super::tls;
use crate::faults::Faults;
use crate::link::place::Place;
use crate::machine::Machine;

/// What a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What calls under way may take when a connection is to end.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(10);
/// Before an address is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes that are in flight on a connection; a machine among thousands has small ones.
const WINDOW: u32 = 64 * 1024;

/// Serves the API wherever the machine is, for as long as the boot lasts.
pub async fn run(machine: Arc<Machine>) {
    let (mut places, mut faults) = (machine.places(), machine.faults());
    let mut connections = JoinSet::new();
    if !machine.world().network.has_link() {
        return std::future::pending().await;
    }
    loop {
        let place = places.borrow_and_update().clone();
        let refuses = faults.borrow_and_update().refuse;
        let Some(place) = place.filter(|_| !refuses) else {
            tokio::select! {
                _ = places.changed() => {}
                _ = faults.changed() => {}
            }
            continue;
        };
        let at = SocketAddrV6::new(place.address(), PORT, 0, 0);
        match machine.world().network.listen(at).await {
            Ok(listener) => {
                let door = Arc::new(Door::new(Arc::clone(&machine), Arc::clone(&place)));
                accept(&door, &place, &listener, &mut places, &mut faults, &mut connections).await;
            }
            Err(error) => {
                tracing::debug!(machine = machine.spec().number, error = chain(&error), "not listening");
                sleep(RETRY).await;
            }
        }
    }
}

/// Accepts until the machine is elsewhere or refuses.
async fn accept(
    door: &Arc<Door>,
    place: &Arc<Place>,
    listener: &TcpListener,
    places: &mut watch::Receiver<Option<Arc<Place>>>,
    faults: &mut watch::Receiver<Faults>,
    connections: &mut JoinSet<()>,
) {
    loop {
        // Every arm may be dropped at any time: a change stays marked, an unaccepted connection stays queued.
        tokio::select! {
            _ = places.changed() => {
                let is_elsewhere = places.borrow_and_update().as_deref() != Some(&**place);
                if is_elsewhere {
                    return;
                }
            }
            _ = faults.changed() => {
                if faults.borrow_and_update().refuse {
                    return;
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let door = Arc::clone(door);
                    connections.spawn(async move {
                        if let Err(error) = connection(&door, stream, address).await {
                            tracing::debug!(peer = %address, error = chain(&error), "connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(error = chain(&error), "cannot accept a connection");
                    sleep(RETRY).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection, from the handshake on.
pub(super) async fn connection(door: &Arc<Door>, stream: TcpStream, address: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let config = door.tls().await.map_err(io::Error::other)?;
    let tls = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await??;
    let session = tls.get_ref().1;
    if session.alpn_protocol() != Some(tls::ALPN) {
        return Err(io::Error::other("the peer does not speak h2"));
    }
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let peer = Arc::new(Peer::new(Some(address.ip()), certificate).map_err(io::Error::other)?);
    serve(door, peer, TokioIo::new(tls)).await
}

/// Serves a connection until its peer goes or is not welcome any more.
async fn serve<I>(door: &Arc<Door>, peer: Arc<Peer>, stream: I) -> io::Result<()>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (own, caller) = (Arc::clone(door), Arc::clone(&peer));
    let service = service_fn(move |request| {
        let (door, caller) = (Arc::clone(&own), Arc::clone(&caller));
        async move { door.answer(&caller, request).await }
    });
    let mut connection = std::pin::pin!(builder().serve_connection(stream, service));
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(io::Error::other),
        () = unwelcome(door.machine(), &peer) => {}
    }
    connection.as_mut().graceful_shutdown();
    match timeout(GOODBYE_TIMEOUT, connection).await {
        Ok(ended) => ended.map_err(io::Error::other),
        Err(_) => Ok(()),
    }
}

/// Returns when the machine no longer wants this peer: it has a configuration now, and the peer no certificate.
async fn unwelcome(machine: &Machine, peer: &Peer) {
    let mut changes = machine.configurations();
    while peer.is_welcome(machine.is_maintenance()) {
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(WINDOW as usize);
    builder
}
