//! When which machine's TCP is looked at: one entry for each machine that has something to wait for, and one task.
//!
//! An entry that has become too early stays: one look too many costs less than an entry that is moved with each packet.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

use parking_lot::Mutex;
use smoltcp::time::Instant;
use tokio::sync::Notify;

/// Looks at one machine are at least so far apart, so that nothing can keep the task busy.
const APART: Duration = Duration::from_millis(1);

/// The entries.
#[derive(Debug, Default)]
pub struct Timers {
    entries: Mutex<BTreeSet<(Instant, Ipv6Addr)>>,
    /// The first entry is another one.
    changed: Notify,
}

impl Timers {
    /// Has a machine looked at when it is time, and notes it in `scheduled`.
    pub fn set(
        &self,
        address: Ipv6Addr,
        scheduled: &mut Option<Instant>,
        next: Option<Instant>,
        now: Instant,
    ) {
        let Some(next) = next.map(|next| next.max(now + APART.into())) else { return };
        if scheduled.is_some_and(|at| at <= next) {
            return;
        }
        let mut entries = self.entries.lock();
        if let Some(at) = scheduled.replace(next) {
            entries.remove(&(at, address));
        }
        entries.insert((next, address));
        if entries.first() == Some(&(next, address)) {
            self.changed.notify_one();
        }
    }

    /// Forgets the entry of a machine.
    pub fn remove(&self, address: Ipv6Addr, scheduled: &mut Option<Instant>) {
        if let Some(at) = scheduled.take() {
            self.entries.lock().remove(&(at, address));
        }
    }

    /// When the first one is due.
    pub fn first(&self) -> Option<Instant> {
        self.entries.lock().first().map(|(at, _)| *at)
    }

    /// Waits until another one is the first.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes a machine that is due.
    pub fn pop(&self, now: Instant) -> Option<Ipv6Addr> {
        let mut entries = self.entries.lock();
        let (_, address) = entries.first().copied().filter(|(at, _)| *at <= now)?;
        entries.pop_first();
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    const TWO: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

    const fn at(seconds: i64) -> Instant {
        Instant::from_micros_const(seconds * 1_000_000)
    }

    #[test]
    fn each_machine_has_one_entry_which_only_moves_to_an_earlier_time() {
        let timers = Timers::default();
        let (mut one, mut two) = (None, None);
        timers.set(ONE, &mut one, Some(at(300)), at(0));
        timers.set(TWO, &mut two, Some(at(9)), at(0));
        for (next, expected) in [(5, 5), (7, 5), (3, 3)] {
            timers.set(ONE, &mut one, Some(at(next)), at(0));
            assert_eq!((one, timers.entries.lock().len()), (Some(at(expected)), 2));
        }
        timers.set(ONE, &mut one, None, at(0));
        assert_eq!((timers.pop(at(2)), timers.first()), (None, Some(at(3))));
        assert_eq!((timers.pop(at(4)), timers.pop(at(4))), (Some(ONE), None));
        timers.remove(TWO, &mut two);
        assert_eq!((two, timers.first()), (None, None));
    }

    #[test]
    fn what_is_always_due_is_looked_at_a_moment_later() {
        let timers = Timers::default();
        let mut one = None;
        timers.set(ONE, &mut one, Some(at(0)), at(5));
        assert_eq!(timers.pop(at(5)), None);
        assert_eq!(timers.pop(at(6)), Some(ONE));
    }
}
