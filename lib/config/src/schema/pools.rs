//! Documents about what is made of several disks: arrays of RAID, volume groups and logical volumes of LVM.

use super::Type::{OneOf, Size, Text};
use super::volumes::VOLUME_SELECTION;
use super::{Record, Type, U32, field};

pub const RAID_ARRAY: Record = Record {
    doc: "A software RAID.",
    fields: &[
        field("name", Text, "Name of the array.").required(),
        field("level", OneOf(&["raid1"]), "Its level."),
        field("metadata", OneOf(&["1.0", "1.2"]), "Format of its metadata."),
        field("provisioning", Type::Record(&VOLUME_SELECTION), "Which volumes it is made of."),
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
        field("mirrors", U32, "Copies besides the first, of raid1 and raid10."),
        field("stripes", U32, "Stripes, of raid0 and raid10."),
        field("provisioning", Type::Record(&LOGICAL_PROVISIONING), "Where it is made, and how large."),
    ],
};

const LOGICAL_PROVISIONING: Record = Record {
    doc: "Where a logical volume is made, and how large.",
    fields: &[
        field("volumeGroup", Text, "Volume group that it is made in."),
        field("minSize", Size, "Least size, such as 10GiB."),
        field("maxSize", Text, "Largest size, such as 50GiB or 80%."),
    ],
};
