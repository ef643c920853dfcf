//! The mount tree of a container machine, built in its own mount namespace before its root is entered.
//!
//! The machine gets fresh views of the kernel (`proc`, `sysfs`), devices that are nobody's (`/dev/null` and the like,
//! no disk of the host), and kernel parameters of its own network only: the few others that the kubelet insists on
//! writing are plain files.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use corten_sys::Kernel;
use corten_sys::mount::{Depth, Mount, MountFlags, Mounts, Propagation, pivot_root};

use super::ContainerSpec;
use super::groups::HostGroups;

/// Devices of the host that have no state.
const DEVICES: [&str; 9] = ["null", "zero", "full", "random", "urandom", "tty", "kmsg", "fuse", "net/tun"];
const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
/// Kernel-wide parameters that the kubelet writes at start, with the values it wants.
const FAKE_PARAMETERS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];
const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Builds the tree and makes it the root of this process.
pub fn enter(spec: &ContainerSpec, groups: &HostGroups) -> Result<()> {
    Kernel.propagate(Path::new("/"), Propagation::Private, Depth::Recursive)?;
    let tree = Tree { root: make_folder(spec.folder.join("root"))? };
    Kernel.bind(&spec.rootfs, &tree.root, Depth::Single)?;
    Kernel.remount_bind(&tree.root, MountFlags::RDONLY)?;
    tree.mount(Mount::pseudo("proc", "proc").flags(SAFE))?;
    tree.mount(Mount::pseudo("sysfs", "sys").flags(SAFE))?;
    tree.mount_groups(groups)?;
    // After the groups: only this mount becomes read-only, not what is mounted on it.
    Kernel.remount_bind(&tree.at("sys"), SAFE | MountFlags::RDONLY)?;
    tree.make_devices()?;
    tree.mount(Mount::pseudo("tmpfs", "run").flags(SAFE).options("mode=0755"))?;
    tree.mount(Mount::pseudo("tmpfs", "tmp").flags(SAFE).options("mode=1777,size=64m"))?;
    tree.mount(Mount::pseudo("tmpfs", "system").flags(SAFE).options("mode=0755"))?;
    fs::create_dir(tree.at("system/state")).context("cannot make system/state")?;
    if spec.disk.is_none() {
        tree.bind(&make_folder(spec.folder.join("var"))?, "var")?;
        tree.bind(&make_folder(spec.folder.join("state"))?, "system/state")?;
    }
    tree.protect_parameters(&make_folder(spec.folder.join("sysctl"))?)?;
    for bind in &spec.binds {
        let target = bind.machine.to_string_lossy();
        // What is missing on a fresh tmpfs is made; what is missing in the root fails at the mount.
        let _ = if bind.host.is_dir() {
            fs::create_dir_all(tree.at(&target))
        } else {
            File::create(tree.at(&target)).map(drop)
        };
        tree.bind(&bind.host, &target)?;
        if bind.read_only {
            Kernel.remount_bind(&tree.at(&target), MountFlags::RDONLY)?;
        }
    }
    Ok(pivot_root(&tree.root)?)
}

struct Tree {
    root: PathBuf,
}

impl Tree {
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn mount(&self, mut mount: Mount) -> Result<()> {
        mount.target = self.root.join(&mount.target);
        Ok(Kernel.mount(&mount)?)
    }

    fn bind(&self, host: &Path, target: &str) -> Result<()> {
        Ok(Kernel.bind(host, &self.at(target), Depth::Single)?)
    }

    fn mount_groups(&self, groups: &HostGroups) -> Result<()> {
        let folder = "sys/fs/cgroup";
        let HostGroups::Legacy(hierarchies) = groups else {
            return self.mount(Mount::pseudo("cgroup2", folder).flags(SAFE));
        };
        self.mount(Mount::pseudo("tmpfs", folder).flags(SAFE).options("mode=0755"))?;
        for hierarchy in hierarchies {
            let target = format!("{folder}/{}", hierarchy.name);
            make_folder(self.at(&target))?;
            let options = hierarchy.options.as_str();
            self.mount(Mount::pseudo("cgroup", target).flags(SAFE).options(options))?;
        }
        Kernel.remount_bind(&self.at(folder), SAFE | MountFlags::RDONLY)?;
        Ok(())
    }

    fn make_devices(&self) -> Result<()> {
        self.mount(Mount::pseudo("tmpfs", "dev").flags(MountFlags::NOSUID).options("mode=0755,size=1m"))?;
        for folder in ["pts", "shm", "mqueue", "net"] {
            make_folder(self.at("dev").join(folder))?;
        }
        let devices = DEVICES.iter().filter(|device| Path::new("/dev").join(device).exists());
        for device in devices {
            let target = format!("dev/{device}");
            File::create(self.at(&target)).with_context(|| format!("cannot make {target}"))?;
            self.bind(&Path::new("/dev").join(device), &target)?;
        }
        for (link, target) in LINKS {
            symlink(target, self.at("dev").join(link)).with_context(|| format!("cannot make dev/{link}"))?;
        }
        let terminals = "newinstance,mode=0620,gid=5,ptmxmode=0666";
        let no_programs = MountFlags::NOSUID | MountFlags::NOEXEC;
        self.mount(Mount::pseudo("devpts", "dev/pts").flags(no_programs).options(terminals))?;
        let no_devices = MountFlags::NOSUID | MountFlags::NODEV;
        self.mount(Mount::pseudo("tmpfs", "dev/shm").flags(no_devices).options("mode=1777"))?;
        self.mount(Mount::pseudo("mqueue", "dev/mqueue").flags(SAFE))
    }

    /// Everything below `/proc/sys` read-only but the network, which has a namespace; files over what must be writable.
    fn protect_parameters(&self, files: &Path) -> Result<()> {
        for path in ["proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus"] {
            let target = self.at(path);
            if target.exists() {
                Kernel.bind(&target, &target, Depth::Single)?;
                Kernel.remount_bind(&target, SAFE | MountFlags::RDONLY)?;
            }
        }
        let network = self.at("proc/sys/net");
        Kernel.bind(&network, &network, Depth::Single)?;
        Kernel.remount_bind(&network, SAFE)?;
        for (name, value) in FAKE_PARAMETERS {
            let target = format!("proc/sys/{name}");
            if self.at(&target).exists() {
                let file = files.join(name.replace('/', "."));
                fs::write(&file, format!("{value}\n"))
                    .with_context(|| format!("cannot write {}", file.display()))?;
                self.bind(&file, &target)?;
            }
        }
        Ok(())
    }
}

fn make_folder(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}
