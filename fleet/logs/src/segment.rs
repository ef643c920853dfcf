//! Segments of a log: files that are appended to while open, and one zstd frame when closed.
//!
//! ```text
//! FIRST.open:    head ‖ frame ‖ frame ‖ …
//! FIRST.closed:  head ‖ sealed( zstd( lines ) )
//! head:          magic ‖ form ‖ salt ‖ first, last, oldest, newest, size of the lines ‖ seal of all that
//! ```
//!
//! The head of an open segment knows its first line only. Heads and closed segments are written beside their place,
//! synced and renamed, so that only frames can be half written. A file is looked at when its seal fits the key.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use corten_base::fs::{Durability, write_atomic};

use crate::error::{LogError, failed};
use crate::frame::{self, Arrival, Line};
use crate::key::{Keys, SALT_BYTES, SEAL_BYTES, SegmentKey};

/// First bytes of every segment in the only format so far.
const MAGIC: [u8; 8] = *b"CORTLOG1";
/// Bytes of the head without its seal.
const FIELDS_BYTES: usize = MAGIC.len() + 1 + SALT_BYTES + 5 * 8;
/// Bytes of the head.
const HEAD_BYTES: usize = FIELDS_BYTES + SEAL_BYTES;
/// Longest file that is read, and most bytes of lines in it; ours have about a MiB.
const SEGMENT_MAX: usize = 16 << 20;
/// Effort of zstd.
const LEVEL: i32 = 3;

/// Which lines a segment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) first: u64,
    /// One less than `first` while there is no line.
    pub(crate) last: u64,
    /// Least and greatest time of its lines, Unix time in milliseconds.
    pub(crate) oldest_ms: u64,
    pub(crate) newest_ms: u64,
}

impl Extent {
    fn empty(first: u64) -> Self {
        Self { first, last: first.saturating_sub(1), oldest_ms: u64::MAX, newest_ms: 0 }
    }

    pub(crate) fn lines(&self) -> u64 {
        self.last.saturating_add(1).saturating_sub(self.first)
    }

    fn add(&mut self, line: &Line) {
        self.last = line.number;
        self.oldest_ms = self.oldest_ms.min(line.time_ms);
        self.newest_ms = self.newest_ms.max(line.time_ms);
    }
}

/// The form of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Open = 1,
    Closed = 2,
}

/// What stands at the beginning of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    form: Form,
    salt: [u8; SALT_BYTES],
    extent: Extent,
    /// Bytes of the lines before compression; 0 while open.
    size: u64,
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let Extent { first, last, oldest_ms, newest_ms } = self.extent;
        let mut bytes = [&MAGIC[..], &[self.form as u8], &self.salt].concat();
        for number in [first, last, oldest_ms, newest_ms, self.size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (form, rest) = bytes.strip_prefix(&MAGIC)?.split_first()?;
        let form = match form {
            1 => Form::Open,
            2 => Form::Closed,
            _ => return None,
        };
        let (salt, rest) = rest.split_first_chunk::<SALT_BYTES>()?;
        let (first, rest) = number(rest)?;
        let (last, rest) = number(rest)?;
        let (oldest_ms, rest) = number(rest)?;
        let (newest_ms, rest) = number(rest)?;
        let (size, _) = number(rest)?;
        let extent = Extent { first, last, oldest_ms, newest_ms };
        Some(Self { form, salt: *salt, extent, size })
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), rest))
}

/// Where a frame stands, for its seal: before the line with this number.
fn place(next: u64) -> [u8; 8] {
    next.to_le_bytes()
}

/// The segment that lines are appended to.
pub(crate) struct Open {
    pub(crate) extent: Extent,
    /// Bytes of its file that are good; what follows is overwritten.
    pub(crate) bytes: u64,
    key: SegmentKey,
}

impl Open {
    /// Number of the next line.
    pub(crate) fn next(&self) -> u64 {
        self.extent.last.saturating_add(1)
    }
}

/// A segment that does not change any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) extent: Extent,
    /// Bytes of its file.
    pub(crate) bytes: u64,
}

/// A segment as a reader knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) extent: Extent,
    /// How much of the file was good while it was open; nothing when it is closed.
    pub(crate) open_bytes: Option<u64>,
}

/// The folder of a log.
pub(crate) struct Folder {
    path: PathBuf,
    name: String,
    keys: Keys,
}

impl Folder {
    /// The folder of the log with this name, below `root`.
    pub(crate) fn new(root: &Path, name: &str, keys: &Keys) -> Self {
        Self { path: root.join(name), name: name.to_owned(), keys: keys.clone() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn open_path(&self, first: u64) -> PathBuf {
        self.path.join(format!("{first:020}.open"))
    }

    pub(crate) fn closed_path(&self, first: u64) -> PathBuf {
        self.path.join(format!("{first:020}.closed"))
    }

    /// Begins a segment; it is on the disk when this returns.
    pub(crate) fn create(&self, first: u64) -> Result<Open, LogError> {
        self.make()?;
        let path = self.open_path(first);
        let extent = Extent::empty(first);
        let head = Head { form: Form::Open, salt: self.keys.salt(), extent, size: 0 };
        let (_, bytes, key) = self.sealed_head(&head, &path)?;
        write_atomic(&path, &bytes, 0o600, Durability::Durable).map_err(failed("write", &path))?;
        Ok(Open { extent, bytes: bytes.len() as u64, key })
    }

    /// Makes the folder, such that it survives a loss of power.
    fn make(&self) -> Result<(), LogError> {
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            made => made.map_err(failed("make the folder", &self.path))?,
        }
        let parent = self.path.parent().unwrap_or(&self.path);
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed("sync", parent))
    }

    /// The fields of a head, the head as it is written, and the key of its segment.
    fn sealed_head(&self, head: &Head, path: &Path) -> Result<(Vec<u8>, Vec<u8>, SegmentKey), LogError> {
        let fields = head.encode();
        let refused = |_| LogError::Encode(path.to_owned());
        let key = self.keys.segment(&self.name, &head.salt).map_err(refused)?;
        let seal = key.seal(&fields, Vec::new()).map_err(refused)?;
        let bytes = [&fields[..], &seal[..]].concat();
        Ok((fields, bytes, key))
    }

    /// Takes up an open segment as it was left; says how many bytes at its end were half written and cut off.
    pub(crate) fn recover(&self, first: u64) -> Result<(Open, u64), LogError> {
        let path = self.open_path(first);
        let bytes = read(&path, SEGMENT_MAX).map_err(failed("read", &path))?;
        if bytes.len() < HEAD_BYTES {
            return Ok((self.create(first)?, bytes.len() as u64));
        }
        let (_, key, frames) = self.opened(&path, (Form::Open, first), &bytes)?;
        let (lines, good) = walk(&key, first, frames);
        let mut extent = Extent::empty(first);
        lines.iter().for_each(|line| extent.add(line));
        let cut = (frames.len() - good) as u64;
        let good = (HEAD_BYTES + good) as u64;
        if cut > 0 {
            let file = OpenOptions::new().write(true).open(&path).map_err(failed("open", &path))?;
            file.set_len(good).map_err(failed("shorten", &path))?;
        }
        Ok((Open { extent, bytes: good, key }, cut))
    }

    /// Appends lines as one frame. After an error none of them is there.
    pub(crate) fn append(&self, open: &mut Open, arrivals: &[Arrival]) -> Result<Vec<Line>, LogError> {
        let path = self.open_path(open.extent.first);
        let content = frame::encode(arrivals.iter().map(|arrival| (arrival.time_ms, &arrival.bytes)));
        let sealed = open.key.seal(&place(open.next()), content);
        let frame = frame::wrap(&sealed.map_err(|_| LogError::Encode(path.clone()))?);
        let file = OpenOptions::new().write(true).open(&path).map_err(failed("open", &path))?;
        file.write_all_at(&frame, open.bytes).map_err(failed("write", &path))?;
        open.bytes += frame.len() as u64;
        let numbered = (open.next()..).zip(arrivals);
        let lines: Vec<Line> = numbered
            .map(|(number, arrival)| Line { number, time_ms: arrival.time_ms, bytes: arrival.bytes.clone() })
            .collect();
        lines.iter().for_each(|line| open.extent.add(line));
        Ok(lines)
    }

    /// Makes what was appended survive a loss of power.
    pub(crate) fn sync(&self, open: &Open) -> Result<(), LogError> {
        let path = self.open_path(open.extent.first);
        File::open(&path).and_then(|file| file.sync_data()).map_err(failed("sync", &path))
    }

    /// Writes the closed form of an open segment beside it; it is on the disk when this returns.
    pub(crate) fn close(&self, open: &Open) -> Result<Closed, LogError> {
        let lines = self.read_open(open.extent.first, open.bytes)?.unwrap_or_default();
        let content = frame::encode(lines.iter().map(|line| (line.time_ms, &line.bytes)));
        let path = self.closed_path(open.extent.first);
        let encode = || LogError::Encode(path.clone());
        let packed = zstd::bulk::compress(&content, LEVEL).map_err(|_| encode())?;
        let extent = open.extent;
        let head = Head { form: Form::Closed, salt: self.keys.salt(), extent, size: content.len() as u64 };
        let (fields, mut bytes, key) = self.sealed_head(&head, &path)?;
        bytes.extend(key.seal(&fields, packed).map_err(|_| encode())?);
        write_atomic(&path, &bytes, 0o600, Durability::Durable).map_err(failed("write", &path))?;
        Ok(Closed { extent, bytes: bytes.len() as u64 })
    }

    /// What the head of a closed segment says.
    pub(crate) fn closed(&self, first: u64) -> Result<Closed, LogError> {
        let path = self.closed_path(first);
        let head = read(&path, HEAD_BYTES).map_err(failed("read", &path))?;
        let (head, ..) = self.opened(&path, (Form::Closed, first), &head)?;
        let bytes = path.metadata().map_err(failed("look at", &path))?.len();
        Ok(Closed { extent: head.extent, bytes })
    }

    /// The lines of a segment; none when it was given up meanwhile.
    pub(crate) fn lines(&self, segment: &Segment) -> Result<Vec<Line>, LogError> {
        let first = segment.extent.first;
        if let Some(bytes) = segment.open_bytes
            && let Some(lines) = self.read_open(first, bytes)?
        {
            return Ok(lines);
        }
        Ok(self.read_closed(first)?.unwrap_or_default())
    }

    /// The lines in the first so many bytes of an open segment, unless it is not there any more.
    fn read_open(&self, first: u64, bytes: u64) -> Result<Option<Vec<Line>>, LogError> {
        let path = self.open_path(first);
        let most = usize::try_from(bytes).unwrap_or(SEGMENT_MAX).min(SEGMENT_MAX);
        let found = present(read(&path, most)).map_err(failed("read", &path))?;
        let Some(bytes) = found else { return Ok(None) };
        let (_, key, frames) = self.opened(&path, (Form::Open, first), &bytes)?;
        Ok(Some(walk(&key, first, frames).0))
    }

    /// The lines of a closed segment, unless it is not there any more.
    fn read_closed(&self, first: u64) -> Result<Option<Vec<Line>>, LogError> {
        let path = self.closed_path(first);
        let found = present(read(&path, SEGMENT_MAX)).map_err(failed("read", &path))?;
        let Some(bytes) = found else { return Ok(None) };
        let (head, key, sealed) = self.opened(&path, (Form::Closed, first), &bytes)?;
        let lines = unpack(&head, &key, sealed).ok_or(LogError::Damaged(path))?;
        Ok(Some(lines))
    }

    /// The head of a segment whose seal fits, its key, and what follows the head. The form and the first line are what
    /// the name of the file says.
    fn opened<'a>(
        &self,
        path: &Path,
        (form, first): (Form, u64),
        bytes: &'a [u8],
    ) -> Result<(Head, SegmentKey, &'a [u8]), LogError> {
        let format = || LogError::Format(path.to_owned());
        let (fields, rest) = bytes.split_at_checked(FIELDS_BYTES).ok_or_else(format)?;
        let (seal, rest) = rest.split_at_checked(SEAL_BYTES).ok_or_else(format)?;
        let is_named = |head: &Head| head.form == form && head.extent.first == first;
        let head = Head::decode(fields).filter(is_named).ok_or_else(format)?;
        let wrong = |_| LogError::Key(path.to_owned());
        let key = self.keys.segment(&self.name, &head.salt).map_err(wrong)?;
        key.open(fields, seal).map_err(wrong)?;
        Ok((head, key, rest))
    }
}

/// The lines of the whole frames at the beginning of `bytes`, and how many bytes those frames have.
fn walk(key: &SegmentKey, first: u64, bytes: &[u8]) -> (Vec<Line>, usize) {
    let mut lines = Vec::new();
    let mut next = first;
    let mut rest = bytes;
    while let Some((sealed, behind)) = frame::split(rest) {
        let Ok(content) = key.open(&place(next), sealed) else { break };
        let Some(more) = frame::decode(next, &Bytes::from(content)) else { break };
        next = next.saturating_add(more.len() as u64);
        lines.extend(more);
        rest = behind;
    }
    (lines, bytes.len() - rest.len())
}

fn unpack(head: &Head, key: &SegmentKey, sealed: &[u8]) -> Option<Vec<Line>> {
    let size = usize::try_from(head.size).ok().filter(|size| *size <= SEGMENT_MAX)?;
    let packed = key.open(&head.encode(), sealed).ok()?;
    let content = zstd::bulk::decompress(&packed, size).ok()?;
    frame::decode(head.extent.first, &Bytes::from(content))
}

/// The first so many bytes of a file.
fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Nothing when the file is not there.
fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests;
