//! trustd on loopback, asked by the client that workers use.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Clock, Rng, Secret, Task, spawn};
use corten_client::{Trust, TrustError};
use corten_pki::{
    Authority, AuthorityKind, Certificate, CertificateRequest, LeafRequest, PrivateKey, RequestTemplate,
    Subject, Usage,
};
use corten_trustd::{Identity, Options};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tonic::Code;

fn authority() -> Authority {
    Authority::generate(AuthorityKind::Talos, Clock::system().now(), &Rng::kernel()).expect("a CA")
}

struct Running {
    address: SocketAddr,
    trust: Trust,
    authority: Authority,
    _feed: watch::Sender<Option<Arc<Identity>>>,
    _trustd: Task,
}

async fn start(accepted: &[&Authority]) -> Running {
    let authority = authority();
    let ip = "127.0.0.1".parse().expect("an address");
    let server =
        LeafRequest::server(Subject::common_name("cp"), Duration::from_secs(3600)).with_names([], [ip]);
    let own = authority.issue(&server, Clock::system().now(), &Rng::kernel()).expect("a certificate");
    let identity = Identity {
        certificates: own.certificate.to_pem().into_bytes(),
        key: Secret::new(own.key.to_pem().reveal().as_bytes().to_vec()),
        issuing_certificate: authority.certificate().to_pem().into_bytes(),
        issuing_key: Secret::new(authority.key().to_pem().reveal().as_bytes().to_vec()),
        accepted_cas: accepted.iter().map(|ca| ca.certificate().to_pem().into_bytes()).collect(),
        token: Secret::new("abc.def".to_owned()),
    };
    let (feed, follow) = watch::channel(Some(Arc::new(identity)));
    let (report, mut bound) = mpsc::unbounded_channel();
    let options = Options {
        listen: "127.0.0.1:0".parse().expect("an address"),
        bound: Box::new(move |address| report.send(address).expect("the test listens")),
        ..Options::default()
    };
    let trustd = spawn("trustd", corten_trustd::run(options, follow));
    let address = bound.recv().await.expect("trustd listens");
    let trust = Trust {
        endpoints: vec!["127.0.0.1:1".to_owned(), address.to_string()],
        authorities: authority.certificate().to_pem().into_bytes(),
        token: Secret::new("abc.def".to_owned()),
        clock: Clock::system(),
    };
    Running { address, trust, authority, _feed: feed, _trustd: trustd }
}

fn request() -> (CertificateRequest, PrivateKey) {
    let key = PrivateKey::ed25519(&Rng::kernel()).expect("a key");
    let template = RequestTemplate {
        subject: Subject::common_name("worker-1").with_organization("os:admin"),
        dns_names: vec!["worker-1".to_owned()],
        ip_addresses: vec!["10.5.0.9".parse().expect("an address")],
    };
    (CertificateRequest::create(&template, &key).expect("a request"), key)
}

#[tokio::test]
async fn a_worker_gets_a_serving_certificate_without_roles() {
    let other = authority();
    let running = start(&[&other]).await;
    let (request, key) = request();
    let signed = running.trust.sign(&request, &Rng::kernel()).await.expect("signed");
    let certificate = Certificate::from_pem(&signed.certificate).expect("a certificate");
    certificate.verify_issued_by(running.authority.certificate()).expect("by the CA");
    assert_eq!(certificate.spki(), key.spki());
    assert_eq!(certificate.usages(), [Usage::Server]);
    assert!(certificate.subject().organizations.is_empty(), "roles are never signed");
    assert_eq!(certificate.dns_names(), ["worker-1"]);
    let lifetime = certificate.not_after().duration_since(Clock::system().now()).expect("in the future");
    assert!(lifetime <= Duration::from_secs(24 * 3600));
    let handed = Certificate::bundle_from_pem(&signed.authorities).expect("CAs");
    let expected = [running.authority.certificate().der(), other.certificate().der()];
    assert_eq!(handed.iter().map(Certificate::der).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn without_the_token_nothing_is_signed() {
    let mut running = start(&[]).await;
    let (request, _) = request();
    for token in ["", "abc.deg", "abc.de"] {
        running.trust.token = Secret::new(token.to_owned());
        match running.trust.sign(&request, &Rng::kernel()).await {
            Err(TrustError::Refused(status)) => assert_eq!(status.code(), Code::Unauthenticated, "{token:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_worker_does_not_trust_another_clusters_trustd() {
    let mut running = start(&[]).await;
    running.trust.authorities = authority().certificate().to_pem().into_bytes();
    let (request, _) = request();
    assert!(matches!(running.trust.sign(&request, &Rng::kernel()).await, Err(TrustError::Refused(_))));
}

/// A connection from 127.0.0.`last`, which says nothing yet.
async fn dial(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).expect("an address");
    socket.connect(to).await.expect("the kernel accepts")
}

#[tokio::test]
async fn those_who_say_nothing_or_nonsense_do_not_keep_a_worker_from_its_certificate() {
    let running = start(&[]).await;
    let mut rude = Vec::new();
    for number in 0..300_u16 {
        // From many addresses, and a few from that of the worker.
        let last = if number < 30 { 1 } else { 10 + (number % 50) as u8 };
        let mut stream = dial(last, running.address).await;
        if number.is_multiple_of(2) {
            // It may have been let go already.
            let _ = stream.write_all(&[0xff; 64]).await;
        }
        rude.push(stream);
    }
    let (request, _) = request();
    let signed = timeout(Duration::from_secs(5), running.trust.sign(&request, &Rng::kernel())).await;
    signed.expect("in time").expect("signed");
}
