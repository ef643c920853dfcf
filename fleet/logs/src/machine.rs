//! One log: that of a machine, or the audit log. Appends lines and gives up the oldest.
//!
//! ```text
//! lines ─append─▶ open segment ─roll (full, or long)─▶ closed, closed, … ─evict (caps, age)─▶ gone
//!                      └────────── snapshot ───────────────┘ ─▶ readers, which need no lock
//! ```
//!
//! The next number is never lost: there is always an open segment, or a closed one whose last line tells it. A crash
//! between two steps leaves a closed segment beside its open form, or two open ones; opening the log puts that right.

use std::collections::{BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::caps::Limits;
use crate::error::{LogError, failed};
use crate::frame::{self, Arrival, Line};
use crate::read::Snapshot;
use crate::segment::{Closed, Folder, Open, Segment};

/// A log that is open for appending.
pub(crate) struct Log {
    folder: Arc<Folder>,
    limits: Limits,
    closed: VecDeque<Closed>,
    open: Option<Open>,
    /// Lines were appended since the last sync.
    is_dirty: bool,
}

impl Log {
    /// Opens the log in a folder, which may be missing, and puts right what a crash has left.
    pub(crate) fn open(folder: Folder, limits: Limits) -> Result<Self, LogError> {
        let mut found = Found::in_folder(folder.path())?;
        let mut log =
            Self { folder: Arc::new(folder), limits, closed: VecDeque::new(), open: None, is_dirty: false };
        for first in &found.closed {
            log.closed.push_back(log.folder.closed(*first)?);
            if found.open.remove(first) {
                remove(&log.folder.open_path(*first))?;
            }
        }
        for first in found.open {
            if let Some(earlier) = log.open.take() {
                log.retire(&earlier)?;
            }
            let (open, cut) = log.folder.recover(first)?;
            if cut > 0 {
                let path = log.folder.open_path(first);
                tracing::warn!(path = %path.display(), bytes = cut, "cut off half written lines");
            }
            log.open = Some(open);
        }
        Ok(log)
    }

    /// Closes an open segment that is followed by another one.
    fn retire(&mut self, open: &Open) -> Result<(), LogError> {
        if open.extent.lines() > 0 {
            self.closed.push_back(self.folder.close(open)?);
        }
        remove(&self.folder.open_path(open.extent.first))
    }

    /// Number of the line that comes next.
    pub(crate) fn next(&self) -> u64 {
        match (&self.open, self.closed.back()) {
            (Some(open), _) => open.next(),
            (None, Some(closed)) => closed.extent.last.saturating_add(1),
            (None, None) => 1,
        }
    }

    /// Number of the oldest line that is still there; the next one when there is none.
    pub(crate) fn first(&self) -> u64 {
        match (self.closed.front(), &self.open) {
            (Some(closed), _) => closed.extent.first,
            (None, Some(open)) => open.extent.first,
            (None, None) => 1,
        }
    }

    /// Bytes on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.closed_bytes() + self.open.as_ref().map_or(0, |open| open.bytes)
    }

    fn closed_bytes(&self) -> u64 {
        self.closed.iter().map(|closed| closed.bytes).sum()
    }

    fn closed_lines(&self) -> u64 {
        self.closed.iter().map(|closed| closed.extent.lines()).sum()
    }

    /// Whether lines wait for [`Log::sync`].
    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Appends lines and adds them, numbered, to `kept`. After an error those in `kept` are there and the others not.
    pub(crate) fn append(&mut self, arrivals: &[Arrival], kept: &mut Vec<Line>) -> Result<(), LogError> {
        let mut rest = arrivals;
        while !rest.is_empty() {
            let (now, later) = frame::take(rest, self.limits.segment_lines);
            if !self.has_room(now) {
                self.roll()?;
            }
            let open = match self.open.take() {
                Some(open) => open,
                None => self.folder.create(self.next())?,
            };
            let open = self.open.insert(open);
            kept.extend(self.folder.append(open, now)?);
            self.is_dirty = true;
            rest = later;
        }
        Ok(())
    }

    /// Whether the open segment takes these lines as well; an empty one takes any frame.
    fn has_room(&self, arrivals: &[Arrival]) -> bool {
        let Some(open) = &self.open else { return true };
        let lines = open.extent.lines();
        let bytes = open.bytes.saturating_add(frame::file_bytes(arrivals));
        lines == 0
            || (bytes <= self.limits.segment_bytes
                && lines.saturating_add(arrivals.len() as u64) <= self.limits.segment_lines)
    }

    /// Closes the open segment, if it has lines, and begins the next one.
    pub(crate) fn roll(&mut self) -> Result<(), LogError> {
        let Some(open) = self.open.as_ref().filter(|open| open.extent.lines() > 0) else { return Ok(()) };
        let (path, next) = (self.folder.open_path(open.extent.first), open.next());
        let closed = self.folder.close(open)?;
        self.closed.push_back(closed);
        self.open = None;
        self.is_dirty = false;
        self.open = Some(self.folder.create(next)?);
        remove(&path)
    }

    /// Gives up the oldest lines until the caps of this log hold.
    pub(crate) fn evict(&mut self) -> Result<(), LogError> {
        while self.limits.is_over(self.closed_bytes(), self.closed_lines()) && self.drop_oldest()? {}
        Ok(())
    }

    /// Gives up the lines that are too old at `now_ms`.
    pub(crate) fn evict_aged(&mut self, now_ms: u64) -> Result<(), LogError> {
        let limits = self.limits;
        if self.open.as_ref().is_some_and(|open| limits.is_too_long(open.extent.oldest_ms, now_ms)) {
            self.roll()?;
        }
        while self.closed.front().is_some_and(|oldest| limits.is_too_old(oldest.extent.newest_ms, now_ms)) {
            self.drop_oldest()?;
        }
        Ok(())
    }

    /// Gives up the oldest closed segment, or closes the open one so that it can be given up; false if nothing is left.
    pub(crate) fn shrink(&mut self) -> Result<bool, LogError> {
        if self.drop_oldest()? {
            return Ok(true);
        }
        let has_lines = self.open.as_ref().is_some_and(|open| open.extent.lines() > 0);
        self.roll()?;
        Ok(has_lines)
    }

    fn drop_oldest(&mut self) -> Result<bool, LogError> {
        let Some(oldest) = self.closed.front() else { return Ok(false) };
        remove(&self.folder.closed_path(oldest.extent.first))?;
        self.closed.pop_front();
        Ok(true)
    }

    /// Removes everything; the next line is number 1 again.
    pub(crate) fn clear(&mut self) -> Result<(), LogError> {
        let path = self.folder.path();
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("remove", path)(error)),
            _ => {}
        }
        self.closed.clear();
        self.open = None;
        self.is_dirty = false;
        Ok(())
    }

    /// Makes all lines survive a loss of power.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        if let Some(open) = self.open.as_ref().filter(|_| self.is_dirty) {
            self.folder.sync(open)?;
        }
        self.is_dirty = false;
        Ok(())
    }

    /// What a reader needs.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let closed = self.closed.iter().map(|closed| Segment { extent: closed.extent, open_bytes: None });
        let open = self.open.iter().map(|open| Segment { extent: open.extent, open_bytes: Some(open.bytes) });
        let segments = closed.chain(open).filter(|segment| segment.extent.lines() > 0).collect();
        Snapshot::new(Arc::clone(&self.folder), segments, self.next())
    }
}

/// Removes a file that may be gone already.
fn remove(path: &Path) -> Result<(), LogError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Segments in a folder, by their first lines.
#[derive(Debug, Default)]
struct Found {
    open: BTreeSet<u64>,
    closed: BTreeSet<u64>,
}

impl Found {
    fn in_folder(path: &Path) -> Result<Self, LogError> {
        let mut found = Self::default();
        let entries = match std::fs::read_dir(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
            entries => entries.map_err(failed("list", path))?,
        };
        for entry in entries {
            let entry = entry.map_err(failed("list", path))?;
            let name = entry.file_name();
            match name.to_str().and_then(|name| name.rsplit_once('.')) {
                Some((first, "open")) => found.open.extend(first.parse::<u64>()),
                Some((first, "closed")) => found.closed.extend(first.parse::<u64>()),
                Some((_, "new")) => {
                    std::fs::remove_file(entry.path()).map_err(failed("remove", &entry.path()))?;
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
