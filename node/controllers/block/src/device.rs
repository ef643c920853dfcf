//! Bytes at an offset: a block device, or its picture in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What can be read at any offset.
pub trait ReadAt {
    /// Fills the buffer.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// What can also be written.
pub trait WriteAt: ReadAt {
    /// Writes all bytes.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when everything written before is on the medium.
    fn sync(&self) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl WriteAt for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.checked_add(buffer.len());
        let bytes = end.and_then(|end| self.get(start..end)).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// Size of a device in logical sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a sector.
    pub sector_bytes: u64,
    /// Number of sectors.
    pub sectors: u64,
}

impl Geometry {
    /// Of a device with this many bytes; sectors are never smaller than 512 bytes.
    pub const fn of(size_bytes: u64, sector_bytes: u64) -> Self {
        let sector_bytes = if sector_bytes < 512 { 512 } else { sector_bytes };
        Self { sector_bytes, sectors: size_bytes / sector_bytes }
    }
}
