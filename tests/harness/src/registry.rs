//! The machines of this work tree, one file each, so that another process can find and end them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use corten_sys::procfs;
use corten_sys::signal::{self, number};
use serde::{Deserialize, Serialize};

use crate::forward::Forward;
use crate::status::{Status, write_atomically};
use crate::wait::wait_for;

/// A folder of machine files, by custom `target/machines`.
#[derive(Clone, Debug)]
pub struct Registry {
    folder: PathBuf,
}

/// A running machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name of the machine.
    pub name: String,
    /// What kind it is.
    pub kind: Kind,
    /// The machine's folder: status, logs, disks.
    pub folder: PathBuf,
    /// Process id of the launcher.
    pub launcher_pid: u32,
    /// Start of the launcher in ticks since boot: with its id it identifies the launcher for good.
    pub launcher_start_ticks: u64,
    /// Address in the lab's network, if it has one of its own there.
    pub address: Option<std::net::Ipv4Addr>,
    /// Ports on the host's loopback that lead to the machine.
    pub forwards: Vec<Forward>,
}

/// Kind of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Namespaces on this kernel.
    Container,
    /// An emulated computer.
    Qemu,
    /// No machine: the manager of machines.
    Fleet,
}

impl Entry {
    /// Whether the launcher is alive.
    pub fn is_alive(&self) -> bool {
        procfs::is_same_process(self.launcher_pid, self.launcher_start_ticks)
    }

    /// What the launcher says about the machine.
    pub fn status(&self) -> Option<Status> {
        Status::read(&self.folder)
    }
}

impl Registry {
    /// A registry in this folder, which need not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// All machines whose launchers are alive, by name. Files of dead ones are removed.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.with_context(|| format!("cannot list {}", self.folder.display()))?,
        };
        let mut found = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read(&path) {
                Some(entry) if entry.is_alive() => found.push(entry),
                // Nobody needs the file of a dead machine; if it stays, it is passed over again.
                _ => drop(std::fs::remove_file(&path)),
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The machine of that name, if it is alive.
    pub fn find(&self, name: &str) -> Result<Option<Entry>> {
        Ok(self.list()?.into_iter().find(|entry| entry.name == name))
    }

    /// Ends a machine: asks it to power off, and takes it away after `grace` in any case.
    pub fn down(&self, name: &str, grace: Duration) -> Result<()> {
        let Some(entry) = self.find(name)? else { bail!("there is no machine `{name}`") };
        stop_launcher(entry.launcher_pid, entry.launcher_start_ticks, grace)?;
        // The launcher removes the file too; whoever comes second finds it gone.
        let _ = std::fs::remove_file(self.path(name));
        Ok(())
    }

    pub(crate) fn add(&self, entry: &Entry) -> Result<()> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        write_atomically(&self.path(&entry.name), &serde_json::to_vec_pretty(entry)?)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }
}

fn read(path: &Path) -> Option<Entry> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Asks a launcher to end its machine in order. A launcher that is still there after `grace` and the time it takes to
/// clean up is killed, and the kernel takes the machine's namespaces with it.
pub(crate) fn stop_launcher(pid: u32, start_ticks: u64, grace: Duration) -> Result<()> {
    const CLEANUP_MAX: Duration = Duration::from_secs(20);
    let is_gone = || (!procfs::is_same_process(pid, start_ticks)).then_some(());
    if is_gone().is_some() {
        return Ok(());
    }
    if !grace.is_zero() {
        signal::send(pid, number::TERMINATE)?;
        if wait_for("the launcher", grace, String::new, is_gone).is_ok() {
            return Ok(());
        }
    }
    // Another signal, not the same once more: equal ones that are pending become one.
    signal::send(pid, number::HANGUP)?;
    wait_for("the launcher to clean up", CLEANUP_MAX, String::new, is_gone).or_else(|_| {
        signal::send(pid, number::KILL)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_the_living_and_forgets_the_dead() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new(folder.path().join("machines"));
        assert!(registry.list().unwrap().is_empty());
        let pid = std::process::id();
        let alive = Entry {
            name: "alive".into(),
            kind: Kind::Container,
            folder: folder.path().into(),
            launcher_pid: pid,
            launcher_start_ticks: procfs::process_stat(pid).unwrap().start_ticks,
            address: None,
            forwards: Vec::new(),
        };
        let dead = Entry { name: "dead".into(), launcher_start_ticks: 1, ..alive.clone() };
        registry.add(&alive).unwrap();
        registry.add(&dead).unwrap();
        assert_eq!(registry.list().unwrap(), [alive]);
        assert!(!registry.path("dead").exists());
        assert!(registry.down("dead", Duration::ZERO).is_err());
    }
}
