//! A manager's end of the tunnel reaches the API of emulated machines, and they reach what listens at the manager's end:
//! the same with the kernel's TCP in a namespace and with a stack in user space. The machines' TCP is the kernel's.
//!
//! Hosts without unprivileged user namespaces or /dev/net/tun skip it and say so.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corten_api::machine::machine_service_client::MachineServiceClient;
use corten_api::sidero::link::provision_service_server::{ProvisionService, ProvisionServiceServer};
use corten_api::sidero::link::{ProvisionRequest, ProvisionResponse};
use corten_base::{Clock, Rng, Task, spawn};
use corten_client::{Credentials, Server as Judged};
use corten_emulator::kernel_args::KernelArgs;
use corten_emulator::{Emulator, Model, Options, PORT, Timing};
use corten_fleet_tunnel::{Peer, StackChoice, Tunnel, TunnelOptions};
use corten_wireguard::{PrivateKey, PublicKey};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use semver::Version;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tower::service_fn;

const SERVER: Ipv6Addr = Ipv6Addr::new(0xfdae, 0x41e4, 0x649b, 0x9303, 0, 0, 0, 1);
const SINK: u16 = 8090;
const PATIENCE: Duration = Duration::from_secs(60);
const MACHINES: u16 = 3;

/// Takes everybody in; the first machine that calls gets the first address.
struct Provision {
    tunnel: Tunnel,
    key: PrivateKey,
    known: parking_lot::Mutex<Vec<String>>,
}

#[tonic::async_trait]
impl ProvisionService for Provision {
    async fn provision(
        &self,
        request: Request<ProvisionRequest>,
    ) -> Result<Response<ProvisionResponse>, Status> {
        let request = request.into_inner();
        let key = request.node_public_key.parse::<PublicKey>();
        let key = key.map_err(|_| Status::invalid_argument("no key"))?;
        let place = {
            let mut known = self.known.lock();
            let place = known.iter().position(|uuid| *uuid == request.node_uuid);
            place.unwrap_or_else(|| {
                known.push(request.node_uuid);
                known.len() - 1
            })
        };
        let address = node(u16::try_from(place).map_err(|_| Status::resource_exhausted("full"))?);
        self.tunnel.set_peer(&Peer { key, address, virtual_peer: None });
        let endpoint = self.tunnel.local_addr().map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(ProvisionResponse {
            server_endpoint: vec![endpoint.to_string()],
            server_public_key: self.key.public().to_string(),
            node_address_prefix: format!("{address}/64"),
            server_address: SERVER.to_string(),
            grpc_peer_addr_port: String::new(),
        }))
    }
}

fn node(place: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfdae, 0x41e4, 0x649b, 0x9303, 0, 0, 1, place)
}

/// The manager's end of the tunnel with its join service; nothing on hosts that do not allow it.
async fn manager(program: PathBuf, stack: StackChoice) -> Option<(Tunnel, String, Task)> {
    let rng = Rng::seeded(1);
    let key = PrivateKey::generate(&rng);
    let listen = ([127, 0, 0, 1], 0).into();
    let options = TunnelOptions { key: key.clone(), address: SERVER, listen, stack, program, rng };
    let tunnel = match Tunnel::open(&options).await {
        Ok(tunnel) => tunnel,
        Err(error) => {
            eprintln!("skipped: the host allows no tunnel: {error}");
            return None;
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let join = format!("grpc://{}?jointoken=token", listener.local_addr().expect("an address"));
    let service = Provision { tunnel: tunnel.clone(), key, known: parking_lot::Mutex::default() };
    let served = Server::builder()
        .add_service(ProvisionServiceServer::new(service))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let task = spawn("manager", async move { served.await.expect("the manager serves") });
    Some((tunnel, join, task))
}

/// The API of a machine, as the manager reaches it in maintenance.
async fn dial(tunnel: &Tunnel, address: Ipv6Addr) -> Result<Channel, tonic::transport::Error> {
    let credentials = Credentials { server: Judged::Anyone, own: None, clock: Clock::system() };
    let connector = TlsConnector::from(credentials.config().expect("credentials"));
    let tunnel = tunnel.clone();
    let connect = move |_: http::Uri| {
        let (tunnel, connector) = (tunnel.clone(), connector.clone());
        async move {
            let stream = tunnel.connect(SocketAddrV6::new(address, PORT, 0, 0)).await?;
            let name = ServerName::from(IpAddr::V6(address));
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    };
    Endpoint::from_static("https://machine").connect_with_connector(service_fn(connect)).await
}

#[tokio::test]
async fn a_manager_and_many_machines_reach_each_other_through_one_link() {
    reach_each_other(StackChoice::Kernel).await;
}

#[tokio::test]
async fn a_manager_without_a_namespace_and_many_machines_reach_each_other() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_corten-emulator"));
    // The machines need what the manager does without.
    if manager(program, StackChoice::Kernel).await.is_some() {
        reach_each_other(StackChoice::UserSpace).await;
    }
}

async fn reach_each_other(stack: StackChoice) {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_corten-emulator"));
    let Some((tunnel, join, _manager)) = manager(program.clone(), stack).await else { return };
    assert_eq!(tunnel.has_kernel_stack(), stack == StackChoice::Kernel);
    let line = format!("siderolink.api={join} talos.events.sink=[{SERVER}]:{SINK}");
    let model = Model::new(KernelArgs::parse(&line).expect("arguments"), Version::new(1, 14, 0));
    let options = Options { timing: Timing::fast(), ..Options::new(Some(program)) };
    let emulator = Arc::new(Emulator::open(options, model).await.expect("an emulator"));
    let mut sink = tunnel.listen(SINK).await.expect("a listener");
    emulator.add_many(u32::from(MACHINES), 0).await;
    for place in 0..MACHINES {
        let asked = timeout(PATIENCE, async {
            loop {
                if let Ok(channel) = dial(&tunnel, node(place)).await
                    && let Ok(version) = MachineServiceClient::new(channel).version(()).await
                {
                    return version.into_inner();
                }
                sleep(Duration::from_millis(100)).await;
            }
        });
        let version = asked.await.expect("the machine answers");
        let version = version.messages.into_iter().find_map(|message| message.version);
        assert_eq!(version.map(|version| version.tag).as_deref(), Some("v1.14.0"));
    }
    let mut senders = BTreeSet::new();
    while senders.len() < usize::from(MACHINES) {
        let (_, from) = timeout(PATIENCE, sink.accept()).await.expect("events come").expect("a connection");
        senders.insert(from.ip());
    }
    let nodes: BTreeSet<IpAddr> = (0..MACHINES).map(|place| IpAddr::V6(node(place))).collect();
    assert_eq!(senders, nodes, "each machine is known by its own address");
}
