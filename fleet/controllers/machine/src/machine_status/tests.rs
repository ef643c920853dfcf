//! The controller over a world of the test's making.

use std::sync::Arc;

use corten_fleet_resources::machine::PlatformMetadata;
use corten_resource::testing::{TestRuntime, resource};
use corten_resource::{ControllerState, StateError};
use parking_lot::Mutex;

use super::*;
use crate::board::{Reach, types};

/// What is seen, and what was done.
#[derive(Clone, Default)]
struct World(Arc<Mutex<(Sight, Vec<String>)>>);

impl World {
    fn took(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().1)
    }

    fn note(&self, text: String) {
        self.0.lock().1.push(text);
    }

    fn see(&self, reach: Reach, facts: Facts) {
        let sight = &mut self.0.lock().0;
        sight.reach = reach;
        sight.facts = Some(Box::new(facts));
    }
}

impl Watching for World {
    fn sight(&self, _: &str) -> Sight {
        self.0.lock().0.clone()
    }
    fn watch(&self, _: &str, target: &Target) -> anyhow::Result<()> {
        self.note(format!("watch {} of {}", target.address, target.cluster.as_deref().unwrap_or("nobody")));
        let sight = &mut self.0.lock().0;
        sight.is_known = true;
        sight.target = Some(target.clone());
        Ok(())
    }
    fn unwatch(&self, _: &str) {
        self.note("unwatch".to_owned());
        self.0.lock().0 = Sight { is_known: true, ..Sight::default() };
    }
    fn forget(&self, _: &str) {
        self.note("forget".to_owned());
        self.0.lock().0 = Sight::default();
    }
}

/// Makes what belongs to people in the state of the test.
struct Hands(World, corten_resource::State);

impl Handover for Hands {
    fn labels(&self, machine: &str, labels: &BTreeMap<String, String>) -> Result<(), StateError> {
        self.0.note(format!("label {labels:?}"));
        self.1.labels(machine, labels)
    }
    fn kernel_args(&self, machine: &str, args: &[String]) -> Result<(), StateError> {
        self.0.note(format!("args {args:?}"));
        self.1.kernel_args(machine, args)
    }
}

fn started(world: &World) -> TestRuntime {
    let mut registry = corten_fleet_resources::registry();
    types(&mut registry);
    TestRuntime::new(registry, |runtime| {
        let hands = Hands(world.clone(), runtime.state().clone());
        runtime.register_items(MachineStatusController::new(world.clone(), hands));
    })
}

fn machine(connected: bool) -> AnyResource {
    let spec = Machine { management_address: "fdae::7".to_owned(), connected, use_grpc_tunnel: false };
    resource("m1", spec)
}

fn join() -> AnyResource {
    resource("m1", MachineJoinConfig::default())
}

fn wake(runtime: &TestRuntime, revision: u64) {
    runtime.put(resource("m1", MachineObservation { revision }));
}

fn found(runtime: &TestRuntime) -> Resource<MachineStatus> {
    runtime.state().get::<MachineStatus>("m1").expect("a status")
}

fn facts(version: &str) -> Facts {
    let tags = [("team".to_owned(), "x".to_owned())].into();
    let platform = PlatformMetadata { platform: "metal".to_owned(), tags, ..PlatformMetadata::default() };
    let status = MachineStatus {
        talos_version: version.to_owned(),
        platform_metadata: Some(platform),
        ..MachineStatus::default()
    };
    let kernel_args = Some(vec!["siderolink.api=x".to_owned(), "quiet".to_owned()]);
    Facts { status, fips: "", kernel_args }
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_watched_while_it_is_connected_and_only_after_it_can_be_told_how_to_join() {
    let world = World::default();
    let runtime = started(&world);
    runtime.put(machine(true));
    runtime.quiet().await;
    let status = runtime.status("MachineStatusController/m1").expect("it waits");
    assert_eq!((status.state, status.reason.as_str()), (ControllerState::Waiting, "its join configuration"));
    assert!(world.took().is_empty());
    runtime.put(join());
    runtime.quiet().await;
    assert_eq!(world.took(), ["watch fdae::7 of nobody"]);
    let node = resource("m1", MachineSetNode {}).edit(|metadata| {
        metadata.labels.insert(labels::CLUSTER.to_owned(), "prod".to_owned());
    });
    runtime.put(node);
    runtime.quiet().await;
    assert_eq!(world.took(), ["watch fdae::7 of prod"], "other credentials");
    runtime.put(machine(false));
    runtime.quiet().await;
    assert_eq!(world.took(), ["unwatch"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_machine_said_is_published_and_stays_when_it_goes_away() {
    let world = World::default();
    let runtime = started(&world);
    runtime.put(join());
    runtime.put(machine(true));
    runtime.quiet().await;
    world.see(Reach::Maintenance, facts("v1.14.0"));
    wake(&runtime, 1);
    runtime.quiet().await;
    let status = found(&runtime);
    assert_eq!((status.talos_version.as_str(), status.maintenance), ("v1.14.0", true));
    runtime.put(machine(false));
    runtime.quiet().await;
    let status = found(&runtime);
    assert_eq!((status.talos_version.as_str(), status.connected), ("v1.14.0", false));
    assert!(status.metadata.labels.contains_key(names::DISCONNECTED));
}

#[tokio::test(start_paused = true)]
async fn labels_and_kernel_arguments_are_made_once_and_stay_away_when_people_remove_them() {
    let world = World::default();
    let runtime = started(&world);
    runtime.put(join());
    runtime.put(machine(true));
    runtime.quiet().await;
    world.took();
    world.see(Reach::Member, facts("v1.14.0"));
    wake(&runtime, 1);
    runtime.quiet().await;
    assert_eq!(world.took(), ["label {\"team\": \"x\"}", "args [\"quiet\"]"]);
    assert_eq!(found(&runtime).metadata.labels.get("team").map(String::as_str), Some("x"));
    runtime.state().remove::<MachineLabels>("", "m1").expect("removed");
    wake(&runtime, 2);
    runtime.quiet().await;
    assert!(world.took().is_empty());
    assert!(!found(&runtime).metadata.labels.contains_key("team"));
}

#[tokio::test(start_paused = true)]
async fn a_machine_goes_after_it_was_forgotten() {
    let world = World::default();
    let runtime = started(&world);
    runtime.put(join());
    runtime.put(machine(true));
    runtime.quiet().await;
    world.took();
    runtime.state().remove::<Machine>("", "m1").expect("torn down");
    runtime.quiet().await;
    assert_eq!(world.took(), ["forget"]);
    assert!(runtime.state().get::<MachineStatus>("m1").is_none());
    let machine = runtime.state().get::<Machine>("m1").expect("nobody destroyed it");
    assert!(machine.metadata.finalizers.is_empty());
}
