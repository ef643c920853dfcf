//! What the builder writes, judged by Debian's own tools.
//!
//! A component that was not made on this host is not made here: the test then says that it was
//! skipped, and `cargo xtask kit` makes it.

use std::path::Path;

use corten_base::Arch;
use corten_image_builder::disk::{self, META_SIZE, Partition};
use corten_image_builder::squashfs::{self, Effort};
use corten_image_builder::{Flavour, Profile, Tool, Tree, esp, uki};
use corten_image_kit::{Kit, Made};

/// The component, if it is in the cache.
fn component(name: &str) -> Option<Made> {
    let kit = Kit::open(Path::new(env!("CARGO_MANIFEST_DIR")), Arch::current()).expect("the cache opens");
    let made = kit.find(name).expect("the cache is readable");
    if made.is_none() {
        eprintln!("skipped: `{name}` is not in the kit's cache");
    }
    made
}

fn tool(made: &Made, path: &str, args: &[&str]) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut tool = Tool::new(&made.tree(), path, name);
    tool.command().args(args);
    tool.run().expect("the tool is content")
}

#[test]
fn a_disk_and_its_system_partition_are_sound() {
    let Some(tools) = component("debian/build-tools") else { return };
    let folder = tempfile::tempdir().expect("folder");
    let system = folder.path().join("esp");
    let profile = Profile::new(Flavour::Cloud, Arch::Amd64);
    let loader = esp::loader(&profile);
    let entries = esp::plan(&profile, &[1; 50_000], &[2; 3_000_000], &loader);
    esp::write(&system, 64 << 20, 7, &entries).expect("system partition");
    let disk = folder.path().join("disk");
    let partitions = [
        Partition { label: "EFI", kind: disk::EFI_SYSTEM, size: 64 << 20, contents: Some(system.clone()) },
        Partition { label: "META", kind: disk::LINUX_DATA, size: META_SIZE, contents: None },
    ];
    disk::write(&disk, "test", &partitions).expect("disk");

    let said = tool(&tools, "usr/sbin/sgdisk", &["-v", disk.to_str().expect("path")]);
    assert!(said.contains("No problems found"), "{said}");
    tool(&tools, "usr/sbin/fsck.fat", &["-n", system.to_str().expect("path")]);
    let listed = tool(&tools, "usr/bin/mdir", &["-i", system.to_str().expect("path"), "-/", "-b", "::"]);
    for entry in entries {
        assert!(listed.contains(&format!("::/{}", entry.path)), "{listed}");
    }
}

#[test]
fn two_roots_of_the_same_files_are_equal() {
    let Some(tools) = component("debian/build-tools") else { return };
    let folder = tempfile::tempdir().expect("folder");
    let mut tree = Tree::default();
    tree.file("usr/bin/a", 0o755, vec![3; 2_000_000]).link("bin", "usr/bin").folder("proc");
    for index in 0..50_u8 {
        tree.file(&format!("etc/{index}"), 0o644, vec![index; 1000]);
    }
    let images = [folder.path().join("a"), folder.path().join("b")];
    for image in &images {
        squashfs::write(&tree, &tools.tree(), Effort::Small, image).expect("squashfs");
    }
    let [one, two] = images.map(|image| std::fs::read(image).expect("image"));
    assert!(one == two, "bytes differ");
    assert!(one.starts_with(b"hsqs"));
}

#[test]
fn systemds_stub_takes_the_sections() {
    let Some(boot) = component("debian/boot") else { return };
    let stub = boot.tree().join("usr/lib/systemd/boot/efi/linuxx64.efi.stub");
    let parts = uki::Parts {
        stub: std::fs::read(stub).expect("stub"),
        linux: vec![1; 10_000],
        initrd: vec![2; 10_000],
        cmdline: "quiet".to_owned(),
        os_release: "ID=corten\n".to_owned(),
        uname: "6.12".to_owned(),
    };
    let (one, two) = (uki::assemble(parts.clone()).expect("image"), uki::assemble(parts).expect("image"));
    assert!(one == two, "bytes differ");
    for name in [".osrel", ".cmdline", ".uname", ".linux", ".initrd", ".sbat"] {
        assert!(one[..4096].windows(name.len()).any(|bytes| bytes == name.as_bytes()), "{name}");
    }
}
