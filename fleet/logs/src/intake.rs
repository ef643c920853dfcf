//! Taking lines in: redacted, within a machine's rate and its share of the queue.
//!
//! ```text
//! line ─redact, cut─▶ Bucket ─admitted─▶ share of the machine ─▶ room of the queue ─▶ Writer
//!                       └─too fast─▶ Losses ─each flush─▶ marker line in the log
//! ```
//!
//! Above its rate a machine loses lines and is told; a full queue holds it back and loses nothing. Its share is small,
//! so that others find room while it waits.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corten_base::{Bucket, redact};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use crate::error::LogError;
use crate::frame::{Arrival, LINE_MAX};
use crate::shared::{Entry, Shared};

/// Longest line of a machine, bytes; longer ones are cut and say so.
pub const MACHINE_LINE_MAX: usize = 64 * 1024;
/// Bytes of lines in the queue.
pub(crate) const QUEUE_BYTES: usize = 16 << 20;
/// Bytes of one log among them; the longest line fits.
pub(crate) const SHARE_BYTES: usize = 2 * LINE_MAX;
/// What a line in the queue costs beside its bytes.
const ITEM_BYTES: usize = 256;

/// How fast lines are taken from one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes of lines per second.
    pub bytes_per_second: NonZeroU64,
    /// Bytes that are taken at once from a machine that was silent; 0 means those of a second.
    pub burst_bytes: u64,
}

impl Rate {
    fn of_bytes(self) -> corten_base::Rate {
        let per_second = self.bytes_per_second.get();
        let burst = if self.burst_bytes == 0 { per_second } else { self.burst_bytes };
        corten_base::Rate { per_second, burst }
    }

    /// Whether a line is taken now. After silence any line is.
    fn admits(self, bucket: &mut Bucket, bytes: usize, now: Instant) -> bool {
        bucket.try_take(self.of_bytes(), bytes as u64, Duration::ZERO, now).is_some()
    }
}

/// Why lines were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// They came faster than the rate.
    Rate,
    /// The disk did not take them.
    Disk,
}

/// Lines of one log that were lost and not told yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    rate: Count,
    disk: Count,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    lines: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.lines = self.lines.saturating_add(other.lines);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl Losses {
    pub(crate) fn add(&mut self, loss: Loss, bytes: usize) {
        let count = match loss {
            Loss::Rate => &mut self.rate,
            Loss::Disk => &mut self.disk,
        };
        count.add(Count { lines: 1, bytes: bytes as u64 });
    }

    /// Adds what could not be told.
    pub(crate) fn merge(&mut self, other: Self) {
        self.rate.add(other.rate);
        self.disk.add(other.disk);
    }

    pub(crate) fn is_none(&self) -> bool {
        self.rate.lines == 0 && self.disk.lines == 0
    }

    /// The lines that tell it, with the keys of the lines of machines (fleet.md 1.9).
    pub(crate) fn markers(&self, time_ms: u64) -> Vec<Arrival> {
        let reasons = [(self.rate, "they came faster than its rate"), (self.disk, "the disk refused them")];
        let lost = reasons.into_iter().filter(|(count, _)| count.lines > 0);
        lost.map(|(count, why)| {
            let Count { lines, bytes } = count;
            let time = i64::try_from(time_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
            let line = serde_json::json!({
                "msg": format!("the manager dropped {lines} lines ({bytes} bytes) of this machine: {why}"),
                "talos-time": time.unwrap_or_default().to_string(),
                "talos-level": "warn",
                "facility": "corten-fleet",
                "priority": "warning",
                "seq": 0,
                "clock": 0,
            });
            Arrival::new(time_ms, Bytes::from(line.to_string()))
        })
        .collect()
    }
}

/// What the writer is asked for.
pub(crate) enum Job {
    /// To keep a line.
    Keep(Item),
    /// To make all lines that came before it survive a loss of power.
    Flush(oneshot::Sender<Result<(), LogError>>),
    /// To look at what was lost.
    Lost,
}

/// A line in the queue.
pub(crate) struct Item {
    pub(crate) entry: Arc<Entry>,
    pub(crate) arrival: Arrival,
    /// Who waits for its number.
    pub(crate) told: Option<oneshot::Sender<Result<u64, LogError>>>,
    /// Its room in the queue, given back when it is written.
    _room: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

/// The way into one log. Clones share its rate and its share of the queue.
#[derive(Clone)]
pub struct Intake {
    pub(crate) shared: Arc<Shared>,
    pub(crate) entry: Arc<Entry>,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").field("log", &self.entry.name()).finish_non_exhaustive()
    }
}

impl Intake {
    /// Takes a line of a machine, without the end of the line. What looks like a secret is taken out, what is longer
    /// than [`MACHINE_LINE_MAX`] is cut. Waits while the queue is full. A line above the rate is dropped and counted;
    /// the log will say so.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn append(&self, line: &[u8]) -> Result<(), LogError> {
        let line = cut(&redact(line));
        let is_admitted = match self.shared.rate() {
            Some(rate) => rate.admits(&mut self.entry.bucket(), line.len(), Instant::now()),
            None => true,
        };
        if !is_admitted {
            self.shared.lose(&self.entry, Loss::Rate, line.len());
            return Ok(());
        }
        self.queue(Arrival::new(self.shared.now_ms(), line), None).await
    }

    /// Keeps a line as it is and waits until it is written; its number.
    pub(crate) async fn keep(&self, arrival: Arrival) -> Result<u64, LogError> {
        let (tell, told) = oneshot::channel();
        self.queue(arrival, Some(tell)).await?;
        told.await.unwrap_or(Err(LogError::Closed))
    }

    async fn queue(
        &self,
        arrival: Arrival,
        told: Option<oneshot::Sender<Result<u64, LogError>>>,
    ) -> Result<(), LogError> {
        let cost = u32::try_from(arrival.bytes.len() + ITEM_BYTES).unwrap_or(u32::MAX);
        let share = room(self.entry.share(), cost).await?;
        let room = room(self.shared.room(), cost).await?;
        let item = Item { entry: Arc::clone(&self.entry), arrival, told, _room: (share, room) };
        self.shared.send(Job::Keep(item))
    }
}

async fn room(of: &Arc<Semaphore>, cost: u32) -> Result<OwnedSemaphorePermit, LogError> {
    Arc::clone(of).acquire_many_owned(cost).await.map_err(|_| LogError::Closed)
}

/// A line of at most [`MACHINE_LINE_MAX`], with a note when it was cut.
fn cut(line: &[u8]) -> Bytes {
    let (kept, rest) = line.split_at_checked(MACHINE_LINE_MAX).unwrap_or((line, <&[u8]>::default()));
    if rest.is_empty() {
        return Bytes::copy_from_slice(line);
    }
    // Not in the middle of a character of UTF-8.
    let torn = match rest.first() {
        Some(next) if is_continuation(*next) => {
            1 + kept.iter().rev().take(3).take_while(|byte| is_continuation(**byte)).count()
        }
        _ => 0,
    };
    let kept = kept.get(..kept.len() - torn).unwrap_or(kept);
    let note = format!(" [{} more bytes]", line.len() - kept.len());
    Bytes::from([kept, note.as_bytes()].concat())
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { bytes_per_second: NonZeroU64::new(1000).unwrap(), burst_bytes: 0 };

    #[test]
    fn a_machine_gets_its_rate_and_a_burst_of_a_second() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut bucket = Bucket::full(start);
        let mut taken = 0;
        for tenth in 10..110 {
            let now = after(tenth * 100);
            taken += (0..100).filter(|_| RATE.admits(&mut bucket, 100, now)).count();
        }
        assert_eq!(taken, 10 + 99, "a burst and what is earned in 9.9 s");
        assert!(RATE.admits(&mut bucket, 50_000, after(60_000)), "any line after silence");
        assert!(!RATE.admits(&mut bucket, 1, after(61_000)));
        let small = Rate { burst_bytes: 200, ..RATE };
        let mut bucket = Bucket::full(start);
        assert_eq!((0..100).filter(|_| small.admits(&mut bucket, 100, start)).count(), 2);
    }

    #[test]
    fn what_was_lost_is_told_in_a_line_like_those_of_machines() {
        let mut losses = Losses::default();
        assert!(losses.is_none() && losses.markers(0).is_empty());
        losses.add(Loss::Rate, 10);
        losses.add(Loss::Rate, 5);
        losses.merge(losses);
        let markers = losses.markers(1_700_000_000_123);
        let [marker] = markers.as_slice() else { panic!("one line: {markers:?}") };
        let line: serde_json::Value = serde_json::from_slice(&marker.bytes).expect("JSON");
        assert_eq!(line["talos-time"], "2023-11-14T22:13:20.123Z");
        assert!(line["msg"].as_str().is_some_and(|text| text.contains("4 lines (30 bytes)")), "{line}");
        losses.add(Loss::Disk, 1);
        assert_eq!(losses.markers(0).len(), 2);
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_says_so() {
        assert_eq!(cut(b"short"), "short");
        assert_eq!(cut(&[b'a'; MACHINE_LINE_MAX]).len(), MACHINE_LINE_MAX);
        let long = format!("{}äb", "a".repeat(MACHINE_LINE_MAX - 1));
        let line = cut(long.as_bytes());
        assert!(line.ends_with(b"aaa [3 more bytes]"), "{:?}", line.slice(line.len() - 30..));
    }
}
