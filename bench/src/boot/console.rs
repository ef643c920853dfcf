//! The console of a machine as it grows: when each line came, and what the kernel says of its time.
//!
//! On a serial console the kernel puts its own time before a line, seconds since its start. A line that came at `w` on
//! the host and bears `t` says that the kernel started at `w - t` or earlier; the earliest of these is closest. So
//! firmware and boot loader count on neither side, and nothing has to be asked of the machine.

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

/// How often the file is looked at.
const POLL: Duration = Duration::from_millis(20);

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// When it was seen.
    pub seen: SystemTime,
    /// The kernel's time of it, seconds.
    pub stamp: Option<f64>,
    /// The rest.
    pub text: String,
}

/// A console that is followed.
#[derive(Debug)]
pub struct Console {
    path: PathBuf,
    read: u64,
    rest: String,
    lines: Vec<Line>,
}

impl Console {
    /// The console in this file from now on; what earlier boots wrote does not count.
    #[must_use]
    pub fn from_now(path: &Path) -> Self {
        let read = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Self { path: path.to_owned(), read, rest: String::new(), lines: Vec::new() }
    }

    /// Follows it for ever.
    pub async fn follow(&mut self) -> Result<Infallible> {
        loop {
            self.take().with_context(|| format!("cannot read {}", self.path.display()))?;
            tokio::time::sleep(POLL).await;
        }
    }

    fn take(&mut self) -> std::io::Result<()> {
        let Ok(mut file) = File::open(&self.path) else { return Ok(()) };
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        self.read += file.read_to_end(&mut bytes)? as u64;
        self.add(&String::from_utf8_lossy(&bytes), SystemTime::now());
        Ok(())
    }

    fn add(&mut self, text: &str, seen: SystemTime) {
        self.rest.push_str(text);
        while let Some((line, rest)) = self.rest.split_once('\n') {
            let (stamp, text) = parse(line.trim_end());
            self.lines.push(Line { seen, stamp, text: text.to_owned() });
            self.rest = rest.to_owned();
        }
    }

    /// The lines so far.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// When the kernel wrote its first line.
    #[must_use]
    pub fn kernel_start(&self) -> Option<SystemTime> {
        let start = |line: &Line| line.seen.checked_sub(Duration::try_from_secs_f64(line.stamp?).ok()?);
        self.lines.iter().filter_map(start).min()
    }
}

/// The kernel's time of a line, and the rest.
fn parse(line: &str) -> (Option<f64>, &str) {
    let stamped = || {
        let (stamp, rest) = line.strip_prefix('[')?.split_once("] ")?;
        Some((stamp.trim().parse().ok()?, rest))
    };
    stamped().map_or((None, line), |(stamp, rest)| (Some(stamp), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_time_is_told_from_the_text() {
        assert_eq!(parse("[   12.500000] floor: etcd"), (Some(12.5), "floor: etcd"));
        assert_eq!(parse("floor: etcd"), (None, "floor: etcd"));
        assert_eq!(parse("[drm] no"), (None, "[drm] no"));
    }

    #[test]
    fn the_line_that_came_fastest_dates_the_kernels_start() {
        let mut console = Console::from_now(Path::new("/nonexistent"));
        let at = |seconds: f64| SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds);
        console.add("firmware\n[    2.0] a\n[  3.0", at(102.5));
        console.add("] b\n", at(103.1));
        assert_eq!(console.lines().len(), 3);
        assert_eq!(console.kernel_start(), Some(at(100.1)));
        assert_eq!(Console::from_now(Path::new("/nonexistent")).kernel_start(), None);
    }
}
