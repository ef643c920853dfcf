//! Which machines are alive, as the tunnel tells.
//!
//! ```text
//! Tunnel (handshake, endpoint, bytes) ──every 30 s, of those that are away every 5 s──▶ Link, PendingMachine
//!                                     └─every 30 s──▶ Counters
//! ```
//!
//! What has not changed is not written. After a start nobody is said to be away for two rounds: machines shake hands
//! about every two minutes only when there is something to send.
//!
//! WireGuard refuses handshakes of a machine whose clock was set back, and tells nobody; here it is said. Calls of the
//! manager still reach such a machine where it was heard last.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Clock, chain};
use corten_fleet_resources::link::{Link, PendingMachine};
use corten_fleet_resources::machine::SiderolinkCounter;
use corten_fleet_tunnel::Tunnel;
use corten_resource::{AnyResource, Spec, State, StateError, Store as _, UpdateOptions};
use corten_wireguard::{PeerStatus, PublicKey};
use futures::StreamExt as _;
use futures::stream;
use tokio::time::{MissedTickBehavior, interval};

use crate::OWNER;

/// Between two looks at those that are away.
const INTERVAL: Duration = Duration::from_secs(5);
/// So many looks are a round, in which all are looked at: 30 s (fleet.md 1.4).
const LOOKS_PER_ROUND: u64 = 6;
/// Rounds after the start in which nobody is said to be away (fleet.md 1.4).
const GRACE_ROUNDS: u64 = 2;
/// A peer is away when its last handshake is older: the longest life of a session, its repeat, and some more (fleet.md
/// 1.4).
const DOWN_AFTER: Duration = Duration::from_secs(275);
/// How many changes wait for the store at a time.
const CONCURRENCY: usize = 64;
/// So many refused handshakes are no accident of the network: a machine repeats one every 5 s.
const STALE_MIN: u32 = 3;

/// Takes the traffic of machines. Whoever owns what a list of machines shows implements it.
pub trait Counters: Send + Sync + 'static {
    /// Takes the traffic of the machine with this UUID since the manager started. It must not wait.
    fn count(&self, machine: &str, counter: SiderolinkCounter);
}

/// How peers are. Implemented for the tunnel and by a fake.
pub(crate) trait Peers: Send + Sync + 'static {
    /// How a peer is; `None` when the tunnel does not have it.
    fn status(&self, key: &PublicKey) -> Option<PeerStatus>;
}

impl Peers for Tunnel {
    fn status(&self, key: &PublicKey) -> Option<PeerStatus> {
        Self::status(self, key)
    }
}

/// Looks at peers for ever.
pub(crate) struct Liveness<P> {
    state: State,
    clock: Clock,
    peers: P,
    counters: Arc<dyn Counters>,
    traffic: HashMap<String, Traffic>,
    /// Machines of which it was said that their clock was set back.
    late: HashSet<String>,
}

/// Bytes of one machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Traffic {
    /// As the tunnel counted last, from zero for each key of the machine.
    received_last: u64,
    sent_last: u64,
    /// Since the manager started.
    received: u64,
    sent: u64,
}

/// What a link and a pending machine have alike.
struct Parts<'a> {
    key: &'a str,
    connected: &'a mut bool,
    last_endpoint: &'a mut String,
}

impl<P: Peers> Liveness<P> {
    /// Nothing is counted yet.
    pub fn new(state: State, clock: Clock, peers: P, counters: Arc<dyn Counters>) -> Self {
        Self { state, clock, peers, counters, traffic: HashMap::new(), late: HashSet::new() }
    }

    /// Runs for ever.
    pub async fn run(mut self) -> Infallible {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = 0;
        loop {
            ticks.tick().await;
            self.look(look).await;
            look += 1;
        }
    }

    async fn look(&mut self, look: u64) {
        let is_round = look > 0 && look.is_multiple_of(LOOKS_PER_ROUND);
        let in_grace = look / LOOKS_PER_ROUND <= GRACE_ROUNDS;
        let links = all::<Link>(&self.state);
        let pending = all::<PendingMachine>(&self.state);
        let is_due = |connected: bool| is_round || !connected;
        let changes: Vec<AnyResource> = links
            .iter()
            .filter(|link| link.spec::<Link>().is_some_and(|link| is_due(link.connected)))
            .filter_map(|link| changed::<Link>(link, &self.peers, in_grace, link_parts))
            .chain(pending.iter().filter_map(|machine| {
                changed::<PendingMachine>(machine, &self.peers, in_grace, pending_parts)
            }))
            .collect();
        stream::iter(changes).for_each_concurrent(CONCURRENCY, |change| write(&self.state, change)).await;
        if is_round {
            self.count(&links);
        }
    }

    fn count(&mut self, links: &[AnyResource]) {
        let mut traffic = HashMap::with_capacity(links.len());
        for link in links {
            let key = link.spec::<Link>().and_then(|link| link.node_public_key.parse::<PublicKey>().ok());
            let Some(status) = key.and_then(|key| self.peers.status(&key)) else { continue };
            let before = self.traffic.get(link.id()).copied();
            let now = before.unwrap_or_default().after(&status);
            if before != Some(now) {
                self.counters.count(link.id(), self.counter(now, &status));
            }
            self.tell_late(link.id(), status.stale_handshakes);
            traffic.insert(link.id().to_owned(), now);
        }
        // Those that are gone are forgotten.
        self.late.retain(|machine| traffic.contains_key(machine));
        self.traffic = traffic;
    }

    /// Says once that the clock of a machine was set back.
    fn tell_late(&mut self, machine: &str, stale_handshakes: u32) {
        if stale_handshakes < STALE_MIN {
            self.late.remove(machine);
        } else if self.late.insert(machine.to_owned()) {
            tracing::warn!(
                machine,
                "the clock of the machine was set back: its handshakes are older than an earlier one, and \
                 are refused; they count again when it asks for its place anew, which it does after \
                 5 minutes, when its clock has caught up, or when it is restarted"
            );
        }
    }

    fn counter(&self, traffic: Traffic, status: &PeerStatus) -> SiderolinkCounter {
        let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let now = self.clock.now();
        SiderolinkCounter {
            bytes_received: bytes(traffic.received),
            bytes_sent: bytes(traffic.sent),
            last_alive: status.handshake_age.and_then(|age| now.checked_sub(age)),
        }
    }
}

impl Traffic {
    /// With what the tunnel counts now. Less than before means that the machine has another key and counts from zero.
    const fn after(self, status: &PeerStatus) -> Self {
        let (received_last, sent_last) = (status.received_bytes, status.sent_bytes);
        let is_anew = received_last < self.received_last || sent_last < self.sent_last;
        let (received_from, sent_from) = if is_anew { (0, 0) } else { (self.received_last, self.sent_last) };
        Self {
            received_last,
            sent_last,
            received: self.received.saturating_add(received_last - received_from),
            sent: self.sent.saturating_add(sent_last - sent_from),
        }
    }
}

fn all<S: Spec>(state: &State) -> Vec<AnyResource> {
    let mut all = state.list_any(S::DEFINITION.namespace, S::DEFINITION.kind);
    all.retain(|resource| !resource.metadata().is_tearing_down());
    all
}

fn link_parts(link: &mut Link) -> Parts<'_> {
    Parts {
        key: &link.node_public_key,
        connected: &mut link.connected,
        last_endpoint: &mut link.last_endpoint,
    }
}

fn pending_parts(machine: &mut PendingMachine) -> Parts<'_> {
    Parts {
        key: &machine.node_public_key,
        connected: &mut machine.connected,
        last_endpoint: &mut machine.last_endpoint,
    }
}

/// The resource as it should be; `None` when it is as it should be.
fn changed<S: Spec>(
    resource: &AnyResource,
    peers: &impl Peers,
    in_grace: bool,
    parts: fn(&mut S) -> Parts<'_>,
) -> Option<AnyResource> {
    let current = resource.resource::<S>()?;
    let mut next = current.clone();
    let Parts { key, connected, last_endpoint } = parts(&mut next.spec);
    let status = key.parse::<PublicKey>().ok().and_then(|key| peers.status(&key));
    let is_alive = status.as_ref().is_some_and(is_alive);
    *connected = is_alive || (in_grace && *connected);
    if let Some(endpoint) = status.filter(|_| is_alive).and_then(|status| status.endpoint) {
        *last_endpoint = endpoint.to_string();
    }
    (next != *current).then(|| next.into())
}

fn is_alive(status: &PeerStatus) -> bool {
    status.handshake_age.is_some_and(|age| age < DOWN_AFTER)
}

async fn write(state: &State, change: AnyResource) {
    let id = change.id().to_owned();
    match state.store().update(change, &UpdateOptions::running(OWNER)).await {
        // Somebody was faster; the next look sees what there is then.
        Ok(_) | Err(StateError::Version { .. } | StateError::NotFound(_) | StateError::Phase { .. }) => {}
        Err(error) => {
            tracing::warn!(machine = id, error = chain(&error), "failed to write whether a machine is alive");
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::senders::tests::state;

    const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

    /// One peer, as the test sets it.
    #[derive(Clone, Default)]
    struct Fake {
        status: Arc<Mutex<Option<PeerStatus>>>,
        counted: Arc<Mutex<Vec<SiderolinkCounter>>>,
    }

    impl Peers for Fake {
        fn status(&self, key: &PublicKey) -> Option<PeerStatus> {
            self.status.lock().filter(|_| key.to_string() == KEY)
        }
    }

    impl Counters for Fake {
        fn count(&self, _: &str, counter: SiderolinkCounter) {
            self.counted.lock().push(counter);
        }
    }

    fn seen(fake: &Fake, age: u64, received_bytes: u64) {
        *fake.status.lock() = Some(PeerStatus {
            endpoint: Some("192.0.2.1:50180".parse().unwrap()),
            handshake_age: Some(Duration::from_secs(age)),
            received_bytes,
            sent_bytes: 1,
            stale_handshakes: 0,
        });
    }

    fn link(state: &State) -> (bool, String, u64) {
        let link = state.get::<Link>("uuid").unwrap();
        (link.connected, link.last_endpoint.clone(), link.metadata.version)
    }

    fn started(connected: bool) -> (Liveness<Fake>, Fake, State) {
        let (state, fake) = (state(), Fake::default());
        let spec = Link { node_public_key: KEY.to_owned(), connected, ..Link::default() };
        state.put(OWNER, "uuid", spec).unwrap();
        let clock = Clock::fixed(1_700_000_000);
        (Liveness::new(state.clone(), clock, fake.clone(), Arc::new(fake.clone())), fake, state)
    }

    #[tokio::test]
    async fn a_handshake_connects_at_the_next_look_and_nothing_is_written_twice() {
        let (mut liveness, fake, state) = started(false);
        let pending = PendingMachine { node_public_key: KEY.to_owned(), ..PendingMachine::default() };
        state.put(OWNER, KEY, pending).unwrap();
        liveness.look(0).await;
        assert_eq!(link(&state), (false, String::new(), 1));
        seen(&fake, 274, 1);
        for look in 1..8 {
            liveness.look(look).await;
            assert_eq!(link(&state), (true, "192.0.2.1:50180".to_owned(), 2));
        }
        assert!(state.get::<PendingMachine>(KEY).unwrap().connected);
    }

    #[tokio::test]
    async fn nobody_is_away_in_the_first_two_rounds() {
        let (mut liveness, _, state) = started(true);
        for look in 0..LOOKS_PER_ROUND * (GRACE_ROUNDS + 1) {
            liveness.look(look).await;
            assert!(link(&state).0, "{look}");
        }
        liveness.look(LOOKS_PER_ROUND * (GRACE_ROUNDS + 1)).await;
        assert!(!link(&state).0);
    }

    #[tokio::test]
    async fn an_old_handshake_is_none() {
        let (mut liveness, fake, state) = started(true);
        seen(&fake, 275, 1);
        liveness.look(LOOKS_PER_ROUND * 3).await;
        assert_eq!(link(&state), (false, String::new(), 2));
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_is_told_once_until_the_machine_shakes_hands_again() {
        let (mut liveness, fake, _) = started(true);
        for (round, stale, is_late) in [(1, 2, false), (2, 3, true), (3, 9, true), (4, 0, false)] {
            seen(&fake, 10, 1);
            if let Some(status) = fake.status.lock().as_mut() {
                status.stale_handshakes = stale;
            }
            liveness.look(LOOKS_PER_ROUND * round).await;
            assert_eq!(liveness.late.contains("uuid"), is_late, "{stale}");
        }
    }

    #[tokio::test]
    async fn traffic_adds_up_over_the_keys_of_a_machine_and_is_told_when_it_changes() {
        let (mut liveness, fake, _) = started(false);
        for (received, round) in [(100, 1), (100, 2), (130, 3), (20, 4)] {
            seen(&fake, 10, received);
            liveness.look(LOOKS_PER_ROUND * round).await;
        }
        let counted = fake.counted.lock();
        assert_eq!(counted.iter().map(|counter| counter.bytes_received).collect::<Vec<_>>(), [100, 130, 150]);
        let last_alive = counted.last().and_then(|counter| counter.last_alive).unwrap();
        assert_eq!(last_alive, Clock::fixed(1_699_999_990).now());
    }
}
