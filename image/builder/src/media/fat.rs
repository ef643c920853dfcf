//! FAT32 file systems as pieces: the files stay where they are.
//!
//! ```text
//! 32 sectors: boot record, free space, copies of both │ table │ table again │ clusters: folders, then files │ zeros
//! ```
//!
//! Nothing is ever written to them afterwards by us, so files are in one piece each, in the order in which they are
//! given. Times are the first ones that the format knows. The format is Microsoft's (FAT32 File System Specification,
//! 1.03).

mod directory;

use std::collections::BTreeSet;

use self::directory::{ARCHIVE, ENTRY_BYTES, FOLDER, NO_NAME, VOLUME, entry, slots};
use super::MediaError;
use super::piece::{Piece, length};

const SECTOR: u64 = 512;
/// Sectors before the first table.
const RESERVED: u32 = 32;
/// Sector with the copy of the boot record.
const BACKUP: usize = 6;
const TABLES: u32 = 2;
/// The first cluster, which is the root folder's.
const FIRST: u32 = 2;
/// With fewer clusters readers take a file system for FAT16.
const CLUSTERS_MIN: u32 = 65_525;
/// Sizes up to which clusters have so many sectors; larger ones have [`CLUSTER_SECTORS_MAX`].
const CLUSTER_SECTORS: [(u64, u32); 2] = [(260 << 20, 1), (8 << 30, 8)];
const CLUSTER_SECTORS_MAX: u32 = 16;
/// Last cluster of a chain.
const END: u32 = 0x0fff_ffff;
/// What the table has for the two clusters that there are not.
const NO_CLUSTERS: [u32; 2] = [0x0fff_fff8, END];
/// Smallest file system that is FAT32.
const SIZE_MIN: u64 = 40 << 20;

/// A file system to be.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Its size, bytes.
    pub size: u64,
    /// Its serial number.
    pub id: u32,
    /// Its label, at most eleven capital letters.
    pub label: &'static str,
    /// Sectors before it on its disk.
    pub hidden_sectors: u32,
}

/// A file on it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Path with `/`.
    pub path: String,
    /// Contents.
    pub contents: Vec<Piece>,
}

/// A size in whole mebibytes that has room for files of so many bytes together: a sixty-fourth for both tables, and a
/// mebibyte for folders and the ends of clusters.
pub fn size_for(bytes: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    let needed = bytes.saturating_add(bytes / 64).saturating_add(MIB);
    needed.checked_next_multiple_of(MIB).unwrap_or(u64::MAX).max(SIZE_MIN)
}

/// The pieces of a file system with these files.
pub fn pieces(volume: &Volume, files: Vec<Entry>) -> Result<Vec<Piece>, MediaError> {
    let geometry = Geometry::of(volume.size)?;
    let (folders, table, next) = {
        let layout = Layout::of(geometry, &files)?;
        (layout.folders(volume.label), layout.table(), layout.next)
    };
    let rest = geometry.table_bytes().saturating_sub(table.len() as u64);
    let mut all = vec![Piece::Bytes(geometry.reserved(volume, next))];
    for _ in 0..TABLES {
        all.extend([Piece::Bytes(table.clone()), Piece::Zeros(rest)]);
    }
    let cluster = geometry.cluster_bytes();
    for folder in folders {
        push(&mut all, vec![Piece::Bytes(folder)], cluster);
    }
    for file in files {
        push(&mut all, file.contents, cluster);
    }
    all.push(Piece::Zeros(volume.size.saturating_sub(length(&all))));
    Ok(all)
}

/// Adds something that fills whole clusters.
fn push(all: &mut Vec<Piece>, contents: Vec<Piece>, cluster: u64) {
    let bytes = length(&contents);
    all.extend(contents);
    all.push(Piece::Zeros(bytes.next_multiple_of(cluster) - bytes));
}

/// Numbers that follow from the size.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    sectors: u32,
    cluster_sectors: u32,
    table_sectors: u32,
    clusters: u32,
}

impl Geometry {
    fn of(size: u64) -> Result<Self, MediaError> {
        let wrong = || MediaError::Room { needed: SIZE_MIN, size };
        let sectors = u32::try_from(size / SECTOR).map_err(|_| wrong())?;
        let cluster_sectors = CLUSTER_SECTORS.iter().find(|(most, _)| size <= *most);
        let cluster_sectors = cluster_sectors.map_or(CLUSTER_SECTORS_MAX, |(_, sectors)| *sectors);
        let after = sectors.checked_sub(RESERVED).ok_or_else(wrong)?;
        // Each sector of a table is for 128 clusters; the division counts the tables in.
        let table_sectors = after.div_ceil((256 * cluster_sectors + TABLES) / 2);
        let data = after.checked_sub(TABLES * table_sectors).ok_or_else(wrong)?;
        let clusters = data / cluster_sectors;
        if clusters < CLUSTERS_MIN {
            return Err(wrong());
        }
        Ok(Self { sectors, cluster_sectors, table_sectors, clusters })
    }

    fn cluster_bytes(self) -> u64 {
        u64::from(self.cluster_sectors) * SECTOR
    }

    fn table_bytes(self) -> u64 {
        u64::from(self.table_sectors) * SECTOR
    }

    /// Everything before the first table; `next` is the first cluster that is free.
    fn reserved(self, volume: &Volume, next: u32) -> Vec<u8> {
        let (record, space) = (self.boot_record(volume), self.free_space(next));
        let size = SECTOR as usize;
        let mut all = vec![0; RESERVED as usize * size];
        for at in [0, BACKUP] {
            put(&mut all, at * size, &record);
            put(&mut all, (at + 1) * size, &space);
        }
        all
    }

    fn boot_record(self, volume: &Volume) -> Vec<u8> {
        let mut record = vec![0; SECTOR as usize];
        // A jump over what follows; nobody runs it.
        put(&mut record, 0, &[0xeb, 0x58, 0x90]);
        put(&mut record, 3, b"CORTEN  ");
        put(&mut record, 11, &512_u16.to_le_bytes());
        put(&mut record, 13, &self.cluster_sectors.to_le_bytes()[..1]);
        put(&mut record, 14, &RESERVED.to_le_bytes()[..2]);
        put(&mut record, 16, &TABLES.to_le_bytes()[..1]);
        // A disk that is not taken out, and a shape that nobody looks at any more.
        put(&mut record, 21, &[0xf8]);
        put(&mut record, 24, &[63, 0, 255, 0]);
        put(&mut record, 28, &volume.hidden_sectors.to_le_bytes());
        put(&mut record, 32, &self.sectors.to_le_bytes());
        put(&mut record, 36, &self.table_sectors.to_le_bytes());
        put(&mut record, 44, &FIRST.to_le_bytes());
        put(&mut record, 48, &[1, 0]);
        put(&mut record, 50, &BACKUP.to_le_bytes()[..2]);
        put(&mut record, 64, &[0x80, 0, 0x29]);
        put(&mut record, 67, &volume.id.to_le_bytes());
        put(&mut record, 71, &directory::padded(volume.label));
        put(&mut record, 82, b"FAT32   ");
        put(&mut record, 510, &[0x55, 0xaa]);
        record
    }

    fn free_space(self, next: u32) -> Vec<u8> {
        let free = (FIRST + self.clusters).saturating_sub(next);
        let mut space = vec![0; SECTOR as usize];
        put(&mut space, 0, b"RRaA");
        put(&mut space, 484, b"rrAa");
        put(&mut space, 488, &free.to_le_bytes());
        put(&mut space, 492, &next.to_le_bytes());
        put(&mut space, 510, &[0x55, 0xaa]);
        space
    }
}

/// Writes bytes into a block that has room for them.
fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = block.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// A folder, with what is in it by name.
struct Folder<'a> {
    path: &'a str,
    children: Vec<(&'a str, Child)>,
    run: Run,
}

/// What is in a folder, by its number.
#[derive(Clone, Copy)]
enum Child {
    Folder(usize),
    File(usize),
}

/// Clusters behind each other.
#[derive(Clone, Copy)]
struct Run {
    first: u32,
    clusters: u32,
    bytes: u64,
}

/// Which clusters everything has. The root comes first, and a folder before what is in it.
struct Layout<'a> {
    folders: Vec<Folder<'a>>,
    files: Vec<Run>,
    next: u32,
}

impl<'a> Layout<'a> {
    fn of(geometry: Geometry, files: &'a [Entry]) -> Result<Self, MediaError> {
        let mut layout = Self { folders: Vec::new(), files: Vec::new(), next: FIRST };
        let paths = folder_paths(files);
        for &path in &paths {
            let folders = paths.iter().enumerate().filter(|(_, other)| !other.is_empty());
            let folders = folders.map(|(index, &other)| (split(other), Child::Folder(index)));
            let files = files.iter().enumerate();
            let files = files.map(|(index, file)| (split(&file.path), Child::File(index)));
            let mut children: Vec<(&str, Child)> = folders
                .chain(files)
                .filter(|((parent, _), _)| *parent == path)
                .map(|((_, name), child)| (name, child))
                .collect();
            children.sort_by_key(|(name, _)| *name);
            let own = if path.is_empty() { 1 } else { 2 };
            let slots = own + children.iter().map(|(name, _)| slots(name)).sum::<usize>();
            let run = layout.allocate(geometry, (slots * ENTRY_BYTES) as u64)?;
            layout.folders.push(Folder { path, children, run });
        }
        for file in files {
            let run = layout.allocate(geometry, length(&file.contents))?;
            layout.files.push(run);
        }
        Ok(layout)
    }

    fn allocate(&mut self, geometry: Geometry, bytes: u64) -> Result<Run, MediaError> {
        let (cluster, all) = (geometry.cluster_bytes(), u64::from(geometry.clusters));
        let used = u64::from(self.next - FIRST);
        let needed = bytes.div_ceil(cluster);
        let size = all * cluster;
        let room = || MediaError::Room { needed: (used + needed).saturating_mul(cluster), size };
        // A file's length has 32 bits.
        let clusters = u32::try_from(needed).ok().filter(|_| bytes <= u64::from(u32::MAX));
        let clusters = clusters.filter(|clusters| used + u64::from(*clusters) <= all).ok_or_else(room)?;
        // What is empty has no cluster.
        let first = if clusters == 0 { 0 } else { self.next };
        self.next += clusters;
        Ok(Run { first, clusters, bytes })
    }

    /// The table up to the last cluster that is used.
    fn table(&self) -> Vec<u8> {
        let mut numbers = NO_CLUSTERS.to_vec();
        for run in self.folders.iter().map(|folder| &folder.run).chain(&self.files) {
            let last = run.first + run.clusters;
            numbers.extend((run.first + 1..last).chain((run.clusters > 0).then_some(END)));
        }
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// What is in the clusters of each folder.
    fn folders(&self, label: &str) -> Vec<Vec<u8>> {
        self.folders.iter().map(|folder| self.folder(folder, label)).collect()
    }

    fn folder(&self, folder: &Folder<'_>, label: &str) -> Vec<u8> {
        let mut bytes = if folder.path.is_empty() {
            entry(&directory::padded(label), VOLUME, 0, 0).to_vec()
        } else {
            let [own, above] = NO_NAME;
            let own = entry(own, FOLDER, folder.run.first, 0);
            [own, entry(above, FOLDER, self.parent(folder), 0)].concat()
        };
        for (number, (name, child)) in (1..).zip(&folder.children) {
            let (attribute, run) = match child {
                Child::Folder(index) => (FOLDER, self.folders.get(*index).map(|folder| folder.run)),
                Child::File(index) => (ARCHIVE, self.files.get(*index).copied()),
            };
            let Some(run) = run else { continue };
            let size = if attribute == FOLDER { 0 } else { run.bytes };
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            bytes.extend(directory::named(name, number, attribute, run.first, size));
        }
        bytes
    }

    /// The cluster of the folder that a folder is in; 0 stands for the root.
    fn parent(&self, folder: &Folder<'_>) -> u32 {
        let (path, _) = split(folder.path);
        let parent = self.folders.iter().find(|other| other.path == path && !path.is_empty());
        parent.map_or(0, |parent| parent.run.first)
    }
}

/// All folders in the order of their paths: the root, which has an empty one, is the first.
fn folder_paths(files: &[Entry]) -> Vec<&str> {
    let mut paths = BTreeSet::from([""]);
    for file in files {
        let (mut path, _) = split(&file.path);
        while !path.is_empty() {
            paths.insert(path);
            (path, _) = split(path);
        }
    }
    paths.into_iter().collect()
}

/// The folder that something is in, and its name there.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests;
