//! The door: each call gets its roles and its route, then passes through unchanged.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use corten_api::roles::METADATA_KEY;
use corten_api::rules::{self, Kind};
use corten_relay::fan::{self, Leg};
use corten_relay::{Reached, grpc};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body as HttpBody;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;

use crate::caller::{self, Peer};
use crate::dial::{Destination, Upstream};
use crate::identity::Feed;
use crate::remotes::Remotes;
use crate::route::{NODE, NODES, PROXY_FROM, Route, Target, route};

/// Calls under way at a time, over all connections.
pub const CALLS_MAX: usize = 2048;

/// Forwards calls to this machine's machined and to other machines.
pub struct Proxy {
    identity: Feed,
    local: Arc<Upstream>,
    /// Other machines.
    pub remotes: Remotes,
    calls: Arc<Semaphore>,
}

impl Proxy {
    /// A proxy in front of the machined that listens on `machined`; other machines are dialled on `port`.
    #[must_use]
    pub fn new(identity: Feed, machined: PathBuf, port: u16) -> Self {
        Self {
            identity,
            local: Arc::new(Upstream::new(Destination::Local(machined))),
            remotes: Remotes::new(port),
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
        }
    }

    /// Answers one call; every failure is a gRPC status.
    ///
    /// # Errors
    /// Never; the type fits the HTTP server.
    pub async fn handle<B>(&self, peer: &Peer, request: Request<B>) -> Result<Response<Body>, Infallible>
    where
        B: HttpBody<Data = bytes::Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        if let Some(refusal) = not_grpc(&request) {
            return Ok(refusal);
        }
        let Ok(place) = self.calls.clone().try_acquire_owned() else {
            return Ok(Status::resource_exhausted("too many calls at once").into_http());
        };
        Ok(self.forward(peer, request, place).await.unwrap_or_else(Status::into_http))
    }

    async fn forward<B>(
        &self,
        peer: &Peer,
        request: Request<B>,
        place: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Status>
    where
        B: HttpBody<Data = bytes::Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let identity =
            self.identity.borrow().clone().ok_or_else(|| Status::unavailable("the machine is starting"))?;
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let roles = caller::roles(peer, &identity, &parts.headers)?;
        let route = route(&path, &parts.headers, &identity)?;
        tracing::debug!(method = path, ?route, peer = ?peer.address, "call");
        let outgoing = Outgoing { parts, roles };
        let reached = match route {
            Route::Local => self.here(&outgoing)?,
            Route::Remote(target) => self.elsewhere(&outgoing, &target)?,
            Route::Many(targets) => {
                let legs = self.legs(&outgoing, targets)?;
                let message = fan::single(body).await?;
                let answer = fan::call(rules::kind(&path).unwrap_or(Kind::Unary), legs, message).await?;
                return Ok(grpc(answer, place));
            }
        };
        let (answer, lease) = reached.send(Body::new(body)).await?;
        Ok(grpc(answer, (lease, place)))
    }

    fn legs(&self, outgoing: &Outgoing, targets: Vec<Target>) -> Result<Vec<Leg<Destination>>, Status> {
        let leg = |target: Target| {
            let reached =
                if target.local { self.here(outgoing) } else { self.elsewhere(outgoing, &target.name) };
            // Without a way to it the whole call is refused, as it is for one machine.
            Ok(Leg { name: target.name, reached: Ok(reached?) })
        };
        targets.into_iter().map(leg).collect()
    }

    fn here(&self, outgoing: &Outgoing) -> Result<Reached<Destination>, Status> {
        Ok(Reached { upstream: self.local.clone(), head: outgoing.local()? })
    }

    fn elsewhere(&self, outgoing: &Outgoing, target: &str) -> Result<Reached<Destination>, Status> {
        Ok(Reached { upstream: self.remotes.get(target)?, head: outgoing.remote(target)? })
    }
}

/// A request as it goes on, without its body.
struct Outgoing {
    parts: Parts,
    roles: Vec<String>,
}

impl Outgoing {
    /// For this machine's machined.
    fn local(&self) -> Result<Request<()>, Status> {
        self.to("http", "localhost", self.headers())
    }

    /// For the apid of another machine, which is told who routed the call.
    fn remote(&self, target: &str) -> Result<Request<()>, Status> {
        let mut headers = self.headers();
        headers.remove(NODE);
        headers.remove(NODES);
        let from =
            self.parts.uri.authority().map(ToString::to_string).unwrap_or_else(|| "unknown".to_owned());
        headers
            .insert(PROXY_FROM, HeaderValue::from_str(&from).unwrap_or(HeaderValue::from_static("unknown")));
        self.to("https", &authority(target), headers)
    }

    /// Metadata with the caller's roles in place of whatever it claimed.
    fn headers(&self) -> HeaderMap {
        let mut headers = self.parts.headers.clone();
        for hop in [CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE] {
            headers.remove(hop);
        }
        headers.remove(METADATA_KEY);
        for role in &self.roles {
            if let Ok(value) = HeaderValue::from_str(role) {
                headers.append(METADATA_KEY, value);
            }
        }
        headers
    }

    fn to(&self, scheme: &str, authority: &str, headers: HeaderMap) -> Result<Request<()>, Status> {
        let uri =
            Uri::builder().scheme(scheme).authority(authority).path_and_query(self.parts.uri.path()).build();
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.map_err(|_| Status::internal(format!("invalid target {authority:?}")))?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// `target` as a URI's authority.
fn authority(target: &str) -> String {
    if target.contains(':') { format!("[{target}]") } else { target.to_owned() }
}

/// The HTTP answer to something that is not a gRPC call.
fn not_grpc<B>(request: &Request<B>) -> Option<Response<Body>> {
    let grpc = request.headers().get(CONTENT_TYPE).is_some_and(|value| {
        value.as_bytes().starts_with(b"application/grpc")
            && !value.as_bytes().starts_with(b"application/grpc-web")
    });
    let status = match (request.method() == Method::POST, grpc) {
        (true, true) => return None,
        (false, _) => StatusCode::METHOD_NOT_ALLOWED,
        (true, false) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    Some(response)
}
