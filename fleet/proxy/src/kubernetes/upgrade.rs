//! Connections that become something else: `exec`, `attach`, `port-forward` over SPDY or WebSocket.
//!
//! ```text
//! client ─(HTTP/1.1, Upgrade)─▶ Upgrades ─(HTTP/1.1, Upgrade, a connection of its own)─▶ control plane
//!    └───────────────── 101: bytes, as long as the caller may go on ─────────────────────────┘
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{chain, spawn};
use corten_fleet_tunnel::TunnelStream;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tonic::body::Body;

use super::headers;
use super::refusal::Refusal;
use crate::body::{Still, checks, plain};

/// Connections that have become something else, over all clients.
const UPGRADES_MAX: usize = 1024;
/// How long both ends may take to change over.
const CHANGE_LIMIT: Duration = Duration::from_secs(10);

/// Connections that have become something else.
pub(crate) struct Upgrades {
    places: Arc<Semaphore>,
    /// They end with the proxy.
    carried: Mutex<JoinSet<()>>,
}

/// A request that asks for an upgrade, and what belongs to it.
pub(crate) struct Asking {
    /// The request without its upgrade.
    pub(crate) request: Request<Body>,
    /// Gives the client's connection when the answer is 101.
    pub(crate) client: OnUpgrade,
    /// What it is to become.
    pub(crate) protocol: HeaderValue,
    /// Whether the caller may go on.
    pub(crate) still: Still,
}

impl Upgrades {
    pub(crate) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(UPGRADES_MAX)), carried: Mutex::default() }
    }

    /// A place for one more.
    ///
    /// # Errors
    /// `TooManyRequests` when all are taken.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map_err(|_| Refusal::busy("too many sessions at once; end one of them"))
    }

    /// Asks the control plane at the other end of a connection; its answer. If that is 101, bytes flow from then on.
    ///
    /// # Errors
    /// `InternalError` when the control plane breaks off.
    pub(crate) async fn ask(
        &self,
        asking: Asking,
        stream: TlsStream<TunnelStream>,
        place: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Refusal> {
        let Asking { mut request, client, protocol, still } = asking;
        let broken =
            |error: hyper::Error| Refusal::broken(format!("the control plane broke off: {}", chain(&error)));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driver = spawn("connection of an upgrade", async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(error = chain(&error), "the connection of an upgrade ended");
            }
        });
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        request.headers_mut().insert(UPGRADE, protocol);
        let mut response = sender.send_request(request).await.map_err(broken)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (mut parts, body) = response.into_parts();
            parts.headers = headers::between(&parts.headers);
            let body = plain(body, still, (driver, sender, place));
            return Ok(Response::from_parts(parts, body));
        }
        let machine = hyper::upgrade::on(&mut response);
        self.keep(async move {
            let _held = (driver, place);
            carry(client, machine, still).await;
        });
        let (parts, _) = response.into_parts();
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = parts.status;
        // The hop to the client changes over too, so what is said about that goes on.
        *answer.headers_mut() = parts.headers;
        Ok(answer)
    }

    fn keep(&self, carrying: impl Future<Output = ()> + Send + 'static) {
        let mut carried = self.carried.lock();
        while carried.try_join_next().is_some() {}
        carried.spawn(carrying);
    }
}

/// Carries bytes both ways until one end closes, or the caller may not go on.
async fn carry(client: OnUpgrade, machine: OnUpgrade, still: Still) {
    let both = async { tokio::try_join!(client, machine) };
    let (client, machine) = match timeout(CHANGE_LIMIT, both).await {
        Ok(Ok(both)) => both,
        Ok(Err(error)) => {
            tracing::debug!(error = chain(&error), "an upgrade did not come about");
            return;
        }
        Err(_) => return,
    };
    let (mut client, mut machine) = (TokioIo::new(client), TokioIo::new(machine));
    let mut checks = checks();
    let mut copying = std::pin::pin!(copy_bidirectional(&mut client, &mut machine));
    loop {
        tokio::select! {
            // Both arms may be dropped between bytes; the copying goes on where it was.
            _ = copying.as_mut() => return,
            _ = checks.tick() => if still().is_err() { return },
        }
    }
}
