//! The door of one machine: each call gets its roles, its machine and its delay, then goes to the services.

use std::convert::Infallible;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::Body as HttpBody;
use rustls::ServerConfig;
use tokio::time::sleep;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service as _;

use super::Caller;
use super::caller::{Peer, verdict};
use super::tls::{self, ServeError};
use crate::applied::Applied;
use crate::link::place::Place;
use crate::machine::Machine;

/// Metadata key of the machine that a call is for.
const NODE: &str = "node";
/// Metadata key of several machines that a call is for.
const NODES: &str = "nodes";
/// Metadata key that tells that another machine has passed the call on.
const PROXY_FROM: &str = "proxyfrom";

/// What a TLS set-up was made for.
struct Made {
    maintenance: bool,
    applied: Option<Arc<Applied>>,
    config: Arc<ServerConfig>,
}

/// The door of a machine at one place.
pub struct Door {
    machine: Arc<Machine>,
    place: Arc<Place>,
    made: tokio::sync::Mutex<Option<Made>>,
}

impl Door {
    /// The door of a machine.
    #[must_use]
    pub fn new(machine: Arc<Machine>, place: Arc<Place>) -> Self {
        Self { machine, place, made: tokio::sync::Mutex::default() }
    }

    /// The machine.
    #[must_use]
    pub const fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// How the machine speaks TLS now; made anew when its configuration is another one.
    ///
    /// # Errors
    /// When there is no certificate.
    pub async fn tls(&self) -> Result<Arc<ServerConfig>, ServeError> {
        let (maintenance, applied) = (self.machine.is_maintenance(), self.machine.applied());
        let mut made = self.made.lock().await;
        if let Some(made) = &*made
            && made.maintenance == maintenance
            && is_same(made.applied.as_ref(), applied.as_ref())
        {
            return Ok(Arc::clone(&made.config));
        }
        let config = tls::server(&self.machine, &self.place).await?;
        *made = Some(Made { maintenance, applied, config: Arc::clone(&config) });
        Ok(config)
    }

    /// Answers a call; every failure is a gRPC status.
    ///
    /// # Errors
    /// Never; the type fits the HTTP server.
    pub async fn answer<B>(&self, peer: &Peer, request: Request<B>) -> Result<Response<Body>, Infallible>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let delay = self.machine.faults().borrow().delay_ms;
        if delay > 0 {
            sleep(Duration::from_millis(delay)).await;
        }
        Ok(answer(&self.machine, peer, request).await.unwrap_or_else(Status::into_http))
    }
}

fn is_same(one: Option<&Arc<Applied>>, other: Option<&Arc<Applied>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// Answers a call to a machine, or to the one behind it.
pub async fn answer<B>(
    machine: &Arc<Machine>,
    peer: &Peer,
    request: Request<B>,
) -> Result<Response<Body>, Status>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let roles = peer.roles(machine.is_maintenance(), request.headers())?;
    let target = target(machine, request.headers())?;
    let path = request.uri().path().to_owned();
    let profile = target.profile();
    let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    if !profile.has_service(service) {
        return Err(Status::unimplemented(format!("unknown service {service}")));
    }
    verdict(&path, roles, target.is_maintenance())?;
    let routes = target.world().routes(profile);
    let mut routes = routes.ok_or_else(|| Status::internal("the version has no services"))?;
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Caller { machine: target, roles });
    match routes.call(request).await {
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}

/// The machine that a call is for: this one, or another one of the process. Machines in maintenance pass nothing on.
fn target(machine: &Arc<Machine>, headers: &HeaderMap) -> Result<Arc<Machine>, Status> {
    if headers.contains_key(PROXY_FROM) {
        return Ok(Arc::clone(machine));
    }
    if headers.contains_key(NODES) {
        return Err(Status::unimplemented("calls to several nodes are not emulated; call each of them"));
    }
    let Some(node) = headers.get(NODE).and_then(|value| value.to_str().ok()) else {
        return Ok(Arc::clone(machine));
    };
    let address = node.parse::<Ipv6Addr>();
    let is_own = node == machine.hostname()
        || address.as_ref().is_ok_and(|address| {
            machine.places().borrow().as_ref().is_some_and(|place| place.address() == *address)
        });
    if is_own {
        return Ok(Arc::clone(machine));
    }
    if machine.is_maintenance() {
        return Err(Status::permission_denied("no request forwarding"));
    }
    let found = address.ok().and_then(|address| machine.world().machine_at(address));
    found
        .filter(|found| found.stage().is_up() && !found.faults().borrow().silent)
        .ok_or_else(|| Status::unavailable(format!("machine {node:?} does not answer")))
}
