//! A volume as it is wished for, and what follows from that alone.

use corten_config::selector::{self, DiskSelector, VolumeSelector};
use corten_resources::block::{
    DiscoveredVolume, Disk, Filesystem, VolumeConfig, VolumeKind, VolumeMountRequest, VolumeStatus,
};
use corten_sys::mount::MountFlags;

use crate::gpt::Size;

/// A file system below this size needs to be asked for with emphasis, for fear of small root disks that grow.
const XFS_BYTES_MIN: u64 = 300 << 20;
/// Allocation groups of XFS that a file system gets unless they would be too small.
const XFS_GROUPS: u64 = 4;
/// Largest allocation group of XFS, bytes.
const XFS_GROUP_BYTES_MAX: u64 = 1 << 40;

/// One volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Its id.
    pub id: String,
    /// How it should be.
    pub config: VolumeConfig,
    /// Nobody wants it any more: it is unmounted and left where it is.
    pub is_leaving: bool,
}

impl Layout {
    /// Label of its partition.
    pub fn label(&self) -> &str {
        &self.config.provisioning.partition.label
    }

    /// Its mount point; empty when it has none.
    pub fn target(&self) -> &str {
        &self.config.mount.target_path
    }

    /// Its file system.
    pub const fn filesystem(&self) -> Filesystem {
        self.config.provisioning.filesystem.kind
    }

    /// It belongs to the system and is made before all others.
    pub const fn is_of_system(&self) -> bool {
        self.config.provisioning.wave < 0
    }

    /// It is there already, or not at all.
    pub fn is_existing(&self) -> bool {
        self.config.kind == VolumeKind::Partition && self.label().is_empty()
    }

    /// Size of its partition on a disk of this size.
    pub fn size(&self, disk_bytes: u64) -> Size {
        let spec = &self.config.provisioning.partition;
        let bytes_min = spec.size_min;
        let told = match (spec.size_max, spec.percent_max) {
            (0, 0) => return Size::Rest { bytes_min },
            (bytes, 0) => bytes,
            (_, percent) => disk_bytes / 100 * percent.min(100),
        };
        let bytes_max = if spec.is_negative { disk_bytes.saturating_sub(told) } else { told };
        // What is a tenth of a small disk may be less than the least, which then is what counts.
        let bytes_max = bytes_max.max(bytes_min);
        if bytes_max == bytes_min { Size::Bytes(bytes_min) } else { Size::Range { bytes_min, bytes_max } }
    }

    /// Whether it may be on a disk.
    ///
    /// # Errors
    /// When the expression cannot tell.
    pub fn may_be_on(&self, disk: &Disk, is_system_disk: bool) -> Result<bool, corten_cel::Error> {
        let selector = DiskSelector::parse(&self.config.provisioning.disk_selector.expression)?;
        selector.matches(&seen(disk, is_system_disk))
    }

    /// Whether it is this volume.
    ///
    /// # Errors
    /// When the expression cannot tell.
    pub fn is(
        &self,
        found: &DiscoveredVolume,
        disk: &Disk,
        is_system: bool,
    ) -> Result<bool, corten_cel::Error> {
        let selector = VolumeSelector::parse(&self.config.locator.expression)?;
        selector.matches(&seen_volume(found), &seen(disk, is_system))
    }

    /// Flags of its mount: as strict as the strictest who asks, writable if anyone writes.
    pub fn flags(&self, requests: &[&VolumeMountRequest]) -> MountFlags {
        let mut flags = MountFlags::empty();
        if self.config.mount.secure || requests.iter().any(|request| request.secure) {
            flags |= MountFlags::NOSUID | MountFlags::NODEV;
        }
        if self.config.mount.no_exec || requests.iter().any(|request| request.no_exec) {
            flags |= MountFlags::NOEXEC;
        }
        if requests.iter().any(|request| request.disable_access_time) {
            flags |= MountFlags::NOATIME;
        }
        if requests.iter().all(|request| request.read_only) {
            flags |= MountFlags::RDONLY;
        }
        flags
    }

    /// Options of its file system.
    pub fn options(&self) -> &'static str {
        match self.filesystem() {
            Filesystem::Xfs | Filesystem::Ext4 if self.config.mount.project_quota_support => "prjquota",
            _ => "",
        }
    }

    /// Folders that others expect in it.
    pub fn folders(&self) -> &'static [&'static str] {
        if self.id == VolumeStatus::EPHEMERAL {
            &["lib", "log", "mnt", "log/containers", "log/pods"]
        } else {
            &[]
        }
    }

    /// Links that others expect in it, as `(name, target)`.
    pub fn links(&self) -> &'static [(&'static str, &'static str)] {
        if self.id == VolumeStatus::EPHEMERAL { &[("run", "/run")] } else { &[] }
    }

    /// The program that makes its file system, with its arguments but the device; nothing when it is made otherwise.
    pub fn making(&self, size_bytes: u64) -> Option<Vec<String>> {
        let spec = &self.config.provisioning.filesystem;
        let mut argv: Vec<String> = match spec.kind {
            Filesystem::Xfs => ["/usr/sbin/mkfs.xfs", "-f", "-q", "-K"].map(str::to_owned).into(),
            Filesystem::Ext4 => ["/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4"].map(str::to_owned).into(),
            _ => return None,
        };
        if !spec.label.is_empty() {
            argv.extend(["-L".to_owned(), spec.label.clone()]);
        }
        match spec.kind {
            Filesystem::Xfs if size_bytes < XFS_BYTES_MIN => argv.push("--unsupported".to_owned()),
            Filesystem::Xfs => argv.extend(allocation_groups(size_bytes, spec.allocation_group_min)),
            _ if self.config.mount.project_quota_support => {
                argv.extend(["-O", "project,quota", "-E", "nodiscard,quotatype=prjquota"].map(str::to_owned));
            }
            _ => argv.extend(["-E", "nodiscard"].map(str::to_owned)),
        }
        Some(argv)
    }
}

/// Fewer allocation groups than usual, where those would be smaller than the least.
fn allocation_groups(size_bytes: u64, bytes_min: u64) -> Vec<String> {
    if bytes_min == 0 || size_bytes / XFS_GROUPS >= bytes_min {
        return Vec::new();
    }
    let groups = (size_bytes / bytes_min).max(size_bytes.div_ceil(XFS_GROUP_BYTES_MAX)).max(1);
    vec!["-d".to_owned(), format!("agcount={groups}")]
}

/// The name by which a file system is recognized and mounted.
pub const fn fstype(filesystem: Filesystem) -> &'static str {
    match filesystem {
        Filesystem::None => "",
        Filesystem::Xfs => "xfs",
        Filesystem::Vfat => "vfat",
        Filesystem::Ext4 => "ext4",
        Filesystem::Iso9660 => "iso9660",
        Filesystem::Swap => "swap",
        Filesystem::Virtiofs => "virtiofs",
        Filesystem::Btrfs => "btrfs",
    }
}

/// The file system of this name, if it is one that can be mounted.
pub fn filesystem(name: &str) -> Option<Filesystem> {
    Some(match name {
        "xfs" => Filesystem::Xfs,
        "vfat" => Filesystem::Vfat,
        // One driver mounts all three.
        "ext4" | "ext3" | "ext2" => Filesystem::Ext4,
        "iso9660" => Filesystem::Iso9660,
        "btrfs" => Filesystem::Btrfs,
        _ => return None,
    })
}

/// A disk as expressions see it.
pub fn seen(disk: &Disk, is_system_disk: bool) -> selector::Disk<'_> {
    selector::Disk {
        dev_path: &disk.dev_path,
        size: disk.size,
        pretty_size: &disk.pretty_size,
        io_size: disk.io_size,
        sector_size: disk.sector_size,
        readonly: disk.readonly,
        cdrom: disk.cdrom,
        rotational: disk.rotational,
        model: &disk.model,
        serial: &disk.serial,
        modalias: &disk.modalias,
        wwid: &disk.wwid,
        uuid: &disk.uuid,
        bus_path: &disk.bus_path,
        sub_system: &disk.sub_system,
        transport: &disk.transport,
        firmware_version: &disk.firmware_version,
        secondary_disks: &disk.secondary_disks,
        symlinks: &disk.symlinks,
        is_system_disk,
    }
}

/// A volume as expressions see it.
pub fn seen_volume(found: &DiscoveredVolume) -> selector::Volume<'_> {
    selector::Volume {
        kind: &found.kind,
        dev_path: &found.dev_path,
        device_path: &found.device_path,
        parent: &found.parent,
        parent_dev_path: &found.parent_dev_path,
        offset: found.offset,
        size: found.size,
        pretty_size: &found.pretty_size,
        sector_size: found.sector_size,
        io_size: found.io_size,
        name: &found.name,
        uuid: &found.uuid,
        label: &found.label,
        block_size: found.block_size,
        filesystem_block_size: found.filesystem_block_size,
        probed_size: found.probed_size,
        partition_uuid: &found.partition_uuid,
        partition_type: &found.partition_type,
        partition_label: &found.partition_label,
        partition_index: found.partition_index,
    }
}

#[cfg(test)]
mod tests {
    use corten_resources::block::{FilesystemSpec, PartitionSpec};

    use super::*;

    const GIB: u64 = 1 << 30;

    fn layout(partition: PartitionSpec, filesystem: FilesystemSpec) -> Layout {
        let mut layout = Layout { id: "u-data".to_owned(), ..Layout::default() };
        layout.config.provisioning.partition = partition;
        layout.config.provisioning.filesystem = filesystem;
        layout
    }

    #[test]
    fn sizes_are_those_of_the_disk() {
        let size = |partition| layout(partition, FilesystemSpec::default()).size(100 * GIB);
        let spec = PartitionSpec { size_min: GIB, ..PartitionSpec::default() };
        assert_eq!(size(spec.clone()), Size::Rest { bytes_min: GIB });
        assert_eq!(size(PartitionSpec { size_max: GIB, ..spec.clone() }), Size::Bytes(GIB));
        let relative = PartitionSpec { percent_max: 80, ..spec.clone() };
        assert_eq!(size(relative.clone()), Size::Range { bytes_min: GIB, bytes_max: 100 * GIB / 100 * 80 });
        let left_free = PartitionSpec { is_negative: true, ..relative };
        assert_eq!(size(left_free), Size::Range { bytes_min: GIB, bytes_max: 100 * GIB / 100 * 20 });
        let negative = PartitionSpec { size_max: 10 * GIB, is_negative: true, ..spec };
        assert_eq!(size(negative), Size::Range { bytes_min: GIB, bytes_max: 90 * GIB });
    }

    #[test]
    fn file_systems_are_made_as_they_are_wished_for() {
        let argv = |kind, size: u64, allocation_group_min: u64| {
            let spec = FilesystemSpec { kind, label: "u-data".to_owned(), allocation_group_min };
            layout(PartitionSpec::default(), spec).making(size).unwrap_or_default().join(" ")
        };
        assert_eq!(
            argv(Filesystem::Xfs, 100 << 20, 0),
            "/usr/sbin/mkfs.xfs -f -q -K -L u-data --unsupported"
        );
        assert_eq!(argv(Filesystem::Xfs, GIB, 0), "/usr/sbin/mkfs.xfs -f -q -K -L u-data");
        assert!(argv(Filesystem::Xfs, 100 * GIB, 64 * GIB).ends_with("-d agcount=1"));
        assert!(argv(Filesystem::Xfs, 1000 * GIB, 64 * GIB).ends_with("-L u-data"));
        assert_eq!(argv(Filesystem::Ext4, GIB, 0), "/usr/sbin/mke2fs -q -F -t ext4 -L u-data -E nodiscard");
        assert_eq!(argv(Filesystem::Swap, GIB, 0), "");
    }

    #[test]
    fn quotas_of_ext4_are_a_matter_of_its_making() {
        let spec = FilesystemSpec { kind: Filesystem::Ext4, ..FilesystemSpec::default() };
        let mut layout = layout(PartitionSpec::default(), spec);
        layout.config.mount.project_quota_support = true;
        let argv = layout.making(GIB).expect("a program").join(" ");
        assert!(argv.contains("-O project,quota -E nodiscard,quotatype=prjquota"), "{argv}");
        assert_eq!(layout.options(), "prjquota");
    }
}
