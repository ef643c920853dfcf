//! The controller runtime, on virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use corten_resource::testing::{TestRuntime, check, resource, resource_in};
use corten_resource::{
    ControllerState, Driver, Edge, EdgeKind, Outcome, Plan, Pointer, Registry, Resource, Runtime, Source,
    Spec, State, Transform, View, controller,
};
use parking_lot::Mutex;

#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "HostnameSpecs.net.talos.dev", namespace = "network")]
struct HostnameSpec {
    #[field(1, "hostname")]
    hostname: String,
    #[field(2, "layer")]
    layer: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "HostnameStatuses.net.talos.dev", namespace = "network")]
struct HostnameStatus {
    #[field(1, "hostname")]
    hostname: String,
}

struct Merge;
controller!(Merge, "network.HostnameMerge",
    inputs: [strong HostnameSpec in "network-config"],
    outputs: [exclusive HostnameSpec in "network"]);

impl Transform for Merge {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(winner) = view.list::<HostnameSpec>().into_iter().max_by_key(|spec| spec.layer) else {
            return plan.waiting("a hostname");
        };
        assert_ne!(winner.hostname, "panic", "asked to");
        plan.put("hostname", winner.spec.clone());
        plan
    }
}

/// A kernel with one name, which it forgets to take as often as told.
#[derive(Clone, Default)]
struct Kernel {
    name: Arc<Mutex<String>>,
    refusals: Arc<AtomicU32>,
    wake: Arc<tokio::sync::Notify>,
}

struct Apply {
    kernel: Kernel,
}
controller!(Apply, "network.HostnameApply",
    inputs: [strong HostnameSpec],
    outputs: [exclusive HostnameStatus]);

impl Driver for Apply {
    type Observed = String;
    type Op = String;

    async fn observe(&mut self, _view: &View<Self>) -> anyhow::Result<String> {
        Ok(self.kernel.name.lock().clone())
    }

    fn plan(&self, view: &View<Self>, observed: &String) -> Plan<Self, String> {
        let mut plan = Plan::new();
        for gone in view.tearing_down::<HostnameSpec>() {
            plan.release::<HostnameSpec>(gone.id());
        }
        let Some(wanted) = view.get::<HostnameSpec>("hostname") else { return plan.waiting("a hostname") };
        plan.hold::<HostnameSpec>("hostname");
        if &wanted.hostname != observed {
            plan.op(wanted.hostname.clone());
        }
        plan.put("hostname", HostnameStatus { hostname: observed.clone() });
        plan
    }

    async fn apply(&mut self, op: String) -> anyhow::Result<()> {
        let refused =
            self.kernel.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        anyhow::ensure!(refused.is_err(), "the kernel refused");
        *self.kernel.name.lock() = op;
        Ok(())
    }

    fn sources(&mut self) -> Vec<Source> {
        let wake = Arc::clone(&self.kernel.wake);
        vec![Source::new("hostname", move |trigger| {
            let wake = Arc::clone(&wake);
            async move {
                loop {
                    wake.notified().await;
                    trigger.fire();
                }
            }
        })]
    }
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.namespace("network", "").namespace("network-config", "");
    registry.register::<HostnameSpec>().register::<HostnameStatus>();
    registry
}

fn layer(id: &str, hostname: &str, layer: u32) -> corten_resource::AnyResource {
    resource_in("network-config", id, HostnameSpec { hostname: hostname.to_owned(), layer })
}

fn pointer(namespace: &str, id: &str) -> Pointer {
    Pointer::new(namespace, HostnameSpec::DEFINITION.kind, id)
}

#[test]
fn resources_before_become_resources_after() {
    let kernel = Kernel::default();
    check(
        registry(),
        |runtime| {
            runtime.register_transform(Merge).register(Apply { kernel: kernel.clone() });
        },
        &[layer("default", "low", 0), layer("machine", "high", 3)],
        &[
            resource("hostname", HostnameSpec { hostname: "high".to_owned(), layer: 3 }),
            resource("hostname", HostnameStatus { hostname: "high".to_owned() }),
        ],
    );
    assert_eq!(*kernel.name.lock(), "high");
}

#[test]
fn a_plan_is_tested_without_a_runtime() {
    let plan = Merge.plan(&View::of([layer("a", "x", 1)], std::time::UNIX_EPOCH));
    assert_eq!(plan.output::<HostnameSpec>("hostname").map(|spec| spec.layer), Some(1));
    let plan = Merge.plan(&View::of([], std::time::UNIX_EPOCH));
    assert_eq!(plan.outcome(), Outcome::Waiting("a hostname".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn waits_publish_their_reason_and_outputs_follow_their_inputs() {
    let test = TestRuntime::new(registry(), |runtime| {
        runtime.register_transform(Merge);
    });
    test.quiet().await;
    let status = test.status("network.HostnameMerge").expect("a status");
    assert_eq!((status.state, status.reason.as_str()), (ControllerState::Waiting, "a hostname"));
    test.put(layer("a", "one", 1));
    test.quiet().await;
    assert_eq!(test.status("network.HostnameMerge"), Some(Default::default()));
    let output = test.state().get::<HostnameSpec>("hostname").expect("an output");
    assert_eq!((output.metadata.owner.as_str(), output.metadata.version), ("network.HostnameMerge", 1));
    test.state().remove_any("", &pointer("network-config", "a")).expect("removed");
    test.quiet().await;
    assert_eq!(test.outputs(), "");
}

#[tokio::test(start_paused = true)]
async fn a_held_output_stays_in_teardown_until_it_is_released_and_then_comes_back() {
    let test = TestRuntime::new(registry(), |runtime| {
        runtime.register_transform(Merge);
    });
    test.put(layer("a", "one", 1));
    test.quiet().await;
    test.state().add_finalizer(&pointer("network", "hostname"), "holder").expect("held");
    test.state().remove_any("", &pointer("network-config", "a")).expect("removed");
    test.quiet().await;
    assert!(
        test.state().get::<HostnameSpec>("hostname").is_some_and(|output| output.metadata.is_tearing_down())
    );
    test.put(layer("b", "two", 1));
    test.quiet().await;
    let status = test.status("network.HostnameMerge").expect("a status");
    assert!(status.reason.contains("to be released"), "{}", status.reason);
    test.state().remove_finalizer(&pointer("network", "hostname"), "holder").expect("released");
    test.quiet().await;
    let output = test.state().get::<HostnameSpec>("hostname").expect("an output");
    assert_eq!((output.hostname.as_str(), output.metadata.is_tearing_down()), ("two", false));
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_a_failure_are_contained_published_and_tried_again() {
    let kernel = Kernel::default();
    kernel.refusals.store(2, Ordering::SeqCst);
    let test = TestRuntime::new(registry(), |runtime| {
        runtime.register_transform(Merge).register(Apply { kernel: kernel.clone() });
    });
    test.put(layer("a", "one", 1));
    test.quiet().await;
    let status = test.status("network.HostnameApply").expect("a status");
    assert_eq!((status.state, status.failures), (ControllerState::Failed, 1));
    assert_eq!(status.reason, "the kernel refused");
    let published = test.state().get::<HostnameStatus>("hostname").expect("what was observed");
    assert_eq!(published.hostname, "", "a status tells what is, also after a failure");
    test.advance(Duration::from_secs(5)).await;
    assert_eq!(test.status("network.HostnameApply"), Some(Default::default()));

    test.put(layer("b", "panic", 9));
    test.quiet().await;
    let status = test.status("network.HostnameMerge").expect("a status");
    assert!(status.reason.contains("panicked") && status.reason.contains("asked to"), "{}", status.reason);
    test.put(layer("b", "fine", 9));
    test.advance(Duration::from_secs(5)).await;
    assert_eq!(*kernel.name.lock(), "fine");
}

#[tokio::test(start_paused = true)]
async fn a_source_wakes_its_controller_and_finalizers_guard_inputs() {
    let kernel = Kernel::default();
    let test = TestRuntime::new(registry(), |runtime| {
        runtime.register(Apply { kernel: kernel.clone() });
    });
    test.put(resource("hostname", HostnameSpec { hostname: "steel".to_owned(), layer: 0 }));
    test.quiet().await;
    let held = test.state().get::<HostnameSpec>("hostname").expect("the input");
    assert_eq!(held.metadata.finalizers, ["network.HostnameApply"]);

    "elsewhere".clone_into(&mut kernel.name.lock());
    kernel.wake.notify_one();
    test.advance(Duration::from_millis(1)).await;
    assert_eq!(*kernel.name.lock(), "steel", "drift is repaired");

    assert_eq!(test.state().remove_any("", &pointer("network", "hostname")), Ok(false), "somebody holds it");
    test.quiet().await;
    assert_eq!(test.state().remove_any("", &pointer("network", "hostname")), Ok(true), "and has let go");
}

/// Names of layers that all end up under one id.
struct Colliding;
controller!(Colliding, "network.Colliding",
    inputs: [weak HostnameSpec in "network-config"],
    outputs: [exclusive HostnameStatus]);

impl Transform for Colliding {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        for layer in view.list::<HostnameSpec>() {
            plan.put("hostname", HostnameStatus { hostname: layer.hostname.clone() });
        }
        plan
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_of_two_outputs_with_one_id_stays_and_readers_are_left_alone() {
    let test = TestRuntime::new(registry(), |runtime| {
        runtime.register_transform(Colliding);
    });
    test.put(layer("a", "one", 1));
    test.put(layer("b", "two", 1));
    test.quiet().await;
    test.put(layer("c", "three", 1));
    test.quiet().await;
    let output = test.state().get::<HostnameStatus>("hostname").expect("an output");
    assert_eq!((output.hostname.as_str(), output.metadata.version), ("one", 1));
}

#[test]
fn everything_that_is_missing_is_told_and_a_problem_weighs_more() {
    let mut plan = Plan::<Merge>::new();
    plan.missing("link eth0").missing("link eth1").missing("link eth0");
    assert_eq!(plan.outcome(), Outcome::Waiting("link eth0; link eth1".to_owned()));
    plan.problem("a name is too long");
    assert_eq!(plan.waiting("link eth2").outcome(), Outcome::Failed("a name is too long".to_owned()));
}

/// Wants two operations that both fail.
struct Refused;
controller!(Refused, "network.Refused", inputs: [], outputs: []);

impl Driver for Refused {
    type Observed = ();
    type Op = &'static str;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<()> {
        Ok(())
    }

    fn plan(&self, _: &View<Self>, (): &()) -> Plan<Self, &'static str> {
        let mut plan = Plan::new();
        plan.op("eth0").op("eth1");
        plan
    }

    async fn apply(&mut self, op: &'static str) -> anyhow::Result<()> {
        anyhow::bail!("{op} is refused")
    }
}

#[tokio::test(start_paused = true)]
async fn all_failures_of_a_cycle_are_told() {
    let test = TestRuntime::new(registry(), |runtime| {
        runtime.register(Refused);
    });
    test.quiet().await;
    let status = test.status("network.Refused").expect("a status");
    assert_eq!(status.reason, "eth0 is refused; eth1 is refused");
}

/// Its input goes while it looks at the world.
struct Bereft {
    state: State,
    applied: Arc<AtomicU32>,
}
controller!(Bereft, "network.Bereft", inputs: [strong HostnameSpec], outputs: []);

impl Driver for Bereft {
    type Observed = ();
    type Op = ();

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<()> {
        self.state.remove_any("", &pointer("network", "hostname"))?;
        Ok(())
    }

    fn plan(&self, view: &View<Self>, (): &()) -> Plan<Self, ()> {
        let mut plan = Plan::new();
        for row in view.list::<HostnameSpec>() {
            plan.hold::<HostnameSpec>(row.id()).op(());
        }
        plan
    }

    async fn apply(&mut self, (): ()) -> anyhow::Result<()> {
        self.applied.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_for_an_input_that_could_not_be_held() {
    let state = corten_resource::testing::state(registry());
    state.put_any("", resource("hostname", HostnameSpec::default())).expect("put");
    let applied = Arc::new(AtomicU32::new(0));
    let driver = Bereft { state: state.clone(), applied: Arc::clone(&applied) };
    let test = TestRuntime::with_state(state, |runtime| {
        runtime.register(driver);
    });
    test.quiet().await;
    assert_eq!(applied.load(Ordering::SeqCst), 0, "nobody would undo it");
    assert_eq!(test.status("network.Bereft"), Some(Default::default()));
}

struct Rival;
controller!(Rival, "network.Rival", inputs: [], outputs: [shared HostnameSpec in "network"]);
impl Transform for Rival {
    fn plan(&self, _: &View<Self>) -> Plan<Self> {
        Plan::new()
    }
}

#[test]
fn registration_refuses_what_does_not_go_together() {
    let mut runtime = Runtime::new(State::new(registry()));
    runtime.register_transform(Merge).register_transform(Rival).register_transform(Merge);
    let errors = runtime.check().expect_err("conflicts");
    assert_eq!(errors.0.len(), 3, "{errors}");
    assert!(errors.to_string().contains("network.HostnameMerge is registered twice"), "{errors}");
    let mut runtime = Runtime::new(State::new(Registry::new()));
    runtime.register_transform(Rival);
    assert!(runtime.check().expect_err("unknown type").to_string().contains("not registered"));
}

#[test]
fn the_graph_shows_every_connection() {
    let mut runtime = Runtime::new(State::new(registry()));
    runtime.register_transform(Merge);
    let edge = Edge {
        controller: "network.HostnameMerge",
        kind: EdgeKind::InputStrong,
        namespace: "network-config",
        resource_type: "HostnameSpecs.net.talos.dev",
    };
    assert!(runtime.graph().edges().contains(&edge));
    let picture = runtime.graph().graphviz();
    assert!(
        picture.contains(r#""HostnameSpecs.net.talos.dev@network-config" -> "network.HostnameMerge";"#),
        "{picture}"
    );
    assert!(
        picture.contains(r#""network.HostnameMerge" -> "HostnameSpecs.net.talos.dev@network" [style=bold];"#)
    );
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_every_controller() {
    let mut runtime = Runtime::new(State::new(registry()));
    runtime.register_transform(Merge);
    let running = runtime.start().expect("no conflicts");
    running.quiet().await;
    running.stop().await;
}
