//! What a launcher tells about its machine, in a file of the machine's folder.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

const FILE: &str = "status.json";

/// State of a machine as its launcher sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Where it is in life.
    pub phase: Phase,
    /// How often it was started, reboots included.
    pub boots: u32,
    /// Process id on the host of the machine's process 1, or of QEMU.
    pub pid: Option<u32>,
    /// What went wrong or how it ended.
    pub message: String,
}

/// Where a machine is in life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The launcher works on it.
    Starting,
    /// It runs.
    Running,
    /// It powered itself off, was stopped or was killed.
    Ended,
    /// It could not be launched.
    Failed,
}

impl Status {
    pub(crate) const fn starting() -> Self {
        Self { phase: Phase::Starting, boots: 0, pid: None, message: String::new() }
    }

    /// Reads the status from the machine's folder; `None` before the launcher has written one.
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()
    }

    /// Writes it in one step, so that a reader never sees half.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        write_atomically(&folder.join(FILE), &serde_json::to_vec_pretty(self)?)
    }
}

/// Replaces a file in one step.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        let temporary = path.with_extension("new");
        std::fs::write(&temporary, content)?;
        std::fs::rename(&temporary, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
