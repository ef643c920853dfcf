//! What to do next and what to report: pure.

mod place;
mod requests;

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_resources::block::{
    DiscoveredVolume, Filesystem, MountRequest, VolumeKind, VolumeMount, VolumeMountRequest,
    VolumeMountStatus, VolumePhase, VolumeStatus,
};
use corten_resources::runtime::MountStatus;
use corten_sys::mount::MountFlags;

use self::place::Refusal;
pub use self::place::holds;
use super::layout::{self, Layout};
use super::seen::{Content, Seen, SeenDisk, SeenPartition};
use crate::gpt::Size;
use crate::pretty;

/// A file system that is this much smaller than its partition is grown.
const FILESYSTEM_SLACK_BYTES: u64 = 16 << 20;

/// What others want.
#[derive(Debug)]
pub struct Wish<'a> {
    /// The volumes, in the order in which they are made.
    pub layouts: &'a [Arc<Layout>],
    /// There is a machine configuration.
    pub is_configured: bool,
    /// Every disk has been looked at.
    pub is_probed: bool,
    /// Requests for mounts, with their ids.
    pub requests: Vec<(&'a str, &'a VolumeMountRequest)>,
    /// Requests that are being torn down.
    pub withdrawn: Vec<&'a VolumeMountRequest>,
    /// What was found on disks and partitions.
    pub discovered: Vec<&'a DiscoveredVolume>,
    /// Why the last attempt at a volume failed.
    pub trouble: &'a BTreeMap<String, String>,
    /// Sizes of partitions to which file systems were grown already.
    pub grown: &'a BTreeMap<String, u64>,
}

/// A partition that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// The volume that it is for.
    pub volume: String,
    /// Its label.
    pub label: String,
    /// Its size.
    pub size: Size,
}

/// One effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write the table: add partitions, grow the last one to a size, put both copies in order.
    WriteTable { disk: String, is_system: bool, add: Vec<Addition>, grow: Option<(String, u64)> },
    /// Tell the kernel about a partition.
    Announce { volume: String, disk: String, number: u32, start_bytes: u64, size_bytes: u64 },
    /// Tell the kernel that a partition is larger than it thinks.
    Resize { volume: String, disk: String, number: u32, start_bytes: u64, size_bytes: u64 },
    /// Make a file system, or what swap begins with.
    Format { layout: Arc<Layout>, device: String, size_bytes: u64 },
    /// Mount a volume.
    Mount { layout: Arc<Layout>, source: String, fstype: &'static str, flags: MountFlags },
    /// Unmount a volume.
    Unmount { layout: Arc<Layout> },
    /// Let a mounted file system take its whole partition.
    GrowFilesystem { layout: Arc<Layout>, device: String, size_bytes: u64 },
    /// Make the folder of a volume that is one.
    MakeFolder { layout: Arc<Layout> },
    /// Swap to a device.
    SwapOn { volume: String, device: String },
    /// Take everything out of swap, and swap to the device no more.
    SwapOff { volume: String, device: String },
}

impl Step {
    /// The volume that fails when the step fails.
    pub fn volume(&self) -> &str {
        match self {
            Self::WriteTable { add, grow, .. } => {
                let added = add.first().map(|addition| addition.volume.as_str());
                added.or(grow.as_ref().map(|(label, _)| label.as_str())).unwrap_or(VolumeStatus::META)
            }
            Self::Announce { volume, .. }
            | Self::Resize { volume, .. }
            | Self::SwapOn { volume, .. }
            | Self::SwapOff { volume, .. } => volume,
            Self::Format { layout, .. }
            | Self::Mount { layout, .. }
            | Self::Unmount { layout }
            | Self::GrowFilesystem { layout, .. }
            | Self::MakeFolder { layout } => &layout.id,
        }
    }
}

/// A volume that is mounted.
#[derive(Clone, Debug, PartialEq)]
pub struct Mounted {
    /// Its id.
    pub volume: String,
    /// The answer to who asked.
    pub status: VolumeMountStatus,
    /// What came of all requests.
    pub mount: VolumeMount,
    /// The mount; a folder of another volume has none.
    pub row: Option<MountStatus>,
}

/// Everything that follows from what was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// By volume.
    pub statuses: BTreeMap<String, VolumeStatus>,
    /// What is mounted.
    pub mounts: Vec<Mounted>,
    /// What is asked for, by volume.
    pub requests: Vec<MountRequest>,
    /// Volumes that nobody wants and nothing is left of but their data.
    pub gone: Vec<String>,
    /// What to do, in this order.
    pub steps: Vec<Step>,
}

/// Decides.
pub fn decide(seen: &Seen, wish: &Wish<'_>) -> Decision {
    let mut decision = Decision { requests: requests::merge(wish), ..Decision::default() };
    let Some(system) = seen.system() else {
        for volume in [VolumeStatus::META].into_iter().chain(wish.layouts.iter().map(|l| l.id.as_str())) {
            decision.statuses.insert(volume.to_owned(), absent(wish.is_probed));
        }
        let leaving = wish.layouts.iter().filter(|layout| layout.is_leaving);
        decision.gone = leaving.map(|layout| layout.id.clone()).collect();
        return decision;
    };
    decision.statuses.insert(VolumeStatus::META.to_owned(), meta(system, wish));
    let refusals = place::tables(seen, wish, &mut decision.steps);
    for layout in wish.layouts {
        let mut status = volume(layout, seen, wish, &mut decision);
        describe(layout, &mut status);
        match refusals.get(&layout.id) {
            Some(Refusal::Never(message)) => fail(&mut status, message.clone()),
            Some(Refusal::NotYet(message)) => {
                status.phase = VolumePhase::Waiting;
                status.error_message.clone_from(message);
            }
            None => {}
        }
        // Trouble is over when nothing is left to be done.
        let is_pending = decision.steps.iter().any(|step| step.volume() == layout.id);
        if let Some(error) = wish.trouble.get(&layout.id).filter(|_| is_pending) {
            fail(&mut status, error.clone());
        }
        decision.statuses.insert(layout.id.clone(), status);
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

/// What is so whatever was seen.
fn describe(layout: &Layout, status: &mut VolumeStatus) {
    let config = &layout.config;
    if status.location.is_empty() {
        status.kind = config.kind;
    }
    status.parent_id.clone_from(&config.parent_id);
    status.trim_enabled = config.trim_enabled;
    status.trim_interval = config.trim_interval;
    status.scrub_enabled = config.scrub_enabled;
    status.scrub_interval = config.scrub_interval;
}

fn meta(disk: &SeenDisk, wish: &Wish<'_>) -> VolumeStatus {
    let Some(partition) = disk.labelled(VolumeStatus::META) else { return absent(wish.is_probed) };
    let mut status = located(disk, partition);
    match &partition.kernel {
        Some(_) => status.phase = VolumePhase::Ready,
        None => fail(
            &mut status,
            format!("the kernel does not show META of {}; restart the machine", disk.dev_path()),
        ),
    }
    status
}

fn volume(layout: &Arc<Layout>, seen: &Seen, wish: &Wish<'_>, decision: &mut Decision) -> VolumeStatus {
    if layout.is_leaving {
        return leave(layout, seen, decision);
    }
    match layout.config.kind {
        VolumeKind::Directory => directory(layout, seen, wish, decision),
        VolumeKind::External => external(layout, seen, wish, decision),
        VolumeKind::Disk => whole_disk(layout, seen, wish, decision),
        _ if layout.is_existing() => existing(layout, seen, wish, decision),
        _ => partition(layout, seen, wish, decision),
    }
}

/// A volume that nobody wants any more is given back; what is in it stays.
fn leave(layout: &Arc<Layout>, seen: &Seen, decision: &mut Decision) -> VolumeStatus {
    let device = place::partition(layout, seen).map(|(_, partition)| partition.dev_path.clone());
    let device = device.filter(|device| seen.swaps.contains(device));
    if let Some(device) = device {
        decision.steps.push(Step::SwapOff { volume: layout.id.clone(), device });
    } else if seen.mounts.iter().any(|mount| mount.target == layout.target()) {
        decision.steps.push(Step::Unmount { layout: Arc::clone(layout) });
    } else {
        decision.gone.push(layout.id.clone());
    }
    VolumeStatus { phase: VolumePhase::Closed, ..VolumeStatus::default() }
}

fn missing(text: impl Into<String>) -> VolumeStatus {
    VolumeStatus { phase: VolumePhase::Missing, error_message: text.into(), ..VolumeStatus::default() }
}

fn partition(layout: &Arc<Layout>, seen: &Seen, wish: &Wish<'_>, decision: &mut Decision) -> VolumeStatus {
    let Some((disk, partition)) = place::partition(layout, seen) else {
        let mut status = missing(if wish.is_configured {
            "its partition is being made"
        } else {
            "made when a configuration is there"
        });
        if let Some(system) = seen.system().filter(|_| layout.is_of_system()) {
            system.dev_path().clone_into(&mut status.parent_location);
        }
        return status;
    };
    decision.steps.extend(announce(layout, disk, partition));
    let mut status = located(disk, partition);
    if is_whole(layout, &partition.content, wish, &mut status, decision) {
        if layout.filesystem() == Filesystem::Swap {
            swap(layout, seen, &partition.dev_path, decision);
        } else {
            let numbers = partition.kernel.as_ref().map(|kernel| kernel.device.as_str());
            let source = requests::Source { device: &partition.dev_path, numbers };
            let is_stable = requests::mounts(layout, seen, &source, wish, decision, &mut status);
            if is_stable {
                decision.steps.extend(grow_filesystem(layout, partition, wish));
            }
        }
    }
    status
}

fn swap(layout: &Layout, seen: &Seen, device: &str, decision: &mut Decision) {
    if !seen.swaps.iter().any(|swap| swap == device) {
        decision.steps.push(Step::SwapOn { volume: layout.id.clone(), device: device.to_owned() });
    }
}

/// Whether what is in a device is what the volume should hold; makes it if there is nothing.
fn is_whole(
    layout: &Arc<Layout>,
    content: &Content,
    wish: &Wish<'_>,
    status: &mut VolumeStatus,
    decision: &mut Decision,
) -> bool {
    let wanted = layout.filesystem();
    let device = status.location.clone();
    if wanted == Filesystem::None {
        let has_device = !device.is_empty();
        if has_device {
            status.phase = VolumePhase::Ready;
        }
        return has_device;
    }
    match content {
        Content::Unknown => {}
        Content::Blank if wish.is_configured => {
            let (layout, size_bytes) = (Arc::clone(layout), status.size);
            decision.steps.push(Step::Format { layout, device, size_bytes });
            status.phase = VolumePhase::Provisioned;
        }
        Content::Blank => {
            status.phase = VolumePhase::Missing;
            status.error_message =
                "its partition is empty; formatted when a configuration is there".to_owned();
        }
        Content::Whole(found) if found.name == layout::fstype(wanted) => {
            status.phase = VolumePhase::Ready;
            status.uuid.clone_from(&found.uuid);
            status.filesystem = wanted;
            status.mount_location = device;
            return true;
        }
        Content::Whole(found) => fail(status, foreign(layout, &device, found.name)),
        Content::Foreign => fail(status, foreign(layout, &device, place::STRANGE)),
        Content::Unreadable(error) => {
            fail(status, format!("cannot read {} ({device}): {error}; check or replace the disk", layout.id));
        }
    }
    false
}

fn foreign(layout: &Layout, device: &str, name: &str) -> String {
    let (id, wanted) = (&layout.id, layout::fstype(layout.filesystem()));
    format!(
        "{id} ({device}) holds {name} instead of {wanted} and is left alone; save what is in it, wipe the partition and restart the machine"
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
        parent_location: disk.dev_path().to_owned(),
        size,
        pretty_size: pretty::size(size),
        kind: VolumeKind::Partition,
        ..VolumeStatus::default()
    }
}

/// Lets the kernel know what the table says.
fn announce(layout: &Layout, disk: &SeenDisk, partition: &SeenPartition) -> Option<Step> {
    let (volume, path, number) = (layout.id.clone(), disk.dev_path().to_owned(), partition.entry.number);
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

fn grow_filesystem(layout: &Arc<Layout>, partition: &SeenPartition, wish: &Wish<'_>) -> Option<Step> {
    let (Content::Whole(found), Some(kernel)) = (&partition.content, &partition.kernel) else { return None };
    let size_bytes = kernel.size_bytes;
    let is_small = found.size.saturating_add(FILESYSTEM_SLACK_BYTES) < size_bytes;
    let is_done = wish.grown.get(&layout.id) == Some(&size_bytes);
    let (layout, device) = (Arc::clone(layout), partition.dev_path.clone());
    (is_small && !is_done).then_some(Step::GrowFilesystem { layout, device, size_bytes })
}

/// A folder of another volume.
fn directory(layout: &Arc<Layout>, seen: &Seen, wish: &Wish<'_>, decision: &mut Decision) -> VolumeStatus {
    if !requests::has_parent(layout, seen, wish) {
        let text = format!("{} is not mounted", layout.config.mount.parent_id);
        return VolumeStatus { phase: VolumePhase::Waiting, error_message: text, ..VolumeStatus::default() };
    }
    let target = layout.target().to_owned();
    let mut status = VolumeStatus {
        phase: VolumePhase::Ready,
        location: target.clone(),
        mount_location: target.clone(),
        kind: VolumeKind::Directory,
        ..VolumeStatus::default()
    };
    status.mount_spec.target_path.clone_from(&target);
    if seen.folders.contains(&target) {
        decision.mounts.extend(requests::folder(layout, wish));
    } else {
        status.phase = VolumePhase::Located;
        decision.steps.push(Step::MakeFolder { layout: Arc::clone(layout) });
    }
    status
}

/// A share of the host. Whether there is one shows when it is mounted.
fn external(layout: &Arc<Layout>, seen: &Seen, wish: &Wish<'_>, decision: &mut Decision) -> VolumeStatus {
    let tag = layout.config.provisioning.disk_selector.external.as_str();
    let mut status = VolumeStatus {
        phase: VolumePhase::Ready,
        location: tag.to_owned(),
        mount_location: tag.to_owned(),
        filesystem: layout.filesystem(),
        kind: VolumeKind::External,
        ..VolumeStatus::default()
    };
    requests::mounts(
        layout,
        seen,
        &requests::Source { device: tag, numbers: None },
        wish,
        decision,
        &mut status,
    );
    status
}

/// A disk without a table: the one that has the volume's label, or else the first that is blank.
fn whole_disk(layout: &Arc<Layout>, seen: &Seen, wish: &Wish<'_>, decision: &mut Decision) -> VolumeStatus {
    let disk = match place::disk(layout, seen, wish, &decision.steps) {
        Ok(disk) => disk,
        Err(Refusal::NotYet(message)) => {
            return VolumeStatus {
                phase: VolumePhase::Waiting,
                error_message: message,
                ..VolumeStatus::default()
            };
        }
        Err(Refusal::Never(message)) => {
            let mut status = VolumeStatus::default();
            fail(&mut status, message);
            return status;
        }
    };
    let mut status = VolumeStatus {
        phase: VolumePhase::Located,
        location: disk.dev_path().to_owned(),
        parent_location: disk.dev_path().to_owned(),
        size: disk.facts.size,
        pretty_size: disk.facts.pretty_size.clone(),
        kind: VolumeKind::Disk,
        ..VolumeStatus::default()
    };
    if is_whole(layout, &disk.content, wish, &mut status, decision) {
        let source = requests::Source { device: disk.dev_path(), numbers: None };
        requests::mounts(layout, seen, &source, wish, decision, &mut status);
    }
    status
}

/// What is there already.
fn existing(layout: &Arc<Layout>, seen: &Seen, wish: &Wish<'_>, decision: &mut Decision) -> VolumeStatus {
    let found = match place::existing(layout, seen, wish) {
        Ok(found) => found,
        Err(error) => {
            let mut status = VolumeStatus::default();
            fail(&mut status, format!("its selector cannot be evaluated: {error}"));
            return status;
        }
    };
    let Some(found) = found else {
        return missing(format!("nothing matches {}", layout.config.locator.expression));
    };
    let mut status = VolumeStatus {
        phase: VolumePhase::Located,
        location: found.dev_path.clone(),
        partition_uuid: found.partition_uuid.clone(),
        partition_index: i64::from(found.partition_index),
        parent_location: found.parent_dev_path.clone(),
        size: found.size,
        pretty_size: found.pretty_size.clone(),
        uuid: found.uuid.clone(),
        kind: if found.kind == "disk" { VolumeKind::Disk } else { VolumeKind::Partition },
        ..VolumeStatus::default()
    };
    let Some(filesystem) = layout::filesystem(&found.name) else {
        let holds = if found.name.is_empty() { "nothing" } else { found.name.as_str() };
        fail(
            &mut status,
            format!("{} ({}) holds {holds}, which cannot be mounted", layout.id, found.dev_path),
        );
        return status;
    };
    status.phase = VolumePhase::Ready;
    status.filesystem = filesystem;
    status.mount_location.clone_from(&found.dev_path);
    let source = requests::Source { device: &found.dev_path, numbers: None };
    requests::mounts(layout, seen, &source, wish, decision, &mut status);
    status
}

#[cfg(test)]
mod tests;
