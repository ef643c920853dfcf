//! Rules of `MachineSet`: it belongs to a cluster, has one role, and one way to get machines.

use corten_fleet_resources::cluster::{
    AllocationKind, Cluster, ClusterBootstrapStatus, MachineAllocation, MachineClass, MachineSet,
    MachineSetNode,
};
use corten_fleet_resources::labels::{self, CLUSTER, ROLE_CONTROL_PLANE, ROLE_WORKER};
use corten_fleet_resources::provider::MachineRequestSet;
use corten_resource::{Metadata, Resource};

use super::{View, cluster, keep_labels, label};

pub(super) fn check(
    view: &View,
    stored: Option<&Resource<MachineSet>>,
    new: &Resource<MachineSet>,
) -> Result<(), String> {
    let cluster = check_cluster(view, &new.metadata)?;
    cluster::check_unlocked(view, cluster)?;
    check_role(&new.metadata, cluster)?;
    if let Some(stored) = stored {
        keep_labels(&stored.metadata, &new.metadata, &[CLUSTER, ROLE_CONTROL_PLANE, ROLE_WORKER])?;
    }
    check_bootstrap(view, stored, new, cluster)?;
    check_allocation(view, new)?;
    check_mode(view, stored, new)
}

pub(super) fn check_destroy(view: &View, stored: &Resource<MachineSet>) -> Result<(), String> {
    cluster::check_unlocked(view, label(&stored.metadata, CLUSTER))
}

/// From where a set takes its machines; none if people put them in.
pub(super) fn allocation(set: &MachineSet) -> Option<&MachineAllocation> {
    set.machine_allocation.as_ref().or(set.machine_class.as_ref())
}

/// Whether a set runs the control plane of its cluster.
pub(super) fn is_control_plane(metadata: &Metadata) -> bool {
    metadata.labels.contains_key(ROLE_CONTROL_PLANE)
}

/// The cluster of a set, which exists and stays.
fn check_cluster<'a>(view: &View, metadata: &'a Metadata) -> Result<&'a str, String> {
    let name = label(metadata, CLUSTER);
    if name.is_empty() {
        return Err(format!("the label {CLUSTER} is missing; it names the cluster"));
    }
    match view.get::<Cluster>(name) {
        None => Err(format!("there is no cluster {name:?}; create it first")),
        Some(found) if found.metadata.is_tearing_down() => {
            Err(format!("cluster {name:?} is being destroyed"))
        }
        Some(_) => Ok(name),
    }
}

fn check_role(metadata: &Metadata, cluster: &str) -> Result<(), String> {
    let is_control_plane = is_control_plane(metadata);
    if is_control_plane == metadata.labels.contains_key(ROLE_WORKER) {
        return Err(format!("it has exactly one of the labels {ROLE_CONTROL_PLANE} and {ROLE_WORKER}"));
    }
    let control_planes = MachineSet::control_planes_of(cluster);
    let name = metadata.id.strip_prefix(cluster).and_then(|rest| rest.strip_prefix('-'));
    if name.is_none_or(str::is_empty) {
        return Err(format!("the id of a machine set of cluster {cluster:?} begins with \"{cluster}-\""));
    }
    match (is_control_plane, metadata.id == control_planes) {
        (true, false) => Err(format!("the machine set of the control plane is called {control_planes:?}")),
        (false, true) => Err(format!("{control_planes:?} is for the control plane; choose another id")),
        _ => Ok(()),
    }
}

fn check_bootstrap(
    view: &View,
    stored: Option<&Resource<MachineSet>>,
    new: &Resource<MachineSet>,
    cluster: &str,
) -> Result<(), String> {
    let is_control_plane = is_control_plane(&new.metadata);
    let status = view.get::<ClusterBootstrapStatus>(cluster);
    let is_bootstrapped = status.is_some_and(|status| status.bootstrapped);
    if is_control_plane && stored.is_none() && is_bootstrapped {
        return Err(format!(
            "the control plane of cluster {cluster:?} runs already, and cannot be made anew"
        ));
    }
    if new.bootstrap_spec.is_some() && !is_control_plane {
        return Err("bootstrapspec is for the machine set of the control plane".to_owned());
    }
    let Some(stored) = stored else { return Ok(()) };
    match (&stored.bootstrap_spec, &new.bootstrap_spec) {
        (Some(_), None) if !is_bootstrapped => {
            Err("bootstrapspec can be removed only after the control plane has started from it".to_owned())
        }
        (_, Some(_)) if stored.bootstrap_spec != new.bootstrap_spec => {
            Err("bootstrapspec cannot be changed; create another cluster".to_owned())
        }
        _ => Ok(()),
    }
}

fn check_allocation(view: &View, new: &Resource<MachineSet>) -> Result<(), String> {
    let Some(allocation) = allocation(&new.spec) else { return Ok(()) };
    let name = &allocation.name;
    if let Some(class) = view.get::<MachineClass>(name) {
        let is_made = class.auto_provision.is_some();
        return if is_made && allocation.allocation_kind == AllocationKind::Unlimited {
            Err(format!("machine class {name:?} makes machines, so that their number must be given"))
        } else {
            Ok(())
        };
    }
    match view.get::<MachineRequestSet>(name) {
        Some(_) => Ok(()),
        None => Err(format!("there is no machine class {name:?}; create it first")),
    }
}

/// A set changes between machines that people put in and machines of a class only while it has none.
fn check_mode(
    view: &View,
    stored: Option<&Resource<MachineSet>>,
    new: &Resource<MachineSet>,
) -> Result<(), String> {
    let is_by_class = |set: &Resource<MachineSet>| allocation(&set.spec).is_some();
    let is_changed = stored.is_some_and(|stored| is_by_class(stored) != is_by_class(new));
    if !is_changed {
        return Ok(());
    }
    let count = view.labelled::<MachineSetNode>(labels::MACHINE_SET, new.id()).len();
    if count == 0 {
        return Ok(());
    }
    Err(format!(
        "the machine set has {count} machines; remove them before it takes its machines in another way"
    ))
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::{BootstrapSpec, MachineProvision};
    use corten_fleet_resources::labels::annotation;

    use super::*;
    use crate::testing::{Fleet, with};
    use crate::validate::testing;

    const WORKER: &[(&str, &str)] = &[(CLUSTER, "prod"), (ROLE_WORKER, "")];
    const CONTROL: &[(&str, &str)] = &[(CLUSTER, "prod"), (ROLE_CONTROL_PLANE, "")];

    fn fleet() -> Fleet {
        let fleet = Fleet::new();
        fleet.put("prod", Cluster::default());
        fleet
    }

    fn by_class(name: &str, kind: AllocationKind) -> MachineSet {
        let allocation = MachineAllocation { name: name.to_owned(), machine_count: 1, allocation_kind: kind };
        MachineSet { machine_allocation: Some(allocation), ..MachineSet::default() }
    }

    fn from_backup(snapshot: &str) -> MachineSet {
        let bootstrap = BootstrapSpec { cluster_uuid: "u".to_owned(), snapshot: snapshot.to_owned() };
        MachineSet { bootstrap_spec: Some(bootstrap), ..MachineSet::default() }
    }

    #[test]
    fn it_names_its_cluster_and_one_role_and_is_called_after_both() {
        let both: &[_] = &[(CLUSTER, "prod"), (ROLE_WORKER, ""), (ROLE_CONTROL_PLANE, "")];
        type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
        let rows: [Row<'_>; 10] = [
            ("prod-workers", WORKER, ""),
            ("prod-control-planes", CONTROL, ""),
            ("prod-workers", &[(ROLE_WORKER, "")], "the label omni.sidero.dev/cluster is missing"),
            ("lab-workers", &[(CLUSTER, "lab"), (ROLE_WORKER, "")], "there is no cluster \"lab\""),
            ("prod-workers", &[(CLUSTER, "prod")], "exactly one of the labels"),
            ("prod-workers", both, "exactly one of the labels"),
            ("workers", WORKER, "begins with \"prod-\""),
            ("prod-", WORKER, "begins with \"prod-\""),
            ("prod-masters", CONTROL, "is called \"prod-control-planes\""),
            ("prod-control-planes", WORKER, "is for the control plane; choose another"),
        ];
        for (id, entries, refusal) in rows {
            testing::check(&fleet(), with(id, MachineSet::default(), entries), refusal);
        }
    }

    #[test]
    fn its_cluster_and_role_stay() {
        let fleet = fleet();
        fleet.put("lab", Cluster::default());
        fleet.put_with("prod-lab-x", MachineSet::default(), WORKER);
        let moved = with("prod-lab-x", MachineSet::default(), &[(CLUSTER, "prod"), (ROLE_WORKER, "yes")]);
        testing::check(&fleet, moved, "role-worker cannot be changed");
    }

    #[test]
    fn a_control_plane_is_made_once_and_from_one_backup() {
        let fleet = fleet();
        testing::check(
            &fleet,
            with("prod-workers", from_backup("a"), WORKER),
            "is for the machine set of the",
        );
        fleet.put_with("prod-control-planes", from_backup("a"), CONTROL);
        testing::check(&fleet, with("prod-control-planes", from_backup("b"), CONTROL), "cannot be changed");
        let without = || with("prod-control-planes", MachineSet::default(), CONTROL);
        testing::check(&fleet, without(), "can be removed only after");
        fleet.put("prod", ClusterBootstrapStatus { bootstrapped: true });
        testing::check(&fleet, without(), "");
        fleet.state.remove::<MachineSet>("", "prod-control-planes").expect("removed");
        testing::check(&fleet, without(), "runs already, and cannot be made anew");
    }

    #[test]
    fn a_class_exists_and_one_that_makes_machines_is_given_a_number() {
        let fleet = fleet();
        let made =
            MachineClass { auto_provision: Some(MachineProvision::default()), ..MachineClass::default() };
        fleet.put("made", made);
        fleet.put("found", MachineClass::default());
        for (set, refusal) in [
            (by_class("found", AllocationKind::Unlimited), ""),
            (by_class("made", AllocationKind::Static), ""),
            (by_class("made", AllocationKind::Unlimited), "their number must be given"),
            (by_class("none", AllocationKind::Static), "there is no machine class \"none\""),
        ] {
            testing::check(&fleet, with("prod-workers", set, WORKER), refusal);
        }
    }

    #[test]
    fn the_way_to_get_machines_changes_while_there_are_none() {
        let fleet = fleet();
        fleet.put("found", MachineClass::default());
        fleet.put_with("prod-workers", MachineSet::default(), WORKER);
        let change = || with("prod-workers", by_class("found", AllocationKind::Static), WORKER);
        testing::check(&fleet, change(), "");
        fleet.put_with("m-1", MachineSetNode {}, &[(labels::MACHINE_SET, "prod-workers")]);
        testing::check(&fleet, change(), "the machine set has 1 machines");
    }

    #[test]
    fn a_locked_cluster_keeps_its_sets() {
        let fleet = Fleet::new();
        let lock = format!("@{}", annotation::CLUSTER_LOCKED);
        fleet.put_with("prod", Cluster::default(), &[(lock.as_str(), "")]);
        fleet.put_with("prod-workers", MachineSet::default(), WORKER);
        testing::check(&fleet, with("prod-other", MachineSet::default(), WORKER), "is locked");
        testing::check_destroy::<MachineSet>(&fleet, "prod-workers", "is locked");
    }
}
