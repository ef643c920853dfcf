//! Why a machine refuses a configuration that follows the language: its version lacks a part, two parts contradict each
//! other, or something is missing that it cannot be a member of a cluster without.
//!
//! A real machine has many more rules. These are those that a manager's mistake would break.

use corten_config::Config;
use corten_config::schema::ROOT_KIND;

use super::documents::Documents;
use super::{Applied, Role};
use crate::profile::{Profile, What};

/// A document, and where `v1alpha1` says the same: both at once are refused (node.md 4.1, 4.2).
const CONFLICTS: &[(&str, &[&str])] = &[
    ("HostnameConfig", &["machine", "network", "hostname"]),
    ("KubeAPIServerCAConfig", &["cluster", "ca"]),
    ("KubeAPIServerConfig", &["cluster", "apiServer", "image"]),
    ("KubeClusterConfig", &["cluster", "clusterName"]),
    ("KubeClusterConfig", &["cluster", "controlPlane", "endpoint"]),
    ("KubeControllerManagerConfig", &["cluster", "controllerManager", "image"]),
    ("KubeNetworkConfig", &["cluster", "network", "podSubnets"]),
    ("KubePrismConfig", &["machine", "features", "kubePrism"]),
    ("KubeSchedulerConfig", &["cluster", "scheduler", "image"]),
    ("KubeletConfig", &["machine", "kubelet", "image"]),
    ("UnattendedInstallConfig", &["machine", "install"]),
];

/// Everything for which a machine of a version refuses a configuration, a sentence each.
pub fn problems(config: &Config, applied: &Applied, profile: Profile) -> Vec<String> {
    let mut all = unknown(config, profile);
    all.extend(conflicts(config));
    if applied.complete {
        all.extend(missing(applied));
    }
    all
}

/// What the version does not have, in the words of node.md 4.1.
fn unknown(config: &Config, profile: Profile) -> Vec<String> {
    let mut all = Vec::new();
    for document in config.documents() {
        let kind = document.id.kind.as_str();
        if !profile.has(What::Document(kind)) {
            all.push(format!("{kind:?}: not registered"));
            continue;
        }
        let keys = document.node.as_map().into_iter().flat_map(|map| map.iter()).map(|entry| &entry.key);
        let lacking = keys.filter(|key| !profile.has(What::Field(kind, key.as_str())));
        all.extend(lacking.map(|key| format!("{}: unknown key {key}", document.id)));
    }
    all
}

fn conflicts(config: &Config) -> impl Iterator<Item = String> {
    let documents = Documents(config);
    CONFLICTS.iter().filter_map(move |(kind, path)| {
        let is_in_root = documents.node(ROOT_KIND, path).is_some_and(|node| !node.is_zero());
        let is_given = documents.node(kind, &[]).is_some();
        let twice = || format!("{kind}: {} of v1alpha1 says the same; give one of both", path.join("."));
        (is_in_root && is_given).then(twice)
    })
}

/// Without what a machine is no member of a cluster.
fn missing(applied: &Applied) -> Vec<String> {
    let is_control_plane = applied.role.is_control_plane();
    let cluster = &applied.cluster;
    let rules = [
        (applied.role != Role::Unknown, "machine.type: missing"),
        (!applied.trust.bundle.is_empty(), "machine.ca.crt: missing; a machine needs the Talos CA"),
        (
            !is_control_plane || applied.trust.signer().is_some(),
            "machine.ca.key: missing; a control plane issues certificates of the Talos API",
        ),
        (
            !cluster.endpoint.is_empty(),
            "cluster.controlPlane.endpoint: missing; since 1.14 it is KubeClusterConfig that may say it",
        ),
        (
            !is_control_plane || cluster.trust.signer().is_some(),
            "cluster.ca: missing; a control plane needs the Kubernetes CA with its key",
        ),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what.to_owned()).collect()
}
