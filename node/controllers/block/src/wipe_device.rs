//! Wipes disks and partitions that nothing uses.
//!
//! ```text
//! names ─▶ Disk, VolumeStatus, kernel ─▶ may all of them be wiped? ─▶ each: open ─▶ blank ─▶ drop ─▶ announce
//! ```
//! Invariants:
//! - Nothing is wiped when one of the devices may not be.
//! - What is mounted or swapped to is never wiped, whatever the caller says he knows.
//! - Only what is a [`Disk`] of this machine, or a partition of one, can be wiped: the disks of a host are out of reach.

mod erase;
pub(crate) mod look;

use std::path::Path;
use std::time::Duration;

use corten_base::Lane;
use corten_base::blocking::BlockingError;
use corten_resource::State;
use corten_resources::block::{Disk, VolumeStatus};
use corten_resources::storage::LvmPhysicalVolumeStatus;

use self::look::Seen;
use crate::sysfs::Sysfs;

/// A disk that sleeps answers late.
const DEADLINE: Duration = Duration::from_secs(60);

/// How thoroughly a device is wiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// What is recognized of a disk, its partitions and file systems: both ends of each.
    Ends,
    /// Every byte.
    Zeros,
}

/// A device that is to be wiped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Kernel name, such as `sda` or `sda5`.
    pub device: String,
    /// How.
    pub method: Method,
    /// The partition disappears from the table of its disk as well. Means nothing for a disk.
    pub drop_partition: bool,
    /// A volume of the machine may be on it.
    pub ignore_volumes: bool,
    /// Another block device may be made of it.
    pub ignore_holders: bool,
}

/// Why nothing, or not everything, was wiped.
#[derive(Debug, thiserror::Error)]
pub enum WipeError {
    /// There is no such device.
    #[error("blockdevice {0:?} not found; devices are named as the kernel does, such as sda or sda5")]
    NotFound(String),
    /// It is something else.
    #[error("blockdevice {0:?} is neither a disk of this machine nor a partition of one")]
    NoDisk(String),
    /// It cannot be written.
    #[error("blockdevice {device:?} is {what}")]
    Unwritable {
        /// The device.
        device: String,
        /// Why.
        what: &'static str,
    },
    /// Something uses it.
    #[error("blockdevice {device:?} is in use by {user}")]
    InUse {
        /// The device, or what it is a part of.
        device: String,
        /// Who uses it.
        user: String,
    },
    /// Its disk has no partition table that a partition could be dropped from.
    #[error("partition {0:?} was wiped and not dropped: its disk has no GUID partition table")]
    NoTable(String),
    /// The device refused.
    #[error("cannot wipe blockdevice {device:?}")]
    Failed {
        /// The device.
        device: String,
        /// Why.
        #[source]
        source: anyhow::Error,
    },
    /// No thread, or the device does not answer.
    #[error(transparent)]
    Blocking(#[from] BlockingError),
}

/// Wipes all of the devices, or none of them if one may not be. Threads are those of `lane`.
///
/// # Errors
/// Names the first device that may not be wiped, and what uses it. A device that fails halfway leaves those before it
/// wiped.
pub async fn wipe(state: &State, wishes: &[Wish], lane: &Lane) -> Result<(), WipeError> {
    wipe_below(state, wishes, lane, &Sysfs::default()).await
}

async fn wipe_below(state: &State, wishes: &[Wish], lane: &Lane, sysfs: &Sysfs) -> Result<(), WipeError> {
    let mut targets = Vec::new();
    for wish in wishes {
        let (name, sysfs) = (wish.device.clone(), sysfs.clone());
        let seen = lane.run(DEADLINE, move || look::look(&sysfs, &name)).await?;
        let seen = seen.ok_or_else(|| WipeError::NotFound(wish.device.clone()))?;
        check(wish, &seen, state)?;
        targets.push((wish, seen));
    }
    for (wish, seen) in targets {
        erase::erase(wish, &seen, lane, sysfs).await?;
    }
    Ok(())
}

/// Whether the device may be wiped.
fn check(wish: &Wish, seen: &Seen, state: &State) -> Result<(), WipeError> {
    let device = &wish.device;
    let disk = state.get::<Disk>(seen.disk(device));
    let disk = disk.ok_or_else(|| WipeError::NoDisk(device.clone()))?;
    let unwritable = |what| Err(WipeError::Unwritable { device: device.clone(), what });
    if disk.spec.cdrom {
        return unwritable("a CD-ROM");
    }
    if disk.spec.readonly {
        return unwritable("read-only");
    }
    let user = if wish.ignore_holders { seen.fixed_user() } else { seen.user() };
    let user = user.or_else(|| group(seen, state).filter(|_| !wish.ignore_holders));
    if let Some(user) = user {
        return Err(WipeError::InUse { device: device.clone(), user });
    }
    if wish.ignore_volumes {
        return Ok(());
    }
    match state.list::<VolumeStatus>().iter().find_map(|volume| {
        used_part(device, seen, &volume.spec).map(|part| (part, volume.metadata.id.clone()))
    }) {
        Some((part, volume)) => Err(WipeError::InUse { device: part, user: format!("volume {volume:?}") }),
        None => Ok(()),
    }
}

/// The group that has a part of the device as a physical volume: one that is not active holds nothing.
fn group(seen: &Seen, state: &State) -> Option<String> {
    let is_part =
        |device: &str| seen.parts.iter().any(|part| device.strip_prefix("/dev/") == Some(part.name.as_str()));
    let volumes = state.list::<LvmPhysicalVolumeStatus>();
    let mut groups =
        volumes.iter().filter(|volume| is_part(&volume.spec.device)).map(|volume| &volume.spec.vg_name);
    groups.find(|group| !group.is_empty()).map(|group| format!("volume group {group:?}"))
}

/// The part of the device, or the disk that it is a part of, that a volume is on.
fn used_part(device: &str, seen: &Seen, volume: &VolumeStatus) -> Option<String> {
    let name = |path: &str| {
        let path = Path::new(path).strip_prefix("/dev").ok()?;
        Some(path.to_string_lossy().into_owned()).filter(|name| !name.is_empty())
    };
    let places = [&volume.location, &volume.mount_location].into_iter().filter_map(|path| name(path));
    let is_part = |place: &String| {
        place == device || place == seen.disk(device) || seen.parts.iter().any(|part| part.name == *place)
    };
    let on_disk = || name(&volume.parent_location).filter(|parent| parent == device);
    places.into_iter().find(is_part).or_else(on_disk)
}

#[cfg(test)]
mod tests;
