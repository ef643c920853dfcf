use corten_base::{Clock, Rng};
use corten_resource::State;
use corten_resources::service::{HealthCheck, HealthProbe, OnDemand, Service};

use super::super::Services;
use super::super::backend::Backends;
use super::super::backend::fake::Fake;
use super::*;
use crate::events::Events;

fn wish(spec: ServiceSpec) -> Wish {
    Wish { spec: Some(spec), ..Wish::default() }
}

#[test]
fn a_service_runs_when_wanted_allowed_and_not_held() {
    let all = gate::Openness::All;
    assert_eq!(obstacle("kubelet", &Wish::default(), all), Some(Obstacle::Nobody));
    assert_eq!(obstacle("kubelet", &wish(ServiceSpec::default()), all), None);
    let held = Wish { held: true, ..wish(ServiceSpec::default()) };
    assert_eq!(obstacle("kubelet", &held, all), Some(Obstacle::Stopped));
    let waiting = ServiceSpec { waiting_for: vec!["time sync".into()], ..ServiceSpec::default() };
    assert_eq!(obstacle("kubelet", &wish(waiting), all), Some(Obstacle::Waits("time sync".into())));
    let on_demand = ServiceSpec { on_demand: Some(OnDemand::default()), ..ServiceSpec::default() };
    assert_eq!(obstacle("containerd", &wish(on_demand.clone()), all), Some(Obstacle::Unused));
    let needed = Wish { demanded: true, ..wish(on_demand) };
    assert_eq!(obstacle("containerd", &needed, gate::Openness::Early), None);
}

#[test]
fn only_what_runs_counts_for_the_revision() {
    let spec = ServiceSpec::default();
    let waiting = ServiceSpec { waiting_for: vec!["x".into()], control: true, ..spec.clone() };
    assert_eq!(revision(&spec), revision(&waiting));
    let rested = ServiceSpec { on_demand: Some(OnDemand::default()), ..spec.clone() };
    assert_eq!(revision(&spec), revision(&rested));
    let changed = ServiceSpec { revision: "2".into(), ..spec.clone() };
    assert_ne!(revision(&spec), revision(&changed));
}

const ID: &str = "etcd";
const OWNER: &str = "test";

/// A service manager over a fake backend, with the gate open.
struct Machine {
    state: State,
    services: Services,
    fake: Fake,
    _task: corten_base::Task,
}

impl Machine {
    fn new() -> Self {
        let (clock, rng, fake) = (Clock::fixed(1_700_000_000), Rng::seeded(7), Fake::new());
        let state = State::new(corten_resources::registry());
        let events = Events::new(clock.clone(), &rng);
        let services = Services::new(state.clone(), events, Backends::fake(fake.clone()), clock, rng);
        services.set_gate(gate::Openness::All);
        let task = corten_base::spawn("services", services.clone().run());
        Self { state, services, fake, _task: task }
    }

    fn want(&self, revision: &str) {
        let spec = ServiceSpec { revision: revision.into(), control: true, ..ServiceSpec::default() };
        self.state.put(OWNER, ID, spec).expect("a specification");
    }

    /// Waits for a state, whose last message begins like this.
    async fn reaches(&self, wanted: ServiceState, message: &str) {
        let reached = self.services.wait_until(|list| {
            list.iter().any(|(id, record)| {
                id == ID && record.state == wanted && record.last_message().starts_with(message)
            })
        });
        let reached = tokio::time::timeout(Duration::from_secs(3600), reached).await;
        assert!(reached.is_ok(), "not {wanted:?}: {:?}", self.services.list());
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_runs_while_it_is_wanted() {
    let machine = Machine::new();
    machine.want("1");
    machine.reaches(ServiceState::Running, "").await;
    machine.state.wait_for::<Service>(ID, |service| service.is_some_and(|service| service.running)).await;
    machine.state.remove::<ServiceSpec>(OWNER, ID).expect("removed");
    machine.reaches(ServiceState::Finished, "").await;
    assert_eq!(machine.fake.calls(), ["start 1", "stop"]);
    assert!(machine.state.get::<Service>(ID).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_a_service_waited_for_may_go_away_again() {
    let machine = Machine::new();
    machine.want("1");
    machine.reaches(ServiceState::Running, "").await;
    let waiting = ServiceSpec {
        revision: "1".into(),
        waiting_for: vec!["network".into()],
        control: true,
        ..ServiceSpec::default()
    };
    machine.state.put(OWNER, ID, waiting.clone()).expect("a specification");
    // Time is virtual: everybody who has something to do has done it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(machine.fake.calls(), ["start 1"]);
    let other = ServiceSpec { revision: "2".into(), ..waiting };
    machine.state.put(OWNER, ID, other).expect("a specification");
    machine.reaches(ServiceState::Waiting, "Waiting for network").await;
    machine.want("2");
    machine.reaches(ServiceState::Running, "").await;
    assert_eq!(machine.fake.calls(), ["start 1", "stop", "start 2"]);
}

#[tokio::test(start_paused = true)]
async fn what_ends_by_itself_is_started_again() {
    let machine = Machine::new();
    machine.want("1");
    machine.reaches(ServiceState::Running, "").await;
    machine.fake.exit();
    machine.reaches(ServiceState::Failed, "Ended").await;
    machine.reaches(ServiceState::Running, "").await;
    assert_eq!(machine.fake.calls(), ["start 1", "start 1"]);
}

#[tokio::test(start_paused = true)]
async fn another_revision_replaces_what_runs_or_is_being_started() {
    let machine = Machine::new();
    machine.fake.get_stuck();
    machine.want("1");
    machine.reaches(ServiceState::Preparing, "").await;
    machine.want("2");
    while machine.fake.calls().len() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(machine.fake.calls(), ["start 1", "stop", "start 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_counts_as_stopped_when_it_is() {
    let machine = Machine::new();
    machine.want("1");
    machine.reaches(ServiceState::Running, "").await;
    machine.fake.fail_stops(2);
    machine.services.stop(ID).await;
    assert_eq!(machine.fake.calls(), ["start 1", "stop failed", "stop failed", "stop"]);
    machine.services.api_start(ID).expect("may be started");
    machine.reaches(ServiceState::Running, "").await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_be_stopped_is_tried_again_before_it_is_finished() {
    let machine = Machine::new();
    machine.want("1");
    machine.reaches(ServiceState::Running, "").await;
    machine.fake.fail_stops(STOP_TRIES);
    machine.services.stop(ID).await;
    machine.reaches(ServiceState::Finished, "").await;
    assert_eq!(machine.fake.calls().last().map(String::as_str), Some("stop"));
}

/// What a service says while it runs, oldest first.
fn said_running(services: &Services) -> Vec<String> {
    let list = services.list();
    let (_, record) = list.iter().find(|(id, _)| id == ID).expect("the service");
    let running = record.history.iter().filter(|change| change.state == ServiceState::Running);
    running.map(|change| change.message.clone()).collect()
}

#[tokio::test]
async fn health_is_told_when_it_changes() {
    let machine = Machine::new();
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("socket").to_string_lossy().into_owned();
    let listener = tokio::net::UnixListener::bind(&target).expect("a listener");
    let (probe, period, timeout) = (HealthProbe::Unix, Duration::from_millis(1), Duration::from_secs(60));
    let health = HealthCheck { probe, target: target.clone(), period, timeout, ..HealthCheck::default() };
    let spec = ServiceSpec { health, ..ServiceSpec::default() };
    machine.state.put(OWNER, ID, spec).expect("a specification");
    machine.reaches(ServiceState::Running, "Health check successful").await;
    tokio::time::sleep(period * 20).await;
    let started = said_running(&machine.services);
    assert_eq!(started.iter().filter(|message| message.starts_with("Health")).count(), 1, "{started:?}");
    drop(listener);
    machine.reaches(ServiceState::Running, "Health check failed: ").await;
    let said = said_running(&machine.services);
    assert!(said.last().is_some_and(|last| last.contains(&target)), "{said:?}");
    assert_eq!(said.len(), started.len() + 1);
    assert!(
        machine.state.get::<Service>(ID).is_some_and(|service| service.spec.running && !service.spec.healthy)
    );
}
