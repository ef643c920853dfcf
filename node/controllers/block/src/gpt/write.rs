//! Writing a table so that a loss of power at any moment leaves the old one or the new one.
//!
//! The backup is written and on the medium before the primary is touched. A reader believes a whole primary, so
//! until then the old table holds; while the primary is torn, the new backup does.

use std::io;

use super::place::ENTRIES_NEW;
use super::{ENTRY_BYTES, Entry, HEADER_BYTES, LINUX_DATA, REVISION, SIGNATURE, Table, crc};
use crate::device::{Geometry, ReadAt, WriteAt};

/// Where the copies of a table are.
struct Copy {
    header_lba: u64,
    other_lba: u64,
    entries_lba: u64,
}

/// Writes both copies, the backup at the real end of the disk, and the protective record.
pub fn write(disk: &(impl WriteAt + ?Sized), table: &Table, geometry: Geometry) -> io::Result<()> {
    let (end, array) = (geometry.sectors - 1, table.array_sectors(geometry));
    if 2 + array > table.first_usable || table.last_usable(geometry) < table.first_usable {
        return Err(io::Error::other("the partition table leaves no room for its own entries"));
    }
    let backup = Copy { header_lba: end, other_lba: 1, entries_lba: end - array };
    let primary = Copy { header_lba: 1, other_lba: end, entries_lba: 2 };
    for copy in [backup, primary] {
        let entries = entries(table);
        disk.write_at(&entries, copy.entries_lba * geometry.sector_bytes)?;
        disk.write_at(
            &header(table, &copy, crc(&entries), geometry),
            copy.header_lba * geometry.sector_bytes,
        )?;
        disk.sync()?;
    }
    protect(disk, geometry)
}

/// Whether the backup can be written to the end of the disk: nothing is there, or a table, or the beginning of one.
/// Where a disk ends and its table does not, somebody else may have kept something behind it.
pub fn has_room(disk: &(impl ReadAt + ?Sized), table: &Table, geometry: Geometry) -> io::Result<bool> {
    let sectors = table.array_sectors(geometry) + 1;
    let mut end = vec![0; (sectors * geometry.sector_bytes) as usize];
    disk.read_at(&mut end, geometry.sectors.saturating_sub(sectors) * geometry.sector_bytes)?;
    let (array, header) = end.split_at(end.len() - geometry.sector_bytes as usize);
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let first = entries(table);
    let is_first = first.get(..ENTRY_BYTES).is_some_and(|first| !is_zero(first) && array.starts_with(first));
    Ok(header.starts_with(SIGNATURE) || (is_zero(header) && (is_zero(array) || is_first)))
}

/// Whether a disk ends with the entries of a first table of ours, of which nothing else was written.
pub fn is_begun(end: &[u8]) -> bool {
    const ARRAY_BYTES: usize = ENTRIES_NEW as usize * ENTRY_BYTES;
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    [512, 4096].into_iter().any(|sector_bytes| {
        let Some(start) = end.len().checked_sub(ARRAY_BYTES + sector_bytes) else { return false };
        let (before, rest) = end.split_at(start);
        let (array, header) = rest.split_at(ARRAY_BYTES);
        array.starts_with(&LINUX_DATA.0) && is_zero(before) && is_zero(header)
    })
}

fn entries(table: &Table) -> Vec<u8> {
    let mut array = vec![0; table.entry_count as usize * ENTRY_BYTES];
    for entry in &table.entries {
        let start = (entry.number as usize - 1) * ENTRY_BYTES;
        if let Some(slot) = array.get_mut(start..start + ENTRY_BYTES) {
            slot.copy_from_slice(&encode(entry));
        }
    }
    array
}

fn encode(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ENTRY_BYTES);
    bytes.extend(entry.kind.0);
    bytes.extend(entry.id.0);
    bytes.extend([entry.first, entry.last, entry.attributes].into_iter().flat_map(u64::to_le_bytes));
    bytes.extend(entry.name.into_iter().flat_map(u16::to_le_bytes));
    bytes
}

/// A whole sector, so that the device never reads one back in order to change a part of it.
fn header(table: &Table, copy: &Copy, entries_crc: u32, geometry: Geometry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend(SIGNATURE);
    bytes.extend([REVISION, HEADER_BYTES as u32, 0, 0].into_iter().flat_map(u32::to_le_bytes));
    let places = [copy.header_lba, copy.other_lba, table.first_usable, table.last_usable(geometry)];
    bytes.extend(places.into_iter().flat_map(u64::to_le_bytes));
    bytes.extend(table.disk.0);
    bytes.extend(copy.entries_lba.to_le_bytes());
    bytes.extend([table.entry_count, ENTRY_BYTES as u32, entries_crc].into_iter().flat_map(u32::to_le_bytes));
    let sum = crc(&bytes);
    bytes.splice(16..20, sum.to_le_bytes());
    bytes.resize(geometry.sector_bytes as usize, 0);
    bytes
}

/// Lets the protective record cover the whole disk, or makes it where there is none; a record of another kind (a
/// hybrid) is left as it is.
fn protect(disk: &(impl WriteAt + ?Sized), geometry: Geometry) -> io::Result<()> {
    const PROTECTIVE: u8 = 0xee;
    const MARK: &[u8; 2] = &[0x55, 0xaa];
    let mut record = vec![0; geometry.sector_bytes as usize];
    disk.read_at(&mut record, 0)?;
    let sectors = u32::try_from(geometry.sectors - 1).unwrap_or(u32::MAX).to_le_bytes();
    if record.get(510..512) != Some(MARK) {
        // From the second sector on, in the geometry of old days and in ours.
        record.splice(446..458, [0, 0, 2, 0, PROTECTIVE, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
        record.splice(462..510, [0; 48]);
        record.splice(510..512, MARK.iter().copied());
    } else if record.get(450) != Some(&PROTECTIVE) || record.get(458..462) == Some(&sectors) {
        return Ok(());
    }
    record.splice(458..462, sectors);
    disk.write_at(&record, 0)?;
    disk.sync()
}
