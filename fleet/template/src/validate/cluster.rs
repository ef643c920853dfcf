//! Rules of the document `Cluster`.

use std::time::Duration;

use corten_config::node::{Node, Position};
use corten_config::{Problem, Problems, read};
use semver::Version;

use super::Checker;
use crate::model::{Cluster, HealthCheck, Manifest, Spanned};
use crate::names::{self, Numbering};

/// Shortest time between two runs of a check.
const INTERVAL_MIN: Duration = Duration::from_secs(5);

impl Checker<'_> {
    pub(super) fn cluster(&mut self, cluster: &Cluster) {
        self.name(cluster.name.as_ref(), cluster.at);
        self.version("kubernetes.version", cluster.kubernetes_version.as_ref(), cluster.at);
        self.version("talos.version", cluster.talos_version.as_ref(), cluster.at);
        let talos = cluster.talos_version.as_ref();
        if let Some(version) = talos.filter(|version| Version::parse(version).is_ok()) {
            let message = format!("{0:?} does not begin with v; write v{0}", version.value);
            self.refuse("talos.version", version.at, message);
        }
        let numbering = Numbering::of_cluster(cluster.name());
        for (index, manifest) in cluster.manifests.iter().enumerate() {
            self.manifest(&format!("kubernetes.manifests[{index}]"), manifest);
            let id = numbering.manifest(index, manifest);
            self.claim("manifest", id, &format!("kubernetes.manifests[{index}]"), manifest.at);
        }
        for (index, check) in cluster.health_checks.iter().enumerate() {
            self.health_check(&format!("kubernetes.healthchecks[{index}]"), check);
            let id = names::health_check(cluster.name(), check);
            self.claim("healthcheck", id, &format!("kubernetes.healthchecks[{index}]"), check.at);
        }
        self.scope(&cluster.scope, &numbering);
    }

    fn version(&mut self, path: &str, version: Option<&Spanned<String>>, at: Position) {
        let Some(version) = version else {
            return self.refuse(path, at, "missing; expected a version such as v1.2.3");
        };
        let bare = version.strip_prefix('v').unwrap_or(version);
        if Version::parse(bare).is_err() {
            let message = format!("{:?} is no version; expected one such as v1.2.3", version.value);
            self.refuse(path, version.at, message);
        }
    }

    fn manifest(&mut self, path: &str, manifest: &Manifest) {
        self.descriptors(path, &manifest.descriptors);
        let (file, inline) = (manifest.file.as_ref(), manifest.inline.as_ref().map(|inline| inline.at));
        if self.is_one_of(path, manifest.at, ("file", file.is_some()), ("inline", inline.is_some())) {
            self.text(path, ("inline", inline), file, manifest.text(), objects);
        }
    }

    fn health_check(&mut self, path: &str, check: &HealthCheck) {
        self.descriptors(path, &check.descriptors);
        if check.name.is_none() && check.id_override.is_none() {
            self.refuse(format!("{path}.name"), check.at, "missing; a check needs name or idOverride");
        }
        if let Some(interval) = check.interval.as_ref().filter(|interval| interval.value < INTERVAL_MIN) {
            let message = "shorter than 5s, the shortest time between two runs";
            self.refuse(format!("{path}.interval"), interval.at, message);
        }
        let job_at = check.job.as_ref().map(|job| job.at);
        if self.is_one_of(path, check.at, ("file", check.file.is_some()), ("job", job_at.is_some())) {
            self.text(path, ("job", job_at), check.file.as_ref(), check.text(), job);
        }
    }
}

/// Objects of Kubernetes: mappings, at least one.
fn objects(text: &str) -> Result<(), Problems> {
    let documents = read::documents(text)?;
    if documents.is_empty() {
        let message = "there is no object; give one, or remove this";
        return Err(Problem::at(Position::default(), message.to_owned()).into());
    }
    match documents.iter().find(|document| document.as_map().is_none()) {
        Some(other) => {
            let message = format!("an object of Kubernetes is a mapping, this is a {}", other.describe());
            Err(Problem::at(other.at, message).into())
        }
        None => Ok(()),
    }
}

/// A job of Kubernetes, exactly one.
fn job(text: &str) -> Result<(), Problems> {
    let documents = read::documents(text)?;
    let is = |node: &Node, key: &str, value: &str| node.get(key).and_then(Node::as_text) == Some(value);
    match documents.as_slice() {
        [job] if is(job, "kind", "Job") && is(job, "apiVersion", "batch/v1") => Ok(()),
        _ => {
            let at = documents.first().map(|document| document.at).unwrap_or_default();
            let message = "a check is exactly one document with `apiVersion: batch/v1` and `kind: Job`";
            Err(Problem::at(at, message.to_owned()).into())
        }
    }
}
