//! The controller over a machine of the test's making.

use corten_fleet_cluster::apply::Answer;
use corten_fleet_resources::labels::annotation::LOCKED;
use corten_fleet_resources::labels::{CLUSTER, MACHINE_SET, ROLE_CONTROL_PLANE};
use corten_fleet_resources::machine::{InstallImage, MachineStage, MachineStatusEvent};
use corten_resource::testing::{TestRuntime, resource};

use super::memory::{BEGIN_MAX, REFUSED_FOR};
use super::*;
use crate::member_scope::types;
use crate::testing::World;

const CONTROLLER: &str = "ClusterMachineConfigStatusController";
const WANTED: &str = "version: v1alpha1\nmachine:\n    type: worker\n    token: hunter2\n";

fn started(world: &World) -> TestRuntime {
    started_on(populated(), world)
}

/// A controller that starts on what is there.
fn started_on(state: State, world: &World) -> TestRuntime {
    TestRuntime::with_state(state.clone(), |runtime| {
        let controller = ClusterMachineConfigStatusController::new(world.clone(), state, Rng::seeded(1));
        runtime.register_items(controller);
    })
}

/// A member with everything around it.
fn populated() -> State {
    let mut registry = corten_fleet_resources::registry();
    types(&mut registry);
    let state = corten_resource::testing::state(registry);
    let management_address = "fdae::7".to_owned();
    let known = [
        member("m1"),
        scope(MemberScope { config_updates_allowed: true, updates_max: 1, ..MemberScope::default() }),
        resource("m1", Machine { management_address, connected: true, use_grpc_tunnel: false }),
        link("boot 1"),
        image("1.14.0"),
        wanted(WANTED),
    ];
    for resource in known {
        state.put_any("", resource).expect("put");
    }
    state
}

fn link(key: &str) -> AnyResource {
    resource("m1", Link { node_public_key: key.to_owned(), ..Link::default() })
}

fn member(id: &str) -> AnyResource {
    resource(id, ClusterMachine::default()).edit(|metadata| {
        let labels = [(CLUSTER, "prod"), (MACHINE_SET, "prod-control-planes"), (ROLE_CONTROL_PLANE, "")];
        for (key, value) in labels {
            metadata.labels.insert(key.to_owned(), value.to_owned());
        }
    })
}

fn scope(scope: MemberScope) -> AnyResource {
    resource("m1", scope)
}

fn image(version: &str) -> AnyResource {
    let image = InstallImage {
        talos_version: version.to_owned(),
        schematic_initialized: true,
        schematic_invalid: true,
        ..InstallImage::default()
    };
    resource("m1", MachineConfigGenOptions { install_image: Some(image) })
}

fn wanted(text: &str) -> AnyResource {
    let data = text.as_bytes().to_vec();
    resource("m1", ClusterMachineConfig { data, ..ClusterMachineConfig::default() })
}

fn is(runtime: &TestRuntime, maintenance: bool, stage: MachineStage, boot_id: &str) {
    let talos_version = "v1.14.0".to_owned();
    let status = MachineStatus { talos_version, connected: true, maintenance, ..MachineStatus::default() };
    runtime.put(resource("m1", status));
    let machine_status = Some(MachineStatusEvent { stage, status: None });
    let boot_id = boot_id.to_owned();
    runtime.put(resource("m1", MachineStatusSnapshot { machine_status, boot_id, ..Default::default() }));
}

fn status(runtime: &TestRuntime) -> ClusterMachineConfigStatus {
    runtime.state().get::<ClusterMachineConfigStatus>("m1").expect("a status").spec
}

fn reason(runtime: &TestRuntime) -> String {
    runtime.status(&format!("{CONTROLLER}/m1")).map(|status| status.reason).unwrap_or_default()
}

fn holders(runtime: &TestRuntime) -> Vec<String> {
    runtime.state().get::<ClusterMachine>("m1").map(|member| member.metadata.finalizers).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_new_machine_gets_its_configuration_once_and_proves_it_as_a_member() {
    let world = World::default();
    let runtime = started(&world);
    is(&runtime, true, MachineStage::Unknown, "");
    runtime.quiet().await;
    assert_eq!(world.took(), ["apply in maintenance"]);
    assert_eq!(status(&runtime).cluster_machine_config_sha256, "", "nothing is proven yet");
    runtime.advance(Duration::from_secs(60)).await;
    assert!(world.took().is_empty(), "it installs itself");
    is(&runtime, false, MachineStage::Running, "boot-2");
    runtime.quiet().await;
    let taken = status(&runtime);
    assert_eq!(taken.cluster_machine_config_sha256, crate::texts::sha256(WANTED.as_bytes()));
    assert!(taken.redacted_current_machine_config.contains("token: REDACTED"));
    assert_eq!((taken.talos_version.as_str(), reason(&runtime).as_str()), ("1.14.0", ""));
    assert!(world.took().is_empty());
    assert_eq!(holders(&runtime), [CONTROLLER]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_stays_in_maintenance_gets_its_configuration_again() {
    let world = World::default();
    let runtime = started(&world);
    is(&runtime, true, MachineStage::Maintenance, "");
    runtime.quiet().await;
    assert_eq!(world.took().len(), 1);
    runtime.advance(BEGIN_MAX + Duration::from_secs(1)).await;
    assert_eq!(world.took().len(), 1);
    runtime.put(link("boot 2"));
    runtime.quiet().await;
    assert_eq!(world.took().len(), 1, "it forgot it when it booted");
}

/// A machine that has what is wanted.
async fn configured(world: &World) -> TestRuntime {
    let runtime = started(world);
    world.has(WANTED);
    is(&runtime, false, MachineStage::Running, "boot-1");
    runtime.quiet().await;
    assert!(world.took().is_empty());
    runtime
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_restart_is_recorded_after_it_and_the_slot_is_kept_until_then() {
    let world = World::default();
    let runtime = configured(&world).await;
    let other = WANTED.replace("hunter2", "hunter3");
    world.answers(Answer::Reboot);
    runtime.put(wanted(&other));
    runtime.quiet().await;
    assert_eq!(world.took(), ["apply in prod"]);
    assert_eq!(status(&runtime).pre_reboot_boot_id, "boot-1");
    assert_ne!(status(&runtime).cluster_machine_config_sha256, crate::texts::sha256(other.as_bytes()));
    assert!(holders(&runtime).iter().any(|holder| holder == CONFIG_SLOT));
    world.has(&other);
    is(&runtime, false, MachineStage::Running, "boot-2");
    runtime.quiet().await;
    assert_eq!(status(&runtime).cluster_machine_config_sha256, crate::texts::sha256(other.as_bytes()));
    assert_eq!(status(&runtime).pre_reboot_boot_id, "");
    assert_eq!(holders(&runtime), [CONTROLLER]);
    assert!(world.took().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_machine_waits_for_its_turn_for_the_lock_and_for_a_machine_set_that_grows() {
    let (world, state) = (World::default(), populated());
    state.put_any("", member("m2")).expect("put");
    state.add_finalizer(&member("m2").pointer(), CONFIG_SLOT).expect("held");
    let runtime = started_on(state, &world);
    world.has(WANTED);
    is(&runtime, false, MachineStage::Running, "boot-1");
    runtime.quiet().await;
    let other = WANTED.replace("hunter2", "hunter3");
    runtime.put(wanted(&other));
    runtime.quiet().await;
    assert!(reason(&runtime).contains("other machines of its set"), "{}", reason(&runtime));
    let locked = resource("m1", MachineSetNode {})
        .edit(|metadata| drop(metadata.annotations.insert(LOCKED.to_owned(), String::new())));
    runtime.put(locked);
    runtime.quiet().await;
    assert!(reason(&runtime).contains("unlock it"), "{}", reason(&runtime));
    runtime.put(resource("m1", MachineSetNode {}));
    runtime.put(scope(MemberScope { updates_max: 2, ..MemberScope::default() }));
    runtime.quiet().await;
    assert!(reason(&runtime).contains("grows or shrinks"), "{}", reason(&runtime));
    assert!(world.took().is_empty());
    let wider = MemberScope { config_updates_allowed: true, updates_max: 2, ..MemberScope::default() };
    runtime.put(scope(wider));
    runtime.quiet().await;
    assert_eq!(world.took(), ["apply in prod"]);
    assert_eq!(holders(&runtime), [CONTROLLER], "the slot is given back");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_and_the_same_configuration_is_sent_rarely() {
    let world = World::default();
    let runtime = configured(&world).await;
    world.refuses(Some("no such disk"));
    runtime.put(wanted(&WANTED.replace("hunter2", "hunter3")));
    runtime.quiet().await;
    assert_eq!(status(&runtime).last_config_error, "no such disk");
    assert!(reason(&runtime).contains("no such disk"), "{}", reason(&runtime));
    assert_eq!(holders(&runtime), [CONTROLLER], "others may go on");
    world.refuses(None);
    runtime.advance(REFUSED_FOR + Duration::from_secs(1)).await;
    assert_eq!(world.took(), ["apply in prod"]);
    assert_eq!(status(&runtime).last_config_error, "");
}

#[tokio::test(start_paused = true)]
async fn what_drifts_is_sent_again_when_it_is_seen() {
    let world = World::default();
    let runtime = configured(&world).await;
    world.has("version: v1alpha1\nmachine:\n    type: worker\n    token: other\n");
    runtime.advance(LOOK_EVERY + Duration::from_secs(60)).await;
    assert_eq!(world.took(), ["apply in prod"]);
    assert_eq!(holders(&runtime), [CONTROLLER]);
}

#[tokio::test(start_paused = true)]
async fn another_version_is_said_and_holds_no_configuration_up() {
    let world = World::default();
    let runtime = configured(&world).await;
    runtime.put(image("1.15.0"));
    runtime.quiet().await;
    assert!(reason(&runtime).contains("an upgrade: version 1.15.0"), "{}", reason(&runtime));
    runtime.put(wanted(&WANTED.replace("hunter2", "hunter3")));
    runtime.quiet().await;
    assert_eq!(world.took(), ["apply in prod"]);
}

fn tear_down(runtime: &TestRuntime) {
    runtime.state().remove::<ClusterMachine>("", "m1").expect("torn down");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_leaves_is_reset_in_order_and_held_until_it_is_in_maintenance() {
    let world = World::default();
    let runtime = configured(&world).await;
    let graceful = MemberScope { should_reset_graceful: true, updates_max: 1, ..MemberScope::default() };
    runtime.put(scope(graceful));
    runtime.quiet().await;
    world.is(Probe::Member);
    tear_down(&runtime);
    runtime.quiet().await;
    let volumes = "EPHEMERAL,STATE,CRI,KUBELET,ETCD,LOG";
    let reset = format!("reset graceful=true {volumes}");
    assert_eq!(world.took(), ["delete 9", "forfeit", "leave", reset.as_str()]);
    assert_eq!(holders(&runtime), [CONTROLLER], "it still resets itself");
    assert!(reason(&runtime).contains("maintenance"), "{}", reason(&runtime));
    world.silence(true);
    runtime.advance(Duration::from_secs(60)).await;
    assert_eq!(holders(&runtime), [CONTROLLER], "it restarts");
    world.silence(false);
    world.is(Probe::Configuring);
    runtime.advance(Duration::from_secs(60)).await;
    assert_eq!(holders(&runtime), [CONTROLLER], "maintenance is more than an answer without credentials");
    world.is(Probe::Maintenance);
    runtime.advance(Duration::from_secs(60)).await;
    assert!(holders(&runtime).is_empty() && world.took().is_empty());
    assert!(runtime.state().get::<ClusterMachineConfigStatus>("m1").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_dead_machine_is_let_go_after_a_while_and_one_that_is_gone_at_once() {
    let world = World::default();
    let runtime = configured(&world).await;
    world.silence(true);
    tear_down(&runtime);
    runtime.advance(Duration::from_secs(10 * 60)).await;
    assert_eq!(holders(&runtime), [CONTROLLER]);
    runtime.advance(Duration::from_secs(6 * 60)).await;
    assert!(holders(&runtime).is_empty());
    let other = configured(&World::default()).await;
    other.state().remove::<Machine>("", "m1").expect("gone");
    tear_down(&other);
    other.quiet().await;
    assert!(holders(&other).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_starts_again_goes_on_with_the_wait_for_a_dead_machine() {
    let world = World::default();
    let runtime = configured(&world).await;
    world.silence(true);
    let management_address = "fdae::7".to_owned();
    runtime.put(resource("m1", Machine { management_address, connected: false, use_grpc_tunnel: false }));
    tear_down(&runtime);
    runtime.advance(Duration::from_secs(14 * 60)).await;
    assert_eq!(holders(&runtime), [CONTROLLER]);
    let state = runtime.state().clone();
    drop(runtime);
    tokio::task::yield_now().await;
    let runtime = started_on(state, &world);
    runtime.advance(Duration::from_secs(4 * 60)).await;
    assert_eq!(holders(&runtime), [CONTROLLER], "it may come back now that the manager does");
    runtime.advance(Duration::from_secs(2 * 60)).await;
    assert!(holders(&runtime).is_empty(), "20 min are enough");
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_link_is_removed_is_not_waited_for() {
    let world = World::default();
    let runtime = configured(&world).await;
    world.silence(true);
    let machine = resource("m1", Machine::default()).pointer();
    runtime.state().add_finalizer(&machine, "cluster").expect("held until the machine is out of its cluster");
    runtime.state().remove::<Machine>("", "m1").expect("torn down with its link");
    tear_down(&runtime);
    runtime.quiet().await;
    assert!(holders(&runtime).is_empty());
}

#[tokio::test(start_paused = true)]
async fn machines_of_an_import_that_is_given_up_are_left_as_they_are() {
    let world = World::default();
    let runtime = configured(&world).await;
    runtime.put(scope(MemberScope { keeps_machines: true, is_locked: true, ..MemberScope::default() }));
    world.is(Probe::Member);
    tear_down(&runtime);
    runtime.quiet().await;
    assert!(holders(&runtime).is_empty() && world.took().is_empty());
}
