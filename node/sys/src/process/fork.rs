//! Forking a helper that runs our own code, for programs with one thread.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::child::clone3;
use crate::error::failed;
use crate::namespace::Namespaces;
use crate::{Error, Result};

/// A forked helper.
#[derive(Debug)]
pub struct Forked {
    /// Process id as this process sees it.
    pub pid: u32,
    /// Descriptor that stands for exactly this process.
    pub pidfd: OwnedFd,
}

/// Forks this process into fresh namespaces and runs `body` in the child, whose exit code is what `body` returns.
/// With [`Namespaces::PID`] the child is process 1 of its namespace.
///
/// Refuses if this process has more than one thread: a lock that another thread holds would stay locked in the child
/// for ever.
pub fn fork_single_threaded(namespaces: Namespaces, body: impl FnOnce() -> i32) -> Result<Forked> {
    let threads =
        std::fs::read_dir("/proc/self/task").map_err(failed("count the threads of", "this process"))?;
    if threads.count() != 1 {
        return Err(Error::new("fork", "a process with several threads", io::ErrorKind::InvalidInput));
    }
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_PIDFD as u64 | u64::from(namespaces.bits());
    // SAFETY: this process has one thread, so the child is a complete program and may do anything.
    match unsafe { clone3(flags, &mut pidfd) }.map_err(failed("fork", "this process"))? {
        0 => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(101);
            // SAFETY: _exit takes an integer. Exit handlers belong to the parent and are not run.
            unsafe { libc::_exit(code) }
        }
        // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
        pid => Ok(Forked { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}
