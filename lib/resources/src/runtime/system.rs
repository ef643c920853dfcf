//! What the machine was made from, what runs on it, and what is asked of it.

use corten_resource::{Enumeration, Record, Resource};

/// The entry of the boot loader that was booted. Singleton `bootedentry`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "BootedEntries.talos.dev", namespace = "runtime", columns("Booted Entry" => "{.bootedEntry}"))]
pub struct BootedEntry {
    /// Name of its file on the ESP.
    #[field(1, "bootedEntry", omitempty)]
    pub booted_entry: String,
}

impl BootedEntry {
    /// Id of the only one.
    pub const ID: &'static str = "bootedentry";
}

/// Environment of the services that are not ours. Singleton `machined`.
///
/// Written from the configuration; read by the service manager.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Environments.runtime.talos.dev", namespace = "runtime", aliases("env"), columns("Variables" => "{.variables}"))]
pub struct Environment {
    /// `KEY=value`.
    #[field(1, "variables")]
    pub variables: Vec<String>,
}

impl Environment {
    /// Id of the only one.
    pub const ID: &'static str = "machined";
}

/// A file of a service that an extension brings.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ExtensionServiceConfigFile {
    /// Content.
    #[field(1, "content")]
    pub content: String,
    /// Where the service sees it.
    #[field(2, "mountPath")]
    pub mount_path: String,
}

/// Files and environment of a service that an extension brings; the id is its name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ExtensionServiceConfigs.runtime.talos.dev", namespace = "runtime", sensitive)]
pub struct ExtensionServiceConfig {
    /// Files.
    #[field(1, "files", omitempty)]
    pub files: Vec<ExtensionServiceConfigFile>,
    /// `KEY=value`.
    #[field(2, "environment", omitempty)]
    pub environment: Vec<String>,
}

/// The files of a service that an extension brings are in place; the id is its name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ExtensionServiceConfigStatuses.runtime.talos.dev", namespace = "runtime")]
pub struct ExtensionServiceConfigStatus {
    /// Version of the [`ExtensionServiceConfig`].
    #[field(1, "specVersion")]
    pub spec_version: String,
}

/// Versions of the system that an extension is for.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ExtensionConstraint {
    /// A range such as `>= v1.14.0`.
    #[field(1, "version")]
    pub version: String,
}

/// What an extension works with.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ExtensionCompatibility {
    /// The system.
    #[field(1, "talos")]
    pub talos: ExtensionConstraint,
}

/// What an extension says of itself.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ExtensionMetadata {
    /// Name.
    #[field(1, "name")]
    pub name: String,
    /// Version.
    #[field(2, "version")]
    pub version: String,
    /// Who made it.
    #[field(3, "author")]
    pub author: String,
    /// What it does.
    #[field(4, "description")]
    pub description: String,
    /// What it works with.
    #[field(5, "compatibility")]
    pub compatibility: ExtensionCompatibility,
    /// More.
    #[field(6, "extraInfo")]
    pub extra_info: String,
}

/// An extension of the image.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ExtensionStatuses.runtime.talos.dev", namespace = "runtime", aliases("extensions"),
    columns("Name" => "{.metadata.name}", "Version" => "{.metadata.version}"))]
pub struct ExtensionStatus {
    /// Image that it came from.
    #[field(1, "image")]
    pub image: String,
    /// What it says of itself.
    #[field(2, "metadata")]
    pub metadata: ExtensionMetadata,
}

/// What the image was ordered with. Singleton `image-factory-schematic`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ImageFactorySchematics.runtime.talos.dev", namespace = "runtime", columns("Schematic" => "{.schematicId}"))]
pub struct ImageFactorySchematic {
    /// Identity of the order.
    #[field(1, "schematicId")]
    pub schematic_id: String,
    /// Kind of image.
    #[field(2, "flavor")]
    pub flavor: String,
    /// Where it was ordered.
    #[field(3, "apiUrl")]
    pub api_url: String,
}

/// A module of the running kernel, as clients asked for it before `KernelModuleStatuses`; the id is its name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "LoadedKernelModules.runtime.talos.dev", namespace = "runtime", columns("State" => "{.state}", "Size" => "{.size}"))]
pub struct LoadedKernelModule {
    /// Bytes.
    #[field(1, "size")]
    pub size: i64,
    /// Users.
    #[field(2, "referenceCount")]
    pub reference_count: i64,
    /// Modules that use it.
    #[field(3, "dependencies", omitempty)]
    pub dependencies: Vec<String>,
    /// `Live`, `Loading` or `Unloading`.
    #[field(4, "state")]
    pub state: String,
    /// Always hidden.
    #[field(5, "address")]
    pub address: String,
}

/// Presence means that the machine is being reset. Singleton `machine`.
///
/// Written by the sequencer before anything is stopped; read by those who tell others that the machine goes.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineResetSignals.runtime.talos.dev", namespace = "runtime")]
pub struct MachineResetSignal {}

impl MachineResetSignal {
    /// Id of the only one.
    pub const ID: &'static str = "machine";
}

/// Something was ended because memory was short. Ids count up.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "OOMActions.talos.dev", namespace = "runtime", sensitive, columns("Score" => "{.score}", "Processes" => "{.processes}"))]
pub struct OomAction {
    /// What the trigger saw, and which group was ended, as JSON.
    #[field(1, "triggerContext", omitempty)]
    pub trigger_context: String,
    /// How readily the group was ended.
    #[field(2, "score", omitempty)]
    pub score: f64,
    /// Command lines of the processes in it.
    #[field(3, "processes", omitempty)]
    pub processes: Vec<String>,
}

/// Presence means that a controller wants the machine to restart. Singleton `reboot-request`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "RebootRequests.runtime.talos.dev", namespace = "runtime")]
pub struct RebootRequest {}

/// Main process of a service; the id is the service's.
///
/// Written by the service manager; read to tell who calls on the machine's own socket.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ServicePIDs.runtime.talos.dev", namespace = "runtime", columns("PID" => "{.pid}"))]
pub struct ServicePid {
    /// Process id.
    #[field(1, "pid")]
    pub pid: i32,
    /// Its mount namespace, `mnt:[inode]` (namespaces(7)); empty when it cannot be read.
    #[field(2, "mountNamespace")]
    pub mount_namespace: String,
}

/// How far an installation has come that nobody attends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum UnattendedInstallPhase {
    /// Not begun.
    #[default]
    #[variant(0, "pending")]
    Pending,
    /// Under way.
    #[variant(1, "installing")]
    Installing,
    /// Done.
    #[variant(2, "installed")]
    Installed,
    /// Done; the machine restarts when it may.
    #[variant(3, "waiting-for-reboot")]
    WaitingForReboot,
    /// It failed.
    #[variant(4, "failed")]
    Failed,
}

/// An installation that nobody attends. Singleton `unattended-install`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "UnattendedInstallStatuses.runtime.talos.dev", namespace = "runtime", columns("Phase" => "{.phase}", "Error" => "{.error}"))]
pub struct UnattendedInstallStatus {
    /// Installer.
    #[field(1, "image", omitempty)]
    pub image: String,
    /// How far it is.
    #[field(2, "phase", omitempty)]
    pub phase: UnattendedInstallPhase,
    /// Why it failed.
    #[field(3, "error", omitempty)]
    pub error: String,
}

/// Presence means that the machine looks for a configuration. Singleton `acquire`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "AcquireConfigSpecs.v1alpha1.talos.dev", namespace = "runtime")]
pub struct AcquireConfigSpec {}

impl AcquireConfigSpec {
    /// Id of the only one.
    pub const ID: &'static str = "acquire";
}

/// Presence means that the search for a configuration has ended with one. Singleton `acquire`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "AcquireConfigStatuses.v1alpha1.talos.dev", namespace = "runtime")]
pub struct AcquireConfigStatus {}
