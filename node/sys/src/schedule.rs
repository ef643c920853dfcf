//! How the kernel shares processors among threads (`sched(7)`).

use std::mem::MaybeUninit;

use libc::sched_attr;

use crate::Result;
use crate::error::failed;
use crate::ffi::check;

/// The shortest slice that Linux grants, in nanoseconds (`sched_setattr(2)`; since 6.12, and no error before).
const SHORT_SLICE: u64 = 100_000;
/// The nice value of a thread that goes before what it has started.
const BEFORE: i32 = -10;
const SUBJECT: &str = "the turns of this thread";

/// The calling thread works in short slices and goes before other threads of its control group, and so has its turn soon:
/// for those who answer in less time than the usual slice takes. What it starts is served as usual.
///
/// # Errors
/// When the kernel refuses. To go before others is a privilege; slices are short without it.
pub fn be_prompt() -> Result<()> {
    let usual = own().map_err(failed("read", SUBJECT))?;
    let flags = usual.sched_flags | libc::SCHED_FLAG_RESET_ON_FORK as u64;
    let prompt = sched_attr { sched_runtime: SHORT_SLICE, sched_flags: flags, ..usual };
    let first = sched_attr { sched_nice: BEFORE, ..prompt };
    set(&first).or_else(|_| set(&prompt)).map_err(failed("shorten", SUBJECT))
}

/// The calling thread goes before every thread that is not of real time (`SCHED_FIFO`, its lowest priority): for one that
/// measures how long others take. What it starts is served as usual.
///
/// # Errors
/// When the kernel refuses, as it does whom it does not grant `CAP_SYS_NICE`.
pub fn be_first() -> Result<()> {
    let usual = own().map_err(failed("read", SUBJECT))?;
    let flags = usual.sched_flags | libc::SCHED_FLAG_RESET_ON_FORK as u64;
    let policy = libc::SCHED_FIFO as u32;
    set(&sched_attr { sched_policy: policy, sched_priority: 1, sched_flags: flags, ..usual })
        .map_err(failed("raise", SUBJECT))
}

fn set(attributes: &sched_attr) -> std::io::Result<()> {
    // SAFETY: the kernel reads a structure of the size that it names, and keeps nothing of it.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const *attributes, 0) }).map(drop)
}

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

    #[test]
    #[expect(clippy::disallowed_methods, reason = "threads of its own, whose attributes nobody shares")]
    fn what_a_prompt_thread_starts_is_served_as_usual() {
        let attributes = || own().expect("attributes");
        let of = |attributes: sched_attr| (attributes.sched_runtime, attributes.sched_nice);
        let usual = of(attributes());
        let thread = std::thread::spawn(move || {
            be_prompt().expect("anybody may");
            let started = std::thread::spawn(attributes).join().expect("no panic");
            (of(attributes()), of(started))
        });
        let (own, started) = thread.join().expect("no panic");
        assert!(started.0 != SHORT_SLICE && started.1 != BEFORE, "{started:?}");
        // Kernels before 6.12 have one slice for all, and do not tell it.
        assert!(own.0 == SHORT_SLICE || usual.0 == 0, "{own:?}");
        assert!([BEFORE, usual.1].contains(&own.1), "{own:?}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "threads of its own, whose attributes nobody shares")]
    fn what_the_first_thread_starts_is_served_as_usual() {
        let policy = || own().expect("attributes").sched_policy;
        let thread = std::thread::spawn(move || {
            be_first().ok().map(|()| (policy(), std::thread::spawn(policy).join().expect("no panic")))
        });
        // Whoever may not is told so.
        if let Some(policies) = thread.join().expect("no panic") {
            assert_eq!(policies, (libc::SCHED_FIFO as u32, libc::SCHED_OTHER as u32));
        }
    }
}
