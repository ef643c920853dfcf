//! Arrays of software RAID.
//!
//! ```text
//! MachineConfig ─▶ MdArraySpec ─╮                          ╭▶ mdadm
//! DiscoveredVolume, Disk ───────┼▶ members ─▶ seen ─▶ plan ┴▶ MdArrayStatus
//! block device events ─▶ MdRefreshRequest ─▶ look again ────╯
//! ```
//! Invariants:
//! - An array is made of blank volumes only, and that is looked at again right before.
//! - Nothing is taken apart: a document that goes leaves its array, which only [`destroy`] ends.
//! - udev puts arrays together when their members appear; an array that stays incomplete is used without the missing
//!   members after [`PATIENCE`].
//!
//! Arrays are made and changed by `mdadm`, whose work on members the kernel does not do, and observed in the kernel's
//! own files.

mod destroy;
mod plan;
mod programs;
mod seen;
pub(crate) mod superblock;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use corten_base::blocking;
use corten_resource::{Driver, Plan, Source, Transform, View, controller};
use corten_resources::block::{DiscoveredVolume, DiscoveredVolumesStatus, Disk, SystemDisk};
use corten_resources::config::MachineConfig;
use corten_resources::storage::{MdArraySpec, MdArrayStatus, MdLevel, MdMetadata, MdRefreshRequest};
use tokio::time::Instant;

pub use self::destroy::{MdError, destroy};
use self::plan::{Circumstances, Member, Op, Wish};
use self::seen::Seen;
use crate::discovery;
use crate::pool_members::{candidates, select};
use crate::sysfs::Sysfs;
use crate::volumes::Programs;

const DEADLINE: Duration = Duration::from_secs(60);
/// How long an array may lack members before it is used without them.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often an array is looked at that copies something.
const SYNC_POLL: Duration = Duration::from_secs(5);
/// Ends of copying make no event.
const POLL: Duration = Duration::from_secs(60);

/// Which arrays the configuration wants.
pub struct MdArraySpecs;

controller!(MdArraySpecs, "storage.MdArraySpecs", inputs: [weak MachineConfig], outputs: [exclusive MdArraySpec]);

impl Transform for MdArraySpecs {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let config = view.get::<MachineConfig>(MachineConfig::ACTIVE);
        let config = config.and_then(|config| corten_config::load_cached(&config.spec.yaml).ok());
        let Some(config) = config.filter(|config| config.is_complete()) else { return plan };
        for array in &config.view().pools.arrays {
            let metadata = if array.metadata_format == "1.2" { MdMetadata::V12 } else { MdMetadata::V10 };
            let volume_selector = array.volume_selector.clone();
            plan.put(&array.name, MdArraySpec { level: MdLevel::Raid1, metadata, volume_selector });
        }
        plan
    }
}

/// Makes, completes and watches arrays.
pub struct MdArrays {
    sysfs: Sysfs,
    programs: Arc<dyn Programs>,
    /// Since when an array by this name is not whole.
    incomplete: BTreeMap<String, Instant>,
    /// Arrays that udev had time enough for.
    overdue: BTreeSet<String>,
    /// Why the last attempt at an array failed.
    trouble: BTreeMap<String, String>,
}

controller!(MdArrays, "storage.MdArrays",
    inputs: [weak MdArraySpec, weak MdRefreshRequest, weak Disk, weak DiscoveredVolume, weak DiscoveredVolumesStatus,
        weak SystemDisk],
    outputs: [exclusive MdArrayStatus]);

impl MdArrays {
    /// The kernel shows itself at `sysfs`; `programs` starts mdadm.
    pub const fn new(sysfs: Sysfs, programs: Arc<dyn Programs>) -> Self {
        Self {
            sysfs,
            programs,
            incomplete: BTreeMap::new(),
            overdue: BTreeSet::new(),
            trouble: BTreeMap::new(),
        }
    }
}

/// The arrays that should exist, with their members.
fn wishes(view: &View<MdArrays>) -> Vec<Wish> {
    let disks = view.list::<Disk>();
    let disks: Vec<(&str, &Disk)> = disks.iter().map(|disk| (disk.id(), &disk.spec)).collect();
    let volumes = view.list::<DiscoveredVolume>();
    let volumes: Vec<_> = volumes.iter().map(|volume| (volume.id(), &volume.spec)).collect();
    let system = view.get::<SystemDisk>(SystemDisk::ID).map(|disk| disk.spec.disk_id.as_str());
    // An array is no member of arrays.
    let volumes: Vec<_> = volumes.into_iter().filter(|(name, _)| !name.starts_with("md")).collect();
    let candidates = candidates(&disks, &volumes, system);
    let wish = |id: &str, spec: &MdArraySpec| Wish {
        name: id.to_owned(),
        metadata: match spec.metadata {
            MdMetadata::V10 => "1.0",
            MdMetadata::V12 => "1.2",
        },
        members: select(&spec.volume_selector, &candidates).map(|members| {
            let member = |volume: &DiscoveredVolume| Member {
                dev_path: volume.dev_path.clone(),
                content: volume.name.clone(),
            };
            members.iter().map(|candidate| member(candidate.volume)).collect()
        }),
    };
    view.list::<MdArraySpec>().into_iter().map(|spec| wish(spec.id(), &spec.spec)).collect()
}

impl Driver for MdArrays {
    type Observed = Seen;
    type Op = Op;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Seen> {
        // Without a wish nobody asks what is on the disks that are in no array.
        let has_wishes = !view.list::<MdArraySpec>().is_empty();
        let volumes = view.list::<DiscoveredVolume>();
        let volumes = volumes.iter().filter(|_| has_wishes);
        let volumes =
            volumes.map(|volume| (volume.spec.dev_path.clone(), volume.spec.size)).collect::<Vec<_>>();
        let sysfs = self.sysfs.clone();
        let seen = blocking(DEADLINE, move || seen::look(&sysfs, &volumes)).await?;
        let names = incomplete(view, &seen);
        self.incomplete.retain(|name, _| names.contains(name));
        for name in names {
            self.incomplete.entry(name).or_insert_with(Instant::now);
        }
        let overdue = self.incomplete.iter().filter(|(_, since)| since.elapsed() >= PATIENCE);
        self.overdue = overdue.map(|(name, _)| name.clone()).collect();
        Ok(seen)
    }

    fn plan(&self, view: &View<Self>, seen: &Seen) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let around = Circumstances { overdue: &self.overdue, trouble: &self.trouble };
        // A disk that was not looked at may be a member.
        let status = view.get::<DiscoveredVolumesStatus>(discovery::STATUS);
        let is_probed = status.is_some_and(|status| status.spec.ready);
        let mut claimed: BTreeSet<String> = BTreeSet::new();
        for wish in wishes(view) {
            let (status, ops) = plan::decide(&wish, seen, around);
            claimed.extend(status.members.iter().cloned());
            for op in ops.into_iter().filter(|_| is_probed) {
                plan.op(op);
            }
            plan.put(&wish.name, status);
        }
        for (kernel_name, array) in &seen.arrays {
            if !array.members.iter().any(|member| claimed.contains(member)) {
                let (id, status) = plan::unclaimed(kernel_name, array, seen);
                plan.put(id, status);
            }
        }
        if !is_probed && !view.list::<MdArraySpec>().is_empty() {
            plan.missing("disks to be looked at");
        }
        let is_syncing = seen.arrays.values().any(seen::Array::is_syncing);
        let plan = if is_syncing { plan.again_in(SYNC_POLL) } else { plan };
        if self.incomplete.is_empty() { plan } else { plan.again_in(PATIENCE) }
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        let name = op.name().to_owned();
        let done = programs::apply(&*self.programs, op).await;
        match &done {
            Ok(()) => drop(self.trouble.remove(&name)),
            Err(error) => drop(self.trouble.insert(name, format!("{error:#}"))),
        }
        done
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![Source::interval("array poll", POLL)]
    }
}

/// Arrays that should exist of which there are members, and which are not in use.
fn incomplete(view: &View<MdArrays>, seen: &Seen) -> BTreeSet<String> {
    let used = seen.arrays.values().filter(|array| !array.is_inactive());
    let used: BTreeSet<&String> = used.flat_map(|array| &array.members).collect();
    let is_waiting =
        |member: &Member| seen.superblocks.contains_key(&member.dev_path) && !used.contains(&member.dev_path);
    let wishes = wishes(view).into_iter();
    let waiting = wishes.filter(|wish| wish.members.as_ref().is_ok_and(|all| all.iter().any(is_waiting)));
    waiting.map(|wish| wish.name).collect()
}

#[cfg(test)]
mod tests;
