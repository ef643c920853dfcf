//! Watchdog timers: hardware that restarts a machine which stops telling that it is alive.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Result;
use crate::error::failed;
use crate::ffi::check;

const WDIOC_KEEPALIVE: libc::Ioctl = 0x8004_5705_u32 as libc::Ioctl;
const WDIOC_SETTIMEOUT: libc::Ioctl = 0xC004_5706_u32 as libc::Ioctl;
const WDIOC_GETTIMEOUT: libc::Ioctl = 0x8004_5707_u32 as libc::Ioctl;
/// Written before it is closed, so that closing disarms it.
const DISARM: &[u8] = b"V";

/// A watchdog that is armed. One that is dropped stays armed where the hardware allows it.
#[derive(Debug)]
pub struct Watchdog {
    path: PathBuf,
    file: File,
}

impl Watchdog {
    /// Opens a watchdog, which arms it.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().write(true).open(path).map_err(failed("open", path.display()))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Sets after how long a silent machine restarts; whole seconds. The hardware may round it.
    pub fn set_timeout(&self, timeout: Duration) -> Result<()> {
        let mut seconds = libc::c_int::try_from(timeout.as_secs()).unwrap_or(libc::c_int::MAX);
        // SAFETY: the request reads and writes one int at the pointer, which is valid for the call.
        check(unsafe { libc::ioctl(self.file.as_raw_fd(), WDIOC_SETTIMEOUT, &raw mut seconds) })
            .map(drop)
            .map_err(failed("set the timeout of", self.path.display()))
    }

    /// After how long a silent machine restarts.
    pub fn timeout(&self) -> Result<Duration> {
        let mut seconds: libc::c_int = 0;
        // SAFETY: the request writes one int to the pointer, which is valid for the call.
        check(unsafe { libc::ioctl(self.file.as_raw_fd(), WDIOC_GETTIMEOUT, &raw mut seconds) })
            .map_err(failed("read the timeout of", self.path.display()))?;
        Ok(Duration::from_secs(seconds.try_into().unwrap_or(0)))
    }

    /// Tells that the machine is alive.
    pub fn feed(&self) -> Result<()> {
        let mut ignored: libc::c_int = 0;
        // SAFETY: drivers that take the argument write at most one int to the pointer, which is valid for the call.
        check(unsafe { libc::ioctl(self.file.as_raw_fd(), WDIOC_KEEPALIVE, &raw mut ignored) })
            .map(drop)
            .map_err(failed("feed", self.path.display()))
    }

    /// Disarms it, unless its driver is set to go on for ever.
    pub fn disarm(mut self) -> Result<()> {
        self.file.write_all(DISARM).map_err(failed("disarm", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_watchdog_is_told() {
        assert!(Watchdog::open(Path::new("/dev/nonexistent")).is_err());
        let null = Watchdog::open(Path::new("/dev/null")).expect("a device");
        let error = null.set_timeout(Duration::from_secs(10)).expect_err("no watchdog");
        assert!(error.to_string().contains("set the timeout of /dev/null"), "{error}");
        assert!(null.timeout().is_err() && null.feed().is_err());
        null.disarm().expect("a letter");
    }
}
