//! What to do next and what to report: pure.

use std::collections::BTreeMap;

use corten_resources::block::{
    Filesystem, VolumeKind, VolumeMountRequest, VolumeMountStatus, VolumePhase, VolumeStatus,
};
use corten_resources::runtime::MountStatus;
use corten_sys::mount::MountFlags;

use super::layout::Layout;
use super::seen::{Content, Seen, SeenDisk, SeenMount, SeenPartition};
use crate::gpt::{Guid, Health, LINUX_DATA, PlaceError, Wanted};
use crate::pretty;

/// Less free room than this behind the last partition is not worth growing into.
const GROWTH_BYTES_MIN: u64 = 64 << 20;
/// A file system that is this much smaller than its partition is grown.
const FILESYSTEM_SLACK_BYTES: u64 = 16 << 20;

/// What others want.
#[derive(Debug)]
pub struct Wish<'a> {
    /// The volumes of the machine.
    pub layouts: &'static [Layout],
    /// There is a machine configuration.
    pub is_configured: bool,
    /// Every disk has been looked at.
    pub is_probed: bool,
    /// Requests for mounts.
    pub requests: Vec<&'a VolumeMountRequest>,
    /// Requests that are being torn down.
    pub withdrawn: Vec<&'a VolumeMountRequest>,
    /// Why the last attempt at a volume failed.
    pub trouble: &'a BTreeMap<&'static str, String>,
    /// Sizes of partitions to which file systems were grown already.
    pub grown: &'a BTreeMap<&'static str, u64>,
}

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the table: add these volumes, grow that one, put both copies in order.
    WriteTable { disk: String, add: Vec<&'static str>, grow: Option<&'static str> },
    /// Tell the kernel about a partition.
    Announce { volume: &'static str, disk: String, number: u32, start_bytes: u64, size_bytes: u64 },
    /// Tell the kernel that a partition is larger than it thinks.
    Resize { volume: &'static str, disk: String, number: u32, start_bytes: u64, size_bytes: u64 },
    /// Make a file system.
    Format { volume: &'static str, device: String, size_bytes: u64 },
    /// Mount a volume.
    Mount { volume: &'static str, device: String, flags: MountFlags },
    /// Unmount a volume.
    Unmount { volume: &'static str },
    /// Let a mounted file system take its whole partition.
    GrowFilesystem { volume: &'static str, size_bytes: u64 },
}

impl Step {
    /// The volume that fails when the step fails.
    pub fn volume(&self) -> &'static str {
        match self {
            Self::WriteTable { add, grow, .. } => {
                add.first().copied().or(*grow).unwrap_or(VolumeStatus::META)
            }
            Self::Announce { volume, .. }
            | Self::Resize { volume, .. }
            | Self::Format { volume, .. }
            | Self::Mount { volume, .. }
            | Self::Unmount { volume }
            | Self::GrowFilesystem { volume, .. } => volume,
        }
    }
}

/// A volume that is mounted.
#[derive(Clone, Debug, PartialEq)]
pub struct Mounted {
    /// Its id.
    pub volume: &'static str,
    /// The answer to who asked.
    pub status: VolumeMountStatus,
    /// The mount.
    pub row: MountStatus,
}

/// Everything that follows from what was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// By volume.
    pub statuses: BTreeMap<&'static str, VolumeStatus>,
    /// What is mounted.
    pub mounts: Vec<Mounted>,
    /// What to do, in this order.
    pub steps: Vec<Step>,
}

/// Decides.
pub fn decide(seen: &Seen, wish: &Wish<'_>) -> Decision {
    let mut decision = Decision::default();
    let Some(disk) = &seen.disk else {
        for volume in std::iter::once(VolumeStatus::META).chain(wish.layouts.iter().map(|layout| layout.id)) {
            decision.statuses.insert(volume, absent(wish.is_probed));
        }
        return decision;
    };
    decision.statuses.insert(VolumeStatus::META, meta(disk, wish));
    let refusals = table(disk, wish, &mut decision);
    for layout in wish.layouts {
        volume(layout, seen, disk, wish, &mut decision);
        if let (Some(error), Some(status)) = (refusals.get(layout.id), decision.statuses.get_mut(layout.id)) {
            fail(
                status,
                format!("cannot make {} on {}: {error}; use a larger disk", layout.id, disk.dev_path),
            );
        }
        // Trouble is over when nothing is left to be done.
        let is_pending = decision.steps.iter().any(|step| step.volume() == layout.id);
        let trouble = wish.trouble.get(layout.id).filter(|_| is_pending);
        if let (Some(error), Some(status)) = (trouble, decision.statuses.get_mut(layout.id)) {
            fail(status, error.clone());
        }
    }
    decision
}

/// The status of every volume while there is no system disk.
fn absent(is_probed: bool) -> VolumeStatus {
    let (phase, message) = if is_probed {
        (VolumePhase::Missing, "no disk has a partition labelled META; write the machine's image to a disk")
    } else {
        (VolumePhase::Waiting, "disks are being looked at")
    };
    VolumeStatus { phase, error_message: message.to_owned(), ..VolumeStatus::default() }
}

fn fail(status: &mut VolumeStatus, message: String) {
    if status.phase != VolumePhase::Failed {
        status.pre_fail_phase = status.phase;
    }
    status.phase = VolumePhase::Failed;
    status.error_message = message;
}

fn meta(disk: &SeenDisk, wish: &Wish<'_>) -> VolumeStatus {
    let partition = disk.partitions.iter().find(|partition| partition.entry.label() == VolumeStatus::META);
    let Some(partition) = partition else { return absent(wish.is_probed) };
    let mut status = located(disk, partition);
    match &partition.kernel {
        Some(_) => status.phase = VolumePhase::Ready,
        None => fail(
            &mut status,
            format!("the kernel does not show META of {}; restart the machine", disk.dev_path),
        ),
    }
    status
}

/// Plans the partition table; what cannot be added comes out.
fn table(disk: &SeenDisk, wish: &Wish<'_>, decision: &mut Decision) -> BTreeMap<&'static str, PlaceError> {
    let (mut next, mut add, mut refusals) = (disk.table.clone(), Vec::new(), BTreeMap::new());
    let mut grow = None;
    for layout in wish.layouts.iter().filter(|_| wish.is_configured) {
        if let Some(entry) = disk.table.labelled(layout.id) {
            let is_flexible = matches!(layout.size, crate::gpt::Size::Rest { .. });
            if is_flexible && disk.table.growth_bytes(entry.number, disk.geometry) >= GROWTH_BYTES_MIN {
                grow = Some(layout.id);
            }
            continue;
        }
        let wanted = Wanted { label: layout.id, kind: LINUX_DATA, id: Guid::default(), size: layout.size };
        match next.add(&wanted, disk.geometry) {
            Ok(_) => add.push(layout.id),
            // What comes later on the disk is not made before what comes first.
            Err(error) => {
                refusals.insert(layout.id, error);
                break;
            }
        }
    }
    let needs_repair = match disk.health {
        Health::Sound => false,
        Health::PrimaryDamaged => true,
        // An image that was never configured is left as it was written.
        Health::BackupAstray => wish.is_configured,
    };
    if needs_repair || !add.is_empty() || grow.is_some() {
        decision.steps.push(Step::WriteTable { disk: disk.dev_path.clone(), add, grow });
    }
    refusals
}

fn volume(layout: &Layout, seen: &Seen, disk: &SeenDisk, wish: &Wish<'_>, decision: &mut Decision) {
    let partition = disk.partitions.iter().find(|partition| partition.entry.label() == layout.id);
    let Some(partition) = partition else {
        let text = if wish.is_configured {
            "its partition is being made"
        } else {
            "made when a configuration is there"
        };
        let status = VolumeStatus {
            phase: VolumePhase::Missing,
            error_message: text.to_owned(),
            parent_location: disk.dev_path.clone(),
            ..VolumeStatus::default()
        };
        decision.statuses.insert(layout.id, status);
        return;
    };
    decision.steps.extend(announce(layout, disk, partition));
    let mut status = located(disk, partition);
    match &partition.content {
        Content::Unknown => {}
        Content::Blank if wish.is_configured => {
            let (device, size_bytes) = (partition.dev_path.clone(), status.size);
            decision.steps.push(Step::Format { volume: layout.id, device, size_bytes });
            status.phase = VolumePhase::Provisioned;
        }
        Content::Blank => {
            status.phase = VolumePhase::Missing;
            status.error_message =
                "its partition is empty; formatted when a configuration is there".to_owned();
        }
        Content::Foreign(name) => fail(&mut status, foreign(layout, partition, name)),
        Content::Unreadable(error) => {
            let text = format!(
                "cannot read {} ({}): {error}; check or replace the disk",
                layout.id, partition.dev_path
            );
            fail(&mut status, text);
        }
        Content::Xfs(found) => {
            status.phase = VolumePhase::Ready;
            status.uuid.clone_from(&found.uuid);
            status.filesystem = Filesystem::Xfs;
            status.mount_location.clone_from(&partition.dev_path);
            status.mount_spec.target_path = layout.target.to_owned();
            mounts(layout, seen, partition, wish, decision, &mut status);
        }
    }
    decision.statuses.insert(layout.id, status);
}

fn foreign(layout: &Layout, partition: &SeenPartition, name: &str) -> String {
    let (id, device) = (layout.id, &partition.dev_path);
    format!(
        "{id} ({device}) holds {name} instead of xfs and is left alone; save what is in it, wipe the partition and restart the machine"
    )
}

/// What is known of a volume from the table alone.
fn located(disk: &SeenDisk, partition: &SeenPartition) -> VolumeStatus {
    let size = partition.entry.size_bytes(disk.geometry);
    VolumeStatus {
        phase: VolumePhase::Located,
        location: partition.dev_path.clone(),
        partition_uuid: partition.entry.id.to_string(),
        partition_index: i64::from(partition.entry.number),
        parent_location: disk.dev_path.clone(),
        size,
        pretty_size: pretty::size(size),
        kind: VolumeKind::Partition,
        ..VolumeStatus::default()
    }
}

/// Lets the kernel know what the table says.
fn announce(layout: &Layout, disk: &SeenDisk, partition: &SeenPartition) -> Option<Step> {
    let (volume, path, number) = (layout.id, disk.dev_path.clone(), partition.entry.number);
    let (start_bytes, size_bytes) =
        (partition.entry.start_bytes(disk.geometry), partition.entry.size_bytes(disk.geometry));
    match &partition.kernel {
        None => Some(Step::Announce { volume, disk: path, number, start_bytes, size_bytes }),
        Some(kernel) if kernel.start_bytes == start_bytes && kernel.size_bytes < size_bytes => {
            Some(Step::Resize { volume, disk: path, number, start_bytes, size_bytes })
        }
        Some(_) => None,
    }
}

/// Mounts, unmounts and grows a volume that is ready.
fn mounts(
    layout: &Layout,
    seen: &Seen,
    partition: &SeenPartition,
    wish: &Wish<'_>,
    decision: &mut Decision,
    status: &mut VolumeStatus,
) {
    let requests: Vec<_> =
        wish.requests.iter().filter(|request| request.volume_id == layout.id).copied().collect();
    let is_withdrawn = wish.withdrawn.iter().any(|request| request.volume_id == layout.id);
    let device = partition.kernel.as_ref().map(|kernel| kernel.device.as_str()).unwrap_or_default();
    match seen.mounts.iter().find(|mount| mount.target == layout.target) {
        Some(mount) if mount.entry.device == device => {
            if requests.is_empty() && is_withdrawn {
                decision.steps.push(Step::Unmount { volume: layout.id });
            } else {
                decision.steps.extend(grow_filesystem(layout, partition, wish));
            }
            status.mount_spec.project_quota_support =
                mount.entry.super_options.split(',').any(|option| option == "prjquota");
            decision.mounts.push(mounted(layout, mount, &requests, &partition.dev_path));
        }
        Some(mount) if !requests.is_empty() => {
            let text = format!(
                "cannot mount {} at {}: {} is mounted there; restart the machine",
                layout.id, layout.target, mount.entry.source
            );
            fail(status, text);
        }
        None if !requests.is_empty() => {
            let (device, flags) = (partition.dev_path.clone(), flags(layout, &requests));
            decision.steps.push(Step::Mount { volume: layout.id, device, flags });
        }
        _ => {}
    }
}

fn grow_filesystem(layout: &Layout, partition: &SeenPartition, wish: &Wish<'_>) -> Option<Step> {
    let (Content::Xfs(found), Some(kernel)) = (&partition.content, &partition.kernel) else { return None };
    let size_bytes = kernel.size_bytes;
    let is_small = found.size.saturating_add(FILESYSTEM_SLACK_BYTES) < size_bytes;
    let is_done = wish.grown.get(layout.id) == Some(&size_bytes);
    (is_small && !is_done).then_some(Step::GrowFilesystem { volume: layout.id, size_bytes })
}

/// What all who ask agree on: as strict as the strictest, writable if anyone writes.
fn flags(layout: &Layout, requests: &[&VolumeMountRequest]) -> MountFlags {
    let mut flags = layout.flags;
    if requests.iter().any(|request| request.secure) {
        flags |= MountFlags::NOSUID | MountFlags::NODEV;
    }
    if requests.iter().any(|request| request.no_exec) {
        flags |= MountFlags::NOEXEC;
    }
    if requests.iter().any(|request| request.disable_access_time) {
        flags |= MountFlags::NOATIME;
    }
    if requests.iter().all(|request| request.read_only) {
        flags |= MountFlags::RDONLY;
    }
    flags
}

fn mounted(layout: &Layout, mount: &SeenMount, requests: &[&VolumeMountRequest], device: &str) -> Mounted {
    let has = |option: &str| mount.entry.options.split(',').any(|other| other == option);
    let status = VolumeMountStatus {
        volume_id: layout.id.to_owned(),
        requester: requests.first().map(|request| request.requester.clone()).unwrap_or_default(),
        target: layout.target.to_owned(),
        read_only: has("ro"),
        disable_access_time: has("noatime"),
        secure: has("nosuid") && has("nodev"),
        no_exec: has("noexec"),
        detached: false,
    };
    let row = MountStatus {
        source: device.to_owned(),
        target: layout.target.to_owned(),
        filesystem_type: mount.entry.fstype.clone(),
        options: mount
            .entry
            .options
            .split(',')
            .chain(mount.entry.super_options.split(','))
            .map(str::to_owned)
            .collect(),
        ..MountStatus::default()
    };
    Mounted { volume: layout.id, status, row }
}

#[cfg(test)]
mod tests;
