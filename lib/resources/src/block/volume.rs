//! Volumes as they should be.

use std::time::Duration;

use corten_resource::{Enumeration, Record, Resource};

use super::{EncryptionProvider, Filesystem, MountSpec, SymlinkSpec, VolumeKind};

/// A volume as it should be; the id is its name, with a letter in front that says which kind of volume it is.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "VolumeConfigs.block.talos.dev", namespace = "runtime", sensitive,
    columns("Type" => "{.type}", "Wave" => "{.provisioning.wave}", "Filesystem" => "{.provisioning.filesystemSpec.type}", "Target" => "{.mount.targetPath}"))]
pub struct VolumeConfig {
    /// Volume that it lies in.
    #[field(1, "parentId", omitempty)]
    pub parent_id: String,
    /// What it is made of.
    #[field(2, "type")]
    pub kind: VolumeKind,
    /// How it is made; one that must be there already has no size.
    #[field(3, "provisioning")]
    pub provisioning: ProvisioningSpec,
    /// How it is encrypted.
    #[field(6, "encryption", omitempty)]
    pub encryption: EncryptionSpec,
    /// How it is found.
    #[field(4, "locator")]
    pub locator: LocatorSpec,
    /// How it is mounted.
    #[field(5, "mount", omitempty)]
    pub mount: MountSpec,
    /// The link that it is.
    #[field(7, "symlink", omitempty)]
    pub symlink: SymlinkSpec,
    /// Unused blocks are told to the disk.
    #[field(8, "trimEnabled", omitempty)]
    pub trim_enabled: bool,
    /// How often.
    #[field(9, "trimInterval", omitempty)]
    pub trim_interval: Duration,
    /// The file system is checked.
    #[field(10, "scrubEnabled", omitempty)]
    pub scrub_enabled: bool,
    /// How often.
    #[field(11, "scrubInterval", omitempty)]
    pub scrub_interval: Duration,
}

impl VolumeConfig {
    /// In front of the names of volumes for workloads.
    pub const USER: &'static str = "u-";
    /// In front of the names of volumes without a file system.
    pub const RAW: &'static str = "r-";
    /// In front of the names of volumes that are there already.
    pub const EXISTING: &'static str = "e-";
    /// In front of the names of volumes of the host.
    pub const EXTERNAL: &'static str = "x-";
    /// In front of the names of volumes for swapping.
    pub const SWAP: &'static str = "s-";
}

/// How a volume is made.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ProvisioningSpec {
    /// Which disks it may be on.
    #[field(1, "diskSelector", omitempty)]
    pub disk_selector: DiskSelectorSpec,
    /// Its partition.
    #[field(2, "partitionSpec", omitempty)]
    pub partition: PartitionSpec,
    /// Volumes of a lower wave are made first.
    #[field(3, "wave", omitempty)]
    pub wave: i64,
    /// Its file system.
    #[field(4, "filesystemSpec", omitempty)]
    pub filesystem: FilesystemSpec,
}

/// Which disks a volume may be on.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct DiskSelectorSpec {
    /// An expression over `disk` and `system_disk`.
    #[field(1, "match", omitempty, expression)]
    pub expression: String,
    /// The name by which a host that shares it knows it.
    #[field(2, "external", omitempty)]
    pub external: String,
}

/// A partition.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct PartitionSpec {
    /// Least size, bytes.
    #[field(1, "minSize")]
    pub size_min: u64,
    /// Largest size, bytes; zero means what there is.
    #[field(2, "maxSize", omitempty)]
    pub size_max: u64,
    /// Largest size, per cent of the disk; zero means that it is told in bytes.
    #[field(6, "relativeMaxSize")]
    pub percent_max: u64,
    /// The largest size, in bytes or per cent, is what is left free.
    #[field(7, "negativeMaxSize")]
    pub is_negative: bool,
    /// It grows when there is more room later.
    #[field(3, "grow")]
    pub grow: bool,
    /// Label.
    #[field(4, "label", omitempty)]
    pub label: String,
    /// GPT type.
    #[field(5, "typeUUID", omitempty)]
    pub type_uuid: String,
}

/// A file system.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct FilesystemSpec {
    /// Its type.
    #[field(1, "type")]
    pub kind: Filesystem,
    /// Label.
    #[field(2, "label", omitempty)]
    pub label: String,
    /// Least size of an allocation group of XFS, bytes.
    #[field(3, "minAllocationGroupSize", omitempty)]
    pub allocation_group_min: u64,
}

/// How a volume is found.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct LocatorSpec {
    /// An expression over `volume`, `disk` and `system_disk`.
    #[field(1, "match", omitempty, expression)]
    pub expression: String,
    /// An expression over `disk` and `system_disk`.
    #[field(2, "diskMatch", omitempty, expression)]
    pub disk_expression: String,
}

/// How a volume is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct EncryptionSpec {
    /// By what.
    #[field(1, "provider")]
    pub provider: EncryptionProvider,
    /// Keys.
    #[field(2, "keys")]
    pub keys: Vec<EncryptionKey>,
    /// Cipher.
    #[field(3, "cipher", omitempty)]
    pub cipher: String,
    /// Size of the key, bits.
    #[field(4, "keySize", omitempty)]
    pub key_size: u64,
    /// Size of a sector, bytes.
    #[field(5, "blockSize", omitempty)]
    pub block_size: u64,
    /// Options for speed.
    #[field(6, "perfOptions", omitempty)]
    pub perf_options: Vec<String>,
    /// Discards reach the disk.
    #[field(7, "allowDiscards", omitempty)]
    pub allow_discards: bool,
}

/// Where a key of an encrypted volume comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum EncryptionKeyKind {
    /// From the configuration.
    #[default]
    #[variant(0, "static")]
    Static,
    /// From the identity of the machine.
    #[variant(1, "nodeID")]
    NodeId,
    /// From a key management service.
    #[variant(2, "kms")]
    Kms,
    /// From the TPM.
    #[variant(3, "tpm")]
    Tpm,
}

/// A key of an encrypted volume.
#[derive(Clone, Default, PartialEq, Record)]
pub struct EncryptionKey {
    /// Slot.
    #[field(1, "slot")]
    pub slot: i64,
    /// Where it comes from.
    #[field(2, "type")]
    pub kind: EncryptionKeyKind,
    /// The passphrase.
    #[field(3, "staticPassphrase", omitempty)]
    pub static_passphrase: Vec<u8>,
    /// Address of the key management service.
    #[field(4, "kmsEndpoint", omitempty)]
    pub kms_endpoint: String,
    /// It is made only while secure boot is on.
    #[field(5, "tpmCheckSecurebootStatusOnEnroll", omitempty)]
    pub tpm_check_secure_boot: bool,
    /// It is of use only together with STATE.
    #[field(6, "lockToState", omitempty)]
    pub lock_to_state: bool,
    /// PCRs that it is bound to by value.
    #[field(7, "pcrs", omitempty)]
    pub pcrs: Vec<i64>,
    /// PCRs that it is bound to by signature.
    #[field(8, "pubKeyPcrs", omitempty)]
    pub pub_key_pcrs: Vec<i64>,
}

impl std::fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncryptionKey")
            .field("slot", &self.slot)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Exists while volumes may be made and mounted. Singleton `volume-lifecycle`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "VolumeLifecycles.block.talos.dev", namespace = "runtime")]
pub struct VolumeLifecycle {}

impl VolumeLifecycle {
    /// Id of the only one.
    pub const ID: &'static str = "volume-lifecycle";
}

/// Whether the partitions of `machine.disks` are there. Singleton `user-disks`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "UserDiskConfigStatuses.block.talos.dev", namespace = "runtime",
    columns("Ready" => "{.ready}", "Torn Down" => "{.tornDown}"))]
pub struct UserDiskConfigStatus {
    /// All of them are mounted.
    #[field(1, "ready")]
    pub ready: bool,
    /// None of them is mounted any more.
    #[field(2, "tornDown")]
    pub torn_down: bool,
}

impl UserDiskConfigStatus {
    /// Id of the only one.
    pub const ID: &'static str = "user-disks";
}
