//! Raw disks: a GUID partition table with the partitions that exist before the first boot.
//!
//! The volume manager makes STATE and EPHEMERAL behind them when the machine first starts.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gptman::{GPT, GPTPartitionEntry};
use uuid::Uuid;

/// Bytes of a sector.
const SECTOR: u64 = 512;
/// Partitions begin at multiples of this many bytes.
const ALIGNMENT: u64 = 1 << 20;
/// Bytes copied at once; runs of zeros of this length stay holes.
const CHUNK: usize = 1 << 16;

/// Type of EFI system partitions.
pub const EFI_SYSTEM: Uuid = Uuid::from_u128(0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b);
/// Type of Linux data partitions.
pub const LINUX_DATA: Uuid = Uuid::from_u128(0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4);
/// Size of META.
pub const META_SIZE: u64 = 1 << 20;

/// A partition to write.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Label in the table.
    pub label: &'static str,
    /// Type.
    pub kind: Uuid,
    /// Size in bytes.
    pub size: u64,
    /// File with its contents; zeros when there is none.
    pub contents: Option<PathBuf>,
}

/// Where a partition lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    start: u64,
    size: u64,
}

/// Writes a disk with these partitions. `identity` decides all identifiers: equal contents, equal disk.
///
/// # Errors
/// When a partition's contents are larger than the partition, or the file system refuses.
pub fn write(path: &Path, identity: &str, partitions: &[Partition]) -> Result<()> {
    let (places, length) = layout(partitions);
    let mut disk = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    disk.set_len(length)?;
    let id = |name: &str| guid(Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{identity}/{name}").as_bytes()));
    let mut table = GPT::new_from(&mut disk, SECTOR, id("disk"))?;
    for (number, (partition, place)) in (1_u32..).zip(partitions.iter().zip(&places)) {
        table[number] = GPTPartitionEntry {
            partition_type_guid: guid(partition.kind),
            unique_partition_guid: id(partition.label),
            starting_lba: place.start / SECTOR,
            ending_lba: (place.start + place.size) / SECTOR - 1,
            attribute_bits: 0,
            partition_name: partition.label.into(),
        };
    }
    GPT::write_protective_mbr_into(&mut disk, SECTOR)?;
    table.write_into(&mut disk)?;
    for (partition, place) in partitions.iter().zip(&places) {
        if let Some(contents) = &partition.contents {
            copy(contents, &mut disk, *place)
                .with_context(|| format!("writing partition {}", partition.label))?;
        }
    }
    Ok(())
}

/// Where each partition lies in the disk that [`write`] makes: offset and size, bytes.
#[must_use]
pub fn places(partitions: &[Partition]) -> Vec<(u64, u64)> {
    layout(partitions).0.iter().map(|place| (place.start, place.size)).collect()
}

/// Places of the partitions and the length of the disk; the backup table has the last mebibyte.
fn layout(partitions: &[Partition]) -> (Vec<Place>, u64) {
    let mut next = ALIGNMENT;
    let places = partitions
        .iter()
        .map(|partition| {
            let place = Place { start: next, size: partition.size.next_multiple_of(ALIGNMENT) };
            next += place.size;
            place
        })
        .collect();
    (places, next + ALIGNMENT)
}

/// The order of bytes that partition tables use.
fn guid(uuid: Uuid) -> [u8; 16] {
    uuid.to_bytes_le()
}

/// Copies a file into its place and leaves holes where it has zeros.
fn copy(source: &Path, disk: &mut File, place: Place) -> Result<()> {
    let mut file = File::open(source).with_context(|| format!("opening `{}`", source.display()))?;
    anyhow::ensure!(
        file.metadata()?.len() <= place.size,
        "`{}` is larger than its partition",
        source.display()
    );
    let mut buffer = vec![0_u8; CHUNK];
    let mut at = place.start;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if buffer[..count].iter().any(|&byte| byte != 0) {
            disk.seek(SeekFrom::Start(at))?;
            disk.write_all(&buffer[..count])?;
        }
        at += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(label: &'static str, size: u64, contents: Option<PathBuf>) -> Partition {
        Partition { label, kind: LINUX_DATA, size, contents }
    }

    proptest::proptest! {
        #[test]
        fn partitions_are_aligned_and_follow_each_other(sizes in proptest::collection::vec(1_u64..1 << 40, 1..8)) {
            let partitions: Vec<Partition> = sizes.iter().map(|&size| partition("P", size, None)).collect();
            let (places, length) = layout(&partitions);
            let mut end = ALIGNMENT;
            for (place, size) in places.iter().zip(&sizes) {
                proptest::prop_assert_eq!(place.start, end);
                proptest::prop_assert!(place.size >= *size && place.start % ALIGNMENT == 0);
                end = place.start + place.size;
            }
            proptest::prop_assert!(length > end);
        }
    }

    #[test]
    fn two_disks_are_equal_and_the_table_reads_back() {
        let folder = tempfile::tempdir().expect("folder");
        let contents = folder.path().join("contents");
        std::fs::write(&contents, b"EFI").expect("contents");
        let partitions = [partition("EFI", 4 << 20, Some(contents)), partition("META", META_SIZE, None)];
        let paths = [folder.path().join("a"), folder.path().join("b")];
        for path in &paths {
            write(path, "identity", &partitions).expect("write");
        }
        assert!(std::fs::read(&paths[0]).expect("a") == std::fs::read(&paths[1]).expect("b"), "bytes differ");
        let table = GPT::find_from(&mut File::open(&paths[0]).expect("open")).expect("table");
        let labels: Vec<String> = table
            .iter()
            .filter(|(_, entry)| entry.is_used())
            .map(|(_, entry)| entry.partition_name.to_string())
            .collect();
        assert_eq!(labels, ["EFI", "META"]);
    }

    #[test]
    fn contents_that_do_not_fit_are_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let contents = folder.path().join("contents");
        std::fs::write(&contents, vec![1; (2 << 20) + 1]).expect("contents");
        assert!(
            write(&folder.path().join("disk"), "x", &[partition("EFI", 1 << 20, Some(contents))]).is_err()
        );
    }
}
