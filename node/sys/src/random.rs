//! The kernel's random numbers.

use std::fs::File;
use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Result;
use crate::error::failed;

const DEVICE: &str = "/dev/random";

/// Waits until the kernel has gathered enough for random numbers, at most for `limit`, and tells whether it has. Whoever
/// asks it for some before that blocks without a word.
///
/// # Errors
/// When there is no `/dev/random`.
pub fn wait(limit: Duration) -> Result<bool> {
    poll_device(limit).map_err(failed("wait for", DEVICE))
}

fn poll_device(limit: Duration) -> io::Result<bool> {
    let device = File::open(DEVICE)?;
    let mut fds = [PollFd::new(&device, PollFlags::IN)];
    // A limit that the kernel's type does not hold is none.
    let timeout = Timespec::try_from(limit).ok();
    poll(&mut fds, timeout.as_ref())?;
    let [fd] = fds;
    Ok(fd.revents().contains(PollFlags::IN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_runs_for_long_has_random_numbers() {
        assert!(wait(Duration::ZERO).expect("there is a device"));
    }
}
