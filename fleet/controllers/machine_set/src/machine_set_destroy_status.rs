//! How far the removal of a machine set is: what is still there, who holds each machine since when, and what would end
//! the wait.
//!
//! ```text
//! MachineSet (torn down), its ClusterMachines ─▶ MachineSetDestroyStatus
//! ```

use std::time::SystemTime;

use corten_fleet_cluster::status::remains;
use corten_fleet_resources::cluster::{ClusterMachine, MachineSet, MachineSetDestroyStatus};
use corten_fleet_resources::labels::MACHINE_SET;
use corten_resource::{
    AnyResource, Concern, ItemTransform, Metadata, Plan, Resource, Spec as _, View, controller,
};

use crate::RESET;
use crate::view::all;

/// Machines that are named one by one.
const NAMED_MAX: usize = 3;
/// What ends the wait for a machine.
const WAY_OUT: &str =
    "a machine that cannot be reset is let go after a while, and at once by a NodeForceDestroyRequest";

/// Publishes what the removal of a machine set waits for.
#[derive(Debug)]
pub struct MachineSetDestroyStatusController;

controller!(MachineSetDestroyStatusController, "MachineSetDestroyStatusController",
    inputs: [weak MachineSet, weak ClusterMachine],
    outputs: [exclusive MachineSetDestroyStatus]);

impl ItemTransform for MachineSetDestroyStatusController {
    fn concern(resource: &AnyResource) -> Concern {
        match resource.metadata().kind == ClusterMachine::DEFINITION.kind {
            true => Concern::by_label(resource, MACHINE_SET),
            false => Concern::by_id(resource),
        }
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(set) = view.tearing_down::<MachineSet>().into_iter().next() else { return plan };
        let phase = phase(&all::<ClusterMachine, _>(view));
        plan.put_with(item, MachineSetDestroyStatus { phase }, |metadata| {
            metadata.labels.clone_from(&set.metadata.labels);
        });
        plan
    }
}

/// What is still there of a set with these machines.
fn phase(machines: &[&Resource<ClusterMachine>]) -> String {
    let mut parts = vec![remains(0, machines.len())];
    parts.extend(machines.iter().take(NAMED_MAX).map(|machine| wait(&machine.metadata)));
    if machines.len() > NAMED_MAX {
        parts.push(format!("and {} more", machines.len().saturating_sub(NAMED_MAX)));
    }
    let is_reset = |machine: &&Resource<ClusterMachine>| {
        let metadata = &machine.metadata;
        metadata.is_tearing_down() && metadata.finalizers.iter().any(|holder| holder == RESET)
    };
    if machines.iter().any(is_reset) {
        parts.push(WAY_OUT.to_owned());
    }
    parts.join("; ")
}

/// What is waited for until one machine is gone.
fn wait(machine: &Metadata) -> String {
    let id = &machine.id;
    if !machine.is_tearing_down() {
        format!("{id} leaves next")
    } else if machine.finalizers.is_empty() {
        format!("{id} is gone in a moment")
    } else {
        let holders = machine.finalizers.join(", ");
        format!("{id} is held by {holders} since {}", time(machine.updated))
    }
}

/// A time in UTC, in whole seconds.
fn time(at: SystemTime) -> String {
    let stamp = jiff::Timestamp::try_from(at).ok();
    let stamp = stamp.and_then(|stamp| jiff::Timestamp::from_second(stamp.as_second()).ok());
    stamp.map_or_else(|| "an unknown time".to_owned(), |stamp| stamp.to_string())
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::{WORKERS, in_set, machine_set, registry};
    use crate::view::pointer;

    #[tokio::test(start_paused = true)]
    async fn a_removal_says_who_holds_a_machine_since_when_until_it_is_done() {
        let runtime = TestRuntime::new(registry(), |runtime| {
            runtime.register_item_transform(MachineSetDestroyStatusController);
        });
        let phase = || {
            let status = runtime.state().get::<MachineSetDestroyStatus>(WORKERS);
            status.map(|status| status.spec.phase)
        };
        runtime.put(machine_set(WORKERS));
        runtime.put(in_set(resource("m1", ClusterMachine::default()), WORKERS));
        runtime.quiet().await;
        assert_eq!(phase(), None, "nothing is removed");
        let all = [pointer::<MachineSet>(WORKERS), pointer::<ClusterMachine>("m1")];
        for resource in &all {
            runtime.state().add_finalizer(resource, RESET).expect("held");
            runtime.state().remove_any("", resource).expect("torn down");
        }
        runtime.quiet().await;
        let held = format!("m1 is held by {RESET} since 2023-11-14T22:13:20Z");
        assert_eq!(phase(), Some(format!("waiting for 1 machine; {held}; {WAY_OUT}")));
        for resource in &all {
            runtime.state().remove_finalizer(resource, RESET).expect("released");
            runtime.state().remove_any("", resource).expect("destroyed");
        }
        runtime.quiet().await;
        assert_eq!(phase(), None);
    }

    #[test]
    fn of_many_machines_some_are_named() {
        let machines = ["a", "b", "c", "d", "e"].map(|id| Resource::new(id, ClusterMachine::default()));
        let machines: Vec<&Resource<ClusterMachine>> = machines.iter().collect();
        let text = phase(&machines);
        assert!(text.starts_with("waiting for 5 machines; a leaves next; "), "{text}");
        assert!(text.ends_with("c leaves next; and 2 more"), "{text}");
        assert_eq!(phase(&[]), "removing what belonged to it");
    }
}
