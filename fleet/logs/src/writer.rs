//! The one task that writes: batches of lines, what was lost, syncs and sweeps.
//!
//! ```text
//! queue ─batch─▶ by log ─▶ append ─(flush at once: sync)─▶ recent lines, acknowledgements ─▶ evict
//! each flush:   markers of what was lost, sync of the logs that were written
//! each sweep:   log by log, between the batches
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{blocking, chain};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::error::LogError;
use crate::frame::Arrival;
use crate::intake::{Item, Job, Loss};
use crate::shared::{Entry, Shared};

/// Jobs of one batch.
const BATCH: usize = 1024;
/// Longest time between two sweeps.
const SWEEP_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest time between two sweeps.
const SWEEP_MIN: Duration = Duration::from_millis(100);
/// Longest time between two flushes.
const FLUSH_MAX: Duration = Duration::from_secs(60);
/// Shortest time between two flushes; what is flushed at once does not wait for them.
const FLUSH_MIN: Duration = Duration::from_millis(10);

/// Writes the lines that come in. Its owner runs it as a task; without it nothing is written.
pub struct Writer {
    shared: Arc<Shared>,
    jobs: mpsc::UnboundedReceiver<Job>,
    /// Logs that were written since the last sync.
    dirty: Vec<Arc<Entry>>,
    next_flush: Instant,
    next_sweep: Instant,
    /// Logs that are still to be swept.
    to_sweep: VecDeque<Arc<Entry>>,
    /// The last batch could not be written; that was said.
    is_failing: bool,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, jobs: mpsc::UnboundedReceiver<Job>) -> Self {
        let now = Instant::now();
        Self {
            shared,
            jobs,
            dirty: Vec::new(),
            next_flush: now,
            next_sweep: now,
            to_sweep: VecDeque::new(),
            is_failing: false,
        }
    }

    /// Writes until it is dropped. A disk that hangs makes the machines wait; a disk that refuses costs lines, which
    /// the log tells when it works again.
    pub async fn run(mut self) {
        let mut jobs = Vec::with_capacity(BATCH);
        loop {
            let due = self.due();
            tokio::select! {
                // Takes nothing when another arm wins.
                count = self.jobs.recv_many(&mut jobs, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    self.work_off(std::mem::take(&mut jobs)).await;
                }
                () = tokio::time::sleep_until(due) => self.tick().await,
                () = std::future::ready(()), if !self.to_sweep.is_empty() => self.sweep_one().await,
            }
        }
    }

    /// When the next flush or sweep is due.
    fn due(&self) -> Instant {
        let has_work = !self.dirty.is_empty() || self.shared.has_lost();
        if has_work { self.next_flush.min(self.next_sweep) } else { self.next_sweep }
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        if now >= self.next_sweep {
            self.next_sweep = now + self.shared.options().sweep_every.clamp(SWEEP_MIN, SWEEP_MAX);
            self.to_sweep = self.shared.all().into();
        }
        if now >= self.next_flush {
            // What fails was said, and is tried again at the next flush.
            let _ = self.settle().await;
        }
    }

    async fn work_off(&mut self, jobs: Vec<Job>) {
        let (mut items, mut flushes) = (Vec::with_capacity(jobs.len()), Vec::new());
        for job in jobs {
            match job {
                Job::Keep(item) => items.push(item),
                Job::Flush(done) => flushes.push(done),
                Job::Lost => {}
            }
        }
        if !items.is_empty() {
            let shared = Arc::clone(&self.shared);
            let written = off_loop(move || write(&shared, items)).await;
            self.note(written);
        }
        if flushes.is_empty() {
            return;
        }
        let settled = self.settle().await;
        for done in flushes {
            // Whoever asked may be gone.
            let _ = done.send(settled.clone());
        }
    }

    /// Tells what was lost and syncs what was written.
    async fn settle(&mut self) -> Result<(), LogError> {
        self.next_flush = Instant::now() + self.shared.options().flush_every.clamp(FLUSH_MIN, FLUSH_MAX);
        let (shared, dirty) = (Arc::clone(&self.shared), std::mem::take(&mut self.dirty));
        if dirty.is_empty() && !shared.has_lost() {
            return Ok(());
        }
        let settled = off_loop(move || settle(&shared, dirty)).await;
        let result = settled.failed.clone().map_or(Ok(()), Err);
        self.note(settled);
        result
    }

    async fn sweep_one(&mut self) {
        let Some(entry) = self.to_sweep.pop_front() else { return };
        let shared = Arc::clone(&self.shared);
        let swept = off_loop(move || {
            let swept = shared.sweep(&entry).and_then(|()| shared.make_room());
            Written { dirty: Vec::new(), failed: swept.err() }
        });
        if let Some(error) = swept.await.failed {
            tracing::warn!(error = chain(&error), "cannot remove old lines of a log");
        }
    }

    /// Remembers what is to be synced, and says once when writing begins to fail and when it works again.
    fn note(&mut self, written: Written) {
        self.dirty.extend(written.dirty);
        match written.failed {
            Some(error) if !self.is_failing => {
                self.is_failing = true;
                tracing::error!(error = chain(&error), "cannot write logs; lines are being lost");
            }
            None if self.is_failing => {
                self.is_failing = false;
                tracing::info!("logs are written again");
            }
            _ => {}
        }
    }
}

/// What became of work on the disk.
#[derive(Default)]
struct Written {
    /// Logs that were clean before and are not any more.
    dirty: Vec<Arc<Entry>>,
    /// One of the errors.
    failed: Option<LogError>,
}

/// Runs work on the disk. It is never given up half-way: a disk that hangs holds the queue back.
async fn off_loop(work: impl FnOnce() -> Written + Send + 'static) -> Written {
    match blocking(Duration::MAX, work).await {
        Ok(written) => written,
        Err(error) => Written { dirty: Vec::new(), failed: Some(LogError::Unfinished(Arc::new(error))) },
    }
}

/// Writes the lines of a batch, log by log.
fn write(shared: &Arc<Shared>, mut items: Vec<Item>) -> Written {
    let mut written = Written::default();
    // Stable: the lines of a log keep their order.
    items.sort_by_key(|item| Arc::as_ptr(&item.entry));
    for group in items.chunk_by_mut(|a, b| Arc::ptr_eq(&a.entry, &b.entry)) {
        let Some(entry) = group.first().map(|item| Arc::clone(&item.entry)) else { continue };
        let arrivals: Vec<Arrival> = group.iter().map(|item| item.arrival.clone()).collect();
        let (numbers, failed) = append(shared, &entry, &arrivals, &mut written.dirty);
        let mut numbers = numbers.into_iter();
        for item in group {
            let answer = match (numbers.next(), &failed) {
                (Some(number), _) => Ok(number),
                (None, Some(error)) => Err(error.clone()),
                (None, None) => Err(LogError::Closed),
            };
            match item.told.take() {
                // Whoever asked may be gone.
                Some(told) => drop(told.send(answer)),
                None if answer.is_err() => shared.lose(&item.entry, Loss::Disk, item.arrival.bytes.len()),
                None => {}
            }
        }
        written.failed = failed.or(written.failed);
    }
    if let Err(error) = shared.make_room() {
        written.failed = Some(error);
    }
    written
}

/// Appends lines to a log, shows them to its followers and keeps its caps; the numbers of those that are kept.
fn append(
    shared: &Shared,
    entry: &Arc<Entry>,
    arrivals: &[Arrival],
    dirty: &mut Vec<Arc<Entry>>,
) -> (Vec<u64>, Option<LogError>) {
    let is_synced_at_once = shared.options().flush_every.is_zero();
    let mut lines = Vec::with_capacity(arrivals.len());
    let result = entry.with(shared, |log| {
        let was_dirty = log.is_dirty();
        let mut appended = log.append(arrivals, &mut lines);
        if is_synced_at_once && let Err(error) = log.sync() {
            lines.clear();
            appended = Err(error);
        }
        if log.is_dirty() && !was_dirty {
            dirty.push(Arc::clone(entry));
        }
        // The lines are there all the same when old ones cannot be given up.
        let evicted = log.evict();
        appended.and(evicted)
    });
    entry.live.push(&lines);
    let numbers = lines.iter().map(|line| line.number).collect();
    (numbers, result.and_then(|result| result).err())
}

/// Writes a line about what was lost into each log that lost lines, and syncs all that were written.
fn settle(shared: &Arc<Shared>, mut dirty: Vec<Arc<Entry>>) -> Written {
    let mut failed = None;
    for entry in shared.take_lost() {
        let losses = entry.take_losses();
        let markers = losses.markers(shared.now_ms());
        let (numbers, error) = append(shared, &entry, &markers, &mut dirty);
        if numbers.len() < markers.len() {
            shared.lose_again(&entry, losses);
        }
        failed = error.or(failed);
    }
    let mut again = Vec::new();
    for entry in dirty {
        if let Err(error) = entry.with(shared, |log| log.sync()).and_then(|synced| synced) {
            failed = Some(error);
            again.push(entry);
        }
    }
    Written { dirty: again, failed }
}
