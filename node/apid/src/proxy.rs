//! The door: each call gets its roles and its route, then passes through unchanged.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use corten_api::roles::METADATA_KEY;
use corten_api::rules::{self, Kind};
use corten_relay::fan::{Fan, LEGS_AT_ONCE, Leg};
use corten_relay::{Call, Origin, Place, Reached, Rooms, Shares, grpc};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body as HttpBody;
use tonic::Status;
use tonic::body::Body;

use crate::bounds::{CALLS, FAN_BYTES_EACH, FAN_BYTES_MAX};
use crate::caller::{self, Peer};
use crate::dial::{Destination, Upstream};
use crate::identity::Feed;
use crate::remotes::Remotes;
use crate::route::{NODE, NODES, PROXY_FROM, Route, Target, route};

/// Forwards calls to this machine's machined and to other machines.
pub struct Proxy {
    identity: Feed,
    local: Local,
    /// Other machines.
    pub remotes: Remotes,
    calls: Shares<Option<Origin>>,
    rooms: Rooms<Option<Origin>>,
}

impl Proxy {
    /// A proxy in front of the machined that listens on `machined`; other machines are dialled on `port`.
    #[must_use]
    pub fn new(identity: Feed, machined: PathBuf, port: u16) -> Self {
        Self {
            identity,
            local: Local::new(machined),
            remotes: Remotes::new(port),
            calls: Shares::new(CALLS),
            rooms: Rooms::new(FAN_BYTES_MAX, FAN_BYTES_EACH),
        }
    }

    /// Answers one call; every failure is a gRPC status. `call` lives as long as the call does.
    ///
    /// # Errors
    /// Never; the type fits the HTTP server.
    pub async fn handle<B>(
        &self,
        peer: &Peer,
        request: Request<B>,
        call: Call,
    ) -> Result<Response<Body>, Infallible>
    where
        B: HttpBody<Data = bytes::Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        if let Some(refusal) = not_grpc(&request) {
            return Ok(refusal);
        }
        Ok(self.forward(peer, request, call).await.unwrap_or_else(Status::into_http))
    }

    async fn forward<B>(&self, peer: &Peer, request: Request<B>, call: Call) -> Result<Response<Body>, Status>
    where
        B: HttpBody<Data = bytes::Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let identity =
            self.identity.borrow().clone().ok_or_else(|| Status::unavailable("the machine is starting"))?;
        let (parts, body) = request.into_parts();
        let roles = caller::roles(peer, &identity, &parts.headers)?;
        let route = route(parts.uri.path(), &parts.headers, &identity)?;
        tracing::debug!(method = parts.uri.path(), ?route, peer = ?peer.address, "call");
        let kind = rules::kind(parts.uri.path()).unwrap_or(Kind::Unary);
        let place = self.place(peer, &route, kind)?;
        let outgoing = Outgoing::new(parts, &roles);
        let reached = match route {
            Route::Local => self.here(outgoing, kind)?,
            Route::Remote(target) => self.elsewhere(outgoing, &target)?,
            Route::Many(targets) => {
                let fan = Fan::new(self.rooms.of(peer.address.map(Origin::from)));
                let message = fan.single(body).await?;
                let legs = self.legs(outgoing, targets, kind)?;
                return Ok(grpc(fan.call(kind, legs, message).await?, (call, place)));
            }
        };
        let (answer, lease) = reached.send(Body::new(body)).await?;
        Ok(grpc(answer, (lease, call, place)))
    }

    /// The places of a call: one for each machine that is asked at a time.
    fn place(&self, peer: &Peer, route: &Route, kind: Kind) -> Result<Place<Option<Origin>>, Status> {
        let count = match (route, kind) {
            (Route::Local | Route::Remote(_), _) => 1,
            (Route::Many(targets), Kind::Unary) => targets.len().min(LEGS_AT_ONCE),
            (Route::Many(targets), _) => targets.len(),
        };
        let origin = peer.address.map(Origin::from);
        let place = self.calls.take(&origin, count);
        place.ok_or_else(|| Status::resource_exhausted("too many calls at once"))
    }

    fn legs(
        &self,
        outgoing: Outgoing,
        targets: Vec<Target>,
        kind: Kind,
    ) -> Result<Vec<Leg<Destination>>, Status> {
        let leg = |target: Target| {
            let outgoing = outgoing.clone();
            let reached =
                if target.local { self.here(outgoing, kind) } else { self.elsewhere(outgoing, &target.name) };
            // Without a way to it the whole call is refused, as it is for one machine.
            Ok(Leg { name: target.name, reached: Ok(reached?) })
        };
        targets.into_iter().map(leg).collect()
    }

    fn here(&self, outgoing: Outgoing, kind: Kind) -> Result<Reached<Destination>, Status> {
        Ok(Reached { upstream: self.local.to(kind), head: outgoing.local()? })
    }

    fn elsewhere(&self, outgoing: Outgoing, target: &str) -> Result<Reached<Destination>, Status> {
        Ok(Reached { upstream: self.remotes.get(target)?, head: outgoing.remote(target)? })
    }
}

/// Connections to this machine's machined: those of calls with one answer, and those of streams. An answer does not stand
/// behind all that others are sent.
struct Local {
    answers: Arc<Upstream>,
    streams: Arc<Upstream>,
}

impl Local {
    fn new(machined: PathBuf) -> Self {
        let to = |path| Arc::new(Upstream::new(Destination::Local(path)));
        Self { answers: to(machined.clone()), streams: to(machined) }
    }

    fn to(&self, kind: Kind) -> Arc<Upstream> {
        match kind {
            Kind::Unary => Arc::clone(&self.answers),
            _ => Arc::clone(&self.streams),
        }
    }
}

/// A request as it goes on, without its body: metadata with the caller's roles in place of whatever it claimed.
#[derive(Clone)]
struct Outgoing {
    uri: Uri,
    headers: HeaderMap,
}

impl Outgoing {
    fn new(parts: Parts, roles: &[String]) -> Self {
        let Parts { uri, mut headers, .. } = parts;
        for hop in [CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE] {
            headers.remove(hop);
        }
        headers.remove(METADATA_KEY);
        for role in roles {
            if let Ok(value) = HeaderValue::from_str(role) {
                headers.append(METADATA_KEY, value);
            }
        }
        // Where the call goes is decided.
        headers.remove(NODES);
        Self { uri, headers }
    }

    /// For this machine's machined.
    fn local(self) -> Result<Request<()>, Status> {
        self.to("http", "localhost")
    }

    /// For the apid of another machine, which is told who routed the call.
    fn remote(mut self, target: &str) -> Result<Request<()>, Status> {
        self.headers.remove(NODE);
        let from = self.uri.authority().and_then(|from| HeaderValue::from_str(from.as_str()).ok());
        self.headers.insert(PROXY_FROM, from.unwrap_or(HeaderValue::from_static("unknown")));
        self.to("https", &authority(target))
    }

    fn to(self, scheme: &str, authority: &str) -> Result<Request<()>, Status> {
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(self.uri.path()).build();
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.map_err(|_| Status::internal(format!("invalid target {authority:?}")))?;
        *request.headers_mut() = self.headers;
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

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    /// A call with these bytes as metadata.
    fn outgoing(value: &[u8]) -> Option<Outgoing> {
        let value = HeaderValue::from_bytes(value).ok()?;
        let keys = [METADATA_KEY, NODE, NODES, PROXY_FROM, "x-any"].map(HeaderName::from_static);
        let mut request = Request::post("https://10.5.0.2:50000/x.Y/Z").body(()).ok()?;
        *request.headers_mut() = keys.into_iter().map(|key| (key, value.clone())).collect();
        Some(Outgoing::new(request.into_parts().0, &["os:reader".to_owned()]))
    }

    #[test]
    fn roles_and_routes_of_a_caller_never_travel_on() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let (name, value) = bytes.split_at(bytes.len() / 2);
            let Some(call) = outgoing(value) else { return };
            let local = call.clone().local().expect("a request");
            let remote = call.remote(&String::from_utf8_lossy(name));
            for head in [Ok(local), remote].into_iter().flatten() {
                let headers = head.headers();
                let roles: Vec<_> = headers.get_all(METADATA_KEY).iter().collect();
                assert_eq!(roles, ["os:reader"]);
                assert!(!headers.contains_key(NODES));
                let is_local = head.uri().scheme_str() == Some("http");
                assert!(is_local || (!headers.contains_key(NODE) && headers[PROXY_FROM] == "10.5.0.2:50000"));
            }
        });
    }
}
