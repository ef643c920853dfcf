//! Service logs: append-only files that writers own and we only read, bound and forget.
//!
//! A log is bounded by punching a hole at its start: its memory or blocks are freed while offsets stay
//! what they were, so a follower loses nothing and no writer has to be told.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use corten_base::paths;
use rustix::fs::{FallocateFlags, fallocate, inotify};
use tokio::io::unix::AsyncFd;

use crate::evidence::Ring;

/// Bytes kept of a log in memory, before EPHEMERAL is there.
const EARLY_BYTES_MAX: u64 = 128 * 1024;
/// Bytes kept of a log on disk.
const BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How often logs are bounded.
const BOUND_EVERY: Duration = Duration::from_secs(60);
/// What a follower reads at once.
const READ_BYTES: usize = 16 * 1024;
/// Furthest that is looked back for lines.
const TAIL_BYTES_MAX: u64 = 1024 * 1024;

/// The file of a log, if there is one: `etcd` for a service, `etcd@-1` for what it wrote in the boot before, `etcd@12` in
/// the boot of that number. Boots also have the logs `kernel`, `console` and, after a panic, `panic`.
#[must_use]
pub fn path_of(log: &str) -> Option<PathBuf> {
    match log.rsplit_once('@') {
        Some((name, boot)) if is_plain(name) => {
            Ring::below(Path::new(paths::LOG)).find(name, boot.parse().ok()?, &boot_id())
        }
        Some(_) => None,
        None if is_plain(log) => {
            let folders = [paths::LOG, paths::EARLY_LOG];
            let paths = folders.map(|folder| Path::new(folder).join(format!("{log}.log")));
            paths.into_iter().find(|path| path.is_file())
        }
        None => None,
    }
}

/// What a service wrote in the boot before.
#[must_use]
pub fn earlier(service: &str) -> Option<PathBuf> {
    let is_named = is_plain(service) && !service.contains('@');
    is_named.then(|| Ring::below(Path::new(paths::LOG)).find(service, -1, &boot_id()))?
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && !name.starts_with('.')
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Ids of the logs that there are: those of services, and those of the boot before.
#[must_use]
pub fn services() -> Vec<String> {
    let mut ids: Vec<String> = [paths::LOG, paths::EARLY_LOG]
        .into_iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten())
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log").map(str::to_owned))
        .collect();
    ids.extend(
        Ring::below(Path::new(paths::LOG)).before(&boot_id()).into_iter().map(|log| format!("{log}@-1")),
    );
    ids.sort();
    ids.dedup();
    ids
}

/// How much of a log a reader wants to see first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Everything that is kept.
    Everything,
    /// The last lines.
    Lines(usize),
}

impl From<i32> for Tail {
    fn from(lines: i32) -> Self {
        usize::try_from(lines).map_or(Self::Everything, Self::Lines)
    }
}

/// A reader of one log, which may have begun in the boot before.
#[derive(Debug)]
pub struct Reader {
    earlier: Option<File>,
    file: File,
    path: PathBuf,
}

impl Reader {
    /// Opens a log at the wanted place.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(path: &Path, tail: Tail) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let start = start_of(&mut file, tail)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(Self { earlier: None, file, path: path.to_owned() })
    }

    /// Opens a log at the wanted place, which may be in what was written in the boot before.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn with_earlier(earlier: Option<&Path>, path: &Path, tail: Tail) -> io::Result<Self> {
        let mut reader = Self::open(path, tail)?;
        let Some(earlier) = earlier else { return Ok(reader) };
        let missing = match tail {
            Tail::Everything => Tail::Everything,
            Tail::Lines(lines) => {
                let mut text = Vec::new();
                let start = reader.file.stream_position()?;
                (&reader.file).take(TAIL_BYTES_MAX).read_to_end(&mut text)?;
                reader.file.seek(SeekFrom::Start(start))?;
                Tail::Lines(lines.saturating_sub(text.iter().filter(|byte| **byte == b'\n').count()))
            }
        };
        if missing != Tail::Lines(0) {
            let mut file = File::open(earlier)?;
            let start = start_of(&mut file, missing)?;
            file.seek(SeekFrom::Start(start))?;
            reader.earlier = Some(file);
        }
        Ok(reader)
    }

    /// What was written since the last call; empty at the end of the log.
    ///
    /// # Errors
    /// When reading fails.
    pub fn read(&mut self) -> io::Result<Bytes> {
        if let Some(file) = &mut self.earlier {
            let mut buffer = vec![0; READ_BYTES];
            let read = file.read(&mut buffer)?;
            if read > 0 {
                buffer.truncate(read);
                return Ok(Bytes::from(buffer));
            }
            self.earlier = None;
        }
        let end = self.file.metadata()?.len();
        if end < self.file.stream_position()? {
            self.file.seek(SeekFrom::Start(0))?;
        }
        let mut buffer = vec![0; READ_BYTES];
        let read = self.file.read(&mut buffer)?;
        buffer.truncate(read);
        Ok(Bytes::from(buffer))
    }

    /// Waits until something may have been written. Cancel safe.
    ///
    /// # Errors
    /// When the kernel cannot watch the file.
    pub async fn changed(&self, watch: &Watch) -> io::Result<()> {
        watch.wait().await
    }

    /// Starts watching the file; begin before the last [`Reader::read`], so that nothing is missed.
    ///
    /// # Errors
    /// When the kernel cannot watch the file.
    pub fn watch(&self) -> io::Result<Watch> {
        let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&fd, &self.path, inotify::WatchFlags::MODIFY)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; the watch owns its descriptor and closes it last"
        )]
        let watched = AsyncFd::with_interest(fd, tokio::io::Interest::READABLE)?;
        Ok(Watch(watched))
    }
}

/// A watch on one log file.
#[derive(Debug)]
pub struct Watch(AsyncFd<std::os::fd::OwnedFd>);

impl Watch {
    async fn wait(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut events = [0; 1024];
        while rustix::io::read(self.0.as_fd(), &mut events).is_ok_and(|read| read > 0) {}
        ready.clear_ready();
        Ok(())
    }
}

/// Offset from which to read.
fn start_of(file: &mut File, tail: Tail) -> io::Result<u64> {
    let end = file.metadata()?.len();
    let first = first_data(file, end);
    let Tail::Lines(lines) = tail else { return Ok(first) };
    if lines == 0 {
        return Ok(end);
    }
    let from = first.max(end.saturating_sub(TAIL_BYTES_MAX));
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut text)?;
    Ok(from + last_lines(&text, lines) as u64)
}

/// Index where the last `lines` lines of `text` begin.
fn last_lines(text: &[u8], lines: usize) -> usize {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let breaks = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    breaks.map(|(index, _)| index + 1).nth(lines - 1).unwrap_or(0)
}

/// First offset that was not freed, and then the first whole line.
pub fn first_data(file: &mut File, end: u64) -> u64 {
    let data = rustix::fs::seek(file.as_fd(), rustix::fs::SeekFrom::Data(0)).unwrap_or(end).min(end);
    if data == 0 {
        return 0;
    }
    let mut head = vec![0; READ_BYTES];
    let _ = file.seek(SeekFrom::Start(data));
    let read = file.read(&mut head).unwrap_or(0);
    let line = head.iter().take(read).position(|byte| *byte == b'\n').map_or(0, |index| index + 1);
    data + line as u64
}

/// Keeps the logs bounded, for ever.
pub async fn bound() {
    loop {
        tokio::time::sleep(BOUND_EVERY).await;
        let work = || {
            bound_folder(Path::new(paths::EARLY_LOG), EARLY_BYTES_MAX);
            bound_folder(Path::new(paths::LOG), BYTES_MAX);
        };
        if let Err(error) = corten_base::blocking(BOUND_EVERY, work).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "logs were not bounded");
        }
    }
}

fn bound_folder(folder: &Path, bytes_max: u64) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "log")
            && let Err(error) = bound_file(&path, bytes_max)
        {
            tracing::warn!(path = %path.display(), error = &error as &dyn std::error::Error, "log was not bounded");
        }
    }
}

/// Frees what is at the start of a log until no more than this is left.
///
/// # Errors
/// When the file system refuses.
pub fn bound_file(path: &Path, bytes_max: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let end = file.metadata()?.len();
    if end > bytes_max {
        fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, end - bytes_max)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn log(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("text");
        file
    }

    #[test]
    fn a_tail_counts_whole_lines() {
        let file = log("one\ntwo\nthree\n");
        for (tail, expected) in [
            (Tail::Lines(1), "three\n"),
            (Tail::Lines(2), "two\nthree\n"),
            (Tail::Lines(9), "one\ntwo\nthree\n"),
            (Tail::Lines(0), ""),
            (Tail::Everything, "one\ntwo\nthree\n"),
        ] {
            let bytes = Reader::open(file.path(), tail).expect("open").read().expect("read");
            assert_eq!(bytes, expected, "{tail:?}");
        }
    }

    #[test]
    fn a_log_goes_on_where_the_boot_before_left_it() {
        let (earlier, file) = (log("one\ntwo\n"), log("three\nfour\n"));
        for (tail, expected) in [
            (Tail::Everything, "one\ntwo\nthree\nfour\n"),
            (Tail::Lines(1), "four\n"),
            (Tail::Lines(2), "three\nfour\n"),
            (Tail::Lines(3), "two\nthree\nfour\n"),
            (Tail::Lines(9), "one\ntwo\nthree\nfour\n"),
            (Tail::Lines(0), ""),
        ] {
            let reader = Reader::with_earlier(Some(earlier.path()), file.path(), tail);
            let mut reader = reader.expect("open");
            let mut text = Vec::new();
            loop {
                let bytes = reader.read().expect("read");
                if bytes.is_empty() {
                    break;
                }
                text.extend_from_slice(&bytes);
            }
            assert_eq!(String::from_utf8_lossy(&text), expected, "{tail:?}");
        }
    }

    #[test]
    fn a_bounded_log_keeps_its_end_and_its_followers() {
        let line = "x".repeat(99) + "\n";
        let mut file = log(&line.repeat(1000));
        let mut follower = Reader::open(file.path(), Tail::Lines(0)).expect("open");
        bound_file(file.path(), 8192).expect("bound");
        file.write_all(b"after\n").expect("append");
        assert_eq!(follower.read().expect("read"), "after\n");
        let kept = Reader::open(file.path(), Tail::Everything).expect("open").read().expect("read");
        assert!(kept.starts_with(b"xxx") && kept.ends_with(b"after\n"), "{} bytes", kept.len());
        assert!(kept.len() <= 8192 + 4096 + 6);
    }

    #[tokio::test]
    async fn a_follower_is_woken() {
        let mut file = log("");
        let reader = Reader::open(file.path(), Tail::Everything).expect("open");
        let watch = reader.watch().expect("watch");
        file.write_all(b"now\n").expect("append");
        reader.changed(&watch).await.expect("woken");
    }

    #[test]
    fn names_do_not_leave_the_log_folder() {
        for name in ["../etc/passwd", "", ".hidden", "a/b", "../x@-1", "a/b@1", "@-1", "etcd@x", "etcd@"] {
            assert_eq!(path_of(name), None);
        }
    }
}
