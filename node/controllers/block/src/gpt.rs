//! GUID partition tables (UEFI 2.10, chapter 5): reading, repairing, adding.
//!
//! - The primary table is believed when it is whole, otherwise the backup in the last sector.
//! - A table whose partitions lie outside its usable sectors is no table.
//! - Everything read is bounded: a header names at most [`ENTRIES_MAX`] entries of exactly 128 bytes.

mod place;
mod write;

use std::fmt;
use std::io;

use flate2::Crc;

pub use place::{Size, Wanted};
pub use write::{has_room, is_begun, write};

use crate::device::{Geometry, ReadAt};

const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const HEADER_BYTES: usize = 92;
const ENTRY_BYTES: usize = 128;
/// Most entries that a table may have; others write 128.
const ENTRIES_MAX: u32 = 1024;
/// Code units of a label.
const NAME_UNITS: usize = 36;

/// Type of Linux data partitions.
pub const LINUX_DATA: Guid =
    Guid([0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4]);

/// An identifier in the order of bytes that tables use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// A random one (RFC 9562, version 4) from random bytes.
    pub const fn random(mut bytes: [u8; 16]) -> Self {
        bytes[7] = (bytes[7] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        for (position, index) in ORDER.into_iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{:02x}", self.0[index])?;
        }
        Ok(())
    }
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number, from 1.
    pub number: u32,
    /// What it is for.
    pub kind: Guid,
    /// Its identity.
    pub id: Guid,
    /// First sector.
    pub first: u64,
    /// Last sector.
    pub last: u64,
    /// Attribute bits.
    pub attributes: u64,
    /// Label as stored, so that what is no valid text survives.
    name: [u16; NAME_UNITS],
}

impl Entry {
    /// The label.
    pub fn label(&self) -> String {
        let end = self.name.iter().position(|unit| *unit == 0).unwrap_or(NAME_UNITS);
        String::from_utf16_lossy(self.name.get(..end).unwrap_or_default())
    }

    /// First byte on a disk of this geometry.
    pub const fn start_bytes(&self, geometry: Geometry) -> u64 {
        self.first.saturating_mul(geometry.sector_bytes)
    }

    /// Bytes on a disk of this geometry.
    pub const fn size_bytes(&self, geometry: Geometry) -> u64 {
        (self.last - self.first + 1).saturating_mul(geometry.sector_bytes)
    }
}

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Identity of the disk.
    pub disk: Guid,
    /// The used entries, by number.
    pub entries: Vec<Entry>,
    first_usable: u64,
    entry_count: u32,
}

impl Table {
    /// The first partition with this label.
    pub fn labelled(&self, label: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.label() == label)
    }

    /// Sectors that the entries take on a disk of this geometry.
    const fn array_sectors(&self, geometry: Geometry) -> u64 {
        (self.entry_count as u64 * ENTRY_BYTES as u64).div_ceil(geometry.sector_bytes)
    }

    /// Last sector that a partition may have when the backup is at the end of the disk.
    const fn last_usable(&self, geometry: Geometry) -> u64 {
        geometry.sectors.saturating_sub(2 + self.array_sectors(geometry))
    }
}

/// How the two copies of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Both are whole, equal, and where they should be.
    Sound,
    /// Only the primary can be relied on: the backup is damaged, old, or not at the end of the disk.
    BackupAstray,
    /// Only the backup can be relied on.
    PrimaryDamaged,
}

/// A table that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The table.
    pub table: Table,
    /// How its copies are.
    pub health: Health,
}

/// Reads the table of a disk; nothing when neither copy is whole.
pub fn read(disk: &(impl ReadAt + ?Sized), geometry: Geometry) -> io::Result<Option<Reading>> {
    let Some(end) = geometry.sectors.checked_sub(1).filter(|end| *end > 2) else { return Ok(None) };
    let (primary, backup) = (copy(disk, geometry, 1)?, copy(disk, geometry, end)?);
    Ok(match (primary, backup) {
        (Some(table), Some(backup)) if table == backup => Some(Reading { table, health: Health::Sound }),
        (Some(table), _) => Some(Reading { table, health: Health::BackupAstray }),
        (None, Some(table)) => Some(Reading { table, health: Health::PrimaryDamaged }),
        (None, None) => None,
    })
}

/// The copy whose header is in this sector, if it is whole.
fn copy(disk: &(impl ReadAt + ?Sized), geometry: Geometry, lba: u64) -> io::Result<Option<Table>> {
    let mut sector = [0; HEADER_BYTES];
    disk.read_at(&mut sector, lba * geometry.sector_bytes)?;
    let Some(header) = Header::parse(&sector, lba, geometry) else { return Ok(None) };
    let mut array = vec![0; header.entry_count as usize * ENTRY_BYTES];
    disk.read_at(&mut array, header.entries_lba * geometry.sector_bytes)?;
    if crc(&array) != header.entries_crc {
        return Ok(None);
    }
    let entries: Vec<Entry> = (1..)
        .zip(array.chunks_exact(ENTRY_BYTES))
        .filter_map(|(number, bytes)| entry(number, bytes))
        .collect();
    let is_inside = |entry: &Entry| {
        entry.first >= header.first_usable && entry.first <= entry.last && entry.last <= header.last_usable
    };
    let Header { disk, first_usable, entry_count, .. } = header;
    Ok(entries.iter().all(is_inside).then_some(Table { disk, entries, first_usable, entry_count }))
}

struct Header {
    disk: Guid,
    first_usable: u64,
    last_usable: u64,
    entries_lba: u64,
    entry_count: u32,
    entries_crc: u32,
}

impl Header {
    /// A header that is whole, says it is in this sector, and points inside the disk.
    fn parse(bytes: &[u8; HEADER_BYTES], lba: u64, geometry: Geometry) -> Option<Self> {
        let mut without_crc = *bytes;
        without_crc[16..20].fill(0);
        let is_whole = bytes.starts_with(SIGNATURE)
            && u32_at(bytes, 8) == REVISION
            && u32_at(bytes, 12) as usize == HEADER_BYTES
            && u32_at(bytes, 16) == crc(&without_crc)
            && u64_at(bytes, 24) == lba
            && u32_at(bytes, 84) as usize == ENTRY_BYTES;
        let header = Self {
            disk: guid_at(bytes, 56),
            first_usable: u64_at(bytes, 40),
            last_usable: u64_at(bytes, 48),
            entries_lba: u64_at(bytes, 72),
            entry_count: u32_at(bytes, 80),
            entries_crc: u32_at(bytes, 88),
        };
        let array = (u64::from(header.entry_count) * ENTRY_BYTES as u64).div_ceil(geometry.sector_bytes);
        let is_bounded = (1..=ENTRIES_MAX).contains(&header.entry_count)
            && header.entries_lba >= 2
            && header.entries_lba.checked_add(array).is_some_and(|end| end <= geometry.sectors)
            && header.first_usable <= header.last_usable
            && header.last_usable < geometry.sectors;
        (is_whole && is_bounded).then_some(header)
    }
}

fn entry(number: u32, bytes: &[u8]) -> Option<Entry> {
    let kind = guid_at(bytes, 0);
    if kind == Guid::default() {
        return None;
    }
    let mut name = [0; NAME_UNITS];
    for (unit, pair) in name.iter_mut().zip(bytes.get(56..)?.chunks_exact(2)) {
        *unit = u16::from_le_bytes([pair[0], pair[1]]);
    }
    let (first, last) = (u64_at(bytes, 32), u64_at(bytes, 40));
    Some(Entry { number, kind, id: guid_at(bytes, 16), first, last, attributes: u64_at(bytes, 48), name })
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn guid_at(bytes: &[u8], at: usize) -> Guid {
    Guid(array_at(bytes, at))
}

#[cfg(test)]
mod tests;
