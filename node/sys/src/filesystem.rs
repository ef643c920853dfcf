//! Upkeep of mounted file systems.

use std::fs::File;
use std::os::fd::AsRawFd;

use crate::Result;
use crate::error::failed;
use crate::ffi::check;

/// `FITRIM`, `_IOWR('X', 121, struct fstrim_range)`.
const FITRIM: libc::Ioctl = 0xC018_5879_u32 as libc::Ioctl;
/// `XFS_IOC_SCRUB_METADATA`, `_IOWR('X', 60, struct xfs_scrub_metadata)`.
const XFS_SCRUB: libc::Ioctl = 0xC040_583C_u32 as libc::Ioctl;
/// `XFS_IOC_FSGEOMETRY_V1`, `_IOR('X', 100, struct xfs_fsop_geom_v1)`.
const XFS_GEOMETRY: libc::Ioctl = 0x8070_5864_u32 as libc::Ioctl;

/// `struct fstrim_range`.
#[repr(C)]
struct TrimRange {
    start: u64,
    length: u64,
    smallest: u64,
}

/// `struct xfs_scrub_metadata`.
#[repr(C)]
#[derive(Default)]
struct ScrubRequest {
    kind: u32,
    flags: u32,
    inode: u64,
    generation: u32,
    group: u32,
    reserved: [u64; 5],
}

/// `struct xfs_fsop_geom_v1`, of which only the number of allocation groups is of interest.
#[repr(C)]
struct Geometry {
    block_size: u32,
    realtime_extent_size: u32,
    group_blocks: u32,
    groups: u32,
    rest: [u64; 12],
}

/// Tells the disk below a file system what is unused, and returns the bytes that were told. `root` is any folder of it.
pub fn trim(root: &File) -> Result<u64> {
    let mut range = TrimRange { start: 0, length: u64::MAX, smallest: 0 };
    // SAFETY: the request reads and writes the structure, which has the kernel's layout and lives through the call.
    check(unsafe { libc::ioctl(root.as_raw_fd(), FITRIM, &raw mut range) })
        .map_err(failed("trim", "the file system"))?;
    Ok(range.length)
}

/// Metadata of XFS that can be checked while it is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XfsMetadata {
    /// Nothing: whether the kernel can check at all.
    Probe,
    /// The super block of an allocation group.
    SuperBlock(u32),
    /// The header of free space of a group.
    FreeSpace(u32),
    /// The list of reserved blocks of a group.
    FreeList(u32),
    /// The header of inodes of a group.
    Inodes(u32),
    /// The tree of free space by place of a group.
    FreeByPlace(u32),
    /// The tree of free space by size of a group.
    FreeBySize(u32),
    /// The tree of inodes of a group.
    InodeTree(u32),
    /// The tree of inodes that are free of a group.
    FreeInodeTree(u32),
    /// The tree of owners of blocks of a group.
    Owners(u32),
    /// The tree of shared blocks of a group.
    Shared(u32),
    /// Quotas of users.
    UserQuota,
    /// Quotas of groups of users.
    GroupQuota,
    /// Quotas of projects.
    ProjectQuota,
    /// Counters of the file system.
    Counters,
}

impl XfsMetadata {
    /// Number of the kernel, and the allocation group.
    const fn parts(self) -> (u32, u32) {
        match self {
            Self::Probe => (0, 0),
            Self::SuperBlock(group) => (1, group),
            Self::FreeSpace(group) => (2, group),
            Self::FreeList(group) => (3, group),
            Self::Inodes(group) => (4, group),
            Self::FreeByPlace(group) => (5, group),
            Self::FreeBySize(group) => (6, group),
            Self::InodeTree(group) => (7, group),
            Self::FreeInodeTree(group) => (8, group),
            Self::Owners(group) => (9, group),
            Self::Shared(group) => (10, group),
            Self::UserQuota => (21, 0),
            Self::GroupQuota => (22, 0),
            Self::ProjectQuota => (23, 0),
            Self::Counters => (24, 0),
        }
    }
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scrubbed {
    /// Nothing is wrong.
    Sound,
    /// The file system has no such metadata.
    Absent,
    /// Something is wrong.
    Corrupt,
    /// It could not be told whether something is wrong.
    Unclear,
}

/// Checks metadata of a mounted XFS. `root` is any folder of it.
pub fn scrub_xfs(root: &File, what: XfsMetadata) -> Result<Scrubbed> {
    const CORRUPT: u32 = 1 << 1;
    const CORRUPT_ACROSS: u32 = 1 << 4;
    const INCOMPLETE: u32 = 1 << 5;
    let (kind, group) = what.parts();
    let mut request = ScrubRequest { kind, group, ..ScrubRequest::default() };
    // SAFETY: the request reads and writes the structure, which has the kernel's layout and lives through the call.
    match check(unsafe { libc::ioctl(root.as_raw_fd(), XFS_SCRUB, &raw mut request) }) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Scrubbed::Absent),
        Err(error) => Err(failed("check", format_args!("{what:?}"))(error)),
        Ok(_) if request.flags & (CORRUPT | CORRUPT_ACROSS) != 0 => Ok(Scrubbed::Corrupt),
        Ok(_) if request.flags & INCOMPLETE != 0 => Ok(Scrubbed::Unclear),
        Ok(_) => Ok(Scrubbed::Sound),
    }
}

/// Number of allocation groups of a mounted XFS. `root` is any folder of it.
pub fn xfs_groups(root: &File) -> Result<u32> {
    let mut geometry =
        Geometry { block_size: 0, realtime_extent_size: 0, group_blocks: 0, groups: 0, rest: [0; 12] };
    // SAFETY: the request writes the structure, which has the kernel's layout and lives through the call.
    check(unsafe { libc::ioctl(root.as_raw_fd(), XFS_GEOMETRY, &raw mut geometry) })
        .map_err(failed("read the geometry of", "the file system"))?;
    Ok(geometry.groups)
}
