//! Volumes: found, made, mounted, swapped to, given back.
//!
//!     disks, tables, contents, mounts, swap ─▶ seen ─▶ plan ─▶ steps ─▶ VolumeStatus, VolumeMountStatus, MountStatus
//!     VolumeConfig, VolumeMountRequest, MachineConfig ──┘         ╰──▶ MountRequest, VolumeMount, DiscoveryRefreshRequest
//!
//! Invariants:
//! - A step is decided from the disk as it is, never from what was done before: a loss of power, or a machined that
//!   was killed, changes nothing about what comes next.
//! - A partition is formatted only when there is nothing in it or a file system whose making was not finished, and
//!   that is looked at again right before. A whole disk must be empty at both ends: what is not recognized counts.
//! - Nothing is made on a machine without a complete configuration: documents about a manager alone take no disk. Nor
//!   before the volumes are those of the configuration, and, but on the system disk, before every disk was looked at.
//! - What is mounted stays mounted until the last request for it is torn down, or the volume itself; what is in it
//!   always stays.

pub mod layout;
mod plan;
mod programs;
pub(crate) mod seen;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Rng, blocking};
use corten_resource::{Driver, Plan, Source, View, controller};
use corten_resources::block::{
    DiscoveredVolume, DiscoveredVolumesStatus, DiscoveryRefreshRequest, Disk, MountRequest, SystemDisk,
    VolumeConfig, VolumeLifecycle, VolumeMount, VolumeMountRequest, VolumeMountStatus, VolumePhase,
    VolumeStatus,
};
use corten_resources::config::MachineConfig;
use corten_resources::runtime::MountStatus;
use tokio::time::Instant;

use self::layout::Layout;
use self::plan::{Decision, Step, Wish};
#[cfg(test)]
pub use self::programs::Run;
pub use self::programs::{InitPrograms, Programs};
use self::seen::Seen;
use crate::sysfs::Sysfs;
use crate::{discovery, swaps, uevent, volume_configs};

const DEADLINE: Duration = Duration::from_secs(60);
/// A volume that failed waits so long, that others need not wait for it.
const RETRY: Duration = Duration::from_secs(2);

/// Where the world is; only tests have it elsewhere.
#[derive(Clone, Debug)]
pub struct Places {
    /// The kernel's view of devices.
    pub sysfs: Sysfs,
    /// Volumes are mounted below it.
    pub root: PathBuf,
    /// The kernel's table of swap.
    pub swaps: PathBuf,
    /// The kernel is the machine's own.
    pub has_kernel: bool,
}

impl Default for Places {
    fn default() -> Self {
        Self { sysfs: Sysfs::default(), root: "/".into(), swaps: swaps::TABLE.into(), has_kernel: true }
    }
}

/// Finds, makes and mounts the machine's volumes.
pub struct Volumes {
    places: Places,
    programs: Arc<dyn Programs>,
    rng: Rng,
    /// Why the last attempt at a volume failed.
    trouble: BTreeMap<String, String>,
    /// When it did.
    failed: BTreeMap<String, Instant>,
    /// Volumes that failed a moment before the last look.
    resting: BTreeSet<String>,
    /// Sizes of partitions to which file systems were grown in the life of this program.
    grown: BTreeMap<String, u64>,
    /// How often contents of devices were changed; others look again then.
    changes: i64,
}

controller!(Volumes, "block.Volumes",
    inputs: [weak SystemDisk, weak Disk, weak DiscoveredVolumesStatus, weak DiscoveredVolume, weak MachineConfig,
        strong VolumeConfig, strong VolumeMountRequest],
    outputs: [exclusive VolumeStatus, exclusive VolumeMountStatus, exclusive MountRequest, exclusive VolumeMount,
        exclusive VolumeLifecycle, exclusive DiscoveryRefreshRequest, shared MountStatus]);

impl Volumes {
    /// Nothing done yet.
    pub fn new(places: Places, programs: Arc<dyn Programs>, rng: Rng) -> Self {
        Self {
            places,
            programs,
            rng,
            trouble: BTreeMap::new(),
            failed: BTreeMap::new(),
            resting: BTreeSet::new(),
            grown: BTreeMap::new(),
            changes: 0,
        }
    }

    fn wish<'a>(&'a self, view: &'a View<Self>, layouts: &'a [Arc<Layout>]) -> Wish<'a> {
        let requests = view.list::<VolumeMountRequest>();
        let withdrawn = view.tearing_down::<VolumeMountRequest>();
        Wish {
            layouts,
            is_configured: is_configured(view),
            is_probed: view
                .get::<DiscoveredVolumesStatus>(discovery::STATUS)
                .is_some_and(|status| status.spec.ready),
            requests: requests.into_iter().map(|request| (request.id(), &request.spec)).collect(),
            withdrawn: withdrawn.into_iter().map(|request| &request.spec).collect(),
            discovered: view.list::<DiscoveredVolume>().into_iter().map(|volume| &volume.spec).collect(),
            trouble: &self.trouble,
            grown: &self.grown,
        }
    }
}

/// Whether there is a complete configuration, and the volumes are already those that it wants: until then EPHEMERAL
/// would be made where, and as large as, it is without one.
fn is_configured(view: &View<Volumes>) -> bool {
    let config = view.get::<MachineConfig>(MachineConfig::ACTIVE);
    let config = config.and_then(|config| corten_config::load_cached(&config.spec.yaml).ok());
    config.filter(|config| config.is_complete()).is_some_and(|config| {
        let wanted = volume_configs::volumes(&config.view().storage);
        wanted
            .iter()
            .all(|(id, wanted, _)| view.get::<VolumeConfig>(id).is_some_and(|volume| volume.spec == *wanted))
    })
}

/// The volumes in the order in which they are made: the system's first, then what takes all that is left last.
fn layouts(view: &View<Volumes>) -> Vec<Layout> {
    let layout = |id: &str, config: &VolumeConfig, is_leaving| Layout {
        id: id.to_owned(),
        config: config.clone(),
        is_leaving,
    };
    let running = view.list::<VolumeConfig>();
    let running = running.into_iter().map(|volume| layout(volume.id(), &volume.spec, false));
    let leaving = view.tearing_down::<VolumeConfig>();
    let leaving = leaving.into_iter().map(|volume| layout(volume.id(), &volume.spec, true));
    let mut all: Vec<Layout> =
        running.chain(leaving).filter(|layout| layout.id != VolumeStatus::META).collect();
    sort(&mut all);
    all
}

/// Brings volumes into the order in which they are made.
fn sort(layouts: &mut [Layout]) {
    layouts.sort_by_key(|layout| {
        let provisioning = &layout.config.provisioning;
        let takes_all = provisioning.partition.size_max == 0;
        (provisioning.wave, layout.id != VolumeStatus::STATE, takes_all, layout.id.clone())
    });
}

impl Driver for Volumes {
    type Observed = Seen;
    type Op = Step;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Seen> {
        let resting = self.failed.iter().filter(|(_, failed)| failed.elapsed() < RETRY);
        self.resting = resting.map(|(volume, _)| volume.clone()).collect();
        let system = view.get::<SystemDisk>(SystemDisk::ID).map(|system| system.spec.disk_id.clone());
        let disks = view.list::<Disk>().into_iter().map(|disk| (disk.id().to_owned(), disk.spec.clone()));
        let disks: Vec<(String, Disk)> = disks.collect();
        let (places, layouts) = (self.places.clone(), layouts(view));
        blocking(DEADLINE, move || seen::look(&places, disks, system.as_deref(), &layouts)).await?
    }

    fn plan(&self, view: &View<Self>, seen: &Seen) -> Plan<Self, Step> {
        let layouts: Vec<Arc<Layout>> = layouts(view).into_iter().map(Arc::new).collect();
        let Decision { statuses, mounts, requests, gone, steps } =
            plan::decide(seen, &self.wish(view, &layouts));
        let mut plan = Plan::new();
        plan.put(VolumeLifecycle::ID, VolumeLifecycle {});
        plan.put(DiscoveryRefreshRequest::ID, DiscoveryRefreshRequest { request: self.changes });
        for request in view.list::<VolumeMountRequest>() {
            plan.hold::<VolumeMountRequest>(request.id());
        }
        for request in view.tearing_down::<VolumeMountRequest>() {
            let is_wanted =
                view.list::<VolumeMountRequest>().iter().any(|r| r.spec.volume_id == request.spec.volume_id);
            if is_wanted || !mounts.iter().any(|mount| mount.volume == request.spec.volume_id) {
                plan.release::<VolumeMountRequest>(request.id());
            }
        }
        for volume in view.list::<VolumeConfig>() {
            plan.hold::<VolumeConfig>(volume.id());
        }
        for volume in view.tearing_down::<VolumeConfig>() {
            if volume.id() == VolumeStatus::META || gone.iter().any(|id| id == volume.id()) {
                plan.release::<VolumeConfig>(volume.id());
            }
        }
        let first_failure = statuses.values().find(|status| status.phase == VolumePhase::Failed);
        let failure = first_failure.map(|status| status.error_message.clone());
        for (volume, status) in statuses {
            plan.put(volume, status);
        }
        for request in requests {
            plan.put(request.volume_id.clone(), request);
        }
        for mount in mounts {
            plan.put(&mount.volume, mount.status).put(&mount.volume, mount.mount);
            if let Some(row) = mount.row {
                plan.put(&mount.volume, row);
            }
        }
        let (resting, steps): (Vec<Step>, Vec<Step>) =
            steps.into_iter().partition(|step| self.resting.contains(step.volume()));
        let idle = steps.is_empty();
        for step in steps {
            plan.op(step);
        }
        if !resting.is_empty() {
            plan = plan.again_in(RETRY);
        }
        match failure {
            Some(failure) if idle => plan.failed(failure),
            _ => plan,
        }
    }

    async fn apply(&mut self, step: Step) -> anyhow::Result<()> {
        let volume = step.volume().to_owned();
        let done = steps::apply(&self.places, &*self.programs, &self.rng, &step).await;
        match &done {
            Ok(()) => {
                self.trouble.remove(&volume);
                self.failed.remove(&volume);
            }
            Err(error) => {
                self.trouble.insert(volume.clone(), format!("{error:#}"));
                self.failed.insert(volume.clone(), Instant::now());
            }
        }
        match (&step, &done) {
            (Step::GrowFilesystem { size_bytes, .. }, Ok(())) => {
                self.grown.insert(volume, *size_bytes);
            }
            (Step::Format { .. } | Step::WriteTable { .. }, _) => self.changes += 1,
            _ => {}
        }
        done
    }

    fn sources(&mut self) -> Vec<Source> {
        uevent::block_devices()
    }
}

#[cfg(test)]
mod tests;
