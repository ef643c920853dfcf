//! Configurations of machines: the patches, the result, and how it differs from what a machine has.
//!
//! ```text
//! ConfigPatch ─▶ ClusterMachineConfigPatches ─┐
//! secrets, versions, disk, join documents ────┴▶ ClusterMachineConfig ─▶ the machine ─▶ ClusterMachineConfigStatus
//!                                                        │                                         │
//!                                   RedactedClusterMachineConfig, MachineConfigDiff     MachinePendingUpdates
//! ```
//!
//! Long texts may stand compressed in a second field instead; readers take whichever is there.

use corten_resource::{Record, Resource};

/// A change to the configuration of the machines that its labels name: a cluster, a machine set or a single machine.
///
/// Patches apply from the wide scope to the narrow one, and within a scope by id, which therefore begins with a weight
/// of three digits. A patch with the label `disabled` is ignored.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ConfigPatches.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct ConfigPatch {
    /// The patch, YAML: parts of a configuration that are merged into it, or a JSON patch.
    #[field(1, "data")]
    pub data: String,
    /// The same, zstd; only read, never written here.
    #[field(2, "")]
    pub compressed_data: Vec<u8>,
}

/// The patches of one machine in the order in which they apply, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterMachineConfigPatches.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct ClusterMachineConfigPatches {
    /// The patches, YAML each.
    #[field(1, "patches")]
    pub patches: Vec<String>,
    /// The same, zstd each; only read, never written here.
    #[field(2, "")]
    pub compressed_patches: Vec<Vec<u8>>,
}

/// The configuration that a machine is to have, secrets and all, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterMachineConfigs.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct ClusterMachineConfig {
    /// The documents, YAML in UTF-8.
    #[field(1, "data")]
    pub data: Vec<u8>,
    /// Why a newer one could not be made; the documents are then those of before.
    #[field(3, "generationerror")]
    pub generation_error: String,
    /// The same as `data`, zstd; only read, never written here.
    #[field(4, "")]
    pub compressed_data: Vec<u8>,
    /// The documents hold no comments, so that they do not change with the generator's wording.
    #[field(5, "withoutcomments")]
    pub without_comments: bool,
    /// The machine takes its kernel arguments from the image even if it boots through GRUB.
    #[field(6, "grubuseukicmdline")]
    pub grub_use_uki_cmdline: bool,
    /// Path of the device that the documents install on.
    #[field(7, "installdisk")]
    pub install_disk: String,
}

/// The configuration that a machine is to have, its secrets masked, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "RedactedClusterMachineConfigs.omni.sidero.dev", namespace = "default", message)]
pub struct RedactedClusterMachineConfig {
    /// The documents, YAML.
    #[field(1, "data")]
    pub data: String,
    /// The same, zstd; only read, never written here.
    #[field(2, "")]
    pub compressed_data: Vec<u8>,
}

/// One change of a machine's configuration, its secrets masked; the id is the UUID of the machine and the time.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineConfigDiffs.omni.sidero.dev", namespace = "default", message)]
pub struct MachineConfigDiff {
    /// From the older to the newer one, a unified diff.
    #[field(1, "diff")]
    pub diff: String,
    /// The same, zstd; only read, never written here.
    #[field(2, "")]
    pub compressed_diff: Vec<u8>,
}

/// Another image that a machine is to run.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct PendingUpgrade {
    /// Id of the schematic that runs.
    #[field(1, "fromschematic")]
    pub from_schematic: String,
    /// Id of the schematic that is wanted.
    #[field(2, "toschematic")]
    pub to_schematic: String,
    /// Version that runs.
    #[field(3, "fromversion")]
    pub from_version: String,
    /// Version that is wanted.
    #[field(4, "toversion")]
    pub to_version: String,
}

/// What a machine waits for because it is locked or others go first, by its UUID; absent when there is nothing.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachinePendingUpdates.omni.sidero.dev", namespace = "default", message)]
pub struct MachinePendingUpdates {
    /// Another image.
    #[field(1, "upgrade")]
    pub upgrade: Option<PendingUpgrade>,
    /// A change of its configuration, a unified diff with the secrets masked.
    #[field(2, "configdiff")]
    pub config_diff: String,
    /// The same diff, zstd; only read, never written here.
    #[field(3, "")]
    pub compressed_config_diff: Vec<u8>,
}

/// What a machine took last, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterMachineConfigStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterMachineConfigStatus {
    /// Version of the [`ClusterMachineConfig`] that it took.
    #[field(3, "clustermachineconfigversion")]
    pub cluster_machine_config_version: String,
    /// Hash of those documents, hex of a SHA-256. Set once the machine took them without a reboot, or came back with
    /// them.
    #[field(5, "clustermachineconfigsha256")]
    pub cluster_machine_config_sha256: String,
    /// Why the machine refused the newest ones.
    #[field(6, "lastconfigerror")]
    pub last_config_error: String,
    /// Version of the operating system that runs, without `v`.
    #[field(7, "talosversion")]
    pub talos_version: String,
    /// Id of the schematic that runs.
    #[field(8, "schematicid")]
    pub schematic_id: String,
    /// The documents that it has, secrets masked; what drifts from the wanted ones is applied again.
    #[field(9, "redactedcurrentmachineconfig")]
    pub redacted_current_machine_config: String,
    /// The same documents, zstd; only read, never written here.
    #[field(10, "")]
    pub compressed_redacted_machine_config: Vec<u8>,
    /// UUID that its kernel made at the start before a reboot of ours; the reboot is done once it has another one.
    #[field(11, "prerebootbootid")]
    pub pre_reboot_boot_id: String,
    /// Hash of the documents that had to be there before an upgrade: access to registries, trusted roots.
    #[field(12, "appliedhighpriorityconfighash")]
    pub applied_high_priority_config_hash: String,
    /// Host of the image factory that the image which runs came from.
    #[field(13, "imagefactoryhost")]
    pub image_factory_host: String,
}

/// The key that seals the disks of a machine, by its UUID. Without it they cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterMachineEncryptionKeys.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct ClusterMachineEncryptionKey {
    /// The key of AES-256-GCM, 32 bytes.
    #[field(1, "data")]
    pub data: Vec<u8>,
}
