//! Control groups: the unified hierarchy (v2), and what is left to a guest of a host with the old ones (v1).
//!
//! Paths are relative to the root that this process sees (`system/apid`). On a v1 host a group is made in every
//! mounted hierarchy, so that placement and accounting work; limits are written on v2 only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::failed;
use crate::{Error, Result};

/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2_MAGIC: u64 = 0x6367_7270;
/// Controllers that are switched on for sub-groups where the kernel has them.
const CONTROLLERS: [&str; 6] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];

/// The groups of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    layout: Layout,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Layout {
    Unified(PathBuf),
    /// One root per hierarchy, ordered by name.
    Legacy(Vec<PathBuf>),
}

/// Limits of a group; absent ones are left as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `memory.min`.
    pub memory_min_bytes: Option<u64>,
    /// `memory.low`.
    pub memory_low_bytes: Option<u64>,
    /// `memory.max`.
    pub memory_max_bytes: Option<u64>,
    /// `cpu.weight`.
    pub cpu_weight: Option<u32>,
}

impl Cgroups {
    /// Looks at what is mounted below `root`, usually `/sys/fs/cgroup`.
    pub fn detect(root: &Path) -> Result<Self> {
        let stat =
            rustix::fs::statfs(root).map_err(failed("inspect the control groups at", root.display()))?;
        if u64::try_from(stat.f_type).is_ok_and(|magic| magic == CGROUP2_MAGIC) {
            return Ok(Self { layout: Layout::Unified(root.to_owned()) });
        }
        let entries = fs::read_dir(root).map_err(failed("list the control groups at", root.display()))?;
        let mut roots: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| !path.is_symlink() && path.join("cgroup.procs").exists())
            .collect();
        roots.sort();
        Ok(Self { layout: Layout::Legacy(roots) })
    }

    /// Whether the machine has the unified hierarchy.
    pub fn is_unified(&self) -> bool {
        matches!(self.layout, Layout::Unified(_))
    }

    /// Switches the controllers on for all groups made below the root from now on. Nothing to do on v1.
    pub fn enable_controllers(&self) -> Result<()> {
        let Layout::Unified(root) = &self.layout else { return Ok(()) };
        enable_in(root)
    }

    /// Makes a group with its parents, controllers switched on all the way; an existing one is fine.
    pub fn create(&self, path: &str) -> Result<()> {
        for root in self.roots() {
            create_in(root, path, self.is_unified())?;
        }
        Ok(())
    }

    /// Writes limits. On v1 nothing is written.
    pub fn limit(&self, path: &str, limits: &Limits) -> Result<()> {
        let Layout::Unified(root) = &self.layout else { return Ok(()) };
        let values = [
            ("memory.min", limits.memory_min_bytes),
            ("memory.low", limits.memory_low_bytes),
            ("memory.max", limits.memory_max_bytes),
            ("cpu.weight", limits.cpu_weight.map(u64::from)),
        ];
        for (file, value) in values {
            if let Some(value) = value {
                write(&root.join(path).join(file), &value.to_string())?;
            }
        }
        Ok(())
    }

    /// Moves a process into a group.
    pub fn join(&self, path: &str, pid: u32) -> Result<()> {
        for root in self.roots() {
            write(&root.join(path).join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Opens the files through which a starting process puts itself into a group.
    pub fn open_for_join(&self, path: &str) -> Result<Vec<File>> {
        let open = |root: &Path| {
            let file = root.join(path).join("cgroup.procs");
            OpenOptions::new().write(true).open(&file).map_err(failed("open", file.display()))
        };
        self.roots().map(open).collect()
    }

    /// Processes in a group and below it.
    pub fn processes(&self, path: &str) -> Result<Vec<u32>> {
        let Some(root) = self.roots().next() else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        collect_processes(&root.join(path), &mut found)?;
        Ok(found)
    }

    /// Ends every process in a group and below it at once, those that start meanwhile too. On v1 nobody can do that.
    pub fn kill(&self, path: &str) -> Result<()> {
        match &self.layout {
            Layout::Unified(root) => write(&root.join(path).join("cgroup.kill"), "1"),
            Layout::Legacy(_) => {
                let unsupported = io::Error::from(io::ErrorKind::Unsupported);
                Err(Error::new("end", format!("the processes of {path} on old control groups"), unsupported))
            }
        }
    }

    /// Removes a group with everything below it; no process may be left in it. A missing group is fine.
    pub fn remove(&self, path: &str) -> Result<()> {
        for root in self.roots() {
            remove_tree(&root.join(path))?;
        }
        Ok(())
    }

    fn roots(&self) -> impl Iterator<Item = &Path> {
        match &self.layout {
            Layout::Unified(root) => std::slice::from_ref(root),
            Layout::Legacy(roots) => roots.as_slice(),
        }
        .iter()
        .map(PathBuf::as_path)
    }
}

/// Removes a group directory with its sub-groups, deepest first.
pub fn remove_tree(group: &Path) -> Result<()> {
    let entries = match fs::read_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result.map_err(failed("list the control group", group.display()))?,
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove the control group", group.display())(error))
        }
        _ => Ok(()),
    }
}

/// Makes a group below one hierarchy's root.
pub fn create_in(root: &Path, path: &str, unified: bool) -> Result<()> {
    let mut group = root.to_owned();
    for part in path.split('/') {
        if unified {
            enable_in(&group)?;
        }
        let parent = group.clone();
        group.push(part);
        match fs::create_dir(&group) {
            Ok(()) => inherit_cpuset(&parent, &group)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("make the control group", group.display())(error)),
        }
    }
    Ok(())
}

/// A new v1 cpuset is empty and nothing can join it until it has CPUs and memory nodes.
fn inherit_cpuset(parent: &Path, group: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let is_v1_cpuset = group.join("cgroup.clone_children").exists() && group.join(file).exists();
        if is_v1_cpuset {
            let from = parent.join(file);
            let value = fs::read_to_string(&from).map_err(failed("read", from.display()))?;
            write(&group.join(file), value.trim())?;
        }
    }
    if group.join("cpuset.cpus").exists() && group.join("cgroup.clone_children").exists() {
        write(&group.join("cgroup.clone_children"), "1")?;
    }
    Ok(())
}

fn enable_in(group: &Path) -> Result<()> {
    let path = group.join("cgroup.controllers");
    let available = fs::read_to_string(&path).map_err(failed("read", path.display()))?;
    let path = group.join("cgroup.subtree_control");
    for controller in CONTROLLERS {
        if available.split_whitespace().any(|name| name == controller) {
            write(&path, &format!("+{controller}"))?;
        }
    }
    Ok(())
}

fn collect_processes(group: &Path, found: &mut Vec<u32>) -> Result<()> {
    let path = group.join("cgroup.procs");
    let text = fs::read_to_string(&path).map_err(failed("read", path.display()))?;
    found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    let entries = fs::read_dir(group).map_err(failed("list the control group", group.display()))?;
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_processes(&entry.path(), found)?;
        }
    }
    Ok(())
}

fn write(path: &Path, value: &str) -> Result<()> {
    let result =
        OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(value.as_bytes()));
    result.map_err(|error| Error::new("write", format!("`{value}` to {}", path.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_hierarchies_is_a_legacy_layout_with_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let groups = Cgroups::detect(dir.path()).unwrap();
        assert!(!groups.is_unified());
        groups.create("system/apid").unwrap();
        assert!(groups.open_for_join("system/apid").unwrap().is_empty());
        assert!(groups.processes("system/apid").unwrap().is_empty());
    }

    #[test]
    fn legacy_groups_are_made_in_every_hierarchy_and_cpusets_filled() {
        let dir = tempfile::tempdir().unwrap();
        for hierarchy in ["cpu", "memory"] {
            fs::create_dir(dir.path().join(hierarchy)).unwrap();
            fs::write(dir.path().join(hierarchy).join("cgroup.procs"), "").unwrap();
        }
        let groups = Cgroups::detect(dir.path()).unwrap();
        groups.create("system/apid").unwrap();
        assert!(
            dir.path().join("cpu/system/apid").is_dir() && dir.path().join("memory/system/apid").is_dir()
        );
        groups.limit("system/apid", &Limits { cpu_weight: Some(5), ..Limits::default() }).unwrap();
        groups.remove("system").unwrap();
        groups.remove("system").unwrap();
        assert!(!dir.path().join("cpu/system").exists());
    }
}
