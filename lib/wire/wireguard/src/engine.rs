//! The table of peers and the way of packets.
//!
//! Invariants: a packet of a peer is taken only with that peer's address as source and ours as destination, so that peers
//! cannot reach each other or pretend to be one another; a peer is known by its key, and where it is follows from its last
//! authentic datagram; every queue is bounded.
//!
//! A handshake counts only if it is newer than the last one of the peer, by the peer's clock: that is WireGuard's guard
//! against replays. A peer whose clock was set back is refused until its clock has caught up, and says nothing of it.
//! [`Engine::renew`] is the way out for whoever has other proof of who calls.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{Ipv6Addr, SocketAddr};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use gotatun::noise::errors::WireGuardError;
use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::noise::{Tunn, TunnResult, handshake};
use gotatun::packet::{Packet, WgKind};
use gotatun::tun::MtuWatcher;
use gotatun::x25519;

use crate::ip;
use crate::key::{PrivateKey, PublicKey};

/// Largest packet in the tunnel, bytes.
const MTU: u16 = 1280;
/// Handshakes a second of one source address that are answered without a cookie.
const HANDSHAKES_MAX: u64 = 100;

/// What an engine wants done.
#[derive(Debug, Default)]
pub struct Output {
    /// Datagrams to send, each with its destination.
    pub datagrams: Vec<(SocketAddr, BytesMut)>,
    /// Packets for this end.
    pub packets: Vec<BytesMut>,
    /// Address of the peer with whom hands were shaken just now.
    pub shaken: Option<Ipv6Addr>,
}

/// How a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Where its last authentic datagram came from.
    pub endpoint: Option<SocketAddr>,
    /// Since the last handshake; `None` before the first one.
    pub handshake_age: Option<Duration>,
    /// Bytes of its datagrams so far.
    pub received_bytes: u64,
    /// Bytes of datagrams to it so far.
    pub sent_bytes: u64,
    /// Handshakes since the last good one that were older than it by the peer's clock. One may be a datagram that came
    /// twice; many are those of a clock that was set back.
    pub stale_handshakes: u32,
}

struct Peer {
    tunnel: Tunn,
    address: Ipv6Addr,
    endpoint: Option<SocketAddr>,
    stale_handshakes: u32,
}

/// One end of WireGuard with its peers.
pub struct Engine {
    secret: x25519::StaticSecret,
    public: x25519::PublicKey,
    address: Ipv6Addr,
    limiter: Arc<RateLimiter>,
    indexes: IndexTable,
    mtu: MtuWatcher,
    /// Each in a place of its own: they are large, and a map keeps room for more than it has.
    peers: BTreeMap<PublicKey, Box<Peer>>,
    /// Peers by the index that they put into what they send.
    by_index: HashMap<u32, PublicKey>,
    by_address: HashMap<Ipv6Addr, PublicKey>,
    /// The peer whose timers were looked at last.
    ticked: Option<PublicKey>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("address", &self.address).field("peers", &self.peers.len()).finish()
    }
}

impl Engine {
    /// An end without peers that has `address` in the tunnel.
    #[must_use]
    pub fn new(key: &PrivateKey, address: Ipv6Addr) -> Self {
        let secret = key.secret();
        let public = x25519::PublicKey::from(&secret);
        Self {
            address,
            limiter: Arc::new(RateLimiter::new(&public, HANDSHAKES_MAX)),
            indexes: IndexTable::from_os_rng(),
            mtu: MtuWatcher::new(MTU),
            peers: BTreeMap::new(),
            by_index: HashMap::new(),
            by_address: HashMap::new(),
            ticked: None,
            secret,
            public,
        }
    }

    /// Adds a peer with its address in the tunnel, or gives one that is there another address or endpoint. Its sessions
    /// stay. With `keepalive` this end sends something as often; with an `endpoint` it may call first.
    pub fn set_peer(
        &mut self,
        key: PublicKey,
        address: Ipv6Addr,
        endpoint: Option<SocketAddr>,
        keepalive: Option<Duration>,
    ) {
        let keepalive = keepalive.map(|every| u16::try_from(every.as_secs()).unwrap_or(u16::MAX));
        if let Some(other) = self.by_address.insert(address, key).filter(|other| *other != key) {
            // The machine that had the address has another key since its last boot.
            self.remove_peer(&other);
            self.by_address.insert(address, key);
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            if peer.address != address {
                self.by_address.remove(&peer.address);
                peer.address = address;
            }
            peer.endpoint = endpoint.or(peer.endpoint);
            peer.tunnel.set_persistent_keepalive(keepalive);
            return;
        }
        let tunnel = self.tunnel(&key, keepalive);
        self.peers.insert(key, Box::new(Peer { tunnel, address, endpoint, stale_handshakes: 0 }));
    }

    /// What WireGuard knows of a peer with whom nothing has happened yet.
    fn tunnel(&self, key: &PublicKey, keepalive_seconds: Option<u16>) -> Tunn {
        Tunn::new(
            self.secret.clone(),
            x25519::PublicKey::from(key.0),
            None,
            keepalive_seconds,
            self.indexes.clone(),
            Arc::clone(&self.limiter),
        )
    }

    /// Forgets all handshakes of a peer, so that an older one counts too; unless the last one is younger than `fresh`:
    /// then the peer is there, and its session stays. For a peer that has proved who it is by other means.
    pub fn renew(&mut self, key: &PublicKey, fresh: Duration) {
        let Some(peer) = self.peers.get(key) else { return };
        if peer.tunnel.time_since_last_handshake().is_some_and(|age| age < fresh) {
            return;
        }
        let tunnel = self.tunnel(key, peer.tunnel.persistent_keepalive());
        if let Some(peer) = self.peers.get_mut(key) {
            (peer.tunnel, peer.stale_handshakes) = (tunnel, 0);
        }
        self.by_index.retain(|_, owner| owner != key);
    }

    /// Forgets a peer; nothing of it is taken any more.
    pub fn remove_peer(&mut self, key: &PublicKey) {
        if let Some(peer) = self.peers.remove(key) {
            if self.by_address.get(&peer.address) == Some(key) {
                self.by_address.remove(&peer.address);
            }
            self.by_index.retain(|_, owner| owner != key);
        }
    }

    /// Keys of all peers.
    pub fn peers(&self) -> impl Iterator<Item = &PublicKey> {
        self.peers.keys()
    }

    /// How a peer is.
    #[must_use]
    pub fn status(&self, key: &PublicKey) -> Option<PeerStatus> {
        let peer = self.peers.get(key)?;
        let (handshake_age, sent, received, ..) = peer.tunnel.stats();
        let bytes = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Some(PeerStatus {
            endpoint: peer.endpoint,
            handshake_age,
            received_bytes: bytes(received),
            sent_bytes: bytes(sent),
            stale_handshakes: peer.stale_handshakes,
        })
    }

    /// Takes a datagram from the network. One that belongs to no peer or is not authentic leads to nothing.
    pub fn receive(&mut self, from: SocketAddr, datagram: BytesMut) -> Output {
        let mut output = Output::default();
        let parsed = match self.limiter.verify_packet(from, Packet::from_bytes(datagram)) {
            Ok(parsed) => parsed,
            Err(TunnResult::WriteToNetwork(cookie)) => {
                output.datagrams.push((from, bytes(cookie)));
                return output;
            }
            Err(_) => return output,
        };
        let Some(key) = self.sender(&parsed) else { return output };
        let Some(peer) = self.peers.get_mut(&key) else { return output };
        match peer.tunnel.handle_incoming_packet(parsed) {
            TunnResult::Done => peer.endpoint = Some(from),
            TunnResult::Err(WireGuardError::WrongTai64nTimestamp) => {
                peer.stale_handshakes = peer.stale_handshakes.saturating_add(1);
            }
            TunnResult::Err(_) => {}
            // Only a handshake is answered.
            TunnResult::WriteToNetwork(answer) => {
                (peer.endpoint, peer.stale_handshakes) = (Some(from), 0);
                output.shaken = Some(peer.address);
                note_index(&mut self.by_index, &answer, key);
                output.datagrams.push((from, bytes(answer)));
                let queued: Vec<WgKind> = peer.tunnel.get_queued_packets(&mut self.mtu).collect();
                output.datagrams.extend(queued.into_iter().map(|packet| (from, bytes(packet))));
            }
            TunnResult::WriteToTunnel(packet) => {
                peer.endpoint = Some(from);
                let address = peer.address;
                output.packets.extend(self.admit(packet, address));
            }
        }
        output
    }

    /// Whose datagram it is.
    fn sender(&self, datagram: &WgKind) -> Option<PublicKey> {
        let index = match datagram {
            WgKind::HandshakeInit(init) => {
                let half = handshake::parse_handshake_anon(&self.secret, &self.public, init).ok()?;
                return Some(PublicKey(half.peer_static_public));
            }
            WgKind::HandshakeResp(response) => response.receiver_idx.get(),
            WgKind::CookieReply(reply) => reply.receiver_idx.get(),
            WgKind::Data(data) => data.header.receiver_idx.get(),
        };
        self.by_index.get(&index).copied()
    }

    /// The packet without padding, if it goes from the peer's address to ours; a keep-alive is none.
    fn admit(&self, packet: Packet, peer: Ipv6Addr) -> Option<BytesMut> {
        let mut packet = bytes(packet);
        let route = ip::route(&packet)?;
        packet.truncate(route.length);
        (route.source == peer && route.destination == self.address).then_some(packet)
    }

    /// Takes a packet of this end and sends it to the peer that has its destination; to nobody if none has.
    pub fn send(&mut self, packet: BytesMut) -> Output {
        let mut output = Output::default();
        let key = ip::route(&packet).and_then(|route| self.by_address.get(&route.destination).copied());
        let Some((key, peer)) = key.and_then(|key| Some((key, self.peers.get_mut(&key)?))) else {
            return output;
        };
        let Some(endpoint) = peer.endpoint else { return output };
        if let Some(datagram) =
            peer.tunnel.handle_outgoing_packet(Packet::from_bytes(packet), Some(&mut self.mtu))
        {
            note_index(&mut self.by_index, &datagram, key);
            output.datagrams.push((endpoint, bytes(datagram)));
        }
        output
    }

    /// Looks at the timers of the next `count` peers: handshakes to repeat, keep-alives to send, sessions to forget.
    /// Each peer is to be looked at about four times a second while it is busy and once in a few seconds otherwise.
    pub fn tick(&mut self, count: usize) -> Output {
        let mut output = Output::default();
        self.limiter.try_reset_count();
        let after = self.ticked.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.peers.range((after, Bound::Unbounded)).map(|(key, _)| *key);
        let first = self.peers.keys().copied();
        let due: Vec<PublicKey> = rest.chain(first).take(count.min(self.peers.len())).collect();
        for key in due {
            self.ticked = Some(key);
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            if let (Some(datagram), Some(endpoint)) = (due_datagram(&mut peer.tunnel), peer.endpoint) {
                note_index(&mut self.by_index, &datagram, key);
                output.datagrams.push((endpoint, bytes(datagram)));
            }
        }
        output
    }

    /// Forgets indexes of sessions that are over; to be called every few seconds.
    pub fn sweep(&mut self) {
        let ended: HashSet<u32> =
            self.by_index.keys().copied().filter(|index| !self.indexes.in_use(*index)).collect();
        self.by_index.retain(|index, _| !ended.contains(index));
    }

    /// Begins a handshake with a peer whose endpoint is known, unless one is under way.
    pub fn greet(&mut self, key: &PublicKey) -> Output {
        self.begin(key, Repeat::No)
    }

    /// Begins a handshake with a peer with whom no hands were shaken lately, at the place where it was heard last or is
    /// known to be. One that is under way is begun again there.
    pub fn find(&mut self, key: &PublicKey, at: Option<SocketAddr>) -> Output {
        let Some(peer) = self.peers.get_mut(key) else { return Output::default() };
        if peer.tunnel.time_since_last_handshake().is_some() {
            return Output::default();
        }
        peer.endpoint = at.or(peer.endpoint);
        self.begin(key, Repeat::Yes)
    }

    /// Begins a handshake with the peer that has this address, unless one is under way; `None` when there is a session
    /// with it, so that packets reach it.
    pub fn reach(&mut self, address: Ipv6Addr) -> Option<Output> {
        let Some(key) = self.by_address.get(&address).copied() else { return Some(Output::default()) };
        let peer = self.peers.get(&key);
        let is_reached = peer.is_some_and(|peer| peer.tunnel.time_since_last_handshake().is_some());
        (!is_reached).then(|| self.greet(&key))
    }

    fn begin(&mut self, key: &PublicKey, repeat: Repeat) -> Output {
        let mut output = Output::default();
        let Some(peer) = self.peers.get_mut(key) else { return output };
        let Some(endpoint) = peer.endpoint else { return output };
        if let Some(init) = peer.tunnel.format_handshake_initiation(repeat == Repeat::Yes) {
            let datagram = WgKind::from(init);
            note_index(&mut self.by_index, &datagram, *key);
            output.datagrams.push((endpoint, bytes(datagram)));
        }
        output
    }
}

/// Whether a handshake that is under way is begun again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Yes,
    No,
}

/// What the timers of a peer want sent. WireGuard gives up a peer that does not answer for 90 s, until there is a
/// packet for it. A peer that is to be kept alive is called on, as the kernel does.
fn due_datagram(tunnel: &mut Tunn) -> Option<WgKind> {
    match tunnel.update_timers() {
        Ok(datagram) => datagram,
        Err(_) if tunnel.persistent_keepalive().is_some() => {
            tunnel.format_handshake_initiation(false).map(WgKind::from)
        }
        Err(_) => None,
    }
}

/// Notes whose session an outgoing handshake opens: answers carry its index.
fn note_index(by_index: &mut HashMap<u32, PublicKey>, datagram: &WgKind, key: PublicKey) {
    let index = match datagram {
        WgKind::HandshakeInit(init) => init.sender_idx.get(),
        WgKind::HandshakeResp(response) => response.sender_idx.get(),
        WgKind::CookieReply(_) | WgKind::Data(_) => return,
    };
    by_index.insert(index, key);
}

fn bytes(packet: impl Into<Packet>) -> BytesMut {
    let mut packet: Packet = packet.into();
    std::mem::take(packet.buf_mut())
}

#[cfg(test)]
mod tests {
    use corten_base::Rng;

    use super::*;

    const HUB: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    const MACHINE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7);
    const OTHER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 8);

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn packet(source: Ipv6Addr, destination: Ipv6Addr, payload: &[u8]) -> BytesMut {
        let mut packet = BytesMut::zeroed(40);
        packet[0] = 0x60;
        let length = u16::try_from(payload.len()).expect("short");
        packet[4..6].copy_from_slice(&length.to_be_bytes());
        packet[8..24].copy_from_slice(&source.octets());
        packet[24..40].copy_from_slice(&destination.octets());
        packet.extend_from_slice(payload);
        packet
    }

    struct Ends {
        hub: Engine,
        machine: Engine,
    }

    impl Ends {
        fn new() -> Self {
            let rng = Rng::seeded(3);
            let (hub_key, machine_key) = (PrivateKey::generate(&rng), PrivateKey::generate(&rng));
            let mut hub = Engine::new(&hub_key, HUB);
            hub.set_peer(machine_key.public(), MACHINE, None, None);
            let mut machine = Engine::new(&machine_key, MACHINE);
            machine.set_peer(hub_key.public(), HUB, Some(at(1)), None);
            Self { hub, machine }
        }

        fn hub_key(&self) -> PublicKey {
            *self.machine.peers().next().expect("the hub")
        }

        /// Carries a handshake of the hub to the machine and back; how many answers came, and who shook hands.
        fn call(&mut self, first: Output) -> (usize, Option<Ipv6Addr>) {
            let mut answers = Vec::new();
            for (_, datagram) in first.datagrams {
                answers.extend(self.machine.receive(at(1), datagram).datagrams);
            }
            let count = answers.len();
            let mut shaken = None;
            for (_, datagram) in answers {
                let output = self.hub.receive(at(7), datagram);
                shaken = shaken.or(output.shaken);
                for (_, datagram) in output.datagrams {
                    self.machine.receive(at(1), datagram);
                }
            }
            (count, shaken)
        }

        /// Carries datagrams to and fro until nobody sends any more; packets that arrive at either end come out.
        fn carry(&mut self, first: Output) -> (Vec<BytesMut>, Vec<BytesMut>) {
            let (mut to_hub, mut to_machine) = (first.datagrams, Vec::new());
            let (mut at_hub, mut at_machine) = (Vec::new(), Vec::new());
            while !to_hub.is_empty() || !to_machine.is_empty() {
                for (_, datagram) in std::mem::take(&mut to_hub) {
                    let output = self.hub.receive(at(7), datagram);
                    to_machine.extend(output.datagrams);
                    at_hub.extend(output.packets);
                }
                for (_, datagram) in std::mem::take(&mut to_machine) {
                    let output = self.machine.receive(at(1), datagram);
                    to_hub.extend(output.datagrams);
                    at_machine.extend(output.packets);
                }
            }
            (at_hub, at_machine)
        }
    }

    #[test]
    fn the_first_packet_of_a_machine_arrives_after_the_handshake_it_causes() {
        let mut ends = Ends::new();
        let sent = packet(MACHINE, HUB, b"hello");
        let first = ends.machine.send(sent.clone());
        let (mut at_hub, _) = ends.carry(first);
        if at_hub.is_empty() {
            // It waits for the session; the keep-alive of the handshake opens it.
            let again = ends.machine.send(sent.clone());
            at_hub = ends.carry(again).0;
        }
        assert_eq!(at_hub.last(), Some(&sent), "without padding");
        let key = *ends.hub.peers().next().expect("the machine");
        let status = ends.hub.status(&key).expect("the machine");
        assert_eq!(status.endpoint, Some(at(7)));
        assert!(status.handshake_age.is_some_and(|age| age < Duration::from_secs(5)));
    }

    #[test]
    fn a_machine_cannot_reach_another_or_pretend_to_be_one() {
        let mut ends = Ends::new();
        let greeting = ends.machine.send(packet(MACHINE, HUB, b"hello"));
        ends.carry(greeting);
        for (source, destination) in [(MACHINE, OTHER), (OTHER, HUB)] {
            let key = *ends.machine.peers().next().expect("the hub");
            // Its own table lets it send anything; the hub must not take it.
            ends.machine.set_peer(key, destination, None, None);
            let output = ends.machine.send(packet(source, destination, b"evil"));
            assert_eq!(output.datagrams.len(), 1);
            assert!(ends.carry(output).0.is_empty(), "{source} to {destination}");
        }
    }

    /// As after a restart of the hub: it has the machine's key and address, and nothing else.
    #[test]
    fn a_hub_that_forgot_its_sessions_finds_a_machine_that_has_nothing_to_say_where_it_was_last() {
        let mut ends = Ends::new();
        let greeting = ends.machine.send(packet(MACHINE, HUB, b"hello"));
        ends.carry(greeting);
        let key = *ends.hub.peers().next().expect("the machine");
        ends.hub = Ends::new().hub;
        assert!(ends.hub.greet(&key).datagrams.is_empty(), "it does not know where");
        assert!(ends.hub.send(packet(HUB, MACHINE, b"hello")).datagrams.is_empty());
        let lost = ends.hub.find(&key, Some(at(7)));
        assert_eq!(lost.datagrams.len(), 1);
        assert_eq!(ends.hub.reach(MACHINE).map(|output| output.datagrams.len()), Some(0), "it is called");
        let again = ends.hub.find(&key, None);
        assert_eq!(again.datagrams.len(), 1, "the first one may have been lost");
        let (answers, shaken) = ends.call(again);
        assert_eq!((answers, shaken), (1, Some(MACHINE)));
        assert!(ends.hub.find(&key, Some(at(8))).datagrams.is_empty(), "it is found");
        assert!(ends.hub.reach(MACHINE).is_none() && ends.hub.reach(OTHER).is_some());
        let sent = packet(HUB, MACHINE, b"are you there?");
        let output = ends.hub.send(sent.clone());
        let (to, datagram) = output.datagrams.into_iter().next().expect("a datagram");
        assert_eq!(to, at(7));
        assert_eq!(ends.machine.receive(at(1), datagram).packets, [sent]);
    }

    /// The second engine of the same machine stands for its clock after it was set back: what it sent came earlier.
    #[test]
    fn a_handshake_of_a_clock_that_was_set_back_is_refused_until_the_peer_is_renewed() {
        let mut ends = Ends::new();
        let hub = ends.hub_key();
        let early = ends.machine.greet(&hub);
        let late = Ends::new().machine.greet(&hub);
        let deliver = |hub: &mut Engine, output: &Output| {
            let (_, datagram) = output.datagrams.first().cloned().expect("a handshake");
            hub.receive(at(7), datagram)
        };
        assert_eq!(deliver(&mut ends.hub, &late).shaken, Some(MACHINE));
        let key = *ends.hub.peers().next().expect("the machine");
        for count in 1..3 {
            assert!(deliver(&mut ends.hub, &early).datagrams.is_empty());
            assert_eq!(ends.hub.status(&key).map(|status| status.stale_handshakes), Some(count));
        }
        ends.hub.renew(&key, Duration::from_secs(60));
        assert!(deliver(&mut ends.hub, &early).datagrams.is_empty(), "hands were shaken a moment ago");
        ends.hub.renew(&key, Duration::ZERO);
        assert_eq!(deliver(&mut ends.hub, &early).shaken, Some(MACHINE));
        assert_eq!(ends.hub.status(&key).map(|status| status.stale_handshakes), Some(0));
    }

    #[test]
    fn a_peer_that_was_removed_is_a_stranger() {
        let mut ends = Ends::new();
        let greeting = ends.machine.send(packet(MACHINE, HUB, b"hello"));
        ends.carry(greeting);
        let key = *ends.hub.peers().next().expect("the machine");
        ends.hub.remove_peer(&key);
        let output = ends.machine.send(packet(MACHINE, HUB, b"hello"));
        assert!(ends.carry(output).0.is_empty());
        assert_eq!(ends.hub.status(&key), None);
    }

    #[test]
    fn fuzz_receive_takes_any_datagram() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut hub = Ends::new().hub;
            let output = hub.receive(at(9), BytesMut::from(bytes));
            assert!(output.packets.is_empty());
        });
    }
}
