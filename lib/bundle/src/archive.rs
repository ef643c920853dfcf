//! A ZIP archive in memory (APPNOTE.TXT of PKWARE, 6.3; without its extensions): bounded, each file compressed for
//! itself before it is added.
//!
//! ```text
//! bytes ─▶ Packed (may be made anywhere) ─▶ Archive::add ─▶ local header, data        ┐
//!                                                       └─▶ row of the directory ─────┴▶ finish ─▶ bytes
//! bytes, also those that others have written ─▶ unpack ─▶ Files
//! ```

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::time::SystemTime;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use jiff::Timestamp;
use jiff::tz::TimeZone;

mod read;

pub use read::{ArchiveError, Files, unpack};

/// Begin of the header in front of a file.
const LOCAL: u32 = 0x0403_4b50;
/// Begin of a row of the directory.
const ROW: u32 = 0x0201_4b50;
/// Begin of the end.
const END: u32 = 0x0605_4b50;
/// Version that is needed to unpack: DEFLATE.
const VERSION: u16 = 20;
/// The rights of files are those of Unix.
const UNIX: u16 = 3 << 8;
/// Regular file that its owner alone reads and writes.
const RIGHTS: u32 = 0o100_600 << 16;
/// Names are UTF-8.
const UTF8: u16 = 1 << 11;
/// DEFLATE.
const METHOD: u16 = 8;
/// Bytes of both headers of a file without its name, which stands in both.
const HEADERS: usize = 30 + 46;
/// Bytes of the end.
const END_BYTES: usize = 22;
/// Files of an archive without extensions.
const FILES_MAX: usize = 65_000;
/// First year that a file can be of.
const FIRST_YEAR: u16 = 1980;
/// Longest part of a name.
const NAME_LETTERS_MAX: usize = 120;

/// A file that was compressed.
#[derive(Clone, Debug)]
pub struct Packed {
    data: Vec<u8>,
    size: u32,
    sum: u32,
}

impl Packed {
    /// Compresses the contents of a file.
    ///
    /// # Errors
    /// When there are 4 GiB of it, or more.
    pub fn of(bytes: &[u8]) -> io::Result<Self> {
        let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut sum = Crc::new();
        sum.update(bytes);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes)?;
        Ok(Self { data: encoder.finish()?, size, sum: sum.sum() })
    }
}

/// An archive that grows.
#[derive(Debug)]
pub struct Archive {
    body: Vec<u8>,
    directory: Vec<u8>,
    names: BTreeSet<String>,
    /// Time and day of all files, as MS-DOS has them.
    stamp: (u16, u16),
    bytes_max: usize,
}

impl Archive {
    /// An archive without files, whose bytes will be at most so many; its files are of this time.
    #[must_use]
    pub fn new(bytes_max: usize, now: SystemTime) -> Self {
        let (body, directory) = (Vec::new(), Vec::new());
        Self { body, directory, names: BTreeSet::new(), stamp: stamp(now), bytes_max }
    }

    /// Allows so many bytes more.
    pub const fn widen(&mut self, bytes: usize) {
        self.bytes_max = self.bytes_max.saturating_add(bytes);
    }

    /// Adds a file under this name, or one like it that is free. False when there is no room for it.
    pub fn add(&mut self, name: &str, packed: &Packed) -> bool {
        let name = self.free(name);
        let bytes = HEADERS + END_BYTES + 2 * name.len() + packed.data.len();
        let has_room = self.body.len() + self.directory.len() + bytes <= self.bytes_max;
        let lengths = (u16::try_from(name.len()), u32::try_from(packed.data.len()));
        let (Ok(length), Ok(compressed)) = lengths else { return false };
        let Ok(offset) = u32::try_from(self.body.len()) else { return false };
        if !has_room || self.names.len() >= FILES_MAX {
            return false;
        }
        put32(&mut self.body, LOCAL);
        common(&mut self.body, packed, self.stamp, compressed, length);
        self.body.extend_from_slice(name.as_bytes());
        self.body.extend_from_slice(&packed.data);
        put32(&mut self.directory, ROW);
        put16(&mut self.directory, UNIX | VERSION);
        common(&mut self.directory, packed, self.stamp, compressed, length);
        // Neither a comment, nor another disk, nor what only its maker understands.
        for _ in 0..3 {
            put16(&mut self.directory, 0);
        }
        put32(&mut self.directory, RIGHTS);
        put32(&mut self.directory, offset);
        self.directory.extend_from_slice(name.as_bytes());
        self.names.insert(name);
        true
    }

    /// The whole archive.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let Self { mut body, directory, names, .. } = self;
        // Both fit, since nothing was added that does not.
        let (offset, size) = (u32::try_from(body.len()), u32::try_from(directory.len()));
        let count = u16::try_from(names.len()).unwrap_or(u16::MAX);
        body.extend_from_slice(&directory);
        put32(&mut body, END);
        for number in [0, 0, count, count] {
            put16(&mut body, number);
        }
        put32(&mut body, size.unwrap_or(u32::MAX));
        put32(&mut body, offset.unwrap_or(u32::MAX));
        put16(&mut body, 0);
        body
    }

    fn free(&self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut number = 1_u32;
        while self.names.contains(&free) {
            number += 1;
            free = format!("{name}-{number}");
        }
        free
    }
}

/// What stands in both headers of a file.
fn common(out: &mut Vec<u8>, packed: &Packed, (time, day): (u16, u16), compressed: u32, length: u16) {
    for number in [VERSION, UTF8, METHOD, time, day] {
        put16(out, number);
    }
    for number in [packed.sum, compressed, packed.size] {
        put32(out, number);
    }
    put16(out, length);
    put16(out, 0);
}

fn put16(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Time and day in UTC, as MS-DOS has them: two seconds are one.
fn stamp(now: SystemTime) -> (u16, u16) {
    let zoned = Timestamp::try_from(now).unwrap_or_default().to_zoned(TimeZone::UTC);
    let number = |number: i8| u16::try_from(number).unwrap_or_default();
    let year = u16::try_from(zoned.year()).unwrap_or_default().saturating_sub(FIRST_YEAR).min(127);
    let time = (number(zoned.hour()) << 11) | (number(zoned.minute()) << 5) | (number(zoned.second()) / 2);
    let day = (year << 9) | (number(zoned.month()) << 5) | number(zoned.day());
    (time, day)
}

/// A text as a part of a name of a file: what is no letter, digit, dot, dash or underscore becomes an underscore.
#[must_use]
pub fn segment(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let letters = text.chars().take(NAME_LETTERS_MAX).map(|it| if is_plain(it) { it } else { '_' });
    let mut name: String = letters.collect();
    if name.chars().all(|letter| letter == '.') {
        name.insert(0, '_');
    }
    name
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn what_was_added_is_found_again_and_a_taken_name_gets_a_number() {
        let mut archive = Archive::new(1 << 20, UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        for text in ["one", "two", ""] {
            assert!(archive.add("a/log.txt", &Packed::of(text.as_bytes()).expect("packed")));
        }
        let found = unpack(&archive.finish(), 1 << 20).expect("an archive");
        let names: Vec<&str> = found.names().collect();
        assert_eq!(names, ["a/log.txt", "a/log.txt-2", "a/log.txt-3"]);
        assert_eq!(found.bytes("a/log.txt-2"), Some(&b"two"[..]));
    }

    #[test]
    fn an_archive_is_never_larger_than_it_may_be() {
        let packed = Packed::of(b"x").expect("packed");
        let mut archive = Archive::new(300, UNIX_EPOCH);
        let added = (0..10).filter(|_| archive.add("name", &packed)).count();
        assert!((1..10).contains(&added), "{added}");
        assert!(!archive.add("name", &packed));
        let length = archive.finish().len();
        assert!(length <= 300, "{length}");
    }

    #[test]
    fn time_is_that_of_ms_dos() {
        let at = |seconds| stamp(UNIX_EPOCH + Duration::from_secs(seconds));
        // 14 November 2023, 22:13:20.
        assert_eq!(at(1_700_000_000), ((22 << 11) | (13 << 5) | 10, (43 << 9) | (11 << 5) | 14));
        assert_eq!(at(0).1 >> 9, 0, "before 1980");
    }

    #[test]
    fn no_text_leaves_its_folder() {
        assert_eq!(segment("../../etc/passwd"), ".._.._etc_passwd");
        assert_eq!((segment(".."), segment("")), ("_..".to_owned(), "_".to_owned()));
        bolero::check!().for_each(|bytes: &[u8]| {
            let name = segment(&String::from_utf8_lossy(bytes));
            assert!(!name.is_empty() && !name.contains('/') && name != "." && name != "..");
        });
    }
}
