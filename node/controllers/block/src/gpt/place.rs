//! Room on a disk: where a new partition goes, how far the last one may grow.

use super::{ENTRY_BYTES, Entry, Guid, NAME_UNITS, Table};
use crate::device::Geometry;

/// Partitions begin and end at multiples of this many bytes.
const ALIGNMENT_BYTES: u64 = 1 << 20;

/// Entries of a new table, as many as others write.
pub const ENTRIES_NEW: u32 = 128;

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
    /// What is left, within bounds.
    Range {
        /// The least.
        bytes_min: u64,
        /// The most.
        bytes_max: u64,
    },
}

impl Size {
    /// The most that is taken, bytes.
    pub const fn bytes_max(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Rest { .. } => u64::MAX,
            Self::Range { bytes_max, .. } => bytes_max,
        }
    }

    /// The least that is enough, bytes.
    pub const fn bytes_min(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Rest { bytes_min } | Self::Range { bytes_min, .. } => bytes_min,
        }
    }
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
    /// A table without partitions for a disk that has none.
    pub const fn empty(disk: Guid, geometry: Geometry) -> Self {
        let first_usable = 2 + (ENTRIES_NEW as u64 * ENTRY_BYTES as u64).div_ceil(geometry.sector_bytes);
        Self { disk, entries: Vec::new(), first_usable, entry_count: ENTRIES_NEW }
    }

    /// Adds a partition behind all others, or where one was taken away, and returns its number.
    pub fn add(&mut self, wanted: &Wanted<'_>, geometry: Geometry) -> Result<u32, PlaceError> {
        let number =
            (1..=self.entry_count).find(|number| self.entries.iter().all(|entry| entry.number != *number));
        let number = number.ok_or(PlaceError::NoEntry)?;
        let (needed_bytes, free_bytes) = (wanted.size.bytes_min(), self.free_bytes(geometry));
        let no_room = PlaceError::NoRoom { needed_bytes, free_bytes };
        let align = |bytes: u64| bytes.checked_next_multiple_of(ALIGNMENT_BYTES).unwrap_or(bytes);
        let (start, end) =
            self.room_for(align(needed_bytes).max(ALIGNMENT_BYTES), geometry).ok_or(no_room)?;
        let room_bytes = (end - start) * geometry.sector_bytes;
        let size_bytes = align(wanted.size.bytes_max()).max(ALIGNMENT_BYTES).min(room_bytes);
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

    /// Bytes by which a partition could grow up to a size; zero unless it is the last one on the disk.
    pub fn growth_bytes(&self, number: u32, bytes_max: u64, geometry: Geometry) -> u64 {
        let end_of_all = self.entries.iter().map(|entry| entry.last).max();
        let entry =
            self.entries.iter().find(|entry| entry.number == number && Some(entry.last) == end_of_all);
        let Some(entry) = entry else { return 0 };
        let (_, end) = self.room(geometry);
        let free_bytes = end.saturating_sub(entry.last + 1) * geometry.sector_bytes;
        let wanted_bytes = bytes_max.saturating_sub(entry.size_bytes(geometry));
        free_bytes.min(wanted_bytes - wanted_bytes % ALIGNMENT_BYTES)
    }

    /// Lets the last partition take what is free behind it, up to a size.
    pub fn grow(&mut self, number: u32, bytes_max: u64, geometry: Geometry) {
        let more = self.growth_bytes(number, bytes_max, geometry) / geometry.sector_bytes;
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.number == number) {
            entry.last += more;
        }
    }

    /// Bytes behind all partitions.
    fn free_bytes(&self, geometry: Geometry) -> u64 {
        let (start, end) = self.room(geometry);
        end.saturating_sub(start) * geometry.sector_bytes
    }

    /// The first sector and the one behind the last of a place of at least this size: behind all partitions, or else
    /// between two.
    fn room_for(&self, bytes_min: u64, geometry: Geometry) -> Option<(u64, u64)> {
        let is_enough =
            |(start, end): &(u64, u64)| end.saturating_sub(*start) * geometry.sector_bytes >= bytes_min;
        let alignment = (ALIGNMENT_BYTES / geometry.sector_bytes).max(1);
        let mut used: Vec<(u64, u64)> = self.entries.iter().map(|entry| (entry.first, entry.last)).collect();
        used.sort_unstable();
        let mut start = self.first_usable.next_multiple_of(alignment);
        let between = used.into_iter().map(|(first, last)| {
            let gap = (start, first - first % alignment);
            start = start.max((last + 1).next_multiple_of(alignment));
            gap
        });
        std::iter::once(self.room(geometry)).chain(between).find(is_enough)
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
