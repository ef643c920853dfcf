//! The root file system of a machine: our programs, the container runtime, a few of Debian's.
//!
//! There is no shell, no set-user-id file and nothing that the world may write; [`crate::audit`]
//! holds that. Files under `/etc` that machined renders are placeholders to bind over, because the
//! root is read-only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use corten_base::paths;

use crate::debian::Debian;
use crate::modules::Kernel;
use crate::profile::{Flavour, Profile};
use crate::tree::Tree;

/// Where the programs of an image are on the building host.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Our `init`.
    pub init: PathBuf,
    /// Our multi-call binary.
    pub machined: PathBuf,
    /// Our `dataplane`.
    pub dataplane: PathBuf,
    /// Folder with containerd and its shim.
    pub containerd: PathBuf,
    /// Folder with runc.
    pub runc: PathBuf,
    /// Folder with the CNI plugins.
    pub cni: PathBuf,
    /// Unpacked Debian packages with udev, file system tools and certificates.
    pub base: PathBuf,
    /// Unpacked kernel package; a container image has none.
    pub kernel: Option<PathBuf>,
    /// Unpacked tools of the building host.
    pub tools: PathBuf,
}

/// Names under which the multi-call binary acts.
pub const MULTICALL: &[&str] = &["apid", "trustd"];

/// Folders that other file systems are mounted on, or that programs expect to be there.
const FOLDERS: &[&str] = &[
    "boot/EFI",
    "dev",
    "etc/cni/net.d",
    "etc/containerd",
    "etc/cri/conf.d",
    "etc/kubernetes",
    "etc/udev/rules.d",
    "opt/cni/bin",
    "proc",
    "run",
    "sys",
    "system",
    "tmp",
    "usr/etc",
    "usr/lib/firmware",
    "usr/lib/modules",
    "usr/local/etc/containers",
    "usr/local/lib/containers",
    "usr/share/spdx",
    "var",
];

/// Links of a merged `/usr` and of old names.
const LINKS: &[(&str, &str)] = &[
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("etc/os-release", "../usr/lib/os-release"),
    ("etc/mtab", "../proc/self/mounts"),
    ("etc/localtime", "../usr/share/zoneinfo/UTC"),
    ("etc/ssl/cert.pem", "certs/ca-certificates.crt"),
];

/// Files that machined binds its own over.
const PLACEHOLDERS: &[&str] =
    &["etc/hosts", "etc/resolv.conf", "etc/hostname", "etc/machine-id", "etc/nfsmount.conf"];

/// Debian's programs in the root.
const PROGRAMS: &[&str] = &[
    "usr/bin/udevadm",
    "usr/lib/udev/ata_id",
    "usr/lib/udev/cdrom_id",
    "usr/lib/udev/scsi_id",
    "usr/bin/kmod",
    "usr/sbin/nft",
    "usr/sbin/mkfs.xfs",
    "usr/sbin/xfs_growfs",
    "usr/sbin/xfs_repair",
    "usr/sbin/mke2fs",
    "usr/sbin/e2fsck",
    "usr/sbin/resize2fs",
    "usr/sbin/mkfs.fat",
    "usr/sbin/fsck.fat",
    "usr/sbin/lvm",
    "usr/sbin/dmsetup",
    "usr/sbin/mdadm",
];

/// How lvm works on a machine: its root cannot be written, and nothing runs in the background for it.
const LVM_CONF: &str = "\
backup {
\tbackup = 0
\tarchive = 0
}
activation {
\tmonitoring = 0
}
global {
\tuse_lvmpolld = 0
}
devices {
\tuse_devicesfile = 0
}
report {
\tmark_hidden_devices = 0
}
";

/// Libraries that programs load by name while they run.
const LOADED: &[&str] =
    &["libkmod.so.2", "libacl.so.1", "libcap.so.2", "libmount.so.1", "liblzma.so.5", "libzstd.so.1"];

/// Other names of Debian's programs.
const ALIASES: &[(&str, &str)] = &[
    ("usr/lib/systemd/systemd-udevd", "../../bin/udevadm"),
    ("usr/sbin/modprobe", "../bin/kmod"),
    ("usr/sbin/mkfs.ext4", "mke2fs"),
    ("usr/sbin/fsck.ext4", "e2fsck"),
    ("usr/sbin/mkfs.vfat", "mkfs.fat"),
    ("usr/sbin/fsck.vfat", "fsck.fat"),
];

/// udev rules for hardware that a node has no use for, or that call a shell.
const RULES_LEFT_OUT: &[&str] = &[
    "60-autosuspend.rules",
    "60-fido-id.rules",
    "60-persistent-alsa.rules",
    "60-persistent-v4l.rules",
    "60-dmi-id.rules",
    "60-sensor.rules",
    "70-camera.rules",
    "70-joystick.rules",
    "70-memory.rules",
    "70-mouse.rules",
    "70-touchpad.rules",
    "75-probe_mtd.rules",
    "78-sound-card.rules",
    "81-net-dhcp.rules",
    "90-iocost.rules",
    "96-e2scrub.rules",
    "60-persistent-storage-mtd.rules",
    "69-md-clustered-confirm-device.rules",
];

/// A planned root.
#[derive(Clone, Debug)]
pub struct Root {
    /// Its files.
    pub tree: Tree,
    /// Files taken from Debian packages; the bill of materials names those packages.
    pub taken: BTreeSet<String>,
    /// Kernel, unless the host brings it.
    pub kernel: Option<Kernel>,
}

/// Plans the root of a profile; `scratch` is an empty folder.
///
/// # Errors
/// When a part is missing.
pub fn plan(profile: &Profile, parts: &Parts, scratch: &Path) -> Result<Root> {
    let mut tree = Tree::default();
    skeleton(&mut tree, profile);
    own_programs(&mut tree, parts)?;
    let mut base = Debian::new(parts.base.clone(), profile.arch);
    debian(&mut tree, &mut base)?;
    let mut kernel = None;
    if let Some(package) = &parts.kernel {
        let found = Kernel::find(package)?;
        found.install(&mut tree, profile.flavour.modules(), &parts.tools, scratch)?;
        kernel = Some(found);
    }
    if profile.flavour == Flavour::Container {
        tree.file("usr/etc/in-container", 0o444, Vec::new());
    }
    Ok(Root { tree, taken: base.taken().clone(), kernel })
}

fn skeleton(tree: &mut Tree, profile: &Profile) {
    for folder in FOLDERS {
        tree.folder(folder);
    }
    for (path, target) in LINKS {
        tree.link(path, target);
    }
    for path in PLACEHOLDERS {
        tree.file(path, 0o644, Vec::new());
    }
    tree.file("usr/lib/os-release", 0o444, profile.os_release());
    tree.file("etc/passwd", 0o444, passwd()).file("etc/group", 0o444, group());
    tree.file("etc/nsswitch.conf", 0o444, "passwd: files\ngroup: files\nhosts: files dns\n");
}

/// The users that services run as; nobody can log in.
fn users() -> Vec<(&'static str, u32)> {
    vec![
        ("root", 0),
        ("apid", paths::APID_UID),
        ("trustd", paths::TRUSTD_UID),
        ("dataplane", paths::DATAPLANE_UID),
        ("etcd", paths::ETCD_UID),
        ("nobody", 65534),
    ]
}

fn passwd() -> String {
    users().iter().map(|(name, id)| format!("{name}:x:{id}:{id}::/:/nologin\n")).collect()
}

/// Groups: those of the users, and those that Debian's udev rules give devices to.
fn group() -> String {
    let devices = [
        ("tty", 5),
        ("disk", 6),
        ("lp", 7),
        ("dialout", 20),
        ("cdrom", 24),
        ("tape", 26),
        ("audio", 29),
        ("video", 44),
        ("kmem", 15),
        ("input", 101),
        ("render", 102),
        ("sgx", 103),
        ("kvm", 104),
    ];
    users().into_iter().chain(devices).map(|(name, id)| format!("{name}:x:{id}:\n")).collect()
}

fn own_programs(tree: &mut Tree, parts: &Parts) -> Result<()> {
    tree.copy("usr/sbin/init", 0o755, existing(&parts.init)?);
    tree.copy("usr/bin/machined", 0o755, existing(&parts.machined)?);
    tree.copy("usr/bin/dataplane", 0o755, existing(&parts.dataplane)?);
    for name in MULTICALL {
        tree.link(&format!("usr/bin/{name}"), "machined");
    }
    for name in ["containerd", "containerd-shim-runc-v2"] {
        tree.copy(&format!("usr/bin/{name}"), 0o755, existing(&parts.containerd.join(name))?);
    }
    tree.copy("usr/bin/runc", 0o755, existing(&parts.runc.join("runc"))?);
    for name in ["bridge", "firewall", "flannel", "host-local", "loopback", "portmap"] {
        tree.copy(&format!("opt/cni/bin/{name}"), 0o755, existing(&parts.cni.join(name))?);
    }
    Ok(())
}

fn existing(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("`{}` was not built", path.display()))
}

fn debian(tree: &mut Tree, base: &mut Debian) -> Result<()> {
    for program in PROGRAMS {
        base.program(tree, program)?;
    }
    for library in LOADED {
        base.program(tree, &format!("usr/lib/{}/{library}", base.multiarch()))?;
    }
    for (path, target) in ALIASES {
        tree.link(path, target);
    }
    for name in base.list("usr/lib/udev/rules.d")? {
        if !RULES_LEFT_OUT.contains(&name.as_str()) {
            base.file(tree, &format!("usr/lib/udev/rules.d/{name}"))?;
        }
    }
    for name in base.list("usr/lib/systemd/network")? {
        if name.ends_with(".link") {
            base.file(tree, &format!("usr/lib/systemd/network/{name}"))?;
        }
    }
    base.file(tree, "usr/share/zoneinfo/UTC")?;
    base.file(tree, "etc/mke2fs.conf")?;
    base.file(tree, "usr/share/misc/pci.ids")?;
    tree.file("etc/lvm/lvm.conf", 0o444, LVM_CONF);
    tree.file("etc/ssl/certs/ca-certificates.crt", 0o444, certificates(base)?);
    Ok(())
}

/// Mozilla's certificate authorities in one file.
///
/// # Errors
/// When the package is missing.
pub fn certificates(base: &Debian) -> Result<String> {
    let folder = "usr/share/ca-certificates/mozilla";
    let mut bundle = String::new();
    for name in base.list(folder)? {
        let path = base.path().join(folder).join(&name);
        bundle.push_str(
            &std::fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))?,
        );
    }
    Ok(bundle)
}
