//! The system disk and the mount table as they are at this moment.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use corten_resources::block::Disk;
use corten_sys::Kernel;
use corten_sys::mount::Mounts;
use corten_sys::mountinfo::MountEntry;

use super::Places;
use super::layout::Layout;
use crate::device::Geometry;
use crate::gpt::{self, Entry, Health, Reading};
use crate::probe::{self, Found};
use crate::sysfs::KernelPartition;

/// Everything that a plan is made from.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The system disk, once it is known.
    pub disk: Option<SeenDisk>,
    /// What is mounted at a volume's mount point.
    pub mounts: Vec<SeenMount>,
}

/// The system disk.
#[derive(Clone, Debug)]
pub struct SeenDisk {
    /// `/dev/…`.
    pub dev_path: String,
    /// Its size.
    pub geometry: Geometry,
    /// Its table.
    pub table: gpt::Table,
    /// How the table's copies are.
    pub health: Health,
    /// Its partitions.
    pub partitions: Vec<SeenPartition>,
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

/// What is in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// It was not looked at: there is no device, or nobody asks.
    Unknown,
    /// Nothing that anyone could miss.
    Blank,
    /// A file system that is whole.
    Xfs(Found),
    /// Something else.
    Foreign(String),
    /// The device fails.
    Unreadable(String),
}

/// A mount at a volume's mount point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenMount {
    /// Mount point as in the layout.
    pub target: &'static str,
    /// Its row in the table.
    pub entry: MountEntry,
}

/// Looks at the disk and at what is mounted.
pub fn look(
    places: &Places,
    disk: Option<(String, Disk)>,
    layouts: &'static [Layout],
) -> anyhow::Result<Seen> {
    let table = Kernel.table()?;
    let mounted = |layout: &Layout| {
        let target = places.root.join(layout.target.trim_start_matches('/'));
        // The latest row is the one on top.
        let entry = table.iter().rev().find(|entry| entry.target == target)?;
        Some(SeenMount { target: layout.target, entry: entry.clone() })
    };
    let mounts = layouts.iter().filter_map(mounted).collect();
    let disk = disk.map(|(name, disk)| look_at(places, &name, &disk, layouts)).transpose()?.flatten();
    Ok(Seen { disk, mounts })
}

fn look_at(places: &Places, name: &str, disk: &Disk, layouts: &[Layout]) -> anyhow::Result<Option<SeenDisk>> {
    let geometry = Geometry::of(disk.size, disk.sector_size);
    let file = File::open(&disk.dev_path)
        .with_context(|| format!("cannot open the system disk {}", disk.dev_path))?;
    let reading = gpt::read(&file, geometry);
    let reading = reading.with_context(|| format!("cannot read the partition table of {}", disk.dev_path))?;
    let Some(Reading { table, health }) = reading else { return Ok(None) };
    let known = places.sysfs.partitions(name);
    let partitions = table.entries.iter().map(|entry| {
        let kernel =
            known.iter().find(|partition| partition.number == entry.number && partition.has_node).cloned();
        let path = kernel.as_ref().map(|partition| places.sysfs.dev.join(&partition.name));
        let is_ours = layouts.iter().any(|layout| layout.id == entry.label());
        let content = match (&path, &kernel) {
            (Some(path), Some(kernel)) if is_ours => content_of(path, kernel.size_bytes),
            _ => Content::Unknown,
        };
        let dev_path = path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        SeenPartition { entry: entry.clone(), kernel, dev_path, content }
    });
    let partitions = partitions.collect();
    Ok(Some(SeenDisk { dev_path: disk.dev_path.clone(), geometry, table, health, partitions }))
}

/// What is in a partition.
pub fn content_of(device: &Path, size_bytes: u64) -> Content {
    let found = File::open(device).and_then(|file| probe::probe(&file, size_bytes));
    match found {
        Err(error) => Content::Unreadable(error.to_string()),
        Ok(None) => Content::Blank,
        Ok(Some(found)) if found.name == "xfs" && found.is_unfinished => Content::Blank,
        Ok(Some(found)) if found.name == "xfs" => Content::Xfs(found),
        Ok(Some(found)) => Content::Foreign(found.name.to_owned()),
    }
}
