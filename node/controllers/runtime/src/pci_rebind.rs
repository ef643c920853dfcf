//! Other drivers for PCI devices, such as those that hand a device to a virtual machine.
//!
//!     MachineConfig ─▶ PciDriverRebindConfig ─▶ driver_override, unbind, probe ─▶ PciDriverRebindStatus
//!
//! The kernel remembers which devices were given another driver, so that a document that goes, also while machined was
//! away, gives its device back to the usual one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use corten_base::blocking;
use corten_resource::{Driver, Plan, Source, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::hardware::{PciDriverRebindConfig, PciDriverRebindStatus};
use corten_resources::runtime::DevicesStatus;

use crate::configuration::view_of;
use crate::pci::driver;

const DEADLINE: Duration = Duration::from_secs(60);
/// A driver that is loaded later takes its devices by itself.
const POLL: Duration = Duration::from_secs(60);
/// What the kernel shows where no driver was chosen.
const UNCHOSEN: &str = "(null)";

/// Which drivers the configuration wants.
pub struct PciDriversFromConfig;

controller!(PciDriversFromConfig, "hardware.PciDriversFromConfig",
    inputs: [weak MachineConfig],
    outputs: [exclusive PciDriverRebindConfig]);

impl Transform for PciDriversFromConfig {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let config = match view_of(view.get::<MachineConfig>(MachineConfig::ACTIVE)) {
            Ok(config) => config,
            Err(error) => return plan.failed(error),
        };
        for (address, target) in &config.hardware.pci_drivers {
            let spec = PciDriverRebindConfig { pci_id: address.clone(), target_driver: target.clone() };
            plan.put(address, spec);
        }
        plan
    }
}

/// A device that was given another driver, or should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Driver that was chosen for it; empty when none was.
    pub chosen: String,
    /// Driver that it has; empty when it has none.
    pub driver: String,
}

/// One effect: the driver that is chosen for a device; an empty one leaves the choice to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choose {
    address: String,
    target: String,
}

/// Gives devices their drivers.
pub struct PciDriverRebind {
    /// `/sys/bus/pci`.
    bus: PathBuf,
}

controller!(PciDriverRebind, "hardware.PciDriverRebind",
    inputs: [weak PciDriverRebindConfig, weak DevicesStatus],
    outputs: [exclusive PciDriverRebindStatus]);

impl PciDriverRebind {
    /// On this bus.
    pub const fn new(bus: PathBuf) -> Self {
        Self { bus }
    }
}

impl Driver for PciDriverRebind {
    type Observed = BTreeMap<String, Bound>;
    type Op = Choose;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<BTreeMap<String, Bound>> {
        let wanted: Vec<String> =
            view.list::<PciDriverRebindConfig>().iter().map(|config| config.id().to_owned()).collect();
        let bus = self.bus.clone();
        blocking(DEADLINE, move || look(&bus, &wanted)).await?.context("cannot list PCI devices")
    }

    fn plan(&self, view: &View<Self>, observed: &BTreeMap<String, Bound>) -> Plan<Self, Choose> {
        let mut plan = Plan::new();
        if !view.list::<DevicesStatus>().iter().any(|status| status.spec.ready) {
            return plan.waiting("drivers to be loaded");
        }
        for config in view.list::<PciDriverRebindConfig>() {
            let (address, target) = (config.id(), &config.spec.target_driver);
            match observed.get(address) {
                None => {
                    plan.missing(format!("the PCI device {address}"));
                }
                Some(bound) if bound.driver == *target => {
                    let (pci_id, target_driver) = (address.to_owned(), bound.driver.clone());
                    plan.put(address, PciDriverRebindStatus { pci_id, target_driver });
                }
                Some(bound) if bound.chosen == *target && bound.driver.is_empty() => {
                    let what =
                        format!("the driver {target} for {address}; load its module (KernelModuleConfig)");
                    plan.missing(what);
                }
                Some(_) => {
                    plan.op(Choose { address: address.to_owned(), target: target.clone() });
                }
            }
        }
        for (address, bound) in observed {
            if !bound.chosen.is_empty() && view.get::<PciDriverRebindConfig>(address).is_none() {
                plan.op(Choose { address: address.clone(), target: String::new() });
            }
        }
        plan
    }

    async fn apply(&mut self, op: Choose) -> anyhow::Result<()> {
        let bus = self.bus.clone();
        let Choose { address, target } = op;
        let text =
            if target.is_empty() { "its usual driver".to_owned() } else { format!("the driver {target}") };
        let about = format!("cannot give the PCI device {address} {text}");
        blocking(DEADLINE, move || choose(&bus, &address, &target)).await?.context(about)
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![Source::interval("PCI driver poll", POLL)]
    }
}

/// The devices that are wanted and those that were given another driver.
fn look(bus: &Path, wanted: &[String]) -> io::Result<BTreeMap<String, Bound>> {
    let entries = match fs::read_dir(bus.join("devices")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        let (folder, address) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let chosen = fs::read_to_string(folder.join("driver_override")).unwrap_or_default();
        let chosen = Some(chosen.trim()).filter(|chosen| *chosen != UNCHOSEN).unwrap_or_default().to_owned();
        if !chosen.is_empty() || wanted.contains(&address) {
            found.insert(address, Bound { chosen, driver: driver(&folder) });
        }
    }
    Ok(found)
}

/// Chooses, lets go of the present driver, and lets the kernel look for one.
fn choose(bus: &Path, address: &str, target: &str) -> io::Result<()> {
    let folder = bus.join("devices").join(address);
    write(&folder.join("driver_override"), &format!("{target}\n"))?;
    match write(&folder.join("driver/unbind"), address) {
        // It has no driver.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        written => written?,
    }
    write(&bus.join("drivers_probe"), address)
}

/// Writes to a file that is there.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;

    use super::*;

    const ADDRESS: &str = "0000:04:00.0";

    fn plan(target: Option<&str>, bound: Option<(&str, &str)>) -> Plan<PciDriverRebind, Choose> {
        let mut rows = vec![resource("devices", DevicesStatus { ready: true })];
        rows.extend(target.map(|target| {
            let (pci_id, target_driver) = (ADDRESS.to_owned(), target.to_owned());
            resource(ADDRESS, PciDriverRebindConfig { pci_id, target_driver })
        }));
        let bound = bound.map(|(chosen, driver)| {
            (ADDRESS.to_owned(), Bound { chosen: chosen.to_owned(), driver: driver.to_owned() })
        });
        PciDriverRebind::new(PathBuf::new()).plan(&View::of(rows, UNIX_EPOCH), &bound.into_iter().collect())
    }

    #[test]
    fn a_device_gets_the_driver_of_its_document_and_goes_back_without_one() {
        let choose = |target: &str| [Choose { address: ADDRESS.to_owned(), target: target.to_owned() }];
        assert_eq!(plan(Some("vfio-pci"), Some(("", "nvme"))).ops(), choose("vfio-pci"));
        assert_eq!(plan(Some("vfio-pci"), Some(("vfio-pci", "nvme"))).ops(), choose("vfio-pci"));
        let done = plan(Some("vfio-pci"), Some(("vfio-pci", "vfio-pci")));
        assert!(done.ops().is_empty());
        assert!(done.output::<PciDriverRebindStatus>(ADDRESS).is_some());
        assert_eq!(plan(None, Some(("vfio-pci", "vfio-pci"))).ops(), choose(""));
        assert!(plan(None, Some(("", "nvme"))).ops().is_empty());
        for absent in [plan(Some("vfio-pci"), Some(("vfio-pci", ""))), plan(Some("vfio-pci"), None)] {
            assert!(absent.ops().is_empty() && absent.outputs::<PciDriverRebindStatus>().is_empty());
        }
    }

    #[test]
    fn the_kernel_is_told_in_its_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let device = folder.path().join("devices").join(ADDRESS);
        fs::create_dir_all(device.join("driver")).expect("a device");
        for file in ["driver_override", "driver/unbind"] {
            fs::write(device.join(file), "").expect("a file");
        }
        fs::write(folder.path().join("drivers_probe"), "").expect("a file");
        choose(folder.path(), ADDRESS, "vfio-pci").expect("chosen");
        let text = |path: PathBuf| fs::read_to_string(path).expect("a file");
        assert_eq!(text(device.join("driver_override")), "vfio-pci\n");
        assert_eq!(text(device.join("driver/unbind")), ADDRESS);
        assert_eq!(text(folder.path().join("drivers_probe")), ADDRESS);
        let found = look(folder.path(), &[]).expect("a list");
        assert_eq!(found[ADDRESS].chosen, "vfio-pci");
        fs::write(device.join("driver_override"), "(null)\n").expect("a file");
        assert!(look(folder.path(), &[]).expect("a list").is_empty());
    }
}
