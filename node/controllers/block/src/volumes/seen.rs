//! Disks, mounts and swap as they are at this moment.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::Context;
use corten_resources::block::{Disk, VolumeKind};
use corten_sys::Kernel;
use corten_sys::mount::Mounts;
use corten_sys::mountinfo::MountEntry;

use super::Places;
use super::layout::Layout;
use crate::device::{Geometry, ReadAt};
use crate::gpt::{self, Entry, Health, Reading};
use crate::md::superblock;
use crate::probe::{self, Found};
use crate::swaps;
use crate::sysfs::KernelPartition;

/// Everything that a plan is made from.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The disks that volumes can be on, the system disk first.
    pub disks: Vec<SeenDisk>,
    /// What is mounted at a volume's mount point.
    pub mounts: Vec<SeenMount>,
    /// Devices that are swapped to.
    pub swaps: Vec<String>,
    /// Folders of volumes that are folders, by their mount points.
    pub folders: Vec<String>,
}

impl Seen {
    /// The disk that the machine lives on.
    pub fn system(&self) -> Option<&SeenDisk> {
        self.disks.iter().find(|disk| disk.is_system)
    }
}

/// A disk.
#[derive(Clone, Debug)]
pub struct SeenDisk {
    /// Kernel name.
    pub name: String,
    /// What is known of it.
    pub facts: Disk,
    /// The machine lives on it.
    pub is_system: bool,
    /// Its size.
    pub geometry: Geometry,
    /// Its table.
    pub table: Option<gpt::Table>,
    /// How the table's copies are.
    pub health: Health,
    /// Its partitions.
    pub partitions: Vec<SeenPartition>,
    /// What is in it as a whole, when it has no table.
    pub content: Content,
}

impl SeenDisk {
    /// `/dev/…`.
    pub fn dev_path(&self) -> &str {
        &self.facts.dev_path
    }

    /// A disk that cannot be read.
    fn unreadable(name: String, facts: Disk, error: String) -> Self {
        Self {
            name,
            is_system: false,
            geometry: Geometry::of(facts.size, facts.sector_size),
            facts,
            table: None,
            health: Health::Sound,
            partitions: Vec::new(),
            content: Content::Unreadable(error),
        }
    }

    /// The partition with this label.
    pub fn labelled(&self, label: &str) -> Option<&SeenPartition> {
        self.partitions.iter().find(|partition| partition.entry.label() == label)
    }
}

/// A partition of the table.
#[derive(Clone, Debug)]
pub struct SeenPartition {
    /// In the table.
    pub entry: Entry,
    /// In the kernel.
    pub kernel: Option<KernelPartition>,
    /// `/dev/…`, once the kernel knows it.
    pub dev_path: String,
    /// What is in it.
    pub content: Content,
}

/// What is in a disk or partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// It was not looked at: there is no device, or nobody asks.
    #[default]
    Unknown,
    /// Nothing that anyone could miss.
    Blank,
    /// Something that is whole.
    Whole(Found),
    /// Something that is not recognized, such as a partition table of another kind.
    Foreign,
    /// The device fails.
    Unreadable(String),
}

/// A mount at a volume's mount point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenMount {
    /// Mount point as in the layout.
    pub target: String,
    /// Its row in the table.
    pub entry: MountEntry,
}

/// Looks at the disks and at what is mounted.
pub fn look(
    places: &Places,
    disks: Vec<(String, Disk)>,
    system: Option<&str>,
    layouts: &[Layout],
) -> anyhow::Result<Seen> {
    let table = Kernel.table()?;
    let below_root = |target: &str| places.root.join(target.trim_start_matches('/'));
    let mounted = |layout: &Layout| {
        let target = below_root(layout.target());
        // The latest row is the one on top.
        let entry = table.iter().rev().find(|entry| entry.target == target)?;
        Some(SeenMount { target: layout.target().to_owned(), entry: entry.clone() })
    };
    let mounts = layouts.iter().filter(|layout| !layout.target().is_empty()).filter_map(mounted).collect();
    let folders = layouts.iter().filter(|layout| layout.config.kind == VolumeKind::Directory);
    let folders = folders.map(|layout| layout.target().to_owned());
    let folders = folders.filter(|target| below_root(target).is_dir()).collect();
    let swaps = fs::read_to_string(&places.swaps).unwrap_or_default();
    let swaps = swaps::parse(&swaps).into_iter().map(|swap| swap.device).collect();
    let parts: BTreeSet<String> =
        disks.iter().flat_map(|(_, disk)| disk.secondary_disks.iter().cloned()).collect();
    let mut seen = Vec::new();
    for (name, disk) in disks {
        let is_system = system == Some(name.as_str());
        // What another disk is made of belongs to that.
        if parts.contains(&name) && !is_system {
            continue;
        }
        match look_at(places, &name, disk.clone(), is_system, layouts) {
            Ok(disk) => seen.extend(disk),
            Err(error) if is_system => return Err(error),
            // A broken disk is no reason to leave the others out, but a volume may be on it.
            Err(error) => seen.push(SeenDisk::unreadable(name, disk, format!("{error:#}"))),
        }
    }
    seen.sort_by_key(|disk: &SeenDisk| !disk.is_system);
    Ok(Seen { disks: seen, mounts, swaps, folders })
}

fn look_at(
    places: &Places,
    name: &str,
    facts: Disk,
    is_system: bool,
    layouts: &[Layout],
) -> anyhow::Result<Option<SeenDisk>> {
    if facts.cdrom || (facts.readonly && !is_system) {
        return Ok(None);
    }
    let geometry = Geometry::of(facts.size, facts.sector_size);
    let path = facts.dev_path.clone();
    let file = File::open(&path).with_context(|| format!("cannot open the disk {path}"))?;
    let reading = table_of(&file, geometry, is_system);
    let reading = reading.with_context(|| format!("cannot read the partition table of {path}"))?;
    let (table, health) = match reading {
        Some(Reading { table, health }) => (Some(table), health),
        None if is_system => return Ok(None),
        None => (None, Health::Sound),
    };
    let known = places.sysfs.partitions(name);
    let entries = table.iter().flat_map(|table| &table.entries);
    let partitions = entries.map(|entry| {
        // One that begins elsewhere is of a table that is not there any more.
        let is_same = |partition: &&KernelPartition| {
            partition.number == entry.number
                && partition.has_node
                && partition.start_bytes == entry.start_bytes(geometry)
        };
        let kernel = known.iter().find(is_same).cloned();
        let path = kernel.as_ref().map(|partition| places.sysfs.dev.join(&partition.name));
        let is_ours = layouts.iter().any(|layout| layout.label() == entry.label());
        let content = match (&path, &kernel) {
            (Some(path), Some(kernel)) if is_ours => content_of(path, kernel.size_bytes),
            _ => Content::Unknown,
        };
        let dev_path = path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        SeenPartition { entry: entry.clone(), kernel, dev_path, content }
    });
    let partitions = partitions.collect();
    let content = if table.is_none() { whole(Path::new(&path), facts.size) } else { Content::Unknown };
    let name = name.to_owned();
    Ok(Some(SeenDisk { name, facts, is_system, geometry, table, health, partitions, content }))
}

/// The table of a disk. That of the system disk is taken as it is. Of other disks nobody promised us anything: a member
/// of an array shows the table of the array as its own, and a copy at the end alone may be what was left of a table when
/// something else was written over it.
pub fn table_of(
    disk: &(impl ReadAt + ?Sized),
    geometry: Geometry,
    is_system: bool,
) -> io::Result<Option<Reading>> {
    let reading = gpt::read(disk, geometry)?;
    let Some(found) = reading.as_ref().filter(|_| !is_system) else { return Ok(reading) };
    let size_bytes = geometry.sectors * geometry.sector_bytes;
    let is_ours = superblock::read(disk, size_bytes)?.is_none()
        && (found.health != Health::PrimaryDamaged || is_torn(disk, size_bytes)?);
    Ok(reading.filter(|_| is_ours))
}

/// Whether a disk begins as one does whose primary table was being written.
fn is_torn(disk: &(impl ReadAt + ?Sized), size_bytes: u64) -> io::Result<bool> {
    const PROTECTIVE: u8 = 0xee;
    let mut record = [0; 512];
    disk.read_at(&mut record, 0)?;
    let is_protective = record.ends_with(&[0x55, 0xaa]) && record[450] == PROTECTIVE;
    let is_clear = is_protective || record.iter().all(|byte| *byte == 0);
    Ok(is_clear && probe::probe(disk, size_bytes)?.is_none())
}

/// What is in a disk that has no table of our kind. Nobody set it apart for us, so that what is not recognized counts.
pub fn whole(device: &Path, size_bytes: u64) -> Content {
    let looked = File::open(device).and_then(|file| {
        let found = probe::probe(&file, size_bytes)?;
        let is_blank = found.is_none() && probe::is_blank(&file, size_bytes)?;
        Ok((found, is_blank))
    });
    match looked {
        Err(error) => Content::Unreadable(error.to_string()),
        Ok((Some(found), _)) if found.is_unfinished => Content::Blank,
        Ok((Some(found), _)) => Content::Whole(found),
        Ok((None, true)) => Content::Blank,
        Ok((None, false)) => Content::Foreign,
    }
}

/// What is in a partition.
pub fn content_of(device: &Path, size_bytes: u64) -> Content {
    let found = File::open(device).and_then(|file| probe::probe(&file, size_bytes));
    match found {
        Err(error) => Content::Unreadable(error.to_string()),
        Ok(None) => Content::Blank,
        Ok(Some(found)) if found.is_unfinished => Content::Blank,
        Ok(Some(found)) => Content::Whole(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpt::{Guid, LINUX_DATA, Size, Table, Wanted};

    const SIZE: u64 = 8 << 20;
    const GEOMETRY: Geometry = Geometry { sector_bytes: 512, sectors: SIZE / 512 };

    /// A disk with a table of one partition.
    fn disk() -> File {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(SIZE).expect("a disk");
        let mut table = Table::empty(Guid([3; 16]), GEOMETRY);
        let wanted =
            Wanted { label: "u-data", kind: LINUX_DATA, id: Guid([2; 16]), size: Size::Bytes(1 << 20) };
        table.add(&wanted, GEOMETRY).expect("room");
        gpt::write(&file, &table, GEOMETRY).expect("written");
        file
    }

    fn has_table(disk: &File, is_system: bool) -> bool {
        table_of(disk, GEOMETRY, is_system).expect("read").is_some()
    }

    fn write(disk: &File, bytes: &[u8], at: u64) {
        std::os::unix::fs::FileExt::write_all_at(disk, bytes, at).expect("written");
    }

    #[test]
    fn a_copy_at_the_end_is_no_table_of_a_disk_that_something_was_written_over() {
        assert!(has_table(&disk(), false));
        let torn = disk();
        write(&torn, &[0; 512], 512);
        assert!(has_table(&torn, false), "a loss of power while the primary was written");
        write(&torn, &[0; 512], 0);
        assert!(has_table(&torn, false), "the same, of a first table");
        let mut filesystem = vec![0; 2048];
        filesystem[1080..1082].copy_from_slice(&[0x53, 0xef]);
        for over in [filesystem, b"bluestore block device".to_vec(), vec![1; 2048]] {
            let disk = disk();
            write(&disk, &[0; 2048], 0);
            write(&disk, &over, 0);
            assert!(!has_table(&disk, false));
            assert!(has_table(&disk, true), "the system disk is repaired from its copy");
        }
    }

    #[test]
    fn a_member_of_an_array_does_not_have_the_table_of_the_array() {
        let disk = disk();
        // The array ends before its superblock.
        let start = (SIZE / 512 - 16) / 8 * 8 * 512;
        let member = superblock::tests::member(start / 512);
        write(&disk, &member[start as usize..], start);
        assert!(!has_table(&disk, false));
        let path = tempfile::NamedTempFile::new().expect("a file");
        let mut bytes = vec![0; SIZE as usize];
        ReadAt::read_at(&disk, &mut bytes, 0).expect("read");
        fs::write(path.path(), bytes).expect("written");
        assert!(matches!(whole(path.path(), SIZE), Content::Whole(found) if found.name == probe::MEMBER));
    }

    #[test]
    fn a_whole_disk_is_blank_only_when_nothing_is_on_it() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(SIZE).expect("a disk");
        assert_eq!(whole(file.path(), SIZE), Content::Blank);
        write(file.as_file(), b"a database of its own", 300 << 10);
        assert_eq!(whole(file.path(), SIZE), Content::Foreign);
        assert_eq!(content_of(file.path(), SIZE), Content::Blank, "a partition is set apart by its label");
    }
}
