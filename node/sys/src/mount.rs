//! Mounting, binding, moving, pivoting, unmounting.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{self, MountPropagationFlags, UnmountFlags};

pub use rustix::mount::MountFlags;

use crate::error::failed;
use crate::mountinfo::{self, MountEntry};
use crate::{Kernel, Result};

/// One filesystem to mount.
#[derive(Clone, Debug, PartialEq)]
pub struct Mount {
    /// Device, image file or a word for the mount table.
    pub source: String,
    /// Where.
    pub target: PathBuf,
    /// Filesystem type.
    pub fstype: String,
    /// Flags such as `nosuid`.
    pub flags: MountFlags,
    /// Options of the filesystem, comma-separated.
    pub options: String,
}

impl Mount {
    /// A mount without flags and options whose source is its type, as for `proc`.
    pub fn pseudo(fstype: &str, target: impl Into<PathBuf>) -> Self {
        Self {
            source: fstype.into(),
            target: target.into(),
            fstype: fstype.into(),
            flags: MountFlags::empty(),
            options: String::new(),
        }
    }

    /// With flags.
    #[must_use]
    pub fn flags(mut self, flags: MountFlags) -> Self {
        self.flags = flags;
        self
    }

    /// With options.
    #[must_use]
    pub fn options(mut self, options: impl Into<String>) -> Self {
        self.options = options.into();
        self
    }

    /// With a source.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }
}

/// How far a bind or propagation change reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The one mount.
    Single,
    /// With everything mounted below.
    Recursive,
}

/// How mount events spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Not at all.
    Private,
    /// Both ways.
    Shared,
    /// Only from the peer to us.
    Slave,
}

/// How insistent an unmount is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmount {
    /// Fails while in use.
    Plain,
    /// Detaches now, finishes when the last user is gone.
    Lazy,
    /// Aborts requests to a dead server.
    Force,
}

/// Space of a mounted filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Size in bytes.
    pub total_bytes: u64,
    /// Free bytes, reserved ones included.
    pub free_bytes: u64,
    /// Bytes an unprivileged process may still write.
    pub available_bytes: u64,
}

/// The mount table and its changes.
pub trait Mounts: Send + Sync {
    /// Mounts a filesystem.
    fn mount(&self, mount: &Mount) -> Result<()>;
    /// Makes `source` visible at `target` as well.
    fn bind(&self, source: &Path, target: &Path, depth: Depth) -> Result<()>;
    /// Changes the flags of a filesystem and all its mounts.
    fn remount(&self, target: &Path, flags: MountFlags, options: &str) -> Result<()>;
    /// Changes the flags of one mount point only, as for a read-only bind.
    fn remount_bind(&self, target: &Path, flags: MountFlags) -> Result<()>;
    /// Moves a mount.
    fn move_mount(&self, source: &Path, target: &Path) -> Result<()>;
    /// Changes propagation.
    fn propagate(&self, target: &Path, propagation: Propagation, depth: Depth) -> Result<()>;
    /// Unmounts; a symlink at the target is not followed.
    fn unmount(&self, target: &Path, how: Unmount) -> Result<()>;
    /// Space of the filesystem at `path`.
    fn usage(&self, path: &Path) -> Result<Usage>;
    /// The mount table of this process, in the order of mounting.
    fn table(&self) -> Result<Vec<MountEntry>>;
}

impl Mounts for Kernel {
    fn mount(&self, request: &Mount) -> Result<()> {
        let target = request.target.display();
        let options = CString::new(request.options.as_str()).map_err(failed("mount", &target))?;
        let data = (!request.options.is_empty()).then_some(options.as_c_str());
        mount::mount(&request.source, &request.target, &request.fstype, request.flags, data)
            .map_err(failed("mount", format_args!("{} ({}) at {target}", request.source, request.fstype)))
    }

    fn bind(&self, source: &Path, target: &Path, depth: Depth) -> Result<()> {
        match depth {
            Depth::Single => mount::mount_bind(source, target),
            Depth::Recursive => mount::mount_bind_recursive(source, target),
        }
        .map_err(failed("bind", format_args!("{} at {}", source.display(), target.display())))
    }

    fn remount(&self, target: &Path, flags: MountFlags, options: &str) -> Result<()> {
        let data = CString::new(options).map_err(failed("remount", target.display()))?;
        mount::mount_remount(target, flags, data.as_c_str()).map_err(failed("remount", target.display()))
    }

    fn remount_bind(&self, target: &Path, flags: MountFlags) -> Result<()> {
        mount::mount_remount(target, flags | MountFlags::BIND, c"")
            .map_err(failed("change the flags of", target.display()))
    }

    fn move_mount(&self, source: &Path, target: &Path) -> Result<()> {
        mount::mount_move(source, target)
            .map_err(failed("move the mount", format_args!("{} to {}", source.display(), target.display())))
    }

    fn propagate(&self, target: &Path, propagation: Propagation, depth: Depth) -> Result<()> {
        let mut flags = match propagation {
            Propagation::Private => MountPropagationFlags::PRIVATE,
            Propagation::Shared => MountPropagationFlags::SHARED,
            Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
        };
        if depth == Depth::Recursive {
            flags |= MountPropagationFlags::REC;
        }
        mount::mount_change(target, flags).map_err(failed("change the propagation of", target.display()))
    }

    fn unmount(&self, target: &Path, how: Unmount) -> Result<()> {
        let flags = match how {
            Unmount::Plain => UnmountFlags::empty(),
            Unmount::Lazy => UnmountFlags::DETACH,
            Unmount::Force => UnmountFlags::FORCE,
        };
        mount::unmount(target, flags | UnmountFlags::NOFOLLOW).map_err(failed("unmount", target.display()))
    }

    fn usage(&self, path: &Path) -> Result<Usage> {
        let found = rustix::fs::statvfs(path).map_err(failed("measure the filesystem at", path.display()))?;
        Ok(Usage {
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
            free_bytes: found.f_bfree.saturating_mul(found.f_frsize),
            available_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        })
    }

    fn table(&self) -> Result<Vec<MountEntry>> {
        // A thread may be in a mount namespace of its own.
        mountinfo::read(Path::new("/proc/thread-self/mountinfo"))
    }
}

/// Makes `new_root` the root of this mount namespace and detaches the old one. `new_root` must be a mount point.
pub fn pivot_root(new_root: &Path) -> Result<()> {
    let action = "make the new root";
    rustix::process::chdir(new_root).map_err(failed(action, new_root.display()))?;
    // Both on the same directory: the old root is stacked on the new one and can be unmounted by "." right after.
    rustix::process::pivot_root(".", ".").map_err(failed(action, new_root.display()))?;
    mount::unmount(".", UnmountFlags::DETACH).map_err(failed("detach", "the old root"))?;
    rustix::process::chdir("/").map_err(failed(action, new_root.display()))
}

/// Moves the mount `new_root` over `/` and changes root into it: what an initramfs does, whose own root cannot be
/// unmounted.
pub fn switch_root(new_root: &Path) -> Result<()> {
    let action = "switch to the root";
    rustix::process::chdir(new_root).map_err(failed(action, new_root.display()))?;
    mount::mount_move(".", "/").map_err(failed(action, new_root.display()))?;
    rustix::process::chroot(".").map_err(failed(action, new_root.display()))?;
    rustix::process::chdir("/").map_err(failed(action, new_root.display()))
}

/// Whether `path` is the root of a mount: its device or its mount id differs from its parent's.
pub fn is_mount_point(path: &Path) -> bool {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
    rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Makes every mount of this namespace read-only for whoever is in it; others keep their view.
pub fn make_all_read_only() -> Result<()> {
    set_read_only(c"/").map_err(failed("make read-only", "all mounts"))
}

/// The async-signal-safe core of [`make_all_read_only`].
pub(crate) fn set_read_only(root: &std::ffi::CStr) -> std::io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        attr_set: u64,
        attr_clr: u64,
        propagation: u64,
        userns_fd: u64,
    }
    const MOUNT_ATTR_RDONLY: u64 = 1;
    const AT_RECURSIVE: libc::c_uint = 0x8000;
    let attributes = MountAttr { attr_set: MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is NUL-terminated and the structure has the layout and size told to the kernel; both live
    // through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            root.as_ptr(),
            AT_RECURSIVE,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    crate::ffi::check(result).map(drop)
}
