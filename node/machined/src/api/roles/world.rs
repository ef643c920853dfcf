//! Machines, each an apid in front of the services of machined, and whoever calls them.
//!
//! | way | machine | address | what it asks of callers |
//! |---|---|---|---|
//! | direct, proxied, many | `a`, which forwards to `b` | 127.0.0.1, 127.0.0.2 | certificates |
//! | maintenance | without configuration | 127.0.0.3 | nothing |
//! | SideroLink, maintenance | without configuration | in a SideroLink network | nothing |
//! | SideroLink | configured | in a SideroLink network | certificates |

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corten_apid::{Access, Identity, KeyPair, LocalNames, Options};
use corten_base::{Clock, Rng, Secret, Task, spawn};
use corten_client::{Credentials, Endpoints, Server};
use corten_pki::{Authority, AuthorityKind, Identity as Certified, LeafRequest, Subject};
use corten_resources::config::MachineConfig;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Channel;
use tower_service::Service as _;

use super::super::{Parts, serve};

/// An address in a SideroLink network: a unique local one whose eighth byte is 3.
pub const SIDEROLINK: Ipv6Addr = Ipv6Addr::new(0xfdae, 0x41e4, 0x649b, 0x9303, 0, 0, 0, 1);

const DAY: Duration = Duration::from_secs(86_400);
/// Longest time that an answer takes.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Every role that means something to a machine.
const ROLES: [&str; 6] =
    ["os:admin", "os:operator", "os:reader", "os:etcd:backup", "os:image:verifier", "os:meta:writer"];
/// Whose certificate lets its holder name the roles of a call.
const IMPERSONATOR: &str = "os:impersonator";
/// A role that means nothing to a machine.
const UNHEARD: &str = "os:unheard-of";

/// How a call comes to the machine that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Mutual TLS.
    Direct,
    /// Through another machine, which names the caller's roles.
    Proxied,
    /// To two machines at once, through one of them.
    Many,
    /// To a machine without configuration.
    Maintenance,
    /// The same, from the network of its manager.
    SiderolinkMaintenance,
    /// To a configured machine, from the network of its manager.
    Siderolink,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Direct,
        Self::Proxied,
        Self::Many,
        Self::Maintenance,
        Self::SiderolinkMaintenance,
        Self::Siderolink,
    ];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "mutual TLS",
            Self::Proxied => "proxied",
            Self::Many => "proxied to many",
            Self::Maintenance => "maintenance",
            Self::SiderolinkMaintenance => "maintenance over SideroLink",
            Self::Siderolink => "SideroLink",
        }
    }

    /// Whether the machine that answers has no configuration.
    pub const fn is_maintenance(self) -> bool {
        matches!(self, Self::Maintenance | Self::SiderolinkMaintenance)
    }

    /// Metadata that makes a call go this way.
    fn metadata(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Proxied => &[("node", "127.0.0.2")],
            Self::Many => &[("nodes", "127.0.0.1"), ("nodes", "127.0.0.2")],
            _ => &[],
        }
    }
}

/// Somebody who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// For messages of failures.
    pub name: String,
    /// Organizations of the certificate; none without one.
    certificate: Option<Vec<&'static str>>,
    /// Roles that the caller names itself.
    claims: Vec<&'static str>,
    /// Roles with which the call is to be decided.
    pub roles: Vec<&'static str>,
}

impl Caller {
    /// Whoever calls this way, and with which roles that is to be decided.
    pub fn of(way: Way) -> Vec<Self> {
        match way {
            Way::Direct | Way::Proxied | Way::Many | Way::Siderolink => Self::certified(),
            Way::Maintenance => Self::anonymous("os:reader"),
            Way::SiderolinkMaintenance => Self::anonymous("os:admin"),
        }
    }

    /// Somebody without a certificate.
    pub fn stranger() -> Self {
        let (certificate, claims, roles) = (None, Vec::new(), Vec::new());
        Self { name: "a stranger".to_owned(), certificate, claims, roles }
    }

    /// Nobody shows a certificate, and what is claimed does not count.
    fn anonymous(role: &'static str) -> Vec<Self> {
        let stranger = Self { roles: vec![role], ..Self::stranger() };
        let liar = Self { name: "a liar".to_owned(), claims: vec!["os:admin"], ..stranger.clone() };
        vec![stranger, liar]
    }

    fn certified() -> Vec<Self> {
        let mut sets: Vec<Vec<&'static str>> = ROLES.iter().map(|role| vec![*role]).collect();
        sets.extend([vec![], vec![UNHEARD], vec!["os:reader", "os:etcd:backup"]]);
        let mut callers = Vec::new();
        for set in &sets {
            // What the holder of a certificate claims does not count.
            callers.push(Self::new(set.clone(), vec!["os:admin"], set.clone()));
            callers.push(Self::new(vec![IMPERSONATOR], set.clone(), set.clone()));
        }
        callers.push(Self::new(vec![IMPERSONATOR, "os:admin"], vec!["os:reader"], vec!["os:reader"]));
        callers.push(Self::new(vec![IMPERSONATOR], vec![IMPERSONATOR], vec![]));
        callers.push(Self::new(vec!["os:reader"], vec![IMPERSONATOR, "os:admin"], vec!["os:reader"]));
        callers
    }

    fn new(certificate: Vec<&'static str>, claims: Vec<&'static str>, roles: Vec<&'static str>) -> Self {
        let name = format!("[{}] that names [{}]", certificate.join(", "), claims.join(", "));
        Self { name, certificate: Some(certificate), claims, roles }
    }
}

/// A machine.
struct Machine {
    address: SocketAddr,
    _feed: watch::Sender<Option<Arc<Identity>>>,
    _tasks: [Task; 2],
    _folder: tempfile::TempDir,
}

impl Machine {
    async fn start(identity: Identity, port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("machine.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let parts = Parts::for_tests();
        if identity.verify_clients {
            let yaml = b"version: v1alpha1\n".to_vec();
            parts.state.put("", MachineConfig::ACTIVE, MachineConfig { yaml }).expect("put");
        }
        // The apid of this process runs as the user of this process.
        let user = rustix::process::getuid().as_raw();
        let machined = spawn("machined", async move {
            serve::on(listener, &parts, user).await.expect("machined serves");
        });
        let (feed, follow) = watch::channel(Some(Arc::new(identity)));
        let (report, mut bound) = mpsc::unbounded_channel();
        let options = Options {
            machined: socket,
            port,
            bound: Box::new(move |address| report.send(address).expect("the test listens")),
            ..Options::default()
        };
        let apid = spawn("apid", corten_apid::run(options, follow));
        let address = bound.recv().await.expect("apid listens");
        Self { address, _feed: feed, _tasks: [machined, apid], _folder: folder }
    }
}

/// All machines.
pub struct World {
    authority: Authority,
    a: Machine,
    _b: Machine,
    maintenance: Machine,
    siderolink_maintenance: Machine,
    siderolink: Machine,
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Everything before the status.
    pub body: Bytes,
    /// The status.
    pub status: Status,
}

impl World {
    /// Starts all machines.
    pub async fn open() -> Self {
        let (clock, rng) = (Clock::system(), Rng::kernel());
        let authority = Authority::generate(AuthorityKind::Talos, clock.now(), &rng).expect("a CA");
        let four = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        let configured = |ip| identity(&authority, ip, Access::Certificate);
        let maintained = |ip| identity(&authority, ip, Access::ReadOnly);
        let b = Machine::start(configured(four(2)), 1).await;
        Self {
            a: Machine::start(configured(four(1)), b.address.port()).await,
            maintenance: Machine::start(maintained(four(3)), 1).await,
            siderolink_maintenance: Machine::start(maintained(SIDEROLINK.into()), 1).await,
            siderolink: Machine::start(configured(SIDEROLINK.into()), 1).await,
            _b: b,
            authority,
        }
    }

    /// A connection of somebody, to be used for calls this way.
    pub fn connect(&self, way: Way, caller: &Caller) -> Channel {
        let machine = match way {
            Way::Direct | Way::Proxied | Way::Many => &self.a,
            Way::Maintenance => &self.maintenance,
            Way::SiderolinkMaintenance => &self.siderolink_maintenance,
            Way::Siderolink => &self.siderolink,
        };
        let own = caller.certificate.as_ref().map(|organizations| {
            let request = LeafRequest::client(Subject::organizations(organizations.iter().copied()), DAY);
            pair(&issue(&self.authority, &request))
        });
        let credentials = Credentials {
            server: Server::Authorities(self.authority.certificate().to_pem().into_bytes()),
            own: own.map(|own| (own.certificates, own.key)),
            clock: Clock::system(),
        };
        let endpoints = Endpoints::parse([machine.address.to_string()], 1).expect("an endpoint");
        endpoints.connect(&credentials).expect("credentials")
    }

    /// One call of somebody, on a connection of its own.
    pub async fn call(&self, way: Way, caller: &Caller, method: &str, message: &[u8]) -> Answer {
        call(&self.connect(way, caller), way, caller, method, message).await
    }
}

/// One call of somebody.
pub async fn call(channel: &Channel, way: Way, caller: &Caller, method: &str, message: &[u8]) -> Answer {
    let mut request =
        Request::post(method).header("content-type", "application/grpc").header("te", "trailers");
    for (key, value) in way.metadata() {
        request = request.header(*key, *value);
    }
    for claim in &caller.claims {
        request = request.header(corten_api::roles::METADATA_KEY, *claim);
    }
    let frame = corten_relay::frame::encode(message);
    let request = request.body(Body::new(Full::new(frame))).expect("a request");
    let asked = timeout(ANSWER_MAX, ask(channel.clone(), request)).await;
    let failed = |status| Answer { body: Bytes::new(), status };
    let late = || failed(Status::deadline_exceeded("no answer"));
    asked.map_or_else(|_| late(), |answer| answer.unwrap_or_else(failed))
}

async fn ask(mut channel: Channel, request: Request<Body>) -> Result<Answer, Status> {
    let broken = |error: tonic::transport::Error| Status::unavailable(corten_base::chain(&error));
    poll_fn(|context| channel.poll_ready(context)).await.map_err(broken)?;
    let (head, body) = channel.call(request).await.map_err(broken)?.into_parts();
    let collected = body.collect().await?;
    let trailers = collected.trailers().unwrap_or(&head.headers);
    let status = Status::from_header_map(trailers).unwrap_or_else(|| Status::unknown("no status"));
    Ok(Answer { body: collected.to_bytes(), status })
}

fn issue(authority: &Authority, request: &LeafRequest) -> Certified {
    authority.issue(request, Clock::system().now(), &Rng::kernel()).expect("a certificate")
}

fn identity(authority: &Authority, ip: IpAddr, access: Access) -> Identity {
    let server = LeafRequest::server(Subject::common_name("machine"), DAY).with_names([], [ip]);
    let client = LeafRequest::client(Subject::organizations([IMPERSONATOR]), DAY);
    let is_configured = access == Access::Certificate;
    Identity {
        listen: SocketAddr::new(ip, 0).to_string(),
        routing: is_configured,
        access,
        verify_clients: is_configured,
        server: pair(&issue(authority, &server)),
        client: is_configured.then(|| pair(&issue(authority, &client))),
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
