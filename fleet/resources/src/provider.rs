//! Infrastructure providers: programs that make machines on request, or that watch over machines of their own.
//!
//! ```text
//! makes machines:  MachineRequestSet ─▶ MachineRequest ─▶ (provider) ─▶ MachineRequestStatus, ConfigPatchRequest
//! has machines:    InfraMachineConfig ────▶ InfraMachine ─▶ (provider) ─▶ InfraMachineStatus
//!                  InfraMachineBmcConfig ─▶ BmcConfig ────┘
//! both:            Link ─▶ InfraMachineRegistration ─▶ (provider)
//!                  InfraProviderStatus, InfraProviderHealthStatus ─▶ InfraProviderCombinedStatus
//! ```
//!
//! What stands in namespace `infra-provider` carries the label `omni.sidero.dev/infra-provider-id`; a provider sees and
//! writes only what has its own id there.

use std::time::SystemTime;

use corten_resource::{Enumeration, Record, Resource};

use crate::machine::{GrpcTunnelMode, MetaValue, Overlay};

/// A number of machines of the same kind that a provider is to make and keep. A machine class that provisions has one
/// for each machine set, with the id of the set; people may make others.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineRequestSets.omni.sidero.dev", namespace = "default", message)]
pub struct MachineRequestSet {
    /// Id of the provider.
    #[field(1, "providerid")]
    pub provider_id: String,
    /// How many machines; requests are made and withdrawn until there are as many.
    #[field(2, "machinecount")]
    pub machine_count: i32,
    /// Version of the operating system that they boot, without `v`.
    #[field(3, "talosversion")]
    pub talos_version: String,
    /// Names of the system extensions in their image.
    #[field(5, "extensions")]
    pub extensions: Vec<String>,
    /// Kernel arguments beside those that let them join.
    #[field(6, "kernelargs")]
    pub kernel_args: Vec<String>,
    /// Values for the META partition of their image.
    #[field(7, "metavalues")]
    pub meta_values: Vec<MetaValue>,
    /// Size, place and what else the provider asks for: YAML that fits the schema in its status.
    #[field(8, "providerdata")]
    pub provider_data: String,
    /// Whether they tunnel through gRPC.
    #[field(9, "grpctunnel")]
    pub grpc_tunnel: GrpcTunnelMode,
}

/// The requests of a set are being taken care of, by the set. It says no more than that.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineRequestSetStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct MachineRequestSetStatus {}

/// One machine that a provider is to make; the provider removes the machine when the request goes.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineRequests.omni.sidero.dev", namespace = "infra-provider", message)]
pub struct MachineRequest {
    /// Version of the operating system that it boots, without `v`.
    #[field(1, "talosversion")]
    pub talos_version: String,
    /// Overlay of its board; none for ordinary machines.
    #[field(2, "overlay")]
    pub overlay: Option<Overlay>,
    /// Names of the system extensions in its image.
    #[field(3, "extensions")]
    pub extensions: Vec<String>,
    /// Kernel arguments beside those that let it join.
    #[field(4, "kernelargs")]
    pub kernel_args: Vec<String>,
    /// Values for the META partition of its image.
    #[field(5, "metavalues")]
    pub meta_values: Vec<MetaValue>,
    /// Size, place and what else the provider asks for: YAML that fits the schema in its status.
    #[field(6, "providerdata")]
    pub provider_data: String,
    /// Whether it tunnels through gRPC.
    #[field(7, "grpctunnel")]
    pub grpc_tunnel: GrpcTunnelMode,
}

/// How far a provider is with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum MachineRequestStage {
    /// Nothing has been done yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// The machine is being made.
    #[variant(1, "provisioning")]
    Provisioning,
    /// The machine runs; whether it joined is for its link to say.
    #[variant(2, "provisioned")]
    Provisioned,
    /// A step failed; the provider tries again after a minute.
    #[variant(3, "failed")]
    Failed,
}

/// What a provider did about a request, by the request. Its label `infra-id` is the machine in the provider's words.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineRequestStatuses.omni.sidero.dev", namespace = "infra-provider", message)]
pub struct MachineRequestStatus {
    /// UUID of the machine; empty until the provider knows it.
    #[field(1, "id")]
    pub id: String,
    /// How far it is.
    #[field(2, "stage")]
    pub stage: MachineRequestStage,
    /// Why the last attempt failed.
    #[field(3, "error")]
    pub error: String,
    /// The step that runs, one line for people.
    #[field(4, "status")]
    pub status: String,
}

/// A patch that a provider wants for a machine it made; its label `machine-request` names the request.
///
/// Once the UUID of the machine is known and the patch is a valid one, it becomes a patch of the machine that people
/// cannot change.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ConfigPatchRequests.omni.sidero.dev", namespace = "infra-provider", sensitive, message)]
pub struct ConfigPatchRequest {
    /// The patch, YAML, as in a [`ConfigPatch`](crate::config::ConfigPatch).
    #[field(1, "data")]
    pub data: String,
    /// The same, zstd; only read, never written here.
    #[field(2, "")]
    pub compressed_data: Vec<u8>,
}

/// A machine of a provider has a link, by its UUID; the labels are those of the link.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "InfraMachineRegistrations.omni.sidero.dev", namespace = "infra-provider", message)]
pub struct InfraMachineRegistration {}

/// Whether the manager may use a machine that a provider found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum Acceptance {
    /// Nobody has decided; the machine is left alone.
    #[default]
    #[variant(0, "pending")]
    Pending,
    /// It may be used. Its disks are wiped, and there is no way back.
    #[variant(1, "accepted")]
    Accepted,
    /// It may not; the provider does not even boot it.
    #[variant(2, "rejected")]
    Rejected,
}

/// What a person wants of the power of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum PowerWish {
    /// As the manager sees fit: on when the machine is needed.
    #[default]
    #[variant(0, "default")]
    Automatic,
    /// Off unless it is in a cluster.
    #[variant(1, "off")]
    Off,
    /// Always on.
    #[variant(2, "on")]
    On,
}

/// What a person decided about a machine that a provider has, by its UUID.
///
/// Ids in here are up to the person, at most 128 bytes; a new one asks once.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "InfraMachineConfigs.omni.sidero.dev", namespace = "default", message)]
pub struct InfraMachineConfig {
    /// What its power is to be.
    #[field(1, "powerstate")]
    pub power_state: PowerWish,
    /// Whether the manager may use it; `accepted` cannot be taken back.
    #[field(2, "acceptancestatus")]
    pub acceptance_status: Acceptance,
    /// Kernel arguments of the machine alone, separated by spaces.
    #[field(3, "extrakernelargs")]
    pub extra_kernel_args: String,
    /// Id of a wish to boot it anew.
    #[field(4, "requestedrebootid")]
    pub requested_reboot_id: String,
    /// Neither the provider nor a machine class touches it.
    #[field(5, "cordoned")]
    pub cordoned: bool,
    /// Id of a wish to have it off and keep it so, even in a cluster.
    #[field(6, "poweroffrequestid")]
    pub power_off_request_id: String,
}

/// How a machine's management controller is reached over IPMI or Redfish.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Ipmi {
    /// Address of the controller.
    #[field(1, "address")]
    pub address: String,
    /// UDP port.
    #[field(2, "port")]
    pub port: u32,
    /// User that may switch the power and choose what to boot.
    #[field(3, "username")]
    pub username: String,
    /// Password of the user.
    #[field(4, "password")]
    pub password: String,
}

/// How the power of a virtual machine is switched over HTTP, as hosts of test clusters offer it.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct PowerApi {
    /// Host and port.
    #[field(1, "address")]
    pub address: String,
}

/// How to switch a machine on and off, by its UUID, from a person who knows better than the agent on the machine.
/// One of the two is set.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "InfraMachineBMCConfigs.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct InfraMachineBmcConfig {
    /// Through its management controller.
    #[field(1, "ipmi")]
    pub ipmi: Option<Ipmi>,
    /// Through the HTTP API of its host.
    #[field(2, "api")]
    pub api: Option<PowerApi>,
}

/// The same, for the provider, by the machine's UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "BMCConfigs.omni.sidero.dev", namespace = "infra-provider", sensitive, message)]
pub struct BmcConfig {
    /// What the person gave.
    #[field(1, "config")]
    pub config: Option<InfraMachineBmcConfig>,
}

/// Whether a machine is to run while nothing needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum PreferredPower {
    /// It is to be off.
    #[default]
    #[variant(0, "off")]
    Off,
    /// It is to be on.
    #[variant(1, "on")]
    On,
}

/// What a provider is to do with a machine that it has, by its UUID.
///
/// Whenever one of the ids changes, the provider does once what the id is for, and answers with it in the status.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "InfraMachines.omni.sidero.dev", namespace = "infra-provider", sensitive, message)]
pub struct InfraMachine {
    /// Its power while it is neither in a cluster nor being wiped.
    #[field(1, "preferredpowerstate")]
    pub preferred_power_state: PreferredPower,
    /// Whether it may be touched at all.
    #[field(2, "acceptancestatus")]
    pub acceptance_status: Acceptance,
    /// Version that it boots for its cluster, without `v`; empty while it is in none.
    #[field(3, "clustertalosversion")]
    pub cluster_talos_version: String,
    /// Names of the system extensions that it boots with.
    #[field(4, "extensions")]
    pub extensions: Vec<String>,
    /// Id of the last time it left a cluster; the disks are wiped before it is used again.
    #[field(5, "wipeid")]
    pub wipe_id: String,
    /// Kernel arguments that it boots with, separated by spaces.
    #[field(6, "extrakernelargs")]
    pub extra_kernel_args: String,
    /// Id of the last wish to boot it anew.
    #[field(7, "requestedrebootid")]
    pub requested_reboot_id: String,
    /// It is not to be touched for now.
    #[field(8, "cordoned")]
    pub cordoned: bool,
    /// How often it said that an operating system is on its disk. More often than at the last wipe means installed.
    #[field(9, "installeventid")]
    pub install_event_id: u64,
    /// The token by which the manager knows it again, JSON; the provider reports it back after a wipe.
    #[field(10, "nodeuniquetoken")]
    pub node_unique_token: String,
    /// Id of the last wish to switch it off; holds until it is wiped.
    #[field(11, "poweroffrequestid")]
    pub power_off_request_id: String,
}

/// Whether a machine runs, as far as its provider can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum InfraPowerState {
    /// The provider cannot tell.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// It is off.
    #[variant(1, "off")]
    Off,
    /// It is on.
    #[variant(2, "on")]
    On,
}

/// What a provider says of a machine that it has, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "InfraMachineStatuses.omni.sidero.dev", namespace = "infra-provider", sensitive, message)]
pub struct InfraMachineStatus {
    /// Whether it runs.
    #[field(1, "powerstate")]
    pub power_state: InfraPowerState,
    /// Its power can be switched and its disks are clean, so a cluster may have it.
    #[field(2, "readytouse")]
    pub ready_to_use: bool,
    /// The wish to boot anew that was served last.
    #[field(3, "lastrebootid")]
    pub last_reboot_id: String,
    /// When the provider booted it last.
    #[field(4, "lastreboottimestamp")]
    pub last_reboot_timestamp: Option<SystemTime>,
    /// An operating system is on its disk.
    #[field(5, "installed")]
    pub installed: bool,
    /// The token that it had when it was wiped; a machine that comes back without it is then no impostor.
    #[field(6, "wipednodeuniquetoken")]
    pub wiped_node_unique_token: String,
    /// The wish to be off that was served last.
    #[field(7, "lastpoweroffid")]
    pub last_power_off_id: String,
}

/// A provider may connect, by its id, a DNS label. It cannot be removed while it has machines that run.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "InfraProviders.omni.sidero.dev", namespace = "infra-provider", message)]
pub struct InfraProvider {}

/// What a provider says of itself when it starts, by its id.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "InfraProviderStatuses.omni.sidero.dev", namespace = "infra-provider", message)]
pub struct InfraProviderStatus {
    /// JSON schema of `provider_data` in machine classes and requests; empty for a provider with machines of its own.
    #[field(1, "schema")]
    pub schema: String,
    /// Name for people.
    #[field(2, "name")]
    pub name: String,
    /// What it makes machines of, one line.
    #[field(3, "description")]
    pub description: String,
    /// SVG, base64.
    #[field(4, "icon")]
    pub icon: String,
    /// Version of the provider.
    #[field(5, "version")]
    pub version: String,
}

/// Sign of life of a provider, by its id; it comes every 30 seconds.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "InfraProviderHealthStatuses.omni.sidero.dev",
    namespace = "infra-provider-ephemeral",
    message
)]
pub struct InfraProviderHealthStatus {
    /// When it was sent, by the clock of the provider.
    #[field(1, "lastheartbeattimestamp")]
    pub last_heartbeat_timestamp: Option<SystemTime>,
    /// What keeps the provider from its work.
    #[field(2, "error")]
    pub error: String,
}

/// Whether a provider works.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct InfraProviderHealth {
    /// The last sign of life is younger than 31 seconds.
    #[field(1, "connected")]
    pub connected: bool,
    /// What keeps it from its work.
    #[field(2, "error")]
    pub error: String,
    /// It was there at least once since the manager started.
    #[field(3, "initialized")]
    pub initialized: bool,
}

/// All that is known of a provider, by its id, for people.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "InfraProviderCombinedStatuses.omni.sidero.dev", namespace = "ephemeral", message)]
pub struct InfraProviderCombinedStatus {
    /// Name for people.
    #[field(1, "name")]
    pub name: String,
    /// What it makes machines of, one line.
    #[field(2, "description")]
    pub description: String,
    /// SVG, base64.
    #[field(3, "icon")]
    pub icon: String,
    /// Whether it works.
    #[field(4, "health")]
    pub health: Option<InfraProviderHealth>,
    /// Version of the provider.
    #[field(5, "version")]
    pub version: String,
}
