//! How clusters are: health, findings, what is going on, and how many there are.

use std::collections::BTreeMap;

use corten_resource::{Enumeration, Record, Resource};

use crate::machine::MachineUpgradeStatus;
use crate::secrets::ClusterSecretsRotationStatus;
use crate::upgrade::{KubernetesUpgradeStatus, TalosUpgradeStatus};

/// How many machines a cluster or a machine set has.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Machines {
    /// Those that are in it.
    #[field(1, "total")]
    pub total: u32,
    /// Those that run and are ready.
    #[field(2, "healthy")]
    pub healthy: u32,
    /// Those whose tunnel is up.
    #[field(3, "connected")]
    pub connected: u32,
    /// Those that are to be in it; more than there are while a class or a provider has too few.
    #[field(4, "requested")]
    pub requested: u32,
}

/// What happens to a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ClusterPhase {
    /// Not known yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// Machines are added.
    #[variant(1, "scaling-up")]
    ScalingUp,
    /// Machines are removed.
    #[variant(2, "scaling-down")]
    ScalingDown,
    /// Its machines are those that are wanted.
    #[variant(3, "running")]
    Running,
    /// It is removed.
    #[variant(4, "destroying")]
    Destroying,
}

/// How a cluster is, by the cluster. Its labels say by what it is tainted.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterStatus {
    /// At least one control plane machine answers.
    #[field(1, "available")]
    pub available: bool,
    /// How many machines it has.
    #[field(2, "machines")]
    pub machines: Option<Machines>,
    /// What happens to it.
    #[field(3, "phase")]
    pub phase: ClusterPhase,
    /// All its machine sets run and are ready.
    #[field(4, "ready")]
    pub ready: bool,
    /// The load balancer has a healthy API server.
    #[field(5, "kubernetesapiready")]
    pub kubernetes_api_ready: bool,
    /// No condition of the control plane is an error.
    #[field(6, "controlplaneready")]
    pub controlplane_ready: bool,
    /// The tunnel of at least one control plane machine is up.
    #[field(7, "hasconnectedcontrolplanes")]
    pub has_connected_control_planes: bool,
    /// Its machines use the manager's discovery service: it is wanted, served, and their version can.
    #[field(8, "useembeddeddiscoveryservice")]
    pub use_embedded_discovery_service: bool,
    /// Version of the operating system that is wanted, without `v`.
    #[field(9, "talosversion")]
    pub talos_version: String,
    /// Version of Kubernetes that is wanted, without `v`.
    #[field(10, "kubernetesversion")]
    pub kubernetes_version: String,
    /// Its machines do not use the public discovery service.
    #[field(11, "disablepublicdiscoveryservice")]
    pub disable_public_discovery_service: bool,
    /// Version of the operating system that it was created with; no downgrade goes below its minor.
    #[field(12, "initialtalosversion")]
    pub initial_talos_version: String,
}

/// A machine that finds something wrong with itself.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct DiagnosedNode {
    /// UUID of the machine.
    #[field(1, "id")]
    pub id: String,
    /// How much it finds.
    #[field(2, "numdiagnostics")]
    pub num_diagnostics: u32,
}

/// The machines of a cluster that find something wrong with themselves, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterDiagnostics.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterDiagnostics {
    /// The machines; what they find is in their status.
    #[field(1, "nodes")]
    pub nodes: Vec<DiagnosedNode>,
}

/// What a condition of a control plane is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ConditionKind {
    /// Nothing.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// The members of etcd and their health.
    #[variant(1, "etcd")]
    Etcd,
    /// The tunnels of the machines.
    #[variant(2, "wireguard-connection")]
    WireguardConnection,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ConditionStatus {
    /// It could not be checked.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// It does.
    #[variant(1, "ready")]
    Ready,
    /// It does not.
    #[variant(2, "not-ready")]
    NotReady,
}

/// How bad it is that a condition does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ConditionSeverity {
    /// It passes.
    #[default]
    #[variant(0, "info")]
    Info,
    /// The control plane works with less safety.
    #[variant(1, "warning")]
    Warning,
    /// The control plane does not work.
    #[variant(2, "error")]
    Error,
}

/// One condition of a control plane.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ControlPlaneCondition {
    /// What it is about.
    #[field(1, "type")]
    pub kind: ConditionKind,
    /// Why it does not hold, plain text.
    #[field(2, "reason")]
    pub reason: String,
    /// Whether it holds.
    #[field(3, "status")]
    pub status: ConditionStatus,
    /// How bad it is.
    #[field(4, "severity")]
    pub severity: ConditionSeverity,
}

/// How a control plane is, by its machine set; looked at again after 30 minutes at the latest.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ControlPlaneStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct ControlPlaneStatus {
    /// One for each kind.
    #[field(1, "conditions")]
    pub conditions: Vec<ControlPlaneCondition>,
}

/// How far a removal is.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct DestroyStatus {
    /// What is still there, plain text.
    #[field(1, "phase")]
    pub phase: String,
}

/// Something that takes a while, for a list of what is going on; its id is that of its subject and its kind.
///
/// Exactly one of the optional fields is there.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "OngoingTasks.omni.sidero.dev", namespace = "ephemeral", message)]
pub struct OngoingTask {
    /// One line.
    #[field(1, "title")]
    pub title: String,
    /// Upgrade of the operating system of a cluster.
    #[field(2, "talosupgrade")]
    pub talos_upgrade: Option<TalosUpgradeStatus>,
    /// Upgrade of the Kubernetes of a cluster.
    #[field(3, "kubernetesupgrade")]
    pub kubernetes_upgrade: Option<KubernetesUpgradeStatus>,
    /// Removal of a cluster or of a machine set.
    #[field(4, "destroy")]
    pub destroy: Option<DestroyStatus>,
    /// Another image for a machine.
    #[field(5, "machineupgrade")]
    pub machine_upgrade: Option<MachineUpgradeStatus>,
    /// Rotation of a certificate authority.
    #[field(7, "secretsrotation")]
    pub secrets_rotation: Option<ClusterSecretsRotationStatus>,
    /// Id of what it is about: the cluster, the machine set or the machine.
    #[field(6, "resourceid")]
    pub resource_id: String,
}

/// How many clusters use which feature. Singleton `metrics`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterMetrics.omni.sidero.dev", namespace = "ephemeral", message)]
pub struct ClusterMetrics {
    /// Clusters by feature.
    #[field(3, "features")]
    pub features: BTreeMap<String, u32>,
}

impl ClusterMetrics {
    /// Id of the only one.
    pub const ID: &'static str = "metrics";
}

/// How many clusters are in which state. Singleton `metrics`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterStatusMetrics.omni.sidero.dev", namespace = "ephemeral", message)]
pub struct ClusterStatusMetrics {
    /// Those that are not ready.
    #[field(1, "notreadycount")]
    pub not_ready_count: u32,
    /// Clusters by the number of their [`ClusterPhase`].
    #[field(2, "phases", number_keys)]
    pub phases: BTreeMap<String, u32>,
}

impl ClusterStatusMetrics {
    /// Id of the only one.
    pub const ID: &'static str = "metrics";
}
