//! The initramfs role: modules, the root image, and over to it.
//!
//! The root image lies in the initramfs itself. An erofs image is mounted straight from the file where the kernel can
//! (6.12 and later, unless the initramfs is a tmpfs, which cannot back it); otherwise a loop device stands in between.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use corten_sys::Kernel;
use corten_sys::loopdev::{LoopDevice, LoopOptions};
use corten_sys::modules::{self, ModuleIndex};
use corten_sys::mount::{self, Mount, MountFlags, Mounts};

use crate::log::{Log, Severity, chain};
use crate::{Place, mounts};

/// One module name or alias a line; `#` begins a comment.
const MODULES_LIST: &str = "/etc/corten/modules-load";
const NEW_ROOT: &str = "/sysroot";
const IMAGES: [(&str, &str); 2] = [("/rootfs.erofs", "erofs"), ("/rootfs.sqsh", "squashfs")];
/// Mounts that go along.
const MOVED: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// Does its work and becomes `/sbin/init` of the root; returns only what stood in the way.
pub fn run() -> String {
    match enter_root() {
        Ok(never) => match never {},
        Err(failure) => format!("cannot start from the initramfs: {failure}"),
    }
}

fn enter_root() -> Result<std::convert::Infallible, String> {
    mounts::mount_basic().map_err(|error| chain(&error))?;
    let mut log = Log::open(Place::OwnKernel);
    load_modules(&mut log);
    let (image, fstype) = IMAGES
        .into_iter()
        .find(|(image, _)| Path::new(image).exists())
        .ok_or_else(|| "there is no root image".to_owned())?;
    mount_image(image, fstype, &mut log)?;
    for path in MOVED {
        let target = Path::new(NEW_ROOT).join(path.trim_start_matches('/'));
        Kernel.move_mount(Path::new(path), &target).map_err(|error| chain(&error))?;
    }
    free_memory();
    mount::switch_root(Path::new(NEW_ROOT)).map_err(|error| chain(&error))?;
    let program = c"/sbin/init".to_owned();
    let error = corten_sys::process::exec(&program, std::slice::from_ref(&program), &environment());
    Err(format!("cannot execute /sbin/init: {error}"))
}

fn load_modules(log: &mut Log) {
    let folder = Path::new("/lib/modules").join(corten_sys::sysctl::kernel_release());
    let Ok(wanted) = fs::read_to_string(MODULES_LIST) else { return };
    let index = match ModuleIndex::read(&folder) {
        Ok(index) => index,
        Err(error) => return log.failure("kernel modules", &error),
    };
    for name in wanted.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Err(error) = modules::load(&Kernel, &index, name, "") {
            // A list serves many machines: a missing device's driver may refuse to load.
            log.write(Severity::Warning, &chain(&error));
        }
    }
}

fn mount_image(image: &str, fstype: &str, log: &mut Log) -> Result<(), String> {
    // The new root's mount point is on a fresh filesystem; if it cannot be made, mounting says so.
    let _ = fs::create_dir(NEW_ROOT);
    let mount = Mount::pseudo(fstype, NEW_ROOT).flags(MountFlags::RDONLY | MountFlags::NODEV);
    if fstype == "erofs" && Kernel.mount(&mount.clone().source(image)).is_ok() {
        log.info(&format!("root is {image}, mounted from the file"));
        return Ok(());
    }
    let file = File::open(image).map_err(|error| format!("cannot open {image}: {error}"))?;
    let options = LoopOptions { read_only: true, ..LoopOptions::default() };
    let device = LoopDevice::attach(file.as_fd(), options).map_err(|error| chain(&error))?;
    Kernel.mount(&mount.source(device.path().to_string_lossy())).map_err(|error| chain(&error))?;
    log.info(&format!("root is {image} on {}", device.path().display()));
    Ok(())
}

/// Deletes the initramfs. The image's blocks stay for as long as it is mounted; everything else was only needed until
/// here, and memory is all that the initramfs is made of.
fn free_memory() {
    let Ok(root) = fs::metadata("/") else { return };
    delete_below(Path::new("/"), root.dev());
}

/// Deletes what is on the same filesystem. Failures are no loss but memory.
fn delete_below(folder: &Path, device: u64) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.dev() != device {
            continue;
        }
        if metadata.is_dir() {
            delete_below(&path, device);
            let _ = fs::remove_dir(&path);
        } else {
            let _ = fs::remove_file(&path);
        }
    }
}

/// What the kernel gave us, for the next program.
fn environment() -> Vec<CString> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend(value.into_vec());
            CString::new(entry).ok()
        })
        .collect()
}
