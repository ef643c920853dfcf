//! Taking single files out of unpacked Debian packages.
//!
//! A root gets the programs that are named, the libraries that those ask for, and nothing else of
//! a package. Set-user-id bits are dropped on the way.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use corten_base::Arch;

use crate::elf;
use crate::tree::Tree;

/// A tree of unpacked packages and what was taken from it.
#[derive(Debug)]
pub struct Debian {
    tree: PathBuf,
    arch: Arch,
    taken: BTreeSet<String>,
}

impl Debian {
    /// The packages unpacked at `tree`.
    #[must_use]
    pub fn new(tree: PathBuf, arch: Arch) -> Self {
        Self { tree, arch, taken: BTreeSet::new() }
    }

    /// Root of the unpacked packages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.tree
    }

    /// Paths taken so far; they tell which packages are in an image.
    #[must_use]
    pub fn taken(&self) -> &BTreeSet<String> {
        &self.taken
    }

    /// Takes a program or library under its own path, together with the libraries it asks for.
    ///
    /// # Errors
    /// When it or a library is missing.
    pub fn program(&mut self, root: &mut Tree, path: &str) -> Result<()> {
        self.file(root, path)?;
        let program = self.tree.join(path);
        for library in elf::closure(&self.tree, self.multiarch(), &[program])? {
            self.file(root, &library)?;
        }
        if root.get(self.loader()).is_none() {
            let loader = self.loader();
            self.file(root, loader)?;
        }
        Ok(())
    }

    /// Takes a file under its own path; of a link, what it points to.
    ///
    /// # Errors
    /// When it is missing.
    pub fn file(&mut self, root: &mut Tree, path: &str) -> Result<()> {
        let source = self.resolve(path)?;
        let mode = std::fs::metadata(&source)?.permissions().mode() & 0o755;
        root.copy(path, mode, &source);
        self.taken.insert(path.to_owned());
        if let Ok(real) = source.strip_prefix(&self.tree) {
            self.taken.insert(real.to_string_lossy().into_owned());
        }
        Ok(())
    }

    /// Files directly in a folder, by name.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn list(&self, folder: &str) -> Result<BTreeSet<String>> {
        let path = self.tree.join(folder);
        let mut names = BTreeSet::new();
        for entry in std::fs::read_dir(&path).with_context(|| format!("listing `{}`", path.display()))? {
            names.insert(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    /// The C library's name for the architecture's folder.
    #[must_use]
    pub const fn multiarch(&self) -> &'static str {
        match self.arch {
            Arch::Amd64 => "x86_64-linux-gnu",
            Arch::Arm64 => "aarch64-linux-gnu",
        }
    }

    const fn loader(&self) -> &'static str {
        match self.arch {
            Arch::Amd64 => "usr/lib64/ld-linux-x86-64.so.2",
            Arch::Arm64 => "usr/lib/ld-linux-aarch64.so.1",
        }
    }

    /// Follows links inside the tree; absolute ones start at its root.
    fn resolve(&self, path: &str) -> Result<PathBuf> {
        let mut place = self.tree.join(path);
        for _ in 0..8 {
            let kind =
                std::fs::symlink_metadata(&place).with_context(|| format!("no package brings `{path}`"))?;
            if !kind.is_symlink() {
                return place.canonicalize().with_context(|| format!("resolving `{}`", place.display()));
            }
            let target = std::fs::read_link(&place)?;
            place = match target.strip_prefix("/") {
                Ok(inside) => self.tree.join(inside),
                Err(_) => place.parent().unwrap_or(&self.tree).join(target),
            };
        }
        anyhow::bail!("`{path}` is a link without end")
    }
}
