//! Volumes, swap and upkeep of file systems.

use std::time::Duration;

use super::Documents;
use crate::defaults;
use crate::reader::Reader;
use crate::values;

/// Everything about disks and what is on them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Storage {
    /// Volumes of documents.
    pub volumes: Vec<Volume>,
    /// Disks of `machine.disks`.
    pub user_disks: Vec<UserDisk>,
    /// Compressed memory in front of swap; nothing leaves it as the kernel has it.
    pub zswap: Option<Zswap>,
    /// How often unused blocks are told to disks unless a volume says otherwise.
    trim: Option<Duration>,
    /// How often file systems are checked unless a volume says otherwise.
    scrub: Option<Duration>,
}

/// Which kind of document a volume is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum VolumeDocument {
    /// A volume of the system.
    #[default]
    System,
    /// A volume for workloads.
    User,
    /// A volume without a file system.
    Raw,
    /// A volume for swapping.
    Swap,
    /// A volume that is there already.
    Existing,
    /// A volume of the host.
    External,
}

const KINDS: [(VolumeDocument, &str); 6] = [
    (VolumeDocument::System, "VolumeConfig"),
    (VolumeDocument::User, "UserVolumeConfig"),
    (VolumeDocument::Raw, "RawVolumeConfig"),
    (VolumeDocument::Swap, "SwapVolumeConfig"),
    (VolumeDocument::Existing, "ExistingVolumeConfig"),
    (VolumeDocument::External, "ExternalVolumeConfig"),
];

/// What a volume for workloads is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VolumeType {
    /// A partition.
    #[default]
    Partition,
    /// A whole disk.
    Disk,
    /// A folder in EPHEMERAL.
    Directory,
}

/// A volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Volume {
    /// Kind of its document.
    pub document: VolumeDocument,
    /// Its name in the document.
    pub name: String,
    /// What it is made of.
    pub made_of: VolumeType,
    /// Which disks it may be on, an expression; empty when the document does not say.
    pub disk_selector: String,
    /// Which volume it is, an expression; empty when the document does not say.
    pub volume_selector: String,
    /// Least size, bytes.
    pub size_min: Option<u64>,
    /// Largest size, as written; see [`values::size_max`].
    pub size_max: String,
    /// Whether it grows when there is more room later.
    pub grow: Option<bool>,
    /// Type of its file system; empty when the document does not say.
    pub filesystem: String,
    /// Whether it has project quotas.
    pub project_quota: bool,
    /// Least size of an allocation group of XFS, bytes.
    pub allocation_group_min: Option<u64>,
    /// Whether it is read only.
    pub read_only: bool,
    /// Whether device files and set-user-id programs are ignored.
    pub secure: Option<bool>,
    /// Whether times of access are not kept.
    pub disable_access_time: bool,
    /// The name by which the host knows a volume of its own.
    pub tag: String,
    /// How often unused blocks are told to the disk; nothing means never.
    pub trim_interval: Option<Duration>,
    /// How often it is checked; nothing means never.
    pub scrub_interval: Option<Duration>,
}

/// A disk of `machine.disks`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserDisk {
    /// Its device, such as `/dev/sdb`.
    pub device: String,
    /// Its partitions.
    pub partitions: Vec<UserDiskPartition>,
}

/// A partition of a disk of `machine.disks`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserDiskPartition {
    /// Its size, bytes; nothing means what is left.
    pub partition_size: Option<u64>,
    /// Where it is mounted.
    pub mount_point: String,
}

/// Compressed memory in front of swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zswap {
    /// How much of the memory it may take, per cent.
    pub pool_percent_max: u32,
    /// Whether it shrinks under pressure.
    pub shrinker: bool,
}

impl Storage {
    pub(super) fn read(machine: Reader<'_>, documents: &Documents<'_>) -> Self {
        let upkeep =
            |kind: &str| documents.one(kind).get("interval").duration().filter(|every| !every.is_zero());
        let (trim, scrub) = (upkeep("FilesystemTrimConfig"), upkeep("FilesystemScrubConfig"));
        let volumes = KINDS.iter().flat_map(|(document, kind)| {
            documents.all(kind).map(move |(name, reader)| Volume::read(*document, name, reader, trim, scrub))
        });
        let zswap = documents.one("ZswapConfig");
        Self {
            volumes: volumes.collect(),
            trim,
            scrub,
            user_disks: machine.get("disks").list(|disk| Some(UserDisk::read(disk))),
            zswap: zswap.exists().then(|| Zswap {
                pool_percent_max: zswap
                    .get("maxPoolPercent")
                    .positive()
                    .unwrap_or(defaults::ZSWAP_POOL_PERCENT),
                shrinker: zswap.get("shrinkerEnabled").bool().unwrap_or(true),
            }),
        }
    }

    /// How STATE is wished for; the default when no document is about it.
    #[must_use]
    pub fn state(&self) -> Volume {
        self.system("STATE")
    }

    /// How EPHEMERAL is wished for; the default when no document is about it.
    #[must_use]
    pub fn ephemeral(&self) -> Volume {
        self.system("EPHEMERAL")
    }

    fn system(&self, name: &str) -> Volume {
        let is_meant = |volume: &&Volume| volume.document == VolumeDocument::System && volume.name == name;
        self.volumes.iter().find(is_meant).cloned().unwrap_or_else(|| Volume {
            name: name.to_owned(),
            trim_interval: self.trim,
            scrub_interval: self.scrub,
            ..Volume::default()
        })
    }
}

impl Volume {
    fn read(
        document: VolumeDocument,
        name: &str,
        reader: Reader<'_>,
        trim: Option<Duration>,
        scrub: Option<Duration>,
    ) -> Self {
        let provisioning = reader.get("provisioning");
        let filesystem = reader.get("filesystem");
        let mount = reader.get("mount");
        let size = |reader: Reader<'_>| reader.text().and_then(values::size);
        Self {
            document,
            name: name.to_owned(),
            made_of: match reader.get("volumeType").text() {
                Some("disk") => VolumeType::Disk,
                Some("directory") => VolumeType::Directory,
                _ => VolumeType::Partition,
            },
            disk_selector: provisioning.path(&["diskSelector", "match"]).string(),
            volume_selector: reader.path(&["discovery", "volumeSelector", "match"]).string(),
            size_min: size(provisioning.get("minSize")),
            size_max: provisioning.get("maxSize").string(),
            grow: provisioning.get("grow").bool(),
            filesystem: reader.get("filesystemType").string_or(&filesystem.get("type").string()),
            project_quota: filesystem.get("projectQuotaSupport").is(),
            allocation_group_min: size(filesystem.path(&["xfs", "minAllocationGroupSize"])),
            read_only: mount.get("readOnly").is(),
            secure: mount.get("secure").bool(),
            disable_access_time: mount.get("disableAccessTime").is(),
            tag: mount.path(&["virtiofs", "tag"]).string(),
            trim_interval: upkeep(reader.get("trim"), trim),
            scrub_interval: upkeep(reader.get("scrub"), scrub),
        }
    }
}

/// What the volume says, or else what is said of all.
fn upkeep(reader: Reader<'_>, of_all: Option<Duration>) -> Option<Duration> {
    let own = reader.get("interval").duration().filter(|every| !every.is_zero());
    match reader.get("enabled").bool() {
        Some(false) => None,
        Some(true) => Some(own.or(of_all).unwrap_or(defaults::UPKEEP_INTERVAL)),
        None => own.or(of_all),
    }
}

impl UserDisk {
    fn read(reader: Reader<'_>) -> Self {
        Self {
            device: reader.get("device").string(),
            partitions: reader.get("partitions").list(|partition| {
                Some(UserDiskPartition {
                    partition_size: partition
                        .get("size")
                        .text()
                        .and_then(values::size)
                        .filter(|size| *size > 0),
                    mount_point: partition.get("mountpoint").string(),
                })
            }),
        }
    }
}
