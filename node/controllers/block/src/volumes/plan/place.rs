//! Where volumes are, and where they are made.

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_resources::block::{DiscoveredVolume, VolumeKind};

use super::{Addition, Step, Wish};
use crate::gpt::{Guid, Health, LINUX_DATA, Table, Wanted};
use crate::volume_configs::SYSTEM_DISK;
use crate::volumes::layout::{self, Layout};
use crate::volumes::seen::{Content, Seen, SeenDisk, SeenPartition};

/// Less free room than this behind the last partition is not worth growing into.
const GROWTH_BYTES_MIN: u64 = 64 << 20;
/// What a disk holds that is not recognized.
pub const STRANGE: &str = "something that is not recognized";

/// Why a volume has no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There may be a disk later.
    NotYet(String),
    /// Somebody must change something.
    Never(String),
}

/// The partition of a volume. Those of the system are looked for on the system disk, and then where they may be;
/// others are where their label is.
pub fn partition<'a>(layout: &Layout, seen: &'a Seen) -> Option<(&'a SeenDisk, &'a SeenPartition)> {
    let is_possible = |disk: &&SeenDisk| {
        !layout.is_of_system() || disk.is_system || layout.may_be_on(&disk.facts, disk.is_system) == Ok(true)
    };
    let label = layout.label();
    if label.is_empty() {
        return None;
    }
    let mut disks = seen.disks.iter().filter(is_possible);
    disks.find_map(|disk| Some((disk, disk.labelled(label)?)))
}

/// What is there already and is this volume.
pub fn existing<'a>(
    layout: &Layout,
    seen: &Seen,
    wish: &Wish<'a>,
) -> Result<Option<&'a DiscoveredVolume>, corten_cel::Error> {
    for found in wish.discovered.iter().copied() {
        let on = |disk: &&SeenDisk| {
            disk.facts.dev_path == found.parent_dev_path || disk.facts.dev_path == found.dev_path
        };
        let Some(disk) = seen.disks.iter().find(on) else { continue };
        if layout.is(found, &disk.facts, disk.is_system)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The disk of a volume that is a whole one; not one that something else is about to be made on.
pub fn disk<'a>(
    layout: &Layout,
    seen: &'a Seen,
    wish: &Wish<'_>,
    steps: &[Step],
) -> Result<&'a SeenDisk, Refusal> {
    let is_taken = |disk: &SeenDisk| {
        steps.iter().any(|step| match step {
            Step::WriteTable { disk: path, .. } | Step::Format { device: path, .. } => {
                path == disk.dev_path()
            }
            _ => false,
        })
    };
    let mut reasons = Vec::new();
    let (mut blank, mut unread) = (None, None);
    for disk in seen.disks.iter().filter(|disk| !disk.is_system) {
        if !may_be_on(layout, disk)? {
            continue;
        }
        let label = &layout.config.provisioning.filesystem.label;
        match &disk.content {
            Content::Whole(found) if found.label == *label => return Ok(disk),
            Content::Unreadable(error) => unread = Some((disk, error)),
            Content::Blank if is_taken(disk) => {
                reasons.push(format!("{}: another volume is made there", disk.dev_path()));
            }
            Content::Blank => {
                blank.get_or_insert(disk);
            }
            content => reasons.push(format!("{} holds {}", disk.dev_path(), what(content))),
        }
    }
    if let Some((disk, error)) = unread {
        return Err(may_be_there(layout, disk, error));
    }
    if !wish.is_probed && blank.is_some() {
        return Err(not_looked());
    }
    blank.ok_or_else(|| refusal(layout, &reasons))
}

/// A disk that comes later may have the volume already. Those of the system that are on the system disk are nowhere else.
fn is_settled(layout: &Layout, wish: &Wish<'_>) -> bool {
    let is_at_home =
        layout.is_of_system() && layout.config.provisioning.disk_selector.expression == SYSTEM_DISK;
    wish.is_probed || is_at_home
}

fn not_looked() -> Refusal {
    Refusal::NotYet("disks are being looked at".to_owned())
}

fn may_be_there(layout: &Layout, disk: &SeenDisk, error: &str) -> Refusal {
    let (id, path) = (&layout.id, disk.dev_path());
    Refusal::Never(format!(
        "{id} may be on {path}, which cannot be read ({error}); check or replace the disk, or leave it out of the selector"
    ))
}

fn may_be_on(layout: &Layout, disk: &SeenDisk) -> Result<bool, Refusal> {
    let result = layout.may_be_on(&disk.facts, disk.is_system);
    result.map_err(|error| {
        Refusal::Never(format!("the disk selector of {} cannot be evaluated: {error}", layout.id))
    })
}

fn what(content: &Content) -> &str {
    match content {
        Content::Unknown => "partitions",
        Content::Blank => "nothing",
        Content::Whole(found) => found.name,
        Content::Foreign => STRANGE,
        Content::Unreadable(error) => error,
    }
}

fn refusal(layout: &Layout, reasons: &[String]) -> Refusal {
    let id = &layout.id;
    if reasons.is_empty() {
        let selector = &layout.config.provisioning.disk_selector.expression;
        return Refusal::NotYet(format!("no disk matches {selector}; plug one in, or change the selector"));
    }
    Refusal::Never(format!(
        "cannot make {id} on {}; use a larger or an empty disk, or wipe one",
        reasons.join(", on ")
    ))
}

/// A table as it will be.
struct Draft<'a> {
    disk: &'a SeenDisk,
    table: Option<Table>,
    add: Vec<Addition>,
    grow: Option<(String, u64)>,
    /// What comes later on the disk is not made before what comes first.
    is_closed: bool,
}

impl<'a> Draft<'a> {
    fn of(disk: &'a SeenDisk) -> Self {
        Self { disk, table: disk.table.clone(), add: Vec::new(), grow: None, is_closed: false }
    }
}

/// Plans the partition tables; what cannot be added comes out.
pub fn tables(seen: &Seen, wish: &Wish<'_>, steps: &mut Vec<Step>) -> BTreeMap<String, Refusal> {
    let mut refusals = BTreeMap::new();
    let mut drafts: Vec<Draft<'_>> = seen.disks.iter().map(Draft::of).collect();
    let is_made = |layout: &&Arc<Layout>| {
        layout.config.kind == VolumeKind::Partition && !layout.is_existing() && !layout.is_leaving
    };
    for layout in wish.layouts.iter().filter(|_| wish.is_configured).filter(is_made) {
        if let Some((disk, partition)) = partition(layout, seen) {
            let spec = &layout.config.provisioning.partition;
            let bytes_max = layout.size(disk.facts.size).bytes_max();
            let room = disk
                .table
                .as_ref()
                .map_or(0, |table| table.growth_bytes(partition.entry.number, bytes_max, disk.geometry));
            let draft = drafts.iter_mut().find(|draft| draft.disk.name == disk.name);
            if let Some(draft) = draft.filter(|_| spec.grow && room >= GROWTH_BYTES_MIN) {
                draft.grow = Some((layout.label().to_owned(), bytes_max));
            }
        } else if !is_settled(layout, wish) {
            refusals.insert(layout.id.clone(), not_looked());
        } else if let Err(refused) = add(layout, &mut drafts) {
            refusals.insert(layout.id.clone(), refused);
        }
    }
    for draft in drafts {
        let needs_repair = match draft.disk.health {
            _ if !draft.disk.is_system => false,
            Health::Sound => false,
            Health::PrimaryDamaged => true,
            // An image that was never configured is left as it was written.
            Health::BackupAstray => wish.is_configured,
        };
        if needs_repair || !draft.add.is_empty() || draft.grow.is_some() {
            let (disk, is_system) = (draft.disk.dev_path().to_owned(), draft.disk.is_system);
            steps.push(Step::WriteTable { disk, is_system, add: draft.add, grow: draft.grow });
        }
    }
    refusals
}

/// Adds a partition to the first disk that may have it and has room.
fn add(layout: &Layout, drafts: &mut [Draft<'_>]) -> Result<(), Refusal> {
    let mut reasons = Vec::new();
    let mut possible = Vec::new();
    for draft in drafts {
        if !may_be_on(layout, draft.disk)? {
            continue;
        }
        if let Content::Unreadable(error) = &draft.disk.content {
            return Err(may_be_there(layout, draft.disk, error));
        }
        possible.push(draft);
    }
    for draft in possible {
        let disk = draft.disk;
        if draft.is_closed {
            reasons.push(format!("{}: what comes before it is not there", disk.dev_path()));
            continue;
        }
        if draft.table.is_none() && disk.content == Content::Blank {
            draft.table = Some(Table::empty(Guid::default(), disk.geometry));
        }
        let Some(table) = &mut draft.table else {
            reasons.push(format!("{}: it holds {}", disk.dev_path(), what(&disk.content)));
            continue;
        };
        let size = layout.size(disk.facts.size);
        let wanted = Wanted { label: layout.label(), kind: LINUX_DATA, id: Guid::default(), size };
        match table.add(&wanted, disk.geometry) {
            Ok(_) => {
                let (volume, label) = (layout.id.clone(), layout.label().to_owned());
                draft.add.push(Addition { volume, label, size });
                return Ok(());
            }
            Err(error) => {
                draft.is_closed |= layout.is_of_system();
                reasons.push(format!("{}: {error}", disk.dev_path()));
            }
        }
    }
    Err(refusal(layout, &reasons))
}

/// Whether a device holds what the volume of this layout is: for looking again right before it is changed.
pub fn holds(layout: &Layout, content: &Content) -> bool {
    matches!(content, Content::Whole(found) if found.name == layout::fstype(layout.filesystem()))
}
