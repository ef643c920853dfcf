//! Documents about disks, volumes and file systems.

use crate::schema::Type::{Bool, Duration, OneOf, Text};
use crate::schema::machine::ENCRYPTION;
use crate::schema::{PERCENT, Record, Type, U32, field};

pub const VOLUME: Record = Record {
    doc: "A volume of the system.",
    fields: &[
        field("name", Text, "Name of the volume, such as EPHEMERAL.").required(),
        field("provisioning", Type::Record(&PROVISIONING), "Where it is made, and how large."),
        field("filesystem", Type::Record(&FILESYSTEM), "Its file system."),
        field("encryption", Type::Record(&ENCRYPTION), "How it is encrypted."),
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
        field("encryption", Type::Record(&ENCRYPTION), "How it is encrypted."),
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
        field("encryption", Type::Record(&ENCRYPTION), "How it is encrypted."),
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

pub const LVM_VOLUME_GROUP: Record = Record {
    doc: "A volume group of LVM.",
    fields: &[
        field("name", Text, "Name of the group.").required(),
        field("provisioning", Type::Record(&VOLUME_SELECTION), "Which volumes it is made of."),
    ],
};

pub const LVM_LOGICAL_VOLUME: Record = Record {
    doc: "A logical volume of LVM.",
    fields: &[
        field("name", Text, "Name of the volume.").required(),
        field("type", OneOf(&["linear", "raid0", "raid1", "raid10"]), "Its layout."),
        field("mirrors", U32, "Copies."),
        field("stripes", U32, "Stripes."),
        field("provisioning", Type::Record(&LOGICAL_PROVISIONING), "Where it is made, and how large."),
    ],
};

const LOGICAL_PROVISIONING: Record = Record {
    doc: "Where a logical volume is made, and how large.",
    fields: &[
        field("volumeGroup", Text, "Volume group that it is made in."),
        field("minSize", Text, "Least size, such as 10GiB."),
        field("maxSize", Text, "Largest size, such as 50GiB or 80%."),
    ],
};

pub const RAID_ARRAY: Record = Record {
    doc: "A software RAID.",
    fields: &[
        field("name", Text, "Name of the array.").required(),
        field("level", OneOf(&["raid1"]), "Its level."),
        field("metadata", OneOf(&["1.0", "1.2"]), "Format of its metadata."),
        field("provisioning", Type::Record(&VOLUME_SELECTION), "Which volumes it is made of."),
    ],
};

const PROVISIONING: Record = Record {
    doc: "Where a volume is made, and how large.",
    fields: &[
        field("diskSelector", Type::Record(&MATCH), "Which disks it may be on."),
        field("grow", Bool, "Whether it grows to what is free."),
        field("minSize", Text, "Least size, such as 10GiB."),
        field("maxSize", Text, "Largest size, such as 50GiB or 80%."),
    ],
};

const FILESYSTEM: Record = Record {
    doc: "A file system.",
    fields: &[
        field("type", OneOf(&["ext4", "xfs", "btrfs"]), "Its type."),
        field("projectQuotaSupport", Bool, "Whether it has project quotas."),
        field("xfs", Type::Record(&XFS), "What only XFS has."),
    ],
};

const XFS: Record = Record {
    doc: "What only XFS has.",
    fields: &[field("minAllocationGroupSize", Text, "Least size of an allocation group, such as 1GiB.")],
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

const VOLUME_SELECTION: Record = Record {
    doc: "Which volumes are meant.",
    fields: &[field("volumeSelector", Type::Record(&MATCH), "What must hold of them.")],
};

/// An expression that tells disks, volumes or links.
pub const MATCH: Record = Record {
    doc: "What must hold, as an expression.",
    fields: &[field("match", Text, "An expression of the Common Expression Language.")],
};
