//! Room on a disk: where a new partition goes, how far the last one may grow.

use super::{Entry, Guid, NAME_UNITS, Table};
use crate::device::Geometry;

/// Partitions begin and end at multiples of this many bytes.
const ALIGNMENT_BYTES: u64 = 1 << 20;

/// How large a new partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Exactly this.
    Bytes(u64),
    /// What is left, at least this.
    Rest {
        /// The least.
        bytes_min: u64,
    },
}

/// A partition that should exist.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Label, at most 36 characters.
    pub label: &'a str,
    /// Type.
    pub kind: Guid,
    /// Identity.
    pub id: Guid,
    /// Size.
    pub size: Size,
}

/// Why a partition cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The table is full.
    #[error("the partition table has no free entry")]
    NoEntry,
    /// The disk is full.
    #[error("{needed_bytes} bytes are needed behind the last partition and {free_bytes} are free")]
    NoRoom {
        /// What it takes.
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
}

impl Table {
    /// Adds a partition behind all others and returns its number.
    pub fn add(&mut self, wanted: &Wanted<'_>, geometry: Geometry) -> Result<u32, PlaceError> {
        let number =
            (1..=self.entry_count).find(|number| self.entries.iter().all(|entry| entry.number != *number));
        let number = number.ok_or(PlaceError::NoEntry)?;
        let (start, end) = self.room(geometry);
        let free_bytes = end.saturating_sub(start) * geometry.sector_bytes;
        let (needed_bytes, size_bytes) = match wanted.size {
            Size::Bytes(bytes) => (bytes, bytes.next_multiple_of(ALIGNMENT_BYTES)),
            Size::Rest { bytes_min } => (bytes_min, free_bytes),
        };
        if free_bytes < size_bytes.max(needed_bytes).max(ALIGNMENT_BYTES) {
            return Err(PlaceError::NoRoom { needed_bytes, free_bytes });
        }
        let mut name = [0; NAME_UNITS];
        for (unit, stored) in wanted.label.encode_utf16().zip(&mut name) {
            *stored = unit;
        }
        let last = start + size_bytes / geometry.sector_bytes - 1;
        let entry =
            Entry { number, kind: wanted.kind, id: wanted.id, first: start, last, attributes: 0, name };
        self.entries.push(entry);
        self.entries.sort_by_key(|entry| entry.number);
        Ok(number)
    }

    /// Bytes by which a partition could grow; zero unless it is the last one on the disk.
    pub fn growth_bytes(&self, number: u32, geometry: Geometry) -> u64 {
        let end_of_all = self.entries.iter().map(|entry| entry.last).max();
        let entry =
            self.entries.iter().find(|entry| entry.number == number && Some(entry.last) == end_of_all);
        let (_, end) = self.room(geometry);
        entry.map_or(0, |entry| end.saturating_sub(entry.last + 1) * geometry.sector_bytes)
    }

    /// Lets the last partition take what is free behind it.
    pub fn grow(&mut self, number: u32, geometry: Geometry) {
        let more = self.growth_bytes(number, geometry) / geometry.sector_bytes;
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.number == number) {
            entry.last += more;
        }
    }

    /// First free sector behind all partitions and the sector behind the last usable one, both aligned.
    fn room(&self, geometry: Geometry) -> (u64, u64) {
        let alignment = (ALIGNMENT_BYTES / geometry.sector_bytes).max(1);
        let used = self.entries.iter().map(|entry| entry.last + 1).max().unwrap_or(0);
        let start = used.max(self.first_usable).next_multiple_of(alignment);
        let end = self.last_usable(geometry) + 1;
        (start, end - end % alignment)
    }
}
