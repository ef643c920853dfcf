//! Takes everything out of one device.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use corten_base::Lane;
use corten_sys::block;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::look::Seen;
use super::{Method, WipeError, Wish};
use crate::device::Geometry;
use crate::gpt;
use crate::sysfs::Sysfs;

/// What is filled at both ends, bytes: partition tables, labels and superblocks of all that is recognized are there.
const END_BYTES: u64 = 4 << 20;
/// What is filled in one go, bytes: whoever gave up waiting stops it there.
const CHUNK_BYTES: u64 = 256 << 20;
/// For one chunk, on a slow card.
const DEADLINE: Duration = Duration::from_secs(300);

/// Wipes the device, drops its partition if that is wished, and tells everybody to look again.
pub async fn erase(wish: &Wish, seen: &Seen, lane: &Lane, sysfs: &Sysfs) -> Result<(), WipeError> {
    let failed = |source| WipeError::Failed { device: wish.device.clone(), source };
    let (owned, parent) = (wish.clone(), seen.parent.clone());
    let nodes = (sysfs.dev.join(&wish.device), parent.map(|parent| sysfs.dev.join(parent)));
    let (device, disk) = lane.run(DEADLINE, move || open(&owned, &nodes.0, nodes.1.as_deref())).await??;
    let device = Arc::new(device);
    let size = block::size_bytes(&device).map_err(|error| failed(error.into()))?;
    let mut ranges = match wish.method {
        Method::Zeros => vec![(0, size)],
        Method::Ends => ends(0, size),
    };
    if wish.method == Method::Ends && seen.parent.is_none() {
        ranges
            .extend(partitions(sysfs, &wish.device).into_iter().flat_map(|(start, size)| ends(start, size)));
    }
    for (start, length) in ranges.into_iter().flat_map(|(start, length)| chunks(start, length)) {
        let device = Arc::clone(&device);
        let zeroed = lane.run(DEADLINE, move || block::zero_out(&device, start, length)).await?;
        zeroed.map_err(|error| failed(error.into()))?;
    }
    let (seen, owned, sysfs) = (seen.clone(), wish.clone(), sysfs.clone());
    let end = move || {
        device.sync_all()?;
        let has_table = settle(device, disk.as_ref(), &seen, owned.drop_partition)?;
        drop(disk);
        announce(&sysfs, &owned.device, &seen);
        anyhow::Ok(has_table)
    };
    let has_table = lane.run(DEADLINE, end).await?.map_err(failed)?;
    if has_table { Ok(()) } else { Err(WipeError::NoTable(wish.device.clone())) }
}

/// Opens the device for itself alone, and the disk that it is a partition of. The disk is locked, so that udevd looks
/// at it again when everything is done, and not before.
fn open(wish: &Wish, node: &Path, parent: Option<&Path>) -> Result<(File, Option<File>), WipeError> {
    let device = match opened(node, if wish.ignore_holders { OFlags::empty() } else { OFlags::EXCL }) {
        Err(Errno::BUSY) => {
            let user = "the kernel or another program, which holds it for itself".to_owned();
            return Err(WipeError::InUse { device: wish.device.clone(), user });
        }
        device => device.map_err(|error| cannot_open(wish, node, error))?,
    };
    let disk =
        parent.map(|path| opened(path, OFlags::empty()).map_err(|error| cannot_open(wish, path, error)));
    let disk = disk.transpose()?;
    let locked = flock(disk.as_ref().unwrap_or(&device), FlockOperation::LockExclusive);
    locked.map_err(|error| cannot_open(wish, parent.unwrap_or(node), error))?;
    Ok((device, disk))
}

fn opened(node: &Path, alone: OFlags) -> Result<File, Errno> {
    rustix::fs::open(node, OFlags::RDWR | OFlags::CLOEXEC | alone, Mode::empty()).map(File::from)
}

fn cannot_open(wish: &Wish, node: &Path, error: Errno) -> WipeError {
    let source = anyhow::Error::new(error).context(format!("cannot open {}", node.display()));
    WipeError::Failed { device: wish.device.clone(), source }
}

/// Both ends of a range, or all of a small one.
fn ends(start: u64, size: u64) -> Vec<(u64, u64)> {
    if size <= 2 * END_BYTES {
        return vec![(start, size)];
    }
    vec![(start, END_BYTES), (start + size - END_BYTES, END_BYTES)]
}

/// A range in pieces.
fn chunks(start: u64, size: u64) -> impl Iterator<Item = (u64, u64)> {
    let count = size.div_ceil(CHUNK_BYTES);
    (0..count).map(move |index| {
        let offset = index * CHUNK_BYTES;
        (start + offset, CHUNK_BYTES.min(size - offset))
    })
}

/// First byte and size of each partition.
fn partitions(sysfs: &Sysfs, disk: &str) -> Vec<(u64, u64)> {
    let partitions = sysfs.partitions(disk);
    partitions.into_iter().map(|partition| (partition.start_bytes, partition.size_bytes)).collect()
}

/// Lets the kernel forget what is not there any more. False when a partition should be dropped from no table.
fn settle(device: Arc<File>, disk: Option<&File>, seen: &Seen, drop_partition: bool) -> anyhow::Result<bool> {
    let numbers = seen.parts.iter().map(|part| part.number).filter(|number| *number > 0);
    match disk {
        None => {
            for number in numbers {
                block::delete_partition(&device, number.try_into()?)?;
            }
            Ok(true)
        }
        Some(disk) if drop_partition => {
            // A partition that is open stays.
            drop(device);
            let numbers: Vec<u32> = numbers.collect();
            numbers.into_iter().try_fold(true, |all, number| Ok(forget(disk, number)? && all))
        }
        Some(_) => Ok(true),
    }
}

/// Takes a partition out of the table of its disk, and out of the kernel.
fn forget(disk: &File, number: u32) -> anyhow::Result<bool> {
    let geometry = Geometry::of(block::size_bytes(disk)?, u64::from(block::sector_bytes(disk)?));
    let Some(reading) = gpt::read(disk, geometry)? else { return Ok(false) };
    let mut table = reading.table;
    table.entries.retain(|entry| entry.number != number);
    gpt::write(disk, &table, geometry).context("cannot write the partition table")?;
    block::delete_partition(disk, number.try_into()?)?;
    Ok(true)
}

/// Lets udevd and everybody who follows events look again; who misses it looks within a minute anyway.
fn announce(sysfs: &Sysfs, device: &str, seen: &Seen) {
    for name in [Some(device), seen.parent.as_deref()].into_iter().flatten() {
        let event = sysfs.sys.join("class/block").join(name).join("uevent");
        let opened = fs::OpenOptions::new().write(true).open(event);
        let _ = opened.and_then(|mut file| std::io::Write::write_all(&mut file, b"change"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_what_they_should_and_nothing_else() {
        assert_eq!(ends(0, 6 << 20), [(0, 6 << 20)]);
        assert_eq!(ends(1 << 20, 1 << 30), [(1 << 20, 4 << 20), ((1 << 30) - (3 << 20), 4 << 20)]);
        let pieces: Vec<_> = chunks(512, (512 << 20) + 1).collect();
        assert_eq!(pieces, [(512, 256 << 20), (512 + (256 << 20), 256 << 20), (512 + (512 << 20), 1)]);
        assert_eq!(chunks(0, 0).count(), 0);
    }
}
