//! The filesystems of a machine's disk, checked by the image's own checker after the machine is gone.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use corten_harness::wait_for;
use corten_sys::Kernel;
use corten_sys::loopdev::{LoopDevice, LoopOptions};
use corten_sys::mount::{Depth, Mount, Mounts, Propagation, Unmount};
use corten_sys::namespace::{Namespaces, unshare};

use crate::cx::say;
use crate::machine::MachineOptions;
use crate::tool::{Tool, USUAL};

/// Labels of the partitions with filesystems.
const FILESYSTEMS: [&str; 2] = ["STATE", "EPHEMERAL"];

/// Fails unless the checker finds nothing wrong with any filesystem, once its log is replayed as at every mount.
pub fn filesystems(options: &MachineOptions) -> Result<()> {
    let disk = File::options().read(true).write(true).open(options.disk()).context("cannot open the disk")?;
    let scan = LoopOptions { scan_partitions: true, ..LoopOptions::default() };
    let device = LoopDevice::attach(disk.as_fd(), scan)?;
    let result = FILESYSTEMS.iter().try_for_each(|label| filesystem(options, device.path(), label));
    device.detach()?;
    result
}

fn filesystem(options: &MachineOptions, device: &Path, label: &str) -> Result<()> {
    let partition = wait_for(&format!("partition {label}"), Duration::from_secs(5), String::new, || {
        partition(device, label)
    })?;
    say(&format!("checking {label}"));
    replay_log(&partition, &options.folder).with_context(|| format!("{label} cannot be mounted"))?;
    let root = options.image.join("rootfs");
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    let loader = Tool::new(libraries.join("ld-linux-x86-64.so.2"), "xfs_repair");
    let (libraries, program) = (libraries.to_string_lossy(), root.join("usr/sbin/xfs_repair"));
    let checker = loader.with(["--library-path", &libraries, &program.to_string_lossy()]);
    checker.run_for(&["-n".as_ref(), partition.as_os_str()], USUAL).map(drop)
}

/// Mounts and unmounts a filesystem where nobody sees it: in a mount namespace that ends with its thread.
fn replay_log(partition: &Path, target: &Path) -> Result<()> {
    let work = || -> Result<()> {
        unshare(Namespaces::MOUNT)?;
        Kernel.propagate(Path::new("/"), Propagation::Private, Depth::Recursive)?;
        Kernel.mount(&Mount::pseudo("xfs", target).source(partition.to_string_lossy()))?;
        Ok(Kernel.unmount(target, Unmount::Plain)?)
    };
    let result = std::thread::scope(|scope| scope.spawn(work).join());
    result.map_err(|_| anyhow!("the thread that mounts has panicked"))?
}

/// The device of a partition of that label.
fn partition(device: &Path, label: &str) -> Option<PathBuf> {
    let name = device.file_name()?.to_str()?;
    let wanted = format!("PARTNAME={label}");
    for entry in std::fs::read_dir("/sys/class/block").ok()?.flatten() {
        let part = entry.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(entry.path().join("uevent")).unwrap_or_default();
        if part.starts_with(&format!("{name}p")) && text.lines().any(|line| line == wanted) {
            return Some(Path::new("/dev").join(part));
        }
    }
    None
}
