//! The volumes of every machine, as a table (sizes and places: node.md 5.5).

use corten_base::paths;
use corten_resources::block::VolumeStatus;
use corten_sys::mount::MountFlags;

use crate::gpt::Size;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// One volume with a file system.
#[derive(Debug)]
pub struct Layout {
    /// Id of the volume and label of its partition and file system.
    pub id: &'static str,
    /// Size of its partition.
    pub size: Size,
    /// Mount point.
    pub target: &'static str,
    /// Permissions of its root folder.
    pub mode: u32,
    /// Flags whoever asks.
    pub flags: MountFlags,
    /// Options of the file system.
    pub options: &'static str,
    /// What its making needs besides label and device.
    pub making: &'static [&'static str],
    /// Folders that others expect in it.
    pub folders: &'static [&'static str],
    /// Links that others expect in it, as `(name, target)`.
    pub links: &'static [(&'static str, &'static str)],
}

/// The volumes of a machine, in their order on the disk.
pub static LAYOUTS: [Layout; 2] = [
    Layout {
        id: VolumeStatus::STATE,
        size: Size::Bytes(100 * MIB),
        target: paths::STATE,
        mode: 0o700,
        flags: MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC),
        options: "",
        // xfsprogs calls file systems below 300 MiB unsupported, for fear of small root disks that grow.
        making: &["--unsupported"],
        folders: &[],
        links: &[],
    },
    // Programs of containers and plug-ins run from here, so it is not noexec.
    Layout {
        id: VolumeStatus::EPHEMERAL,
        size: Size::Rest { bytes_min: 2 * GIB },
        target: paths::EPHEMERAL,
        mode: 0o755,
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
        options: "prjquota",
        making: &[],
        folders: &["lib", "log", "mnt", "log/containers", "log/pods"],
        links: &[("run", "/run")],
    },
];
