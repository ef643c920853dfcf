//! How much is kept of logs, and when a segment is closed.
//!
//! A segment spans at most an eighth of every cap, and whole closed segments are given up, so that a log keeps between
//! seven eighths and all of what it may.

use std::time::Duration;

/// What may be kept. `None` means any number; then only the other caps hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of one log on the disk, at least 4 MiB.
    pub log_bytes: Option<u64>,
    /// Lines of one log, at least 8.
    pub log_lines: Option<u64>,
    /// Bytes of all logs on the disk; the largest log gives up its oldest lines first.
    pub total_bytes: Option<u64>,
    /// Age of lines. They are gone at the latest an eighth of it and one sweep after they have reached it.
    pub age: Option<Duration>,
}

impl Default for Caps {
    /// 64 MiB of a machine, 8 GiB of all, 30 days.
    fn default() -> Self {
        Self {
            log_bytes: Some(64 << 20),
            log_lines: None,
            total_bytes: Some(8 << 30),
            age: Some(Duration::from_secs(30 * 24 * 60 * 60)),
        }
    }
}

/// Least cap on the bytes of a log: eight segments of which each takes the longest line.
const LOG_BYTES_MIN: u64 = 4 << 20;
/// Bytes of an open segment, at most; what a reader decodes at once.
const SEGMENT_BYTES_MAX: u64 = 1 << 20;
/// In how many segments the caps are divided.
const PARTS: u64 = 8;

/// The caps of one log, as its segments see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Most bytes in the file of an open segment.
    pub(crate) segment_bytes: u64,
    /// Most lines of a segment.
    pub(crate) segment_lines: u64,
    bytes: Option<u64>,
    lines: Option<u64>,
    age_ms: Option<u64>,
}

impl Limits {
    pub(crate) fn of(caps: &Caps) -> Self {
        let bytes = caps.log_bytes.map(|bytes| bytes.max(LOG_BYTES_MIN));
        let lines = caps.log_lines.map(|lines| lines.max(PARTS));
        Self {
            segment_bytes: bytes.map_or(SEGMENT_BYTES_MAX, |bytes| (bytes / PARTS).min(SEGMENT_BYTES_MAX)),
            segment_lines: lines.map_or(u64::MAX, |lines| lines / PARTS),
            bytes,
            lines,
            age_ms: caps.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Whether closed segments with so many bytes and lines leave no room for a full open one.
    pub(crate) fn is_over(&self, bytes: u64, lines: u64) -> bool {
        self.bytes.is_some_and(|most| bytes.saturating_add(self.segment_bytes) > most)
            || self.lines.is_some_and(|most| lines.saturating_add(self.segment_lines) > most)
    }

    /// Whether lines of this time are too old at `now_ms`.
    pub(crate) fn is_too_old(&self, time_ms: u64, now_ms: u64) -> bool {
        self.age_ms.is_some_and(|age| now_ms.saturating_sub(time_ms) > age)
    }

    /// Whether an open segment that begins at this time is closed at `now_ms`, lest its old lines stay with the new.
    pub(crate) fn is_too_long(&self, begin_ms: u64, now_ms: u64) -> bool {
        self.age_ms.is_some_and(|age| now_ms.saturating_sub(begin_ms) > age / PARTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Caps = Caps { log_bytes: None, log_lines: None, total_bytes: None, age: None };

    #[test]
    fn a_segment_is_an_eighth_of_the_caps_and_never_large() {
        assert_eq!(Limits::of(&ANY).segment_bytes, 1 << 20);
        assert_eq!(Limits::of(&Caps { log_bytes: Some(1), ..ANY }).segment_bytes, 512 << 10);
        assert_eq!(Limits::of(&Caps { log_lines: Some(5000), ..ANY }).segment_lines, 625);
        assert_eq!(Limits::of(&Caps { log_lines: Some(1), ..ANY }).segment_lines, 1);
    }

    #[test]
    fn without_caps_nothing_is_ever_too_much() {
        let limits = Limits::of(&ANY);
        assert!(!limits.is_over(u64::MAX, u64::MAX));
        assert!(!limits.is_too_old(0, u64::MAX) && !limits.is_too_long(0, u64::MAX));
    }

    #[test]
    fn closed_segments_leave_room_for_the_open_one() {
        let limits = Limits::of(&Caps { log_bytes: Some(8 << 20), log_lines: Some(80), ..ANY });
        assert!(!limits.is_over(7 << 20, 70));
        assert!(limits.is_over((7 << 20) + 1, 0) && limits.is_over(0, 71));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_old() {
        let limits = Limits::of(&Caps { age: Some(Duration::from_millis(80)), ..ANY });
        assert!(!limits.is_too_old(1000, 10) && !limits.is_too_long(1000, 10));
        assert!(!limits.is_too_old(0, 80) && limits.is_too_old(0, 81));
        assert!(!limits.is_too_long(0, 10) && limits.is_too_long(0, 11));
    }
}
