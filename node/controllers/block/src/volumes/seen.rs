//! Disks, mounts and swap as they are at this moment.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Context;
use corten_resources::block::{Disk, VolumeKind};
use corten_sys::Kernel;
use corten_sys::mount::Mounts;
use corten_sys::mountinfo::MountEntry;

use super::Places;
use super::layout::Layout;
use crate::device::Geometry;
use crate::gpt::{self, Entry, Health, Reading};
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
    /// A partition table of another kind.
    Record,
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
    let mut seen = Vec::new();
    for (name, disk) in disks {
        let is_system = system == Some(name.as_str());
        match look_at(places, &name, disk, is_system, layouts) {
            Ok(disk) => seen.extend(disk),
            Err(error) if is_system => return Err(error),
            // A drive without a medium or a broken disk is no reason to leave the others out.
            Err(error) => tracing::debug!(disk = name, "cannot look at a disk: {error:#}"),
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
    let reading = gpt::read(&file, geometry);
    let reading = reading.with_context(|| format!("cannot read the partition table of {path}"))?;
    let (table, health) = match reading {
        Some(Reading { table, health }) => (Some(table), health),
        None if is_system => return Ok(None),
        None => (None, Health::Sound),
    };
    let known = places.sysfs.partitions(name);
    let entries = table.iter().flat_map(|table| &table.entries);
    let partitions = entries.map(|entry| {
        let kernel =
            known.iter().find(|partition| partition.number == entry.number && partition.has_node).cloned();
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

/// What is in a disk that has no table of our kind.
pub fn whole(device: &Path, size_bytes: u64) -> Content {
    const MARK: [u8; 2] = [0x55, 0xaa];
    match content_of(device, size_bytes) {
        Content::Blank => {
            let mut mark = [0; 2];
            let read = File::open(device).and_then(|file| {
                use crate::device::ReadAt;
                ReadAt::read_at(&file, &mut mark, 510)
            });
            match read {
                Err(error) => Content::Unreadable(error.to_string()),
                Ok(()) if mark == MARK => Content::Record,
                Ok(()) => Content::Blank,
            }
        }
        content => content,
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
