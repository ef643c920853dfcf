//! A machine: an apid with certificates of one cluster in front of a stand-in machined.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corten_apid::{Access, Identity, KeyPair, LocalNames, Options};
use corten_base::{Clock, Rng, Secret, Task, spawn};
use corten_pki::{Authority, AuthorityKind, Identity as Certified, LeafRequest, Subject};
use tokio::net::{TcpSocket, TcpStream};
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
    /// Where other machines listen.
    pub port: u16,
    /// Where this one does; any port if it is zero.
    pub own_port: u16,
    pub change: fn(&mut Identity),
}

impl Setup<'static> {
    /// A machine that knows no others.
    pub fn alone() -> Self {
        Self { ip: "127.0.0.1", name: "a", authority: authority(), port: 1, own_port: 0, change: |_| () }
    }
}

/// The same authority once more.
pub fn copy(authority: &Authority) -> Authority {
    let (certificate, key) = (authority.certificate().to_pem(), authority.key().to_pem());
    Authority::from_pem(certificate.as_bytes(), key.reveal().as_bytes()).expect("the same CA")
}

impl Node {
    pub async fn single() -> Self {
        Self::start(Setup::alone()).await
    }

    /// `a` on 127.0.0.1, which forwards to `b` on 127.0.0.2.
    pub async fn pair() -> (Self, Self) {
        let alone = Setup::alone();
        let b = Setup { ip: "127.0.0.2", name: "b", authority: copy(&alone.authority), ..Setup::alone() };
        let b = Self::start(b).await;
        (Self::start(Setup { port: b.address.port(), ..alone }).await, b)
    }

    /// `a`, `b` and `c` on 127.0.0.2 to 127.0.0.4, of which each forwards to the others; 127.0.0.1 is everybody's own.
    pub async fn three() -> [Self; 3] {
        let ca = authority();
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind(("127.0.0.2", 0)).and_then(|free| free.local_addr());
        let port = port.expect("a port").port();
        let node = |ip, name| Setup { ip, name, authority: copy(&ca), port, own_port: port, change: |_| () };
        [
            Self::start(node("127.0.0.2", "a")).await,
            Self::start(node("127.0.0.3", "b")).await,
            Self::start(node("127.0.0.4", "c")).await,
        ]
    }

    pub async fn start(setup: Setup<'_>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("machine.sock");
        let machined = machined::start(&socket, setup.name);
        let mut identity = identity(&setup.authority, setup.ip.parse().expect("an address"));
        identity.listen = format!("{}:{}", setup.ip, setup.own_port);
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

    /// The same from another address of the loopback.
    pub async fn client_from(&self, last: u8, roles: &[&str]) -> Result<Client, String> {
        let own = with_roles(&self.authority, roles);
        let stream = dial(last, self.address).await?;
        Client::over(stream, self.address, &self.authority, Some(&own)).await
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

/// A connection from 127.0.0.`last`, which says nothing yet.
pub async fn dial(last: u8, to: SocketAddr) -> Result<TcpStream, String> {
    let from = SocketAddr::from(([127, 0, 0, last], 0));
    let open = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(from)?;
        socket.connect(to).await
    };
    open.await.map_err(|error: std::io::Error| error.to_string())
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

/// What a machine serves and dials with.
pub fn pair(certified: &Certified) -> KeyPair {
    KeyPair {
        certificates: certified.certificate.to_pem().into_bytes(),
        key: Secret::new(certified.key.to_pem().reveal().as_bytes().to_vec()),
    }
}
