//! Which kernel modules go where, and the indexes beside them.
//!
//! Modules stay compressed as Debian ships them; the kernel inflates them itself. The indexes are
//! depmod's, made for exactly the modules that are in the image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::tool::Tool;
use crate::tree::Tree;

/// Files that depmod wants to see and that the root carries along.
const GIVEN: &[&str] = &["modules.builtin", "modules.builtin.modinfo", "modules.order"];

/// Modules and the kernel of an unpacked kernel package.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// The kernel itself.
    pub image: PathBuf,
    folder: PathBuf,
    files: BTreeSet<String>,
}

impl Kernel {
    /// The one kernel of an unpacked package tree.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub fn find(tree: &Path) -> Result<Self> {
        let all = tree.join("usr/lib/modules");
        let releases = names(&all)?;
        let [release] = releases.as_slice() else {
            bail!("`{}` has {} kernels", tree.display(), releases.len())
        };
        let folder = all.join(release);
        let mut files = BTreeSet::new();
        walk(&folder, "kernel", &mut files)?;
        Ok(Self {
            image: tree.join(format!("boot/vmlinuz-{release}")),
            release: release.clone(),
            folder,
            files,
        })
    }

    /// Puts the modules that the rules allow, with all they depend on and with their indexes, into
    /// a tree; `scratch` is an empty folder on the same host.
    ///
    /// # Errors
    /// When depmod fails.
    pub fn install(&self, tree: &mut Tree, rules: &str, tools: &Path, scratch: &Path) -> Result<()> {
        let everything = self.depmod(&self.files, tools, &scratch.join("all"))?;
        let dependencies = parse_dependencies(&fs::read_to_string(everything.join("modules.dep"))?);
        let chosen = with_dependencies(&dependencies, |path| allows(rules, path));
        let indexes = self.depmod(&chosen, tools, &scratch.join("chosen"))?;
        let base = format!("usr/lib/modules/{}", self.release);
        for path in &chosen {
            tree.copy(&format!("{base}/{path}"), 0o644, self.folder.join(path));
        }
        for name in names(&indexes)? {
            if name.starts_with("modules.") {
                let bytes = fs::read(indexes.join(&name)).with_context(|| format!("reading `{name}`"))?;
                tree.file(&format!("{base}/{name}"), 0o644, bytes);
            }
        }
        Ok(())
    }

    /// Makes the indexes of these modules below `stage` and returns their folder.
    fn depmod(&self, modules: &BTreeSet<String>, tools: &Path, stage: &Path) -> Result<PathBuf> {
        let folder = stage.join("lib/modules").join(&self.release);
        for path in modules {
            stage_file(&self.folder.join(path), &folder.join(path))?;
        }
        for name in GIVEN {
            stage_file(&self.folder.join(name), &folder.join(name))?;
        }
        let mut depmod = Tool::new(tools, "usr/bin/kmod", "depmod");
        depmod.command().arg("-b").arg(stage).arg(&self.release);
        depmod.run()?;
        Ok(folder)
    }

    /// A module's file on this host.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The modules with these names and all they depend on, each after what it depends on, with
    /// those dependencies. Names that are built in are left out.
    ///
    /// # Errors
    /// When a module is neither in `tree` nor built in.
    pub fn load_order(&self, tree: &Tree, wanted: &[&str]) -> Result<Vec<(String, Vec<String>)>> {
        let dependencies = parse_dependencies(&self.index(tree, "modules.dep")?);
        let builtin: BTreeSet<String> =
            self.index(tree, "modules.builtin")?.lines().map(module_name).collect();
        let mut order: Vec<(String, Vec<String>)> = Vec::new();
        for name in wanted {
            match dependencies.iter().find(|(path, _)| module_name(path) == *name) {
                Some((path, needs)) => {
                    for path in needs.iter().rev().chain([path]) {
                        if !order.iter().any(|(known, _)| known == path) {
                            order.push((path.clone(), dependencies.get(path).cloned().unwrap_or_default()));
                        }
                    }
                }
                None if builtin.contains(*name) => {}
                None => bail!("module `{name}` is not in the image"),
            }
        }
        Ok(order)
    }

    /// One of the module indexes in a tree.
    ///
    /// # Errors
    /// When the tree does not have it.
    pub fn index(&self, tree: &Tree, name: &str) -> Result<String> {
        let path = format!("usr/lib/modules/{}/{name}", self.release);
        let node = tree.get(&path).with_context(|| format!("`{path}` is not in the tree"))?;
        let mut bytes = Vec::new();
        node.stream(&mut bytes)?;
        Ok(String::from_utf8(bytes)?)
    }
}

/// Whether the last rule that matches the path allows it.
fn allows(rules: &str, path: &str) -> bool {
    let mut allowed = false;
    for line in rules.lines() {
        match line.split_once(' ') {
            Some(("+", prefix)) if path.starts_with(prefix) => allowed = true,
            Some(("-", prefix)) if path.starts_with(prefix) => allowed = false,
            _ => {}
        }
    }
    allowed
}

/// `modules.dep`: each module's path and the paths of all it depends on.
fn parse_dependencies(text: &str) -> BTreeMap<String, Vec<String>> {
    let line = |line: &str| {
        let (path, needs) = line.split_once(':')?;
        Some((path.to_owned(), needs.split_whitespace().map(str::to_owned).collect()))
    };
    text.lines().filter_map(line).collect()
}

/// The modules that are wanted and all they depend on.
fn with_dependencies(
    dependencies: &BTreeMap<String, Vec<String>>,
    wanted: impl Fn(&str) -> bool,
) -> BTreeSet<String> {
    let chosen = dependencies.iter().filter(|(path, _)| wanted(path));
    chosen.flat_map(|(path, needs)| needs.iter().chain([path])).cloned().collect()
}

/// Name that the kernel gives to the module in this file.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

fn stage_file(source: &Path, target: &Path) -> Result<()> {
    fs::create_dir_all(target.parent().context("a staged file has a folder")?)?;
    if fs::hard_link(source, target).is_err() {
        fs::copy(source, target).with_context(|| format!("staging `{}`", source.display()))?;
    }
    Ok(())
}

fn walk(base: &Path, below: &str, found: &mut BTreeSet<String>) -> Result<()> {
    for name in names(&base.join(below))? {
        let path = format!("{below}/{name}");
        if base.join(&path).is_dir() {
            walk(base, &path, found)?;
        } else if name.contains(".ko") {
            found.insert(path);
        }
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("listing `{}`", folder.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_matching_rule_decides() {
        let rules = "# words\n+ kernel/\n- kernel/sound/\n+ kernel/sound/core/\n";
        for (path, expected) in [
            ("kernel/fs/xfs.ko", true),
            ("kernel/sound/usb.ko", false),
            ("kernel/sound/core/snd.ko", true),
            ("else", false),
        ] {
            assert_eq!(allows(rules, path), expected, "{path}");
        }
    }

    #[test]
    fn names_and_dependencies_are_the_kernels() {
        assert_eq!(module_name("kernel/drivers/net/virtio-net.ko.xz"), "virtio_net");
        let parsed = parse_dependencies("a.ko: b.ko c.ko\nb.ko:\n");
        assert_eq!(parsed["a.ko"], ["b.ko", "c.ko"]);
        assert!(parsed["b.ko"].is_empty());
        let chosen = with_dependencies(&parsed, |path| path == "a.ko");
        assert_eq!(chosen.len(), 3, "a module brings what it depends on");
    }
}
