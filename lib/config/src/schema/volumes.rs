//! Documents about disks, volumes and file systems.

use super::Type::{Bool, Duration, OneOf, Size, Text};
use super::machine::ENCRYPTION;
use super::{PERCENT, Record, Type, field};

pub const VOLUME: Record = Record {
    doc: "A volume of the system.",
    fields: &[
        field("name", Text, "Name of the volume, such as EPHEMERAL.").required(),
        field("provisioning", Type::Record(&PROVISIONING), "Where it is made, and how large."),
        field("filesystem", Type::Record(&SYSTEM_FILESYSTEM), "Its file system."),
        field("encryption", Type::Record(&ENCRYPTION), "How it is encrypted.").refused(),
        field("mount", Type::Record(&MOUNT), "How it is mounted."),
        field("trim", Type::Record(&UPKEEP), "When unused blocks are told to the disk."),
        field("scrub", Type::Record(&UPKEEP), "When it is checked."),
    ],
};

pub const USER_VOLUME: Record = Record {
    doc: "A volume for workloads.",
    fields: &[
        field("name", Text, "Name of the volume.").required(),
        field("volumeType", OneOf(&["directory", "disk", "partition"]), "What it is made of."),
        field("provisioning", Type::Record(&PROVISIONING), "Where it is made, and how large."),
        field("filesystem", Type::Record(&FILESYSTEM), "Its file system."),
        field("encryption", Type::Record(&ENCRYPTION), "How it is encrypted.").refused(),
        field("mount", Type::Record(&MOUNT), "How it is mounted."),
        field("trim", Type::Record(&UPKEEP), "When unused blocks are told to the disk."),
        field("scrub", Type::Record(&UPKEEP), "When it is checked."),
    ],
};

/// A volume without a file system of its own: raw, or for swapping.
pub const RAW_VOLUME: Record = Record {
    doc: "A volume without a file system.",
    fields: &[
        field("name", Text, "Name of the volume.").required(),
        field("provisioning", Type::Record(&PROVISIONING), "Where it is made, and how large."),
        field("encryption", Type::Record(&ENCRYPTION), "How it is encrypted.").refused(),
    ],
};

pub const EXISTING_VOLUME: Record = Record {
    doc: "A volume that is there already.",
    fields: &[
        field("name", Text, "Name of the volume.").required(),
        field("discovery", Type::Record(&VOLUME_SELECTION), "How it is found."),
        field("mount", Type::Record(&MOUNT_EXISTING), "How it is mounted."),
        field("trim", Type::Record(&UPKEEP), "When unused blocks are told to the disk."),
        field("scrub", Type::Record(&UPKEEP), "When it is checked."),
    ],
};

pub const EXTERNAL_VOLUME: Record = Record {
    doc: "A volume of the host of a virtual machine.",
    fields: &[
        field("name", Text, "Name of the volume.").required(),
        field("filesystemType", OneOf(&["virtiofs"]), "How it is reached."),
        field("mount", Type::Record(&MOUNT_EXTERNAL), "How it is mounted."),
    ],
};

pub const FILESYSTEM_TRIM: Record = Record {
    doc: "How often unused blocks are told to the disks.",
    fields: &[field("interval", Duration, "The interval.")],
};

pub const FILESYSTEM_SCRUB: Record = Record {
    doc: "How often file systems are checked.",
    fields: &[field("interval", Duration, "The interval.")],
};

pub const ZSWAP: Record = Record {
    doc: "Compressed memory in front of swap.",
    fields: &[
        field("maxPoolPercent", PERCENT, "How much of the memory it may take."),
        field("shrinkerEnabled", Bool, "Whether it shrinks under pressure."),
    ],
};

const PROVISIONING: Record = Record {
    doc: "Where a volume is made, and how large.",
    fields: &[
        field("diskSelector", Type::Record(&MATCH), "Which disks it may be on."),
        field("grow", Bool, "Whether it grows to what is free."),
        field("minSize", Size, "Least size, such as 10GiB."),
        field("maxSize", Text, "Largest size, such as 50GiB or 80% of the disk; -10GiB leaves so much free."),
    ],
};

const SYSTEM_FILESYSTEM: Record =
    Record { doc: "A file system.", fields: &[field("xfs", Type::Record(&XFS), "What only XFS has.")] };

const FILESYSTEM: Record = Record {
    doc: "A file system.",
    fields: &[
        field("type", OneOf(&["ext4", "xfs", "btrfs"]), "Its type.").later(&["btrfs"]),
        field("projectQuotaSupport", Bool, "Whether it has project quotas."),
        field("xfs", Type::Record(&XFS), "What only XFS has."),
    ],
};

const XFS: Record = Record {
    doc: "What only XFS has.",
    fields: &[field("minAllocationGroupSize", Size, "Least size of an allocation group, such as 1GiB.")],
};

const MOUNT: Record = Record {
    doc: "How a volume is mounted.",
    fields: &[
        field("secure", Bool, "Whether device files and set-user-id programs are ignored."),
        field("disableAccessTime", Bool, "Whether times of access are not kept."),
    ],
};

const MOUNT_EXISTING: Record = Record {
    doc: "How a volume that is there is mounted.",
    fields: &[
        field("readOnly", Bool, "Whether it is read only."),
        field("disableAccessTime", Bool, "Whether times of access are not kept."),
        field("secure", Bool, "Whether device files and set-user-id programs are ignored."),
    ],
};

const MOUNT_EXTERNAL: Record = Record {
    doc: "How a volume of the host is mounted.",
    fields: &[
        field("readOnly", Bool, "Whether it is read only."),
        field("disableAccessTime", Bool, "Whether times of access are not kept."),
        field("secure", Bool, "Whether device files and set-user-id programs are ignored."),
        field("virtiofs", Type::Record(&VIRTIOFS), "How virtiofs reaches it."),
    ],
};

const VIRTIOFS: Record =
    Record { doc: "A shared folder of virtiofs.", fields: &[field("tag", Text, "Its tag.")] };

const UPKEEP: Record = Record {
    doc: "Regular upkeep of a volume.",
    fields: &[field("enabled", Bool, "Whether it is done."), field("interval", Duration, "The interval.")],
};

/// Volumes that are meant.
pub const VOLUME_SELECTION: Record = Record {
    doc: "Which volumes are meant.",
    fields: &[field("volumeSelector", Type::Record(&MATCH), "What must hold of them.")],
};

/// An expression that tells disks, volumes or links.
pub const MATCH: Record = Record {
    doc: "What must hold, as an expression.",
    fields: &[field("match", Text, "An expression of the Common Expression Language.")],
};
