//! A machine joins its manager and stays connected, as the node side of SideroLink does (fleet.md 1.2).
//!
//! ```text
//! key of this boot ─▶ Provision ─▶ Place ─▶ Port on the network ─▶ handshakes
//!                         ▲                      │ 275 s of silence: the next endpoint, after the last one ask again
//!                         └──────────────────────┘ UUID, unique token or join URL changed: ask again at once
//! ```
//!
//! While the manager is asked again, the old port stays.

mod carrier;
mod dial;
mod patience;
pub mod place;

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corten_api::sidero::link::ProvisionRequest;
use corten_api::sidero::link::provision_service_client::ProvisionServiceClient;
use corten_base::{Backoff, Task, spawn};
use corten_wireguard::{Engine, PrivateKey};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use self::dial::DialError;
use self::patience::{Verdict, look};
use self::place::{InvalidPlace, Place};
use crate::machine::Machine;
use crate::network::{Attached, Carrier, Port};

/// How often something is sent through a quiet tunnel (fleet.md 1.2).
const KEEPALIVE: Duration = Duration::from_secs(25);
/// Before the first repeated call to the manager, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A call to the manager that led to nothing.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It is out of reach.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It refused.
    #[error("the manager refuses: {}", .0.message())]
    Refused(#[from] Status),
    /// It did not answer in time.
    #[error("the manager does not answer within {0:?}")]
    Deadline(Duration),
    /// It answered nonsense.
    #[error(transparent)]
    Place(#[from] InvalidPlace),
    /// The machine cannot take its place.
    #[error("the place in the manager's network cannot be taken")]
    Attach(#[from] io::Error),
}

/// What stands for the manager where datagrams come by a stream.
const fn peer_address() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0)
}

/// Asks the manager for the machine's place.
///
/// # Errors
/// When it is out of reach, refuses, or answers nonsense.
pub async fn provision(machine: &Machine, key: &PrivateKey) -> Result<Place, LinkError> {
    let world = machine.world();
    let join = machine.join_url();
    let request = ProvisionRequest {
        node_uuid: machine.uuid(),
        node_public_key: key.public().to_string(),
        join_token: join.token.as_ref().map(|token| token.reveal().clone()),
        node_unique_token: Some(machine.unique_token()),
        talos_version: Some(machine.booted().tag()),
        wireguard_over_grpc: join.tunnel.then_some(true),
    };
    let limit = world.options.timing.provision;
    let exchange = async {
        let channel = dial::channel(&join, &world.options.manager, &world.options.clock).await?;
        Ok::<_, LinkError>(ProvisionServiceClient::new(channel).provision(request).await?.into_inner())
    };
    let response = timeout(limit, exchange).await.map_err(|_| LinkError::Deadline(limit))??;
    Ok(Place::read(response)?)
}

/// The machine on the network.
struct Connected {
    place: Arc<Place>,
    /// Which endpoint is used.
    index: usize,
    since: Instant,
    attached: Attached,
    _tasks: Vec<Task>,
}

/// Joins and stays connected for as long as the boot lasts.
pub async fn run(machine: Arc<Machine>) {
    let key = PrivateKey::generate(&machine.world().options.rng);
    let mut wishes = machine.rejoins();
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    let mut current: Option<Connected> = None;
    loop {
        wishes.borrow_and_update();
        match join(&machine, &key, &mut current).await {
            Ok(()) => {
                backoff.reset();
                stay(&machine, &key, &mut current, &mut wishes).await;
            }
            Err(error) => {
                tracing::debug!(
                    machine = machine.spec().number,
                    error = corten_base::chain(&error),
                    "the machine has not joined"
                );
                let pause = backoff.next_delay(&machine.world().options.rng);
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = wishes.changed() => {}
                }
            }
        }
    }
}

/// Asks for a place and takes it; the same place again is kept as it is.
async fn join(
    machine: &Arc<Machine>,
    key: &PrivateKey,
    current: &mut Option<Connected>,
) -> Result<(), LinkError> {
    let place = provision(machine, key).await?;
    if let Some(connected) = current
        && *connected.place == place
        && connected.index == 0
    {
        connected.since = Instant::now();
        return Ok(());
    }
    *current = Some(connect(machine, key, Arc::new(place), 0).await?);
    Ok(())
}

/// Puts the machine on the network and tells everybody on it where it is.
async fn connect(
    machine: &Arc<Machine>,
    key: &PrivateKey,
    place: Arc<Place>,
    index: usize,
) -> Result<Connected, LinkError> {
    let world = machine.world();
    let mut engine = Engine::new(key, place.address());
    let (carrier, queue) = match (&place.virtual_peer, place.endpoints.get(index)) {
        (None, Some(endpoint)) => {
            let (socket, endpoint) = udp(endpoint).await?;
            engine.set_peer(place.key, place.server, Some(endpoint), Some(KEEPALIVE));
            (Carrier::Udp(socket), None)
        }
        _ => {
            let (sender, queue) = mpsc::channel(carrier::QUEUE_MAX);
            engine.set_peer(place.key, place.server, Some(peer_address()), Some(KEEPALIVE));
            (Carrier::Stream(sender), Some(queue))
        }
    };
    let port = Port::new(place.address(), engine, carrier, machine.faults(), world.network.clone());
    let attached = world.network.attach(port).await?;
    let receiver = Arc::clone(&attached.port);
    let mut tasks = vec![spawn("datagrams", async move { receiver.run().await })];
    if let (Some(queue), Some(address)) = (queue, &place.virtual_peer) {
        let (join, port) = (machine.join_url(), Arc::clone(&attached.port));
        tasks.push(spawn("carrier", carrier::run(Arc::clone(world), join, address.clone(), queue, port)));
    }
    attached.port.greet(&place.key);
    world.enter(place.address(), machine);
    machine.set_place(Some(Arc::clone(&place)));
    Ok(Connected { place, index, since: Instant::now(), attached, _tasks: tasks })
}

/// A socket for an endpoint, and the endpoint as the socket takes it. Hosts without IPv6 get a socket without it.
async fn udp(endpoint: &str) -> io::Result<(UdpSocket, SocketAddr)> {
    let address = dial::endpoint(endpoint).await?;
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await {
        Ok(socket) => Ok((socket, dial::mapped(address))),
        Err(_) => Ok((UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)).await?, address)),
    }
}

/// Looks at the peer from time to time; returns when the manager is to be asked again.
async fn stay(
    machine: &Arc<Machine>,
    key: &PrivateKey,
    current: &mut Option<Connected>,
    wishes: &mut watch::Receiver<u64>,
) {
    let timing = machine.world().options.timing;
    loop {
        tokio::select! {
            () = sleep(timing.peer_check) => {}
            _ = wishes.changed() => return,
        }
        let Some(connected) = current else { return };
        let age = connected.attached.port.handshake_age(&connected.place.key);
        let count = connected.place.endpoints.len();
        match look(age, connected.since.elapsed(), timing.peer_down, connected.index, count) {
            Verdict::Stay => {}
            Verdict::AskAgain => return,
            Verdict::Next(index) => {
                let place = Arc::clone(&connected.place);
                match connect(machine, key, place, index).await {
                    Ok(next) => *current = Some(next),
                    Err(error) => {
                        let error = corten_base::chain(&error);
                        tracing::debug!(error, "the next endpoint cannot be used");
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
