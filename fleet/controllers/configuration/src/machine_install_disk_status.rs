//! The disk that a machine is installed on.
//!
//! ```text
//! MachineStatus (disks) ───────────┐
//! MachineInstallDiskConfig (wish) ─┴─disk::choose─▶ MachineInstallDiskStatus
//! ```
//!
//! A machine that is not connected may have other disks by now, so a new wish waits for it; configurations wait too.

use corten_fleet_cluster::disk::{Selector, choose, selection_hash};
use corten_fleet_resources::machine::{
    BlockDevice, MachineInstallDiskConfig, MachineInstallDiskStatus, MachineStatus,
};
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, View, controller};

use crate::tags::copy_place;

/// Why a wish is not answered now.
const HELD: &str = "the machine is not connected, and its disks may be others by now; one is chosen then";

/// No expression can be evaluated: people name disks by their paths.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSelector;

impl Selector for NoSelector {
    fn matches(&self, _: &str, _: &BlockDevice) -> Result<bool, String> {
        Err("this manager evaluates no CEL expressions, so name the disk by its path instead".to_owned())
    }
}

/// Chooses the disks of machines.
#[derive(Debug)]
pub struct MachineInstallDiskStatusController<S> {
    selector: S,
}

impl<S: Selector + Send + Sync + 'static> MachineInstallDiskStatusController<S> {
    /// A controller that evaluates expressions with `selector`.
    pub const fn new(selector: S) -> Self {
        Self { selector }
    }
}

controller!(impl<S: Selector + Send + Sync + 'static> MachineInstallDiskStatusController<S>,
    "MachineInstallDiskStatusController",
    inputs: [weak MachineStatus, weak MachineInstallDiskConfig, weak MachineInstallDiskStatus],
    outputs: [exclusive MachineInstallDiskStatus]);

impl<S: Selector + Send + Sync + 'static> ItemTransform for MachineInstallDiskStatusController<S> {
    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(status) = view.get::<MachineStatus>(item) else { return plan };
        let Some(hardware) = &status.hardware else {
            plan.keep::<MachineInstallDiskStatus>();
            return plan.waiting("the disks of the machine; it tells them when it is connected");
        };
        let wish = view.get::<MachineInstallDiskConfig>(item).map(|wish| &wish.spec);
        let last = view.get::<MachineInstallDiskStatus>(item).map(|last| &last.spec);
        let chosen = match last {
            Some(last) if !status.connected && last.selection_hash != selection_hash(wish) => {
                plan.missing(HELD);
                MachineInstallDiskStatus { message: HELD.to_owned(), ..last.clone() }
            }
            Some(last) if !status.connected => last.clone(),
            _ => choose(&hardware.blockdevices, wish, &self.selector),
        };
        plan.put_with(item, chosen, |metadata| copy_place(&status.metadata, metadata));
        plan
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::machine::Hardware;
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    fn status(connected: bool) -> AnyResource {
        let disk = |path: &str| BlockDevice {
            dev_path: path.to_owned(),
            size: 50_000_000_000,
            ..BlockDevice::default()
        };
        let blockdevices = vec![disk("/dev/sda"), disk("/dev/sdb")];
        let hardware = Some(Hardware { blockdevices, ..Hardware::default() });
        resource("m1", MachineStatus { connected, hardware, ..MachineStatus::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_is_answered_when_the_machine_is_connected() {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_item_transform(MachineInstallDiskStatusController::new(NoSelector));
        });
        runtime.put(status(true));
        runtime.quiet().await;
        let found = || runtime.state().get::<MachineInstallDiskStatus>("m1").expect("a choice").spec;
        assert_eq!(found().disk, "/dev/sda");
        runtime.put(status(false));
        let wish =
            MachineInstallDiskConfig { disk: "/dev/sdb".to_owned(), ..MachineInstallDiskConfig::default() };
        runtime.put(resource("m1", wish.clone()));
        runtime.quiet().await;
        assert_eq!((found().disk.as_str(), found().message.as_str()), ("/dev/sda", HELD));
        assert_ne!(found().selection_hash, selection_hash(Some(&wish)));
        runtime.put(status(true));
        runtime.quiet().await;
        assert_eq!((found().disk.as_str(), found().message.as_str()), ("/dev/sdb", ""));
        assert_eq!(found().selection_hash, selection_hash(Some(&wish)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_expression_that_nobody_evaluates_says_what_to_do() {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_item_transform(MachineInstallDiskStatusController::new(NoSelector));
        });
        let disk_selector = "disk.size > 1u".to_owned();
        let wish = MachineInstallDiskConfig { disk_selector, ..MachineInstallDiskConfig::default() };
        runtime.put(resource("m1", wish));
        runtime.put(status(true));
        runtime.quiet().await;
        let found = runtime.state().get::<MachineInstallDiskStatus>("m1").expect("a status");
        assert!(found.disk.is_empty() && found.message.contains("name the disk by its path"));
    }
}
