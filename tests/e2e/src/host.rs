//! Everything on a host that a machine could leave behind, by name, and what has changed between two looks.
//!
//! ```text
//! look (effects: /proc, /sys, folders) ─▶ Snapshot ─┐
//!                                                    ├─▶ changes (pure) ─▶ "the mount /x (tmpfs of none) was left"
//! look, later ────────────────────────▶ Snapshot ───┘
//! ```
//!
//! Files below the target and cache folders are allowed to stay and are not looked at. A process counts when its
//! ancestors lead to this program, or when it has lost its parent and is marked: it has our variable in its environment,
//! or lives in a process namespace of its own, as machines do.

mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// One kind of thing: how it is called, and how often each name is there.
type Names = BTreeMap<String, usize>;

/// A process, in so far as it tells who started it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    parent: u32,
    start_ticks: u64,
    name: String,
    marked: bool,
}

/// Variable in the environment of what is started, by which it is known again.
pub const MARK: &str = "CORTEN_UP_DOWN";

/// A host at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    processes: BTreeMap<u32, Process>,
    things: BTreeMap<&'static str, Names>,
}

impl Snapshot {
    /// Looks at the host. Entries of `allowed` folders do not count.
    #[must_use]
    pub fn take(allowed: &[PathBuf]) -> Self {
        Self { processes: look::processes(), things: look::things(allowed) }
    }

    /// What is there in `later` and was not here, and what is gone; one sentence each. `own` is the process that
    /// compares.
    #[must_use]
    pub fn changes(&self, later: &Self, own: u32) -> Vec<String> {
        let mut changes: Vec<String> = later
            .processes
            .iter()
            .filter(|(pid, _)| **pid != own && !self.has(**pid, later) && self.is_ours(**pid, later, own))
            .map(|(pid, process)| format!("the process {} ({pid}) was left", process.name))
            .collect();
        let kinds: BTreeSet<_> = self.things.keys().chain(later.things.keys()).collect();
        let none = Names::new();
        for kind in kinds {
            let (before, after) =
                (self.things.get(kind).unwrap_or(&none), later.things.get(kind).unwrap_or(&none));
            changes.extend(more(before, after).map(|name| format!("the {kind} {name} was left")));
            changes.extend(more(after, before).map(|name| format!("the {kind} {name} is gone")));
        }
        changes
    }

    /// Whether the process was here already.
    fn has(&self, pid: u32, later: &Self) -> bool {
        let start = |snapshot: &Self| snapshot.processes.get(&pid).map(|process| process.start_ticks);
        start(self).is_some() && start(self) == start(later)
    }

    /// Whether we have started the process, or what started it.
    fn is_ours(&self, pid: u32, later: &Self, own: u32) -> bool {
        let mut at = pid;
        // A table that is read while it changes could hold a circle.
        for _ in 0..later.processes.len() {
            let Some(parent) = later.processes.get(&at).map(|process| process.parent) else { return false };
            let Some(process) = later.processes.get(&parent) else { return false };
            if parent == own {
                return true;
            }
            if is_reaper(parent, process) {
                return later.processes.get(&at).is_some_and(|orphan| orphan.marked);
            }
            if self.has(parent, later) {
                return false;
            }
            at = parent;
        }
        false
    }
}

/// Whether processes that have lost their parent become this one's children.
fn is_reaper(pid: u32, process: &Process) -> bool {
    pid == 1 || process.name == "systemd"
}

/// Names of which there are more in `after` than in `before`.
fn more<'a>(before: &'a Names, after: &'a Names) -> impl Iterator<Item = &'a str> {
    let count = |name: &str| before.get(name).copied().unwrap_or_default();
    after.iter().filter(move |(name, times)| **times > count(name)).map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 100;

    fn processes(rows: &[(u32, u32, &str)]) -> Snapshot {
        let row = |(pid, parent, name): &(u32, u32, &str)| {
            let (start_ticks, marked) = (u64::from(*pid), !name.starts_with("foreign"));
            (*pid, Process { parent: *parent, start_ticks, name: (*name).to_owned(), marked })
        };
        Snapshot { processes: rows.iter().map(row).collect(), things: BTreeMap::new() }
    }

    fn mounts(names: &[&str]) -> Snapshot {
        let mut all = Names::new();
        for name in names {
            *all.entry((*name).to_owned()).or_default() += 1;
        }
        Snapshot { processes: BTreeMap::new(), things: BTreeMap::from([("mount", all)]) }
    }

    #[test]
    fn nothing_has_changed_on_a_quiet_host() {
        let here = processes(&[(1, 0, "init"), (OWN, 1, "xtask")]);
        assert!(here.changes(&here, OWN).is_empty());
    }

    #[test]
    fn a_process_counts_when_it_comes_from_us() {
        let before = processes(&[(1, 0, "init"), (50, 1, "shell"), (OWN, 50, "xtask")]);
        let later = [
            (1, 0, "init"),
            (50, 1, "shell"),
            (OWN, 50, "xtask"),
            (101, 50, "ls"),
            (102, 101, "of-ls"),
            (103, 1, "orphan"),
            (107, 1, "foreign-orphan"),
            (104, 103, "of-orphan"),
            (105, OWN, "child"),
            (106, 2, "kworker"),
            (2, 0, "kthreadd"),
        ];
        let before = Snapshot {
            processes: before
                .processes
                .into_iter()
                .chain(processes(&[(2, 0, "kthreadd")]).processes)
                .collect(),
            ..before
        };
        let changes = before.changes(&processes(&later), OWN);
        assert_eq!(
            changes,
            [
                "the process orphan (103) was left",
                "the process of-orphan (104) was left",
                "the process child (105) was left"
            ]
        );
    }

    #[test]
    fn a_reused_process_id_is_another_process() {
        let before = processes(&[(1, 0, "init"), (103, 1, "old")]);
        let mut later = processes(&[(1, 0, "init"), (103, 1, "new")]);
        later.processes.get_mut(&103).unwrap().start_ticks += 1;
        assert_eq!(before.changes(&later, OWN), ["the process new (103) was left"]);
    }

    #[test]
    fn things_are_counted_and_named_in_both_directions() {
        let (before, later) = (mounts(&["/a", "/b", "/c"]), mounts(&["/a", "/a", "/c", "/d"]));
        assert_eq!(
            before.changes(&later, OWN),
            ["the mount /a was left", "the mount /d was left", "the mount /b is gone"]
        );
    }

    #[test]
    fn a_file_that_is_left_on_this_host_is_seen() {
        let name = format!("corten-left-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let before = Snapshot::take(&[]);
        std::fs::write(&path, b"").unwrap();
        let later = Snapshot::take(&[]);
        std::fs::remove_file(&path).unwrap();
        let changes = before.changes(&later, std::process::id());
        assert!(changes.contains(&format!("the file {} was left", path.display())), "{changes:?}");
    }
}
