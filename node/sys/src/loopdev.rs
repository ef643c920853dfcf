//! Loop devices: a file as a block device.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use crate::Result;
use crate::error::failed;
use crate::ffi::check;

const LOOP_CLR_FD: libc::Ioctl = 0x4C01;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_PARTSCAN: u32 = 8;

/// A free device may be taken by someone else between asking and configuring; this often is enough for anyone.
const ATTEMPTS_MAX: usize = 16;

/// `struct loop_info64`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// How a file is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopOptions {
    /// Not writable.
    pub read_only: bool,
    /// Look for partitions.
    pub scan_partitions: bool,
    /// Logical block size; 0 is the kernel's default of 512.
    pub block_size_bytes: u32,
}

/// An attached device. It detaches itself when its last user (this handle, a mount) is gone.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    file: File,
}

impl LoopDevice {
    /// Attaches `backing` to a free loop device.
    pub fn attach(backing: BorrowedFd<'_>, options: LoopOptions) -> Result<Self> {
        let action = "attach a loop device to";
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/loop-control")
            .map_err(failed("open", "/dev/loop-control"))?;
        let config = configuration(backing, options);
        let mut attempt = 0;
        loop {
            attempt += 1;
            // SAFETY: the request takes no argument; the descriptor is open.
            let number = check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })
                .map_err(failed("find", "a free loop device"))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let file = OpenOptions::new()
                .read(true)
                .write(!options.read_only)
                .open(&path)
                .map_err(failed("open", path.display()))?;
            // SAFETY: the structure has the kernel's layout and lives through the call; both descriptors are open.
            match check(unsafe { libc::ioctl(file.as_raw_fd(), LOOP_CONFIGURE, &raw const config) }) {
                Ok(_) => return Ok(Self { path, file }),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && attempt < ATTEMPTS_MAX => {}
                Err(error) => return Err(failed(action, "the file")(error)),
            }
        }
    }

    /// Path of the block device.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Detaches now; fails while mounted.
    pub fn detach(self) -> Result<()> {
        // SAFETY: the request takes no argument; the descriptor is open.
        check(unsafe { libc::ioctl(self.file.as_raw_fd(), LOOP_CLR_FD) })
            .map(drop)
            .map_err(failed("detach", self.path.display()))
    }
}

fn configuration(backing: BorrowedFd<'_>, options: LoopOptions) -> LoopConfig {
    let mut flags = LO_FLAGS_AUTOCLEAR;
    if options.read_only {
        flags |= LO_FLAGS_READ_ONLY;
    }
    if options.scan_partitions {
        flags |= LO_FLAGS_PARTSCAN;
    }
    let info = LoopInfo {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
    let fd = u32::try_from(backing.as_raw_fd()).unwrap_or(u32::MAX);
    LoopConfig { fd, block_size: options.block_size_bytes, info, reserved: [0; 8] }
}
