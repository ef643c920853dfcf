//! Block device requests: sizes, partition tables, discarding.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Result;
use crate::error::failed;
use crate::ffi::check;

const BLKRRPART: libc::Ioctl = 0x125F;
const BLKGETSIZE64: libc::Ioctl = 0x8008_1272;
const BLKPG: libc::Ioctl = 0x1269;
const BLKDISCARD: libc::Ioctl = 0x1277;
const BLKZEROOUT: libc::Ioctl = 0x127F;
const BLKFLSBUF: libc::Ioctl = 0x1261;
const BLKROGET: libc::Ioctl = 0x125E;
const BLKPG_ADD_PARTITION: i32 = 1;
const BLKPG_DEL_PARTITION: i32 = 2;
const BLKPG_RESIZE_PARTITION: i32 = 3;

/// `struct blkpg_partition`.
#[repr(C)]
struct BlkpgPartition {
    start: i64,
    length: i64,
    number: i32,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct BlkpgArgument {
    op: i32,
    flags: i32,
    data_bytes: i32,
    data: *const BlkpgPartition,
}

/// A partition as the kernel is told about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Number, from 1.
    pub number: i32,
    /// First byte.
    pub start_bytes: u64,
    /// Size.
    pub size_bytes: u64,
}

/// Size of the device in bytes.
pub fn size_bytes(device: &File) -> Result<u64> {
    let mut size = 0u64;
    // SAFETY: the request writes one u64 to the pointer, which is valid for the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), BLKGETSIZE64, &raw mut size) })
        .map_err(failed("read the size of", "the block device"))?;
    Ok(size)
}

/// Logical sector size in bytes.
pub fn sector_bytes(device: &File) -> Result<u32> {
    rustix::fs::ioctl_blksszget(device).map_err(failed("read the sector size of", "the block device"))
}

/// Whether the device refuses writes.
pub fn is_read_only(device: &File) -> Result<bool> {
    let mut read_only: libc::c_int = 0;
    // SAFETY: the request writes one int to the pointer, which is valid for the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), BLKROGET, &raw mut read_only) })
        .map_err(failed("read the mode of", "the block device"))?;
    Ok(read_only != 0)
}

/// Makes the kernel read the partition table again; fails while any partition is in use.
pub fn reread_partitions(device: &File) -> Result<()> {
    plain(device, BLKRRPART).map_err(failed("read again the partition table of", "the block device"))
}

/// Writes back and drops cached blocks.
pub fn flush(device: &File) -> Result<()> {
    plain(device, BLKFLSBUF).map_err(failed("flush", "the block device"))
}

/// Tells the kernel about a new partition without touching the others.
pub fn add_partition(device: &File, partition: Partition) -> Result<()> {
    partition_request(device, BLKPG_ADD_PARTITION, partition)
        .map_err(failed("add the partition", partition.number))
}

/// Makes the kernel forget a partition.
pub fn delete_partition(device: &File, number: i32) -> Result<()> {
    let partition = Partition { number, start_bytes: 0, size_bytes: 0 };
    partition_request(device, BLKPG_DEL_PARTITION, partition).map_err(failed("delete the partition", number))
}

/// Tells the kernel about a partition's new size, also while it is mounted.
pub fn resize_partition(device: &File, partition: Partition) -> Result<()> {
    partition_request(device, BLKPG_RESIZE_PARTITION, partition)
        .map_err(failed("resize the partition", partition.number))
}

/// Tells the device that a range holds nothing any more.
pub fn discard(device: &File, start_bytes: u64, size_bytes: u64) -> Result<()> {
    range(device.as_raw_fd(), BLKDISCARD, [start_bytes, size_bytes])
        .map_err(failed("discard", "a range of the block device"))
}

/// Fills a range with zeros, by the device itself if it can.
pub fn zero_out(device: &File, start_bytes: u64, size_bytes: u64) -> Result<()> {
    range(device.as_raw_fd(), BLKZEROOUT, [start_bytes, size_bytes])
        .map_err(failed("zero", "a range of the block device"))
}

/// Device numbers of an open block device as `(major, minor)`.
pub fn device_numbers(device: BorrowedFd<'_>) -> Result<(u32, u32)> {
    let stat = rustix::fs::fstat(device).map_err(failed("inspect", "the block device"))?;
    Ok((rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)))
}

fn plain(device: &File, request: libc::Ioctl) -> std::io::Result<()> {
    // SAFETY: the request takes no argument; the descriptor is open.
    check(unsafe { libc::ioctl(device.as_raw_fd(), request) }).map(drop)
}

fn range(device: i32, request: libc::Ioctl, range: [u64; 2]) -> std::io::Result<()> {
    // SAFETY: the request reads two u64 from the pointer, which is valid for the call.
    check(unsafe { libc::ioctl(device, request, range.as_ptr()) }).map(drop)
}

fn partition_request(device: &File, op: i32, partition: Partition) -> std::io::Result<()> {
    let outside = |_| std::io::Error::from(std::io::ErrorKind::InvalidInput);
    let data = BlkpgPartition {
        start: i64::try_from(partition.start_bytes).map_err(outside)?,
        length: i64::try_from(partition.size_bytes).map_err(outside)?,
        number: partition.number,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let data_bytes = i32::try_from(size_of::<BlkpgPartition>()).map_err(outside)?;
    let argument = BlkpgArgument { op, flags: 0, data_bytes, data: &raw const data };
    // SAFETY: both structures have the kernel's layout and live through the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), BLKPG, &raw const argument) }).map(drop)
}
