//! WireGuard in user space: where the kernel has none, and inside gRPC.
//!
//! ```text
//! kernel ──packets──▶ TUN link ──▶ engine ──datagrams──▶ UDP socket, or stream of the manager's service
//!        ◀──────────          ◀──        ◀────────────
//! ```
//! The link is there for as long as this program.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use corten_base::{Task, spawn};
use corten_wireguard::{Engine, Output, PrivateKey, PublicKey};
use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::link::{Carrier, KEEPALIVE, LinkSettings};
use crate::relay;

/// Largest datagram or packet, bytes.
const BUFFER: usize = 2048;
/// Between two looks at the timers of the peer.
const TICK: Duration = Duration::from_millis(250);
/// Looks between two attempts to greet a peer that is not heard, and between two sweeps of ended sessions.
const ROUND: u32 = 20;
/// A session that is older has ended (WireGuard's REJECT_AFTER_TIME).
const SESSION_MAX: Duration = Duration::from_secs(180);
/// After a failed read of the socket, so that a broken one does not take the processor.
const PAUSE: Duration = Duration::from_millis(100);

/// What takes datagrams.
enum Way {
    Udp(UdpSocket),
    Grpc(mpsc::Sender<Bytes>),
}

struct Shared {
    engine: Mutex<Engine>,
    link: AsyncFd<File>,
    peer: PublicKey,
    way: Way,
}

/// A link at work. It ends when it is closed or dropped.
pub struct UserSpace {
    shared: Arc<Shared>,
    settings: LinkSettings,
    /// Where the peer is, or what stands for that inside gRPC.
    endpoint: SocketAddr,
    tasks: Vec<Task>,
}

impl UserSpace {
    /// Makes the link and calls the peer.
    ///
    /// # Errors
    /// When the kernel refuses the link or the socket.
    pub async fn open(
        key: &PrivateKey,
        settings: LinkSettings,
        endpoint: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let endpoint = endpoint.unwrap_or_else(|| stand_in(&settings));
        let link = corten_sys::tun::open(settings.name())?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; the file owns its descriptor and closes it last"
        )]
        let link = AsyncFd::with_interest(link, Interest::READABLE)?;
        let (way, queue) = way(&settings.carrier, endpoint).await?;
        let mut engine = Engine::new(key, settings.address.addr());
        engine.set_peer(settings.peer, settings.server, Some(endpoint), Some(KEEPALIVE));
        let shared = Arc::new(Shared { engine: Mutex::new(engine), link, peer: settings.peer, way });
        let mut tasks = vec![
            spawn("siderolink packets", packets(Arc::clone(&shared))),
            spawn("siderolink timers", timers(Arc::clone(&shared))),
        ];
        match (&settings.carrier, queue) {
            (Carrier::Grpc { api, virtual_address }, Some(queue)) => {
                let taker = Arc::clone(&shared);
                let deliver = move |datagram: Bytes| taker.receive(endpoint, &datagram);
                let carry = relay::run(api.clone(), *virtual_address, queue, deliver);
                tasks.push(spawn("siderolink relay", carry));
            }
            _ => tasks.push(spawn("siderolink datagrams", datagrams(Arc::clone(&shared)))),
        }
        shared.greet();
        Ok(Self { shared, settings, endpoint, tasks })
    }

    /// Whether the link can be used with other settings or another place of the peer, without being made anew.
    #[must_use]
    pub fn fits(&self, settings: &LinkSettings, endpoint: Option<SocketAddr>) -> bool {
        let is_same_family = endpoint.is_none_or(|endpoint| endpoint.is_ipv4() == self.endpoint.is_ipv4());
        self.settings == *settings && is_same_family
    }

    /// Calls the peer, at another place if one is given.
    pub fn call(&mut self, endpoint: Option<SocketAddr>) {
        self.endpoint = endpoint.unwrap_or(self.endpoint);
        let LinkSettings { peer, server, .. } = self.settings;
        self.shared.engine.lock().set_peer(peer, server, Some(self.endpoint), Some(KEEPALIVE));
        self.shared.greet();
    }

    /// Since the last handshake.
    #[must_use]
    pub fn handshake_age(&self) -> Option<Duration> {
        self.shared.handshake_age()
    }

    /// Whether the kernel has taken the link away.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.tasks.iter().any(Task::is_finished)
    }

    /// Takes the link away, so that another one may have its name.
    pub async fn close(self) {
        for task in self.tasks {
            task.abort();
            task.join().await;
        }
    }
}

/// What stands for the place of a peer that is behind a stream: the engine wants an address and sends nothing there.
fn stand_in(settings: &LinkSettings) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(settings.server), 0)
}

/// What takes datagrams, and the queue that a stream is to empty.
async fn way(carrier: &Carrier, endpoint: SocketAddr) -> io::Result<(Way, Option<mpsc::Receiver<Bytes>>)> {
    match carrier {
        Carrier::Grpc { .. } => {
            let (sender, queue) = mpsc::channel(relay::QUEUE_MAX);
            Ok((Way::Grpc(sender), Some(queue)))
        }
        Carrier::Udp => {
            let any = match endpoint {
                SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
            // From then on it is known that it can be written to, which the first datagram needs.
            socket.writable().await?;
            Ok((Way::Udp(socket), None))
        }
    }
}

impl Shared {
    /// Takes a datagram of the peer.
    fn receive(&self, from: SocketAddr, datagram: &[u8]) {
        let output = self.engine.lock().receive(from, BytesMut::from(datagram));
        self.carry_out(output);
    }

    /// Begins a handshake.
    fn greet(&self) {
        let output = self.engine.lock().greet(&self.peer);
        self.carry_out(output);
    }

    fn handshake_age(&self) -> Option<Duration> {
        self.engine.lock().status(&self.peer)?.handshake_age
    }

    /// Sends what the engine wants sent. What cannot be sent now is lost, as on any line.
    fn carry_out(&self, output: Output) {
        for (to, datagram) in output.datagrams {
            match &self.way {
                Way::Udp(socket) => drop(socket.try_send_to(&datagram, to)),
                Way::Grpc(queue) => drop(queue.try_send(datagram.freeze())),
            }
        }
        for packet in output.packets {
            let mut link = self.link.get_ref();
            let _ = link.write(&packet);
        }
    }
}

/// Takes datagrams from the network.
async fn datagrams(shared: Arc<Shared>) {
    let Way::Udp(socket) = &shared.way else { return std::future::pending().await };
    let mut buffer = vec![0; BUFFER];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => shared.receive(from, buffer.get(..length).unwrap_or_default()),
            Err(error) => {
                // An earlier datagram found nobody: that is told here and may be over with the next one.
                tracing::debug!(error = %error, "a datagram could not be received");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Takes packets from the link until the kernel has taken it away.
async fn packets(shared: Arc<Shared>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let Ok(mut ready) = shared.link.readable().await else { return };
        match ready.try_io(|link| link.get_ref().read(&mut buffer)) {
            Ok(Ok(length)) => {
                let packet = BytesMut::from(buffer.get(..length).unwrap_or_default());
                let output = shared.engine.lock().send(packet);
                shared.carry_out(output);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "the link to the manager is gone; it is made again");
                return;
            }
            // Not ready after all.
            Err(_) => {}
        }
    }
}

/// Looks at the timers of the peer, and greets it when it is not heard.
async fn timers(shared: Arc<Shared>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 1_u32.. {
        interval.tick().await;
        let output = shared.engine.lock().tick(1);
        shared.carry_out(output);
        if tick.is_multiple_of(ROUND) {
            shared.engine.lock().sweep();
            // A handshake that is under way is not begun again.
            if shared.handshake_age().is_none_or(|age| age >= SESSION_MAX) {
                shared.greet();
            }
        }
    }
}
