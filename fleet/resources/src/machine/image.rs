//! The image of a machine: version, extensions and kernel arguments, as wanted and as installed.
//!
//! ```text
//! Cluster (version) ───────────────────────────┐
//! ExtensionsConfiguration ─▶ MachineExtensions ┼▶ SchematicConfiguration ─▶ MachineConfigGenOptions
//! KernelArgs ──────────────────────────────────┘             │
//! MachineStatus (what runs) ─────────────────────────────────┴▶ …Status of each of them
//! ```

use corten_resource::{Enumeration, Record, Resource};

use super::SecurityState;

/// An overlay that a board needs on top of the plain image.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Overlay {
    /// Name, such as `rpi_generic`.
    #[field(1, "name")]
    pub name: String,
    /// Container image that holds it, without registry.
    #[field(2, "image")]
    pub image: String,
}

/// A value for the META partition of an image.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct MetaValue {
    /// Number of the slot, at most 255.
    #[field(1, "key")]
    pub key: u32,
    /// What is written there.
    #[field(2, "value")]
    pub value: String,
}

/// Whether new machines tunnel through gRPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum GrpcTunnelMode {
    /// As the manager is configured.
    #[default]
    #[variant(0, "unset")]
    Unset,
    /// They do.
    #[variant(1, "enabled")]
    Enabled,
    /// They do not.
    #[variant(2, "disabled")]
    Disabled,
}

/// How far the change of a machine's image is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum MachineUpgradePhase {
    /// Not enough is known of the machine.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// It is due and waits for its turn.
    #[variant(1, "pending")]
    Pending,
    /// The machine installs it or boots into it.
    #[variant(2, "upgrading")]
    Upgrading,
    /// What runs is what is wanted.
    #[variant(3, "up-to-date")]
    UpToDate,
}

/// What runs on a machine against what is to run, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineUpgradeStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct MachineUpgradeStatus {
    /// Schematic that is to be installed.
    #[field(1, "schematicid")]
    pub schematic_id: String,
    /// Version that is to be installed, without `v`.
    #[field(2, "talosversion")]
    pub talos_version: String,
    /// Schematic that runs.
    #[field(3, "currentschematicid")]
    pub current_schematic_id: String,
    /// Version that runs.
    #[field(4, "currenttalosversion")]
    pub current_talos_version: String,
    /// How far it is.
    #[field(5, "phase")]
    pub phase: MachineUpgradePhase,
    /// What happens or is waited for, plain text.
    #[field(6, "status")]
    pub status: String,
    /// Why the last attempt failed.
    #[field(7, "error")]
    pub error: String,
    /// The machine is in maintenance and belongs to no cluster.
    #[field(8, "ismaintenance")]
    pub is_maintenance: bool,
}

/// Extensions that are wanted on a machine after all configurations of its scopes, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineExtensions.omni.sidero.dev", namespace = "default", message)]
pub struct MachineExtensions {
    /// Names with their organization, such as `siderolabs/iscsi-tools`.
    #[field(1, "extensions")]
    pub extensions: Vec<String>,
}

/// Whether an extension is on a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ExtensionPhase {
    /// It is there.
    #[default]
    #[variant(0, "installed")]
    Installed,
    /// It comes with the next image.
    #[variant(1, "installing")]
    Installing,
    /// It goes with the next image.
    #[variant(2, "removing")]
    Removing,
}

/// One extension of a machine.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ExtensionStatus {
    /// Name with its organization.
    #[field(1, "name")]
    pub name: String,
    /// The machine came with it or needs it, so that it cannot be removed.
    #[field(2, "immutable")]
    pub immutable: bool,
    /// Whether it is there.
    #[field(3, "phase")]
    pub phase: ExtensionPhase,
}

/// Extensions of a machine, those that are there and those that come, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineExtensionsStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct MachineExtensionsStatus {
    /// One for each extension.
    #[field(1, "extensions")]
    pub extensions: Vec<ExtensionStatus>,
    /// Version of the operating system that they are built for, without `v`.
    #[field(2, "talosversion")]
    pub talos_version: String,
}

/// Extensions that a person wants on the machines that its labels name: a cluster, a machine set or a single machine.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ExtensionsConfigurations.omni.sidero.dev", namespace = "default", message)]
pub struct ExtensionsConfiguration {
    /// Names with their organization, at most 256.
    #[field(1, "extensions")]
    pub extensions: Vec<String>,
}

/// Kernel arguments that a person wants on a machine, by its UUID. Those by which it finds the manager are not in here.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KernelArgs.omni.sidero.dev", namespace = "default", message)]
pub struct KernelArgs {
    /// In the order of the command line; at most 64, each of at most 256 bytes.
    #[field(1, "args")]
    pub args: Vec<String>,
}

/// Kernel arguments that a machine has and gets, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KernelArgsStatuses.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct KernelArgsStatus {
    /// Those that are wanted.
    #[field(1, "args")]
    pub args: Vec<String>,
    /// Those of the image that runs.
    #[field(2, "currentargs")]
    pub current_args: Vec<String>,
    /// Why the wanted ones cannot be set, each a sentence.
    #[field(3, "unmetconditions")]
    pub unmet_conditions: Vec<String>,
    /// The whole command line as the kernel has it, with the join token.
    #[field(4, "currentcmdline")]
    pub current_cmdline: String,
}

/// The schematic that a machine is to run, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SchematicConfigurations.omni.sidero.dev", namespace = "default", message)]
pub struct SchematicConfiguration {
    /// Its id at the image factory, hex of a SHA-256.
    #[field(1, "schematicid")]
    pub schematic_id: String,
    /// Version that it was made for, without `v`.
    #[field(2, "talosversion")]
    pub talos_version: String,
}

/// What the configuration of a machine takes from the machine itself, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineConfigGenOptions.omni.sidero.dev", namespace = "default", message)]
pub struct MachineConfigGenOptions {
    /// The parts of the installer's reference.
    #[field(2, "installimage")]
    pub install_image: Option<InstallImage>,
}

/// The parts of the reference `<factory>/[<platform>-]installer[-secureboot]/<schematic>:v<version>`.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct InstallImage {
    /// Version, without `v`.
    #[field(1, "talosversion")]
    pub talos_version: String,
    /// Id of the schematic.
    #[field(2, "schematicid")]
    pub schematic_id: String,
    /// The schematic of the machine is known; no reference can be made before.
    #[field(3, "schematicinitialized")]
    pub schematic_initialized: bool,
    /// The machine runs an image that no factory made, so that the plain installer is used.
    #[field(4, "schematicinvalid")]
    pub schematic_invalid: bool,
    /// Platform, such as `metal` or `aws`.
    #[field(6, "platform")]
    pub platform: String,
    /// Whether it needs the installer for Secure Boot.
    #[field(7, "securitystate")]
    pub security_state: Option<SecurityState>,
    /// Host of the factory, with its port unless that is usual.
    #[field(8, "imagefactoryhost")]
    pub image_factory_host: String,
}
