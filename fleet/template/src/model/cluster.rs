//! The document `Cluster`.

use std::time::Duration;

use corten_base::Secret;
use corten_config::node::Position;
use corten_fleet_resources::kubernetes::ManifestMode;

use super::scope::text;
use super::{Descriptors, FileText, Scope, Spanned, label};

/// A cluster.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Where it is.
    pub at: Position,
    /// Its name, the key of everything else.
    pub name: Option<Spanned<String>>,
    /// Version of Kubernetes as written.
    pub kubernetes_version: Option<Spanned<String>>,
    /// Version of the operating system as written, with `v`.
    pub talos_version: Option<Spanned<String>>,
    /// Its switches.
    pub features: Features,
    /// Objects to apply in Kubernetes, in order.
    pub manifests: Vec<Manifest>,
    /// Jobs that hold upgrades back.
    pub health_checks: Vec<HealthCheck>,
    /// What is said for all its machines.
    pub scope: Scope,
}

impl Cluster {
    /// Its name; empty when it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_ref().map(|name| name.as_str()).unwrap_or_default()
    }

    /// How messages call it.
    #[must_use]
    pub fn label(&self) -> String {
        label("Cluster", Some(self.name()))
    }
}

/// Switches of a cluster; all are off when not given.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// Disks of its machines are encrypted.
    pub disk_encryption: bool,
    /// Services are reachable through the manager.
    pub enable_workload_proxy: bool,
    /// Its machines find each other through the manager.
    pub use_embedded_discovery_service: bool,
    /// Its machines do not use the public discovery service.
    pub disable_public_discovery_service: bool,
    /// Nodes of Kubernetes can be excepted from audits.
    pub enable_node_audit_skip: bool,
    /// Time between two backups of etcd; zero and nothing mean that there are none.
    pub backup_interval: Option<Spanned<Duration>>,
}

/// Objects to apply in Kubernetes. Exactly one of `file` and `inline` is given.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// Where it is.
    pub at: Position,
    /// Its name.
    pub name: Option<Spanned<String>>,
    /// How long the objects are looked after; `Unknown` when not given.
    pub mode: ManifestMode,
    /// The file with the objects.
    pub file: Option<FileText>,
    /// The objects as YAML documents.
    pub inline: Option<Spanned<Secret<String>>>,
    /// Labels and annotations of its resource.
    pub descriptors: Descriptors,
}

impl Manifest {
    /// The objects, from wherever they come.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        text(self.file.as_ref(), self.inline.as_ref())
    }
}

/// A job that must succeed before a machine is upgraded. Exactly one of `file` and `job` is given.
#[derive(Clone, Debug, Default)]
pub struct HealthCheck {
    /// Where it is.
    pub at: Position,
    /// Its name.
    pub name: Option<Spanned<String>>,
    /// The whole id, instead of one made of cluster and name.
    pub id_override: Option<Spanned<String>>,
    /// The file with the job.
    pub file: Option<FileText>,
    /// The job as a YAML document.
    pub job: Option<Spanned<Secret<String>>>,
    /// Time between two runs, at least five seconds; the manager chooses when not given.
    pub interval: Option<Spanned<Duration>>,
    /// Labels and annotations of its resource.
    pub descriptors: Descriptors,
}

impl HealthCheck {
    /// The job, from wherever it comes.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        text(self.file.as_ref(), self.job.as_ref())
    }
}
