//! The floor's images: our root without our programs, with a shell and a script instead.
//!
//! ```text
//! target/image/FLAVOUR/rootfs ─ our programs + busybox + script ─▶ rootfs ─▶ squashfs ─▶ initramfs ─▶ UKI ─▶ disk
//! target/image/FLAVOUR/images ─ some of the images, a tar for each stage + kubelet, kubectl, etcd, ctr ─▶ IMAGECACHE
//! ```
//!
//! The result has the names of `cargo xtask image`'s, so that machines are started from it as from ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use corten_base::Arch;
use corten_e2e::Mode;
use corten_image_builder::disk::{self, Partition};
use corten_image_builder::modules::Kernel;
use corten_image_builder::root::MULTICALL;
use corten_image_builder::squashfs::{self, Effort};
use corten_image_builder::{Flavour, Profile, Tree, archive, esp, initramfs, uki};
use corten_image_kit::{Kit, Made};

use super::images;
use super::papers::Stage;

/// Scripts of the floor, from the root of the repository.
const SCRIPTS: &str = "bench/floor";
/// Programs of the kit that a machine without our programs needs besides.
const COMPONENTS: &[&str] = &["debian/busybox", "clients/ctr", "kubernetes", "etcd"];
/// Those that a disk image is made with and from.
const BOOT_COMPONENTS: &[&str] = &["debian/build-tools", "debian/boot", "debian/kernel-cloud"];
/// busybox in an unpacked package.
const BUSYBOX: &str = "usr/bin/busybox";
/// Programs of busybox that the initramfs calls.
const EARLY: &[&str] = &["cat", "losetup", "modprobe", "mount", "sh", "switch_root"];
/// Programs of busybox that the script in the root calls, and what the kubelet calls to mount.
const LATE: &[&str] = &[
    "chmod", "chown", "cp", "grep", "ip", "killall", "ln", "mkdir", "mount", "mv", "nc", "poweroff", "rm",
    "sed", "sh", "sleep", "sync", "sysctl", "tar", "touch", "umount", "wget",
];
/// Where they are in the root: what is Debian's there stays.
const LATE_FOLDER: &str = "usr/lib/floor";
/// Room for EPHEMERAL on the disk, which a machine of ours makes as large as the disk lets it.
const EPHEMERAL_SIZE: u64 = 6 << 30;

/// Where to build from and to.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Kind of machine.
    pub mode: Mode,
    /// Root of the repository.
    pub repository: &'a Path,
    /// Folder with our image of that kind.
    pub image: &'a Path,
    /// Images that the floor imports, in the order of its boot.
    pub images: &'a [(Stage, BTreeSet<String>)],
    /// Folder to write to, which is emptied.
    pub target: &'a Path,
}

/// Builds the floor's image.
pub fn build(plan: &Plan<'_>, kit: &Kit) -> Result<()> {
    let rootfs = plan.image.join("rootfs");
    ensure!(
        rootfs.is_dir(),
        "there is no image in {}: run `cargo xtask image {}`",
        plan.image.display(),
        plan.mode.flavour()
    );
    super::empty(plan.target)?;
    let made = kit.make(COMPONENTS)?;
    let scripts = plan.repository.join(SCRIPTS);
    let busybox = part(&made, "debian/busybox")?.tree().join(BUSYBOX);
    let root = root(Tree::of_folder(&rootfs)?, &busybox, &scripts.join("init"));
    let cache = cache(&archives(plan)?, &made)?;
    match plan.mode {
        Mode::Container => {
            root.write_folder(&plan.target.join("rootfs"))?;
            cache.write_folder(&plan.target.join("images"))
        }
        Mode::Qemu => disk(plan, &kit.make(BOOT_COMPONENTS)?, &root, &cache, &busybox),
    }
}

fn part<'a>(made: &'a BTreeMap<String, Made>, name: &str) -> Result<&'a Made> {
    made.get(name).with_context(|| format!("the kit did not make `{name}`"))
}

/// The root: ours without our programs.
fn root(mut ours: Tree, busybox: &Path, script: &Path) -> Tree {
    for program in MULTICALL.iter().chain(&["machined", "dataplane"]) {
        ours.remove(&format!("usr/bin/{program}"));
    }
    ours.remove("usr/share/spdx");
    ours.copy("usr/sbin/init", 0o755, script);
    busybox_at(&mut ours, LATE_FOLDER, busybox, LATE);
    ours
}

fn busybox_at(tree: &mut Tree, folder: &str, busybox: &Path, names: &[&str]) {
    tree.copy(&format!("{folder}/busybox"), 0o755, busybox);
    for name in names {
        tree.link(&format!("{folder}/{name}"), "busybox");
    }
}

/// Writes one archive of images for each stage. What an earlier one has brought is in containerd's store by then.
fn archives(plan: &Plan<'_>) -> Result<Vec<PathBuf>> {
    let (layout, mut brought) = (plan.image.join("images"), BTreeSet::new());
    let mut all = Vec::new();
    for (stage, names) in plan.images {
        let mut tree = images::subset(&layout, names)?;
        let blobs: Vec<String> =
            tree.iter().map(|(path, _)| path.to_owned()).filter(|path| images::is_blob(path)).collect();
        for blob in blobs {
            if brought.contains(&blob) {
                tree.remove(&blob);
            }
            brought.insert(blob);
        }
        let path = plan.target.join(stage.archive());
        let file = fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        archive::tar(&tree, std::io::BufWriter::new(file))?;
        all.push(path);
    }
    Ok(all)
}

/// What lies beside the root: the images, and the programs that ours takes out of images.
fn cache(archives: &[PathBuf], made: &BTreeMap<String, Made>) -> Result<Tree> {
    let mut tree = Tree::default();
    for archive in archives {
        let name = archive.file_name().and_then(|name| name.to_str()).context("an archive has a name")?;
        tree.copy(name, 0o444, archive);
    }
    tree.copy("bin/kubernetes", 0o755, part(made, "kubernetes")?.program("kubernetes"));
    for name in ["kubelet", "kubectl"] {
        tree.link(&format!("bin/{name}"), "kubernetes");
    }
    tree.copy("bin/etcd", 0o755, part(made, "etcd")?.program("etcd"));
    tree.copy("bin/ctr", 0o755, part(made, "clients/ctr")?.program("ctr"));
    Ok(tree)
}

/// The disk, with the kernel, command line, stub and boot loader of ours.
fn disk(
    plan: &Plan<'_>,
    made: &BTreeMap<String, Made>,
    root: &Tree,
    cache: &Tree,
    busybox: &Path,
) -> Result<()> {
    let tools = part(made, "debian/build-tools")?.tree();
    let kernel = Kernel::find(&part(made, "debian/kernel-cloud")?.tree())?;
    let image = plan.target.join("root.sqsh");
    squashfs::write(root, &tools, Effort::Small, &image)?;
    let script = plan.repository.join(SCRIPTS).join("initramfs");
    let mut early = initramfs::plan(&script, &image, &kernel, root)?;
    busybox_at(&mut early, "bin", busybox, EARLY);
    let mut initrd = Vec::new();
    archive::cpio(&early, &mut initrd)?;
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let profile = Profile::new(Flavour::Cloud, Arch::current());
    let efi = part(made, "debian/boot")?.tree().join("usr/lib/systemd/boot/efi");
    let unified = uki::assemble(uki::Parts {
        stub: read(&efi.join("linuxx64.efi.stub"))?,
        linux: read(&plan.image.join("vmlinuz"))?,
        initrd,
        cmdline: String::from_utf8(read(&plan.image.join("cmdline"))?)
            .context("the command line is not text")?,
        os_release: profile.os_release(),
        uname: kernel.release.clone(),
    })?;
    let (system, boot) = (plan.target.join("esp.img"), read(&efi.join("systemd-bootx64.efi"))?);
    let (size, loader) = (profile.esp_mib << 20, esp::loader(&profile));
    esp::write(&system, size, 1, &esp::plan(&profile, &boot, &unified, &loader))?;
    let contents = plan.target.join("imagecache.sqsh");
    squashfs::write(cache, &tools, Effort::Quick, &contents)?;
    let partitions = partitions(system, contents)?;
    disk::write(&plan.target.join("disk.raw"), "floor", &partitions)
}

/// The partitions of a machine of ours after its first boot, without STATE. The script knows their numbers.
fn partitions(system: PathBuf, cache: PathBuf) -> Result<Vec<Partition>> {
    let size = |path: &Path| Ok::<_, std::io::Error>(fs::metadata(path)?.len());
    let linux = |label, size, contents| Partition { label, kind: disk::LINUX_DATA, size, contents };
    let (system_size, cache_size) = (size(&system)?, size(&cache)?);
    Ok(vec![
        Partition { label: "EFI", kind: disk::EFI_SYSTEM, size: system_size, contents: Some(system) },
        linux("META", disk::META_SIZE, None),
        linux("IMAGECACHE", cache_size, Some(cache)),
        linux("EPHEMERAL", EPHEMERAL_SIZE, None),
    ])
}

#[cfg(test)]
mod tests {
    use corten_image_builder::oci::{Config, Layout};

    use super::*;

    const SCRIPT: &str = include_str!("../../floor/init");
    const INITRAMFS: &str = include_str!("../../floor/initramfs");

    #[test]
    fn our_programs_are_gone_and_a_script_is_init() {
        let mut ours = Tree::default();
        ours.file("usr/sbin/init", 0o755, "init").file("usr/bin/machined", 0o755, "machined");
        ours.link("usr/bin/apid", "machined").file("usr/bin/containerd", 0o755, "containerd");
        let root = root(ours, Path::new("/busybox"), Path::new("/script"));
        for gone in ["usr/bin/machined", "usr/bin/apid"] {
            assert!(root.get(gone).is_none(), "{gone}");
        }
        let init = root.get("usr/sbin/init").map(|node| &node.content);
        assert_eq!(init, Some(&corten_image_builder::tree::Content::Copy("/script".into())));
        assert!(root.get("usr/bin/containerd").is_some() && root.get("usr/lib/floor/sh").is_some());
    }

    #[test]
    fn the_scripts_are_run_by_a_shell_that_is_there() {
        assert!(SCRIPT.starts_with(&format!("#!/{LATE_FOLDER}/sh\n")));
        assert!(INITRAMFS.starts_with("#!/bin/sh\n"));
        let is_used = |script: &str, name: &&str| script.split_whitespace().any(|word| word == *name);
        let unused = |script, names: &[&'static str]| -> Vec<&str> {
            names
                .iter()
                .copied()
                .filter(|name| !["sh", "umount"].contains(name) && !is_used(script, name))
                .collect()
        };
        assert_eq!(unused(SCRIPT, LATE), Vec::<&str>::new());
        assert!(unused(INITRAMFS, EARLY).iter().all(|name| *name == "cat"));
    }

    #[test]
    fn a_blob_is_in_the_archive_of_the_first_stage_that_needs_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (image, target) = (folder.path().join("image"), folder.path().join("target"));
        fs::create_dir_all(&target).expect("a folder");
        let mut layout = Layout::begin(&image.join("images"), Arch::Amd64).expect("a layout");
        let mut tree = Tree::default();
        tree.file("program", 0o755, "for both");
        let shared = layout.layer(&tree).expect("a layer");
        for name in ["a", "b"] {
            tree.file(name, 0o644, name);
            let layers = [shared.clone(), layout.layer(&tree).expect("a layer")];
            layout.image(&[format!("test/{name}:1")], &layers, &Config::default()).expect("an image");
        }
        layout.finish().expect("an index");
        let names = |name: &str| BTreeSet::from([name.to_owned()]);
        let images = [(Stage::ControlPlane, names("test/a:1")), (Stage::Pods, names("test/b:1"))];
        let repository = folder.path();
        let plan =
            Plan { mode: Mode::Container, repository, image: &image, images: &images, target: &target };
        let blobs: Vec<usize> = archives(&plan)
            .expect("archives")
            .iter()
            .map(|archive| String::from_utf8_lossy(&fs::read(archive).expect("an archive")).into_owned())
            // Each header has its file's path.
            .map(|text| text.matches("blobs/sha256/").count())
            .collect();
        assert_eq!(blobs, [4, 3], "manifest, configuration and layers; the shared layer once");
    }

    #[test]
    fn the_script_imports_the_images_of_every_stage() {
        for stage in Stage::ALL {
            let name = stage.archive();
            let name = name.strip_suffix(".tar").expect("an archive");
            assert!(SCRIPT.contains(&format!("    import_images {name}\n")), "{name}");
        }
    }

    #[test]
    fn the_script_tells_every_phase_that_nobody_sees_from_outside() {
        use super::super::timeline::Phase;
        for phase in [Phase::Containerd, Phase::Etcd] {
            assert!(SCRIPT.contains(&format!("say {}", phase.name())), "{}", phase.name());
        }
        assert!(SCRIPT.contains("say userspace") && INITRAMFS.contains("floor: userspace"));
    }
}
