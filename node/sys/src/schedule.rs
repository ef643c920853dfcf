//! How the kernel shares processors among threads (`sched(7)`).

use std::mem::MaybeUninit;

use libc::sched_attr;

use crate::Result;
use crate::error::failed;
use crate::ffi::check;

/// The shortest slice that Linux grants, in nanoseconds (`sched_setattr(2)`; since 6.12, and no error before).
const SHORT_SLICE: u64 = 100_000;
const SUBJECT: &str = "the slices of this thread";

/// The calling thread works in short slices, and so has its turn soon: for those who answer in less time than the usual
/// slice takes. What it starts has the usual one.
///
/// # Errors
/// When the kernel refuses.
pub fn be_prompt() -> Result<()> {
    let mut attributes = own().map_err(failed("read", SUBJECT))?;
    attributes.sched_runtime = SHORT_SLICE;
    attributes.sched_flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
    // SAFETY: the kernel reads a structure of the size that it names, and keeps nothing of it.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    check(result).map(drop).map_err(failed("shorten", SUBJECT))
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
    fn short_slices_are_not_inherited() {
        let slice = || own().expect("attributes").sched_runtime;
        let usual = slice();
        let thread = std::thread::spawn(move || {
            be_prompt().expect("anybody may");
            let started = std::thread::spawn(slice).join().expect("no panic");
            (slice(), started)
        });
        let (own, started) = thread.join().expect("no panic");
        assert_eq!(started, usual);
        // Kernels before 6.12 have one slice for all, and do not tell it.
        assert!(own == SHORT_SLICE || usual == 0, "{own} ns");
    }
}
