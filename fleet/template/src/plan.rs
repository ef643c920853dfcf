//! What must change so that a cluster is as its template wants it.
//!
//! ```text
//! desired ─┐ by pointer   ┌ not there  ─▶ creates: the cluster first, then what it needs, then sets and nodes
//!          ├──────────────┼ different  ─▶ updates
//! actual ──┘              └ not wanted ─▶ deletes: nodes and sets, and when they are gone the rest
//! ```
//!
//! The order is creates, updates, deletes. A deletion is a teardown, a wait until nobody holds the resource, and its
//! destruction. Nothing of another cluster and nothing that a controller owns is touched.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use corten_fleet_resources::cluster::{Cluster, MachineSet, MachineSetNode};
use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::kubernetes::{KubernetesHealthCheck, KubernetesManifestGroup};
use corten_fleet_resources::labels::{self, annotation};
use corten_fleet_resources::machine::{ExtensionsConfiguration, KernelArgs, MachineInstallDiskConfig};
use corten_resource::{AnyResource, Metadata, Pointer, Spec};

use crate::plain::{PlainError, plain};

/// Types that templates make, in the order in which resources are created.
pub const TYPES: [&str; 9] = [
    Cluster::DEFINITION.kind,
    ExtensionsConfiguration::DEFINITION.kind,
    ConfigPatch::DEFINITION.kind,
    MachineInstallDiskConfig::DEFINITION.kind,
    KubernetesManifestGroup::DEFINITION.kind,
    KubernetesHealthCheck::DEFINITION.kind,
    MachineSet::DEFINITION.kind,
    MachineSetNode::DEFINITION.kind,
    KernelArgs::DEFINITION.kind,
];

/// Types of [`TYPES`] that belong to a machine wherever it is: no label, the id is the machine.
pub const MACHINE_TYPES: [&str; 2] = [MachineInstallDiskConfig::DEFINITION.kind, KernelArgs::DEFINITION.kind];

/// Annotations of a cluster that templates cannot give and a sync therefore keeps: a lock is opened on purpose only.
const KEPT_ANNOTATIONS: [&str; 2] = [annotation::CLUSTER_LOCKED, annotation::CLUSTER_IMPORT_IS_IN_PROGRESS];

/// Place of a type in the order of creation.
pub(crate) fn rank(kind: &str) -> usize {
    TYPES.iter().position(|known| *known == kind).unwrap_or(TYPES.len())
}

/// A resource before and after; the version is that of before.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// As it is, long texts in plain.
    pub old: AnyResource,
    /// As it is to be.
    pub new: AnyResource,
}

/// What to do, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Resources to create, one after the other.
    pub creates: Vec<AnyResource>,
    /// Resources to change.
    pub updates: Vec<Update>,
    /// Resources to delete; those of the first phase are gone before the second begins. What is deleted with what it
    /// belongs to is not in here.
    pub deletes: [Vec<AnyResource>; 2],
}

impl Plan {
    /// Whether everything is as wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.creates.is_empty() && self.updates.is_empty() && self.deletes.iter().all(Vec::is_empty)
    }
}

/// Why a resource cannot become what the template wants.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// There is one of that id that belongs elsewhere.
    #[error("{pointer} belongs to {}; give it another name in the template", belonging(.cluster))]
    OtherCluster {
        /// Which resource.
        pointer: Pointer,
        /// Whose it is; empty when it belongs to no cluster.
        cluster: String,
    },
    /// A controller made it.
    #[error("{pointer} belongs to {owner}, and templates do not touch it; choose another id")]
    Owned {
        /// Which resource.
        pointer: Pointer,
        /// The controller.
        owner: String,
    },
    /// A machine class put the machine into its set.
    #[error("{pointer} was picked by a machine class; empty that machine set before you list its machines")]
    Picked {
        /// Which machine.
        pointer: Pointer,
    },
    /// The machine is in another set of the cluster, and that cannot be changed.
    #[error("{pointer} is in {from}; remove it there and sync, then add it to {to} and sync again")]
    OtherSet {
        /// Which machine.
        pointer: Pointer,
        /// The set that it is in.
        from: String,
        /// The set that the template has it in.
        to: String,
    },
    /// It is being destroyed.
    #[error("{pointer} is being destroyed; wait until it is gone and sync again")]
    TearingDown {
        /// Which resource.
        pointer: Pointer,
    },
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] PlainError),
}

fn belonging(cluster: &str) -> String {
    if cluster.is_empty() { "no cluster".to_owned() } else { format!("cluster {cluster:?}") }
}

/// All conflicts of a plan; never empty.
#[derive(Debug)]
pub struct PlanError(Vec<Conflict>);

impl PlanError {
    /// Each conflict.
    pub fn iter(&self) -> std::slice::Iter<'_, Conflict> {
        self.0.iter()
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(|conflict| corten_base::chain(conflict)).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for PlanError {}

/// Compares what a template wants with what is there. With nothing desired the plan deletes the cluster.
///
/// `actual` has of each of [`TYPES`]: what carries the label of the cluster (the cluster itself by its id), what has
/// the id of a desired resource, and of [`MACHINE_TYPES`] what has the id of a machine of the cluster. More does no
/// harm.
///
/// # Errors
/// All conflicts at once; nothing is to be done then.
pub fn plan(cluster: &str, desired: &[AnyResource], actual: &[AnyResource]) -> Result<Plan, PlanError> {
    let mut conflicts = Vec::new();
    let mut existing: BTreeMap<Pointer, AnyResource> = BTreeMap::new();
    for resource in actual {
        match plain(resource) {
            Ok(resource) => drop(existing.insert(resource.pointer(), resource)),
            Err(error) => conflicts.push(Conflict::Unreadable(error)),
        }
    }
    let mut plan = Plan::default();
    for wanted in desired {
        let Some(found) = existing.get(&wanted.pointer()) else {
            plan.creates.push(wanted.clone());
            continue;
        };
        match conflict(wanted, found) {
            Some(conflict) => conflicts.push(conflict),
            None => plan.updates.extend(update(found, wanted)),
        }
    }
    if !conflicts.is_empty() {
        return Err(PlanError(conflicts));
    }
    let left: Vec<&AnyResource> = {
        let wanted: BTreeSet<Pointer> = desired.iter().map(AnyResource::pointer).collect();
        existing.iter().filter(|(pointer, _)| !wanted.contains(*pointer)).map(|(_, found)| found).collect()
    };
    take_back(&mut plan, cluster, desired, &existing, &left);
    delete(&mut plan, cluster, &left);
    plan.creates.sort_by_key(|resource| rank(&resource.metadata().kind));
    plan.updates.sort_by_key(|update| rank(&update.new.metadata().kind));
    Ok(plan)
}

fn conflict(wanted: &AnyResource, found: &AnyResource) -> Option<Conflict> {
    let pointer = found.pointer();
    let metadata = found.metadata();
    let value =
        |resource: &AnyResource, key: &str| resource.metadata().labels.get(key).cloned().unwrap_or_default();
    let differs =
        |key: &str| wanted.metadata().labels.contains_key(key) && value(wanted, key) != value(found, key);
    if differs(labels::CLUSTER) {
        return Some(Conflict::OtherCluster { pointer, cluster: value(found, labels::CLUSTER) });
    }
    if !metadata.owner.is_empty() {
        return Some(Conflict::Owned { pointer, owner: metadata.owner.clone() });
    }
    if metadata.labels.contains_key(labels::MANAGED_BY_MACHINE_SET_NODE_CONTROLLER) {
        return Some(Conflict::Picked { pointer });
    }
    if metadata.is_tearing_down() {
        return Some(Conflict::TearingDown { pointer });
    }
    let is_node = metadata.kind == MachineSetNode::DEFINITION.kind;
    (is_node && differs(labels::MACHINE_SET)).then(|| Conflict::OtherSet {
        pointer,
        from: value(found, labels::MACHINE_SET),
        to: value(wanted, labels::MACHINE_SET),
    })
}

/// The change from one to the other, if there is one. What only the manager writes stays as it is.
fn update(old: &AnyResource, wanted: &AnyResource) -> Option<Update> {
    let before = old.metadata();
    let new = wanted.clone().edit(|metadata| {
        if metadata.kind == Cluster::DEFINITION.kind {
            let kept = before.annotations.iter().filter(|(key, _)| KEPT_ANNOTATIONS.contains(&key.as_str()));
            metadata.annotations.extend(kept.map(|(key, value)| (key.clone(), value.clone())));
        }
        let (labels, annotations) = (metadata.labels.clone(), metadata.annotations.clone());
        *metadata = Metadata { labels, annotations, ..before.clone() };
    });
    (new != *old).then(|| Update { old: old.clone(), new })
}

/// Whether a resource is of this cluster and made by people, so that a sync may change and delete it.
pub(crate) fn is_of(cluster: &str, resource: &AnyResource) -> bool {
    let metadata = resource.metadata();
    let has = |key: &str| metadata.labels.contains_key(key);
    let is_cluster = metadata.kind == Cluster::DEFINITION.kind;
    let is_in = if is_cluster { metadata.id == cluster } else { is_labeled(cluster, resource) };
    let is_system = has(labels::MANAGED_BY_MACHINE_SET_NODE_CONTROLLER)
        || has(labels::SYSTEM_PATCH)
        || has(labels::SYSTEM_MANIFEST);
    is_in && TYPES.contains(&metadata.kind.as_str()) && metadata.owner.is_empty() && !is_system
}

fn is_labeled(cluster: &str, resource: &AnyResource) -> bool {
    resource.metadata().labels.get(labels::CLUSTER).is_some_and(|label| label == cluster)
}

/// What templates gave to machines and no longer do: the annotation goes, the rest stays with the machine. The choice
/// of a disk is deleted as long as the machine is in the cluster.
fn take_back(
    plan: &mut Plan,
    cluster: &str,
    desired: &[AnyResource],
    existing: &BTreeMap<Pointer, AnyResource>,
    left: &[&AnyResource],
) {
    let is_node = |resource: &&AnyResource| resource.metadata().kind == MachineSetNode::DEFINITION.kind;
    let staying: BTreeSet<&str> = desired.iter().filter(is_node).map(AnyResource::id).collect();
    let is_member = |resource: &&AnyResource| is_node(resource) && is_labeled(cluster, resource);
    let present: BTreeSet<&str> = existing.values().filter(is_member).map(AnyResource::id).collect();
    let [_, later] = &mut plan.deletes;
    for resource in left {
        let metadata = resource.metadata();
        let is_managed = metadata.annotations.contains_key(annotation::MANAGED_BY_CLUSTER_TEMPLATES);
        let is_machines = MACHINE_TYPES.contains(&metadata.kind.as_str());
        let stays = staying.contains(resource.id());
        let is_here = stays || present.contains(resource.id());
        if !is_machines || !is_managed || !is_here || !metadata.owner.is_empty() {
            continue;
        }
        if stays && metadata.kind == MachineInstallDiskConfig::DEFINITION.kind {
            later.push((*resource).clone());
        } else {
            let new = (*resource).clone().edit(|metadata| {
                metadata.annotations.remove(annotation::MANAGED_BY_CLUSTER_TEMPLATES);
            });
            plan.updates.push(Update { old: (*resource).clone(), new });
        }
    }
}

/// What is not wanted any more. Nodes go with their set, sets and nodes with the cluster.
fn delete(plan: &mut Plan, cluster: &str, left: &[&AnyResource]) {
    let left: Vec<&AnyResource> = left.iter().copied().filter(|resource| is_of(cluster, resource)).collect();
    let is = |resource: &AnyResource, kind: &str| resource.metadata().kind == kind;
    let goes_with_cluster = left.iter().any(|resource| is(resource, Cluster::DEFINITION.kind));
    let sets: BTreeSet<&str> = left
        .iter()
        .filter(|resource| is(resource, MachineSet::DEFINITION.kind))
        .map(|resource| resource.id())
        .collect();
    let [members, rest] = &mut plan.deletes;
    for resource in &left {
        let metadata = resource.metadata();
        let is_node = is(resource, MachineSetNode::DEFINITION.kind);
        let is_member = is_node || is(resource, MachineSet::DEFINITION.kind);
        let set = metadata.labels.get(labels::MACHINE_SET).map(String::as_str).unwrap_or_default();
        let goes_with_set = is_node && sets.contains(set);
        if !is_member {
            rest.push((*resource).clone());
        } else if !goes_with_cluster && !goes_with_set {
            members.push((*resource).clone());
        }
    }
    members.sort_by_key(|resource| Reverse(rank(&resource.metadata().kind)));
    rest.sort_by_key(|resource| rank(&resource.metadata().kind));
}

#[cfg(test)]
mod tests;
