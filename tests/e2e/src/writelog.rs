//! The log of everything that a machine wrote to its disk, and the disk as a loss of power would have left it.
//!
//! QEMU's `blklogwrites` driver writes the format of Linux's dm-log-writes: a superblock, then one header per request
//! with the data behind it, in the order in which the requests were completed. What was complete before a flush is on
//! the disk; of what came after it, a disk may have kept any part.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use corten_base::Rng;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FORCED: u64 = 2;
const DISCARD: u64 = 4;
/// More requests than a boot makes.
const ENTRIES_MAX: u64 = 10_000_000;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    sector: u64,
    sectors: u64,
    flags: u64,
    /// Where its data is in the log.
    data: u64,
}

impl Entry {
    /// Whether the machine asked the disk to keep everything that came before.
    #[must_use]
    pub const fn is_flush(self) -> bool {
        self.flags & FLUSH != 0
    }

    const fn has_data(self) -> bool {
        self.flags & DISCARD == 0 && self.sectors > 0
    }
}

/// A complete log.
#[derive(Debug)]
pub struct WriteLog {
    file: File,
    sector_bytes: u64,
    entries: Vec<Entry>,
}

/// What was left of a cut disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept {
    /// Requests that were on the disk for sure.
    pub flushed: usize,
    /// Later ones that the disk happened to keep.
    pub lucky: usize,
    /// Later ones that were lost.
    pub lost: usize,
}

/// How many requests a log that is being written has on record.
pub fn count(path: &Path) -> Result<u64> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(superblock(&mut file)?.0)
}

/// Number of entries, and bytes of a sector.
fn superblock(log: &mut (impl Read + Seek)) -> Result<(u64, u64)> {
    let mut bytes = [0; 28];
    log.seek(SeekFrom::Start(0))?;
    log.read_exact(&mut bytes).context("the log has no superblock")?;
    ensure!(word(&bytes, 0) == MAGIC, "this is no log of writes");
    let sector_bytes = word(&bytes, 24) & 0xffff_ffff;
    ensure!((512..=65536).contains(&sector_bytes), "a sector of the log has {sector_bytes} bytes");
    Ok((word(&bytes, 16), sector_bytes))
}

/// Bytes of a sector, and the headers of all entries.
fn headers(log: &mut (impl Read + Seek)) -> Result<(u64, Vec<Entry>)> {
    let (count, sector_bytes) = superblock(log)?;
    ensure!(count <= ENTRIES_MAX, "the log has {count} entries");
    let mut entries = Vec::new();
    let mut position = sector_bytes;
    for _ in 0..count {
        let mut header = [0; 32];
        log.seek(SeekFrom::Start(position))?;
        log.read_exact(&mut header).context("the log ends within an entry")?;
        let data = position + sector_bytes;
        let entry =
            Entry { sector: word(&header, 0), sectors: word(&header, 8), flags: word(&header, 16), data };
        let length = if entry.has_data() { entry.sectors.checked_mul(sector_bytes) } else { Some(0) };
        position = length.and_then(|length| data.checked_add(length)).context("an entry has no end")?;
        entries.push(entry);
    }
    Ok((sector_bytes, entries))
}

/// A little-endian number; what is beyond the end is zero.
fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

impl WriteLog {
    /// Reads the headers of a log.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let (sector_bytes, entries) = headers(&mut file)?;
        Ok(Self { file, sector_bytes, entries })
    }

    /// All requests, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Writes to `disk`, a copy of what the log began with, what a loss of power after `cut` requests leaves: all up to
    /// the last flush, and of the later ones each by chance.
    pub fn replay(&self, disk: &Path, cut: usize, rng: &Rng) -> Result<Kept> {
        let disk = OpenOptions::new().write(true).open(disk).context("cannot open the disk")?;
        let until = self.entries.get(..cut).unwrap_or(&self.entries);
        let flushed = until.iter().rposition(|entry| entry.is_flush()).map_or(0, |last| last + 1);
        let mut kept = Kept { flushed, ..Kept::default() };
        for (number, entry) in until.iter().enumerate() {
            if number >= flushed && entry.flags & FORCED == 0 {
                if rng.fraction() < 0.5 {
                    kept.lost += 1;
                    continue;
                }
                kept.lucky += 1;
            }
            self.apply(&disk, *entry)?;
        }
        Ok(kept)
    }

    fn apply(&self, disk: &File, entry: Entry) -> Result<()> {
        const CHUNK: u64 = 1 << 20;
        if !entry.has_data() {
            // What a discarded block holds afterwards is the disk's business; this one keeps it.
            return Ok(());
        }
        let (from, to, length) =
            (entry.data, entry.sector * self.sector_bytes, entry.sectors * self.sector_bytes);
        let mut done = 0;
        let mut buffer = vec![0; CHUNK.min(length) as usize];
        while done < length {
            let part = CHUNK.min(length - done) as usize;
            let chunk = buffer.get_mut(..part).context("a chunk is larger than the buffer")?;
            self.file.read_exact_at(chunk, from + done).context("the log ends within data")?;
            disk.write_all_at(chunk, to + done).context("cannot write to the disk")?;
            done += part as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(entries: &[(u64, u64, u64, u8)]) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8] = 1;
        bytes[16..24].copy_from_slice(&(entries.len() as u64).to_le_bytes());
        bytes[24..28].copy_from_slice(&512_u32.to_le_bytes());
        for (sector, sectors, flags, fill) in entries {
            let mut header = vec![0; 512];
            header[..8].copy_from_slice(&sector.to_le_bytes());
            header[8..16].copy_from_slice(&sectors.to_le_bytes());
            header[16..24].copy_from_slice(&flags.to_le_bytes());
            bytes.extend(header);
            if flags & DISCARD == 0 {
                bytes.extend(vec![*fill; *sectors as usize * 512]);
            }
        }
        bytes
    }

    fn disk_after(cut: usize, seed: u64) -> (Vec<u8>, Kept) {
        let folder =
            std::env::temp_dir().join(format!("corten-writelog-{}-{cut}-{seed}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, disk) = (folder.join("log"), folder.join("disk"));
        let entries = [
            (0, 1, 0, 1),
            (1, 2, 0, 2),
            (0, 0, FLUSH, 0),
            (0, 1, 0, 3),
            (3, 1, DISCARD, 0),
            (3, 1, FORCED, 4),
        ];
        std::fs::write(&path, log(&entries)).unwrap();
        std::fs::write(&disk, vec![0; 4 * 512]).unwrap();
        let log = WriteLog::open(&path).unwrap();
        assert_eq!(log.entries().len(), 6);
        let kept = log.replay(&disk, cut, &Rng::seeded(seed)).unwrap();
        let bytes = std::fs::read(&disk).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        (bytes.chunks(512).map(|sector| sector[0]).collect(), kept)
    }

    #[test]
    fn what_was_flushed_is_there_and_what_was_forced_too() {
        for seed in 0..8 {
            let (disk, kept) = disk_after(6, seed);
            assert_eq!(disk[1..], [2, 2, 4]);
            assert!(disk[0] == 1 || disk[0] == 3);
            assert_eq!((kept.flushed, kept.lucky + kept.lost), (3, 2));
        }
    }

    #[test]
    fn what_was_not_flushed_may_be_lost() {
        let all: Vec<Vec<u8>> = (0..32).map(|seed| disk_after(2, seed).0).collect();
        assert!(
            all.contains(&vec![0, 0, 0, 0])
                && all.contains(&vec![1, 2, 2, 0])
                && all.contains(&vec![0, 2, 2, 0])
        );
    }

    #[test]
    fn any_bytes_are_a_log_or_refused() {
        bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(tail, count)| {
            let mut bytes = log(&[]);
            bytes[16] = *count;
            bytes.extend(tail);
            let _ = headers(&mut std::io::Cursor::new(bytes));
        });
    }

    #[test]
    fn an_entry_beyond_all_numbers_is_refused() {
        let endless = log(&[(0, u64::MAX / 256, DISCARD, 0)]);
        assert!(headers(&mut std::io::Cursor::new(&endless)).is_ok(), "what is discarded has no data");
        let mut endless = endless;
        endless[512 + 16] = 0;
        let error = headers(&mut std::io::Cursor::new(&endless)).unwrap_err().to_string();
        assert_eq!(error, "an entry has no end");
    }

    #[test]
    fn other_files_are_no_logs() {
        let path = std::env::temp_dir().join(format!("corten-nolog-{}", std::process::id()));
        std::fs::write(&path, [1; 600]).unwrap();
        assert!(WriteLog::open(&path).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
