//! Machines against a manager in the same process: provisioning, handshakes, and what makes a machine call again.

use bytes::BytesMut;
use corten_api::sidero::link::provision_service_server::{ProvisionService, ProvisionServiceServer};
use corten_api::sidero::link::wire_guard_over_grpc_service_server::{
    WireGuardOverGrpcService, WireGuardOverGrpcServiceServer,
};
use corten_api::sidero::link::{PeerPacket, ProvisionResponse};
use corten_base::Rng;
use corten_wireguard::PublicKey;
use parking_lot::Mutex;
use semver::Version;
use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Streaming};

use super::*;
use crate::faults::Faults;
use crate::testing::{machine_that_joins, world};

const SERVER: Ipv6Addr = Ipv6Addr::new(0xfdae, 0x41e4, 0x649b, 0x9303, 0, 0, 0, 1);
const NODE: Ipv6Addr = Ipv6Addr::new(0xfdae, 0x41e4, 0x649b, 0x9303, 0, 0, 0, 0x2a);
const VIRTUAL: &str = "[fdae:41e4:649b:9304::5]:50889";
const PATIENCE: Duration = Duration::from_secs(20);

/// A manager that takes everybody in.
#[derive(Clone)]
struct Manager(Arc<Inner>);

struct Inner {
    key: PrivateKey,
    hub: Mutex<Engine>,
    udp: UdpSocket,
    tunnels: bool,
    requests: Mutex<Vec<ProvisionRequest>>,
    tasks: Mutex<Vec<Task>>,
}

impl Manager {
    /// Starts it; returns the join URL too.
    async fn start(tunnels: bool) -> (Self, String) {
        let key = PrivateKey::generate(&Rng::seeded(9));
        let inner = Inner {
            hub: Mutex::new(Engine::new(&key, SERVER)),
            udp: UdpSocket::bind("127.0.0.1:0").await.expect("a socket"),
            requests: Mutex::default(),
            tasks: Mutex::default(),
            tunnels,
            key,
        };
        let manager = Self(Arc::new(inner));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let join = format!("grpc://{}?jointoken=token", listener.local_addr().expect("an address"));
        let services = Server::builder()
            .add_service(ProvisionServiceServer::new(manager.clone()))
            .add_service(WireGuardOverGrpcServiceServer::new(manager.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let api = spawn("fake manager", async move {
            services.await.expect("the manager serves");
        });
        let udp = manager.clone();
        let datagrams = spawn("fake hub", async move { udp.receive().await });
        manager.0.tasks.lock().extend([api, datagrams]);
        (manager, join)
    }

    async fn receive(&self) {
        let mut buffer = [0; 2048];
        loop {
            let (length, from) = self.0.udp.recv_from(&mut buffer).await.expect("a datagram");
            let output = self.0.hub.lock().receive(from, BytesMut::from(&buffer[..length]));
            for (to, datagram) in output.datagrams {
                self.0.udp.send_to(&datagram, to).await.expect("sent");
            }
        }
    }

    fn requests(&self) -> Vec<ProvisionRequest> {
        self.0.requests.lock().clone()
    }

    /// The key of the last machine that called, when it has shaken hands.
    fn connected(&self) -> Option<PublicKey> {
        let key: PublicKey = self.requests().last()?.node_public_key.parse().expect("a key");
        self.0.hub.lock().status(&key)?.handshake_age.map(|_| key)
    }
}

#[tonic::async_trait]
impl ProvisionService for Manager {
    async fn provision(
        &self,
        request: Request<ProvisionRequest>,
    ) -> Result<Response<ProvisionResponse>, Status> {
        let request = request.into_inner();
        let key = request.node_public_key.parse::<PublicKey>();
        let key = key.map_err(|_| Status::invalid_argument("no key"))?;
        self.0.hub.lock().set_peer(key, NODE, None, None);
        self.0.requests.lock().push(request);
        let endpoint = self.0.udp.local_addr().map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(ProvisionResponse {
            server_endpoint: vec![endpoint.to_string()],
            server_public_key: self.0.key.public().to_string(),
            node_address_prefix: format!("{NODE}/64"),
            server_address: SERVER.to_string(),
            grpc_peer_addr_port: if self.0.tunnels { VIRTUAL.to_owned() } else { String::new() },
        }))
    }
}

#[tonic::async_trait]
impl WireGuardOverGrpcService for Manager {
    type CreateStreamStream = ReceiverStream<Result<PeerPacket, Status>>;
    async fn create_stream(
        &self,
        request: Request<Streaming<PeerPacket>>,
    ) -> Result<Response<Self::CreateStreamStream>, Status> {
        let address = request.metadata().get("x-siderolink-ipv6-addr").and_then(|value| value.to_str().ok());
        if address != Some(VIRTUAL) {
            return Err(Status::permission_denied("a stranger"));
        }
        let (sender, receiver) = mpsc::channel(16);
        let manager = self.clone();
        let task = spawn("fake carrier", async move {
            let mut incoming = request.into_inner();
            while let Ok(Some(packet)) = incoming.message().await {
                let from = VIRTUAL.parse().expect("an address");
                let datagram = BytesMut::from(packet.data.as_ref());
                let output = manager.0.hub.lock().receive(from, datagram);
                for (_, datagram) in output.datagrams {
                    let _ = sender.send(Ok(PeerPacket { data: datagram.freeze() })).await;
                }
            }
        });
        self.0.tasks.lock().push(task);
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Longer than a machine that is not silent takes to shake hands, which is up to 5.5 s.
const HANDSHAKE_MAX: Duration = Duration::from_secs(8);

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !is_so() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

fn machine(join: &str) -> Arc<Machine> {
    machine_that_joins(&world(), 0, Version::new(1, 13, 0), join)
}

#[tokio::test]
async fn a_machine_says_who_it_is_takes_its_place_and_shakes_hands() {
    let (manager, join) = Manager::start(false).await;
    let machine = machine(&join);
    let _link = spawn("link", run(Arc::clone(&machine)));
    until("a handshake", || manager.connected().is_some()).await;
    let request = manager.requests().remove(0);
    assert_eq!(request.node_uuid, machine.spec().uuid);
    assert_eq!(request.join_token.as_deref(), Some("token"));
    assert_eq!(request.node_unique_token.as_deref(), Some(""), "it always says it");
    assert_eq!(request.talos_version.as_deref(), Some("v1.13.0"));
    assert_eq!(request.wireguard_over_grpc, None, "only when it wants it");
    assert_eq!(machine.places().borrow().as_ref().map(|place| place.address()), Some(NODE));
    assert_eq!(machine.world().network.len(), 1);
}

#[tokio::test]
async fn an_answer_with_a_virtual_peer_leads_through_grpc_unasked() {
    let (manager, join) = Manager::start(true).await;
    let machine = machine(&join);
    let _link = spawn("link", run(Arc::clone(&machine)));
    until("a handshake through the stream", || manager.connected().is_some()).await;
    let place = machine.places().borrow().clone().expect("a place");
    assert_eq!(place.virtual_peer.as_deref(), Some(VIRTUAL));
}

#[tokio::test]
async fn a_unique_token_and_another_uuid_make_it_call_again_with_the_same_key() {
    let (manager, join) = Manager::start(false).await;
    let machine = machine(&join);
    let _link = spawn("link", run(Arc::clone(&machine)));
    until("a handshake", || manager.connected().is_some()).await;
    machine.meta_write(0x10, b"{\"Fingerprint\":\"00\",\"Token\":\"t\"}").expect("written");
    until("a second call", || manager.requests().len() == 2).await;
    machine.meta_write(0x0f, b"11111111-1111-4111-8111-111111111111").expect("written");
    until("a third call", || manager.requests().len() == 3).await;
    let requests = manager.requests();
    assert!(requests[1].node_unique_token.as_deref().is_some_and(|token| token.contains("Fingerprint")));
    assert_eq!(requests[2].node_uuid, "11111111-1111-4111-8111-111111111111");
    assert!(requests.iter().all(|request| request.node_public_key == requests[0].node_public_key));
    let reasons = machine.rejoins();
    machine.meta_write(6, b"x").expect("written");
    assert!(!reasons.has_changed().expect("a machine"), "other keys are nobody's business");
}

#[tokio::test]
async fn a_silent_machine_does_not_shake_hands() {
    let (manager, join) = Manager::start(false).await;
    let machine = machine(&join);
    machine.set_faults(Faults { silent: true, ..Faults::default() });
    let _link = spawn("link", run(Arc::clone(&machine)));
    until("a place", || machine.places().borrow().is_some()).await;
    let shaken = timeout(HANDSHAKE_MAX, async {
        while manager.connected().is_none() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(shaken.await.is_err(), "the machine is silent");
    machine.set_faults(Faults::default());
    until("a handshake after all", || manager.connected().is_some()).await;
}

#[tokio::test]
async fn a_manager_that_is_away_is_called_until_it_is_there() {
    let machine = machine("grpc://127.0.0.1:1?jointoken=token");
    let key = PrivateKey::generate(&Rng::seeded(1));
    let error = provision(&machine, &key).await.expect_err("nobody is there");
    assert!(matches!(error, LinkError::Dial(_)), "{error:?}");
}
