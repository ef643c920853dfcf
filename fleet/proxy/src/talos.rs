//! Calls to machines through the manager: routed byte for byte, with the role that the caller has.
//!
//! ```text
//! metadata ─▶ route ─▶ names ─▶ machines ─▶ gate: admitted? which roles? ─▶ AccessLog
//!                                               └▶ ways ─┬▶ one machine: its answer, untouched
//!                                                        └▶ fan (lib/relay) ─▶ several: answers in the envelope
//! ```
//!
//! What [`TalosParts::proxy`] makes stands behind the guard of fleet/api, which leaves the caller of a call in its
//! extensions.

mod gate;
mod identity;
mod names;
mod route;
mod ways;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corten_api::MESSAGE_BYTES_MAX;
use corten_api::fleet::Role;
use corten_api::roles::Roles;
use corten_api::rules::{self, Kind};
use corten_base::{Clock, Rng};
use corten_client::TlsError;
use corten_fleet_api::audit::Actor;
use corten_fleet_api::caller::{Caller, Directory};
use corten_fleet_api::serve::BoxedService;
use corten_fleet_controllers_machine::connect::Streams;
use corten_relay::Room;
use corten_relay::fan::{Fan, Leg};
use corten_resource::State;
use http::{HeaderMap, Request, Response};
use serde_json::{Map, json};
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tower::service_fn;

use crate::body::{Still, grpc};
use crate::log::{AccessEvent, AccessKind, AccessLog, Effect, Notes};
use crate::pool::Pool;
use crate::way::Way;
use gate::Place;
use identity::Impersonator;
use names::Target;
use route::Route;
use ways::Ways;

/// Calls under way at a time, over all callers.
pub const CALLS_MAX: usize = 2048;
/// Bytes that calls to several machines hold together.
const FAN_BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;

/// What the proxy is made of.
pub struct TalosParts<S> {
    /// The store.
    pub state: State,
    /// Makes connections to machines; the tunnel.
    pub streams: S,
    /// Judges keys and certificates.
    pub clock: Clock,
    /// Makes certificates.
    pub rng: Rng,
    /// Told of calls.
    pub log: Arc<dyn AccessLog>,
}

impl<S> std::fmt::Debug for TalosParts<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TalosParts").finish_non_exhaustive()
    }
}

struct Shared<S> {
    state: State,
    clock: Clock,
    directory: Arc<Directory>,
    ways: Ways<S>,
    notes: Notes,
    calls: Arc<Semaphore>,
    fan: Fan,
    /// Which machine of a control plane comes next.
    turn: AtomicUsize,
}

impl<S: Streams> TalosParts<S> {
    /// What takes calls to machines. It has no connections yet, and clones of it are the same. Must be called inside a
    /// runtime.
    ///
    /// # Errors
    /// When TLS cannot be set up on this host.
    pub fn proxy(self) -> Result<BoxedService, TlsError> {
        let Self { state, streams, clock, rng, log } = self;
        let impersonator = Impersonator::new(state.clone(), clock.clone(), rng)?;
        let shared = Arc::new(Shared {
            directory: Arc::new(Directory::new(state.clone())),
            ways: Ways { streams, pool: Pool::new(), impersonator },
            notes: Notes::new(log),
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            fan: Fan::new(Room::new(FAN_BYTES_MAX)),
            turn: AtomicUsize::new(0),
            state,
            clock,
        });
        Ok(BoxedService::new(service_fn(move |request: Request<Body>| {
            let shared = Arc::clone(&shared);
            async move {
                let answered = shared.answer(request).await;
                Ok::<_, Infallible>(answered.unwrap_or_else(Status::into_http))
            }
        })))
    }
}

/// A machine of a call, as the caller named it, with the roles that the call has there.
struct Stop {
    name: String,
    target: Target,
    roles: Roles,
}

/// A call that may be made.
struct Call {
    caller: Arc<Caller>,
    is_many: bool,
    /// At least one; all in one cluster.
    stops: Vec<Stop>,
}

impl Call {
    /// The cluster of all machines.
    fn cluster(&self) -> Option<&str> {
        self.stops.first().and_then(|stop| stop.target.cluster.as_deref())
    }

    /// The role below which the caller could not go on.
    fn least(&self) -> Role {
        let is_reading = |stop: &Stop| stop.roles == Roles::READER && stop.target.place == Place::Member;
        if self.stops.iter().all(is_reading) { Role::Reader } else { Role::Operator }
    }
}

impl<S: Streams> Shared<S> {
    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let place = Arc::clone(&self.calls).try_acquire_owned();
        let place = place.map_err(|_| Status::resource_exhausted("too many calls to machines at once"))?;
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let caller = head.extensions.get::<Arc<Caller>>().cloned().unwrap_or_default();
        let call = self.plan(path, &head.headers, caller)?;
        self.note(path, &call);
        let still = self.still(&call);
        if call.is_many {
            let legs = self.legs(path, &head.headers, call.stops);
            let message = self.fan.single(body).await?;
            let kind = rules::kind(path).unwrap_or(Kind::Unary);
            return Ok(grpc(self.fan.call(kind, legs, message).await?, still, place));
        }
        let stop = call.stops.first().ok_or_else(|| Status::internal("a call to no machine"))?;
        let reached = self.ways.reach(path, &head.headers, &stop.target, stop.roles)?;
        let (answer, lease) = reached.send(body).await?;
        Ok(grpc(answer, still, (lease, place)))
    }

    /// Which machines a call is for, and which roles it has there.
    fn plan(&self, path: &str, headers: &HeaderMap, caller: Arc<Caller>) -> Result<Call, Status> {
        let route = route::route(path, headers)?;
        let cluster = route::cluster(headers)?;
        let (is_many, targets) = match route {
            Route::ControlPlane => (false, vec![self.any(cluster.as_deref(), &caller)?]),
            Route::One(name) => (false, vec![self.named(name, cluster.as_deref(), &caller)?]),
            Route::Many(names) => {
                let named = names.into_iter().map(|name| self.named(name, cluster.as_deref(), &caller));
                (true, named.collect::<Result<Vec<_>, _>>()?)
            }
        };
        let is_one_cluster = targets.windows(2).all(|pair| match pair {
            [(_, one), (_, other)] => one.cluster == other.cluster,
            _ => true,
        });
        if !is_one_cluster {
            let text = "the machines of one call are of one cluster; make a call for each cluster";
            return Err(Status::invalid_argument(text));
        }
        let stop = |(name, target): (String, Target)| {
            let role = role_on(&caller, target.cluster.as_deref());
            gate::admit(role, target.place)?;
            let roles = gate::roles(path, role.unwrap_or_default(), target.place, &target.version)?;
            Ok(Stop { name, target, roles })
        };
        let stops = targets.into_iter().map(stop).collect::<Result<Vec<_>, Status>>()?;
        Ok(Call { caller, is_many, stops })
    }

    /// The machine that a caller has named.
    fn named(
        &self,
        name: String,
        cluster: Option<&str>,
        caller: &Caller,
    ) -> Result<(String, Target), Status> {
        let sight = |target: &Target| sees(caller, target.cluster.as_deref());
        match names::find(&self.state, &name, cluster, &sight) {
            Ok(target) => Ok((name, target)),
            // Who sees nothing here is not told what there is.
            Err(_) if !sees(caller, cluster) => Err(gate::refusal(Place::Member)),
            Err(status) => Err(status),
        }
    }

    /// A machine of the control plane of the cluster that a call names.
    fn any(&self, cluster: Option<&str>, caller: &Caller) -> Result<(String, Target), Status> {
        let cluster = cluster.ok_or_else(|| {
            Status::invalid_argument("the call names no machine: set the metadata node, nodes, or cluster")
        })?;
        gate::admit(caller.role_on(cluster), Place::Member)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let target = names::control_plane(&self.state, cluster, turn)?;
        Ok((target.machine.clone(), target))
    }

    fn legs(&self, path: &str, headers: &HeaderMap, stops: Vec<Stop>) -> Vec<Leg<Way<S>>> {
        let leg = |stop: Stop| {
            let reached = self.ways.reach(path, headers, &stop.target, stop.roles);
            Leg { name: stop.name, reached }
        };
        stops.into_iter().map(leg).collect()
    }

    fn note(&self, path: &str, call: &Call) {
        let ids: Vec<&str> = call.stops.iter().map(|stop| stop.target.machine.as_str()).collect();
        let roles = call.stops.first().map(|stop| stop.roles.to_string());
        let details = Map::from_iter([
            ("method".to_owned(), json!(path)),
            ("machines".to_owned(), json!(ids)),
            ("role".to_owned(), json!(roles)),
        ]);
        let effect = if gate::is_read(path) { Effect::Read } else { Effect::Change };
        let cluster = call.cluster().unwrap_or_default().to_owned();
        let actor = Actor::of(&call.caller);
        self.notes.note(effect, AccessEvent { kind: AccessKind::Talos, cluster, details, actor });
    }

    /// Whether the caller may go on with a call.
    fn still(&self, call: &Call) -> Still {
        let (directory, clock) = (Arc::clone(&self.directory), self.clock.clone());
        let (caller, least) = (Arc::clone(&call.caller), call.least());
        let cluster = call.cluster().map(str::to_owned);
        Arc::new(move || {
            let role = directory.again(&caller, clock.now());
            let role = role.and_then(|caller| role_on(&caller, cluster.as_deref()));
            if role.is_some_and(|role| role >= least) {
                return Ok(());
            }
            let text = "the caller's rights were withdrawn, or its key has ended; log in and call again";
            Err(Status::unauthenticated(text))
        })
    }
}

/// The role of a caller on a cluster, or beyond clusters.
fn role_on(caller: &Caller, cluster: Option<&str>) -> Option<Role> {
    cluster.map_or_else(|| caller.role(), |cluster| caller.role_on(cluster))
}

/// Whether a caller may know what is in a cluster, or in none.
fn sees(caller: &Caller, cluster: Option<&str>) -> bool {
    role_on(caller, cluster).is_some_and(|role| role >= Role::Reader)
}

#[cfg(test)]
mod tests;
