//! Followers of a log: cursors that read what is there and then what comes.
//!
//! ```text
//! Writer ─▶ recent lines of a followed log (bounded, shared by its followers) ─▶ Follower that keeps up
//!    └────▶ segments on disk ──────────────────────────────────────────────────▶ Follower that does not
//! ```
//!
//! Nobody waits for a follower. One that is slow finds its next line among the recent ones no more, reads it from the
//! disk, and misses only lines that were given up; it is told how many.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::LogError;
use crate::frame::Line;
use crate::read::{Limit, Page, Snapshot, Start};
use crate::shared::{Entry, Shared};

/// Bytes of recent lines of a log that is followed.
const RECENT_BYTES: usize = 256 * 1024;
/// Recent lines of a log that is followed.
const RECENT_LINES: usize = 4096;

/// What the followers of one log share.
pub(crate) struct Live {
    recent: Mutex<Recent>,
    news: watch::Sender<()>,
}

impl Default for Live {
    fn default() -> Self {
        Self { recent: Mutex::default(), news: watch::Sender::new(()) }
    }
}

impl Live {
    /// Shows lines that are on the disk; they follow each other.
    pub(crate) fn push(&self, lines: &[Line]) {
        let is_followed = self.news.receiver_count() > 0;
        let mut recent = self.recent.lock();
        if is_followed {
            recent.push(lines);
        } else {
            recent.clear();
        }
        drop(recent);
        self.news.send_replace(());
    }

    /// The log begins anew.
    pub(crate) fn clear(&self) {
        self.recent.lock().clear();
        self.news.send_replace(());
    }
}

/// The last lines of a log, without holes.
#[derive(Default)]
struct Recent {
    lines: VecDeque<Line>,
    bytes: usize,
}

/// Where the line with a number is.
enum Place {
    /// Here, with those that follow.
    Recent(Page),
    /// It has not come yet.
    End,
    /// On the disk, if anywhere.
    Disk,
}

impl Recent {
    fn push(&mut self, lines: &[Line]) {
        for line in lines {
            if self.lines.back().is_some_and(|last| last.number.saturating_add(1) != line.number) {
                self.clear();
            }
            self.bytes += line.bytes.len();
            self.lines.push_back(line.clone());
            while self.bytes > RECENT_BYTES || self.lines.len() > RECENT_LINES {
                let Some(oldest) = self.lines.pop_front() else { break };
                self.bytes -= oldest.bytes.len();
            }
        }
    }

    fn clear(&mut self) {
        self.lines.clear();
        self.bytes = 0;
    }

    fn find(&self, number: u64) -> Place {
        let (Some(first), Some(last)) = (self.lines.front(), self.lines.back()) else { return Place::Disk };
        let end = last.number.saturating_add(1);
        if number == end {
            return Place::End;
        }
        if number < first.number || number > end {
            return Place::Disk;
        }
        let mut page = Page::starting(number, end);
        for line in self.lines.iter().skip_while(|line| line.number < number) {
            page.push(line.clone());
        }
        Place::Recent(page)
    }
}

/// Reads a log from some place to its end, and goes on with what comes.
pub struct Follower {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    news: watch::Receiver<()>,
    at: At,
}

/// Where a follower is.
#[derive(Clone, Copy)]
enum At {
    /// It has not looked yet.
    Start(Start),
    /// Before the line with this number.
    Number(u64),
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("log", &self.entry.name()).finish_non_exhaustive()
    }
}

impl Follower {
    pub(crate) fn new(shared: Arc<Shared>, entry: Arc<Entry>, start: Start) -> Self {
        let news = entry.live.news.subscribe();
        Self { shared, entry, news, at: At::Start(start) }
    }

    /// Number of the line that it reads next. A follower that is made anew with it goes on where this one is.
    ///
    /// # Errors
    /// When the log cannot be opened or read.
    pub async fn position(&mut self) -> Result<u64, LogError> {
        let start = match self.at {
            At::Number(number) => return Ok(number),
            At::Start(start) => start,
        };
        let entry = Arc::clone(&self.entry);
        let number = self.shared.read(entry, move |snapshot| snapshot.number_of(start)).await?;
        self.at = At::Number(number);
        Ok(number)
    }

    /// The next lines that are there; nothing at the end of the log.
    ///
    /// # Errors
    /// When the log cannot be opened or read; another call tries again.
    pub async fn try_next(&mut self) -> Result<Option<Page>, LogError> {
        let number = self.position().await?;
        let place = self.entry.live.recent.lock().find(number);
        let page = match place {
            Place::Recent(page) => page,
            Place::End => return Ok(None),
            Place::Disk => self.read(number).await?,
        };
        self.at = At::Number(page.next);
        Ok((!page.lines.is_empty() || page.missed > 0).then_some(page))
    }

    async fn read(&self, number: u64) -> Result<Page, LogError> {
        let read = move |snapshot: Snapshot| {
            // A log that is shorter than before was removed and has begun anew.
            let from = if number > snapshot.next() { snapshot.first() } else { number };
            snapshot.since(from, Limit::default())
        };
        self.shared.read(Arc::clone(&self.entry), read).await
    }

    /// The next lines; waits for them at the end of the log. It may be dropped while it waits.
    ///
    /// # Errors
    /// When the log cannot be opened or read; another call tries again.
    pub async fn next(&mut self) -> Result<Page, LogError> {
        loop {
            // Before looking, lest lines that come meanwhile be overlooked.
            self.news.mark_unchanged();
            if let Some(page) = self.try_next().await? {
                return Ok(page);
            }
            self.news.changed().await.map_err(|_| LogError::Closed)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn line(number: u64, length: usize) -> Line {
        Line { number, time_ms: 0, bytes: Bytes::from(vec![b'x'; length]) }
    }

    fn numbers(recent: &Recent, from: u64) -> Option<Vec<u64>> {
        match recent.find(from) {
            Place::Recent(page) => Some(page.lines.iter().map(|line| line.number).collect()),
            Place::End => Some(Vec::new()),
            Place::Disk => None,
        }
    }

    #[test]
    fn recent_lines_are_bounded_and_without_holes() {
        let mut recent = Recent::default();
        assert_eq!(numbers(&recent, 1), None);
        recent.push(&[line(5, 1), line(6, 1)]);
        assert_eq!(numbers(&recent, 5), Some(vec![5, 6]));
        assert_eq!(numbers(&recent, 7), Some(vec![]));
        assert_eq!([numbers(&recent, 4), numbers(&recent, 8)], [None, None]);
        recent.push(&[line(9, 1)]);
        assert_eq!([numbers(&recent, 6), numbers(&recent, 9)], [None, Some(vec![9])]);
        recent.push(&[line(10, RECENT_BYTES - 1), line(11, 1)]);
        assert_eq!([numbers(&recent, 9), numbers(&recent, 10)], [None, Some(vec![10, 11])]);
        recent.push(&[line(12, RECENT_BYTES + 1)]);
        assert_eq!((recent.lines.len(), recent.bytes), (0, 0));
        (13..=13 + RECENT_LINES as u64).for_each(|number| recent.push(&[line(number, 0)]));
        assert_eq!(recent.lines.len(), RECENT_LINES);
    }
}
