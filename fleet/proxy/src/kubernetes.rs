//! The Kubernetes of clusters behind the manager (fleet.md 2.8): who shows a token is let through under its name.
//!
//! ```text
//! Authorization: Bearer ─▶ JwtKeys ─▶ Visitor: subject, groups, cluster ─▶ AccessLog
//!                                       └▶ headers: in its name ─▶ Backends ─┬▶ HTTP/2: requests, watches, logs
//!                                                                            └▶ Upgrades: exec, attach, port-forward
//! ```
//!
//! [`KubernetesParts::proxy`] makes a service for a listener of its own, the door of fleet/api. What a Kubernetes
//! permits the name and its groups, it decides itself.

mod backends;
mod headers;
mod refusal;
mod upgrade;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddrV6};
use std::sync::Arc;

use corten_base::{Clock, chain};
use corten_fleet_api::audit::Actor;
use corten_fleet_api::serve::BoxedService;
use corten_fleet_controllers_machine::connect::Streams;
use corten_relay::Broken;
use corten_resource::State;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tower::service_fn;

use crate::body::{Still, plain};
use crate::keys::{JwtKeys, Visitor};
use crate::log::{AccessEvent, AccessKind, AccessLog, Effect, Notes};
use backends::Backends;
use refusal::Refusal;
use upgrade::{Asking, Upgrades};

pub(crate) use headers::is_name;

/// Requests under way at a time, over all clients. A watch is one.
pub const REQUESTS_MAX: usize = 8192;
/// What a client may send in an Authorization header before its token.
const BEARER: &str = "bearer";
/// Header in which kubectl says what its user does.
const COMMAND: &str = "kubectl-command";
/// Characters of foreign text that are noted.
const NOTED_MAX: usize = 1024;
/// How often a request is sent anew that no connection has taken.
const TRIES: usize = 3;

/// What the proxy is made of.
pub struct KubernetesParts<S> {
    /// The store.
    pub state: State,
    /// Makes connections to machines; the tunnel.
    pub streams: S,
    /// Judges certificates.
    pub clock: Clock,
    /// Judges tokens.
    pub keys: JwtKeys,
    /// Told of requests.
    pub log: Arc<dyn AccessLog>,
}

impl<S> std::fmt::Debug for KubernetesParts<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesParts").finish_non_exhaustive()
    }
}

struct Shared<S> {
    keys: JwtKeys,
    backends: Backends<S>,
    upgrades: Upgrades,
    notes: Notes,
    requests: Arc<Semaphore>,
}

impl<S: Streams> KubernetesParts<S> {
    /// What takes requests to the Kubernetes of clusters. It has no connections yet, and clones of it are the same.
    /// Must be called inside a runtime.
    #[must_use]
    pub fn proxy(self) -> BoxedService {
        let Self { state, streams, clock, keys, log } = self;
        let shared = Arc::new(Shared {
            keys,
            backends: Backends::new(state, clock, streams),
            upgrades: Upgrades::new(),
            notes: Notes::new(log),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
        });
        BoxedService::new(service_fn(move |request: Request<Body>| {
            let shared = Arc::clone(&shared);
            async move {
                let answered = shared.answer(request).await;
                Ok::<_, Infallible>(answered.unwrap_or_else(Refusal::into_response))
            }
        }))
    }
}

impl<S: Streams> Shared<S> {
    async fn answer(&self, mut request: Request<Body>) -> Result<Response<Body>, Refusal> {
        let place = Arc::clone(&self.requests).try_acquire_owned();
        let place = place.map_err(|_| Refusal::busy("too many requests at once; try again in a moment"))?;
        let visitor = self.keys.verify(token(request.headers())?)?;
        let protocol = headers::upgrade(request.headers()).cloned();
        let effect = effect(request.method(), protocol.is_some());
        self.note(effect, &visitor, &request);
        let still = self.still(&visitor);
        let client = hyper::upgrade::on(&mut request);
        let remote = remote(&request);
        let (parts, body) = request.into_parts();
        let outgoing = Outgoing {
            method: parts.method,
            uri: parts.uri,
            headers: headers::outgoing(&parts.headers, &visitor.claims, remote)
                .map_err(|error| Refusal::bad(error.to_string()))?,
        };
        let cluster = &visitor.claims.cluster;
        let Some(protocol) = protocol else {
            return self.pass(cluster, &outgoing, body, still, place).await;
        };
        let session = self.upgrades.place()?;
        let (to, stream) = self.backends.connect(cluster).await?;
        let asking = Asking { request: outgoing.alone(to)?, client, protocol, still };
        self.upgrades.ask(asking, stream, session).await
    }

    /// Passes a request on over a connection that many share.
    async fn pass(
        &self,
        cluster: &str,
        outgoing: &Outgoing,
        mut body: Body,
        still: Still,
        place: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Refusal> {
        for _ in 0..TRIES {
            let (to, lease) = self.backends.lease(cluster).await?;
            match lease.send(outgoing.shared(to, body)?).await {
                Ok((response, lease)) => {
                    let (mut parts, body) = response.into_parts();
                    parts.headers = headers::between(&parts.headers);
                    let body = plain(body, still, (lease, place));
                    return Ok(Response::from_parts(parts, body));
                }
                Err(Broken::Unsent(unsent)) => body = unsent.into_body(),
                Err(Broken::Lost(error)) => {
                    return Err(Refusal::broken(format!("the control plane broke off: {}", chain(&error))));
                }
            }
        }
        Err(Refusal::unavailable("the control plane closes its connections; try again in a moment"))
    }

    fn note(&self, effect: Effect, visitor: &Visitor, request: &Request<Body>) {
        let noted = |text: &str| Value::from(text.chars().take(NOTED_MAX).collect::<String>());
        let said = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        // Reads of the same thing differ in where they go on; a command that is run stands behind the path.
        let path = match effect {
            Effect::Read => request.uri().path(),
            Effect::Change => request.uri().path_and_query().map_or("/", |path| path.as_str()),
        };
        let mut details = Map::from_iter([
            ("method".to_owned(), json!(request.method().as_str())),
            ("path".to_owned(), noted(path)),
            ("groups".to_owned(), json!(visitor.claims.groups)),
        ]);
        if let Some(command) = said(COMMAND) {
            details.insert("command".to_owned(), noted(command));
        }
        let user_agent = said(header::USER_AGENT.as_str()).unwrap_or_default();
        let actor = Actor {
            email: visitor.claims.subject.clone(),
            fingerprint: visitor.key_id.clone(),
            key_expiration: Some(visitor.claims.expires),
            user_agent: user_agent.chars().take(NOTED_MAX).collect(),
            ..Actor::default()
        };
        let cluster = visitor.claims.cluster.clone();
        self.notes.note(effect, AccessEvent { kind: AccessKind::Kubernetes, cluster, details, actor });
    }

    /// Whether somebody may go on with what is under way.
    fn still(&self, visitor: &Visitor) -> Still {
        let (keys, visitor) = (self.keys.clone(), visitor.clone());
        Arc::new(move || keys.check(&visitor).map_err(|error| Status::unauthenticated(error.to_string())))
    }
}

/// A request as it goes on, without its body.
struct Outgoing {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Outgoing {
    /// For a connection of HTTP/2 that many share.
    fn shared(&self, to: SocketAddrV6, body: Body) -> Result<Request<Body>, Refusal> {
        let uri = Uri::builder().scheme("https").authority(to.to_string()).path_and_query(self.path());
        Ok(self.with(uri.build().map_err(|error| Refusal::bad(error.to_string()))?, body))
    }

    /// For a connection of HTTP/1.1 of its own; what is sent then is not a body.
    fn alone(&self, to: SocketAddrV6) -> Result<Request<Body>, Refusal> {
        let uri = self.path().parse::<Uri>().map_err(|error| Refusal::bad(error.to_string()))?;
        let host = to.to_string().parse::<HeaderValue>().map_err(|error| Refusal::bad(error.to_string()))?;
        let mut request = self.with(uri, Body::empty());
        request.headers_mut().insert(header::HOST, host);
        Ok(request)
    }

    fn with(&self, uri: Uri, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        request
    }

    fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }
}

/// The token that a client shows.
fn token(headers: &HeaderMap) -> Result<&str, Refusal> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let parts = shown.and_then(|text| text.split_once(' '));
    let bearer = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BEARER));
    let token = bearer.map(|(_, token)| token.trim());
    token.ok_or_else(|| Refusal::unauthorized("show a token of a kubeconfig that the manager made"))
}

/// Requests that take over a connection may do anything.
fn effect(method: &Method, is_upgrade: bool) -> Effect {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS if !is_upgrade => Effect::Read,
        _ => Effect::Change,
    }
}

fn remote<B>(request: &Request<B>) -> Option<IpAddr> {
    let info = request.extensions().get::<TcpConnectInfo>();
    info.and_then(TcpConnectInfo::remote_addr).map(|address| address.ip())
}

#[cfg(test)]
mod tests;
