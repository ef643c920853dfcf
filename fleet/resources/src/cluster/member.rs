//! Machines as members of a cluster.

use corten_resource::{Enumeration, Record, Resource};

/// A machine that belongs to a cluster, by its UUID. Finalizers on it are the slots of updates and upgrades.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterMachines.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterMachine {
    /// Version of Kubernetes that the cluster had when the machine came in; upgrades are patches on top.
    #[field(2, "kubernetesversion")]
    pub kubernetes_version: String,
}

/// What a member of a cluster is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ClusterMachineStage {
    /// Not known.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// It starts.
    #[variant(1, "booting")]
    Booting,
    /// It writes itself to the disk.
    #[variant(2, "installing")]
    Installing,
    /// It installs another image.
    #[variant(6, "upgrading")]
    Upgrading,
    /// It waits for its first configuration, or takes another one.
    #[variant(3, "configuring")]
    Configuring,
    /// It runs as configured.
    #[variant(4, "running")]
    Running,
    /// It goes down to come back.
    #[variant(7, "rebooting")]
    Rebooting,
    /// It goes down to stay off.
    #[variant(8, "shutting-down")]
    ShuttingDown,
    /// It leaves and is not wiped yet.
    #[variant(9, "before-destroy")]
    BeforeDestroy,
    /// It wipes itself.
    #[variant(5, "destroying")]
    Destroying,
    /// Its provider switched it on, and it is not heard of yet.
    #[variant(10, "powering-on")]
    PoweringOn,
    /// It is off.
    #[variant(11, "powered-off")]
    PoweredOff,
}

/// Whether the configuration of a machine is the wanted one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ConfigApplyStatus {
    /// Not known.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// It is changed, or waits for its turn.
    #[variant(1, "pending")]
    Pending,
    /// It is.
    #[variant(2, "applied")]
    Applied,
    /// The machine refused it.
    #[variant(3, "failed")]
    Failed,
}

/// Who made a machine.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ProvisionStatus {
    /// Id of the infrastructure provider.
    #[field(1, "providerid")]
    pub provider_id: String,
    /// Id of the machine request that it answered.
    #[field(2, "requestid")]
    pub request_id: String,
}

/// How a member of a cluster is, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterMachineStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterMachineStatus {
    /// It runs, it is connected, and it misses nothing.
    #[field(1, "ready")]
    pub ready: bool,
    /// What it is doing.
    #[field(2, "stage")]
    pub stage: ClusterMachineStage,
    /// Its configuration is the wanted one.
    #[field(4, "configuptodate")]
    pub config_up_to_date: bool,
    /// Why the wanted configuration could not be made or was refused.
    #[field(5, "lastconfigerror")]
    pub last_config_error: String,
    /// Address of the machine in the tunnel, without prefix length.
    #[field(6, "managementaddress")]
    pub management_address: String,
    /// Where its configuration is.
    #[field(7, "configapplystatus")]
    pub config_apply_status: ConfigApplyStatus,
    /// The machine itself is gone from the manager.
    #[field(8, "isremoved")]
    pub is_removed: bool,
    /// Who made it; absent when it was not asked for.
    #[field(9, "provisionstatus")]
    pub provision_status: Option<ProvisionStatus>,
}

/// What a member of a cluster is called by others, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterMachineIdentities.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterMachineIdentity {
    /// Its id in discovery, base62.
    #[field(1, "nodeidentity")]
    pub node_identity: String,
    /// Its id in etcd; 0 when it is not a member.
    #[field(2, "etcdmemberid")]
    pub etcd_member_id: u64,
    /// Its name in Kubernetes.
    #[field(3, "nodename")]
    pub nodename: String,
    /// Its addresses in Kubernetes, without prefix lengths.
    #[field(8, "nodeips")]
    pub node_ips: Vec<String>,
    /// The discovery service that it uses, a URL with port; empty when it uses none.
    #[field(9, "discoveryserviceendpoint")]
    pub discovery_service_endpoint: String,
    /// All discovery services that it uses, URLs with port.
    #[field(10, "discoveryserviceendpoints")]
    pub discovery_service_endpoints: Vec<String>,
}

/// The image that a member of a cluster may run now, by its UUID. An upgrade turns it machine by machine.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterMachineTalosVersions.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterMachineTalosVersion {
    /// Version of the operating system, without `v`.
    #[field(1, "talosversion")]
    pub talos_version: String,
    /// Id of the schematic.
    #[field(2, "schematicid")]
    pub schematic_id: String,
}

/// How far a provider is with a machine for a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ClusterMachineRequestStage {
    /// Not known.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// The provider has not begun.
    #[variant(1, "pending")]
    Pending,
    /// The provider makes it.
    #[variant(2, "provisioning")]
    Provisioning,
    /// It is there.
    #[variant(3, "provisioned")]
    Provisioned,
    /// The provider removes it.
    #[variant(4, "deprovisioning")]
    Deprovisioning,
    /// The provider gave up.
    #[variant(5, "failed")]
    Failed,
}

/// A machine that a provider makes for a cluster, by the request; shown until the machine itself can be.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterMachineRequestStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterMachineRequestStatus {
    /// What the provider is doing, plain text.
    #[field(1, "status")]
    pub status: String,
    /// UUID of the machine, once there is one.
    #[field(2, "machineuuid")]
    pub machine_uuid: String,
    /// Id of the provider.
    #[field(3, "providerid")]
    pub provider_id: String,
    /// How far it is.
    #[field(4, "stage")]
    pub stage: ClusterMachineRequestStage,
    /// Why the provider gave up.
    #[field(5, "error")]
    pub error: String,
}
