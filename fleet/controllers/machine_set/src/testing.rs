//! What several tests need: a cluster, its sets, their machines.

use corten_fleet_cluster::Labels;
use corten_fleet_resources::cluster::{Cluster, MachineSet, MachineSetNode};
use corten_fleet_resources::kubernetes::LoadBalancerStatus;
use corten_fleet_resources::labels::{CLUSTER, MACHINE_SET, ROLE_CONTROL_PLANE, ROLE_WORKER};
use corten_resource::testing::resource;
use corten_resource::{AnyResource, LabelTerm, Registry};

/// Name of the cluster of all tests.
pub const NAME: &str = "prod";
/// Its control plane.
pub const CONTROL_PLANES: &str = "prod-control-planes";
/// Its workers.
pub const WORKERS: &str = "prod-workers";

/// All types that the controllers of this domain know.
pub fn registry() -> Registry {
    let mut registry = corten_fleet_resources::registry();
    crate::types(&mut registry);
    registry
}

/// A resource with these labels beside those that it has.
pub fn labelled(resource: AnyResource, entries: &[(&str, &str)]) -> AnyResource {
    let entries: Labels =
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    resource.edit(|metadata| metadata.labels.extend(entries))
}

/// A resource with these annotations, which are empty.
pub fn annotated(resource: AnyResource, keys: &[&str]) -> AnyResource {
    let entries: Labels = keys.iter().map(|key| ((*key).to_owned(), String::new())).collect();
    resource.edit(|metadata| metadata.annotations.extend(entries))
}

/// The cluster.
pub fn cluster() -> AnyResource {
    let cluster = Cluster {
        kubernetes_version: "1.36.0".to_owned(),
        talos_version: "1.14.0".to_owned(),
        ..Cluster::default()
    };
    resource(NAME, cluster)
}

/// The label of the role of a set.
pub fn role(set: &str) -> (&'static str, &'static str) {
    if set == CONTROL_PLANES { (ROLE_CONTROL_PLANE, "") } else { (ROLE_WORKER, "") }
}

/// A set of the cluster as it is to be.
pub fn machine_set_of(id: &str, spec: MachineSet) -> AnyResource {
    labelled(resource(id, spec), &[(CLUSTER, NAME), role(id)])
}

/// A set of the cluster that people put machines in.
pub fn machine_set(id: &str) -> AnyResource {
    machine_set_of(id, MachineSet::default())
}

/// Has a resource name the cluster, a set of it and the role.
pub fn in_set(resource: AnyResource, set: &str) -> AnyResource {
    labelled(resource, &[(CLUSTER, NAME), (MACHINE_SET, set), role(set)])
}

/// A machine that is to be in a set.
pub fn node(id: &str, set: &str) -> AnyResource {
    in_set(resource(id, MachineSetNode {}), set)
}

/// Whether an API server of the cluster answers.
pub fn load_balancer(healthy: bool) -> AnyResource {
    resource(NAME, LoadBalancerStatus { healthy, stopped: !healthy })
}

/// Selectors that are the key of a label; those with a space in them are none.
pub fn selectors(text: &str) -> Result<Vec<LabelTerm>, String> {
    match text.contains(' ') {
        true => Err(format!("{text:?} is no selector")),
        false => Ok(vec![LabelTerm::exists(text)]),
    }
}
