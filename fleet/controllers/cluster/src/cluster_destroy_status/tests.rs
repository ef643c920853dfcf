//! Clusters that are removed, on virtual time.

use std::time::Duration;

use corten_base::Rng;
use corten_fleet_resources::labels::{CLUSTER_MACHINE, MACHINE, ROLE_CONTROL_PLANE, ROLE_WORKER};
use corten_resource::Resource;
use corten_resource::testing::{TestRuntime, resource};

use super::*;
use crate::cluster_uuid::ClusterUuidController;
use crate::testing::in_cluster;

fn label(resource: AnyResource, key: &str, value: &str) -> AnyResource {
    resource.edit(|metadata| drop(metadata.labels.insert(key.to_owned(), value.to_owned())))
}

fn started() -> TestRuntime {
    let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
        let state = runtime.state().clone();
        runtime.register_items(ClusterDestroyStatusController::new(state));
        runtime.register_items(ClusterUuidController::new(Rng::seeded(1)));
    });
    let set = |id: &str, role: &str| label(in_cluster(resource(id, MachineSet::default())), role, "");
    runtime.put(resource("prod", Cluster::default()));
    runtime.put(set("prod-control-planes", ROLE_CONTROL_PLANE));
    runtime.put(set("prod-workers", ROLE_WORKER));
    for (id, set) in [("a", "prod-control-planes"), ("w", "prod-workers")] {
        let machine = in_cluster(resource(id, ClusterMachine::default()));
        runtime.put(label(machine, MACHINE_SET, set));
        runtime.put(label(in_cluster(resource(id, MachineSetNode {})), MACHINE_SET, set));
    }
    let patch = |id: &str| in_cluster(resource(id, ConfigPatch::default()));
    runtime.put(label(patch("400-a"), CLUSTER_MACHINE, "a"));
    runtime.put(label(patch("500-a"), MACHINE, "a"));
    runtime
}

fn get<S: Spec>(runtime: &TestRuntime, id: &str) -> Option<Resource<S>> {
    runtime.state().get::<S>(id)
}

fn phase(runtime: &TestRuntime) -> Option<String> {
    get::<ClusterDestroyStatus>(runtime, "prod").map(|status| status.phase.clone())
}

/// As the controller of machine sets holds them until their machines are gone.
fn hold(runtime: &TestRuntime, id: &str) -> Pointer {
    let pointer = Pointer::new(MachineSet::DEFINITION.namespace, MachineSet::DEFINITION.kind, id);
    runtime.state().add_finalizer(&pointer, "MachineSetStatusController").expect("held");
    pointer
}

async fn release(runtime: &TestRuntime, set: &Pointer, machine: &str) {
    runtime.state().remove::<ClusterMachine>("", machine).expect("it left");
    runtime.state().remove_finalizer(set, "MachineSetStatusController").expect("released");
    runtime.advance(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_emptied_in_order_and_its_own_things_go_last() {
    let runtime = started();
    let (workers, control_planes) = (hold(&runtime, "prod-workers"), hold(&runtime, "prod-control-planes"));
    runtime.quiet().await;
    assert_eq!(phase(&runtime), None, "nobody removes it");
    runtime.state().remove::<Cluster>("", "prod").expect("torn down");
    runtime.quiet().await;
    let is_going = |id: &str| get::<MachineSet>(&runtime, id).map(|set| set.metadata.is_tearing_down());
    assert_eq!((is_going("prod-workers"), is_going("prod-control-planes")), (Some(true), Some(false)));
    assert_eq!(phase(&runtime).as_deref(), Some("waiting for 2 machine sets with 2 machines"));
    release(&runtime, &workers, "w").await;
    assert_eq!((is_going("prod-workers"), is_going("prod-control-planes")), (None, Some(true)));
    assert!(get::<MachineSetNode>(&runtime, "a").is_some());
    assert!(get::<ConfigPatch>(&runtime, "400-a").is_some());
    assert!(get::<ClusterUuid>(&runtime, "prod").is_some(), "machines are still there");
    release(&runtime, &control_planes, "a").await;
    assert!(get::<MachineSetNode>(&runtime, "a").is_none());
    assert!(get::<ConfigPatch>(&runtime, "400-a").is_none());
    assert!(get::<ConfigPatch>(&runtime, "500-a").is_some(), "it is the machine's, wherever that is");
    assert!(get::<ClusterUuid>(&runtime, "prod").is_none());
    runtime.advance(Duration::from_secs(60)).await;
    assert_eq!(phase(&runtime), None);
    let cluster = get::<Cluster>(&runtime, "prod").expect("it waits to be destroyed");
    assert!(cluster.metadata.is_destroy_ready());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_not_torn_down_keeps_all_that_it_has() {
    let runtime = started();
    runtime.quiet().await;
    let orphan = label(resource("other-workers", MachineSet::default()), ROLE_WORKER, "");
    runtime.put(label(orphan, corten_fleet_resources::labels::CLUSTER, "other"));
    runtime.advance(Duration::from_secs(600)).await;
    assert!(get::<MachineSet>(&runtime, "prod-workers").is_some());
    assert!(get::<MachineSet>(&runtime, "other-workers").is_some(), "its cluster is not seen");
}
