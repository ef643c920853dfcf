use corten_base::{Clock, Rng};
use corten_resource::State;
use corten_resources::service::HealthCheck;

use super::super::backend::Backends;
use super::super::backend::fake::Fake;
use super::super::gate;
use super::*;
use crate::events::Events;

const ID: &str = "containerd";
const IDLE: Duration = Duration::from_secs(120);
/// Shorter than the idle time, longer than anything that happens at once.
const SHORT: Duration = Duration::from_secs(5);

#[test]
fn leases_are_counted_and_the_idle_time_begins_with_the_last() {
    let now = Instant::now();
    let (soon, later) = (now + SHORT, now + IDLE);
    let first = Use::begun(None);
    assert_eq!(first, Use::By(1));
    assert_eq!(Use::begun(Some(first)), Use::By(2));
    assert_eq!(Use::By(2).ended(soon), Use::By(1));
    assert_eq!(Use::By(1).ended(soon), Use::Until(soon));
    assert_eq!(Use::begun(Some(Use::Until(soon))), Use::By(1));
    assert!(!Use::By(1).is_over(later) && !Use::Until(later).is_over(soon) && Use::Until(soon).is_over(soon));
}

#[test]
fn a_new_machined_grants_what_is_left_and_never_more_than_the_idle_time() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    assert_eq!(left(IDLE, None, now), IDLE);
    assert_eq!(left(IDLE, Some(now - SHORT), now), IDLE - SHORT);
    assert_eq!(left(IDLE, Some(now - IDLE * 2), now), Duration::ZERO);
    assert_eq!(left(IDLE, Some(now + IDLE * 100), now), IDLE);
}

/// A machined with one service that runs on demand. `State` and backend outlive it.
struct Machined {
    state: State,
    clock: Clock,
    services: Services,
    fake: Fake,
    _task: corten_base::Task,
}

impl Machined {
    fn new() -> Self {
        let state = State::new(corten_resources::registry());
        let machined = Self::start(state, Clock::fixed(1_700_000_000), Fake::new());
        let on_demand = OnDemand { idle_time: IDLE, ..OnDemand::default() };
        let spec = ServiceSpec {
            on_demand: Some(on_demand),
            health: HealthCheck::default(),
            revision: "1".into(),
            ..ServiceSpec::default()
        };
        machined.state.put("test", ID, spec).expect("a specification");
        machined
    }

    fn start(state: State, clock: Clock, fake: Fake) -> Self {
        let rng = Rng::seeded(7);
        let events = Events::new(clock.clone(), &rng);
        let backends = Backends::fake(fake.clone());
        let services = Services::new(state.clone(), events, backends, clock.clone(), rng);
        services.set_gate(gate::Openness::Early);
        let task = corten_base::spawn("services", services.clone().run());
        Self { state, clock, services, fake, _task: task }
    }

    /// Another machined after this one was killed.
    fn replaced(self) -> Self {
        let Self { state, clock, fake, .. } = self;
        Self::start(state, clock, fake)
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
        self.clock.advance(time);
    }

    fn state_of_service(&self) -> ServiceState {
        self.services.record(ID).map_or(ServiceState::Initialized, |record| record.state)
    }

    async fn lease(&self) -> Lease {
        self.services.demand(ID).await.expect("it comes up")
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_without_demand_rests_and_the_first_use_starts_it() {
    let machined = Machined::new();
    machined.pass(IDLE * 3).await;
    assert_eq!(machined.state_of_service(), ServiceState::Finished);
    assert_eq!(machined.fake.calls(), ["stop"], "what a predecessor may have left is looked for once");
    let _lease = machined.lease().await;
    assert_eq!(machined.state_of_service(), ServiceState::Running);
    assert_eq!(machined.fake.calls(), ["stop", "start 1"]);
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_nobody_has_used_it_for_its_idle_time() {
    let machined = Machined::new();
    let (first, second) = (machined.lease().await, machined.lease().await);
    drop(first);
    machined.pass(IDLE * 2).await;
    assert_eq!(machined.state_of_service(), ServiceState::Running, "the second use lasts");
    drop(second);
    machined.pass(IDLE - SHORT).await;
    drop(machined.lease().await);
    machined.pass(IDLE - SHORT).await;
    assert_eq!(machined.state_of_service(), ServiceState::Running, "each use begins the idle time anew");
    machined.pass(SHORT * 2).await;
    assert_eq!(machined.state_of_service(), ServiceState::Finished);
    assert!(machined.state.get::<ServiceDemand>(ID).is_none());
    let _lease = machined.lease().await;
    assert_eq!(machined.fake.calls(), ["start 1", "used?", "stop", "start 1"]);
}

#[tokio::test(start_paused = true)]
async fn what_runs_in_it_or_may_run_in_it_keeps_it() {
    let machined = Machined::new();
    drop(machined.lease().await);
    for used in [Some(true), None] {
        machined.fake.be_used(used);
        machined.pass(IDLE + SHORT).await;
        assert_eq!(machined.state_of_service(), ServiceState::Running);
    }
    machined.fake.be_used(Some(false));
    machined.pass(IDLE + SHORT).await;
    assert_eq!(machined.state_of_service(), ServiceState::Finished);
}

#[tokio::test(start_paused = true)]
async fn what_ends_while_it_is_used_is_started_again() {
    let machined = Machined::new();
    let lease = machined.lease().await;
    machined.fake.exit();
    tokio::task::yield_now().await;
    let _second = machined.lease().await;
    assert_eq!(machined.fake.calls(), ["start 1", "start 1"]);
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn a_new_machined_adopts_it_and_ends_it_when_it_is_not_used() {
    let machined = Machined::new();
    drop(machined.lease().await);
    // As it is while a call lasts, which dies with its machined.
    machined.state.put(OWNER, ID, ServiceDemand { idle_since: None }).expect("a demand");
    let machined = machined.replaced();
    machined.pass(IDLE - SHORT).await;
    assert_eq!(machined.state_of_service(), ServiceState::Running);
    let machined = machined.replaced();
    machined.pass(SHORT * 2).await;
    assert_eq!(machined.state_of_service(), ServiceState::Finished, "the idle time is journalled");
    assert!(machined.state.get::<ServiceDemand>(ID).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_come_up_is_told_and_given_up() {
    let machined = Machined::new();
    machined.fake.get_stuck();
    let refused = machined.services.demand(ID).await.err().expect("it does not come up");
    let text = refused.to_string();
    assert!(text.contains(ID) && text.contains("Creating service runner"), "{text}");
    machined.pass(IDLE + SHORT).await;
    assert_eq!(machined.state_of_service(), ServiceState::Finished);
    let unknown = machined.services.demand("nothing").await.err().expect("no such service");
    assert_eq!(unknown.to_string(), "service \"nothing\" not defined");
}
