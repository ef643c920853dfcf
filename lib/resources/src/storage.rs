//! What is made of several disks: arrays of RAID, and the volumes of LVM.
//!
//! Facts about LVM are texts as `lvm` reports them, so that words such as `unknown` survive; sizes are in bytes.

use corten_resource::{Enumeration, Resource};

/// Level of an array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum MdLevel {
    /// Every member has everything.
    #[default]
    #[variant(0, "raid1")]
    Raid1,
}

/// Where and how the members of an array say what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum MdMetadata {
    /// At the end of each, so that firmware sees a member as if it was no member.
    #[default]
    #[variant(0, "1.0")]
    V10,
    /// Near the start of each.
    #[variant(1, "1.2")]
    V12,
}

/// How far an array has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum MdArrayPhase {
    /// Not looked at yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// Members are missing.
    #[variant(1, "waiting")]
    Waiting,
    /// It works, and copies what members lack.
    #[variant(2, "rebuilding")]
    Rebuilding,
    /// It works.
    #[variant(3, "ready")]
    Ready,
    /// It does not work, or not as wished; the status says why.
    #[variant(4, "error")]
    Error,
}

/// Layout of a logical volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum LvmLogicalVolumeType {
    /// One piece after the other.
    #[default]
    #[variant(0, "linear")]
    Linear,
    /// Copies.
    #[variant(1, "raid1")]
    Raid1,
    /// Stripes.
    #[variant(2, "raid0")]
    Raid0,
    /// Stripes of copies.
    #[variant(3, "raid10")]
    Raid10,
}

/// An array that should exist; the id is its name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MDArraySpecs.storage.talos.dev", namespace = "storage",
    columns("Level" => "{.level}"))]
pub struct MdArraySpec {
    /// Its level.
    #[field(1, "level")]
    pub level: MdLevel,
    /// Expression that selects its members.
    #[field(2, "volumeSelector", expression)]
    pub volume_selector: String,
    /// Format of its metadata.
    #[field(3, "metadata")]
    pub metadata: MdMetadata,
}

/// An array as the kernel has it, or one that should exist; the id is its name, or the kernel's where it has none.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MDArrayStatuses.storage.talos.dev", namespace = "storage",
    columns("Level" => "{.level}", "Status" => "{.status}", "Sync" => "{.syncAction}", "Device" => "{.device}"))]
pub struct MdArrayStatus {
    /// Its level.
    #[field(1, "level")]
    pub level: MdLevel,
    /// `/dev/…`; the same at every boot if the array has a name.
    #[field(2, "device")]
    pub device: String,
    /// `/dev/…` of its members; of one that does not exist, those that it would have.
    #[field(3, "members")]
    pub members: Vec<String>,
    /// What is wrong, or what is missing.
    #[field(4, "error", omitempty)]
    pub error: String,
    /// How far it has come.
    #[field(5, "status")]
    pub status: MdArrayPhase,
    /// Members that it should have.
    #[field(6, "raidDevices")]
    pub raid_devices: i64,
    /// Its identity, as `mdadm` writes it.
    #[field(7, "uuid", omitempty)]
    pub uuid: String,
    /// Its name, as its members say.
    #[field(8, "name", omitempty)]
    pub name: String,
    /// Format of its metadata.
    #[field(9, "metadata", omitempty)]
    pub metadata: String,
    /// `array_state` of the kernel.
    #[field(10, "arrayState", omitempty)]
    pub array_state: String,
    /// `sync_action` of the kernel.
    #[field(11, "syncAction", omitempty)]
    pub sync_action: String,
}

/// Arrays are to be looked at again. Singleton `refresh`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MDRefreshRequests.storage.talos.dev", namespace = "storage")]
pub struct MdRefreshRequest {
    /// Grows with every request.
    #[field(1, "request")]
    pub request: i64,
}

impl MdRefreshRequest {
    /// Id of the only one.
    pub const ID: &'static str = "refresh";
}

/// A device that should be a physical volume; the id is its name below `/dev`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "LVMPhysicalVolumeSpecs.storage.talos.dev", namespace = "storage",
    columns("Device" => "{.device}", "VG" => "{.vgName}"))]
pub struct LvmPhysicalVolumeSpec {
    /// `/dev/…`.
    #[field(1, "device")]
    pub device: String,
    /// Group that it should be in.
    #[field(2, "vgName")]
    pub vg_name: String,
}

/// A volume group that should exist; the id is its name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "LVMVolumeGroupSpecs.storage.talos.dev", namespace = "storage",
    columns("Name" => "{.name}"))]
pub struct LvmVolumeGroupSpec {
    /// Name.
    #[field(1, "name")]
    pub name: String,
    /// `/dev/…` of the volumes that it should be made of.
    #[field(2, "physicalVolumes")]
    pub physical_volumes: Vec<String>,
}

/// A logical volume that should exist; the id is `GROUP-VOLUME`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "LVMLogicalVolumeSpecs.storage.talos.dev", namespace = "storage",
    columns("VG" => "{.vgName}", "Name" => "{.name}", "Type" => "{.type}"))]
pub struct LvmLogicalVolumeSpec {
    /// Group that it should be in.
    #[field(1, "vgName")]
    pub vg_name: String,
    /// Name.
    #[field(2, "name")]
    pub name: String,
    /// Layout.
    #[field(3, "type")]
    pub kind: LvmLogicalVolumeType,
    /// Size, bytes; 0 when it is a part of the group.
    #[field(4, "sizeBytes")]
    pub size_bytes: u64,
    /// Size, per cent of the group; 0 when it is in bytes.
    #[field(5, "sizePercentVG")]
    pub size_percent_vg: u32,
    /// Copies besides the first, of raid1 and raid10.
    #[field(6, "mirrors")]
    pub mirrors: u32,
    /// Stripes, of raid0 and raid10; 0 means as many as there are physical volumes for.
    #[field(7, "stripes")]
    pub stripes: u32,
}

/// A physical volume of LVM as it is; the id is the name of its device below `/dev`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "LVMPhysicalVolumeStatuses.storage.talos.dev", namespace = "storage", aliases("pvs"),
    columns("Device" => "{.device}", "VG" => "{.vgName}", "Size" => "{.prettySize}", "Free" => "{.prettyFree}", "Allocatable" => "{.allocatable}"))]
pub struct LvmPhysicalVolumeStatus {
    /// `/dev/…` (`pv_name`).
    #[field(1, "device")]
    pub device: String,
    /// Group that it is in; empty when in none (`vg_name`).
    #[field(2, "vgName")]
    pub vg_name: String,
    /// Identity (`pv_uuid`).
    #[field(3, "uuid")]
    pub uuid: String,
    /// Format of its metadata (`pv_fmt`).
    #[field(4, "format")]
    pub format: String,
    /// `allocatable` when room on it may be given away (`pv_allocatable`).
    #[field(5, "allocatable")]
    pub allocatable: String,
    /// `exported` when it waits for another machine (`pv_exported`).
    #[field(6, "exported")]
    pub exported: String,
    /// `missing` when its device is not there (`pv_missing`).
    #[field(7, "missing")]
    pub missing: String,
    /// `used` when a group uses it (`pv_in_use`).
    #[field(8, "inUse")]
    pub in_use: String,
    /// Bytes that the group has of it (`pv_size`).
    #[field(9, "size")]
    pub size: String,
    /// Bytes of the device (`dev_size`).
    #[field(10, "deviceSize")]
    pub device_size: String,
    /// Bytes that are free (`pv_free`).
    #[field(11, "free")]
    pub free: String,
    /// Bytes that are taken (`pv_used`).
    #[field(12, "used")]
    pub used: String,
    /// Extents (`pv_pe_count`).
    #[field(13, "peCount")]
    pub pe_count: String,
    /// Extents that are taken (`pv_pe_alloc_count`).
    #[field(14, "peAllocCount")]
    pub pe_alloc_count: String,
    /// Major number of the device (`pv_major`).
    #[field(15, "major")]
    pub major: String,
    /// Minor number of the device (`pv_minor`).
    #[field(16, "minor")]
    pub minor: String,
    /// Tags (`pv_tags`).
    #[field(17, "tags")]
    pub tags: Vec<String>,
    /// `size` for people.
    #[field(18, "prettySize", omitempty)]
    pub pretty_size: String,
    /// `deviceSize` for people.
    #[field(19, "prettyDeviceSize", omitempty)]
    pub pretty_device_size: String,
    /// `free` for people.
    #[field(20, "prettyFree", omitempty)]
    pub pretty_free: String,
}

/// A volume group of LVM as it is; the id is its name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "LVMVolumeGroupStatuses.storage.talos.dev", namespace = "storage", aliases("vgs"),
    columns("Name" => "{.name}", "Permissions" => "{.permissions}", "Size" => "{.prettySize}", "Free" => "{.prettyFree}", "PVs" => "{.pvCount}", "LVs" => "{.lvCount}"))]
pub struct LvmVolumeGroupStatus {
    /// Name (`vg_name`).
    #[field(1, "name")]
    pub name: String,
    /// Identity (`vg_uuid`).
    #[field(2, "uuid")]
    pub uuid: String,
    /// Format of its metadata (`vg_fmt`).
    #[field(3, "format")]
    pub format: String,
    /// `writeable` or `read-only` (`vg_permissions`).
    #[field(4, "permissions")]
    pub permissions: String,
    /// `extendable` when volumes may be added (`vg_extendable`).
    #[field(5, "extendable")]
    pub extendable: String,
    /// `exported` when it waits for another machine (`vg_exported`).
    #[field(6, "exported")]
    pub exported: String,
    /// `partial` when physical volumes are missing (`vg_partial`).
    #[field(7, "partial")]
    pub partial: String,
    /// How room is given away (`vg_allocation_policy`).
    #[field(8, "allocationPolicy")]
    pub allocation_policy: String,
    /// `clustered` when several machines share it (`vg_clustered`).
    #[field(9, "clustered")]
    pub clustered: String,
    /// `shared` when locks protect it (`vg_shared`).
    #[field(10, "shared")]
    pub shared: String,
    /// Bytes (`vg_size`).
    #[field(11, "size")]
    pub size: String,
    /// Bytes that are free (`vg_free`).
    #[field(12, "free")]
    pub free: String,
    /// Bytes of an extent (`vg_extent_size`).
    #[field(13, "extentSize")]
    pub extent_size: String,
    /// Extents (`vg_extent_count`).
    #[field(14, "extentCount")]
    pub extent_count: String,
    /// Extents that are free (`vg_free_count`).
    #[field(15, "freeExtentCount")]
    pub free_extent_count: String,
    /// Most logical volumes; `0` means any number (`max_lv`).
    #[field(16, "maxLV")]
    pub max_lv: String,
    /// Most physical volumes; `0` means any number (`max_pv`).
    #[field(17, "maxPV")]
    pub max_pv: String,
    /// Logical volumes (`lv_count`).
    #[field(18, "lvCount")]
    pub lv_count: String,
    /// Physical volumes (`pv_count`).
    #[field(19, "pvCount")]
    pub pv_count: String,
    /// Snapshots (`snap_count`).
    #[field(20, "snapCount")]
    pub snap_count: String,
    /// Physical volumes that are missing (`vg_missing_pv_count`).
    #[field(21, "missingPVCount")]
    pub missing_pv_count: String,
    /// Grows with every change of its metadata (`vg_seqno`).
    #[field(22, "seqNo")]
    pub seq_no: String,
    /// Kind of its locks (`vg_lock_type`).
    #[field(23, "lockType")]
    pub lock_type: String,
    /// Machine that owns it (`vg_systemid`).
    #[field(24, "systemID")]
    pub system_id: String,
    /// Tags (`vg_tags`).
    #[field(25, "tags")]
    pub tags: Vec<String>,
    /// `size` for people.
    #[field(26, "prettySize", omitempty)]
    pub pretty_size: String,
    /// `free` for people.
    #[field(27, "prettyFree", omitempty)]
    pub pretty_free: String,
}

/// A logical volume of LVM as it is; the id is `GROUP-VOLUME`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "LVMLogicalVolumeStatuses.storage.talos.dev", namespace = "storage", aliases("lvs"),
    columns("Path" => "{.path}", "VG" => "{.vgName}", "Layout" => "{.layout}", "Size" => "{.prettySize}", "Active" => "{.active}"))]
pub struct LvmLogicalVolumeStatus {
    /// `/dev/GROUP/VOLUME`; empty for one that is a part of another (`lv_path`).
    #[field(1, "path")]
    pub path: String,
    /// `/dev/mapper/…` (`lv_dm_path`).
    #[field(2, "dmPath")]
    pub dm_path: String,
    /// Name (`lv_name`).
    #[field(3, "name")]
    pub name: String,
    /// `GROUP/VOLUME` (`lv_full_name`).
    #[field(4, "fullName")]
    pub full_name: String,
    /// Group that it is in (`vg_name`).
    #[field(5, "vgName")]
    pub vg_name: String,
    /// Identity (`lv_uuid`).
    #[field(6, "uuid")]
    pub uuid: String,
    /// Layout (`lv_layout`).
    #[field(7, "layout")]
    pub layout: String,
    /// What it is for (`lv_role`).
    #[field(8, "role")]
    pub role: String,
    /// `writeable` or `read-only` (`lv_permissions`).
    #[field(9, "permissions")]
    pub permissions: String,
    /// How it is given room (`lv_allocation_policy`).
    #[field(10, "allocationPolicy")]
    pub allocation_policy: String,
    /// `locked` when its extents stay where they are (`lv_allocation_locked`).
    #[field(11, "allocationLocked")]
    pub allocation_locked: String,
    /// `fixed` when its minor number never changes (`lv_fixed_minor`).
    #[field(12, "fixedMinor")]
    pub fixed_minor: String,
    /// `active` when the kernel has it (`lv_active`).
    #[field(13, "active")]
    pub active: String,
    /// Whether it is active on this machine (`lv_active_locally`).
    #[field(14, "activeLocally")]
    pub active_locally: String,
    /// Whether it is active on another machine (`lv_active_remotely`).
    #[field(15, "activeRemotely")]
    pub active_remotely: String,
    /// Whether it is active on one machine only (`lv_active_exclusively`).
    #[field(16, "activeExclusively")]
    pub active_exclusively: String,
    /// `suspended` when the kernel holds back reads and writes (`lv_suspended`).
    #[field(17, "suspended")]
    pub suspended: String,
    /// `open` when something uses it (`lv_device_open`).
    #[field(18, "deviceOpen")]
    pub device_open: String,
    /// Whether it stays inactive by itself (`lv_skip_activation`).
    #[field(19, "skipActivation")]
    pub skip_activation: String,
    /// Whether a snapshot goes into it (`lv_merging`).
    #[field(20, "merging")]
    pub merging: String,
    /// Whether its layout is being changed (`lv_converting`).
    #[field(21, "converting")]
    pub converting: String,
    /// Bytes (`lv_size`).
    #[field(22, "size")]
    pub size: String,
    /// Bytes of its metadata, of a pool (`lv_metadata_size`).
    #[field(23, "metadataSize")]
    pub metadata_size: String,
    /// Bytes read ahead, or `auto` (`lv_read_ahead`).
    #[field(24, "readAhead")]
    pub read_ahead: String,
    /// Major number; `-1` when it is inactive (`lv_kernel_major`).
    #[field(25, "kernelMajor")]
    pub kernel_major: String,
    /// Minor number; `-1` when it is inactive (`lv_kernel_minor`).
    #[field(26, "kernelMinor")]
    pub kernel_minor: String,
    /// What it is a snapshot of (`origin`).
    #[field(27, "origin")]
    pub origin: String,
    /// Bytes of what it is a snapshot of (`origin_size`).
    #[field(28, "originSize")]
    pub origin_size: String,
    /// Pool that it is in (`pool_lv`).
    #[field(29, "poolLV")]
    pub pool_lv: String,
    /// Part of a pool with the data (`data_lv`).
    #[field(30, "dataLV")]
    pub data_lv: String,
    /// Part of a pool with the metadata (`metadata_lv`).
    #[field(31, "metadataLV")]
    pub metadata_lv: String,
    /// Physical volume that it is moved from (`move_pv`).
    #[field(32, "movePV")]
    pub move_pv: String,
    /// What it is converted to (`convert_lv`).
    #[field(33, "convertLV")]
    pub convert_lv: String,
    /// What a full pool does (`lv_when_full`).
    #[field(34, "whenFull")]
    pub when_full: String,
    /// Tags (`lv_tags`).
    #[field(35, "tags")]
    pub tags: Vec<String>,
    /// `size` for people.
    #[field(36, "prettySize", omitempty)]
    pub pretty_size: String,
}

/// Volumes of LVM are to be looked at again. Singleton `refresh`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "LVMRefreshRequests.storage.talos.dev", namespace = "storage")]
pub struct LvmRefreshRequest {
    /// Grows with every request.
    #[field(1, "request")]
    pub request: i64,
}

impl LvmRefreshRequest {
    /// Id of the only one.
    pub const ID: &'static str = "refresh";
}

/// Something of the configuration that cannot be had from LVM; the id is the group, `GROUP.volumeSelector` or `GROUP-VOLUME`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "LVMValidationErrors.storage.talos.dev", namespace = "storage",
    columns("VG" => "{.vgName}", "Message" => "{.message}"))]
pub struct LvmValidationError {
    /// The group that it is about.
    #[field(1, "vgName")]
    pub vg_name: String,
    /// What cannot be had, and why.
    #[field(2, "message")]
    pub message: String,
}
