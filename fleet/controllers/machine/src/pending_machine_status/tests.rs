//! The controller over machines of the test's making.

use std::sync::{Arc, OnceLock};

use corten_resource::State;
use corten_resource::testing::{TestRuntime, resource};

use super::*;

const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const UUID: &str = "4a1c8e0e-7d0f-4b2e-9a43-7a1c6a3f0d11";

/// What a look finds, and what came of it.
struct Inside {
    found: Result<Found, Missed>,
    looks: u32,
    took: Vec<String>,
    /// What the status said about the disk at each write.
    told: Vec<Option<bool>>,
    /// So many writes are lost.
    losses: u32,
}

/// One machine, and what was written to it.
#[derive(Clone)]
struct Machine {
    inside: Arc<Mutex<Inside>>,
    state: Arc<OnceLock<State>>,
}

impl Machine {
    fn new(found: Result<Found, Missed>) -> Self {
        let inside = Inside { found, looks: 0, took: Vec::new(), told: Vec::new(), losses: 0 };
        Self { inside: Arc::new(Mutex::new(inside)), state: Arc::default() }
    }

    fn took(&self) -> Vec<String> {
        std::mem::take(&mut self.inside.lock().took)
    }

    /// Takes what is written. The machine calls in this moment, and its link is made from what the status says.
    fn take(&self, what: String) -> anyhow::Result<()> {
        let told = self.state.get().and_then(|state| state.get::<PendingMachineStatus>(KEY));
        let mut inside = self.inside.lock();
        inside.told.push(told.map(|status| status.talos_installed));
        if inside.losses > 0 {
            inside.losses -= 1;
            anyhow::bail!("it is not known whether it took it");
        }
        inside.took.push(what);
        Ok(())
    }
}

impl Reception for Machine {
    async fn look(&self, _: &str, _: &Target) -> Result<Found, Missed> {
        let mut inside = self.inside.lock();
        inside.looks += 1;
        inside.found.clone()
    }
    async fn write_uuid(&self, machine: &str, _: &Target, _: &str) -> anyhow::Result<()> {
        // META shows it only later.
        self.take(format!("uuid of {machine}"))
    }
    async fn write_token(
        &self,
        machine: &str,
        target: &Target,
        token: &Secret<String>,
    ) -> anyhow::Result<()> {
        let token = UniqueToken::parse(token)?.expect("a token");
        let fingerprint = token.fingerprint().len();
        self.take(format!("token of {machine} at {} with {fingerprint}", target.address))
    }
    fn part(&self, machine: &str) {
        self.inside.lock().took.push(format!("part {machine}"));
    }
}

fn found(token: &str, uuid: &str) -> Found {
    Found {
        is_installed: false,
        token: Secret::new(token.to_owned()),
        uuid: uuid.to_owned(),
        hardware_addresses: vec!["52:54:00:00:00:01".to_owned()],
    }
}

fn pending(has_conflict: bool) -> AnyResource {
    let (node_subnet, node_public_key) = ("fdae::8/64".to_owned(), KEY.to_owned());
    let spec = PendingMachine { node_subnet, node_public_key, ..PendingMachine::default() };
    resource(KEY, spec).edit(|metadata| {
        metadata.labels.insert(MACHINE_UUID.to_owned(), UUID.to_owned());
        if has_conflict {
            metadata.annotations.insert(annotation::UUID_CONFLICT.to_owned(), String::new());
        }
    })
}

fn started(machine: &Machine) -> TestRuntime {
    let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
        runtime.register_items(PendingMachineStatusController::new(machine.clone(), Rng::seeded(1)));
    });
    assert!(machine.state.set(runtime.state().clone()).is_ok());
    runtime
}

fn peer() -> AnyResource {
    resource(KEY, LinkStatus::default())
}

fn status(runtime: &TestRuntime) -> Option<PendingMachineStatus> {
    runtime.state().get::<PendingMachineStatus>(KEY).map(|status| status.spec)
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_token_gets_one_once_its_peer_is_there_and_never_a_second() {
    let machine = Machine::new(Ok(found("", "")));
    let runtime = started(&machine);
    runtime.put(pending(false));
    runtime.quiet().await;
    assert!(machine.took().is_empty(), "nobody can reach it");
    runtime.put(peer());
    runtime.quiet().await;
    assert_eq!(machine.took(), [format!("token of {UUID} at fdae::8 with 64")]);
    let token = status(&runtime).expect("a status").token;
    assert!(token.contains("Fingerprint"), "{token}");
    // It calls again before its META shows the token, and after.
    runtime.put(pending(false).edit(|metadata| drop(metadata.labels.insert("again".into(), "1".into()))));
    runtime.quiet().await;
    assert!(machine.took().is_empty());
    assert_eq!(status(&runtime).map(|status| status.token), Some(token));
    assert_eq!(machine.inside.lock().looks, 1, "a look costs the machine and the manager four calls");
}

/// Otherwise a machine with the same UUID and network card could take the link over that is made in this moment.
#[tokio::test(start_paused = true)]
async fn whatever_is_written_to_a_machine_the_status_says_before_what_is_on_its_disk() {
    let installed = |token: &str| Ok(Found { is_installed: true, ..found(token, "") });
    for (found, has_conflict, writes) in [
        (installed(""), false, 1),
        (installed(""), true, 2),
        (installed("{\"Fingerprint\":\"0a\",\"Token\":\"t\"}"), true, 1),
    ] {
        let machine = Machine::new(found);
        let runtime = started(&machine);
        runtime.put(pending(has_conflict));
        runtime.put(peer());
        runtime.quiet().await;
        assert_eq!(machine.inside.lock().told, vec![Some(true); writes]);
        assert!(status(&runtime).is_some_and(|status| status.talos_installed && !status.token.is_empty()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_of_which_the_end_is_not_known_is_repeated_only_if_the_machine_has_nothing() {
    let machine = Machine::new(Ok(found("", "")));
    machine.inside.lock().losses = 1;
    let runtime = started(&machine);
    runtime.put(pending(false));
    runtime.put(peer());
    runtime.quiet().await;
    assert!(machine.took().is_empty());
    machine.inside.lock().found = Ok(found("{\"Fingerprint\":\"0a\",\"Token\":\"t\"}", ""));
    runtime.advance(Duration::from_secs(60)).await;
    assert!(machine.took().is_empty(), "it had taken it");
    assert!(status(&runtime).expect("a status").token.contains("\"t\""));
}

#[tokio::test(start_paused = true)]
async fn a_uuid_that_another_machine_has_is_replaced_once_and_a_token_that_is_there_stays() {
    let machine = Machine::new(Ok(found("{\"Fingerprint\":\"0a\",\"Token\":\"t\"}", "")));
    let runtime = started(&machine);
    runtime.put(pending(true));
    runtime.put(peer());
    runtime.quiet().await;
    assert_eq!(machine.took(), [format!("uuid of {UUID}")]);
    assert!(status(&runtime).expect("a status").token.contains("\"t\""));
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_manager_wrote_is_not_written_again() {
    let machine = Machine::new(Ok(found("{\"Fingerprint\":\"0a\",\"Token\":\"t\"}", "another")));
    let runtime = started(&machine);
    runtime.put(pending(true));
    runtime.put(peer());
    runtime.quiet().await;
    assert!(machine.took().is_empty(), "it has another UUID than it called with, and calls again");
    assert!(status(&runtime).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_answer_is_called_again_and_a_foreign_one_is_told_apart() {
    let machine = Machine::new(Err(Missed::Silent("timed out".to_owned())));
    let runtime = started(&machine);
    runtime.put(pending(false));
    runtime.put(peer());
    runtime.quiet().await;
    let id = format!("PendingMachineStatusController/{KEY}");
    let reason = || runtime.status(&id).map(|status| status.reason);
    assert_eq!(reason().as_deref(), Some("an answer of the machine: timed out"));
    machine.inside.lock().found = Err(Missed::Foreign);
    runtime.advance(AGAIN).await;
    assert_eq!(reason().as_deref(), Some(FOREIGN));
    assert!(status(&runtime).is_none() && machine.took().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pending_machine_that_is_gone_is_forgotten() {
    let machine = Machine::new(Ok(found("", "")));
    let runtime = started(&machine);
    runtime.put(pending(false));
    runtime.put(peer());
    runtime.quiet().await;
    machine.took();
    runtime.state().remove::<PendingMachine>("", KEY).expect("torn down");
    runtime.quiet().await;
    assert_eq!(machine.took(), [format!("part {KEY}")]);
    let pending = runtime.state().get::<PendingMachine>(KEY).expect("nobody destroyed it");
    assert!(pending.metadata.finalizers.is_empty() && status(&runtime).is_none());
}

#[test]
fn a_fingerprint_does_not_depend_on_the_order_of_network_cards() {
    let of = |addresses: &[&str]| {
        fingerprint(&addresses.iter().map(|address| (*address).to_owned()).collect::<Vec<_>>())
    };
    let (one, two) = ("52:54:00:00:00:0a", "52:54:00:00:00:0b");
    assert_eq!(of(&[one, two]), of(&[two, one]));
    assert_eq!(of(&["52:54:00:00:00:0A"]), of(&[one]));
    assert_eq!((of(&[]).len(), of(&[one]).len()), (0, 64));
}
