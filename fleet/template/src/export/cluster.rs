//! The document `Cluster` of resources.

use corten_config::node::Node;
use corten_config::read;
use corten_fleet_resources::cluster::{Cluster, ClusterFeatures, EtcdBackupConf};
use corten_fleet_resources::kubernetes::{KubernetesHealthCheck, KubernetesManifestGroup, ManifestMode};
use corten_fleet_resources::labels::annotation;
use corten_resource::{Nanos, Resource, yaml};

use super::{Exporter, Target, list, mapping, tags, unless_empty};
use crate::names;

impl Exporter<'_> {
    pub(super) fn cluster(&mut self, cluster: &Resource<Cluster>) -> Node {
        self.take(&cluster.metadata);
        let kubernetes = mapping([
            ("version", Some(version(&cluster.kubernetes_version))),
            ("manifests", list(self.manifests())),
            ("healthchecks", list(self.health_checks())),
        ]);
        let entries = [
            ("kind", Some(Node::string("Cluster"))),
            ("name", Some(Node::string(cluster.id()))),
            ("labels", tags(&cluster.metadata.labels)),
            ("annotations", tags(&cluster.metadata.annotations)),
            ("kubernetes", Some(kubernetes)),
            ("talos", Some(mapping([("version", Some(version(&cluster.talos_version)))]))),
            ("features", unless_empty(features(cluster))),
        ];
        mapping(entries.into_iter().chain(self.scope(Target::Cluster)))
    }

    fn manifests(&mut self) -> Vec<Node> {
        let mut manifests = Vec::new();
        for group in self.ours::<KubernetesManifestGroup>() {
            let Some(inline) = objects(&group.data) else { continue };
            self.take(&group.metadata);
            let own = group.metadata.annotations.get(annotation::NAME);
            let name = manifest_name(self.cluster, group.id()).or(own.map(String::as_str));
            let name = name.unwrap_or(group.id()).to_owned();
            let mut annotations = group.metadata.annotations.clone();
            annotations.retain(|key, value| key != annotation::NAME || *value != name);
            let mode = if group.mode == ManifestMode::OneTime { "one-time" } else { "full" };
            manifests.push(mapping([
                ("name", Some(Node::string(name))),
                ("mode", Some(Node::string(mode))),
                ("labels", tags(&group.metadata.labels)),
                ("annotations", tags(&annotations)),
                ("inline", Some(inline)),
            ]));
        }
        manifests
    }

    fn health_checks(&mut self) -> Vec<Node> {
        let mut checks = Vec::new();
        for check in self.ours::<KubernetesHealthCheck>() {
            self.take(&check.metadata);
            let name = check.id().strip_prefix(&names::health_check_prefix(self.cluster));
            let name = name.filter(|name| !name.is_empty());
            let id = if name.is_none() { Some(check.id()) } else { None };
            checks.push(mapping([
                ("name", name.map(Node::string)),
                ("idOverride", id.map(Node::string)),
                ("labels", tags(&check.metadata.labels)),
                ("annotations", tags(&check.metadata.annotations)),
                ("interval", check.interval.map(duration)),
                ("job", Some(Node::string(check.job.as_str()))),
            ]));
        }
        checks
    }
}

/// A version as templates have it.
fn version(version: &str) -> Node {
    Node::string(format!("v{version}"))
}

fn duration(nanos: Nanos) -> Node {
    Node::string(yaml::duration(nanos.0))
}

fn features(cluster: &Cluster) -> Node {
    let none = ClusterFeatures::default();
    let features = cluster.features.as_ref().unwrap_or(&none);
    let on = |is_on: bool| is_on.then(|| Node::bool(true));
    let backup = cluster.backup_configuration.as_ref().and_then(backup);
    mapping([
        ("diskEncryption", on(features.disk_encryption)),
        ("enableWorkloadProxy", on(features.enable_workload_proxy)),
        ("useEmbeddedDiscoveryService", on(features.use_embedded_discovery_service)),
        ("disablePublicDiscoveryService", on(features.disable_public_discovery_service)),
        ("enableNodeAuditSkip", on(features.enable_node_audit_skip)),
        ("backupConfiguration", backup),
    ])
}

fn backup(backup: &EtcdBackupConf) -> Option<Node> {
    let interval = backup.interval.filter(|_| backup.enabled)?;
    Some(mapping([("interval", Some(duration(interval)))]))
}

/// The objects of a manifest; nothing when the language cannot say them.
fn objects(data: &str) -> Option<Node> {
    let documents = read::documents(data).ok()?;
    let are_objects = !documents.is_empty() && documents.iter().all(|document| document.as_map().is_some());
    are_objects.then(|| Node::list(documents))
}

/// The name that the id of a manifest was made from.
fn manifest_name<'a>(cluster: &str, id: &'a str) -> Option<&'a str> {
    let (weight, rest) = id.split_once('-')?;
    let name = rest.strip_prefix("cluster-")?.strip_prefix(cluster)?.strip_prefix('-')?;
    let is_weight = weight.len() >= 3 && weight.chars().all(|c| c.is_ascii_digit());
    (is_weight && !name.is_empty()).then_some(name)
}
