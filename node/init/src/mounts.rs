//! What is mounted before anything runs, as a table.

use std::path::Path;

use corten_sys::Kernel;
use corten_sys::mount::{Depth, Mount, MountFlags, Mounts, Propagation, is_mount_point};

use crate::Place;
use crate::log::Log;

/// One row.
struct Row {
    mount: Mount,
    /// Whether a container machine has it too; what concerns the kernel itself is the host's.
    in_container: bool,
}

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const NO_DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// The pseudo filesystems that both roles need.
pub fn basic() -> Vec<Mount> {
    vec![
        Mount::pseudo("proc", "/proc").flags(SAFE),
        Mount::pseudo("sysfs", "/sys").flags(SAFE),
        Mount::pseudo("devtmpfs", "/dev").flags(MountFlags::NOSUID).options("mode=0755"),
        Mount::pseudo("tmpfs", "/run").flags(SAFE).options("mode=0755"),
    ]
}

/// Everything of a machine, in order. Rows whose target does not exist in the image or the kernel are passed over.
fn table() -> Vec<Row> {
    let everywhere = |mount| Row { mount, in_container: true };
    let own_kernel = |mount| Row { mount, in_container: false };
    let mut rows: Vec<Row> = basic().into_iter().map(everywhere).collect();
    rows.extend(
        [
            Mount::pseudo("devpts", "/dev/pts")
                .flags(MountFlags::NOSUID.union(MountFlags::NOEXEC))
                .options("mode=0620,gid=5,ptmxmode=0666"),
            Mount::pseudo("tmpfs", "/dev/shm").flags(NO_DEVICES).options("mode=1777"),
            Mount::pseudo("mqueue", "/dev/mqueue").flags(SAFE),
            Mount::pseudo("tmpfs", "/system").flags(SAFE).options("mode=0755"),
            Mount::pseudo("tmpfs", "/tmp").flags(SAFE).options("mode=1777,size=64m"),
            // Images in memory: they must neither fill /run nor take the memory that pods need.
            Mount::pseudo("tmpfs", "/run/system-containerd").flags(NO_DEVICES).options("mode=0711,size=25%"),
        ]
        .map(everywhere),
    );
    // Files below /etc that the image does not have need a place to be bound over; see `writable_etc`.
    let options = format!("lowerdir=/etc,upperdir={ETC_LAYERS}/upper,workdir={ETC_LAYERS}/work");
    let etc = Mount::pseudo("overlay", ETC_WRITABLE).flags(SAFE).options(options);
    rows.push(everywhere(etc));
    rows.extend(
        [
            Mount::pseudo("tmpfs", "/etc/cni").flags(SAFE).options("mode=0755"),
            Mount::pseudo("tmpfs", "/etc/cri").flags(SAFE).options("mode=0700"),
            Mount::pseudo("tmpfs", "/etc/kubernetes").flags(SAFE).options("mode=0755"),
        ]
        .map(everywhere),
    );
    rows.extend(
        [
            Mount::pseudo("cgroup2", "/sys/fs/cgroup").flags(SAFE).options("nsdelegate,memory_recursiveprot"),
            Mount::pseudo("bpf", "/sys/fs/bpf").flags(SAFE).options("mode=0700"),
            Mount::pseudo("securityfs", "/sys/kernel/security").flags(SAFE),
            Mount::pseudo("tracefs", "/sys/kernel/tracing").flags(SAFE),
            Mount::pseudo("debugfs", "/sys/kernel/debug").flags(SAFE),
            Mount::pseudo("selinuxfs", "/sys/fs/selinux").flags(MountFlags::NOSUID.union(MountFlags::NOEXEC)),
            Mount::pseudo("pstore", "/sys/fs/pstore").flags(SAFE),
            Mount::pseudo("efivarfs", "/sys/firmware/efi/efivars").flags(SAFE),
            Mount::pseudo("hugetlbfs", "/dev/hugepages").flags(NO_DEVICES),
        ]
        .map(own_kernel),
    );
    rows
}

/// Targets that no image has because they are made on a filesystem mounted by an earlier row.
const MADE: [&str; 6] =
    ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/hugepages", "/run/system-containerd", ETC_WRITABLE];

/// What the overlay over `/etc` keeps, in memory.
const ETC_LAYERS: &str = "/run/etc";
/// Where the overlay can be written; machined knows this place too.
const ETC_WRITABLE: &str = "/run/etc/merged";

/// Mounts the table. What the host or the initramfs mounted already is left as it is. A failure is logged and life goes
/// on: what needs the mount will say so.
pub fn mount_all(kernel: &dyn Mounts, place: Place, log: &mut Log) {
    for row in table() {
        let target = row.mount.target.as_path();
        if (place == Place::Container && !row.in_container) || is_mount_point(target) {
            continue;
        }
        if MADE.iter().any(|made| Path::new(made) == target) {
            // An existing folder is what is wanted; any other failure shows in the next line.
            let _ = std::fs::create_dir_all(target);
        }
        let is_etc = target == Path::new(ETC_WRITABLE);
        if is_etc {
            for layer in ["upper", "work"] {
                // A failure shows when the overlay is mounted.
                let _ = std::fs::create_dir_all(Path::new(ETC_LAYERS).join(layer));
            }
        }
        if !target.is_dir() {
            continue;
        }
        let mounted = kernel.mount(&row.mount);
        let mounted = if is_etc { mounted.and_then(|()| writable_etc(kernel)) } else { mounted };
        if let Err(error) = mounted {
            log.failure("early mount", &error);
        }
    }
    // Pods and volumes mounted later must be seen by whoever gets a view of ours.
    if let Err(error) = kernel.propagate(Path::new("/"), Propagation::Shared, Depth::Recursive) {
        log.failure("early mount", &error);
    }
}

/// Shows the overlay at `/etc`, where nobody can write. Only who knows its other place makes new files in it. What the host
/// of a container has mounted there stays visible.
fn writable_etc(kernel: &dyn Mounts) -> corten_sys::Result<()> {
    let etc = Path::new("/etc");
    for entry in kernel.table()? {
        if let Some(inside) = entry.target.strip_prefix(etc).ok().filter(|inside| *inside != Path::new("")) {
            kernel.bind(&entry.target, &Path::new(ETC_WRITABLE).join(inside), Depth::Single)?;
        }
    }
    kernel.bind(Path::new(ETC_WRITABLE), etc, Depth::Recursive)?;
    kernel.remount_bind(etc, SAFE.union(MountFlags::RDONLY))
}

/// Mounts what the initramfs needs.
pub fn mount_basic() -> corten_sys::Result<()> {
    for mount in basic() {
        // The kernel's built-in initramfs has only /dev.
        let _ = std::fs::create_dir(&mount.target);
        if !is_mount_point(&mount.target) {
            Kernel.mount(&mount)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_what_is_mounted_on_them() {
        let rows = table();
        for (position, row) in rows.iter().enumerate() {
            let later = rows.iter().skip(position + 1);
            let is_shadowed = later.clone().any(|other| row.mount.target.starts_with(&other.mount.target));
            assert!(!is_shadowed, "{} is mounted before its parent", row.mount.target.display());
        }
    }

    #[test]
    fn a_container_gets_nothing_that_changes_the_host() {
        let kernel_wide = ["bpf", "securityfs", "tracefs", "debugfs", "selinuxfs", "pstore", "efivarfs"];
        for row in table().iter().filter(|row| row.in_container) {
            assert!(!kernel_wide.contains(&row.mount.fstype.as_str()), "{}", row.mount.fstype);
        }
    }
}
