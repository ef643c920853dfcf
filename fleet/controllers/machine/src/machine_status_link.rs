//! Everything that a list of machines shows of one, in one resource.
//!
//! ```text
//! Link (when it joined, whether it goes) ─┐
//! MachineStatus, MachineStatusSnapshot ───┼─▶ MachineStatusLink
//! tunnel (traffic, last handshake) ───────┘   looked at once in a while
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corten_fleet_resources::link::Link;
use corten_fleet_resources::machine::{
    MachineStatus, MachineStatusLink, MachineStatusSnapshot, SiderolinkCounter,
};
use corten_fleet_tunnel::Tunnel;
use corten_resource::{AnyResource, Concern, ItemDriver, Never, Plan, Resource, View, controller};
use corten_wireguard::{PeerStatus, PublicKey};

/// Shortest time between two looks at the traffic of a machine.
const LOOK: Duration = Duration::from_secs(50);
/// Machines are looked at one after the other in so many seconds more.
const SPREAD_SECONDS: u32 = 20;
/// The same for machines that were not heard since the manager started: people wait for the first sign of life.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// Machines that were not heard yet are looked at one after the other in so much more for each of those seconds.
const FIRST_SPREAD: Duration = Duration::from_millis(100);

/// What is known of the tunnel of a machine. Implemented for the tunnel and by a fake.
pub trait Traffic: Send + Sync + 'static {
    /// How the peer with this key is; `None` when there is none.
    fn of(&self, key: &PublicKey) -> Option<PeerStatus>;
}

impl Traffic for Tunnel {
    fn of(&self, key: &PublicKey) -> Option<PeerStatus> {
        self.status(key)
    }
}

/// Publishes what lists of machines show.
#[derive(Debug)]
pub struct MachineStatusLinkController<T> {
    traffic: T,
}

impl<T: Traffic> MachineStatusLinkController<T> {
    /// A controller of machines behind a tunnel.
    pub const fn new(traffic: T) -> Self {
        Self { traffic }
    }
}

controller!(impl<T: Traffic> MachineStatusLinkController<T>, "MachineStatusLinkController",
    inputs: [weak Link, weak MachineStatus, weak MachineStatusSnapshot],
    outputs: [exclusive MachineStatusLink]);

impl<T: Traffic> ItemDriver for MachineStatusLinkController<T> {
    type Observed = Option<PeerStatus>;
    type Op = Never;
    const PARALLEL: usize = 64;

    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    async fn observe(&self, _: &str, view: &View<Self>) -> anyhow::Result<Option<PeerStatus>> {
        let key: Option<PublicKey> = link(view).and_then(|link| link.node_public_key.parse().ok());
        Ok(key.and_then(|key| self.traffic.of(&key)))
    }

    fn plan(&self, item: &str, view: &View<Self>, peer: &Option<PeerStatus>) -> Plan<Self, Never> {
        let mut plan = Plan::new();
        let Some(link) = link(view) else { return plan };
        let shown = MachineStatusLink {
            message_status: view.get::<MachineStatus>(item).map(|status| status.spec.clone()),
            siderolink_counter: peer.as_ref().map(|peer| counter(peer, view.now())),
            machine_created_at: seconds(link.metadata.created),
            tearing_down: link.metadata.is_tearing_down(),
            snapshot: view.get::<MachineStatusSnapshot>(item).map(|snapshot| snapshot.spec.clone()),
        };
        plan.put(item, shown);
        let is_heard = peer.as_ref().is_some_and(|peer| peer.received_bytes > 0);
        if link.connected { plan.again_in(pause(item, is_heard)) } else { plan }
    }

    async fn apply(&self, _: &str, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}

/// The link of the item, also one that goes away.
fn link<T: Traffic>(view: &View<MachineStatusLinkController<T>>) -> Option<&Resource<Link>> {
    view.list::<Link>().into_iter().chain(view.tearing_down::<Link>()).next()
}

fn counter(peer: &PeerStatus, now: SystemTime) -> SiderolinkCounter {
    let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let last_alive = peer.handshake_age.and_then(|age| now.checked_sub(age));
    SiderolinkCounter {
        bytes_received: bytes(peer.received_bytes),
        bytes_sent: bytes(peer.sent_bytes),
        // In whole seconds: the rest is the time that it took to look.
        last_alive: last_alive.and_then(|at| u64::try_from(seconds(at)).ok()).map(after_epoch),
    }
}

fn after_epoch(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Seconds since 1970.
fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Until a machine is looked at again: a little different for each, so that they do not come all at once.
fn pause(item: &str, is_heard: bool) -> Duration {
    let sum: u32 = item.bytes().map(u32::from).sum();
    let place = sum % SPREAD_SECONDS;
    if is_heard { LOOK + Duration::from_secs(place.into()) } else { FIRST_LOOK + FIRST_SPREAD * place }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

    /// A tunnel with one peer, which has received so much.
    #[derive(Clone, Default)]
    struct Meter(Arc<AtomicU64>);

    impl Traffic for Meter {
        fn of(&self, key: &PublicKey) -> Option<PeerStatus> {
            (key.to_string() == KEY).then(|| PeerStatus {
                endpoint: None,
                handshake_age: Some(Duration::from_secs(60)),
                received_bytes: self.0.load(Ordering::SeqCst),
                sent_bytes: 7,
                stale_handshakes: 0,
            })
        }
    }

    fn started(meter: &Meter) -> TestRuntime {
        TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_items(MachineStatusLinkController::new(meter.clone()));
        })
    }

    fn link() -> AnyResource {
        let spec = Link { node_public_key: KEY.to_owned(), connected: true, ..Link::default() };
        resource("m1", spec)
    }

    fn found(runtime: &TestRuntime) -> Option<MachineStatusLink> {
        runtime.state().get::<MachineStatusLink>("m1").map(|link| link.spec)
    }

    fn received(runtime: &TestRuntime) -> Option<i64> {
        found(runtime).and_then(|link| link.siderolink_counter).map(|counter| counter.bytes_received)
    }

    #[tokio::test(start_paused = true)]
    async fn traffic_of_connected_machines_is_looked_at_again() {
        let meter = Meter::default();
        let runtime = started(&meter);
        runtime.put(link());
        runtime.put(resource("m1", MachineStatus { connected: true, ..MachineStatus::default() }));
        runtime.quiet().await;
        assert_eq!(received(&runtime), Some(0));
        let shown = found(&runtime).expect("shown");
        assert!(shown.message_status.is_some_and(|status| status.connected));
        let alive = shown.siderolink_counter.and_then(|counter| counter.last_alive);
        assert_eq!((alive, shown.machine_created_at), (Some(after_epoch(1_699_999_940)), 1_700_000_000));
        // It is heard for the first time.
        meter.0.store(42, Ordering::SeqCst);
        runtime.advance(Duration::from_secs(5)).await;
        assert_eq!(received(&runtime), Some(42));
        meter.0.store(43, Ordering::SeqCst);
        runtime.advance(LOOK - Duration::from_secs(6)).await;
        assert_eq!(received(&runtime), Some(42), "there are many machines");
        runtime.advance(Duration::from_secs(u64::from(SPREAD_SECONDS) + 6)).await;
        assert_eq!(received(&runtime), Some(43));
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_is_being_removed_is_shown_so_until_its_link_is_gone() {
        let runtime = started(&Meter::default());
        runtime.put(link());
        runtime.quiet().await;
        let pointer = link().pointer();
        runtime.state().add_finalizer(&pointer, "somebody").expect("held");
        runtime.state().remove::<Link>("", "m1").expect("torn down");
        runtime.quiet().await;
        assert!(found(&runtime).is_some_and(|shown| shown.tearing_down));
        runtime.state().remove_finalizer(&pointer, "somebody").expect("released");
        runtime.state().remove::<Link>("", "m1").expect("destroyed");
        runtime.quiet().await;
        assert_eq!(found(&runtime), None);
    }
}
