//! From the first instruction to the moment when processes can be started.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use corten_sys::Kernel;
use corten_sys::cgroup::Cgroups;
use corten_sys::power::Power;
use corten_sys::process::raise_open_files;
use corten_sys::random;
use corten_sys::sysctl::Sysctls;

use crate::log::{Log, Severity};
use crate::{Place, groups, mounts};

const OPEN_FILES: u64 = 1_048_576;
/// Consoles show notices, as which machined tells its progress, and what is worse; the kernel command line's `quiet` is
/// meant for the kernel's own start.
const CONSOLE_LEVEL: &str = "6";
/// A device that gives random numbers has given enough after so long.
const RANDOM_MAX: Duration = Duration::from_secs(3);

/// Folders of the machine with their modes.
const FOLDERS: [(&str, u32); 12] = [
    ("/run/init", 0o700),
    ("/run/log", 0o755),
    ("/run/lock", 0o755),
    ("/run/dataplane", 0o755),
    ("/system/state", 0o700),
    ("/system/run", 0o755),
    ("/system/run/machined", 0o755),
    ("/system/run/apid", 0o755),
    ("/system/run/trustd", 0o755),
    ("/system/etc", 0o755),
    ("/system/secrets", 0o700),
    ("/system/config", 0o700),
];

/// Prepares the machine and gives back its control groups, if it has any.
pub fn prepare(place: Place, log: &mut Log) -> Option<Cgroups> {
    mounts::mount_all(&Kernel, place, log);
    for (path, mode) in FOLDERS {
        if let Err(error) = make_folder(Path::new(path), mode) {
            log.failure(&format!("cannot make {path}"), &error);
        }
    }
    if place == Place::OwnKernel {
        if let Err(error) = Kernel.set_ctrl_alt_del_signals_init() {
            log.failure("ctrl-alt-del", &error);
        }
        if let Err(error) = Kernel.write("kernel.printk", CONSOLE_LEVEL) {
            log.failure("console", &error);
        }
        await_random_numbers(log);
    }
    raise_open_files(OPEN_FILES);
    match Cgroups::detect(Path::new("/sys/fs/cgroup")) {
        Ok(cgroups) => {
            groups::create_all(&cgroups, log);
            Some(cgroups)
        }
        Err(error) => {
            log.failure("control groups", &error);
            None
        }
    }
}

/// All that comes makes keys, and waits for the kernel without a word as long as it has no random numbers. Firmware and
/// processors give them at once; who has neither shall hear what the machine waits for.
fn await_random_numbers(log: &mut Log) {
    match random::wait(RANDOM_MAX) {
        Ok(true) => {}
        Ok(false) => log.write(
            Severity::Error,
            "the kernel has no random numbers yet, and nothing starts before it has: neither firmware nor processor \
             (RDRAND) gives any; give this machine such a processor or a virtio-rng device",
        ),
        Err(error) => log.failure("random numbers", &error),
    }
}

fn make_folder(path: &Path, mode: u32) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}
