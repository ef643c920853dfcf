//! Calls through the proxy to machines that this test plays.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use corten_api::machine::{Hostname, HostnameResponse};
use corten_api::roles::METADATA_KEY;
use corten_base::{Task, spawn};
use corten_pki::{Certificate, LeafRequest, Subject};
use corten_relay::{frame, trailers};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::Code;
use tower::ServiceExt as _;

use super::*;
use crate::testing::{self, CLUSTER, FREE, Here, ONE, Remembered, TWO};

const HOSTNAME: &str = "/machine.MachineService/Hostname";
const REBOOT: &str = "/machine.MachineService/Reboot";

/// TLS of the members of the cluster: both sides show a certificate.
fn member_tls() -> ServerConfig {
    let authority = testing::bundle().talos_authority().expect("an authority");
    let addresses = [1, 2].map(|number| IpAddr::from([0xfdae_u16, 0x41e4, 0x649b, 0x9303, 0, 0, 0, number]));
    let request = LeafRequest::server(Subject::common_name("machine"), Duration::from_secs(3600));
    testing::server_tls(&authority, &request.with_names([], addresses), &["h2"])
}

/// Answers with the organization of the caller's certificate and the role of the call.
async fn answer(organization: String, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let role = request.headers().get(METADATA_KEY).and_then(|value| value.to_str().ok()).unwrap_or("none");
    let hostname = format!("{organization} {role}");
    let message = HostnameResponse::from(Hostname { metadata: None, hostname }).encode_to_vec();
    let ending = async { Some(Ok(trailers(&Status::ok("")))) };
    Ok(Response::new(Body::new(Full::new(frame::encode(&message)).with_trailers(ending))))
}

/// Plays all members of the cluster.
async fn members() -> (SocketAddr, Task) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let acceptor = TlsAcceptor::from(Arc::new(member_tls()));
    let serving = async move {
        let mut connections = Vec::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let Ok(tls) = acceptor.accept(stream).await else { continue };
            let shown = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let shown = shown.and_then(|der| Certificate::from_der(der).ok()).expect("a certificate");
            let organization = shown.subject().organizations.concat();
            let service = service_fn(move |request| answer(organization.clone(), request));
            let builder = http2::Builder::new(TokioExecutor::new());
            let served = builder.serve_connection(TokioIo::new(tls), service);
            connections.push(spawn("connection of a test", async move { drop(served.await) }));
        }
    };
    (address, spawn("members of a test", serving))
}

struct House {
    state: State,
    proxy: BoxedService,
    log: Arc<Remembered>,
    _members: Task,
}

impl House {
    async fn new() -> Self {
        let state = testing::store();
        testing::put_secrets(&state);
        let (address, members) = members().await;
        let log = Arc::new(Remembered::default());
        let parts = TalosParts {
            state: state.clone(),
            streams: Here(address),
            clock: state.store().clock().clone(),
            rng: Rng::seeded(3),
            log: Arc::clone(&log) as Arc<dyn AccessLog>,
        };
        Self { state, proxy: parts.proxy().expect("TLS"), log, _members: members }
    }

    /// What comes of a call: the answers, or the status.
    async fn call(
        &self,
        caller: &Arc<Caller>,
        path: &str,
        metadata: &[(&'static str, &str)],
    ) -> Result<Vec<Hostname>, Status> {
        let body = Body::new(Full::new(frame::encode(b"")));
        let mut request = Request::builder().uri(path).body(body).expect("a request");
        for (key, value) in metadata {
            request.headers_mut().append(*key, value.parse().expect("a value"));
        }
        request.extensions_mut().insert(Arc::clone(caller));
        let response = self.proxy.clone().oneshot(request).await.expect("answered");
        let (parts, body) = response.into_parts();
        let collected = body.collect().await.expect("a body");
        let status = Status::from_header_map(collected.trailers().unwrap_or(&parts.headers));
        let status = status.expect("a status");
        if status.code() != Code::Ok {
            return Err(status);
        }
        let mut frames = frame::Frames::new(usize::MAX);
        frames.add(collected.to_bytes());
        let message: Bytes = frames.take().expect("valid").expect("a message");
        Ok(HostnameResponse::decode(message).expect("decodes").messages)
    }

    async fn code(&self, caller: &Arc<Caller>, path: &str, metadata: &[(&'static str, &str)]) -> Code {
        self.call(caller, path, metadata).await.expect_err("refused").code()
    }
}

#[tokio::test]
async fn a_member_is_called_by_an_impersonator_with_the_role_of_the_caller() {
    let house = House::new().await;
    for (role, expected) in [(Role::Reader, "os:reader"), (Role::Admin, "os:operator")] {
        let caller = testing::caller(&house.state, role);
        for metadata in [[("node", ONE)], [("node", "node-1")], [("cluster", CLUSTER)]] {
            let answers = house.call(&caller, HOSTNAME, &metadata).await.expect("answered");
            let [Hostname { metadata: None, hostname }] = answers.as_slice() else {
                panic!("one answer, untouched: {answers:?}");
            };
            assert_eq!(*hostname, format!("os:impersonator {expected}"));
        }
    }
}

#[tokio::test]
async fn several_machines_answer_in_the_envelope_under_the_names_that_the_caller_used() {
    let house = House::new().await;
    let caller = testing::caller(&house.state, Role::Reader);
    let both = [("nodes", "node-2"), ("nodes", ONE)];
    let answers = house.call(&caller, HOSTNAME, &both).await.expect("answered");
    let names: Vec<_> =
        answers.into_iter().filter_map(|answer| answer.metadata).map(|metadata| metadata.hostname).collect();
    assert_eq!(names, ["node-2", ONE]);
    let mixed = [("nodes", ONE), ("nodes", FREE)];
    let admin = testing::caller(&house.state, Role::Admin);
    assert_eq!(house.code(&admin, HOSTNAME, &mixed).await, Code::InvalidArgument);
}

#[tokio::test]
async fn who_may_not_see_a_machine_is_told_the_same_whether_it_exists() {
    let house = House::new().await;
    let nobody = testing::caller(&house.state, Role::None);
    let mut texts = Vec::new();
    for name in [ONE, "nowhere", FREE] {
        let status = house.call(&nobody, HOSTNAME, &[("node", name)]).await.expect_err("refused");
        assert_eq!(status.code(), Code::PermissionDenied);
        texts.push(status.message().to_owned());
    }
    texts.dedup();
    assert_eq!(texts.len(), 1);
    let reader = testing::caller(&house.state, Role::Reader);
    assert_eq!(house.code(&reader, HOSTNAME, &[("node", "nowhere")]).await, Code::NotFound);
    assert_eq!(house.code(&reader, HOSTNAME, &[("node", FREE)]).await, Code::PermissionDenied);
    assert_eq!(house.code(&reader, HOSTNAME, &[]).await, Code::InvalidArgument);
}

#[tokio::test]
async fn the_access_policy_lets_somebody_into_its_cluster_alone() {
    let house = House::new().await;
    let caller = testing::caller_on_cluster(&house.state, Role::Operator);
    let answers = house.call(&caller, HOSTNAME, &[("node", TWO)]).await.expect("answered");
    assert_eq!(answers.first().map(|answer| answer.hostname.as_str()), Some("os:impersonator os:operator"));
    assert_eq!(house.code(&caller, HOSTNAME, &[("node", FREE)]).await, Code::PermissionDenied);
    assert_eq!(house.code(&caller, HOSTNAME, &[("cluster", "lab")]).await, Code::PermissionDenied);
}

#[tokio::test]
async fn what_nobody_may_do_is_refused_before_the_machine_is_called_and_the_rest_is_noted() {
    let house = House::new().await;
    let admin = testing::caller(&house.state, Role::Admin);
    let reset = "/machine.MachineService/Reset";
    assert_eq!(house.code(&admin, reset, &[("node", ONE)]).await, Code::PermissionDenied);
    assert!(house.log.0.lock().is_empty());
    for _ in 0..2 {
        house.call(&admin, HOSTNAME, &[("node", ONE)]).await.expect("answered");
        house.call(&admin, REBOOT, &[("node", ONE)]).await.expect("answered");
    }
    let noted: Vec<_> = house.log.0.lock().iter().map(|event| event.details["method"].clone()).collect();
    assert_eq!(noted, [HOSTNAME, REBOOT, REBOOT]);
    let event = house.log.0.lock().first().cloned().expect("an event");
    assert_eq!((event.cluster.as_str(), event.actor.email.as_str()), (CLUSTER, "admin@example.com"));
    assert_eq!(event.details["machines"], json!([ONE]));
}
