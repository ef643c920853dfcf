//! META, STATE and EPHEMERAL on the system disk: found, made, mounted.
//!
//!     SystemDisk, table, contents, mount table ─▶ seen ─▶ plan ─▶ steps ─▶ VolumeStatus, VolumeMountStatus, MountStatus
//!     MachineConfig, VolumeMountRequest ─────────────────┘
//!
//! Invariants:
//! - A step is decided from the disk as it is, never from what was done before: a loss of power, or a machined that
//!   was killed, changes nothing about what comes next.
//! - A partition is formatted only when there is nothing in it or a file system whose making was not finished, and
//!   that is looked at again right before.
//! - Nothing is made on a machine without a complete configuration: documents about a manager alone take no disk.
//! - What is mounted stays mounted until the last request for it is torn down.

pub mod layout;
mod plan;
mod programs;
mod seen;
mod steps;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Rng, blocking};
use corten_resource::{Driver, Plan, Source, View, controller};
use corten_resources::block::{
    DiscoveredVolumesStatus, Disk, SystemDisk, VolumeMountRequest, VolumeMountStatus, VolumePhase,
    VolumeStatus,
};
use corten_resources::config::MachineConfig;
use corten_resources::runtime::MountStatus;

use self::layout::Layout;
use self::plan::{Decision, Step, Wish};
pub use self::programs::{InitPrograms, Programs};
use self::seen::Seen;
use crate::sysfs::Sysfs;
use crate::{discovery, uevent};

const DEADLINE: Duration = Duration::from_secs(60);

/// Where the world is; only tests have it elsewhere.
#[derive(Clone, Debug)]
pub struct Places {
    /// The kernel's view of devices.
    pub sysfs: Sysfs,
    /// Volumes are mounted below it.
    pub root: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { sysfs: Sysfs::default(), root: "/".into() }
    }
}

/// Finds, makes and mounts the machine's volumes.
pub struct Volumes {
    places: Places,
    layouts: &'static [Layout],
    programs: Arc<dyn Programs>,
    rng: Rng,
    /// Why the last attempt at a volume failed.
    trouble: BTreeMap<&'static str, String>,
    /// Sizes of partitions to which file systems were grown in the life of this program.
    grown: BTreeMap<&'static str, u64>,
}

controller!(Volumes, "block.Volumes",
    inputs: [weak SystemDisk, weak Disk, weak DiscoveredVolumesStatus, weak MachineConfig, strong VolumeMountRequest],
    outputs: [exclusive VolumeStatus, exclusive VolumeMountStatus, shared MountStatus]);

impl Volumes {
    /// The volumes of `layouts`.
    pub fn new(places: Places, layouts: &'static [Layout], programs: Arc<dyn Programs>, rng: Rng) -> Self {
        Self { places, layouts, programs, rng, trouble: BTreeMap::new(), grown: BTreeMap::new() }
    }

    fn wish<'a>(&'a self, view: &'a View<Self>) -> Wish<'a> {
        Wish {
            layouts: self.layouts,
            is_configured: view
                .get::<MachineConfig>(MachineConfig::ACTIVE)
                .is_some_and(|config| corten_config::is_complete(&config.spec.yaml)),
            is_probed: view
                .get::<DiscoveredVolumesStatus>(discovery::STATUS)
                .is_some_and(|status| status.spec.ready),
            requests: view.list::<VolumeMountRequest>().into_iter().map(|request| &request.spec).collect(),
            withdrawn: view
                .tearing_down::<VolumeMountRequest>()
                .into_iter()
                .map(|request| &request.spec)
                .collect(),
            trouble: &self.trouble,
            grown: &self.grown,
        }
    }
}

impl Driver for Volumes {
    type Observed = Seen;
    type Op = Step;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Seen> {
        let disk =
            view.get::<SystemDisk>(SystemDisk::ID).and_then(|system| view.get::<Disk>(&system.spec.disk_id));
        let disk = disk.map(|disk| (disk.id().to_owned(), disk.spec.clone()));
        let (places, layouts) = (self.places.clone(), self.layouts);
        blocking(DEADLINE, move || seen::look(&places, disk, layouts)).await?
    }

    fn plan(&self, view: &View<Self>, seen: &Seen) -> Plan<Self, Step> {
        let Decision { statuses, mounts, steps } = plan::decide(seen, &self.wish(view));
        let mut plan = Plan::new();
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
        let first_failure = statuses.values().find(|status| status.phase == VolumePhase::Failed);
        let failure = first_failure.map(|status| status.error_message.clone());
        for (volume, status) in statuses {
            plan.put(volume, status);
        }
        for mount in mounts {
            plan.put(mount.volume, mount.status).put(mount.volume, mount.row);
        }
        let idle = steps.is_empty();
        for step in steps {
            plan.op(step);
        }
        match failure {
            Some(failure) if idle => plan.failed(failure),
            _ => plan,
        }
    }

    async fn apply(&mut self, step: Step) -> anyhow::Result<()> {
        let volume = step.volume();
        let done = steps::apply(&self.places, &*self.programs, &self.rng, &step).await;
        match &done {
            Ok(()) => drop(self.trouble.remove(volume)),
            Err(error) => drop(self.trouble.insert(volume, format!("{error:#}"))),
        }
        if let (Step::GrowFilesystem { size_bytes, .. }, Ok(())) = (&step, &done) {
            self.grown.insert(volume, *size_bytes);
        }
        done
    }

    fn sources(&mut self) -> Vec<Source> {
        uevent::block_devices()
    }
}

#[cfg(test)]
mod tests;
