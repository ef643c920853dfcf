//! Reading a log as it was at one moment, without holding back its writer.
//!
//! ```text
//! snapshot (numbers and times of segments) ─▶ the segments that matter, one in memory at a time ─▶ Page
//! ```
//!
//! A segment that was closed meanwhile has the same lines; one that was given up meanwhile is a hole in the numbers,
//! and so is one that is damaged.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::LogError;
use crate::frame::Line;
use crate::segment::{Folder, Segment};

/// Bytes of lines that one call of a search looks through.
const SEARCHED_BYTES_MAX: usize = 32 << 20;

/// Where to begin to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest line that is still there.
    Oldest,
    /// So many lines before the end.
    Tail(u64),
    /// The line with this number; the end when the log is shorter.
    Number(u64),
    /// The first line of this time or later, Unix time in milliseconds.
    Time(u64),
    /// The end: only lines that come.
    New,
}

/// How much to read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Most lines.
    pub lines: usize,
    /// Most bytes of lines; a single line may have more.
    pub bytes: usize,
}

impl Default for Limit {
    /// 10 000 lines, 1 MiB.
    fn default() -> Self {
        Self { lines: 10_000, bytes: 1 << 20 }
    }
}

/// Lines in their order, and where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The lines.
    pub lines: Vec<Line>,
    /// How many lines in the range that was read are gone: given up, or damaged.
    pub missed: u64,
    /// Number of the first line that was not looked at.
    pub next: u64,
    /// Number that the next line of the log gets; everything was looked at when `next` is as large.
    pub end: u64,
    bytes: usize,
}

impl Page {
    pub(crate) fn starting(next: u64, end: u64) -> Self {
        Self { next, end, ..Self::default() }
    }

    /// Whether a line of this length still fits.
    pub(crate) fn has_room(&self, length: usize, limit: Limit) -> bool {
        let bytes = self.bytes.saturating_add(length);
        self.lines.is_empty() || (self.lines.len() < limit.lines && bytes <= limit.bytes)
    }

    /// Passes everything before `number`; what was not seen of it is missed.
    fn skip_to(&mut self, number: u64) {
        self.missed = self.missed.saturating_add(number.saturating_sub(self.next));
        self.next = self.next.max(number);
    }

    /// Adds a line and passes it.
    pub(crate) fn push(&mut self, line: Line) {
        self.skip_to(line.number);
        self.next = line.number.saturating_add(1);
        self.end = self.end.max(self.next);
        self.bytes = self.bytes.saturating_add(line.bytes.len());
        self.lines.push(line);
    }
}

/// A log as it was at one moment.
#[derive(Clone)]
pub(crate) struct Snapshot {
    folder: Arc<Folder>,
    /// Those with lines, the oldest first.
    segments: Vec<Segment>,
    next: u64,
}

impl Snapshot {
    pub(crate) fn new(folder: Arc<Folder>, segments: Vec<Segment>, next: u64) -> Self {
        Self { folder, segments, next }
    }

    /// The segments with lines, the oldest first.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Number of the line that comes next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Number of the oldest line, or of the next one when there is none.
    pub(crate) fn first(&self) -> u64 {
        self.segments.first().map_or(self.next, |segment| segment.extent.first)
    }

    /// The lines of a segment; those that are gone or damaged are left out.
    pub(crate) fn lines(&self, segment: &Segment) -> Result<Vec<Line>, LogError> {
        match self.folder.lines(segment) {
            Err(error @ (LogError::Damaged(_) | LogError::Key(_) | LogError::Format(_))) => {
                tracing::warn!(error = corten_base::chain(&error), "lines of a log are lost");
                Ok(Vec::new())
            }
            lines => lines,
        }
    }

    /// Number of the line to begin with.
    pub(crate) fn number_of(&self, start: Start) -> Result<u64, LogError> {
        Ok(match start {
            Start::Oldest => self.first(),
            Start::Tail(lines) => self.next.saturating_sub(lines).max(self.first()),
            Start::Number(number) => number.clamp(1, self.next),
            Start::Time(time_ms) => self.number_at(time_ms)?,
            Start::New => self.next,
        })
    }

    fn number_at(&self, time_ms: u64) -> Result<u64, LogError> {
        for segment in self.segments.iter().filter(|segment| segment.extent.newest_ms >= time_ms) {
            if segment.extent.oldest_ms >= time_ms {
                return Ok(segment.extent.first);
            }
            if let Some(line) = self.lines(segment)?.iter().find(|line| line.time_ms >= time_ms) {
                return Ok(line.number);
            }
        }
        Ok(self.next)
    }

    /// Lines from a number on.
    pub(crate) fn since(&self, from: u64, limit: Limit) -> Result<Page, LogError> {
        let mut page = Page::starting(from.clamp(1, self.next), self.next);
        for segment in self.segments.iter().filter(|segment| segment.extent.last >= from) {
            for line in self.lines(segment)?.into_iter().filter(|line| line.number >= from) {
                if !page.has_room(line.bytes.len(), limit) {
                    return Ok(page);
                }
                page.push(line);
            }
        }
        page.skip_to(self.next);
        Ok(page)
    }

    /// Lines from a number on in which `text` stands, whatever its ASCII case.
    pub(crate) fn search(&self, text: &str, from: u64, limit: Limit) -> Result<Page, LogError> {
        let mut page = Page::starting(from.clamp(1, self.next), self.next);
        let mut searched = 0_usize;
        for segment in self.segments.iter().filter(|segment| segment.extent.last >= from) {
            if searched > SEARCHED_BYTES_MAX {
                return Ok(page);
            }
            for mut line in self.lines(segment)?.into_iter().filter(|line| line.number >= from) {
                searched = searched.saturating_add(line.bytes.len());
                if !contains(&line.bytes, text.as_bytes()) {
                    page.skip_to(line.number);
                    page.next = line.number.saturating_add(1);
                    continue;
                }
                if !page.has_room(line.bytes.len(), limit) {
                    return Ok(page);
                }
                // A copy, lest a line that is kept hold the whole segment in memory.
                line.bytes = Bytes::copy_from_slice(&line.bytes);
                page.push(line);
            }
        }
        page.skip_to(self.next);
        Ok(page)
    }
}

/// Whether `needle` stands in `line`, whatever its ASCII case.
pub(crate) fn contains(line: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || line.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_whatever_its_case() {
        assert!(contains(b"Out of Memory", b"of mem") && contains(b"a", b"") && contains(b"ab", b"AB"));
        assert!(!contains(b"a", b"ab") && !contains(b"", b"a"));
    }

    #[test]
    fn a_page_counts_what_is_missing_in_the_numbers() {
        let line = |number| Line { number, time_ms: 0, bytes: Bytes::from_static(b"xx") };
        let mut page = Page::starting(3, 9);
        page.push(line(5));
        page.push(line(6));
        page.skip_to(9);
        assert_eq!((page.missed, page.next, page.lines.len()), (4, 9, 2));
        let limit = Limit { lines: 3, bytes: 5 };
        assert!(page.has_room(1, limit) && !page.has_room(2, limit));
        assert!(Page::starting(1, 1).has_room(100, limit), "a page has at least one line");
    }
}
