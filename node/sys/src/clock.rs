//! The kernel's clocks: reading, setting, disciplining.

use std::mem::MaybeUninit;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::error::failed;
use crate::ffi::check;
use crate::{Kernel, Result};

/// What the kernel thinks of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discipline {
    /// Offset still to be slewed, in nanoseconds.
    pub offset_ns: i64,
    /// Frequency correction in 2^-16 parts per million.
    pub frequency: i64,
    /// Largest error, in microseconds.
    pub max_error_us: i64,
    /// Estimated error, in microseconds.
    pub estimated_error_us: i64,
    /// `STA_*` bits.
    pub status: i32,
    /// Whether the clock counts as synchronized.
    pub synchronized: bool,
    /// Time constant of the loop.
    pub constant: i64,
}

/// The machine's wall clock.
pub trait SystemClock: Send + Sync {
    /// Steps the clock to a time since the Unix epoch.
    fn step(&self, since_epoch: Duration) -> Result<()>;
    /// Makes the kernel remove this offset slowly and counts the clock as synchronized.
    fn slew(&self, offset_ns: i64) -> Result<Discipline>;
    /// Reads the discipline.
    fn discipline(&self) -> Result<Discipline>;
}

impl SystemClock for Kernel {
    fn step(&self, since_epoch: Duration) -> Result<()> {
        let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
        let time = Timespec { tv_sec: seconds, tv_nsec: since_epoch.subsec_nanos().into() };
        clock_settime(ClockId::Realtime, time).map_err(failed("set", "the clock"))
    }

    fn slew(&self, offset_ns: i64) -> Result<Discipline> {
        let mut timex = empty_timex();
        timex.modes =
            libc::ADJ_OFFSET | libc::ADJ_NANO | libc::ADJ_STATUS | libc::ADJ_MAXERROR | libc::ADJ_ESTERROR;
        timex.offset = offset_ns;
        timex.status = libc::STA_PLL;
        timex.maxerror = 0;
        timex.esterror = 0;
        adjust(&mut timex).map_err(failed("discipline", "the clock"))
    }

    fn discipline(&self) -> Result<Discipline> {
        adjust(&mut empty_timex()).map_err(failed("read the discipline of", "the clock"))
    }
}

/// Time since boot, suspended time included.
pub fn since_boot() -> Duration {
    duration(clock_gettime(ClockId::Boottime))
}

/// Monotonic time.
pub fn monotonic() -> Duration {
    duration(clock_gettime(ClockId::Monotonic))
}

/// Wall-clock time in milliseconds since the Unix epoch.
pub fn unix_ms() -> u64 {
    u64::try_from(duration(clock_gettime(ClockId::Realtime)).as_millis()).unwrap_or(u64::MAX)
}

fn duration(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn empty_timex() -> libc::timex {
    // SAFETY: `timex` is a plain C structure of integers, for which all zeros is a valid value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn adjust(timex: &mut libc::timex) -> std::io::Result<Discipline> {
    // SAFETY: the pointer is to a valid `timex` for the length of the call.
    let state = check(unsafe { libc::adjtimex(timex) })?;
    let is_nano = timex.status & libc::STA_NANO != 0;
    Ok(Discipline {
        offset_ns: if is_nano { timex.offset } else { timex.offset.saturating_mul(1000) },
        frequency: timex.freq,
        max_error_us: timex.maxerror,
        estimated_error_us: timex.esterror,
        status: timex.status,
        synchronized: state != libc::TIME_ERROR,
        constant: timex.constant,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_run_forward() {
        let (monotonic_before, boot_before) = (monotonic(), since_boot());
        assert!(monotonic() >= monotonic_before && since_boot() >= boot_before);
        assert!(unix_ms() > 1_700_000_000_000);
        Kernel.discipline().unwrap();
    }
}
