//! What is made of several disks: arrays, volume groups and logical volumes.

use super::Documents;
use crate::reader::Reader;

/// Format of the metadata of an array that says nothing of it: firmware sees its members as plain disks.
const ARRAY_METADATA: &str = "1.0";
/// Layout of a logical volume that says nothing of it.
const LAYOUT: &str = "linear";

/// Everything that is made of several disks, in the order of the documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    /// Arrays of RAID, all of level 1.
    pub arrays: Vec<RaidArray>,
    /// Volume groups of LVM.
    pub volume_groups: Vec<VolumeGroup>,
    /// Logical volumes of LVM.
    pub logical_volumes: Vec<LogicalVolume>,
}

/// An array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaidArray {
    /// Its name.
    pub name: String,
    /// Format of its metadata.
    pub metadata_format: String,
    /// Which volumes are its members, an expression; see [`crate::selector`].
    pub volume_selector: String,
}

/// A volume group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeGroup {
    /// Its name.
    pub name: String,
    /// Which volumes it is made of, an expression; see [`crate::selector`].
    pub volume_selector: String,
}

/// A logical volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogicalVolume {
    /// Its name.
    pub name: String,
    /// Its layout.
    pub layout: String,
    /// Copies besides the first.
    pub mirrors: Option<u32>,
    /// Stripes.
    pub stripes: Option<u32>,
    /// The group that it is in.
    pub volume_group: String,
    /// Least size, bytes.
    pub size_min: Option<u64>,
    /// Size, as written; see [`crate::values::size_max`].
    pub size_max: String,
}

impl Pools {
    pub(super) fn read(documents: &Documents<'_>) -> Self {
        let arrays = documents.all("RAIDArrayConfig").map(|(name, array)| RaidArray {
            name: name.to_owned(),
            metadata_format: array.get("metadata").string_or(ARRAY_METADATA),
            volume_selector: volume_selector(array),
        });
        let groups = documents.all("LVMVolumeGroupConfig").map(|(name, group)| VolumeGroup {
            name: name.to_owned(),
            volume_selector: volume_selector(group),
        });
        let volumes = documents.all("LVMLogicalVolumeConfig");
        Self {
            arrays: arrays.collect(),
            volume_groups: groups.collect(),
            logical_volumes: volumes.map(|(name, volume)| LogicalVolume::read(name, volume)).collect(),
        }
    }
}

fn volume_selector(reader: Reader<'_>) -> String {
    reader.path(&["provisioning", "volumeSelector", "match"]).string()
}

impl LogicalVolume {
    fn read(name: &str, reader: Reader<'_>) -> Self {
        let provisioning = reader.get("provisioning");
        Self {
            name: name.to_owned(),
            layout: reader.get("type").string_or(LAYOUT),
            mirrors: reader.get("mirrors").positive(),
            stripes: reader.get("stripes").positive(),
            volume_group: provisioning.get("volumeGroup").string(),
            size_min: provisioning.get("minSize").text().and_then(crate::values::size),
            size_max: provisioning.get("maxSize").string(),
        }
    }
}
