//! Controllers over items, on virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corten_resource::testing::{TestRuntime, check, resource};
use corten_resource::{
    AnyResource, Concern, ControllerState, ControllerStatus, ItemDriver, ItemTransform, Metadata, Plan,
    Registry, Resource, Runtime, View, controller,
};
use parking_lot::Mutex;

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Machines.example.corten.dev", namespace = "default")]
struct Machine {
    /// Where it is.
    #[field(1, "address")]
    address: String,
}

/// A setting of all machines.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Settings.example.corten.dev", namespace = "default")]
struct Setting {
    /// A word.
    #[field(1, "word")]
    word: String,
}

/// A disk of a machine, which its label names.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Disks.example.corten.dev", namespace = "default")]
struct Disk {}

/// What is said of a machine.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Reports.example.corten.dev", namespace = "default")]
struct Report {
    /// The words.
    #[field(1, "text")]
    text: String,
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.namespace("default", "Things.");
    registry.register::<Machine>().register::<Setting>().register::<Disk>().register::<Report>();
    registry
}

/// Items that were planned, in order.
type Log = Arc<Mutex<Vec<String>>>;

struct Describe(Log);
controller!(Describe, "test.Describe",
    inputs: [strong Machine, weak Setting, weak Disk],
    outputs: [exclusive Report]);

impl ItemTransform for Describe {
    fn concern(resource: &AnyResource) -> Concern {
        match resource.metadata().kind.as_str() {
            "Settings.example.corten.dev" => Concern::Everybody,
            "Disks.example.corten.dev" => Concern::by_label(resource, "machine"),
            _ => Concern::by_id(resource),
        }
    }

    fn plan(&self, id: &str, view: &View<Self>) -> Plan<Self> {
        self.0.lock().push(id.to_owned());
        let mut plan = Plan::new();
        let Some(machine) = view.get::<Machine>(id) else { return plan };
        if machine.address.is_empty() {
            return plan.waiting("an address");
        }
        let word = view.get::<Setting>("word").map(|setting| setting.word.clone()).unwrap_or_default();
        let disks = view.list::<Disk>().len();
        plan.put(id, Report { text: format!("{word} {} {disks}", machine.address) });
        plan
    }
}

fn disk(id: &str, machine: &str) -> AnyResource {
    let tag = |metadata: &mut Metadata| drop(metadata.labels.insert("machine".into(), machine.into()));
    resource(id, Disk {}).edit(tag)
}

fn machine(id: &str, address: &str) -> AnyResource {
    resource(id, Machine { address: address.to_owned() })
}

#[test]
fn an_item_sees_what_concerns_it_and_nothing_else() {
    check(
        registry(),
        |runtime| {
            runtime.register_item_transform(Describe(Log::default()));
        },
        &[
            machine("a", "1.1.1.1"),
            machine("b", "2.2.2.2"),
            resource("word", Setting { word: "at".into() }),
            disk("sda", "a"),
            disk("sdb", "a"),
            disk("sdc", "nobody"),
        ],
        &[
            resource("a", Report { text: "at 1.1.1.1 2".into() }),
            resource("b", Report { text: "at 2.2.2.2 0".into() }),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_wakes_the_items_that_it_concerns_and_a_setting_wakes_all() {
    let log = Log::default();
    let runtime = TestRuntime::new(registry(), |runtime| {
        runtime.register_item_transform(Describe(Arc::clone(&log)));
    });
    for id in ["a", "b", "c"] {
        runtime.put(machine(id, "1.1.1.1"));
    }
    runtime.quiet().await;
    log.lock().clear();
    runtime.put(machine("b", "2.2.2.2"));
    runtime.put(disk("sda", "c"));
    runtime.quiet().await;
    assert_eq!(*log.lock(), ["b", "c"]);
    log.lock().clear();
    runtime.put(resource("word", Setting { word: "at".into() }));
    runtime.quiet().await;
    assert_eq!(*log.lock(), ["a", "b", "c"]);
    log.lock().clear();
    runtime.put(disk("sda", "a"));
    runtime.quiet().await;
    assert_eq!(*log.lock(), ["a", "c"], "the disk moved");
}

#[tokio::test(start_paused = true)]
async fn outputs_of_an_item_that_is_gone_go_and_a_wait_is_told_by_item() {
    let runtime = TestRuntime::new(registry(), |runtime| {
        runtime.register_item_transform(Describe(Log::default()));
    });
    runtime.put(machine("a", "1.1.1.1"));
    runtime.put(machine("b", ""));
    runtime.quiet().await;
    let status = runtime.status("test.Describe/b").expect("it waits");
    assert_eq!((status.state, status.reason.as_str()), (ControllerState::Waiting, "an address"));
    assert!(runtime.status("test.Describe/a").is_none());
    runtime.put(machine("b", "2.2.2.2"));
    runtime.state().remove::<Machine>("", "a").expect("removed");
    runtime.quiet().await;
    assert!(runtime.status("test.Describe/b").is_none(), "it waits no more");
    assert!(runtime.state().get::<Report>("a").is_none());
    assert!(runtime.state().get::<Report>("b").is_some());
}

/// A world in which machines are switched on; one of them never is.
#[derive(Clone, Default)]
struct World {
    on: Arc<Mutex<Vec<String>>>,
    is_stuck: Arc<AtomicBool>,
    at_once: Arc<Mutex<(usize, usize)>>,
}

struct Switch(World);
controller!(Switch, "test.Switch", inputs: [strong Machine], outputs: [exclusive Report]);

impl ItemDriver for Switch {
    type Observed = bool;
    type Op = ();
    const PARALLEL: usize = 2;

    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    async fn observe(&self, id: &str, _: &View<Self>) -> anyhow::Result<bool> {
        Ok(self.0.on.lock().iter().any(|on| on == id))
    }

    fn plan(&self, id: &str, view: &View<Self>, is_on: &bool) -> Plan<Self, ()> {
        let mut plan = Plan::new();
        if view.get::<Machine>(id).is_none() {
            // One that goes is switched off first.
            if *is_on {
                plan.op(());
            }
            return plan;
        }
        if !is_on {
            plan.op(());
        }
        plan.put(id, Report { text: format!("on: {is_on}") });
        plan
    }

    async fn apply(&self, id: &str, (): ()) -> anyhow::Result<()> {
        {
            let mut counts = self.0.at_once.lock();
            counts.0 += 1;
            counts.1 = counts.1.max(counts.0);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.0.at_once.lock().0 -= 1;
        anyhow::ensure!(id != "dead", "it does not answer");
        anyhow::ensure!(!self.0.is_stuck.load(Ordering::SeqCst), "the switch is stuck");
        let mut on = self.0.on.lock();
        match on.iter().position(|on| on == id) {
            Some(index) => drop(on.remove(index)),
            None => on.push(id.to_owned()),
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_items_are_worked_on_side_by_side_and_a_dead_one_holds_nobody_back() {
    let world = World::default();
    let runtime = TestRuntime::new(registry(), |runtime| {
        runtime.register_items(Switch(world.clone()));
    });
    for id in ["dead", "a", "b", "c", "d"] {
        runtime.put(machine(id, ""));
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut on = world.on.lock().clone();
    on.sort();
    assert_eq!(on, ["a", "b", "c", "d"]);
    assert_eq!(world.at_once.lock().1, 2);
    let status = runtime.status("test.Switch/dead").expect("it failed");
    assert_eq!((status.state, status.reason.as_str()), (ControllerState::Failed, "it does not answer"));
    assert_eq!(
        runtime.state().get::<Report>("dead").map(|report| report.text.clone()),
        Some("on: false".into())
    );
    let failures = |status: Option<ControllerStatus>| status.map_or(0, |status| status.failures);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(failures(runtime.status("test.Switch/dead")) > 2, "it is tried again");
}

#[tokio::test(start_paused = true)]
async fn an_item_goes_after_its_effect_is_undone_and_stays_while_that_fails() {
    let world = World::default();
    let runtime = TestRuntime::new(registry(), |runtime| {
        runtime.register_items(Switch(world.clone()));
    });
    runtime.put(machine("a", ""));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let held = || runtime.state().get::<Machine>("a").map(|machine| machine.metadata.finalizers.clone());
    assert_eq!(held(), Some(vec!["test.Switch".to_owned()]), "held while it is worked for");
    world.is_stuck.store(true, Ordering::SeqCst);
    runtime.state().remove::<Machine>("", "a").expect("torn down");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(held(), Some(vec!["test.Switch".to_owned()]), "it is still on");
    let status = runtime.status("test.Switch/a").expect("it failed");
    assert_eq!(status.reason, "the switch is stuck");
    world.is_stuck.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(held(), Some(Vec::new()), "off, and let go of");
    assert!(world.on.lock().is_empty());
    assert!(runtime.state().get::<Report>("a").is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_being_applied_when_the_runtime_stops_is_finished() {
    let world = World::default();
    let state = corten_resource::testing::state(registry());
    let mut runtime = Runtime::new(state.clone());
    runtime.register_items(Switch(world.clone()));
    let running = runtime.start().expect("starts");
    state.put("", "a", Machine::default()).expect("put");
    tokio::time::sleep(Duration::from_millis(500)).await;
    running.stop().await;
    assert_eq!(*world.on.lock(), ["a"]);
}

/// Puts a report under a name that does not lead back to its item.
struct Careless;
controller!(Careless, "test.Careless", inputs: [weak Machine], outputs: [exclusive Report]);

impl ItemTransform for Careless {
    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        if view.get::<Machine>(item).is_some() {
            plan.put(format!("report-of-{item}"), Report::default());
        }
        plan
    }
}

#[tokio::test(start_paused = true)]
async fn an_output_that_does_not_lead_back_to_its_item_is_refused() {
    let runtime = TestRuntime::new(registry(), |runtime| {
        runtime.register_item_transform(Careless);
    });
    runtime.put(machine("a", ""));
    runtime.quiet().await;
    let status = runtime.status("test.Careless/a").expect("it failed");
    assert!(status.reason.contains("was put for a and concerns Item(\"report-of-a\")"), "{}", status.reason);
    assert!(runtime.state().get::<Report>("report-of-a").is_none());
}

/// Fails for machines without address, and has published for those with one.
struct Strict;
controller!(Strict, "test.Strict", inputs: [strong Machine], outputs: [exclusive Report]);

impl ItemTransform for Strict {
    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        match view.get::<Machine>(item) {
            Some(machine) if machine.address.is_empty() => plan.failed("no address"),
            Some(machine) => {
                plan.put(item, Report { text: machine.address.clone() });
                plan
            }
            None => plan,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_with_a_problem_removes_nothing() {
    let runtime = TestRuntime::new(registry(), |runtime| {
        runtime.register_item_transform(Strict);
    });
    runtime.put(machine("a", "1.1.1.1"));
    runtime.quiet().await;
    runtime.put(machine("a", ""));
    runtime.quiet().await;
    assert_eq!(runtime.status("test.Strict/a").map(|status| status.reason), Some("no address".to_owned()));
    assert!(runtime.state().get::<Report>("a").is_some(), "what hangs on it stays");
}

/// Publishes, and stays with a machine in teardown until its address is gone.
struct Patient;
controller!(Patient, "test.Patient", inputs: [strong Machine], outputs: [exclusive Report]);

impl ItemTransform for Patient {
    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        if let Some(leaving) = view.tearing_down::<Machine>().first() {
            let has_address = !leaving.spec.address.is_empty();
            return if has_address { plan.holding("its address") } else { plan };
        }
        if view.get::<Machine>(item).is_some() {
            plan.put(item, Report::default());
        }
        plan
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_unfinished_holds_an_input_in_teardown_and_keeps_outputs_without_being_a_failure() {
    let runtime = TestRuntime::new(registry(), |runtime| {
        runtime.register_item_transform(Patient);
    });
    runtime.put(machine("a", "1.1.1.1"));
    runtime.quiet().await;
    runtime.state().remove::<Machine>("", "a").expect("torn down");
    runtime.advance(Duration::from_secs(3600)).await;
    assert!(runtime.state().get::<Machine>("a").is_some());
    assert!(runtime.state().get::<Report>("a").is_some());
    let status = runtime.status("test.Patient/a").expect("it waits");
    assert_eq!((status.state, status.reason.as_str()), (ControllerState::Waiting, "its address"));
}

#[tokio::test(start_paused = true)]
async fn outputs_and_statuses_that_an_earlier_program_left_are_looked_at_again() {
    let state = corten_resource::testing::state(registry());
    state.put("test.Strict", "orphan", Report::default()).expect("put");
    let stale = ControllerStatus { state: ControllerState::Failed, reason: "long ago".into(), failures: 9 };
    state.put("controller-runtime", "test.Strict/other", stale).expect("put");
    let runtime = TestRuntime::with_state(state, |runtime| {
        runtime.register_item_transform(Strict);
    });
    runtime.quiet().await;
    assert!(runtime.state().get::<Report>("orphan").is_none());
    assert!(runtime.status("test.Strict/other").is_none());
}
