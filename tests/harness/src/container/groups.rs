//! Control groups of a container machine on the host: one of its own in every hierarchy, so that it sees itself as the
//! root and its limits and removal are in one place.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use corten_sys::cgroup::{create_in, remove_tree};
use corten_sys::mountinfo;

use crate::wait::wait_for;

/// One hierarchy with the machine's group in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Name of its folder below `/sys/fs/cgroup`: `cpu`, `systemd`.
    pub name: String,
    /// Mount options that give the same hierarchy again.
    pub options: String,
    /// The machine's group on the host.
    pub group: PathBuf,
}

/// The machine's groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostGroups {
    /// The host has v2 only.
    Unified(PathBuf),
    /// The host has v1 controllers, and so has the machine: hierarchies are the kernel's, not a namespace's.
    Legacy(Vec<Hierarchy>),
}

impl HostGroups {
    /// Makes the groups.
    pub fn create(machine: &str) -> Result<Self> {
        let own = std::fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
        let mounts = mountinfo::read("/proc/self/mountinfo".as_ref())?;
        let name = format!("corten-{machine}");
        let legacy = legacy_hierarchies(&own, &mounts, &name);
        if legacy.is_empty() {
            let root = mounts
                .iter()
                .find(|mount| mount.fstype == "cgroup2")
                .context("no control groups are mounted")?;
            create_in(&root.target, &name, true)?;
            return Ok(Self::Unified(root.target.join(name)));
        }
        for hierarchy in &legacy {
            let parent = hierarchy.group.parent().context("a group has a parent")?;
            create_in(parent, &name, false)?;
        }
        Ok(Self::Legacy(legacy))
    }

    /// Moves a process in.
    pub fn join(&self, pid: u32) -> Result<()> {
        for group in self.groups() {
            let file = group.join("cgroup.procs");
            std::fs::write(&file, pid.to_string())
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }

    /// Removes the groups. The last processes of a machine that just ended need a moment to leave.
    pub fn remove(&self) -> Result<()> {
        const LEAVE_MAX: Duration = Duration::from_secs(10);
        for group in self.groups() {
            let what = format!("{} to become empty", group.display());
            wait_for(&what, LEAVE_MAX, String::new, || remove_tree(group).ok())?;
        }
        Ok(())
    }

    fn groups(&self) -> Vec<&PathBuf> {
        match self {
            Self::Unified(group) => vec![group],
            Self::Legacy(hierarchies) => hierarchies.iter().map(|hierarchy| &hierarchy.group).collect(),
        }
    }
}

/// The v1 hierarchies that are mounted, with a group below the one that this process is in.
fn legacy_hierarchies(own: &str, mounts: &[mountinfo::MountEntry], name: &str) -> Vec<Hierarchy> {
    let parse = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let mount = mounts.iter().find(|mount| {
            let has = |controller: &str| mount.super_options.split(',').any(|option| option == controller);
            mount.fstype == "cgroup" && !controllers.is_empty() && controllers.split(',').all(has)
        })?;
        let options = match controllers.strip_prefix("name=") {
            Some(_) => format!("none,{controllers}"),
            None => controllers.to_owned(),
        };
        let folder = controllers.strip_prefix("name=").unwrap_or(controllers);
        let group = mount.target.join(path.trim_start_matches('/')).join(name);
        Some(Hierarchy { name: folder.to_owned(), options, group })
    };
    own.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_named_and_nested_hierarchies() {
        let mounts = mountinfo::parse(
            "1 0 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             2 0 0:2 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
             3 0 0:3 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        );
        let found =
            legacy_hierarchies("4:memory:/a/b\n3:pids:/\n2:name=systemd:/\n0::/\n", &mounts, "corten-x");
        let texts: Vec<_> = found
            .iter()
            .map(|one| (one.name.as_str(), one.options.as_str(), one.group.to_str().unwrap()))
            .collect();
        assert_eq!(
            texts,
            [
                ("memory", "memory", "/sys/fs/cgroup/memory/a/b/corten-x"),
                ("systemd", "none,name=systemd", "/sys/fs/cgroup/systemd/corten-x"),
            ]
        );
    }
}
