//! Requests through the proxy to a control plane that this test plays.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use corten_base::{Rng, Task, spawn};
use corten_fleet_cluster::secrets;
use corten_fleet_resources::auth::JwtPublicKey;
use corten_fleet_resources::kubernetes::LoadBalancerConfig;
use corten_pki::{Authority, LeafRequest, Subject};
use http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::*;
use crate::testing::{self, CLUSTER, Here, Remembered, claims};

/// Upgraded connections.
type Sessions = Arc<Mutex<JoinSet<()>>>;

/// Answers with what it is told of the caller; an upgraded connection gets back what it sends, in capitals.
async fn answer(sessions: Sessions, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if headers::upgrade(request.headers()).is_none() {
        let told = |name: &str| {
            let values = request.headers().get_all(name).iter();
            values.map(|value| value.to_str().expect("text").to_owned()).collect::<Vec<_>>().join("+")
        };
        let (user, groups) = (told("impersonate-user"), told("impersonate-group"));
        let text = format!("{:?} {} {user} {groups}", request.version(), request.uri().path());
        return Ok(Response::new(Body::new(Full::new(Bytes::from(text)))));
    }
    let coming = hyper::upgrade::on(&mut request);
    sessions.lock().spawn(async move {
        let mut stream = TokioIo::new(coming.await.expect("upgraded"));
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await.expect("four bytes");
        stream.write_all(&bytes.to_ascii_uppercase()).await.expect("written");
        stream.shutdown().await.expect("closed");
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    Ok(response)
}

/// Plays the machines of the control plane.
async fn control_plane() -> (SocketAddr, Task) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let pair = &testing::bundle().kubernetes;
    let authority = Authority::from_pem(&pair.crt, pair.key.reveal()).expect("an authority");
    let request = LeafRequest::server(Subject::common_name("kube-apiserver"), Duration::from_secs(3600));
    let request = request.with_names(["kubernetes.default".to_owned()], []);
    let tls = testing::server_tls(&authority, &request, &["h2", "http/1.1"]);
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let serving = async move {
        let (mut connections, sessions) = (JoinSet::new(), Sessions::default());
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let (acceptor, sessions) = (acceptor.clone(), Arc::clone(&sessions));
            connections.spawn(async move {
                let stream = TokioIo::new(acceptor.accept(stream).await.expect("TLS"));
                let builder = Builder::new(TokioExecutor::new());
                let service = service_fn(move |request| answer(Arc::clone(&sessions), request));
                drop(builder.serve_connection_with_upgrades(stream, service).await);
            });
        }
    };
    (address, spawn("control plane of a test", serving))
}

struct House {
    state: State,
    keys: JwtKeys,
    proxy: BoxedService,
    log: Arc<Remembered>,
    _control_plane: Task,
}

impl House {
    async fn new() -> Self {
        let state = testing::store();
        let clock = state.store().clock().clone();
        let rng = Rng::seeded(1);
        let endpoint = "https://localhost:10000";
        let kubeconfig =
            secrets::kubeconfig(CLUSTER, endpoint, testing::bundle(), None, testing::now(), &rng);
        testing::put(&state, CLUSTER, kubeconfig.expect("made"), &[]);
        let endpoints = vec!["[fdae::1]:6443".to_owned()];
        testing::put(&state, CLUSTER, LoadBalancerConfig { endpoints, ..LoadBalancerConfig::default() }, &[]);
        let (address, control_plane) = control_plane().await;
        let keys = JwtKeys::new(state.clone(), clock.clone());
        let log = Arc::new(Remembered::default());
        let parts = KubernetesParts {
            state: state.clone(),
            streams: Here(address),
            clock,
            keys: keys.clone(),
            log: Arc::clone(&log) as Arc<dyn AccessLog>,
        };
        Self { state, keys, proxy: parts.proxy(), log, _control_plane: control_plane }
    }

    async fn token(&self) -> String {
        let (token, _) = self.keys.issue(&claims(), &Rng::seeded(7)).await.expect("issued");
        token.reveal().clone()
    }

    /// What comes of a read with these headers.
    async fn get(&self, sent: &[(&'static str, &str)]) -> (StatusCode, String) {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from_static("/api/v1/pods?watch=1");
        for (name, value) in sent {
            request.headers_mut().append(*name, value.parse().expect("a value"));
        }
        let response = self.proxy.clone().oneshot(request).await.expect("answered");
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

#[tokio::test]
async fn who_shows_a_token_is_who_it_says_and_nobody_else() {
    let house = House::new().await;
    let bearer = format!("Bearer {}", house.token().await);
    let sent = [("authorization", bearer.as_str()), ("impersonate-group", "system:masters")];
    let (status, text) = house.get(&sent).await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "HTTP/2.0 /api/v1/pods ci deployers+readers"));
    for wrong in ["Basic x", "Bearer", "Bearer x"] {
        let (status, text) = house.get(&[("authorization", wrong)]).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{wrong}: {text}");
    }
    let noted = house.log.0.lock().clone();
    let [event] = noted.as_slice() else { panic!("one event: {noted:?}") };
    assert_eq!((event.cluster.as_str(), event.actor.email.as_str()), (CLUSTER, "ci"));
    assert_eq!(event.details["path"], json!("/api/v1/pods"));
}

#[tokio::test]
async fn a_token_that_is_revoked_lets_nobody_in() {
    let house = House::new().await;
    let bearer = format!("Bearer {}", house.token().await);
    let sent = [("authorization", bearer.as_str())];
    assert_eq!(house.get(&sent).await.0, StatusCode::OK);
    for key in house.state.list::<JwtPublicKey>() {
        house.state.remove::<JwtPublicKey>("", key.id()).expect("removed");
    }
    assert_eq!(house.get(&sent).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_session_is_carried_both_ways() {
    let house = House::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let proxy = house.proxy.clone();
    let _serving = spawn("proxy of a test", async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let service =
            service_fn(move |request: Request<Incoming>| proxy.clone().oneshot(request.map(Body::new)));
        let builder = Builder::new(TokioExecutor::new());
        drop(builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await);
    });
    let stream = TokioIo::new(TcpStream::connect(address).await.expect("connected"));
    let (mut sender, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
    let _driver = spawn("client of a test", async move { drop(connection.with_upgrades().await) });
    let request = Request::builder()
        .method("POST")
        .uri("/api/v1/namespaces/a/pods/b/exec?command=sh")
        .header("host", "fleet.example.org")
        .header("authorization", format!("Bearer {}", house.token().await))
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let mut response = sender.send_request(request).await.expect("answered");
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()[header::UPGRADE], "SPDY/3.1");
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.expect("upgraded"));
    stream.write_all(b"ping").await.expect("written");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.expect("read");
    assert_eq!(back, b"PING");
    let noted = house.log.0.lock().clone();
    assert_eq!(noted[0].details["path"], json!("/api/v1/namespaces/a/pods/b/exec?command=sh"));
}

#[test]
fn what_takes_over_a_connection_is_no_read() {
    for (method, is_upgrade, expected) in [
        (Method::GET, false, Effect::Read),
        (Method::GET, true, Effect::Change),
        (Method::DELETE, false, Effect::Change),
    ] {
        assert_eq!(effect(&method, is_upgrade), expected, "{method}");
    }
}
