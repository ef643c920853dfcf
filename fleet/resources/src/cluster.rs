//! Clusters: what a person wants, what there is, and the machines in them.
//!
//! ```text
//! Cluster ◀─ MachineSet ◀─ MachineSetNode ◀─(by hand, or picked by MachineClass)─ machines
//!    │            │              └▶ ClusterMachine ─▶ ClusterMachineStatus, ClusterMachineIdentity
//!    │            └▶ MachineSetStatus, ControlPlaneStatus ◀──────┘
//!    └▶ ClusterStatus ◀──────┘
//! ```

mod member;
mod set;
mod status;

use corten_resource::{Nanos, Record, Resource};

pub use member::{
    ClusterMachine, ClusterMachineIdentity, ClusterMachineRequestStage, ClusterMachineRequestStatus,
    ClusterMachineStage, ClusterMachineStatus, ClusterMachineTalosVersion, ConfigApplyStatus,
    ProvisionStatus,
};
pub use set::{
    AllocationKind, BootstrapSpec, MachineAllocation, MachineClass, MachineProvision, MachineSet,
    MachineSetConfigStatus, MachineSetDestroyStatus, MachineSetNode, MachineSetPhase, MachineSetStatus,
    RollingUpdateConfig, UpdateStrategy, UpdateStrategyConfig,
};
pub use status::{
    ClusterDiagnostics, ClusterMetrics, ClusterPhase, ClusterStatus, ClusterStatusMetrics, ConditionKind,
    ConditionSeverity, ConditionStatus, ControlPlaneCondition, ControlPlaneStatus, DestroyStatus,
    DiagnosedNode, Machines, OngoingTask,
};

/// Switches of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ClusterFeatures {
    /// Services with the right annotation are reachable through the manager.
    #[field(1, "enableworkloadproxy")]
    pub enable_workload_proxy: bool,
    /// State and ephemeral data of its machines are encrypted with keys that the manager keeps. It cannot be changed.
    #[field(2, "diskencryption")]
    pub disk_encryption: bool,
    /// Its machines find each other through the manager's own discovery service.
    #[field(3, "useembeddeddiscoveryservice")]
    pub use_embedded_discovery_service: bool,
    /// Kubernetes nodes with the annotation for it are kept even if no machine stands behind them.
    #[field(4, "enablenodeauditskip")]
    pub enable_node_audit_skip: bool,
    /// Its machines do not use the public discovery service. Needs the embedded one.
    #[field(5, "disablepublicdiscoveryservice")]
    pub disable_public_discovery_service: bool,
}

/// How often the etcd of a cluster is backed up.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct EtcdBackupConf {
    /// Time between backups, from one hour to one day; a jitter is added.
    #[field(1, "interval")]
    pub interval: Option<Nanos>,
    /// Backups are made.
    #[field(2, "enabled")]
    pub enabled: bool,
}

/// A cluster as a person wants it; its id is its name, of letters, digits, `_` and `-`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Clusters.omni.sidero.dev", namespace = "default", message)]
pub struct Cluster {
    /// Version of Kubernetes, without `v`; a change is an upgrade.
    #[field(2, "kubernetesversion")]
    pub kubernetes_version: String,
    /// Version of the operating system, without `v`; a change is an upgrade.
    #[field(3, "talosversion")]
    pub talos_version: String,
    /// Its switches; all off when absent.
    #[field(4, "features")]
    pub features: Option<ClusterFeatures>,
    /// Its backups; none when absent.
    #[field(5, "backupconfiguration")]
    pub backup_configuration: Option<EtcdBackupConf>,
}

/// The identity of a cluster that outlives its name, by the cluster; backups are filed under it.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterUUIDs.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterUuid {
    /// The UUID, also a label of this resource.
    #[field(1, "uuid")]
    pub uuid: String,
}

/// The version whose configuration contract a cluster keeps for life, by the cluster.
///
/// Configurations made with another contract would differ and reboot every machine.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterConfigVersions.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterConfigVersion {
    /// Version of the operating system that the cluster was created with.
    #[field(1, "version")]
    pub version: String,
}

/// Whether the etcd of a cluster was started, by the cluster. Once true it stays true.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterBootstrapStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterBootstrapStatus {
    /// It was.
    #[field(1, "bootstrapped")]
    pub bootstrapped: bool,
}

/// How far the removal of a cluster is, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterDestroyStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterDestroyStatus {
    /// What is still there, plain text.
    #[field(1, "phase")]
    pub phase: String,
}

/// Where the control plane of a cluster is reached, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterEndpoints.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterEndpoint {
    /// Addresses of its control plane machines in the tunnel.
    #[field(1, "managementaddresses")]
    pub management_addresses: Vec<String>,
}

/// Somebody holds credentials of a cluster that the manager does not control, by the cluster.
///
/// Gone after both certificate authorities were rotated.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterTaints.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterTaint {}

/// The nodes of a cluster as Kubernetes is to have them, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterKubernetesNodes.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterKubernetesNodes {
    /// Names of the nodes, sorted.
    #[field(1, "nodes")]
    pub nodes: Vec<String>,
}
