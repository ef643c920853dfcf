//! The tunnel at work: datagrams in and out, packets in and out, timers.
//!
//! A manager that was started again has no session with any machine, and a machine does not notice before it sends
//! something: that may be minutes. So the manager calls first, at the place where a machine was heard last, or through
//! its stream as soon as there is one.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use corten_base::{Rng, Task, spawn};
use corten_wireguard::{Engine, Output, PeerStatus, PrivateKey, PublicKey};
use tokio::net::UdpSocket;

use crate::carrier::{Carrier, CarrierError};
use crate::end::{End, StackChoice};
use crate::line::Line;
use crate::stream::{TunnelListener, TunnelStream};

/// Largest datagram, bytes.
const BUFFER: usize = 2048;
/// Between two looks at timers of peers.
const TICK: Duration = Duration::from_millis(250);
/// Every peer's timers are looked at once in so many ticks.
const TICKS_PER_ROUND: usize = 8;
/// Ticks between two sweeps of ended sessions.
const TICKS_PER_SWEEP: usize = 40;
/// After a failed read, so that a broken socket does not take the processor.
const PAUSE: Duration = Duration::from_millis(100);
/// A session that is older has ended (WireGuard's REJECT_AFTER_TIME).
const SESSION_MAX: Duration = Duration::from_secs(180);

/// How to open a tunnel.
#[derive(Debug)]
pub struct TunnelOptions {
    /// Key of this end.
    pub key: PrivateKey,
    /// Address of this end in the tunnel.
    pub address: Ipv6Addr,
    /// Where WireGuard listens.
    pub listen: SocketAddr,
    /// Who is to do TCP.
    pub stack: StackChoice,
    /// The manager's own program, which is also that of the child with the namespace.
    pub program: PathBuf,
    /// Source of numbers that machines should not guess.
    pub rng: Rng,
}

/// A machine at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its key.
    pub key: PublicKey,
    /// Its address in the tunnel.
    pub address: Ipv6Addr,
    /// What stands for its stream when it tunnels through gRPC.
    pub virtual_peer: Option<SocketAddrV6>,
}

struct Shared {
    line: Arc<Line>,
    end: End,
}

/// An open tunnel. Clones are the same; it closes with the last of them.
#[derive(Clone)]
pub struct Tunnel {
    shared: Arc<Shared>,
    _tasks: Arc<Vec<Task>>,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

impl Tunnel {
    /// Opens a tunnel without peers.
    ///
    /// # Errors
    /// When the port is taken, or the host does not allow the namespace and nothing else will do.
    pub async fn open(options: &TunnelOptions) -> io::Result<Self> {
        let udp = UdpSocket::bind(options.listen).await?;
        let line = Arc::new(Line::new(Engine::new(&options.key, options.address), udp));
        let end = End::open(options, &line).await?;
        let shared = Arc::new(Shared { line, end });
        let tasks = vec![
            spawn("tunnel datagrams", datagrams(Arc::clone(&shared))),
            spawn("tunnel timers", timers(Arc::clone(&shared))),
        ];
        Ok(Self { shared, _tasks: Arc::new(tasks) })
    }

    /// Whether the kernel does TCP, and not a stack in user space.
    #[must_use]
    pub fn has_kernel_stack(&self) -> bool {
        matches!(self.shared.end, End::Kernel(_))
    }

    /// Where WireGuard listens.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.shared.line.udp.local_addr()
    }

    /// Takes packets of a machine from now on. A machine that had the address with another key is forgotten.
    pub fn set_peer(&self, peer: &Peer) {
        let endpoint = peer.virtual_peer.map(SocketAddr::V6);
        if let Some(address) = peer.virtual_peer {
            self.shared.line.virtual_peers.lock().insert(*address.ip(), peer.key);
        }
        self.shared.line.engine.lock().set_peer(peer.key, peer.address, endpoint, None);
    }

    /// Calls a machine at the place where it was heard last, unless it was heard since this manager started.
    pub fn find(&self, key: &PublicKey, at: SocketAddr) {
        let output = self.shared.line.engine.lock().find(key, Some(at));
        self.shared.carry_out(output);
    }

    /// Takes handshakes of a machine that has proved who it is and whose session is over, also older ones than before:
    /// its clock may have been set back.
    pub fn renew(&self, key: &PublicKey) {
        self.shared.line.engine.lock().renew(key, SESSION_MAX);
    }

    /// Waits until hands are shaken anew with the machine that has this address.
    pub async fn shaken(&self, address: Ipv6Addr) {
        self.shared.line.waiting.enter(address).wait().await;
    }

    /// Waits until there is a session with the machine that has this address, and calls it if there is none.
    pub async fn reach(&self, address: Ipv6Addr) {
        // Before it is looked, so that no handshake comes between.
        let waiter = self.shared.line.waiting.enter(address);
        let output = self.shared.line.engine.lock().reach(address);
        if let Some(output) = output {
            self.shared.carry_out(output);
            waiter.wait().await;
        }
    }

    /// Forgets a machine. In user space its connections end at once; those of the kernel by their signs of life.
    pub fn remove_peer(&self, peer: &Peer) {
        self.shared.end.remove_peer(peer);
        if let Some(address) = peer.virtual_peer {
            let mut all = self.shared.line.virtual_peers.lock();
            if all.get(address.ip()) == Some(&peer.key) {
                all.remove(address.ip());
            }
        }
        self.shared.line.engine.lock().remove_peer(&peer.key);
    }

    /// How a machine is.
    #[must_use]
    pub fn status(&self, key: &PublicKey) -> Option<PeerStatus> {
        self.shared.line.engine.lock().status(key)
    }

    /// Connects to a machine.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub async fn connect(&self, to: SocketAddrV6) -> io::Result<TunnelStream> {
        self.shared.end.connect(to).await
    }

    /// Listens on this end's address.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn listen(&self, port: u16) -> io::Result<TunnelListener> {
        self.shared.end.listen(port).await
    }

    /// Begins to carry datagrams of the machine with this virtual address over a stream, and calls it if no hands were
    /// shaken with it lately.
    ///
    /// # Errors
    /// When no machine has it.
    pub fn attach(&self, address: Ipv6Addr) -> Result<Carrier, CarrierError> {
        let key =
            self.shared.line.virtual_peers.lock().get(&address).copied().ok_or(CarrierError::Unknown)?;
        let carrier = self.shared.line.carriers.lock().attach(address);
        let output = self.shared.line.engine.lock().find(&key, None);
        self.shared.carry_out(output);
        Ok(carrier)
    }

    /// Takes a datagram that a carrier has brought.
    pub fn receive(&self, carrier: &Carrier, from: SocketAddrV6, datagram: &[u8]) {
        let from = SocketAddr::V6(SocketAddrV6::new(carrier.address, from.port(), 0, 0));
        let output = self.shared.line.engine.lock().receive(from, BytesMut::from(datagram));
        self.shared.carry_out(output);
    }

    /// Ends a carrier.
    pub fn detach(&self, carrier: &Carrier) {
        self.shared.line.carriers.lock().detach(carrier.address, carrier.number);
    }
}

impl Shared {
    /// Sends what the engine wants sent, and takes what has come.
    fn carry_out(&self, output: Output) {
        let packets = self.line.carry_out(output);
        self.end.deliver(packets);
    }
}

/// Takes datagrams from the network.
async fn datagrams(shared: Arc<Shared>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match shared.line.udp.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                let datagram = BytesMut::from(buffer.get(..length).unwrap_or_default());
                let output = shared.line.engine.lock().receive(from, datagram);
                shared.carry_out(output);
            }
            Err(error) => {
                // An earlier datagram found nobody: that is told here and concerns nobody else.
                tracing::debug!(error = %error, "a datagram could not be received");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Looks at timers, some peers at a time.
async fn timers(shared: Arc<Shared>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in 1_usize.. {
        interval.tick().await;
        let output = {
            let mut engine = shared.line.engine.lock();
            if tick.is_multiple_of(TICKS_PER_SWEEP) {
                engine.sweep();
            }
            let count = engine.peers().count();
            engine.tick(count.div_ceil(TICKS_PER_ROUND))
        };
        shared.carry_out(output);
    }
}
