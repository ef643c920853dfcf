//! The layer in front of all gRPC methods: who calls, whether they may call this, and not too often.
//!
//! ```text
//! Request<Body> ─▶ Guard::admit(headers) ─┬─▶ Arc<Caller> in the extensions ─▶ method | machine
//!                                         └─▶ Status; the body is not read
//! ```
//!
//! On a method that needs no signature one that does not hold counts as none: who logs in anew still has the old key.
//! A write is taken once: this run remembers what it took, and a mark on the key tells of earlier ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corten_api::fleet::FleetGate;
use corten_base::{Clock, Rate, chain};
use corten_fleet_auth::{Key, Replays, Run, Sight, SignatureError, SignedCall, Verified};
use corten_resource::StateError;
use http::request::Parts;
use http::{HeaderMap, Request};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::server::TcpConnectInfo;
use tower::{ServiceExt as _, service_fn};

use super::gate::{Destination, Refused, permit};
use super::limit::{Limits, TooOften};
use super::{Caller, Directory, Signer};
use crate::metrics::{Metrics, Refusal};
use crate::serve::{BoxedService, peer};

/// Calls that are remembered so that nobody makes them again.
const REPLAYS_MAX: usize = 65_536;
/// Longest name of a client that is kept, characters.
const USER_AGENT_MAX: usize = 256;
/// What is told of a call that this run has taken.
const AGAIN: &str = "this very call was made before; sign it anew";
/// What is told of one that another run may have taken.
const AGAIN_IN_ANOTHER_RUN: &str = "the call was signed no later than one that was taken before the manager \
                                    started, or by another one; sign it anew, and set the clock if that \
                                    happens again";

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
    run: Run,
    replays: Mutex<Replays>,
    limits: Mutex<Limits>,
}

impl Guard {
    /// A guard that has seen nothing yet.
    #[must_use]
    pub fn new(options: GuardOptions) -> Self {
        let run = options.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let limits = Mutex::new(Limits::new(options.rate));
        Self { options, run, replays: Mutex::new(Replays::new(REPLAYS_MAX)), limits }
    }

    /// Who calls, if they may: the method exists, the signature holds, the call is new, the role suffices, and it is
    /// the caller's turn.
    ///
    /// # Errors
    /// `Unimplemented`, `Unauthenticated`, `PermissionDenied` or `ResourceExhausted`; `Unavailable` when it cannot be
    /// kept that a write was signed.
    pub async fn admit(&self, head: &Parts) -> Result<Caller, Status> {
        self.options.metrics.called();
        self.check(head).await.map_err(|refused| {
            self.options.metrics.refused(refused.why);
            refused.status
        })
    }

    async fn check(&self, head: &Parts) -> Result<Caller, Refused> {
        let destination = destination(head).ok_or_else(|| unknown(head.uri.path()))?;
        let caller = Caller {
            signer: self.signer(head, destination).await?,
            remote: remote(head),
            user_agent: text(&head.headers, "user-agent").chars().take(USER_AGENT_MAX).collect(),
        };
        let cluster = cluster(&head.headers);
        permit(destination, &caller, cluster.as_deref())?;
        let turn = self.limits.lock().take(&name(&caller), Instant::now());
        wait(turn).await?;
        Ok(caller)
    }

    /// Who signed the call, if anybody did.
    async fn signer(&self, head: &Parts, destination: Destination) -> Result<Option<Signer>, Refused> {
        let is_open = match destination.gate() {
            FleetGate::Token => return Ok(None),
            gate => gate == FleetGate::Public,
        };
        match self.signed(head, destination).await {
            Err(Refused { why: Refusal::Signature | Refusal::Rate, .. }) if is_open => Ok(None),
            found => found,
        }
    }

    /// The same, where a signature that is there must hold. It waits for its turn before it is looked at.
    async fn signed(&self, head: &Parts, destination: Destination) -> Result<Option<Signer>, Refused> {
        let call = match signed_call(&head.headers) {
            Ok(Some(call)) => call,
            Ok(None) => return Ok(None),
            Err(error) => return Err(invalid(&error)),
        };
        let key = self.options.directory.key(call.fingerprint());
        let source = source(remote(head), key.as_deref());
        let turn = self.limits.lock().check(&source, Instant::now());
        wait(turn).await?;
        let found = self.verified(head, &call, key.as_deref(), destination).await;
        if let Err(Refused { why: Refusal::Signature | Refusal::Replay, .. }) = &found {
            self.limits.lock().fine(&source, Instant::now());
        }
        found.map(Some)
    }

    /// Whoever this key belongs to, if the call is signed with it and may be made.
    async fn verified(
        &self,
        head: &Parts,
        call: &SignedCall,
        key: Option<&Key>,
        destination: Destination,
    ) -> Result<Signer, Refused> {
        let now = self.options.clock.now();
        let (signer, verified) = self.verify(head, call, key, now).map_err(|error| invalid(&error))?;
        if destination.is_repeatable() {
            return Ok(signer);
        }
        if self.replays.lock().see(&verified, now) == Sight::Again {
            return Err(replayed(AGAIN));
        }
        match self.options.directory.is_new(&verified, self.run).await {
            Ok(true) => Ok(signer),
            Ok(false) => Err(replayed(AGAIN_IN_ANOTHER_RUN)),
            // It went meanwhile.
            Err(StateError::NotFound(_)) => Err(invalid(&SignatureError::OtherKey)),
            Err(error) => Err(unkept(&error)),
        }
    }

    fn verify(
        &self,
        head: &Parts,
        call: &SignedCall,
        key: Option<&Key>,
        now: SystemTime,
    ) -> Result<(Signer, Verified), SignatureError> {
        let read = |name: &str| values(&head.headers, name);
        let key = key.ok_or(SignatureError::OtherKey)?;
        let verified = call.verify(head.uri.path(), &read, key, now)?;
        let signer = self.options.directory.signer(&verified.fingerprint, now);
        Ok((signer.ok_or(SignatureError::OtherKey)?, verified))
    }
}

/// The call as it is signed, if it is.
fn signed_call(headers: &HeaderMap) -> Result<Option<SignedCall>, SignatureError> {
    SignedCall::read(&|name: &str| values(headers, name))
}

/// Waits for a turn that was booked.
async fn wait(turn: Result<Duration, TooOften>) -> Result<(), Refused> {
    match turn {
        Ok(time) if time.is_zero() => {}
        Ok(time) => sleep(time).await,
        Err(error) => {
            let status = Status::resource_exhausted(error.to_string());
            return Err(Refused { why: Refusal::Rate, status });
        }
    }
    Ok(())
}

/// By which a caller is known to the limits: its identity, or the address of one who has none.
fn name(caller: &Caller) -> String {
    caller.email().map_or_else(|| place(caller.remote), ToString::to_string)
}

/// By which a signature is known to the limits: where it comes from, and the key that it names, if there is one.
fn source(remote: Option<SocketAddr>, key: Option<&Key>) -> String {
    match key {
        Some(key) => format!("{} with the key {}", place(remote), key.id()),
        None => format!("{} with an unknown key", place(remote)),
    }
}

fn place(remote: Option<SocketAddr>) -> String {
    let address = remote.map(|address| peer(address.ip()).to_string());
    address.unwrap_or_else(|| "a client without address".to_owned())
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

fn replayed(text: &str) -> Refused {
    Refused { why: Refusal::Replay, status: Status::unauthenticated(text) }
}

/// A write that might be made again after the manager has ended.
fn unkept(error: &StateError) -> Refused {
    let text = format!("it cannot be kept that this call was made, so it is not: {error}");
    Refused { why: Refusal::Replay, status: Status::unavailable(text) }
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

/// A service in front of `inner` that lets a call through if its caller may make it, with `Arc<Caller>` in its
/// extensions. Calls to machines go to `machines`, and are not implemented without it.
#[must_use]
pub fn guarded(guard: Guard, machines: Option<BoxedService>, inner: Routes) -> BoxedService {
    let guard = Arc::new(guard);
    BoxedService::new(service_fn(move |request: Request<Body>| {
        let (guard, machines, inner) = (Arc::clone(&guard), machines.clone(), inner.clone());
        async move {
            let (mut head, body) = request.into_parts();
            match guard.admit(&head).await {
                Ok(caller) => head.extensions.insert(Arc::new(caller)),
                Err(status) => return Ok(status.into_http()),
            };
            let is_for_machine = destination(&head) == Some(Destination::Machine);
            let request = Request::from_parts(head, body);
            match machines {
                _ if !is_for_machine => inner.oneshot(request).await,
                Some(machines) => machines.oneshot(request).await,
                None => Ok(no_machines().into_http()),
            }
        }
    }))
}

fn no_machines() -> Status {
    Status::unimplemented(
        "calls to machines through the manager are not implemented yet; call the machine itself, port 50000",
    )
}

#[cfg(test)]
mod tests;
