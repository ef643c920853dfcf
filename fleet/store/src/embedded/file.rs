//! The file of an embedded store as the database sees it: written through, or with every write kept aside.
//!
//! ```text
//! database ─▶ Backend ─┬▶ reads  ─▶ what was written aside, else the file
//!                      └▶ writes ─▶ the file, or a copy of the page in memory
//! ```
//!
//! A file is tried aside first: whatever the database makes of it, recovery included, the file stays as it is. Its lock is
//! taken by the first attempt and held until the file is closed, so that nobody else comes in between.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{BackendError, Database, StorageBackend};
use rustix::fs::{Advice, fadvise};

use super::quiet::quietly;
use crate::error::OpenError;

/// Pages that the database keeps in memory, bytes: everything is in memory once already.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes that are copied when one of them is written aside.
const BLOCK_BYTES: usize = 4096;
const BLOCK: u64 = BLOCK_BYTES as u64;

/// Where writes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// To memory; every page is checked when the file is opened.
    Aside,
    /// To the file.
    Through,
}

/// An open file.
#[derive(Debug)]
pub struct StoreFile {
    backend: Arc<FileBackend>,
    /// The same open file, for what the database does not do.
    file: File,
    path: PathBuf,
    #[cfg(test)]
    pub fault: Arc<testing::Fault>,
}

impl StoreFile {
    /// Opens a file; one that is not there is made, and is empty.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |source: redb::Error| OpenError::File { path: path.to_owned(), source: source.into() };
        let open = || -> io::Result<(File, File)> {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            Ok((file.try_clone()?, file))
        };
        let (same, file) = open().map_err(|error| failed(redb::Error::Io(error)))?;
        let backend = FileBackend::new(same).map_err(|error| failed(error.into()))?;
        Ok(Self {
            backend: Arc::new(backend),
            file,
            path: path.to_owned(),
            #[cfg(test)]
            fault: Arc::default(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing was ever written to it.
    ///
    /// # Errors
    /// When the disk does not tell.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() == 0)
    }

    /// The database in it. One that was damaged is an error, also where the database would panic.
    ///
    /// # Errors
    /// When it is open elsewhere, damaged, or the disk fails.
    pub fn database(&self, writing: Writing) -> Result<Database, OpenError> {
        let failed = |source: redb::Error| OpenError::of(&self.path, source);
        let aside = match writing {
            Writing::Through => None,
            Writing::Aside => {
                let length = self.backend.len().map_err(|error| failed(redb::Error::Io(error)))?;
                Some(Mutex::new(Aside { length, kept: length, blocks: BTreeMap::new() }))
            }
        };
        let backend = Backend {
            file: Arc::clone(&self.backend),
            aside,
            #[cfg(test)]
            fault: Arc::clone(&self.fault),
        };
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(writing == Writing::Aside);
        match quietly(|| builder.create_with_backend(backend)) {
            Ok(opened) => opened.map_err(|error| failed(error.into())),
            Err(why) => Err(failed(redb::Error::Corrupted(why))),
        }
    }

    /// Forgets what the kernel remembers of the file. After a write that failed it may remember what is not on the disk.
    pub fn forget_cache(&self) {
        if let Err(error) = fadvise(&self.file, 0, None, Advice::DontNeed) {
            tracing::debug!(%error, "the kernel keeps what it remembers of the store");
        }
    }
}

/// What the database reads and writes.
#[derive(Debug)]
struct Backend {
    file: Arc<FileBackend>,
    aside: Option<Mutex<Aside>>,
    #[cfg(test)]
    fault: Arc<testing::Fault>,
}

/// What was written aside.
struct Aside {
    /// Length that the file would have, bytes.
    length: u64,
    /// Bytes at its begin that are those of the file, where nothing was written aside.
    kept: u64,
    /// Blocks by their number.
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl std::fmt::Debug for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aside").field("length", &self.length).finish_non_exhaustive()
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Where in its block an offset is.
fn within(offset: u64) -> usize {
    usize::try_from(offset % BLOCK).unwrap_or_default()
}

impl Aside {
    fn read(&self, file: &FileBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.saturating_add(number(out.len())) > self.length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let (mut at, mut rest) = (offset, out);
        while !rest.is_empty() {
            let count = rest.len().min(BLOCK_BYTES - within(at));
            let (now, later) = rest.split_at_mut(count);
            match self.blocks.get(&(at / BLOCK)) {
                Some(block) => copy(now, block.get(within(at)..).unwrap_or_default()),
                None => self.read_file(file, at, now)?,
            }
            (at, rest) = (at + number(count), later);
        }
        Ok(())
    }

    /// What the file has; behind what is kept of it there are zeros.
    fn read_file(&self, file: &FileBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(self.kept.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (now, behind) = out.split_at_mut(there.min(out.len()));
        behind.fill(0);
        if now.is_empty() { Ok(()) } else { file.read(offset, now) }
    }

    fn write(&mut self, file: &FileBackend, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let count = rest.len().min(BLOCK_BYTES - within(at));
            let (now, later) = rest.split_at(count);
            let index = at / BLOCK;
            let mut block = match self.blocks.remove(&index) {
                Some(block) => block,
                None => {
                    let mut block = vec![0; BLOCK_BYTES];
                    self.read_file(file, index * BLOCK, &mut block)?;
                    block
                }
            };
            copy(block.get_mut(within(at)..).unwrap_or_default(), now);
            self.blocks.insert(index, block);
            (at, rest) = (at + number(count), later);
        }
        self.length = self.length.max(at);
        Ok(())
    }

    fn set_length(&mut self, length: u64) {
        self.kept = self.kept.min(length);
        self.blocks.retain(|index, _| index * BLOCK < length);
        if let Some(block) = self.blocks.get_mut(&(length / BLOCK)) {
            block.iter_mut().skip(within(length)).for_each(|byte| *byte = 0);
        }
        self.length = length;
    }
}

/// Copies as much as there is room for.
fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        match &self.aside {
            Some(aside) => Ok(aside.lock().length),
            None => self.file.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &self.aside {
            Some(aside) => aside.lock().read(&self.file, offset, out),
            None => self.file.read(offset, out),
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        match &self.aside {
            Some(aside) => {
                aside.lock().set_length(length);
                Ok(())
            }
            None => self.file.set_len(length),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        #[cfg(test)]
        self.fault.sync()?;
        if self.aside.is_some() { Ok(()) } else { self.file.sync_data() }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match &self.aside {
            Some(aside) => aside.lock().write(&self.file, offset, data),
            None => {
                #[cfg(test)]
                self.fault.write()?;
                self.file.write(offset, data)
            }
        }
    }

    /// Holds the locks: they go when the file is closed.
    fn close(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
pub mod testing {
    //! A disk that has no room when a test says so.

    use std::io::{self, ErrorKind};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// What the disk does not do.
    #[derive(Debug, Default)]
    pub struct Fault {
        /// It takes no bytes.
        pub writes: AtomicBool,
        /// It takes bytes and does not confirm them.
        pub syncs: AtomicBool,
    }

    impl Fault {
        pub(super) fn write(&self) -> io::Result<()> {
            fail(&self.writes)
        }

        pub(super) fn sync(&self) -> io::Result<()> {
            fail(&self.syncs)
        }
    }

    fn fail(is_broken: &AtomicBool) -> io::Result<()> {
        if is_broken.load(Ordering::Relaxed) { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with some bytes, and the same bytes with everything written aside.
    fn aside(bytes: &[u8]) -> (tempfile::TempDir, Backend) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).expect("written");
        let StoreFile { backend: file, fault, .. } = StoreFile::open(&path).expect("opens");
        let length = number(bytes.len());
        let aside = Aside { length, kept: length, blocks: BTreeMap::new() };
        (folder, Backend { file, aside: Some(Mutex::new(aside)), fault })
    }

    fn all(backend: &Backend) -> Vec<u8> {
        let length = usize::try_from(backend.len().expect("a length")).expect("small");
        let mut bytes = vec![1; length];
        backend.read(0, &mut bytes).expect("read");
        bytes
    }

    #[test]
    fn what_is_written_aside_is_read_back_and_the_file_stays() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|index| u8::try_from(index % 251).unwrap_or(0)).collect();
        let (folder, backend) = aside(&bytes);
        let mut expected = bytes.clone();
        for (offset, data) in [(4090_usize, vec![9; 20]), (0, vec![8; 5000]), (9990, vec![7; 10])] {
            backend.write(number(offset), &data).expect("written");
            expected[offset..offset + data.len()].copy_from_slice(&data);
            assert_eq!(all(&backend), expected);
        }
        backend.set_len(5000).expect("cut");
        backend.set_len(12_000).expect("grown");
        expected.truncate(5000);
        expected.resize(12_000, 0);
        assert_eq!(all(&backend), expected, "what was cut off does not come back");
        assert!(backend.read(11_999, &mut [0; 2]).is_err(), "there is nothing behind the end");
        assert_eq!(std::fs::read(folder.path().join("file")).expect("read"), bytes);
    }
}
