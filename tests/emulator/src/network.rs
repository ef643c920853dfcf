//! The network of all machines: one TUN link in one namespace, one WireGuard engine and one socket for each machine.
//!
//! ```text
//!                         ┌─ Port of machine 1: engine ─ its UDP socket ─────▶ manager
//! kernel TCP ─ TUN link ──┼─ Port of machine 2: engine ─ its gRPC stream ────▶ manager
//!  [A1]:50000, [A2]:50000 └─ …          a packet goes to the port that has its source address
//! ```
//!
//! Every machine has a socket of its own, so that the manager sees as many endpoints as there are machines, and a
//! datagram needs no search for the machine it is for. Timers are looked at in slices, all of them once in two seconds.

mod port;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::BytesMut;
use corten_base::{Task, spawn};
use corten_fleet_tunnel::Device;
use parking_lot::Mutex;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, sleep};

pub use port::{Carrier, Port};

/// First address of the link, which belongs to no machine and to no manager.
const OWN: Ipv6Addr = Ipv6Addr::new(0xfdae, 0x41e4, 0x649b, 0x93ff, 0, 0, 0, 1);
/// Largest packet, bytes.
const BUFFER: usize = 2048;
/// Packets that are taken from the link before others have their turn.
const BATCH: usize = 64;
/// Between two looks at timers.
const TICK: Duration = Duration::from_millis(250);
/// Every port's timers are looked at once in so many ticks.
const TICKS_PER_ROUND: usize = 8;
/// After a failed read, so that a broken link does not take the processor.
const PAUSE: Duration = Duration::from_millis(100);

/// The ports.
#[derive(Debug, Default)]
struct Ports {
    all: BTreeMap<u64, Arc<Port>>,
    by_address: HashMap<Ipv6Addr, u64>,
    count: u64,
    /// The port whose timers were looked at last.
    ticked: u64,
}

impl Ports {
    /// The next ports, in order and over the end.
    fn slice(&mut self) -> Vec<Arc<Port>> {
        let count = self.all.len().div_ceil(TICKS_PER_ROUND);
        let after = self.all.range(self.ticked + 1..);
        let due: Vec<(u64, Arc<Port>)> = after
            .chain(self.all.iter())
            .take(count.min(self.all.len()))
            .map(|(number, port)| (*number, Arc::clone(port)))
            .collect();
        if let Some((number, _)) = due.last() {
            self.ticked = *number;
        }
        due.into_iter().map(|(_, port)| port).collect()
    }
}

/// The network. Clones are the same.
#[derive(Clone, Debug)]
pub struct Network(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ports: Mutex<Ports>,
    link: Option<Arc<Link>>,
    tasks: Mutex<Vec<Task>>,
}

#[derive(Debug)]
struct Link {
    device: Device,
    packets: AsyncFd<File>,
}

/// A port in use; dropping it takes the machine off the network.
#[derive(Debug)]
pub struct Attached {
    shared: Weak<Shared>,
    number: u64,
    /// The port.
    pub port: Arc<Port>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            let mut ports = shared.ports.lock();
            ports.all.remove(&self.number);
            if ports.by_address.get(&self.port.address()) == Some(&self.number) {
                ports.by_address.remove(&self.port.address());
            }
        }
    }
}

impl Network {
    /// Opens a network whose machines can be connected to; `program` is started as the child with the namespace.
    ///
    /// # Errors
    /// When the host does not allow it.
    pub async fn open(program: &Path) -> io::Result<Self> {
        let device = Device::start(program, OWN).await?;
        #[expect(deprecated, reason = "the replacement is unsafe; a File owns one descriptor for life")]
        let packets = AsyncFd::new(device.packets().try_clone()?)?;
        let link = Arc::new(Link { device, packets });
        let network = Self::with(Some(Arc::clone(&link)));
        network.run("emulated packets", packets_out(link, Arc::downgrade(&network.0)));
        network.run("emulated timers", timers(Arc::downgrade(&network.0)));
        Ok(network)
    }

    /// A network whose machines shake hands and nothing else. Must be called inside a runtime for the handshakes to be
    /// repeated.
    #[must_use]
    pub fn without_link() -> Self {
        let network = Self::with(None);
        if tokio::runtime::Handle::try_current().is_ok() {
            network.run("emulated timers", timers(Arc::downgrade(&network.0)));
        }
        network
    }

    fn with(link: Option<Arc<Link>>) -> Self {
        Self(Arc::new(Shared { ports: Mutex::default(), link, tasks: Mutex::default() }))
    }

    fn run(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.lock().push(spawn(name, work));
    }

    /// Whether machines can be connected to.
    #[must_use]
    pub fn has_link(&self) -> bool {
        self.0.link.is_some()
    }

    /// How many machines are on the network.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.ports.lock().all.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a machine on the network. A machine that had the address keeps its port, but packets go to the new one.
    ///
    /// # Errors
    /// When the link cannot have the address.
    pub async fn attach(&self, port: Port) -> io::Result<Attached> {
        if let Some(link) = &self.0.link {
            link.device.add_address(port.address()).await?;
        }
        let port = Arc::new(port);
        let mut ports = self.0.ports.lock();
        ports.count += 1;
        let number = ports.count;
        ports.by_address.insert(port.address(), number);
        ports.all.insert(number, Arc::clone(&port));
        Ok(Attached { shared: Arc::downgrade(&self.0), number, port })
    }

    /// Listens on an address of a machine that is on the network.
    ///
    /// # Errors
    /// When there is no link, or the port is taken.
    pub async fn listen(&self, at: SocketAddrV6) -> io::Result<TcpListener> {
        self.link()?.device.listen_at(at).await
    }

    /// Connects from an address of a machine that is on the network.
    ///
    /// # Errors
    /// When there is no link, or the other end does not answer.
    pub async fn connect(&self, from: Ipv6Addr, to: SocketAddrV6) -> io::Result<TcpStream> {
        self.link()?.device.connect_from(from, to).await
    }

    fn link(&self) -> io::Result<&Link> {
        let missing = || io::Error::new(io::ErrorKind::Unsupported, "the emulator runs without a TUN link");
        self.0.link.as_deref().ok_or_else(missing)
    }

    /// Hands packets that came through the tunnel to the kernel. What it does not take now is lost, as on any line.
    pub fn deliver(&self, packets: Vec<BytesMut>) {
        if let Some(link) = &self.0.link {
            for packet in packets {
                let mut file = link.packets.get_ref();
                let _ = file.write(&packet);
            }
        }
    }
}

/// Where an IPv6 packet comes from.
fn source(packet: &[u8]) -> Option<Ipv6Addr> {
    let is_six = packet.first().is_some_and(|first| first >> 4 == 6);
    let address: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
    is_six.then(|| Ipv6Addr::from(address))
}

impl Shared {
    /// Takes the packets that are ready.
    fn take(&self, link: &Link) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        for _ in 0..BATCH {
            let mut file = link.packets.get_ref();
            let length = file.read(&mut buffer)?;
            let packet = buffer.get(..length).unwrap_or_default();
            let port = source(packet).and_then(|address| {
                let ports = self.ports.lock();
                ports.by_address.get(&address).and_then(|number| ports.all.get(number)).cloned()
            });
            if let Some(port) = port {
                port.send(BytesMut::from(packet));
            }
        }
        Ok(())
    }
}

/// Takes packets from the link for as long as there is a network.
async fn packets_out(link: Arc<Link>, shared: Weak<Shared>) {
    loop {
        let Ok(mut ready) = link.packets.readable().await else {
            sleep(PAUSE).await;
            continue;
        };
        let Some(shared) = shared.upgrade() else { return };
        match ready.try_io(|_| shared.take(&link)) {
            Ok(Err(error)) => {
                tracing::debug!(error = %error, "a packet could not be read from the link");
                sleep(PAUSE).await;
            }
            Ok(Ok(())) => tokio::task::yield_now().await,
            // Not ready any more.
            Err(_) => {}
        }
    }
}

/// Looks at timers, some ports at a time.
async fn timers(shared: Weak<Shared>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        let due = shared.ports.lock().slice();
        for port in due {
            port.tick();
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_base::Rng;
    use corten_wireguard::{Engine, PrivateKey};
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::faults::Faults;

    fn port(network: &Network, host: u16) -> Port {
        let address = Ipv6Addr::new(0xfdae, 0, 0, 3, 0, 0, 0, host);
        let engine = Engine::new(&PrivateKey::generate(&Rng::seeded(1)), address);
        let (sender, _) = mpsc::channel(1);
        let faults = watch::Sender::new(Faults::default()).subscribe();
        Port::new(address, engine, Carrier::Stream(sender), faults, network.clone())
    }

    #[tokio::test]
    async fn every_port_has_its_turn_and_none_twice_in_a_round() {
        let network = Network::without_link();
        let mut attached = Vec::new();
        for host in 0..20 {
            attached.push(network.attach(port(&network, host)).await.expect("attached"));
        }
        let mut seen = Vec::new();
        for _ in 0..7 {
            let slice = network.0.ports.lock().slice();
            assert_eq!(slice.len(), 3);
            seen.extend(slice.iter().map(|port| port.address()));
        }
        let first: std::collections::BTreeSet<_> = seen.iter().take(20).collect();
        assert_eq!(first.len(), 20);
        drop(attached);
        assert!(network.is_empty());
        assert!(network.0.ports.lock().slice().is_empty());
    }

    #[tokio::test]
    async fn an_address_goes_to_the_port_that_took_it_last() {
        let network = Network::without_link();
        let old = network.attach(port(&network, 1)).await.expect("attached");
        let new = network.attach(port(&network, 1)).await.expect("attached");
        drop(old);
        assert_eq!(network.len(), 1);
        assert_eq!(network.0.ports.lock().by_address.get(&new.port.address()), Some(&new.number));
    }

    #[test]
    fn only_whole_ipv6_headers_have_a_source() {
        let mut packet = vec![0_u8; 40];
        packet[0] = 0x60;
        packet[23] = 1;
        assert_eq!(source(&packet), Some(Ipv6Addr::LOCALHOST));
        assert_eq!(source(&packet[..23]), None);
        packet[0] = 0x45;
        assert_eq!(source(&packet), None);
    }
}
