//! The layer in front of all gRPC methods: who calls, whether they may call this, and not too often.
//!
//! ```text
//! Request<Body> ─▶ Guard::admit(headers) ─┬─▶ Arc<Caller> in the extensions ─▶ method | machine
//!                                         └─▶ Status; the body is not read
//! ```
//!
//! On a method that needs no signature one that does not hold counts as none: who logs in anew still has the old key.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use corten_api::fleet::FleetGate;
use corten_base::{Clock, Rate, chain};
use corten_fleet_auth::{Replays, Sight, SignatureError, SignedCall};
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;
use tower_layer::Layer;
use tower_service::Service;

use super::gate::{Destination, Refused, permit};
use super::limit::Limits;
use super::{Caller, Directory, Signer};
use crate::metrics::{Metrics, Refusal};

/// What takes calls to machines behind the manager.
pub type Machines = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Calls that are remembered so that nobody makes them again.
const REPLAYS_MAX: usize = 65_536;
/// Longest name of a client that is kept, characters.
const USER_AGENT_MAX: usize = 256;

/// How the guard is set up.
#[derive(Clone, Debug)]
pub struct GuardOptions {
    /// Finds callers.
    pub directory: Arc<Directory>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Judges signatures.
    pub clock: Clock,
    /// How often one caller may call.
    pub rate: Rate,
}

/// Decides about calls by their headers.
#[derive(Debug)]
pub struct Guard {
    options: GuardOptions,
    replays: Mutex<Replays>,
    limits: Mutex<Limits>,
}

impl Guard {
    /// A guard that has seen nothing yet.
    #[must_use]
    pub fn new(options: GuardOptions) -> Self {
        let limits = Mutex::new(Limits::new(options.rate));
        Self { options, replays: Mutex::new(Replays::new(REPLAYS_MAX)), limits }
    }

    /// Who calls, if they may: the method exists, the signature holds, the call is new, the role suffices, and it is
    /// the caller's turn.
    ///
    /// # Errors
    /// `Unimplemented`, `Unauthenticated`, `PermissionDenied` or `ResourceExhausted`, in this order.
    pub async fn admit(&self, head: &Parts) -> Result<Caller, Status> {
        self.options.metrics.called();
        let caller = match self.check(head) {
            Ok(caller) => caller,
            Err(refused) => {
                self.options.metrics.refused(refused.why);
                return Err(refused.status);
            }
        };
        self.turn(&caller).await.map(|()| caller)
    }

    fn check(&self, head: &Parts) -> Result<Caller, Refused> {
        let path = head.uri.path();
        let destination = destination(head).ok_or_else(|| unknown(path))?;
        let caller = Caller {
            signer: self.signer(path, &head.headers, destination)?,
            remote: remote(head),
            user_agent: text(&head.headers, "user-agent").chars().take(USER_AGENT_MAX).collect(),
        };
        let cluster = cluster(&head.headers);
        permit(destination, &caller, cluster.as_deref())?;
        Ok(caller)
    }

    /// Who signed the call, if anybody did.
    fn signer(
        &self,
        path: &str,
        headers: &HeaderMap,
        destination: Destination,
    ) -> Result<Option<Signer>, Refused> {
        let is_open = match destination.gate() {
            FleetGate::Token => return Ok(None),
            gate => gate == FleetGate::Public,
        };
        match self.verify(path, headers) {
            Ok(Some(verified)) => {
                let now = self.options.clock.now();
                let is_again =
                    !destination.is_repeatable() && self.replays.lock().see(&verified.1, now) == Sight::Again;
                if is_again { Err(replayed()) } else { Ok(Some(verified.0)) }
            }
            Ok(None) => Ok(None),
            Err(_) if is_open => Ok(None),
            Err(error) => Err(invalid(&error)),
        }
    }

    fn verify(
        &self,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Option<(Signer, corten_fleet_auth::Verified)>, SignatureError> {
        let read = |name: &str| values(headers, name);
        let Some(call) = SignedCall::read(&read)? else { return Ok(None) };
        let now = self.options.clock.now();
        let key = self.options.directory.key(call.fingerprint()).ok_or(SignatureError::OtherKey)?;
        let verified = call.verify(path, &read, &key, now)?;
        let signer = self.options.directory.signer(&verified.fingerprint, now);
        Ok(Some((signer.ok_or(SignatureError::OtherKey)?, verified)))
    }

    /// Waits for the caller's turn: by identity, or by address for those who have none.
    async fn turn(&self, caller: &Caller) -> Result<(), Status> {
        let name = match (caller.email(), caller.remote) {
            (Some(email), _) => email.to_string(),
            (None, Some(address)) => address.ip().to_canonical().to_string(),
            (None, None) => "a client without address".to_owned(),
        };
        let turn = self.limits.lock().take(&name, Instant::now());
        match turn {
            Ok(wait) if wait.is_zero() => Ok(()),
            Ok(wait) => {
                sleep(wait).await;
                Ok(())
            }
            Err(error) => {
                self.options.metrics.refused(Refusal::Rate);
                Err(Status::resource_exhausted(error.to_string()))
            }
        }
    }
}

/// The cluster that the headers of a call name: `cluster`, or `context` as older clients call it.
pub(crate) fn cluster(headers: &HeaderMap) -> Option<String> {
    let named = |name| Some(text(headers, name)).filter(|text| !text.is_empty());
    named("cluster").or_else(|| named("context"))
}

fn destination(head: &Parts) -> Option<Destination> {
    let runtime = text(&head.headers, "runtime");
    Destination::of(head.uri.path(), Some(runtime.as_str()).filter(|text| !text.is_empty()))
}

/// All values of a header. What is no text becomes one, so that it counts as a change to what was signed.
fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    let all = headers.get_all(name).iter();
    all.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

/// The first value of a header; empty without one.
fn text(headers: &HeaderMap, name: &str) -> String {
    values(headers, name).into_iter().next().unwrap_or_default()
}

fn remote(head: &Parts) -> Option<SocketAddr> {
    head.extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr)
}

fn unknown(path: &str) -> Refused {
    let text = format!("the manager has no method {path}; calls to machines have the header runtime: Talos");
    Refused { why: Refusal::Method, status: Status::unimplemented(text) }
}

fn replayed() -> Refused {
    let text = "this very call was made before; sign it anew";
    Refused { why: Refusal::Replay, status: Status::unauthenticated(text) }
}

/// Tells only of the clock why a signature does not hold: everything else would help those who try signatures.
fn invalid(error: &SignatureError) -> Refused {
    tracing::debug!(error = chain(error), "a signature does not hold");
    let text = match error {
        SignatureError::Window { .. } => error.to_string(),
        _ => {
            "the signature does not hold: the key is unknown, expired or revoked, or the call was changed on \
              its way; log in again, or renew the key of the service account"
                .to_owned()
        }
    };
    Refused { why: Refusal::Signature, status: Status::unauthenticated(text) }
}

/// Puts a [`Guard`] in front of a service.
#[derive(Clone, Debug)]
pub struct CallerLayer {
    guard: Arc<Guard>,
    machines: Option<Machines>,
}

impl CallerLayer {
    /// The layer; calls to machines go to `machines`, and are not implemented without it.
    #[must_use]
    pub const fn new(guard: Arc<Guard>, machines: Option<Machines>) -> Self {
        Self { guard, machines }
    }
}

impl<S> Layer<S> for CallerLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { layer: self.clone(), inner }
    }
}

/// A service that sees only calls of those who may call it, with `Arc<Caller>` in their extensions.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    layer: CallerLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { layer, inner } = self.clone();
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            match layer.guard.admit(&head).await {
                Ok(caller) => head.extensions.insert(Arc::new(caller)),
                Err(status) => return Ok(status.into_http()),
            };
            let is_for_machine = destination(&head) == Some(Destination::Machine);
            let request = Request::from_parts(head, body);
            match layer.machines {
                _ if !is_for_machine => inner.oneshot(request).await,
                Some(machines) => machines.oneshot(request).await,
                None => Ok(no_machines().into_http()),
            }
        })
    }
}

fn no_machines() -> Status {
    Status::unimplemented(
        "calls to machines through the manager are not implemented yet; call the machine itself, port 50000",
    )
}

#[cfg(test)]
mod tests;
