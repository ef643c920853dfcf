//! Which machines are alive, as the tunnel tells.
//!
//! ```text
//! Tunnel (handshake, endpoint) ──every 30 s, of those that are away every 5 s──▶ Link, PendingMachine
//! ```
//!
//! Of those that are connected a sixth is looked at each time: with thousands at once whoever asks the manager something
//! would wait.
//!
//! What has not changed is not written. After a start nobody is said to be away for two rounds: machines shake hands
//! about every two minutes only when there is something to send.
//!
//! WireGuard refuses handshakes of a machine whose clock was set back, and tells nobody; here it is said. Calls of the
//! manager still reach such a machine where it was heard last.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use corten_base::chain;
use corten_fleet_resources::link::{Link, PendingMachine};
use corten_fleet_tunnel::Tunnel;
use corten_resource::{AnyResource, Spec, State, StateError, Store as _, UpdateOptions};
use corten_wireguard::{PeerStatus, PublicKey};
use futures::StreamExt as _;
use futures::stream;
use tokio::time::{MissedTickBehavior, interval};

use crate::OWNER;

/// Between two looks, in each of which all are looked at that are away.
const INTERVAL: Duration = Duration::from_secs(5);
/// So many looks are a round, in which everybody is looked at: 30 s (fleet.md 1.4).
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
    peers: P,
    /// Machines of which it was said that their clock was set back.
    late: HashSet<String>,
}

/// What a link and a pending machine have alike.
struct Parts<'a> {
    key: &'a str,
    connected: &'a mut bool,
    last_endpoint: &'a mut String,
}

impl<P: Peers> Liveness<P> {
    /// Nobody was looked at yet.
    pub fn new(state: State, peers: P) -> Self {
        Self { state, peers, late: HashSet::new() }
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
        let in_grace = look / LOOKS_PER_ROUND <= GRACE_ROUNDS;
        let links: Vec<AnyResource> = due::<Link>(&self.state, look, |link| link.connected);
        let pending = due::<PendingMachine>(&self.state, look, |machine| machine.connected);
        let links_changed = links.iter().filter_map(|link| changed(link, &self.peers, in_grace, link_parts));
        let pending_changed =
            pending.iter().filter_map(|machine| changed(machine, &self.peers, in_grace, pending_parts));
        let changes: Vec<AnyResource> = links_changed.chain(pending_changed).collect();
        stream::iter(changes).for_each_concurrent(CONCURRENCY, |change| write(&self.state, change)).await;
        for link in &links {
            let key = link.spec::<Link>().and_then(|link| link.node_public_key.parse::<PublicKey>().ok());
            if let Some(status) = key.and_then(|key| self.peers.status(&key)) {
                self.tell_late(link.id(), status.stale_handshakes);
            }
        }
        if look.is_multiple_of(LOOKS_PER_ROUND) {
            // Those that are gone are forgotten.
            self.late.retain(|machine| self.state.get::<Link>(machine).is_some());
        }
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
}

/// Those whose turn it is in this look.
fn due<S: Spec>(state: &State, look: u64, is_connected: fn(&S) -> bool) -> Vec<AnyResource> {
    let mut all = state.list_any(S::DEFINITION.namespace, S::DEFINITION.kind);
    all.retain(|resource| {
        let turn: u64 = resource.id().bytes().rev().take(2).map(u64::from).sum();
        let is_turn = turn % LOOKS_PER_ROUND == look % LOOKS_PER_ROUND;
        (is_turn || !resource.spec::<S>().is_some_and(is_connected)) && !resource.metadata().is_tearing_down()
    });
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
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::senders::tests::state;

    const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

    /// One peer, as the test sets it.
    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<Option<PeerStatus>>>);

    impl Peers for Fake {
        fn status(&self, key: &PublicKey) -> Option<PeerStatus> {
            self.0.lock().filter(|_| key.to_string() == KEY)
        }
    }

    fn seen(fake: &Fake, age: u64) {
        *fake.0.lock() = Some(PeerStatus {
            endpoint: Some("192.0.2.1:50180".parse().unwrap()),
            handshake_age: Some(Duration::from_secs(age)),
            received_bytes: 1,
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
        (Liveness::new(state.clone(), fake.clone()), fake, state)
    }

    /// All looks of a round.
    async fn round(liveness: &mut Liveness<Fake>, round: u64) {
        for look in round * LOOKS_PER_ROUND..(round + 1) * LOOKS_PER_ROUND {
            liveness.look(look).await;
        }
    }

    #[tokio::test]
    async fn a_handshake_connects_at_the_next_look_and_nothing_is_written_twice() {
        let (mut liveness, fake, state) = started(false);
        let pending = PendingMachine { node_public_key: KEY.to_owned(), ..PendingMachine::default() };
        state.put(OWNER, KEY, pending).unwrap();
        round(&mut liveness, 0).await;
        assert_eq!(link(&state), (false, String::new(), 1));
        seen(&fake, 274);
        liveness.look(LOOKS_PER_ROUND).await;
        assert_eq!(link(&state), (true, "192.0.2.1:50180".to_owned(), 2));
        round(&mut liveness, 2).await;
        assert_eq!(link(&state).2, 2);
        assert!(state.get::<PendingMachine>(KEY).unwrap().connected);
    }

    #[tokio::test]
    async fn nobody_is_away_in_the_first_two_rounds() {
        let (mut liveness, _, state) = started(true);
        for number in 0..=GRACE_ROUNDS {
            round(&mut liveness, number).await;
            assert!(link(&state).0, "{number}");
        }
        round(&mut liveness, GRACE_ROUNDS + 1).await;
        assert!(!link(&state).0);
    }

    #[tokio::test]
    async fn an_old_handshake_is_none() {
        let (mut liveness, fake, state) = started(true);
        seen(&fake, 275);
        round(&mut liveness, 3).await;
        assert_eq!(link(&state), (false, String::new(), 2));
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_is_told_once_until_the_machine_shakes_hands_again() {
        let (mut liveness, fake, _) = started(true);
        for (number, stale, is_late) in [(1, 2, false), (2, 3, true), (3, 9, true), (4, 0, false)] {
            seen(&fake, 10);
            if let Some(status) = fake.0.lock().as_mut() {
                status.stale_handshakes = stale;
            }
            round(&mut liveness, number).await;
            assert_eq!(liveness.late.contains("uuid"), is_late, "{stale}");
        }
    }
}
