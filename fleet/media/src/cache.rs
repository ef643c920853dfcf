//! Media that were made, on the disk: so many bytes and no more, those that nobody asked for the longest go first.
//!
//! ```text
//! KEY        the medium                find ─▶ open file, facts
//! KEY.json   its length, hash, names   make ─▶ room ─▶ KEY.part ─▶ KEY, KEY.json
//! ```
//!
//! Whoever reads a medium that goes reads on: the file is open.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use corten_base::fs::{Durability, write_atomic};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::trouble::Cause;

/// Mode of the folder: media hold join tokens.
const FOLDER_MODE: u32 = 0o700;
/// Mode of files.
const FILE_MODE: u32 = 0o600;
/// Bytes of a block in what the kernel tells.
const BLOCK: u64 = 512;
/// End of a file with facts.
const FACTS: &str = "json";
/// End of a file that is being written.
const PART: &str = "part";

/// What is known of a medium.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Its length, bytes.
    pub length: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
    /// Version, for people who look into the folder.
    pub version: String,
    /// Name, for the same.
    pub file: String,
}

/// A medium that is there.
#[derive(Debug)]
pub(crate) struct Found {
    /// It, open for reading.
    pub file: File,
    /// What is known of it.
    pub facts: Facts,
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    max: u64,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    entries: BTreeMap<String, Entry>,
    /// Counts what was asked for.
    tick: u64,
}

#[derive(Debug)]
struct Entry {
    facts: Facts,
    /// Bytes that it takes on the disk.
    taken: u64,
    /// When it was asked for last.
    tick: u64,
}

impl Index {
    fn taken(&self) -> u64 {
        self.entries.values().map(|entry| entry.taken).sum()
    }

    fn next_tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }
}

impl Cache {
    /// Opens the folder, or makes it. What is no whole medium is removed, and so is what is too much.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(folder: &Path, max: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        let mut whole: Vec<(SystemTime, String, Facts, u64)> = Vec::new();
        let mut others = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            match read(&path) {
                Some(found) => whole.push(found),
                None => others.push(path),
            }
        }
        whole.sort_by_key(|(at, ..)| *at);
        let mut index = Index::default();
        for (_, key, facts, taken) in whole {
            let tick = index.next_tick();
            index.entries.insert(key, Entry { facts, taken, tick });
        }
        let is_of_a_medium = |path: &Path| {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            path.extension().is_none_or(|end| end == FACTS) && index.entries.contains_key(stem)
        };
        for path in others.iter().filter(|path| !is_of_a_medium(path)) {
            // Whatever it is, it takes room that is counted as free.
            std::fs::remove_file(path)?;
        }
        let cache = Self { folder: folder.to_owned(), max, index: Mutex::new(index) };
        cache.make_room(0)?;
        Ok(cache)
    }

    /// A medium that is there. Opens its file.
    pub fn find(&self, key: &str) -> Option<Found> {
        let mut index = self.index.lock();
        let tick = index.next_tick();
        let entry = index.entries.get_mut(key)?;
        entry.tick = tick;
        let file = File::open(self.folder.join(key)).ok();
        let is_whole = |file: &File| file.metadata().is_ok_and(|found| found.len() == entry.facts.length);
        if let Some(file) = file.filter(is_whole) {
            return Some(Found { file, facts: entry.facts.clone() });
        }
        // Somebody removed or cut it; it is made again.
        index.entries.remove(key);
        None
    }

    /// Makes a medium that takes at most `bound` bytes on the disk. `build` writes it, and gives its facts.
    ///
    /// # Errors
    /// When it cannot be made, or takes more than everything may.
    pub fn make(
        &self,
        key: &str,
        bound: u64,
        build: impl FnOnce(&File) -> Result<Facts, Cause>,
    ) -> Result<Found, Cause> {
        if bound > self.max {
            return Err(Cause::Full { needed: bound, max: self.max });
        }
        self.make_room(bound).map_err(Cause::disk(&self.folder))?;
        let part = self.folder.join(format!("{key}.{PART}"));
        let made = self.write(&part, key, build);
        if made.is_err() {
            // It takes room; where it cannot be removed, the next start tries again.
            let _ = std::fs::remove_file(&part);
        }
        made
    }

    fn write(
        &self,
        part: &Path,
        key: &str,
        build: impl FnOnce(&File) -> Result<Facts, Cause>,
    ) -> Result<Found, Cause> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true).mode(FILE_MODE);
        let file = options.open(part).map_err(Cause::disk(part))?;
        let facts = build(&file)?;
        file.sync_all().map_err(Cause::disk(part))?;
        let (path, described) = (self.folder.join(key), self.folder.join(format!("{key}.{FACTS}")));
        std::fs::rename(part, &path).map_err(Cause::disk(&path))?;
        let text = serde_json::to_vec(&facts).map_err(|error| Cause::disk(&described)(error.into()))?;
        let written = write_atomic(&described, &text, FILE_MODE, Durability::Durable);
        written.map_err(Cause::disk(&described))?;
        let taken = file.metadata().map_err(Cause::disk(&path))?.blocks() * BLOCK;
        let mut index = self.index.lock();
        let tick = index.next_tick();
        index.entries.insert(key.to_owned(), Entry { facts: facts.clone(), taken, tick });
        Ok(Found { file, facts })
    }

    /// Removes media until so many bytes fit.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut index = self.index.lock();
        while index.taken().saturating_add(bytes) > self.max {
            let Some(oldest) = index.entries.iter().min_by_key(|(_, entry)| entry.tick) else { break };
            let key = oldest.0.clone();
            for path in [self.folder.join(format!("{key}.{FACTS}")), self.folder.join(&key)] {
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            index.entries.remove(&key);
        }
        Ok(())
    }
}

/// The medium that a file with facts is of, if it is whole: when it was made, its key, facts, and bytes on the disk.
fn read(path: &Path) -> Option<(SystemTime, String, Facts, u64)> {
    if path.extension()? != FACTS {
        return None;
    }
    let key = path.file_stem()?.to_str()?.to_owned();
    let facts: Facts = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let metadata = path.with_extension("").metadata().ok()?;
    let is_whole = metadata.is_file() && metadata.len() == facts.length;
    let at = metadata.modified().ok()?;
    is_whole.then(|| (at, key, facts, metadata.blocks() * BLOCK))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    const PAGE: u64 = 4096;

    fn facts(length: u64) -> Facts {
        Facts { length, sha256: "00".to_owned(), version: "1.2.3".to_owned(), file: "a.iso".to_owned() }
    }

    fn make(cache: &Cache, key: &str, pages: u64) -> Result<Found, Cause> {
        let length = pages * PAGE;
        cache.make(key, length, |mut file| {
            file.write_all(&vec![7; usize::try_from(length).expect("small")]).expect("written");
            Ok(facts(length))
        })
    }

    fn there(cache: &Cache) -> Vec<String> {
        cache.index.lock().entries.keys().cloned().collect()
    }

    #[test]
    fn what_nobody_asked_for_the_longest_goes_first_and_who_reads_it_reads_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(folder.path(), 10 * PAGE).expect("opened");
        make(&cache, "a", 4).expect("made");
        make(&cache, "b", 4).expect("made");
        let mut old = cache.find("b").expect("there").file;
        cache.find("a").expect("there");
        make(&cache, "c", 4).expect("made");
        assert_eq!(there(&cache), ["a", "c"]);
        assert!(!folder.path().join("b").exists() && !folder.path().join("b.json").exists());
        let mut bytes = Vec::new();
        old.read_to_end(&mut bytes).expect("read");
        assert_eq!(bytes.len() as u64, 4 * PAGE);
        assert!(matches!(make(&cache, "d", 11), Err(Cause::Full { .. })));
        assert_eq!(there(&cache), ["a", "c"], "nothing went for what does not fit at all");
    }

    #[test]
    fn what_is_whole_is_there_after_a_restart_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(folder.path(), 100 * PAGE).expect("opened");
        for key in ["a", "b", "c"] {
            make(&cache, key, 1).expect("made");
        }
        std::fs::write(folder.path().join("b"), "cut").expect("written");
        std::fs::remove_file(folder.path().join("c.json")).expect("removed");
        std::fs::write(folder.path().join("d.part"), "half").expect("written");
        assert!(cache.find("b").is_none(), "it is another length");
        let cache = Cache::open(folder.path(), 100 * PAGE).expect("opened");
        assert_eq!(there(&cache), ["a"]);
        let mut names: Vec<_> = std::fs::read_dir(folder.path()).expect("listed").flatten().collect();
        names.sort_by_key(std::fs::DirEntry::file_name);
        let names: Vec<_> = names.iter().map(std::fs::DirEntry::file_name).collect();
        assert_eq!(names, ["a", "a.json"]);
        let cache = Cache::open(folder.path(), 0).expect("opened");
        assert!(there(&cache).is_empty(), "a smaller cache has less");
    }

    #[test]
    fn what_fails_leaves_nothing() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("media");
        let cache = Cache::open(&folder, 100 * PAGE).expect("opened");
        let failed = cache.make("a", PAGE, |_| Err(Cause::Busy));
        assert!(matches!(failed, Err(Cause::Busy)));
        assert_eq!(std::fs::read_dir(&folder).expect("listed").count(), 0);
        let mode = std::fs::metadata(&folder).expect("metadata").mode();
        let made = make(&cache, "a", 1).expect("made").file.metadata().expect("metadata");
        assert_eq!((made.mode() & 0o777, mode & 0o077), (0o600, 0));
    }
}
