//! The disk that a machine is installed on.
//!
//! ```text
//! MachineStatus (disks, or none of its own) ─┐
//! MachineInstallDiskConfig (wish) ───────────┴─disk::choose─▶ MachineInstallDiskStatus
//! ```
//!
//! A machine that is not connected may have other disks by now, so a new wish waits for it; configurations wait too.
//! Expressions are those of Talos ([`corten_config::selector`]).

use corten_config::selector::{Disk, DiskSelector};
use corten_fleet_cluster::disk::{Selector, choose, installs, nowhere, selection_hash};
use corten_fleet_resources::machine::{
    BlockDevice, MachineInstallDiskConfig, MachineInstallDiskStatus, MachineStatus,
};
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, View, controller};

use crate::tags::copy_place;

/// Why a wish is not answered now.
const HELD: &str = "the machine is not connected, and its disks may be others by now; one is chosen then";

/// Evaluates expressions as machines of Talos do.
#[derive(Clone, Copy, Debug, Default)]
pub struct TalosSelector;

impl Selector for TalosSelector {
    fn first(&self, expression: &str, disks: &[&BlockDevice]) -> Result<Option<usize>, String> {
        let selector = DiskSelector::parse(expression).map_err(|error| error.to_string())?;
        for (place, disk) in disks.iter().enumerate() {
            if selector.matches(&seen(disk)).map_err(|error| error.to_string())? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }
}

/// A disk as expressions see it.
fn seen(device: &BlockDevice) -> Disk<'_> {
    let dev_path: &str = if device.dev_path.is_empty() { &device.linux_name } else { &device.dev_path };
    Disk {
        dev_path,
        size: device.size,
        pretty_size: &device.pretty_size,
        io_size: device.io_size,
        sector_size: device.sector_size,
        readonly: device.readonly,
        cdrom: device.cdrom,
        rotational: device.rotational,
        model: &device.model,
        serial: &device.serial,
        modalias: &device.modalias,
        wwid: &device.wwid,
        uuid: &device.uuid,
        bus_path: &device.bus_path,
        sub_system: &device.sub_system,
        transport: &device.transport,
        firmware_version: &device.firmware_version,
        secondary_disks: &device.secondary_disks,
        symlinks: &device.symlinks,
        is_system_disk: device.system_disk,
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
        let wish = view.get::<MachineInstallDiskConfig>(item).map(|wish| &wish.spec);
        if !installs(&status.spec) {
            plan.put_with(item, nowhere(wish), |metadata| copy_place(&status.metadata, metadata));
            return plan;
        }
        let Some(hardware) = &status.hardware else {
            plan.keep::<MachineInstallDiskStatus>();
            return plan.waiting("the disks of the machine; it tells them when it is connected");
        };
        let last = view.get::<MachineInstallDiskStatus>(item).map(|last| &last.spec);
        let chosen = match last {
            Some(last) if !status.connected => held(last, wish),
            _ => choose(&hardware.blockdevices, wish, &self.selector),
        };
        if chosen.message == HELD {
            plan.missing(HELD);
        }
        plan.put_with(item, chosen, |metadata| copy_place(&status.metadata, metadata));
        plan
    }
}

/// The last choice, for a machine that cannot be asked. A wish that was taken back is answered again.
fn held(
    last: &MachineInstallDiskStatus,
    wish: Option<&MachineInstallDiskConfig>,
) -> MachineInstallDiskStatus {
    let is_answered = last.selection_hash == selection_hash(wish);
    let message = match last.message.as_str() {
        _ if !is_answered => HELD,
        // Without a disk there was no choice either, and an empty message would say that none is needed.
        HELD if !last.disk.is_empty() => "",
        message => message,
    };
    MachineInstallDiskStatus { message: message.to_owned(), ..last.clone() }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::machine::{Hardware, PlatformMetadata};
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
            runtime.register_item_transform(MachineInstallDiskStatusController::new(TalosSelector));
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
        runtime.put(resource("m1", MachineInstallDiskConfig::default()));
        runtime.quiet().await;
        assert_eq!((found().disk.as_str(), found().message.as_str()), ("/dev/sda", ""), "taken back");
        runtime.put(resource("m1", wish.clone()));
        runtime.put(status(true));
        runtime.quiet().await;
        assert_eq!((found().disk.as_str(), found().message.as_str()), ("/dev/sdb", ""));
        assert_eq!(found().selection_hash, selection_hash(Some(&wish)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_expression_chooses_and_a_wrong_one_says_what_is_wrong() {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_item_transform(MachineInstallDiskStatusController::new(TalosSelector));
        });
        runtime.put(status(true));
        let wish = |expression: &str| {
            let disk_selector = expression.to_owned();
            resource("m1", MachineInstallDiskConfig { disk_selector, ..MachineInstallDiskConfig::default() })
        };
        let found = || runtime.state().get::<MachineInstallDiskStatus>("m1").expect("a status").spec;
        runtime.put(wish("disk.dev_path == '/dev/sdb' && disk.size > 10u * GB && !system_disk"));
        runtime.quiet().await;
        assert_eq!((found().disk.as_str(), found().message.as_str()), ("/dev/sdb", ""));
        for (wrong, says) in [("disk.colour == 'red'", "colour"), ("disk.size >", "correct it")] {
            runtime.put(wish(wrong));
            runtime.quiet().await;
            assert!(found().disk.is_empty() && found().message.contains(says), "{}", found().message);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_installed_where_the_platform_gives_no_disks() {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_item_transform(MachineInstallDiskStatusController::new(TalosSelector));
        });
        let container = PlatformMetadata { platform: "container".to_owned(), ..PlatformMetadata::default() };
        let status = MachineStatus { platform_metadata: Some(container), ..MachineStatus::default() };
        runtime.put(resource("m1", status));
        runtime.quiet().await;
        let found = runtime.state().get::<MachineInstallDiskStatus>("m1").expect("a choice");
        assert_eq!(found.spec, nowhere(None));
    }
}
