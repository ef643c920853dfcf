//! Who calls over the machine's own socket, and with which roles.
//!
//! Only apid may pass requests on: the process that init runs under that name. It has authenticated the
//! caller and says with which roles (`talos-role`). Root processes of the machine itself are administrators
//! of it anyway; nobody else gets an answer.

use std::task::{Context, Poll};

use corten_api::roles::{METADATA_KEY, Roles};
use corten_api::rules;
use corten_relay::Room;
use futures::future::BoxFuture;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::transport::server::UdsConnectInfo;

use super::Mode;
use super::meter::{metered, metered_answer};

/// Roles of the call at hand, for handlers that decide by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller(pub Roles);

/// What the kernel says about the process at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// User.
    pub uid: u32,
}

/// The roles of a request: those of the peer, cut down to those that the request names.
fn roles(peer: Option<Peer>, apid: u32, named: &[&str]) -> Roles {
    match peer {
        Some(Peer { uid }) if uid == apid => Roles::parse(named),
        Some(Peer { uid: 0 }) if named.is_empty() => Roles::ALL,
        Some(Peer { uid: 0 }) => Roles::parse(named),
        _ => Roles::NONE,
    }
}

/// Decides for every call on the machine's socket by the role table.
#[derive(Clone)]
pub struct Authorize {
    /// Whether the machine waits for its configuration.
    pub mode: Mode,
    /// The user who passes on the calls of others.
    pub apid: u32,
    /// For requests that are larger than usual.
    pub requests: Room,
    /// For answers that are larger than usual.
    pub answers: Room,
}

impl<S> tower_layer::Layer<S> for Authorize {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Authorized<S> {
        Authorized { inner, rules: self.clone() }
    }
}

/// A service behind [`Authorize`].
#[derive(Clone)]
pub struct Authorized<S> {
    inner: S,
    rules: Authorize,
}

impl<S> tower_service::Service<Request<Body>> for Authorized<S>
where
    S: tower_service::Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let roles = request_roles(&request, self.rules.apid);
        let maintenance = self.rules.mode.is_maintenance();
        match verdict(request.uri().path(), roles, maintenance) {
            Ok(()) => {
                request.extensions_mut().insert(Caller(roles));
                let answers = self.rules.answers.clone();
                let answer = self.inner.call(metered(request, &self.rules.requests));
                Box::pin(async move { answer.await.map(|answer| metered_answer(answer, &answers)) })
            }
            Err(status) => Box::pin(std::future::ready(Ok(status.into_http()))),
        }
    }
}

fn request_roles(request: &Request<Body>, apid: u32) -> Roles {
    let credentials = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    let peer = credentials.map(|credentials| Peer { uid: credentials.uid() });
    let named: Vec<&str> =
        request.headers().get_all(METADATA_KEY).iter().filter_map(|value| value.to_str().ok()).collect();
    roles(peer, apid, &named)
}

fn verdict(path: &str, roles: Roles, maintenance: bool) -> Result<(), Status> {
    if !rules::allows(path, roles, maintenance) {
        return Err(Status::permission_denied(rules::NOT_AUTHORIZED));
    }
    let closed = rules::rule(path).is_some_and(|rule| rule.maintenance == rules::Maintenance::Closed);
    if maintenance && closed {
        return Err(Status::failed_precondition(format!(
            "{} is not available in maintenance mode: apply a machine configuration first",
            path.rsplit('/').next().unwrap_or(path)
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use corten_base::paths::APID_UID;

    use super::*;

    const READ: &str = "/machine.MachineService/Version";
    const APPLY: &str = "/machine.MachineService/ApplyConfiguration";

    #[test]
    fn only_apid_and_root_have_roles() {
        assert_eq!(roles(Some(Peer { uid: APID_UID }), APID_UID, &["os:reader"]), Roles::READER);
        assert_eq!(roles(Some(Peer { uid: APID_UID }), APID_UID, &[]), Roles::NONE);
        assert_eq!(roles(Some(Peer { uid: 0 }), APID_UID, &[]), Roles::ALL);
        assert_eq!(roles(Some(Peer { uid: 1000 }), APID_UID, &["os:admin"]), Roles::NONE);
        assert_eq!(roles(None, APID_UID, &["os:admin"]), Roles::NONE);
    }

    #[test]
    fn a_reader_applies_in_maintenance_only() {
        assert!(verdict(READ, Roles::READER, false).is_ok());
        assert!(verdict(APPLY, Roles::READER, true).is_ok());
        let denied = verdict(APPLY, Roles::READER, false).expect_err("denied");
        assert_eq!((denied.code(), denied.message()), (tonic::Code::PermissionDenied, "not authorized"));
    }

    #[test]
    fn bootstrap_needs_a_configuration_first() {
        let early = verdict("/machine.MachineService/Bootstrap", Roles::ADMIN, true).expect_err("refused");
        assert_eq!(early.code(), tonic::Code::FailedPrecondition);
    }
}
