//! Writes what is said in this boot to its folder.
//!
//! Files are opened for each write and closed again, so that the volume can be unmounted at any time. What was written is
//! remembered on a tmpfs, so that a machined that comes later in the same boot goes on where this one stopped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use corten_base::fs::{Durability, write_atomic};
use corten_resources::runtime::{BootEnd, BootRecord};
use corten_sys::kmsg::{Next, Reader};

use super::pstore;
use super::ring::Ring;
use crate::api::dmesg;
use crate::logs;

/// Log of the kernel.
const KERNEL: &str = "kernel";
/// What of it stood on the console: notices and worse, as init sets the kernel's console up.
const CONSOLE: &str = "console";
/// Last words of the kernel.
const PANIC: &str = "panic";
const NOTICE: u8 = 5;
/// What is read of a log at once.
const READ_BYTES_MAX: u64 = 256 * 1024;
/// What the kernel said and could not be written yet, bytes. More is forgotten, oldest first.
const PENDING_BYTES_MAX: usize = 256 * 1024;

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Places {
    /// Logs on disk.
    pub log: PathBuf,
    /// Logs in memory.
    pub early_log: PathBuf,
    /// What the kernel keeps of panics.
    pub pstore: PathBuf,
    /// What was written, on a tmpfs.
    pub notes: PathBuf,
}

/// A boot that begins.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The kernel's identity of it.
    pub id: String,
    /// Version of the system.
    pub version: String,
    /// Now.
    pub at: SystemTime,
}

/// Keeper of one boot.
#[derive(Debug)]
pub struct Keeper {
    places: Places,
    ring: Ring,
    number: u64,
    /// Reader of the kernel's log; a machine that shares a kernel does not keep that of others.
    kernel: Option<Reader>,
    /// How far each log has been written; of the kernel's the sequence number of the next record.
    written: BTreeMap<String, u64>,
    pending: BTreeMap<&'static str, Vec<u8>>,
    /// Sizes of the logs on disk when they were last synced.
    synced: BTreeMap<PathBuf, u64>,
}

impl Keeper {
    /// Begins a boot, or goes on with it. What is left of the boot before is put in order first. On a full disk the oldest
    /// boots make room.
    pub fn begin(places: Places, boot: &Boot, kernel: Option<Reader>) -> io::Result<Self> {
        let ring = Ring::below(&places.log);
        let (number, written) = loop {
            match enter(&ring, &places, boot) {
                Err(error) if error.kind() == ErrorKind::StorageFull && ring.make_room() => {}
                entered => break entered?,
            }
        };
        let (pending, synced) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { places, ring, number, kernel, written, pending, synced })
    }

    /// The boots on disk.
    pub const fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Writes what is new. On a full disk the oldest boots make room; without any what is new waits, within bounds.
    pub fn flush(&mut self, booted: SystemTime) -> io::Result<()> {
        self.read_kernel(booted);
        let before = self.written.clone();
        let mut result = self.write();
        while result.as_ref().is_err_and(|error| error.kind() == ErrorKind::StorageFull)
            && self.ring.make_room()
        {
            result = self.write();
        }
        let synced = self.sync();
        if self.written != before {
            let text: String = self.written.iter().map(|(name, at)| format!("{name} {at}\n")).collect();
            write_atomic(&self.places.notes, text.as_bytes(), 0o600, Durability::Volatile)?;
        }
        result.and(synced)
    }

    /// Records how the boot ends, after everything was written.
    pub fn end(mut self, end: BootEnd, reason: String, booted: SystemTime, at: SystemTime) -> io::Result<()> {
        let flushed = self.flush(booted);
        let record = self.ring.record(self.number).unwrap_or_default();
        self.ring.keep(self.number, &BootRecord { end, reason, last_seen: Some(at), ..record })?;
        flushed
    }

    /// What containers write goes to the disk by itself, and is made to stay there.
    fn sync(&mut self) -> io::Result<()> {
        for path in fs::read_dir(&self.places.log)?.flatten().map(|entry| entry.path()) {
            let is_log = path.extension().is_some_and(|extension| extension == "log");
            let Ok(metadata) = path.metadata() else { continue };
            if is_log && metadata.is_file() && self.synced.get(&path) != Some(&metadata.len()) {
                File::open(&path)?.sync_data()?;
                self.synced.insert(path, metadata.len());
            }
        }
        Ok(())
    }

    fn read_kernel(&mut self, booted: SystemTime) {
        let Some(reader) = &mut self.kernel else { return };
        let next = self.written.entry(KERNEL.to_owned()).or_default();
        loop {
            match reader.next_record() {
                Ok(Next::Record(record)) if record.sequence < *next => {}
                Ok(Next::Record(record)) => {
                    *next = record.sequence + 1;
                    let line = dmesg::format(&record, booted);
                    if record.severity <= NOTICE {
                        let text = format!("{}\n", record.message);
                        self.pending.entry(CONSOLE).or_default().extend_from_slice(text.as_bytes());
                    }
                    self.pending.entry(KERNEL).or_default().extend_from_slice(line.as_bytes());
                }
                Ok(Next::Lost) => {}
                Ok(Next::End) | Err(_) => break,
            }
        }
        for text in self.pending.values_mut() {
            let too_much = text.len().saturating_sub(PENDING_BYTES_MAX);
            text.drain(..too_much);
        }
    }

    fn write(&mut self) -> io::Result<()> {
        for name in [KERNEL, CONSOLE] {
            if let Some(text) = self.pending.get(name).filter(|text| !text.is_empty()) {
                self.ring.append(self.number, name, text)?;
                self.pending.remove(name);
            }
        }
        let entries = fs::read_dir(&self.places.early_log).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let Some(name) = log_name(&path) else { continue };
            let from = self.written.get(&name).copied().unwrap_or_default();
            let (bytes, to) = read_from(&path, from)?;
            if !bytes.is_empty() {
                self.ring.append(self.number, &name, &bytes)?;
            }
            self.written.insert(name, to);
        }
        Ok(())
    }
}

/// Name of a service's log; `kernel` is ours.
fn log_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_suffix(".log")?;
    (![KERNEL, CONSOLE, PANIC].contains(&name)).then(|| name.to_owned())
}

/// What a log holds from an offset on, and the offset behind it. One that is shorter than that was begun anew.
fn read_from(path: &Path, from: u64) -> io::Result<(Vec<u8>, u64)> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    let from = if from > end { 0 } else { from };
    if from == end {
        return Ok((Vec::new(), end));
    }
    let first = logs::first_data(&mut file, end).max(from).max(end.saturating_sub(READ_BYTES_MAX));
    file.seek(SeekFrom::Start(first))?;
    let mut bytes = Vec::new();
    file.take(end - first).read_to_end(&mut bytes)?;
    let to = first + bytes.len() as u64;
    Ok((bytes, to))
}

/// What was written already.
fn notes(path: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    lines.filter_map(|(name, at)| Some((name.to_owned(), at.parse().ok()?))).collect()
}

/// The boot to write to, begun when it is another one than the last, and how far each of its logs has been written.
fn enter(ring: &Ring, places: &Places, boot: &Boot) -> io::Result<(u64, BTreeMap<String, u64>)> {
    let last = ring.boots().last().copied();
    // Machines that share a kernel have one identity of it for all their boots, and a new tmpfs in each.
    let goes_on = places.notes.exists();
    let is_same =
        |number: &u64| goes_on && ring.record(*number).is_some_and(|record| record.boot_id == boot.id);
    if let Some(number) = last.filter(is_same) {
        return Ok((number, notes(&places.notes)));
    }
    if let Some(last) = last {
        conclude(ring, last, places)?;
    }
    let number = last.unwrap_or_default() + 1;
    let record = BootRecord {
        boot_id: boot.id.clone(),
        version: boot.version.clone(),
        started: Some(boot.at),
        ..BootRecord::default()
    };
    // A folder without a record would be taken for a boot.
    ring.keep(number, &record).inspect_err(|_| ring.forget(number))?;
    write_atomic(&places.notes, b"", 0o600, Durability::Volatile)?;
    ring.prune();
    Ok((number, BTreeMap::new()))
}

/// Puts what an earlier boot left in order: why it ended, and the logs that it left in the folder of all.
fn conclude(ring: &Ring, boot: u64, places: &Places) -> io::Result<()> {
    let mut record = ring.record(boot).unwrap_or_default();
    if record.last_seen.is_none() {
        record.last_seen = ring.last_seen(boot);
    }
    let words = pstore::read(&places.pstore);
    if let Some(words) = &words {
        ring.append(boot, PANIC, words.text.as_bytes())?;
        (record.end, record.reason) = (BootEnd::Panic, words.reason.clone());
    }
    if record.end == BootEnd::Running {
        record.end = BootEnd::PowerLoss;
        record.reason =
            "nothing was said before the end: the power went, or the machine was reset".to_owned();
    }
    ring.take(boot, &places.log)?;
    ring.keep(boot, &record)?;
    // Not before they are on the disk: on a full one they would be lost.
    pstore::forget(&places.pstore);
    Ok(())
}

#[cfg(test)]
mod tests;
