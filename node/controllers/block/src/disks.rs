//! What disks there are.
//!
//!     kernel ──▶ Disk

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use corten_base::blocking;
use corten_resource::{Driver, Never, Plan, Source, View, controller};
use corten_resources::block::Disk;

use crate::sysfs::Sysfs;
use crate::uevent;

const DEADLINE: Duration = Duration::from_secs(30);

/// Lists the disks.
pub struct Disks {
    sysfs: Sysfs,
}

controller!(Disks, "block.Disks", inputs: [], outputs: [exclusive Disk]);

impl Disks {
    /// Of the kernel that shows itself there.
    pub const fn new(sysfs: Sysfs) -> Self {
        Self { sysfs }
    }
}

impl Driver for Disks {
    type Observed = BTreeMap<String, Disk>;
    type Op = Never;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<BTreeMap<String, Disk>> {
        let sysfs = self.sysfs.clone();
        blocking(DEADLINE, move || sysfs.disks()).await?.context("cannot list disks")
    }

    fn plan(&self, _: &View<Self>, observed: &BTreeMap<String, Disk>) -> Plan<Self> {
        let mut plan = Plan::new();
        for (name, disk) in observed {
            plan.put(name, disk.clone());
        }
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }

    fn sources(&mut self) -> Vec<Source> {
        uevent::block_devices()
    }
}
