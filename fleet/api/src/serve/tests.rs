//! A listener from outside: both versions of HTTP, its end, and certificates that change.

use std::sync::Mutex;

use bytes::Bytes;
use corten_base::{Clock, Rng, spawn};
use http::Version;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, pause};

use super::*;

/// Where calls came from.
type Callers = Arc<Mutex<Vec<Option<SocketAddr>>>>;

/// Answers with the version that it was called with, and notes where calls come from.
fn echo(callers: Callers) -> impl HttpService {
    tower::service_fn(move |request: Request<Body>| {
        let info = request.extensions().get::<TcpConnectInfo>();
        callers.lock().expect("not poisoned").push(info.and_then(TcpConnectInfo::remote_addr));
        let text = format!("{:?}", request.version());
        let body = Body::new(http_body_util::Full::new(Bytes::from(text)));
        std::future::ready(Ok::<_, Infallible>(Response::new(body)))
    })
}

async fn open(tls: Tls) -> Door {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    Door::open(address, tls, Arc::default()).await.expect("open")
}

async fn ask(client: &Client<HttpConnector, Empty<Bytes>>, address: SocketAddr) -> String {
    let uri = format!("http://{address}/").parse().expect("a URI");
    let body = client.get(uri).await.expect("answered").into_body();
    String::from_utf8(body.collect().await.expect("a body").to_bytes().to_vec()).expect("text")
}

#[tokio::test]
async fn both_versions_are_spoken_on_one_port_until_the_end() {
    let door = open(Tls::Clear).await;
    let (address, callers) = (door.address().expect("an address"), Callers::default());
    let metrics = Arc::clone(&door.metrics);
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = spawn("serve", door.serve(echo(Arc::clone(&callers)), async { drop(stopped.await) }));
    let one = Client::builder(TokioExecutor::new()).build_http();
    let two = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    assert_eq!(ask(&one, address).await, format!("{:?}", Version::HTTP_11));
    assert_eq!(ask(&two, address).await, format!("{:?}", Version::HTTP_2));
    let callers = callers.lock().expect("not poisoned").clone();
    assert!(callers.len() == 2 && callers.iter().all(Option::is_some), "{callers:?}");
    drop(stop);
    serving.join().await.expect("ended");
    assert!(metrics.page(&crate::testing::Fleet::new().state).contains("connections_total 2"));
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_peer_with_too_many_connections_is_closed_until_one_of_them_ends() {
    let door = open(Tls::Clear).await.with_bounds(PeerBounds { local: 1, ..PeerBounds::default() });
    let address = door.address().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = spawn("serve", door.serve(echo(Callers::default()), async { drop(stopped.await) }));
    let is_closed = |mut stream: TcpStream| async move {
        let mut byte = [0];
        let read = timeout(Duration::from_secs(20), stream.read(&mut byte)).await;
        matches!(read.expect("closed or answered"), Ok(0) | Err(_))
    };
    let first = TcpStream::connect(address).await.expect("connected");
    assert!(is_closed(TcpStream::connect(address).await.expect("connected")).await, "one too many");
    drop(first);
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let uri: http::Uri = format!("http://{address}/").parse().expect("a URI");
    let answered = timeout(Duration::from_secs(20), async {
        // The manager has to notice that the first one is gone.
        while client.get(uri.clone()).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    answered.await.expect("the place is free again");
    drop((stop, client));
    serving.join().await.expect("ended");
}

#[tokio::test]
async fn what_does_not_end_by_itself_is_cut_after_the_goodbye() {
    let (door, called) = (open(Tls::Clear).await, Arc::new(Notify::new()));
    let telling = Arc::clone(&called);
    // Takes calls, tells of them and never answers.
    let silent = tower::service_fn(move |_: Request<Body>| {
        telling.notify_one();
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    let address = door.address().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = spawn("serve", door.serve(silent, async { drop(stopped.await) }));
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let uri: http::Uri = format!("http://{address}/").parse().expect("a URI");
    let asking = spawn("ask", async move { client.get(uri).await.is_ok() });
    called.notified().await;
    pause();
    let began = Instant::now();
    drop(stop);
    serving.join().await.expect("ended");
    let took = began.elapsed();
    assert!(took >= GOODBYE_MAX && took < GOODBYE_MAX + Duration::from_secs(1), "{took:?}");
    assert_eq!(asking.join().await, Some(false), "it was cut");
}

#[tokio::test]
async fn certificates_are_followed_and_bad_ones_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = |name: &str| OwnCertificate {
        folder: folder.path().join(name),
        names: vec![name.to_owned()],
        clock: Clock::fixed(1_700_000_000),
        rng: Rng::seeded(u64::from(name == "first")),
    };
    let files = own("first").ensure().expect("made");
    let other = own("second").ensure().expect("made");
    let mut certificates = Certificates::open(Tls::Files(files.clone())).await.expect("open");
    let first = certificates.current().expect("TLS");
    certificates.reload().await;
    assert!(Arc::ptr_eq(&first, &certificates.current().expect("TLS")), "nothing has changed");
    std::fs::copy(&other.key, &files.key).expect("copied");
    certificates.reload().await;
    assert!(Arc::ptr_eq(&first, &certificates.current().expect("TLS")), "a key without its certificate");
    std::fs::copy(&other.certificate, &files.certificate).expect("copied");
    certificates.reload().await;
    assert!(!Arc::ptr_eq(&first, &certificates.current().expect("TLS")));
}
