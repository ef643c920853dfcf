//! Rules of `MachineSetNode`: a machine comes into a set of people, and goes unless it is locked.

use corten_fleet_resources::cluster::{Cluster, ClusterMachine, MachineSet, MachineSetNode};
use corten_fleet_resources::labels::{CLUSTER, MACHINE_SET, annotation};
use corten_fleet_resources::machine::MachineStatus;
use corten_resource::{Metadata, Resource};

use super::machine_set::{allocation, is_control_plane};
use super::{View, cluster, keep_labels, label, version};

pub(super) fn check(
    view: &View,
    stored: Option<&Resource<MachineSetNode>>,
    new: &Resource<MachineSetNode>,
) -> Result<(), String> {
    let metadata = &new.metadata;
    if let Some(stored) = stored {
        keep_labels(&stored.metadata, metadata, &[CLUSTER, MACHINE_SET])?;
    }
    let set = running_set(view, metadata)?;
    if is_locked(metadata) && is_control_plane(&set.metadata) {
        return Err("a machine of the control plane cannot be locked; lock the cluster".to_owned());
    }
    if stored.is_some() {
        return Ok(());
    }
    let name = label(metadata, CLUSTER);
    cluster::check_unlocked(view, name)?;
    if allocation(&set.spec).is_some() && !is_leaving(view, new.id(), set.id()) {
        return Err(format!("machine set {:?} takes its machines from a class; change its number", set.id()));
    }
    check_version(view, new.id(), name)
}

pub(super) fn check_destroy(view: &View, stored: &Resource<MachineSetNode>) -> Result<(), String> {
    if is_locked(&stored.metadata) {
        return Err(format!("machine {} is locked; unlock it before it is removed", stored.id()));
    }
    cluster::check_unlocked(view, label(&stored.metadata, CLUSTER))
}

fn is_locked(metadata: &Metadata) -> bool {
    metadata.annotations.contains_key(annotation::LOCKED)
}

/// The set that the labels name, which runs and belongs to the cluster that they name.
fn running_set(view: &View, metadata: &Metadata) -> Result<Resource<MachineSet>, String> {
    let (cluster, set) = (label(metadata, CLUSTER), label(metadata, MACHINE_SET));
    if cluster.is_empty() || set.is_empty() {
        return Err(format!("the labels {CLUSTER} and {MACHINE_SET} say where the machine is to be"));
    }
    let found = view.get::<Cluster>(cluster);
    let found = found.ok_or_else(|| format!("there is no cluster {cluster:?}; create it first"))?;
    let machine_set = view.get::<MachineSet>(set);
    let machine_set =
        machine_set.ok_or_else(|| format!("there is no machine set {set:?}; create it first"))?;
    if label(&machine_set.metadata, CLUSTER) != cluster {
        return Err(format!("machine set {set:?} is not of cluster {cluster:?}"));
    }
    if found.metadata.is_tearing_down() || machine_set.metadata.is_tearing_down() {
        return Err(format!("machine set {set:?} of cluster {cluster:?} is being destroyed"));
    }
    Ok(machine_set)
}

/// Whether a machine is on its way out of this set, so that putting it in again keeps it.
fn is_leaving(view: &View, machine: &str, set: &str) -> bool {
    let member = view.get::<ClusterMachine>(machine);
    member.is_some_and(|member| label(&member.metadata, MACHINE_SET) == set)
}

/// Whether the system that runs on a machine is not newer than that of the cluster; it would have to go back.
fn check_version(view: &View, machine: &str, cluster: &str) -> Result<(), String> {
    let runs = view.get::<MachineStatus>(machine).and_then(|status| version::parse(&status.talos_version));
    let wanted = view.get::<Cluster>(cluster).and_then(|cluster| version::parse(&cluster.talos_version));
    match runs.zip(wanted) {
        Some((runs, wanted)) if version::minor(&runs) > version::minor(&wanted) => Err(format!(
            "machine {machine} runs version {runs}, which is newer than {wanted} of cluster {cluster:?}; \
             upgrade the cluster or install the machine anew"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::MachineAllocation;
    use corten_fleet_resources::labels::{ROLE_CONTROL_PLANE, ROLE_WORKER};

    use super::*;
    use crate::testing::{Fleet, with};
    use crate::validate::testing;

    const WORKER: &[(&str, &str)] = &[(CLUSTER, "prod"), (MACHINE_SET, "prod-workers")];

    fn fleet() -> Fleet {
        let fleet = Fleet::new();
        fleet.put("prod", Cluster { talos_version: "1.13.8".to_owned(), ..Cluster::default() });
        fleet.put("lab", Cluster::default());
        fleet.put_with("prod-workers", MachineSet::default(), &[(CLUSTER, "prod"), (ROLE_WORKER, "")]);
        let control = [(CLUSTER, "prod"), (ROLE_CONTROL_PLANE, "")];
        fleet.put_with("prod-control-planes", MachineSet::default(), &control);
        fleet
    }

    fn node(id: &str, entries: &[(&str, &str)]) -> Resource<MachineSetNode> {
        with(id, MachineSetNode {}, entries)
    }

    #[test]
    fn it_names_a_cluster_and_a_set_of_it() {
        let rows: [(&[(&str, &str)], &str); 5] = [
            (WORKER, ""),
            (&[(CLUSTER, "prod")], "say where the machine is to be"),
            (&[(CLUSTER, "none"), (MACHINE_SET, "prod-workers")], "there is no cluster \"none\""),
            (&[(CLUSTER, "prod"), (MACHINE_SET, "none")], "there is no machine set \"none\""),
            (&[(CLUSTER, "lab"), (MACHINE_SET, "prod-workers")], "is not of cluster \"lab\""),
        ];
        for (entries, refusal) in rows {
            testing::check(&fleet(), node("m-1", entries), refusal);
        }
    }

    #[test]
    fn a_set_that_goes_takes_no_machines() {
        let fleet = fleet();
        let pointer = fleet.state.get::<MachineSet>("prod-workers").expect("stored").metadata.pointer();
        fleet.state.add_finalizer(&pointer, "x").expect("held");
        fleet.state.remove_any("", &pointer).expect("torn down");
        testing::check(&fleet, node("m-1", WORKER), "is being destroyed");
    }

    #[test]
    fn a_machine_does_not_move_between_sets() {
        let fleet = fleet();
        fleet.put_with("m-1", MachineSetNode {}, WORKER);
        let moved = [(CLUSTER, "prod"), (MACHINE_SET, "prod-control-planes")];
        testing::check(&fleet, node("m-1", &moved), "machine-set cannot be changed");
    }

    #[test]
    fn a_set_of_a_class_gets_machines_by_hand_only_to_keep_them() {
        let fleet = fleet();
        let allocation = MachineAllocation { name: "c".to_owned(), ..MachineAllocation::default() };
        let set = MachineSet { machine_allocation: Some(allocation), ..MachineSet::default() };
        fleet.put("prod-workers", set);
        testing::check(&fleet, node("m-1", WORKER), "takes its machines from a class");
        fleet.put_with("m-1", ClusterMachine::default(), WORKER);
        testing::check(&fleet, node("m-1", WORKER), "");
    }

    #[test]
    fn a_machine_that_is_newer_than_the_cluster_stays_out() {
        let fleet = fleet();
        for (version, refusal) in [
            ("v1.13.9", ""),
            ("v1.12.0", ""),
            ("v1.14.0", "runs version 1.14.0, which is newer than 1.13.8"),
            ("", ""),
        ] {
            let status = MachineStatus { talos_version: version.to_owned(), ..MachineStatus::default() };
            fleet.put("m-1", status);
            testing::check(&fleet, node("m-1", WORKER), refusal);
        }
    }

    #[test]
    fn workers_can_be_locked_and_then_stay() {
        let fleet = fleet();
        let lock = format!("@{}", annotation::LOCKED);
        let entries = |set| [(CLUSTER, "prod"), (MACHINE_SET, set), (lock.as_str(), "")];
        testing::check(&fleet, node("m-1", &entries("prod-workers")), "");
        testing::check(&fleet, node("m-1", &entries("prod-control-planes")), "cannot be locked");
        fleet.put_with("m-1", MachineSetNode {}, &entries("prod-workers"));
        testing::check_destroy::<MachineSetNode>(&fleet, "m-1", "machine m-1 is locked");
        fleet.put_with("m-2", MachineSetNode {}, WORKER);
        testing::check_destroy::<MachineSetNode>(&fleet, "m-2", "");
        let locked = format!("@{}", annotation::CLUSTER_LOCKED);
        fleet.put_with("prod", Cluster::default(), &[(locked.as_str(), "")]);
        testing::check_destroy::<MachineSetNode>(&fleet, "m-2", "cluster \"prod\" is locked");
        testing::check(&fleet, node("m-3", WORKER), "cluster \"prod\" is locked");
    }
}
