//! Controllers over items, on virtual time.

use std::sync::Arc;
use std::time::Duration;

use corten_resource::testing::{TestRuntime, check, resource};
use corten_resource::{
    AnyResource, Concern, ControllerState, ControllerStatus, Keyed, Map, Metadata, Plan, Registry, Resource,
    View, controller,
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

impl Map for Describe {
    type Item = Machine;

    fn concern(resource: &AnyResource) -> Concern {
        match resource.metadata().kind.as_str() {
            "Settings.example.corten.dev" => Concern::Everybody,
            "Disks.example.corten.dev" => Concern::label(resource, "machine"),
            _ => Concern::Item(resource.id().to_owned()),
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
            runtime.register_map(Describe(Log::default()));
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
        runtime.register_map(Describe(Arc::clone(&log)));
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
        runtime.register_map(Describe(Log::default()));
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
    at_once: Arc<Mutex<(usize, usize)>>,
}

struct Switch(World);
controller!(Switch, "test.Switch", inputs: [strong Machine], outputs: [exclusive Report]);

impl Keyed for Switch {
    type Item = Machine;
    type Observed = bool;
    type Op = ();
    const PARALLEL: usize = 2;

    async fn observe(&self, id: &str, _: &View<Self>) -> anyhow::Result<bool> {
        Ok(self.0.on.lock().iter().any(|on| on == id))
    }

    fn plan(&self, id: &str, view: &View<Self>, is_on: &bool) -> Plan<Self, ()> {
        let mut plan = Plan::new();
        for gone in view.tearing_down::<Machine>() {
            plan.release::<Machine>(gone.id());
        }
        if view.get::<Machine>(id).is_none() {
            return plan;
        }
        plan.hold::<Machine>(id);
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
        self.0.on.lock().push(id.to_owned());
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_items_are_worked_on_side_by_side_and_a_dead_one_holds_nobody_back() {
    let world = World::default();
    let runtime = TestRuntime::new(registry(), |runtime| {
        runtime.register_keyed(Switch(world.clone()));
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
async fn an_item_in_teardown_is_released() {
    let runtime = TestRuntime::new(registry(), |runtime| {
        runtime.register_keyed(Switch(World::default()));
    });
    runtime.put(machine("a", ""));
    tokio::time::sleep(Duration::from_secs(3)).await;
    runtime.state().remove::<Machine>("", "a").expect("torn down");
    runtime.quiet().await;
    runtime.state().remove::<Machine>("", "a").expect("removed");
    runtime.quiet().await;
    assert!(runtime.state().get::<Machine>("a").is_none());
    assert!(runtime.state().get::<Report>("a").is_none());
}
