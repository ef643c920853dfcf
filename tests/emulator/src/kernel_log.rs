//! A machine's kernel log: a small ring of what happened to it, in the two forms that leave the machine.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;

/// Lines that are kept.
const CAPACITY: usize = 64;
/// Level of every line.
const LEVEL: &str = "info";
/// Facility of every line.
const FACILITY: &str = "kern";

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number since the boot.
    pub number: u64,
    /// When, by the machine's own clock.
    pub at: SystemTime,
    /// Since the boot.
    pub since_boot: Duration,
    /// What.
    pub text: String,
}

impl Line {
    /// As `Dmesg` sends it, line break included (node.md 1.3).
    #[must_use]
    pub fn to_dmesg(&self) -> String {
        format!("{FACILITY}: {LEVEL:>7}: [{}]: {}\n", time(self.at), self.text)
    }

    /// As it goes to the manager, line break included (fleet.md 1.9).
    #[must_use]
    pub fn to_json(&self) -> String {
        let clock = u64::try_from(self.since_boot.as_micros()).unwrap_or(u64::MAX);
        let line = json!({
            "msg": self.text,
            "talos-time": time(self.at),
            "talos-level": LEVEL,
            "facility": FACILITY,
            "seq": self.number,
            "clock": clock,
            "priority": LEVEL,
        });
        format!("{line}\n")
    }
}

fn time(at: SystemTime) -> String {
    Timestamp::try_from(at).map(|time| time.to_string()).unwrap_or_default()
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Line>,
    /// Number of the next line.
    next: u64,
}

/// The kernel log of a machine.
#[derive(Debug, Default)]
pub struct KernelLog {
    ring: Mutex<Ring>,
    written: watch::Sender<u64>,
}

impl KernelLog {
    /// Appends a line.
    pub fn write(&self, at: SystemTime, since_boot: Duration, text: impl Into<String>) {
        let next = {
            let mut ring = self.ring.lock();
            let line = Line { number: ring.next, at, since_boot, text: text.into() };
            ring.lines.push_back(line);
            if ring.lines.len() > CAPACITY {
                ring.lines.pop_front();
            }
            ring.next += 1;
            ring.next
        };
        self.written.send_replace(next);
    }

    /// Begins anew, as a reboot does.
    pub fn clear(&self) {
        *self.ring.lock() = Ring::default();
    }

    /// What is there.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.ring.lock().lines.iter().cloned().collect()
    }

    /// Number of the next line.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.ring.lock().next
    }

    /// The line with this number or the first one after it, waiting for it; the number moves behind it. Cancel safe.
    pub async fn next(&self, number: &mut u64) -> Line {
        let mut written = self.written.subscribe();
        loop {
            written.borrow_and_update();
            let line = self.ring.lock().lines.iter().find(|line| line.number >= *number).cloned();
            if let Some(line) = line {
                *number = line.number + 1;
                return line;
            }
            // The sender lives as long as the ring.
            let _ = written.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[tokio::test]
    async fn lines_have_the_two_forms_of_the_wire() {
        let log = KernelLog::default();
        log.write(UNIX_EPOCH + Duration::from_secs(1), Duration::from_millis(2), "up");
        let mut number = 0;
        let line = log.next(&mut number).await;
        assert_eq!(line.to_dmesg(), "kern:    info: [1970-01-01T00:00:01Z]: up\n");
        let json: serde_json::Value = serde_json::from_str(&line.to_json()).expect("JSON");
        assert_eq!((&json["msg"], &json["seq"], &json["clock"]), (&json!("up"), &json!(0), &json!(2000)));
        assert_eq!(number, 1);
    }

    #[test]
    fn the_ring_is_small_and_a_boot_empties_it() {
        let log = KernelLog::default();
        for count in 0..100 {
            log.write(UNIX_EPOCH, Duration::ZERO, count.to_string());
        }
        assert_eq!((log.lines().len(), log.end()), (CAPACITY, 100));
        log.clear();
        assert_eq!((log.lines().len(), log.end()), (0, 0));
    }
}
