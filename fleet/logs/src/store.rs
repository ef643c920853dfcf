//! The logs of all machines below one folder.
//!
//! ```text
//! Intake ─▶ queue ─▶ Writer ─┐
//!                            ├─▶ Entry of a log: opened when it is first needed, locked only while it is appended to
//! readers (a lane) ──────────┘       └─ when all logs are too large, the largest gives up its oldest lines
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Clock, Rng, Secret};
use tokio::sync::oneshot;

use crate::caps::Caps;
use crate::error::LogError;
use crate::follow::Follower;
use crate::intake::{Intake, Job, Rate};
use crate::key::Keys;
use crate::machine::Log;
use crate::read::{Limit, Page, Snapshot, Start};
use crate::shared::Shared;
use crate::writer::Writer;

/// How logs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How much is kept.
    pub caps: Caps,
    /// How fast lines are taken from each machine; any speed if `None`.
    pub rate: Option<Rate>,
    /// After which time a line survives a loss of power. Zero: at once, before its writing is acknowledged.
    pub flush_every: Duration,
    /// How often lines that are too old are removed.
    pub sweep_every: Duration,
}

impl Default for Options {
    /// The default caps, any rate, flushed each second, swept every 30 minutes.
    fn default() -> Self {
        Self {
            caps: Caps::default(),
            rate: None,
            flush_every: Duration::from_secs(1),
            sweep_every: Duration::from_secs(30 * 60),
        }
    }
}

/// What there is of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStats {
    /// Number of the oldest line that is still there; that of the next one when there is none.
    pub first: u64,
    /// Number that the next line gets.
    pub next: u64,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// What there is of all logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Logs that are known.
    pub logs: usize,
    /// Bytes on the disk of the logs that were opened; all of them are soon after the start.
    pub bytes: u64,
}

/// All logs below one folder. Clones are the same.
#[derive(Clone)]
pub struct Logs(pub(crate) Arc<Shared>);

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs").field("root", &self.0.root()).finish_non_exhaustive()
    }
}

impl Logs {
    /// Opens the logs below `root`, which is made if it is missing. Their keys come from `master`. Nothing is written
    /// before [`Writer::run`] runs. Looks at folders only, so that it is fast with many logs.
    ///
    /// # Errors
    /// When the folder cannot be made or listed, another program has it open, or the logs were made with another key.
    pub fn open(
        root: &Path,
        master: &Secret<[u8; 32]>,
        options: Options,
        clock: Clock,
        rng: Rng,
    ) -> Result<(Self, Writer), LogError> {
        let (shared, jobs) = Shared::open(root, Keys::new(master, rng), options, clock)?;
        Ok((Self(Arc::clone(&shared)), Writer::new(shared, jobs)))
    }

    /// The way into the log of a machine, by its id.
    ///
    /// # Errors
    /// When it cannot be the name of a log.
    pub fn intake(&self, machine: &str) -> Result<Intake, LogError> {
        Ok(Intake { shared: Arc::clone(&self.0), entry: self.0.entry(machine)? })
    }

    /// The last lines of a log, as far as they fit into a page; it says where to go on.
    ///
    /// # Errors
    /// When the log cannot be opened or read.
    pub async fn tail(&self, machine: &str, lines: u64) -> Result<Page, LogError> {
        let read = move |snapshot: Snapshot| {
            snapshot.since(snapshot.number_of(Start::Tail(lines))?, Limit::default())
        };
        self.0.read(self.0.entry(machine)?, read).await
    }

    /// Lines of a log from a number on.
    ///
    /// # Errors
    /// When the log cannot be opened or read.
    pub async fn since(&self, machine: &str, number: u64, limit: Limit) -> Result<Page, LogError> {
        self.0.read(self.0.entry(machine)?, move |snapshot| snapshot.since(number, limit)).await
    }

    /// Lines of a log in which `text` stands, whatever its ASCII case, from a number on. A call looks through 32 MiB of
    /// lines at most; the page says where to go on.
    ///
    /// # Errors
    /// When the log cannot be opened or read.
    pub async fn search(&self, machine: &str, text: &str, from: u64, limit: Limit) -> Result<Page, LogError> {
        let text = text.to_owned();
        self.0.read(self.0.entry(machine)?, move |snapshot| snapshot.search(&text, from, limit)).await
    }

    /// A reader of the lines that are there and of those that come.
    ///
    /// # Errors
    /// When it cannot be the name of a log.
    pub fn follow(&self, machine: &str, start: Start) -> Result<Follower, LogError> {
        Ok(Follower::new(Arc::clone(&self.0), self.0.entry(machine)?, start))
    }

    /// What there is of one log.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub async fn log_stats(&self, machine: &str) -> Result<LogStats, LogError> {
        let stats = |log: &mut Log| LogStats { first: log.first(), next: log.next(), bytes: log.bytes() };
        self.0.on(self.0.entry(machine)?, move |entry, shared| entry.with(shared, stats)).await
    }

    /// What there is of all logs.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    /// Removes the log of a machine that is gone for good. Should it come back, its lines begin with 1 again.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub async fn remove(&self, machine: &str) -> Result<(), LogError> {
        let entry = self.0.entry(machine)?;
        let removed = self.0.on(entry, |entry, shared| {
            entry.with(shared, Log::clear)??;
            entry.live.clear();
            Ok(())
        });
        removed.await
    }

    /// Waits until everything that was taken so far survives a loss of power. To be called before the manager stops.
    ///
    /// # Errors
    /// When the writer has ended, or the disk refuses.
    pub async fn flush(&self) -> Result<(), LogError> {
        let (done, flushed) = oneshot::channel();
        self.0.send(Job::Flush(done))?;
        flushed.await.unwrap_or(Err(LogError::Closed))
    }
}

#[cfg(test)]
mod tests;
