//! A machine: an apid with certificates of one cluster in front of a stand-in machined.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corten_apid::{Access, Identity, KeyPair, LocalNames, Options};
use corten_base::{Clock, Rng, Secret, Task, spawn};
use corten_pki::{Authority, AuthorityKind, Identity as Certified, LeafRequest, Subject};
use tokio::sync::{mpsc, watch};

use super::client::Client;
use super::machined;

const DAY: Duration = Duration::from_secs(86_400);

pub fn authority() -> Authority {
    Authority::generate(AuthorityKind::Talos, Clock::system().now(), &Rng::kernel()).expect("a CA")
}

pub fn issue(authority: &Authority, request: &LeafRequest) -> Certified {
    authority.issue(request, Clock::system().now(), &Rng::kernel()).expect("a certificate")
}

/// A client certificate with these roles.
pub fn with_roles(authority: &Authority, roles: &[&str]) -> Certified {
    issue(authority, &LeafRequest::client(Subject::organizations(roles.iter().copied()), DAY))
}

pub struct Node {
    pub address: SocketAddr,
    pub authority: Authority,
    pub feed: watch::Sender<Option<Arc<Identity>>>,
    _apid: Task,
    machined: Task,
    folder: tempfile::TempDir,
}

/// How a node differs from a control plane that answers for itself.
pub struct Setup<'a> {
    pub ip: &'a str,
    pub name: &'static str,
    pub authority: Authority,
    pub port: u16,
    pub change: fn(&mut Identity),
}

impl Node {
    pub async fn single() -> Self {
        Self::start(Setup { ip: "127.0.0.1", name: "a", authority: authority(), port: 1, change: |_| () })
            .await
    }

    /// `a` on 127.0.0.1, which forwards to `b` on 127.0.0.2.
    pub async fn pair() -> (Self, Self) {
        let ca = authority();
        let (certificate, key) = (ca.certificate().to_pem(), ca.key().to_pem());
        let copy = Authority::from_pem(certificate.as_bytes(), key.reveal().as_bytes()).expect("the same CA");
        let b =
            Self::start(Setup { ip: "127.0.0.2", name: "b", authority: copy, port: 1, change: |_| () }).await;
        let a = Setup { ip: "127.0.0.1", name: "a", authority: ca, port: b.address.port(), change: |_| () };
        (Self::start(a).await, b)
    }

    pub async fn start(setup: Setup<'_>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("machine.sock");
        let machined = machined::start(&socket, setup.name);
        let mut identity = identity(&setup.authority, setup.ip.parse().expect("an address"));
        (setup.change)(&mut identity);
        let (feed, follow) = watch::channel(Some(Arc::new(identity)));
        let (report, mut bound) = mpsc::unbounded_channel();
        let options = Options {
            machined: socket,
            port: setup.port,
            bound: Box::new(move |address| report.send(address).expect("the test listens")),
            ..Options::default()
        };
        let apid = spawn("apid", corten_apid::run(options, follow));
        let address = bound.recv().await.expect("apid listens");
        Self { address, authority: setup.authority, feed, _apid: apid, machined, folder }
    }

    pub async fn client(&self, roles: &[&str]) -> Client {
        let own = with_roles(&self.authority, roles);
        Client::connect(self.address, &self.authority, Some(&own)).await.expect("connected")
    }

    /// Ends machined and removes its socket, as a crash would leave it.
    pub async fn stop_machined(&self) {
        self.machined.abort();
        while !self.machined.is_finished() {
            tokio::task::yield_now().await;
        }
        std::fs::remove_file(self.folder.path().join("machine.sock")).expect("remove");
    }

    pub fn change(&self, change: impl FnOnce(&mut Identity)) {
        self.feed.send_modify(|current| {
            let mut identity = current.as_deref().cloned().expect("an identity");
            change(&mut identity);
            *current = Some(Arc::new(identity));
        });
    }
}

pub fn identity(authority: &Authority, ip: IpAddr) -> Identity {
    let server = LeafRequest::server(Subject::common_name("node"), DAY).with_names([], [ip]);
    let client = LeafRequest::client(Subject::organizations(["os:impersonator"]), DAY);
    Identity {
        listen: format!("{ip}:0"),
        routing: true,
        access: Access::Certificate,
        verify_clients: true,
        server: pair(&issue(authority, &server)),
        client: Some(pair(&issue(authority, &client))),
        accepted_cas: authority.certificate().to_pem().into_bytes(),
        local: LocalNames { addresses: [ip].into(), ..LocalNames::default() },
    }
}

fn pair(certified: &Certified) -> KeyPair {
    KeyPair {
        certificates: certified.certificate.to_pem().into_bytes(),
        key: Secret::new(certified.key.to_pem().reveal().as_bytes().to_vec()),
    }
}
