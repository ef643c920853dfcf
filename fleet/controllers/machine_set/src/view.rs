//! What the controllers of this domain read and write alike.

use corten_fleet_cluster::Labels;
use corten_fleet_resources::cluster::{MachineAllocation, MachineSet};
use corten_fleet_resources::labels::annotation::{CLUSTER_IMPORT_IS_IN_PROGRESS, CLUSTER_LOCKED};
use corten_fleet_resources::labels::{CLUSTER, MACHINE_SET, ROLE_CONTROL_PLANE, ROLE_WORKER};
use corten_resource::{Metadata, Pointer, Reads, Resource, Spec, View};

pub use corten_fleet_controllers_machine::view::{all, is_removable, remove};

/// The resource of a type that concerns the item, also one that goes away.
pub fn any<R: Spec, C: Reads<R>>(view: &View<C>) -> Option<&Resource<R>> {
    all::<R, C>(view).into_iter().next()
}

/// A label; empty when it is absent.
pub fn label<'a>(metadata: &'a Metadata, key: &str) -> &'a str {
    metadata.labels.get(key).map(String::as_str).unwrap_or_default()
}

/// From where a set takes its machines; `None` when people put them in.
pub fn allocation(set: &MachineSet) -> Option<&MachineAllocation> {
    set.machine_allocation.as_ref().or(set.machine_class.as_ref())
}

/// Whether nothing of a cluster is changed. One that is being imported is locked, and gets its machines all the same.
pub fn is_locked(cluster: &Metadata) -> bool {
    let has = |key: &str| cluster.annotations.contains_key(key);
    has(CLUSTER_LOCKED) && !has(CLUSTER_IMPORT_IS_IN_PROGRESS)
}

/// Labels of what belongs to a machine set: its cluster, its role and the set.
pub fn member_labels(set: &Metadata) -> Labels {
    let copied = [CLUSTER, ROLE_CONTROL_PLANE, ROLE_WORKER].into_iter();
    let copied = copied.filter_map(|key| Some((key.to_owned(), set.labels.get(key)?.clone())));
    copied.chain([(MACHINE_SET.to_owned(), set.id.clone())]).collect()
}

/// Where a resource of a type is.
pub fn pointer<R: Spec>(id: &str) -> Pointer {
    Pointer::new(R::DEFINITION.namespace, R::DEFINITION.kind, id)
}
