//! Volumes of LVM.
//!
//! ```text
//! MachineConfig, DiscoveredVolume, Disk ─▶ specs ─▶ LvmPhysicalVolumeSpec, LvmVolumeGroupSpec, LvmLogicalVolumeSpec
//!                                                        │             ╭▶ lvm
//! block device events ─▶ LvmRefreshRequest ─▶ report ──▶ plan ─────────┴▶ LvmPhysicalVolumeStatus, LvmVolumeGroupStatus,
//!                                                                         LvmLogicalVolumeStatus, LvmValidationError
//! ```
//! Invariants:
//! - Groups are made of blank volumes only, and that is looked at again right before.
//! - Nothing is made smaller or taken away: a document that goes leaves its volumes, which only [`remove`] ends.
//! - Groups are activated by udev when their last physical volume appears.
//! - lvm runs only on a machine that has physical volumes, or should have some.

mod plan;
mod programs;
pub mod remove;
mod report;
mod specs;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use corten_resource::{Driver, Plan, Source, View, controller};
use corten_resources::block::{DiscoveredVolume, DiscoveredVolumesStatus};
use corten_resources::storage::{
    LvmLogicalVolumeSpec, LvmLogicalVolumeStatus, LvmPhysicalVolumeStatus, LvmRefreshRequest,
    LvmValidationError, LvmVolumeGroupSpec, LvmVolumeGroupStatus,
};

use self::plan::Op;
use self::programs::Lvm;
use self::report::Report;
pub use self::specs::LvmSpecs;
use crate::discovery;

/// What is recognized on a physical volume.
const CONTENT: &str = "lvm2-pv";
/// What a volume is used for makes no event.
const POLL: Duration = Duration::from_secs(300);

/// Makes and watches volumes.
pub struct LvmVolumes {
    lvm: Arc<dyn Lvm>,
    /// Why the last attempt at a group or volume failed, by id.
    trouble: BTreeMap<String, String>,
}

controller!(LvmVolumes, "storage.LvmVolumes",
    inputs: [weak LvmVolumeGroupSpec, weak LvmLogicalVolumeSpec, weak LvmRefreshRequest, weak DiscoveredVolume,
        weak DiscoveredVolumesStatus],
    outputs: [exclusive LvmPhysicalVolumeStatus, exclusive LvmVolumeGroupStatus, exclusive LvmLogicalVolumeStatus,
        shared LvmValidationError]);

impl LvmVolumes {
    /// `lvm` runs the program.
    pub fn new(lvm: Arc<dyn Lvm>) -> Self {
        Self { lvm, trouble: BTreeMap::new() }
    }
}

impl Driver for LvmVolumes {
    type Observed = Report;
    type Op = Op;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Report> {
        let has_volumes = view.list::<DiscoveredVolume>().iter().any(|volume| volume.spec.name == CONTENT);
        let wanted = view.list::<LvmVolumeGroupSpec>();
        let is_wanted = wanted.iter().any(|group| !group.spec.physical_volumes.is_empty());
        if has_volumes || is_wanted { self.lvm.report().await } else { Ok(Report::default()) }
    }

    fn plan(&self, view: &View<Self>, report: &Report) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        publish(&mut plan, report);
        let volumes = view.list::<DiscoveredVolume>();
        let volumes = volumes.iter().filter(|volume| !volume.spec.name.is_empty());
        let contents =
            volumes.map(|volume| (volume.spec.dev_path.as_str(), volume.spec.name.as_str())).collect();
        // A disk that was not looked at may belong to a group.
        let status = view.get::<DiscoveredVolumesStatus>(discovery::STATUS);
        let is_probed = status.is_some_and(|status| status.spec.ready);
        let groups = view.list::<LvmVolumeGroupSpec>();
        let groups = groups
            .iter()
            .map(|spec| (spec.id(), spec.spec.name.clone(), plan::group(&spec.spec, report, &contents)));
        let logical = view.list::<LvmLogicalVolumeSpec>();
        let logical = logical
            .iter()
            .map(|spec| (spec.id(), spec.spec.vg_name.clone(), plan::volume(&spec.spec, report)));
        for (id, vg_name, decided) in groups.chain(logical) {
            match decided {
                Err(message) => {
                    plan.put(id, LvmValidationError { vg_name, message });
                }
                Ok(None) => {}
                Ok(Some(op)) => {
                    if let Some(message) = self.trouble.get(id) {
                        plan.put(id, LvmValidationError { vg_name, message: message.clone() });
                    }
                    if is_probed {
                        plan.op(op);
                    }
                }
            }
        }
        if !is_probed && !view.list::<LvmVolumeGroupSpec>().is_empty() {
            plan.missing("disks to be looked at");
        }
        plan
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        let id = op.id();
        let done = programs::apply(&*self.lvm, op).await;
        match &done {
            Ok(()) => drop(self.trouble.remove(&id)),
            Err(error) => drop(self.trouble.insert(id, format!("{error:#}"))),
        }
        done
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![Source::interval("volume poll", POLL)]
    }
}

fn publish(plan: &mut Plan<LvmVolumes, Op>, report: &Report) {
    for group in &report.groups {
        plan.put(&group.name, group.clone());
    }
    for volume in &report.physical {
        plan.put(specs::device_id(&volume.device), volume.clone());
    }
    for volume in &report.logical {
        plan.put(specs::volume_id(&volume.vg_name, &volume.name), volume.clone());
    }
}

#[cfg(test)]
mod tests;
