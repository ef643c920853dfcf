//! TCP without the kernel, for hosts that forbid namespaces: a stack of its own for each machine.
//!
//! ```text
//! packet of a machine ─▶ look: TCP or echo, to us ─▶ Peer of its address ─▶ packets ─▶ outlet
//!                                                     ▲   ▲      ╰─ connections that it opened ─▶ port ─▶ UserListener
//!                                  UserStream, connect ┘   └ timers: one task for all machines
//! ```
//!
//! Invariants:
//! - A machine's packets are looked at with its own sockets only, whose number is bounded: it costs others nothing.
//! - A machine has a stack while it has connections, and one without anything to wait for has no entry among the timers.
//! - Packets leave in the order in which TCP made them: they are handed out before the machine's lock is let go.
//!   Locks are taken in this order: table of machines, machine, timers; no lock is held while a stream is dropped.
//! - Whatever goes wrong inside TCP ends the connections of this machine and of no other.

mod connection;
mod packet;
mod peer;
mod stream;
mod timers;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::BytesMut;
use corten_base::{Rng, Task, spawn};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

pub use stream::{UserListener, UserStream};

use peer::{Accepted, Peer, Turn};
use timers::Timers;

/// Time as TCP counts it, from the start of the stack.
type Moment = smoltcp::time::Instant;

/// Takes packets for machines. It must not wait, nor call the stack.
pub type Outlet = Box<dyn Fn(BytesMut) + Send + Sync>;

/// Connections to a port that wait to be accepted; as many as with the kernel's TCP.
const BACKLOG: usize = 1024;
/// Ports that calls may come from.
const CALLS: u32 = 16_384;

/// The stacks of all machines. All connections end with it.
pub struct UserStack {
    core: Arc<Core>,
    _timers: Task,
}

/// What the stack and its streams share.
struct Core {
    own: Ipv6Addr,
    outlet: Outlet,
    rng: Rng,
    start: Instant,
    peers: Mutex<HashMap<Ipv6Addr, Arc<Mutex<Peer>>>>,
    ports: Mutex<Ports>,
    timers: Timers,
}

/// Who listens.
#[derive(Default)]
struct Ports {
    open: HashMap<u16, (u64, mpsc::Sender<UserStream>)>,
    count: u64,
}

impl std::fmt::Debug for UserStack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserStack").field("machines", &self.core.peers.lock().len()).finish_non_exhaustive()
    }
}

impl Drop for UserStack {
    fn drop(&mut self) {
        self.core.ports.lock().open.clear();
        let peers = std::mem::take(&mut *self.core.peers.lock());
        for (address, peer) in peers {
            self.core.retire(address, &peer);
        }
    }
}

impl UserStack {
    /// Stacks for machines that know us by this address. Must be called inside a runtime.
    pub fn new(own: Ipv6Addr, rng: Rng, outlet: Outlet) -> Self {
        let core = Arc::new(Core {
            own,
            outlet,
            rng,
            start: Instant::now(),
            peers: Mutex::default(),
            ports: Mutex::default(),
            timers: Timers::default(),
        });
        let timers = spawn("tunnel stack", tick(Arc::clone(&core)));
        Self { core, _timers: timers }
    }

    /// Takes a packet that came through the tunnel. What is neither TCP nor an echo for us is dropped.
    pub fn receive(&self, packet: BytesMut) {
        let Some((from, kind)) = packet::look(&packet, self.core.own) else { return };
        let is_open = match kind {
            packet::Kind::Opening { to, .. } => self.core.ports.lock().open.contains_key(&to),
            packet::Kind::Segment | packet::Kind::Echo => false,
        };
        let mut packet = Some(packet);
        self.core.enter(from, |peer| {
            if let Some(packet) = packet.take() {
                peer.receive(packet, kind, is_open);
            }
        });
    }

    /// Connects to a machine.
    ///
    /// # Errors
    /// When it does not answer, refuses, or has too many connections already.
    pub async fn connect(&self, to: SocketAddrV6) -> io::Result<UserStream> {
        let local = peer_port(&self.core.rng);
        let (peer, begun) = self.core.enter(*to.ip(), |peer| peer.connect(to.port(), local));
        let (number, local) = begun?;
        let stream = UserStream::new(Arc::clone(&self.core), peer, to, local, number);
        stream.opened().await?;
        Ok(stream)
    }

    /// Listens on our address.
    ///
    /// # Errors
    /// When the port is taken, or none.
    pub fn listen(&self, port: u16) -> io::Result<UserListener> {
        if port == 0 {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the tunnel's ports have numbers from 1"));
        }
        let (sender, accepted) = mpsc::channel(BACKLOG);
        let mut ports = self.core.ports.lock();
        ports.count += 1;
        let number = ports.count;
        match ports.open.entry(port) {
            Entry::Occupied(_) => Err(io::Error::new(
                ErrorKind::AddrInUse,
                format!("port {port} in the tunnel is taken; close it first or take another"),
            )),
            Entry::Vacant(entry) => {
                entry.insert((number, sender));
                Ok(UserListener::new(Arc::clone(&self.core), port, number, accepted))
            }
        }
    }

    /// Ends all connections with a machine.
    pub fn remove_peer(&self, address: Ipv6Addr) {
        let peer = self.core.peers.lock().remove(&address);
        if let Some(peer) = peer {
            self.core.retire(address, &peer);
        }
    }
}

/// A port that a call may come from.
fn peer_port(rng: &Rng) -> u16 {
    u16::try_from(u32::from(u16::MAX) - rng.below(CALLS)).unwrap_or(u16::MAX)
}

impl Core {
    fn now(&self) -> Moment {
        let micros = self.start.elapsed().as_micros();
        Moment::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// Works with the stack of a machine, which is made if it is not there, and forgets it if nothing is left of it.
    fn enter<R>(
        self: &Arc<Self>,
        address: Ipv6Addr,
        mut work: impl FnMut(&mut Peer) -> R,
    ) -> (Arc<Mutex<Peer>>, R) {
        loop {
            let peer = Arc::clone(self.peers.lock().entry(address).or_insert_with(|| {
                let seed = u64::from_ne_bytes(self.rng.bytes());
                Arc::new(Mutex::new(Peer::new(self.own, address, seed, self.now())))
            }));
            let done = self.work(address, &peer, |peer, _| (!peer.is_retired).then(|| work(peer)));
            if let Some(done) = done {
                return (peer, done);
            }
            // It was given up, or forgotten in between.
            self.expel(address, &peer);
        }
    }

    /// Works with a machine's TCP and carries out what comes of it.
    fn work<R>(
        self: &Arc<Self>,
        address: Ipv6Addr,
        peer: &Arc<Mutex<Peer>>,
        work: impl FnOnce(&mut Peer, Moment) -> R,
    ) -> R {
        let (result, accepted, is_empty) = {
            let mut peer_guard = peer.lock();
            let now = self.now();
            let result = work(&mut peer_guard, now);
            let turn = turn(&mut peer_guard, now);
            turn.packets.into_iter().for_each(&self.outlet);
            if !peer_guard.is_retired {
                let next = peer_guard.next(now);
                self.timers.set(address, &mut peer_guard.scheduled, next, now);
            }
            (result, turn.accepted, peer_guard.is_empty() && !peer_guard.is_retired)
        };
        for accepted in accepted {
            self.offer(address, peer, accepted);
        }
        if is_empty {
            self.forget(address, peer);
        }
        result
    }

    /// Hands a connection to who listens. Without anybody, or when too many wait already, it ends.
    fn offer(self: &Arc<Self>, address: Ipv6Addr, peer: &Arc<Mutex<Peer>>, accepted: Accepted) {
        let Accepted { number, local, remote } = accepted;
        let from = SocketAddrV6::new(address, remote, 0, 0);
        let stream = UserStream::new(Arc::clone(self), Arc::clone(peer), from, local, number);
        let listener = self.ports.lock().open.get(&local).map(|(_, sender)| sender.clone());
        if let Some(listener) = listener
            && let Err(error) = listener.try_send(stream)
        {
            tracing::debug!(%from, port = local, error = %error, "a connection in the tunnel is not accepted");
        }
    }

    /// Forgets a machine's stack, unless it is in use again.
    fn forget(&self, address: Ipv6Addr, peer: &Arc<Mutex<Peer>>) {
        let mut peers = self.peers.lock();
        let mut guard = peer.lock();
        if guard.is_empty() && !guard.is_retired {
            guard.is_retired = true;
            self.timers.remove(address, &mut guard.scheduled);
            if peers.get(&address).is_some_and(|known| Arc::ptr_eq(known, peer)) {
                peers.remove(&address);
            }
        }
    }

    /// Takes a stack that takes no more connections out of the table.
    fn expel(&self, address: Ipv6Addr, peer: &Arc<Mutex<Peer>>) {
        let mut peers = self.peers.lock();
        if peers.get(&address).is_some_and(|known| Arc::ptr_eq(known, peer)) {
            peers.remove(&address);
        }
        self.timers.remove(address, &mut peer.lock().scheduled);
    }

    /// Ends all connections of a stack that is in the table no more.
    fn retire(&self, address: Ipv6Addr, peer: &Mutex<Peer>) {
        let mut peer = peer.lock();
        self.timers.remove(address, &mut peer.scheduled);
        let now = self.now();
        let told = catch_unwind(AssertUnwindSafe(|| peer.retire(now)));
        let turn = told.unwrap_or_else(|_| peer.break_off());
        turn.packets.into_iter().for_each(&self.outlet);
    }
}

/// A turn of TCP. It is the work of others with foreign packets: if it panics, the machine's connections end.
fn turn(peer: &mut Peer, now: Moment) -> Turn {
    catch_unwind(AssertUnwindSafe(|| peer.turn(now))).unwrap_or_else(|_| {
        tracing::error!(
            "TCP failed for a machine; its connections through the tunnel end, and others may begin"
        );
        peer.break_off()
    })
}

/// Looks at machines when they are due.
async fn tick(core: Arc<Core>) {
    loop {
        let first = core.timers.first();
        let due = async {
            match first.and_then(|at| u64::try_from(at.total_micros()).ok()) {
                Some(micros) => sleep_until(core.start + std::time::Duration::from_micros(micros)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Both are only waited for.
            () = due => {}
            () = core.timers.changed() => {}
        }
        let now = core.now();
        while let Some(address) = core.timers.pop(now) {
            let peer = core.peers.lock().get(&address).cloned();
            if let Some(peer) = peer {
                core.work(address, &peer, |peer, _| {
                    peer.scheduled = None;
                    peer.stir();
                });
            }
        }
    }
}
