//! The initramfs: init, the modules that the root needs, and the root itself as one file.
//!
//! ```text
//! /init                       our init
//! /rootfs.sqsh                the root
//! /lib/modules/RELEASE/…      modules with a `modules.dep` for exactly these
//! /etc/corten/modules-load    names of the modules to load
//! ```
//!
//! Nothing is compressed again: modules and root are compressed already, and the kernel unpacks a
//! plain archive fastest.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use crate::modules::Kernel;
use crate::tree::Tree;

/// Modules that are needed before the root is there, by init itself, and before there is a process that loads modules
/// for devices: machined makes keys, so a virtual machine has its random numbers (`virtio_rng`) before that.
pub const MODULES: &[&str] = &["loop", "squashfs", "erofs", "overlay", "efivarfs", "virtio_rng"];

/// Where the root image is.
pub const ROOT_IMAGE: &str = "rootfs.sqsh";

/// Plans the initramfs for a root whose modules are in `root`.
///
/// # Errors
/// When a module is missing.
pub fn plan(init: &Path, image: &Path, kernel: &Kernel, root: &Tree) -> Result<Tree> {
    let mut tree = Tree::default();
    for folder in ["dev", "proc", "sys", "run", "sysroot"] {
        tree.folder(folder);
    }
    tree.copy("init", 0o755, init);
    tree.copy(ROOT_IMAGE, 0o444, image);
    let base = format!("lib/modules/{}", kernel.release);
    let order = kernel.load_order(root, MODULES)?;
    let mut dependencies = String::new();
    for (path, needs) in &order {
        tree.copy(&format!("{base}/{path}"), 0o444, kernel.file(path));
        writeln!(dependencies, "{path}: {}", needs.join(" "))?;
    }
    tree.file(&format!("{base}/modules.dep"), 0o444, dependencies);
    tree.file(&format!("{base}/modules.builtin"), 0o444, kernel.index(root, "modules.builtin")?);
    tree.file("etc/corten/modules-load", 0o444, format!("{}\n", MODULES.join("\n")));
    Ok(tree)
}
