//! Disks, what is on them, and the volumes that the machine makes of it.

mod device;
mod mount;
mod swap;
mod upkeep;
mod volume;

use std::time::Duration;

use corten_resource::{Enumeration, Record, Resource};

pub use device::{BlockDevice, BlockSymlink, DiscoveryRefreshRequest, DiscoveryRefreshStatus};
pub use mount::{
    MountParameter, MountParameterKind, MountRequest, MountSpec, VolumeMount, VolumeMountRequest,
    VolumeMountStatus,
};
pub use swap::{SwapStatus, ZswapStatus};
pub use upkeep::{ScrubSchedule, ScrubStatus, VolumeTrimSchedule};
pub use volume::{
    DiskSelectorSpec, EncryptionKey, EncryptionKeyKind, EncryptionSpec, FilesystemSpec, LocatorSpec,
    PartitionSpec, ProvisioningSpec, UserDiskConfigStatus, VolumeConfig, VolumeLifecycle,
};

/// A whole disk; the id is its kernel name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Disks.block.talos.dev", namespace = "runtime",
    columns("Size" => "{.pretty_size}", "Read Only" => "{.readonly}", "Transport" => "{.transport}", "Rotational" => "{.rotational}",
        "WWID" => "{.wwid}", "Model" => "{.model}", "Serial" => "{.serial}"))]
pub struct Disk {
    /// Bytes.
    #[field(1, "size")]
    pub size: u64,
    /// Preferred request size, bytes.
    #[field(2, "io_size")]
    pub io_size: u64,
    /// Logical sector, bytes.
    #[field(3, "sector_size")]
    pub sector_size: u64,
    /// Writes are refused.
    #[field(4, "readonly")]
    pub readonly: bool,
    /// Model.
    #[field(5, "model", omitempty)]
    pub model: String,
    /// Serial number.
    #[field(6, "serial", omitempty)]
    pub serial: String,
    /// Module alias.
    #[field(7, "modalias", omitempty)]
    pub modalias: String,
    /// World-wide id.
    #[field(8, "wwid", omitempty)]
    pub wwid: String,
    /// Path on the bus.
    #[field(9, "bus_path", omitempty)]
    pub bus_path: String,
    /// Kernel subsystem.
    #[field(10, "sub_system", omitempty)]
    pub sub_system: String,
    /// nvme, virtio, sata, usb…
    #[field(11, "transport", omitempty)]
    pub transport: String,
    /// Spins.
    #[field(12, "rotational", omitempty)]
    pub rotational: bool,
    /// Optical.
    #[field(13, "cdrom")]
    pub cdrom: bool,
    /// `/dev/…`.
    #[field(14, "dev_path")]
    pub dev_path: String,
    /// Size for people.
    #[field(15, "pretty_size")]
    pub pretty_size: String,
    /// Disks below this one.
    #[field(16, "secondary_disks", omitempty)]
    pub secondary_disks: Vec<String>,
    /// UUID of an NVMe namespace.
    #[field(17, "uuid", omitempty)]
    pub uuid: String,
    /// Links to it below `/dev/disk`.
    #[field(18, "symlinks", omitempty)]
    pub symlinks: Vec<String>,
    /// Firmware.
    #[field(19, "firmware_version", omitempty)]
    pub firmware_version: String,
}

/// What was recognized on a disk or partition; the id is the kernel name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "DiscoveredVolumes.block.talos.dev", namespace = "runtime", aliases("dv"),
    columns("Type" => "{.type}", "Size" => "{.pretty_size}", "Discovered" => "{.name}", "Label" => "{.label}", "PartitionLabel" => "{.partition_label}"))]
pub struct DiscoveredVolume {
    /// Bytes.
    #[field(1, "size")]
    pub size: u64,
    /// Logical sector, bytes.
    #[field(2, "sector_size", omitempty)]
    pub sector_size: u64,
    /// Preferred request size, bytes.
    #[field(3, "io_size", omitempty)]
    pub io_size: u64,
    /// File system or partition table: gpt, xfs, vfat, …; empty when blank.
    #[field(4, "name")]
    pub name: String,
    /// UUID of the file system.
    #[field(5, "uuid", omitempty)]
    pub uuid: String,
    /// Label of the file system.
    #[field(6, "label", omitempty)]
    pub label: String,
    /// Block size of the file system.
    #[field(7, "block_size", omitempty)]
    pub block_size: u32,
    /// Block size the file system addresses in.
    #[field(8, "filesystem_block_size", omitempty)]
    pub filesystem_block_size: u32,
    /// Size that the file system claims.
    #[field(9, "probed_size", omitempty)]
    pub probed_size: u64,
    /// GPT UUID of the partition.
    #[field(10, "partition_uuid", omitempty)]
    pub partition_uuid: String,
    /// GPT type of the partition.
    #[field(11, "partition_type", omitempty)]
    pub partition_type: String,
    /// GPT label of the partition.
    #[field(12, "partition_label", omitempty)]
    pub partition_label: String,
    /// Number of the partition, from 1.
    #[field(13, "partition_index", omitempty)]
    pub partition_index: u32,
    /// `disk` or `partition`.
    #[field(14, "type")]
    pub kind: String,
    /// Path in sysfs.
    #[field(15, "device_path")]
    pub device_path: String,
    /// Kernel name of the disk.
    #[field(16, "parent", omitempty)]
    pub parent: String,
    /// `/dev/…`.
    #[field(17, "dev_path")]
    pub dev_path: String,
    /// `/dev/…` of the disk.
    #[field(18, "parent_dev_path", omitempty)]
    pub parent_dev_path: String,
    /// Size for people.
    #[field(19, "pretty_size")]
    pub pretty_size: String,
    /// Start on the disk, bytes.
    #[field(20, "offset")]
    pub offset: u64,
}

/// Every device has been looked at once. Singleton `ready`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "DiscoveredVolumesStatuses.block.talos.dev", namespace = "runtime")]
pub struct DiscoveredVolumesStatus {
    /// Looked at.
    #[field(1, "ready")]
    pub ready: bool,
}

/// The disk that carries META. Singleton `system-disk`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SystemDisks.block.talos.dev", namespace = "runtime", columns("Disk" => "{.diskID}"))]
pub struct SystemDisk {
    /// Kernel name.
    #[field(1, "diskID")]
    pub disk_id: String,
    /// `/dev/…`.
    #[field(2, "devPath")]
    pub dev_path: String,
}

impl SystemDisk {
    /// Id of the only one.
    pub const ID: &'static str = "system-disk";
}

/// How far a volume has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum VolumePhase {
    /// Not looked for yet.
    #[default]
    #[variant(0, "waiting")]
    Waiting,
    /// Stuck; the status says why.
    #[variant(1, "failed")]
    Failed,
    /// Does not exist and is not to be made.
    #[variant(2, "missing")]
    Missing,
    /// Found.
    #[variant(3, "located")]
    Located,
    /// Its partition exists.
    #[variant(4, "provisioned")]
    Provisioned,
    /// Its device is open.
    #[variant(5, "prepared")]
    Prepared,
    /// Can be mounted.
    #[variant(6, "ready")]
    Ready,
    /// Given back before power-off.
    #[variant(7, "closed")]
    Closed,
}

/// What a volume is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum VolumeKind {
    /// A partition.
    #[default]
    #[variant(0, "partition")]
    Partition,
    /// A whole disk.
    #[variant(1, "disk")]
    Disk,
    /// Memory.
    #[variant(2, "tmpfs")]
    Tmpfs,
    /// A folder of another volume, or of the host.
    #[variant(3, "directory")]
    Directory,
    /// A link to a folder.
    #[variant(4, "symlink")]
    Symlink,
    /// A folder over another.
    #[variant(5, "overlay")]
    Overlay,
    /// A share of the host.
    #[variant(6, "external")]
    External,
}

/// File system of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum Filesystem {
    /// Raw bytes.
    #[default]
    #[variant(0, "none")]
    None,
    /// XFS.
    #[variant(1, "xfs")]
    Xfs,
    /// FAT.
    #[variant(2, "vfat")]
    Vfat,
    /// ext4.
    #[variant(3, "ext4")]
    Ext4,
    /// A CD.
    #[variant(4, "iso9660")]
    Iso9660,
    /// Swap.
    #[variant(5, "swapi")]
    Swap,
    /// A share of the host.
    #[variant(6, "virtiofs")]
    Virtiofs,
    /// Btrfs.
    #[variant(7, "btrfs")]
    Btrfs,
}

/// Encryption of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum EncryptionProvider {
    /// Not encrypted.
    #[default]
    #[variant(0, "none")]
    None,
    /// LUKS version 2.
    #[variant(1, "luks2")]
    Luks2,
}

/// PCRs that a TPM key is bound to.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct TpmEncryptionOptions {
    /// By value.
    #[field(1, "pcrs", omitempty)]
    pub pcrs: Vec<i64>,
    /// By signature.
    #[field(2, "pubKeyPcrs", omitempty)]
    pub pub_key_pcrs: Vec<i64>,
}

/// A volume that is a link to a folder.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct SymlinkSpec {
    /// The folder.
    #[field(1, "symlinkTargetPath")]
    pub symlink_target_path: String,
    /// Whatever is in its place is removed.
    #[field(2, "force")]
    pub force: bool,
}

/// A volume as it is; the id is META, STATE or EPHEMERAL.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "VolumeStatuses.block.talos.dev", namespace = "runtime", aliases("vs"),
    columns("Type" => "{.type}", "Phase" => "{.phase}", "Location" => "{.location}", "Size" => "{.prettySize}"))]
pub struct VolumeStatus {
    /// How far it has come.
    #[field(1, "phase")]
    pub phase: VolumePhase,
    /// `/dev/…` or folder.
    #[field(2, "location", omitempty)]
    pub location: String,
    /// Why it failed, or what it waits for.
    #[field(3, "errorMessage", omitempty)]
    pub error_message: String,
    /// UUID of the file system.
    #[field(4, "uuid", omitempty)]
    pub uuid: String,
    /// GPT UUID of the partition.
    #[field(5, "partitionUUID", omitempty)]
    pub partition_uuid: String,
    /// Phase before it failed.
    #[field(6, "preFailPhase", omitempty)]
    pub pre_fail_phase: VolumePhase,
    /// `/dev/…` of the disk.
    #[field(7, "parentLocation", omitempty)]
    pub parent_location: String,
    /// Number of the partition.
    #[field(8, "partitionIndex", omitempty)]
    pub partition_index: i64,
    /// Bytes.
    #[field(9, "size", omitempty)]
    pub size: u64,
    /// File system.
    #[field(10, "filesystem", omitempty)]
    pub filesystem: Filesystem,
    /// What is mounted.
    #[field(11, "mountLocation", omitempty)]
    pub mount_location: String,
    /// How it is encrypted.
    #[field(12, "encryptionProvider", omitempty)]
    pub encryption_provider: EncryptionProvider,
    /// Keys that could not be brought in line.
    #[field(14, "encryptionFailedSyncs", omitempty)]
    pub encryption_failed_syncs: Vec<String>,
    /// Kinds of keys in the configuration.
    #[field(17, "configuredEncryptionKeys", omitempty)]
    pub configured_encryption_keys: Vec<String>,
    /// The key is bound to STATE.
    #[field(20, "encryptionLockedToState", omitempty)]
    pub encryption_locked_to_state: bool,
    /// Key slot that opened it.
    #[field(21, "encryptionSlot", omitempty)]
    pub encryption_slot: Option<i64>,
    /// PCRs that the key is bound to.
    #[field(22, "tpmEncryptionOptions", omitempty)]
    pub tpm_encryption_options: TpmEncryptionOptions,
    /// Discards reach the disk.
    #[field(23, "encryptionAllowDiscards", omitempty)]
    pub encryption_allow_discards: bool,
    /// Unused blocks are given back.
    #[field(24, "trimEnabled", omitempty)]
    pub trim_enabled: bool,
    /// How often.
    #[field(25, "trimInterval", omitempty)]
    pub trim_interval: Duration,
    /// The file system is checked.
    #[field(26, "scrubEnabled", omitempty)]
    pub scrub_enabled: bool,
    /// How often.
    #[field(27, "scrubInterval", omitempty)]
    pub scrub_interval: Duration,
    /// Size for people.
    #[field(13, "prettySize", omitempty)]
    pub pretty_size: String,
    /// Where it is mounted.
    #[field(15, "mountSpec", omitempty)]
    pub mount_spec: MountSpec,
    /// Link to another folder, for volumes that are one.
    #[field(18, "symlink", omitempty)]
    pub symlink: SymlinkSpec,
    /// Volume that it lies in.
    #[field(19, "parentID", omitempty)]
    pub parent_id: String,
    /// What it is made of.
    #[field(16, "type")]
    pub kind: VolumeKind,
}

impl VolumeStatus {
    /// Boot-time key-value store.
    pub const META: &'static str = "META";
    /// Configuration and identity.
    pub const STATE: &'static str = "STATE";
    /// Everything that may be lost.
    pub const EPHEMERAL: &'static str = "EPHEMERAL";
}
