//! Reads an archive through its directory, whoever has written it.

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::{END, END_BYTES, LOCAL, METHOD, ROW};

/// Longest comment behind the end.
const COMMENT_MAX: usize = 1 << 16;
/// Files that are read.
const FILES_MAX: usize = 65_000;
/// The contents are as they are.
const STORED: u16 = 0;

/// Bytes that are no archive, or one that cannot be read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// There is no directory at the end.
    #[error("it is no ZIP archive")]
    NoArchive,
    /// The directory or a header is cut off or leads nowhere.
    #[error("the archive is damaged")]
    Damaged,
    /// A file whose contents are not what their sum says.
    #[error("{0:?} is damaged")]
    DamagedFile(String),
    /// A file that is packed in a way that is not known here.
    #[error("{0:?} is packed by method {1}, which is not known here")]
    Method(String, u16),
    /// The files are too many, or together too large.
    #[error("the archive is larger than {0} bytes when it is unpacked")]
    TooLarge(usize),
}

/// Files by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// Adds a file, or replaces it.
    pub fn insert(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        self.0.insert(name.into(), bytes);
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The contents of a file.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// The contents of a file as text; what is no UTF-8 in it is replaced.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.bytes(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// Names and contents, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }
}

/// A row of the directory.
struct Row {
    name: String,
    method: u16,
    sum: u32,
    compressed: usize,
    size: usize,
    /// Where its own header stands.
    local: usize,
}

/// Unpacks an archive whose files have at most so many bytes together.
///
/// # Errors
/// When the bytes are no archive, one of its files cannot be unpacked, or there is too much.
pub fn unpack(archive: &[u8], bytes_max: usize) -> Result<Files, ArchiveError> {
    let mut files = Files::default();
    let mut room = bytes_max;
    for row in rows(archive)? {
        // Names of folders end in a slash; they hold nothing.
        if row.name.ends_with('/') {
            continue;
        }
        room = room.checked_sub(row.size).ok_or(ArchiveError::TooLarge(bytes_max))?;
        let bytes = contents(archive, &row)?;
        files.insert(row.name, bytes);
    }
    Ok(files)
}

fn contents(archive: &[u8], row: &Row) -> Result<Vec<u8>, ArchiveError> {
    let header = archive.get(row.local..).ok_or(ArchiveError::Damaged)?;
    if word(header, 0) != Some(LOCAL) {
        return Err(ArchiveError::Damaged);
    }
    let lengths = half(header, 26).zip(half(header, 28)).ok_or(ArchiveError::Damaged)?;
    let begin = 30 + usize::from(lengths.0) + usize::from(lengths.1);
    let packed =
        header.get(begin..).and_then(|rest| rest.get(..row.compressed)).ok_or(ArchiveError::Damaged)?;
    let bytes = match row.method {
        STORED => packed.to_vec(),
        METHOD => {
            let mut bytes = Vec::new();
            let limit = u64::try_from(row.size).unwrap_or(u64::MAX).saturating_add(1);
            let read = DeflateDecoder::new(packed).take(limit).read_to_end(&mut bytes);
            read.map_err(|_| ArchiveError::DamagedFile(row.name.clone()))?;
            bytes
        }
        method => return Err(ArchiveError::Method(row.name.clone(), method)),
    };
    let mut sum = Crc::new();
    sum.update(&bytes);
    let is_whole = bytes.len() == row.size && sum.sum() == row.sum;
    if is_whole { Ok(bytes) } else { Err(ArchiveError::DamagedFile(row.name.clone())) }
}

/// The directory, whose place stands at the end.
fn rows(archive: &[u8]) -> Result<Vec<Row>, ArchiveError> {
    let last = archive.len().checked_sub(END_BYTES).ok_or(ArchiveError::NoArchive)?;
    let first = last.saturating_sub(COMMENT_MAX);
    let is_end = |at: &usize| archive.get(*at..).and_then(|rest| word(rest, 0)) == Some(END);
    let end = (first..=last).rev().find(is_end).ok_or(ArchiveError::NoArchive)?;
    let end = archive.get(end..).unwrap_or_default();
    let count = usize::from(half(end, 10).ok_or(ArchiveError::Damaged)?);
    let mut rest = archive.get(place(end, 16)?..).ok_or(ArchiveError::Damaged)?;
    let mut rows = Vec::new();
    for _ in 0..count.min(FILES_MAX) {
        let (row, length) = row(rest)?;
        rows.push(row);
        rest = rest.get(length..).ok_or(ArchiveError::Damaged)?;
    }
    Ok(rows)
}

/// A row, and how long it is.
fn row(bytes: &[u8]) -> Result<(Row, usize), ArchiveError> {
    if word(bytes, 0) != Some(ROW) {
        return Err(ArchiveError::Damaged);
    }
    let number = |at| half(bytes, at).map(usize::from).ok_or(ArchiveError::Damaged);
    let (name, extra, comment) = (number(28)?, number(30)?, number(32)?);
    let text = bytes.get(46..46 + name).ok_or(ArchiveError::Damaged)?;
    let row = Row {
        name: String::from_utf8_lossy(text).into_owned(),
        method: half(bytes, 10).ok_or(ArchiveError::Damaged)?,
        sum: word(bytes, 16).ok_or(ArchiveError::Damaged)?,
        compressed: place(bytes, 20)?,
        size: place(bytes, 24)?,
        local: place(bytes, 42)?,
    };
    Ok((row, 46 + name + extra + comment))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|half| u16::from_le_bytes(*half))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

fn place(bytes: &[u8], at: usize) -> Result<usize, ArchiveError> {
    word(bytes, at).and_then(|word| usize::try_from(word).ok()).ok_or(ArchiveError::Damaged)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::archive::{Archive, Packed};

    fn archive() -> Vec<u8> {
        let mut archive = Archive::new(1 << 20, UNIX_EPOCH);
        for (name, text) in [("a", "one"), ("b/c", "two two two two")] {
            assert!(archive.add(name, &Packed::of(text.as_bytes()).expect("packed")));
        }
        archive.finish()
    }

    #[test]
    fn files_are_found_by_name_and_too_much_is_refused() {
        let files = unpack(&archive(), 100).expect("an archive");
        assert_eq!(files.text("b/c").as_deref(), Some("two two two two"));
        assert_eq!(files.bytes("d"), None);
        assert_eq!(unpack(&archive(), 10), Err(ArchiveError::TooLarge(10)));
        assert_eq!(unpack(b"no archive at all, but longer than one", 10), Err(ArchiveError::NoArchive));
    }

    #[test]
    fn a_comment_behind_the_archive_is_passed_over() {
        let mut commented = archive();
        commented.extend_from_slice(b"whatever");
        assert_eq!(unpack(&commented, 100), unpack(&archive(), 100));
    }

    #[test]
    fn a_file_that_was_changed_is_told_of() {
        let mut damaged = archive();
        // Behind the header and the name of the first file.
        damaged[30 + 1] ^= 0xff;
        assert_eq!(unpack(&damaged, 100), Err(ArchiveError::DamagedFile("a".to_owned())));
    }

    #[test]
    fn fuzz_no_bytes_make_more_of_themselves_than_is_allowed() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut changed = archive();
            for (byte, change) in changed.iter_mut().rev().zip(bytes) {
                *byte ^= change;
            }
            for archive in [bytes, &changed[..]] {
                if let Ok(files) = unpack(archive, 1000) {
                    assert!(files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= 1000);
                }
            }
        });
    }
}
