//! The tunnel at work: datagrams in and out, packets in and out, timers.
//!
//! A manager that was started again has no session with any machine, and a machine does not notice before it sends
//! something: that may be minutes. So the manager calls first, at the place where a machine was heard last, or through
//! its stream as soon as there is one.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use corten_base::{Task, spawn};
use corten_wireguard::{Engine, Output, PeerStatus, PrivateKey, PublicKey};
use parking_lot::Mutex;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::carrier::{Carrier, CarrierError, Carriers};
use crate::device::Device;
use crate::waiting::Waiting;

/// Largest datagram or packet, bytes.
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
    /// The manager's own program, which is also that of the child with the namespace.
    pub program: PathBuf,
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
    engine: Mutex<Engine>,
    udp: UdpSocket,
    device: Device,
    packets: AsyncFd<File>,
    carriers: Mutex<Carriers>,
    /// Machines by virtual address.
    virtual_peers: Mutex<HashMap<Ipv6Addr, PublicKey>>,
    waiting: Waiting,
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
    /// When the port is taken or the host does not allow the namespace.
    pub async fn open(options: &TunnelOptions) -> io::Result<Self> {
        let udp = UdpSocket::bind(options.listen).await?;
        let device = Device::start(&options.program, options.address).await?;
        #[expect(deprecated, reason = "the replacement is unsafe; a File owns one descriptor for life")]
        let packets = AsyncFd::new(device.packets().try_clone()?)?;
        let shared = Arc::new(Shared {
            engine: Mutex::new(Engine::new(&options.key, options.address)),
            udp,
            device,
            packets,
            carriers: Mutex::default(),
            virtual_peers: Mutex::default(),
            waiting: Waiting::default(),
        });
        let tasks = vec![
            spawn("tunnel datagrams", datagrams(Arc::clone(&shared))),
            spawn("tunnel packets", packets_out(Arc::clone(&shared))),
            spawn("tunnel timers", timers(Arc::clone(&shared))),
        ];
        Ok(Self { shared, _tasks: Arc::new(tasks) })
    }

    /// Where WireGuard listens.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.shared.udp.local_addr()
    }

    /// Takes packets of a machine from now on. A machine that had the address with another key is forgotten.
    pub fn set_peer(&self, peer: &Peer) {
        let endpoint = peer.virtual_peer.map(SocketAddr::V6);
        if let Some(address) = peer.virtual_peer {
            self.shared.virtual_peers.lock().insert(*address.ip(), peer.key);
        }
        self.shared.engine.lock().set_peer(peer.key, peer.address, endpoint, None);
    }

    /// Calls a machine at the place where it was heard last, unless it was heard since this manager started.
    pub fn find(&self, key: &PublicKey, at: SocketAddr) {
        let output = self.shared.engine.lock().find(key, Some(at));
        self.shared.carry_out(output);
    }

    /// Takes handshakes of a machine that has proved who it is and whose session is over, also older ones than before:
    /// its clock may have been set back.
    pub fn renew(&self, key: &PublicKey) {
        self.shared.engine.lock().renew(key, SESSION_MAX);
    }

    /// Waits until hands are shaken anew with the machine that has this address.
    pub async fn shaken(&self, address: Ipv6Addr) {
        self.shared.waiting.enter(address).wait().await;
    }

    /// Waits until there is a session with the machine that has this address, and calls it if there is none.
    pub async fn reach(&self, address: Ipv6Addr) {
        // Before it is looked, so that no handshake comes between.
        let waiter = self.shared.waiting.enter(address);
        let output = self.shared.engine.lock().reach(address);
        if let Some(output) = output {
            self.shared.carry_out(output);
            waiter.wait().await;
        }
    }

    /// Forgets a machine.
    pub fn remove_peer(&self, peer: &Peer) {
        if let Some(address) = peer.virtual_peer {
            let mut all = self.shared.virtual_peers.lock();
            if all.get(address.ip()) == Some(&peer.key) {
                all.remove(address.ip());
            }
        }
        self.shared.engine.lock().remove_peer(&peer.key);
    }

    /// How a machine is.
    #[must_use]
    pub fn status(&self, key: &PublicKey) -> Option<PeerStatus> {
        self.shared.engine.lock().status(key)
    }

    /// Connects to a machine.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn connect(&self, to: SocketAddrV6) -> io::Result<TcpStream> {
        self.shared.device.connect(to).await
    }

    /// Listens on this end's address.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn listen(&self, port: u16) -> io::Result<TcpListener> {
        self.shared.device.listen(port).await
    }

    /// Begins to carry datagrams of the machine with this virtual address over a stream, and calls it if no hands were
    /// shaken with it lately.
    ///
    /// # Errors
    /// When no machine has it.
    pub fn attach(&self, address: Ipv6Addr) -> Result<Carrier, CarrierError> {
        let key = self.shared.virtual_peers.lock().get(&address).copied().ok_or(CarrierError::Unknown)?;
        let carrier = self.shared.carriers.lock().attach(address);
        let output = self.shared.engine.lock().find(&key, None);
        self.shared.carry_out(output);
        Ok(carrier)
    }

    /// Takes a datagram that a carrier has brought.
    pub fn receive(&self, carrier: &Carrier, from: SocketAddrV6, datagram: &[u8]) {
        let from = SocketAddr::V6(SocketAddrV6::new(carrier.address, from.port(), 0, 0));
        let output = self.shared.engine.lock().receive(from, BytesMut::from(datagram));
        self.shared.carry_out(output);
    }

    /// Ends a carrier.
    pub fn detach(&self, carrier: &Carrier) {
        self.shared.carriers.lock().detach(carrier.address, carrier.number);
    }
}

impl Shared {
    /// Sends what the engine wants sent. What cannot be sent now is lost, as on any line.
    fn carry_out(&self, output: Output) {
        for (to, datagram) in output.datagrams {
            match to {
                SocketAddr::V6(to) if self.virtual_peers.lock().contains_key(to.ip()) => {
                    self.carriers.lock().send(*to.ip(), Bytes::from(datagram));
                }
                to => drop(self.udp.try_send_to(&datagram, to)),
            }
        }
        for packet in output.packets {
            let mut link = self.packets.get_ref();
            let _ = link.write(&packet);
        }
        if let Some(address) = output.shaken {
            self.waiting.wake(address);
        }
    }
}

/// Takes datagrams from the network.
async fn datagrams(shared: Arc<Shared>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match shared.udp.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                let datagram = BytesMut::from(buffer.get(..length).unwrap_or_default());
                let output = shared.engine.lock().receive(from, datagram);
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

/// Takes packets from the link.
async fn packets_out(shared: Arc<Shared>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let Ok(mut ready) = shared.packets.readable().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        match ready.try_io(|link| link.get_ref().read(&mut buffer)) {
            Ok(Ok(length)) => {
                let packet = BytesMut::from(buffer.get(..length).unwrap_or_default());
                let output = shared.engine.lock().send(packet);
                shared.carry_out(output);
            }
            Ok(Err(error)) => {
                tracing::debug!(error = %error, "a packet could not be read from the tunnel's link");
                tokio::time::sleep(PAUSE).await;
            }
            // Not ready after all.
            Err(_) => {}
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
            let mut engine = shared.engine.lock();
            if tick.is_multiple_of(TICKS_PER_SWEEP) {
                engine.sweep();
            }
            let count = engine.peers().count();
            engine.tick(count.div_ceil(TICKS_PER_ROUND))
        };
        shared.carry_out(output);
    }
}
