//! A block device as the kernel has it, with all that uses it.

use std::fs;
use std::path::Path;

use corten_sys::mountinfo::{self, MountEntry};

use crate::sysfs::{self, Sysfs};

/// Longer names are none of the kernel's.
const NAME_BYTES_MAX: usize = 64;

/// A part of the device: itself, or a partition of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Kernel name.
    pub name: String,
    /// `major:minor`.
    pub numbers: String,
    /// Number of the partition; 0 for the whole disk.
    pub number: u32,
}

/// What the kernel tells about a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The disk that it is a partition of.
    pub parent: Option<String>,
    /// The device itself, then its partitions.
    pub parts: Vec<Part>,
    /// Block devices that are made of any of its parts.
    pub holders: Vec<String>,
    /// Where a part is mounted.
    pub mounts: Vec<String>,
    /// A part that is swapped to.
    pub swap: Option<String>,
}

impl Seen {
    /// The disk that the device is, or is a part of.
    pub fn disk<'a>(&'a self, device: &'a str) -> &'a str {
        self.parent.as_deref().unwrap_or(device)
    }
}

impl Seen {
    /// Who uses it in a way that nobody may pass over.
    pub fn fixed_user(&self) -> Option<String> {
        let mount = self.mounts.first().map(|place| format!("the file system mounted at {place}"));
        mount.or_else(|| self.swap.as_ref().map(|area| format!("the swap area {area}")))
    }

    /// A block device that is made of it.
    pub fn holder(&self) -> Option<String> {
        self.holders.first().map(|holder| format!("blockdevice {holder:?}"))
    }

    /// Whoever uses it.
    pub fn user(&self) -> Option<String> {
        self.fixed_user().or_else(|| self.holder())
    }
}

/// Looks at a device by its kernel name.
pub fn look(sysfs: &Sysfs, name: &str) -> Option<Seen> {
    let is_name =
        !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains('/') && !name.starts_with('.');
    let folder = is_name.then(|| fs::canonicalize(sysfs.sys.join("class/block").join(name)).ok())??;
    let mut seen = Seen::default();
    if folder.join("partition").exists() {
        seen.parent = Some(folder.parent()?.file_name()?.to_string_lossy().into_owned());
    }
    seen.parts.push(part(&folder, name)?);
    let below = sysfs::names(&folder);
    let partitions = below.iter().filter(|below| folder.join(below).join("partition").exists());
    seen.parts.extend(partitions.filter_map(|name| part(&folder.join(name), name)));
    for part in &seen.parts {
        let folder =
            if part.number == 0 || seen.parent.is_some() { folder.clone() } else { folder.join(&part.name) };
        seen.holders.extend(sysfs::names(&folder.join("holders")));
    }
    let mounts = mountinfo::read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
    seen.mounts = mounted(&seen.parts, &mounts, &sysfs.dev);
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    seen.swap = swapped(&seen.parts, &swaps, &sysfs.dev);
    Some(seen)
}

fn part(folder: &Path, name: &str) -> Option<Part> {
    let numbers = sysfs::text(&folder.join("dev"));
    let number = sysfs::number(&folder.join("partition")).unwrap_or(0);
    (!numbers.is_empty()).then_some(())?;
    Some(Part { name: name.to_owned(), numbers, number: u32::try_from(number).ok()? })
}

/// By number, or by node where the file system has a number of its own (btrfs).
fn mounted(parts: &[Part], mounts: &[MountEntry], dev: &Path) -> Vec<String> {
    let is_on = |mount: &&MountEntry, part: &Part| {
        mount.device == part.numbers || Path::new(&mount.source) == dev.join(&part.name)
    };
    let mounts = mounts.iter().filter(|mount| parts.iter().any(|part| is_on(mount, part)));
    mounts.map(|mount| mount.target.display().to_string()).collect()
}

/// `/proc/swaps`: a heading, then lines that begin with a path.
fn swapped(parts: &[Part], swaps: &str, dev: &Path) -> Option<String> {
    let areas = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let mut areas = areas.filter(|area| parts.iter().any(|part| Path::new(area) == dev.join(&part.name)));
    areas.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_or_swapped_to_is_found_by_number_and_by_node() {
        let parts = [("vdb", "254:16", 0), ("vdb1", "254:17", 1)];
        let parts =
            parts.map(|(name, numbers, number)| Part { name: name.into(), numbers: numbers.into(), number });
        let mounts = mountinfo::parse(
            "1 0 254:17 / /a rw - xfs /dev/root rw\n2 0 0:40 / /b rw - btrfs /dev/vdb rw\n3 0 254:1 / /c rw - xfs /dev/vda1 rw\n",
        );
        let dev = Path::new("/dev");
        assert_eq!(mounted(&parts, &mounts, dev), ["/a", "/b"]);
        assert!(mounted(&parts[..1], &mounts[2..], dev).is_empty());
        let swaps =
            "Filename Type Size Used Priority\n/dev/vdc1 partition 1 0 -2\n/dev/vdb1 partition 1 0 -2\n";
        assert_eq!(swapped(&parts, swaps, dev).as_deref(), Some("/dev/vdb1"));
        assert_eq!(swapped(&parts[..1], swaps, dev), None);
    }
}
