//! Sets on virtual time, with an etcd that says what the test wants.

use std::sync::Arc;

use corten_fleet_cluster::quorum::Member;
use corten_fleet_resources::cluster::{Cluster, MachineAllocation, MachineSetPhase};
use corten_fleet_resources::labels::annotation::CLUSTER_LOCKED;
use corten_fleet_resources::machine::NodeForceDestroyRequest;
use corten_resource::testing::{TestRuntime, resource};
use parking_lot::Mutex;

use super::*;
use crate::cluster_machine_status::ClusterMachineStatusController;
use crate::machine_set_cluster::MachineSetClusterController;
use crate::testing::{
    CONTROL_PLANES, NAME, WORKERS, annotated, cluster, in_set, load_balancer, machine_set, machine_set_of,
    node, registry,
};

/// What etcd says.
#[derive(Clone)]
struct Told(Arc<Mutex<Result<Etcd, String>>>);

impl Told {
    fn silence() -> Self {
        Self(Arc::new(Mutex::new(Err("nobody tells the members".to_owned()))))
    }

    /// Members of these machines, healthy but for one.
    fn say(&self, machines: &[&str], ill: &str) {
        let member = |(id, machine): (u64, &&str)| {
            let is_healthy = *machine != ill;
            Member { id, is_learner: false, is_healthy }
        };
        let identities = (1..).zip(machines).map(|(id, machine)| ((*machine).to_owned(), id)).collect();
        *self.0.lock() = Ok(Etcd { members: (1..).zip(machines).map(member).collect(), identities });
    }
}

impl Members for Told {
    async fn ask(&self, _: &str, _: &[String]) -> Result<Etcd, String> {
        self.0.lock().clone()
    }
}

/// The controllers on a state that holds something already.
fn started_on(state: State, told: &Told) -> TestRuntime {
    TestRuntime::with_state(state, |runtime| {
        let state = runtime.state().clone();
        runtime.register_item_transform(MachineSetClusterController);
        runtime.register_item_transform(ClusterMachineStatusController);
        runtime.register_items(MachineSetStatusController::new(told.clone(), state));
    })
}

/// A cluster with a set of machines that are its members.
async fn started(set: &str, machines: &[&str], told: &Told) -> TestRuntime {
    let runtime = started_on(corten_resource::testing::state(registry()), told);
    runtime.put(cluster());
    runtime.put(load_balancer(true));
    runtime.put(machine_set(set));
    for machine in machines {
        runtime.put(node(machine, set));
    }
    runtime.quiet().await;
    runtime
}

/// Members of the cluster that stay.
fn members(runtime: &TestRuntime) -> Vec<String> {
    let all = runtime.state().list::<ClusterMachine>().into_iter();
    all.filter(|member| !member.metadata.is_tearing_down()).map(|member| member.id().to_owned()).collect()
}

fn leave(runtime: &TestRuntime, machine: &str) {
    runtime.state().remove::<MachineSetNode>("", machine).expect("removed");
}

fn reason(runtime: &TestRuntime, set: &str) -> String {
    let status = runtime.status(&format!("MachineSetStatusController/{set}"));
    status.map(|status| status.reason).unwrap_or_default()
}

fn phase(runtime: &TestRuntime, set: &str) -> Option<MachineSetPhase> {
    runtime.state().get::<MachineSetStatus>(set).map(|status| status.phase)
}

#[tokio::test(start_paused = true)]
async fn the_machines_of_a_set_become_members_with_the_version_of_the_cluster() {
    let runtime = started(WORKERS, &["m1", "m2"], &Told::silence()).await;
    assert_eq!(members(&runtime), ["m1", "m2"]);
    let member = runtime.state().get::<ClusterMachine>("m1").expect("a member");
    assert_eq!(member.kubernetes_version, "1.36.0");
    assert_eq!(member.metadata.labels, member_labels(machine_set(WORKERS).metadata()));
    let kubernetes_version = "1.37.0".to_owned();
    runtime.put(resource(NAME, Cluster { kubernetes_version, ..Cluster::default() }));
    runtime.quiet().await;
    let member = runtime.state().get::<ClusterMachine>("m1").expect("a member");
    assert_eq!(member.kubernetes_version, "1.36.0", "an upgrade is no matter of the set");
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_dies_at_any_step_of_a_replacement_finishes_it() {
    let told = Told::silence();
    told.say(&["m1", "m2", "m3"], "");
    for steps in [0, 1, 2, 3, 5, 8, 13, 21, 34, 55] {
        let runtime = started(CONTROL_PLANES, &["m1", "m2", "m3"], &told).await;
        let state = runtime.state().clone();
        drop(runtime);
        state.put_any("", node("m4", CONTROL_PLANES)).expect("put");
        state.remove::<MachineSetNode>("", "m3").expect("removed");
        // What is in memory only is gone after a start.
        let owner = MachineSetClusterController::NAME;
        let forget = || state.remove::<MachineSetCluster>(owner, CONTROL_PLANES).expect("gone");
        forget();
        let first = started_on(state.clone(), &told);
        for _ in 0..steps {
            tokio::task::yield_now().await;
        }
        drop(first);
        forget();
        let again = started_on(state.clone(), &told);
        again.quiet().await;
        assert_eq!(members(&again), ["m1", "m2", "m4"], "after {steps} steps");
        assert_eq!(reason(&again, CONTROL_PLANES), "", "after {steps} steps");
    }
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_machine_leaves_only_when_etcd_proves_that_it_may() {
    let told = Told::silence();
    let runtime = started(CONTROL_PLANES, &["m1", "m2", "m3"], &told).await;
    leave(&runtime, "m3");
    runtime.quiet().await;
    assert_eq!(members(&runtime), ["m1", "m2", "m3"]);
    let waits = reason(&runtime, CONTROL_PLANES);
    assert!(waits.contains("machine m3: etcd does not answer"), "{waits}");
    assert!(waits.contains("nobody tells the members"), "{waits}");
    told.say(&["m1", "m2", "m3"], "m2");
    runtime.advance(ETCD_AGAIN * 2).await;
    assert_eq!(members(&runtime), ["m1", "m2", "m3"]);
    let waits = reason(&runtime, CONTROL_PLANES);
    assert!(waits.contains("etcd member m2 is not healthy"), "{waits}");
    told.say(&["m1", "m2", "m3"], "m3");
    runtime.advance(ETCD_AGAIN * 2).await;
    assert_eq!(members(&runtime), ["m1", "m2"], "a dead one may go");
    assert_eq!(reason(&runtime, CONTROL_PLANES), "");
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_takes_no_configuration_while_a_machine_leaves() {
    let told = Told::silence();
    let runtime = started(CONTROL_PLANES, &["m1", "m2"], &told).await;
    told.say(&["m1", "m2"], "");
    let allows = || {
        let status = runtime.state().get::<MachineSetConfigStatus>(CONTROL_PLANES);
        status.map(|status| (status.config_updates_allowed, status.should_reset_graceful))
    };
    assert_eq!(allows(), Some((true, true)));
    runtime.state().add_finalizer(&pointer::<ClusterMachine>("m2"), "reset").expect("held");
    leave(&runtime, "m2");
    runtime.advance(ETCD_AGAIN * 2).await;
    assert_eq!((members(&runtime), allows()), (vec!["m1".to_owned()], Some((false, true))));
    assert_eq!(phase(&runtime, CONTROL_PLANES), Some(MachineSetPhase::ScalingDown));
}

#[tokio::test(start_paused = true)]
async fn who_is_forced_out_goes_whatever_etcd_says() {
    let runtime = started(CONTROL_PLANES, &["m1", "m2"], &Told::silence()).await;
    leave(&runtime, "m2");
    runtime.quiet().await;
    assert_eq!(members(&runtime), ["m1", "m2"]);
    runtime.put(resource("m2", NodeForceDestroyRequest {}));
    runtime.quiet().await;
    assert_eq!(members(&runtime), ["m1"]);
}

#[tokio::test(start_paused = true)]
async fn without_its_cluster_a_set_keeps_what_it_has() {
    let runtime = started(WORKERS, &["m1"], &Told::silence()).await;
    runtime.state().remove::<Cluster>("", NAME).expect("removed");
    runtime.quiet().await;
    leave(&runtime, "m1");
    runtime.quiet().await;
    assert_eq!(members(&runtime), ["m1"]);
    assert!(phase(&runtime, WORKERS).is_some());
    assert!(reason(&runtime, WORKERS).contains("its cluster"), "{}", reason(&runtime, WORKERS));
}

#[tokio::test(start_paused = true)]
async fn a_locked_cluster_changes_no_machines_until_it_is_unlocked() {
    let runtime = started(WORKERS, &["m1"], &Told::silence()).await;
    runtime.put(annotated(cluster(), &[CLUSTER_LOCKED]));
    runtime.quiet().await;
    runtime.put(node("m2", WORKERS));
    leave(&runtime, "m1");
    runtime.quiet().await;
    assert_eq!(members(&runtime), ["m1"]);
    assert!(reason(&runtime, WORKERS).contains("the cluster is locked"));
    runtime.put(cluster());
    runtime.quiet().await;
    assert_eq!(members(&runtime), ["m2"]);
}

#[tokio::test(start_paused = true)]
async fn a_set_goes_after_its_machines_and_says_so_meanwhile() {
    let runtime = started(WORKERS, &["m1", "m2"], &Told::silence()).await;
    let (set, member) = (pointer::<MachineSet>(WORKERS), pointer::<ClusterMachine>("m1"));
    runtime.state().add_finalizer(&member, "reset").expect("held");
    runtime.state().remove_any("", &set).expect("torn down");
    runtime.quiet().await;
    assert_eq!(phase(&runtime, WORKERS), Some(MachineSetPhase::Destroying));
    assert!(runtime.state().get::<ClusterMachine>("m2").is_none(), "all leave at once");
    let held = || runtime.state().get_any(&set).map(|set| set.metadata().finalizers.len());
    assert_eq!(held(), Some(1));
    runtime.state().remove_finalizer(&member, "reset").expect("reset");
    runtime.quiet().await;
    assert_eq!((phase(&runtime, WORKERS), held()), (None, Some(0)));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_still_in_another_set_waits() {
    let runtime = started(WORKERS, &[], &Told::silence()).await;
    runtime.put(in_set(resource("m1", ClusterMachine::default()), "prod-other"));
    runtime.put(node("m1", WORKERS));
    runtime.quiet().await;
    assert!(reason(&runtime, WORKERS).contains("leave machine set prod-other"));
    runtime.state().remove::<ClusterMachine>("", "m1").expect("it left");
    runtime.advance(ELSEWHERE_AGAIN * 2).await;
    let member = runtime.state().get::<ClusterMachine>("m1").expect("it came in");
    assert_eq!(label(&member.metadata, MACHINE_SET), WORKERS);
}

#[tokio::test(start_paused = true)]
async fn a_set_of_a_class_says_how_many_machines_it_misses() {
    let runtime = started(WORKERS, &["m1"], &Told::silence()).await;
    let allocation =
        MachineAllocation { name: "large".to_owned(), machine_count: 3, ..MachineAllocation::default() };
    let set = MachineSet { machine_allocation: Some(allocation), ..MachineSet::default() };
    runtime.put(machine_set_of(WORKERS, set));
    runtime.quiet().await;
    assert_eq!(reason(&runtime, WORKERS), "2 more machines of large; free or add some");
    assert_eq!(phase(&runtime, WORKERS), Some(MachineSetPhase::ScalingUp));
}
