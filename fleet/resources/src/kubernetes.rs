//! What the manager knows of the Kubernetes of its clusters, what it puts there, and how it lets others in.
//!
//! ```text
//! Kubernetes ─▶ KubernetesStatus, KubernetesNodeAuditResult, ExposedService ─▶ ClusterWorkloadProxyStatus
//! KubernetesManifestGroup ─▶ Kubernetes ─▶ ClusterKubernetesManifestsStatus
//! KubernetesHealthCheck ─▶ a job in Kubernetes ─▶ KubernetesHealthCheckStatus ─▶ the next machine may be upgraded
//! LoadBalancerConfig ─▶ a port of the manager in front of the control plane ─▶ LoadBalancerStatus
//! ```

use std::collections::BTreeMap;

use corten_resource::{Enumeration, Nanos, Record, Resource};

/// How much of what Kubernetes comes with is not as its version wants it, by the cluster. It is applied only when
/// people ask for it.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubernetesUpgradeManifestStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct KubernetesUpgradeManifestStatus {
    /// Objects that would change.
    #[field(1, "outofsync")]
    pub out_of_sync: i32,
    /// Why the comparison failed last; empty when it did not.
    #[field(2, "lastfatalerror")]
    pub last_fatal_error: String,
}

/// A node as Kubernetes has it.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct KubernetesNode {
    /// Its name.
    #[field(1, "nodename")]
    pub nodename: String,
    /// Version of its kubelet, without `v`.
    #[field(2, "kubeletversion")]
    pub kubelet_version: String,
    /// Its condition `Ready` is true.
    #[field(3, "ready")]
    pub ready: bool,
    /// The node is marked so that no audit deletes it.
    #[field(4, "skipaudit")]
    pub skip_audit: bool,
}

/// A component of the control plane on a node.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct KubernetesStaticPod {
    /// Name of the component, such as `kube-apiserver`.
    #[field(1, "app")]
    pub app: String,
    /// Its version, without `v`.
    #[field(2, "version")]
    pub version: String,
    /// Its condition `Ready` is true.
    #[field(3, "ready")]
    pub ready: bool,
}

/// The components of the control plane on one node.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct KubernetesNodeStaticPods {
    /// Name of the node.
    #[field(1, "nodename")]
    pub nodename: String,
    /// One row for each component.
    #[field(2, "staticpods")]
    pub static_pods: Vec<KubernetesStaticPod>,
}

/// Nodes and components as Kubernetes has them, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubernetesStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct KubernetesStatus {
    /// All nodes.
    #[field(1, "nodes")]
    pub nodes: Vec<KubernetesNode>,
    /// Components of the nodes of the control plane.
    #[field(2, "staticpods")]
    pub static_pods: Vec<KubernetesNodeStaticPods>,
}

/// What the last audit that found something did, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubernetesNodeAuditResults.omni.sidero.dev", namespace = "default", message)]
pub struct KubernetesNodeAuditResult {
    /// Nodes that it deleted, since no machine of the cluster stands behind them.
    #[field(1, "deletednodes")]
    pub deleted_nodes: Vec<String>,
}

/// How long objects are looked after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ManifestMode {
    /// Not said, which is refused.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// Always: changes are undone, and what the group no longer has is deleted.
    #[variant(1, "full")]
    Full,
    /// Applied once, then left to whoever works in the cluster.
    #[variant(2, "one-time")]
    OneTime,
}

/// Objects of Kubernetes that the manager applies to the cluster its label names.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubernetesManifestGroups.omni.sidero.dev", namespace = "default", message)]
pub struct KubernetesManifestGroup {
    /// The same, zstd; only read, never written here.
    #[field(1, "")]
    pub compressed_data: Vec<u8>,
    /// The objects, YAML documents.
    #[field(2, "data")]
    pub data: String,
    /// How long they are looked after.
    #[field(4, "mode")]
    pub mode: ManifestMode,
}

/// How far a group of objects is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ManifestGroupPhase {
    /// Not known yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// None of its objects is there.
    #[variant(1, "pending")]
    Pending,
    /// Some are.
    #[variant(2, "progressing")]
    Progressing,
    /// All are.
    #[variant(3, "applied")]
    Applied,
    /// The group is gone and its objects follow.
    #[variant(4, "deleting")]
    Deleting,
}

/// How far one object is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ManifestPhase {
    /// Not known yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// It is missing or differs.
    #[variant(1, "pending")]
    Pending,
    /// It is as the group has it.
    #[variant(2, "applied")]
    Applied,
    /// It is to go.
    #[variant(3, "deleting")]
    Deleting,
}

/// How far one object is, and which one it is.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ManifestStatus {
    /// How far it is.
    #[field(1, "phase")]
    pub phase: ManifestPhase,
    /// Its kind in Kubernetes.
    #[field(2, "kind")]
    pub kind: String,
    /// Its name.
    #[field(3, "name")]
    pub name: String,
    /// Its namespace; empty when it has none.
    #[field(4, "namespace")]
    pub namespace: String,
    /// API group of its kind; empty for the core group.
    #[field(5, "group")]
    pub group: String,
}

/// How far a group of objects is.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ManifestGroupStatus {
    /// How far it is as a whole.
    #[field(1, "phase")]
    pub phase: ManifestGroupPhase,
    /// How long its objects are looked after.
    #[field(2, "mode")]
    pub mode: ManifestMode,
    /// Its objects, by a text that tells them apart.
    #[field(3, "manifests")]
    pub manifests: BTreeMap<String, ManifestStatus>,
}

/// How far the groups of objects of a cluster are, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterKubernetesManifestsStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterKubernetesManifestsStatus {
    /// By id of the [`KubernetesManifestGroup`].
    #[field(1, "groups")]
    pub groups: BTreeMap<String, ManifestGroupStatus>,
    /// Objects that are not as their group has them.
    #[field(2, "outofsync")]
    pub out_of_sync: i32,
    /// Objects of all groups.
    #[field(3, "total")]
    pub total: i32,
    /// Why applying failed last; empty when it did not.
    #[field(4, "lasterror")]
    pub last_error: String,
}

/// A job that must succeed before each machine of a cluster is upgraded. Its label names the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubernetesHealthChecks.omni.sidero.dev", namespace = "default", message)]
pub struct KubernetesHealthCheck {
    /// The job, a YAML document of Kubernetes' kind `Job`.
    #[field(1, "job")]
    pub job: String,
    /// How long to wait before it runs again, at least five seconds.
    #[field(2, "interval")]
    pub interval: Option<Nanos>,
}

/// How a check of health went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum KubernetesHealthCheckState {
    /// It did not run yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// It runs.
    #[variant(1, "running")]
    Running,
    /// The job failed.
    #[variant(2, "failed")]
    Failed,
    /// The job succeeded.
    #[variant(3, "passed")]
    Passed,
}

/// How a check of health went last, by the check.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubernetesHealthCheckStatuses.omni.sidero.dev", namespace = "ephemeral", message)]
pub struct KubernetesHealthCheckStatus {
    /// How it went.
    #[field(1, "state")]
    pub state: KubernetesHealthCheckState,
    /// Why it failed; empty when it did not.
    #[field(2, "error")]
    pub error: String,
    /// What the job wrote: its termination message, or the end of its log.
    #[field(3, "output")]
    pub output: String,
    /// Namespace of the job in the cluster.
    #[field(4, "jobnamespace")]
    pub job_namespace: String,
    /// Name of the job in the cluster.
    #[field(5, "jobname")]
    pub job_name: String,
}

/// The port of the manager behind which the Kubernetes API of a cluster is, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "LoadBalancerConfigs.omni.sidero.dev", namespace = "default", message)]
pub struct LoadBalancerConfig {
    /// The port, a number as text; the cluster keeps it for life.
    #[field(2, "bindport")]
    pub bind_port: String,
    /// Where the machines of the cluster reach it, a URL with the manager's address in the tunnel.
    #[field(4, "siderolinkendpoint")]
    pub siderolink_endpoint: String,
    /// Kubernetes API of each machine of the control plane, address and port in the tunnel.
    #[field(3, "endpoints")]
    pub endpoints: Vec<String>,
}

/// Whether the Kubernetes API of a cluster answers, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "LoadBalancerStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct LoadBalancerStatus {
    /// At least one machine of the control plane answers.
    #[field(3, "healthy")]
    pub healthy: bool,
    /// The port is closed, since no machine of the control plane is connected.
    #[field(4, "stopped")]
    pub stopped: bool,
}

/// A service in a cluster that people reach through the manager, by cluster, service, namespace and port.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ExposedServices.omni.sidero.dev", namespace = "default", message)]
pub struct ExposedService {
    /// Port at which each machine of the cluster serves it.
    #[field(1, "port")]
    pub port: u32,
    /// What people call it.
    #[field(2, "label")]
    pub label: String,
    /// Its picture, SVG in base64.
    #[field(3, "iconbase64")]
    pub icon_base64: String,
    /// Where people reach it.
    #[field(4, "url")]
    pub url: String,
    /// Why it is not as its annotations say; empty when it is.
    #[field(5, "error")]
    pub error: String,
    /// Its annotations name the alias that is in the URL; otherwise the alias is random.
    #[field(6, "hasexplicitalias")]
    pub has_explicit_alias: bool,
}

/// How many services of a cluster people reach through the manager, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterWorkloadProxyStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterWorkloadProxyStatus {
    /// How many.
    #[field(1, "numexposedservices")]
    pub num_exposed_services: u32,
}
