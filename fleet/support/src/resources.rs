//! What the manager itself knows of a cluster: its resources, type by type, without those that hold secrets.
//!
//! ```text
//! types of the registry ─▶ plan: all | of the cluster | left out, and why ─▶ documents, one file for each type
//! ```
//!
//! A resource is about a cluster if its id or its label says so, or if its id is a machine of the cluster.

use std::collections::BTreeSet;

use corten_bundle::document::own;
use corten_bundle::{Documents, segment};
use corten_fleet_resources::access::{Gate, rule};
use corten_fleet_resources::cluster::{ClusterMachine, MachineSetNode};
use corten_fleet_resources::config::{ClusterMachineConfigStatus, MachinePendingUpdates};
use corten_fleet_resources::labels;
use corten_fleet_resources::namespace::VIRTUAL;
use corten_resource::{AnyResource, Definition, Spec, State};

/// Name of the source.
pub(crate) const SOURCE: &str = "Fleet";
/// Types of which every resource is of interest: what this manager is, and why its controllers wait.
const WHOLE: [&str; 4] = [
    "Controllers.corten.dev",
    "FeaturesConfigs.omni.sidero.dev",
    "Notifications.omni.sidero.dev",
    "SysVersions.system.sidero.dev",
];
/// Sensitive types whose secrets stand behind words that are known, such as `jointoken=`.
const RECOGNIZABLE: [&str; 3] =
    ["KernelArgsStatuses.omni.sidero.dev", "Links.omni.sidero.dev", "MachineStatuses.omni.sidero.dev"];
/// Types with what people write as they want, secrets included. Only those are taken out of configurations that are
/// known to be secrets.
const WRITTEN: [&str; 6] = [
    "ClusterMachineConfigPatches.omni.sidero.dev",
    "ConfigPatches.omni.sidero.dev",
    "KubernetesHealthChecks.omni.sidero.dev",
    "KubernetesManifestGroups.omni.sidero.dev",
    "MachineConfigDiffs.omni.sidero.dev",
    "RedactedClusterMachineConfigs.omni.sidero.dev",
];
/// Said of those.
const LEFT_OUT: &str = "people may have written secrets into it; whoever may see it gets it by its type";

/// What becomes of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Everything is taken.
    Whole,
    /// What is about the cluster is taken.
    Cluster,
    /// It is told that it is left out.
    Told,
    /// It has secrets, or nothing about clusters.
    Silent,
}

fn plan(definition: &Definition) -> Plan {
    let kind = definition.kind;
    let is_hidden = rule(kind).is_none_or(|rule| rule.read == Gate::Nobody);
    if WRITTEN.contains(&kind) {
        Plan::Told
    } else if is_hidden || definition.namespace == VIRTUAL {
        Plan::Silent
    } else if WHOLE.contains(&kind) {
        Plan::Whole
    } else if !definition.sensitive || RECOGNIZABLE.contains(&kind) {
        Plan::Cluster
    } else {
        Plan::Silent
    }
}

/// The machines of a cluster, sorted: those in it, and those that are to be.
pub(crate) fn machines(state: &State, cluster: &str) -> Vec<String> {
    let there = members::<ClusterMachine>(state, cluster);
    let wanted = members::<MachineSetNode>(state, cluster);
    there.into_iter().chain(wanted).collect::<BTreeSet<_>>().into_iter().collect()
}

fn members<S: Spec>(state: &State, cluster: &str) -> Vec<String> {
    let all = state.list_any(S::DEFINITION.namespace, S::DEFINITION.kind);
    let is_own = |resource: &&AnyResource| label(resource) == Some(cluster);
    all.iter().filter(is_own).map(|resource| resource.id().to_owned()).collect()
}

fn label(resource: &AnyResource) -> Option<&str> {
    resource.metadata().labels.get(labels::CLUSTER).map(String::as_str)
}

/// The resource without a configuration that it has beside what it is about.
fn without_configuration(resource: &AnyResource) -> AnyResource {
    if let Some(found) = resource.resource::<ClusterMachineConfigStatus>() {
        let mut bare = found.clone();
        bare.spec.redacted_current_machine_config.clear();
        bare.spec.compressed_redacted_machine_config.clear();
        return bare.into();
    }
    if let Some(found) = resource.resource::<MachinePendingUpdates>() {
        let mut bare = found.clone();
        bare.spec.config_diff.clear();
        bare.spec.compressed_config_diff.clear();
        return bare.into();
    }
    resource.clone()
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Names and contents of files.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// Types that are left out, and why.
    pub(crate) left: Vec<(&'static str, &'static str)>,
}

/// The resources about a cluster with these machines. Takes a moment where there are very many.
pub(crate) fn collect(state: &State, cluster: &str, machines: &[String], bytes_max: usize) -> Found {
    let machines: BTreeSet<&str> = machines.iter().map(String::as_str).collect();
    let mut found = Found::default();
    for definition in state.registry().types().map(|registered| registered.definition) {
        let plan = plan(definition);
        if plan == Plan::Silent {
            continue;
        }
        let is_about = |resource: &&AnyResource| {
            let (id, own) = (resource.id(), label(resource));
            plan == Plan::Whole
                || own == Some(cluster)
                || (own.is_none() && (id == cluster || machines.contains(id)))
        };
        let all = state.list_any(definition.namespace, definition.kind);
        let mut about = all.iter().filter(is_about).peekable();
        if plan == Plan::Told {
            let has_some = about.peek().is_some();
            found.left.extend(has_some.then_some((definition.kind, LEFT_OUT)));
            continue;
        }
        let mut documents = Documents::new(bytes_max);
        about.for_each(|resource| documents.push(&own(&without_configuration(resource))));
        let name = || format!("fleet/{}.yaml", segment(definition.kind));
        found.files.extend(documents.finish().map(|bytes| (name(), bytes)));
    }
    found
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::{Cluster, ClusterStatus};
    use corten_fleet_resources::config::ConfigPatch;
    use corten_fleet_resources::link::{JoinToken, Link};
    use corten_fleet_resources::machine::MachineStatus;
    use corten_fleet_resources::secrets::ClusterSecrets;
    use corten_resource::testing::{resource, state};

    use super::*;

    /// Stores a resource with the label of a cluster.
    fn put<S: Spec>(state: &State, id: &str, spec: S, cluster: &str) {
        let labelled = resource(id, spec).edit(|metadata| {
            metadata.labels.insert(labels::CLUSTER.to_owned(), cluster.to_owned());
        });
        state.put_any("", labelled).expect("stored");
    }

    #[test]
    fn a_cluster_has_its_own_resources_and_those_of_its_machines_and_no_secrets() {
        let state = state(corten_fleet_resources::registry());
        for (cluster, machine) in [("prod", "m-1"), ("elsewhere", "m-2")] {
            state.put("", cluster, Cluster::default()).expect("stored");
            state.put("", cluster, ClusterStatus::default()).expect("stored");
            state.put("", cluster, ClusterSecrets::default()).expect("stored");
            put(&state, machine, ClusterMachine::default(), cluster);
            put(&state, &format!("patch-{cluster}"), ConfigPatch::default(), cluster);
            state.put("", machine, MachineStatus::default()).expect("stored");
            state.put("", machine, Link::default()).expect("stored");
        }
        state.put("", "a-token", JoinToken::default()).expect("stored");
        let machines = machines(&state, "prod");
        assert_eq!(machines, ["m-1"]);
        let found = collect(&state, "prod", &machines, 1 << 20);
        let names: Vec<&str> = found.files.iter().map(|(name, _)| name.as_str()).collect();
        for kind in ["Clusters", "ClusterStatuses", "ClusterMachines", "MachineStatuses", "Links"] {
            let name = format!("fleet/{kind}.omni.sidero.dev.yaml");
            assert!(names.contains(&name.as_str()), "{kind} is missing: {names:?}");
        }
        let is_secret = |name: &&str| name.contains("Secrets") || name.contains("JoinToken");
        assert!(!names.iter().any(is_secret), "{names:?}");
        let text: String = found.files.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect();
        assert!(text.contains("m-1") && !text.contains("m-2") && !text.contains("elsewhere"), "{text}");
        let told: Vec<&str> = found.left.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(told, ["ConfigPatches.omni.sidero.dev"]);
    }

    #[test]
    fn how_a_configuration_was_taken_is_told_without_it() {
        let state = state(corten_fleet_resources::registry());
        let status = ClusterMachineConfigStatus {
            redacted_current_machine_config: "env: hush".to_owned(),
            last_config_error: "no disk".to_owned(),
            ..ClusterMachineConfigStatus::default()
        };
        put(&state, "m-1", status, "prod");
        let updates = MachinePendingUpdates { config_diff: "+hush".to_owned(), ..Default::default() };
        put(&state, "m-1", updates, "prod");
        let found = collect(&state, "prod", &[], 1 << 20);
        let text: String = found.files.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect();
        assert!(text.contains("no disk") && !text.contains("hush"), "{text}");
    }

    #[test]
    fn what_is_sensitive_is_left_out_unless_its_secrets_are_recognized() {
        for registered in corten_fleet_resources::registry().types() {
            let definition = registered.definition;
            let is_taken = matches!(plan(definition), Plan::Whole | Plan::Cluster);
            let is_fine = !definition.sensitive || RECOGNIZABLE.contains(&definition.kind);
            assert!(!is_taken || is_fine, "{}", definition.kind);
        }
    }
}
