//! How the kernel shares processors among threads (`sched(7)`).

use std::mem::MaybeUninit;

use libc::sched_attr;

use crate::error::failed;
use crate::ffi::check;
use crate::Result;

/// The shortest slice that Linux grants, in nanoseconds (`sched_setattr(2)`; since 6.12, and no error before).
const SHORT_SLICE: u64 = 100_000;
/// The lowest of the priorities before all that are not real-time.
const FIRST_PRIORITY: u32 = 1;

/// When a thread that has something to do gets a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// In short slices, and so soon: for those who answer others in less time than the usual slice takes. What they start
    /// has the usual one.
    Prompt,
    /// When nobody else wants it.
    Last,
    /// Before everybody who is not real-time.
    First,
}

/// Decides that for the calling thread.
///
/// # Errors
/// When the kernel refuses: [`Turn::First`] is a privilege.
pub fn take(turn: Turn) -> Result<()> {
    let mut attributes = own().map_err(failed("read", SUBJECT))?;
    match turn {
        Turn::Prompt => {
            attributes.sched_runtime = SHORT_SLICE;
            attributes.sched_flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
        }
        Turn::Last => attributes.sched_policy = libc::SCHED_IDLE as u32,
        Turn::First => {
            attributes.sched_policy = libc::SCHED_FIFO as u32;
            attributes.sched_priority = FIRST_PRIORITY;
        }
    }
    // SAFETY: the kernel reads a structure of the size that it names, and keeps nothing of it.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    check(result).map(drop).map_err(failed("change", SUBJECT))
}

const SUBJECT: &str = "when this thread gets a processor";

fn own() -> std::io::Result<sched_attr> {
    let mut attributes = MaybeUninit::<sched_attr>::zeroed();
    let size = size_of::<sched_attr>() as u32;
    // SAFETY: the kernel writes at most the size that it is told.
    check(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, attributes.as_mut_ptr(), size, 0) })?;
    // SAFETY: the kernel has filled it, and it consists of numbers, for which every pattern is valid.
    Ok(unsafe { attributes.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the kernel: the policy of the calling thread (proc(5), the 41st field).
    fn policy() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("stat");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        fields.split_ascii_whitespace().nth(38).expect("a policy").parse().expect("a number")
    }

    #[test]
    fn a_thread_comes_last_and_others_stay_as_they_are() {
        let thread = std::thread::spawn(|| take(Turn::Last).map(|()| policy()));
        assert_eq!(thread.join().expect("no panic").expect("anybody may"), libc::SCHED_IDLE);
        assert_eq!(policy(), libc::SCHED_OTHER);
    }

    #[test]
    fn short_slices_are_not_inherited() {
        let slice = || own().expect("attributes").sched_runtime;
        let usual = slice();
        let thread = std::thread::spawn(move || {
            take(Turn::Prompt).expect("anybody may");
            let started = std::thread::spawn(slice).join().expect("no panic");
            (slice(), started)
        });
        let (own, started) = thread.join().expect("no panic");
        assert_eq!(started, usual);
        // Kernels before 6.12 have one slice for all, and do not tell it.
        assert!(own == SHORT_SLICE || usual == 0, "{own} ns");
    }
}
