//! Schematics that were made or posted: a sealed file each, found by id.
//!
//! ```text
//! CreateSchematic ─keep─▶ ID.kept     stays
//! POST            ─post─▶ ID.posted   the oldest go when there are too many: whoever posted one can post it again
//! ```
//!
//! The id follows from the contents, so that a schematic that went and comes again has the same media as before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use corten_base::fs::{Durability, write_atomic};
use corten_fleet_schematic::{Schematic, SchematicId};
use corten_fleet_store::Sealer;
use parking_lot::Mutex;

use crate::trouble::Cause;

/// Most schematics that are kept; nobody makes so many by hand.
const KEPT_MAX: usize = 10_000;
/// Most bytes of all that are posted by whoever reaches the manager.
const POSTED_BYTES_MAX: u64 = 32 << 20;
/// Mode of the folder.
const FOLDER_MODE: u32 = 0o700;
/// Mode of files.
const FILE_MODE: u32 = 0o600;
const KEPT: &str = "kept";
const POSTED: &str = "posted";

/// The folder.
#[derive(Debug)]
pub(crate) struct Schematics {
    folder: PathBuf,
    sealer: Sealer,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    kept: BTreeSet<SchematicId>,
    /// By age, the oldest first, with bytes on the disk.
    posted: BTreeMap<u64, (SchematicId, u64)>,
}

impl Index {
    fn posted_bytes(&self) -> u64 {
        self.posted.values().map(|(_, bytes)| bytes).sum()
    }

    fn has(&self, id: &SchematicId) -> bool {
        self.kept.contains(id) || self.posted.values().any(|(known, _)| known == id)
    }

    fn add_posted(&mut self, id: SchematicId, bytes: u64) {
        let age = self.posted.last_key_value().map_or(0, |(last, _)| last + 1);
        self.posted.insert(age, (id, bytes));
    }
}

impl Schematics {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(folder: &Path, sealer: Sealer) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        let mut posted: Vec<(SystemTime, SchematicId, u64)> = Vec::new();
        let mut index = Index::default();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let (Ok(id), Some(end)) = (stem.parse::<SchematicId>(), path.extension()) else { continue };
            if end == KEPT {
                index.kept.insert(id);
            } else if end == POSTED {
                let metadata = path.metadata()?;
                posted.push((metadata.modified()?, id, metadata.len()));
            }
        }
        posted.sort();
        for (_, id, bytes) in posted {
            index.add_posted(id, bytes);
        }
        Ok(Self { folder: folder.to_owned(), sealer, index: Mutex::new(index) })
    }

    /// Keeps a schematic for as long as the manager's folder is there. Blocks for the disk.
    ///
    /// # Errors
    /// When there are too many, or the disk refuses.
    pub fn keep(&self, schematic: &Schematic) -> Result<(), Cause> {
        let id = schematic.id();
        let mut index = self.index.lock();
        if index.kept.contains(&id) {
            return Ok(());
        }
        if index.kept.len() >= KEPT_MAX {
            return Err(Cause::TooMany(index.kept.len()));
        }
        self.write(&id, KEPT, schematic)?;
        index.kept.insert(id);
        Ok(())
    }

    /// Keeps a schematic for a while. Blocks for the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn post(&self, schematic: &Schematic) -> Result<(), Cause> {
        let id = schematic.id();
        let mut index = self.index.lock();
        if index.has(&id) {
            return Ok(());
        }
        let bytes = self.write(&id, POSTED, schematic)?;
        index.add_posted(id, bytes);
        while index.posted_bytes() > POSTED_BYTES_MAX {
            let Some((_, (oldest, _))) = index.posted.pop_first() else { break };
            let path = self.path(&oldest, POSTED);
            std::fs::remove_file(&path).map_err(Cause::disk(path))?;
        }
        Ok(())
    }

    /// The schematic with this id. Blocks for the disk.
    ///
    /// # Errors
    /// `NoSchematic` when there is none, and others when it cannot be read.
    pub fn get(&self, id: &SchematicId) -> Result<Schematic, Cause> {
        for end in [KEPT, POSTED] {
            let path = self.path(id, end);
            let sealed = match std::fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Cause::disk(path)(error)),
                Ok(sealed) => sealed,
            };
            let opened = self.sealer.open(id.as_str().as_bytes(), &sealed);
            let text = opened.map_err(|source| Cause::Sealed { path: path.clone(), source })?;
            let text = String::from_utf8_lossy(&text);
            let wrong = |text: String| Cause::disk(path)(io::Error::other(text));
            return Schematic::parse(&text).map_err(|problems| wrong(problems.to_string()));
        }
        Err(Cause::NoSchematic)
    }

    /// Writes a sealed file; gives its length.
    fn write(&self, id: &SchematicId, end: &str, schematic: &Schematic) -> Result<u64, Cause> {
        let path = self.path(id, end);
        let sealed = self.sealer.seal(id.as_str().as_bytes(), schematic.canonical().as_bytes());
        let sealed = sealed.map_err(|source| Cause::Sealed { path: path.clone(), source })?;
        let written = write_atomic(&path, &sealed, FILE_MODE, Durability::Durable);
        written.map_err(Cause::disk(path)).map(|()| sealed.len() as u64)
    }

    fn path(&self, id: &SchematicId, end: &str) -> PathBuf {
        self.folder.join(format!("{id}.{end}"))
    }
}

#[cfg(test)]
mod tests {
    use corten_base::{Rng, Secret};

    use super::*;

    fn open(folder: &Path) -> Schematics {
        let sealer = Sealer::new(&Secret::new([7; 32]), Rng::seeded(1)).expect("a key");
        Schematics::open(folder, sealer).expect("opened")
    }

    fn schematic(argument: &str) -> Schematic {
        let text = format!("customization: {{extraKernelArgs: [{argument}]}}");
        Schematic::parse(&text).expect("a schematic")
    }

    #[test]
    fn a_schematic_is_found_after_a_restart_and_is_not_on_the_disk_in_clear() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (schematic("jointoken=hunter2"), schematic("b"));
        let schematics = open(folder.path());
        schematics.keep(&one).expect("kept");
        schematics.post(&two).expect("kept");
        let again = open(folder.path());
        for schematic in [&one, &two] {
            assert_eq!(again.get(&schematic.id()).expect("there"), *schematic);
        }
        assert!(matches!(again.get(&schematic("c").id()), Err(Cause::NoSchematic)));
        for entry in std::fs::read_dir(folder.path()).expect("listed").flatten() {
            let bytes = std::fs::read(entry.path()).expect("read");
            assert!(!bytes.windows(7).any(|window| window == b"hunter2"), "{entry:?}");
        }
    }

    #[test]
    fn what_is_posted_goes_by_age_and_what_is_kept_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let schematics = open(folder.path());
        schematics.keep(&schematic("kept")).expect("kept");
        schematics.post(&schematic("first")).expect("kept");
        // As if it filled everything.
        for (_, bytes) in schematics.index.lock().posted.values_mut() {
            *bytes = POSTED_BYTES_MAX;
        }
        schematics.post(&schematic("second")).expect("kept");
        assert!(matches!(schematics.get(&schematic("first").id()), Err(Cause::NoSchematic)));
        for there in ["second", "kept"] {
            assert!(schematics.get(&schematic(there).id()).is_ok(), "{there}");
        }
    }

    #[test]
    fn a_file_of_another_key_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        open(folder.path()).keep(&schematic("a")).expect("kept");
        let sealer = Sealer::new(&Secret::new([8; 32]), Rng::seeded(1)).expect("a key");
        let other = Schematics::open(folder.path(), sealer).expect("opened");
        let error = other.get(&schematic("a").id()).expect_err("sealed").to_string();
        assert!(error.contains(".kept cannot be read; remove the file"), "{error}");
    }
}
