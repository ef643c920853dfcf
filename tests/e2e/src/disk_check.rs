//! The filesystems of a machine's disk, checked by the image's own checker after the machine is gone.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use corten_harness::LoopDisk;
use corten_sys::Kernel;
use corten_sys::mount::{Depth, Mount, Mounts, Propagation, Unmount};
use corten_sys::namespace::{Namespaces, unshare};

use crate::cx::say;
use crate::machine::MachineOptions;
use crate::tool::{Tool, USUAL};

/// Labels of the partitions with filesystems.
const FILESYSTEMS: [&str; 2] = ["STATE", "EPHEMERAL"];

/// Fails unless the checker finds nothing wrong with any filesystem, once its log is replayed as at every mount.
pub fn filesystems(options: &MachineOptions) -> Result<()> {
    let disk = LoopDisk::attach(&options.disk())?;
    let result = FILESYSTEMS.iter().try_for_each(|label| {
        let partition = disk.partitions.get(*label).with_context(|| format!("there is no {label}"))?;
        filesystem(options, partition, label)
    });
    disk.detach()?;
    result
}

fn filesystem(options: &MachineOptions, partition: &Path, label: &str) -> Result<()> {
    say(&format!("checking {label}"));
    replay_log(partition, &options.folder).with_context(|| format!("{label} cannot be mounted"))?;
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
