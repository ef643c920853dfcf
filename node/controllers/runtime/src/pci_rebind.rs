//! Other drivers for PCI devices, such as those that hand a device to a virtual machine.
//!
//!     MachineConfig ─▶ PciDriverRebindConfig ─▶ driver_override, unbind, probe ─▶ PciDriverRebindStatus
//!
//! A document that goes gives its device back to the usual driver. A device that somebody else gave another one, such as
//! an operator that hands it to virtual machines, is left alone.

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
    inputs: [strong PciDriverRebindConfig, weak DevicesStatus],
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
        let (wanted, going) =
            (view.list::<PciDriverRebindConfig>(), view.tearing_down::<PciDriverRebindConfig>());
        let ours: Vec<String> = wanted.iter().chain(&going).map(|config| config.id().to_owned()).collect();
        let bus = self.bus.clone();
        blocking(DEADLINE, move || look(&bus, &ours)).await?.context("cannot read PCI devices")
    }

    fn plan(&self, view: &View<Self>, observed: &BTreeMap<String, Bound>) -> Plan<Self, Choose> {
        let mut plan = Plan::new();
        if !view.list::<DevicesStatus>().iter().any(|status| status.spec.ready) {
            return plan.waiting("drivers to be loaded");
        }
        for config in view.list::<PciDriverRebindConfig>() {
            let (address, target) = (config.id(), &config.spec.target_driver);
            plan.hold::<PciDriverRebindConfig>(address);
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
        for config in view.tearing_down::<PciDriverRebindConfig>() {
            let address = config.id();
            let is_ours =
                observed.get(address).is_some_and(|bound| bound.chosen == config.spec.target_driver);
            if is_ours {
                plan.op(Choose { address: address.to_owned(), target: String::new() });
            } else {
                plan.release::<PciDriverRebindConfig>(address);
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

/// The devices with these addresses, as far as they are there.
fn look(bus: &Path, addresses: &[String]) -> io::Result<BTreeMap<String, Bound>> {
    let mut found = BTreeMap::new();
    for address in addresses {
        let folder = bus.join("devices").join(address);
        let chosen = match fs::read_to_string(folder.join("driver_override")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            chosen => chosen?,
        };
        let chosen = Some(chosen.trim()).filter(|chosen| *chosen != UNCHOSEN).unwrap_or_default().to_owned();
        found.insert(address.clone(), Bound { chosen, driver: driver(&folder) });
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
    use corten_resource::{AnyResource, Phase};

    use super::*;

    const ADDRESS: &str = "0000:04:00.0";

    fn plan(target: Option<&str>, bound: Option<(&str, &str)>) -> Plan<PciDriverRebind, Choose> {
        let mut rows = vec![resource("devices", DevicesStatus { ready: true })];
        rows.extend(target.map(config));
        plan_of(rows, bound)
    }

    fn config(target: &str) -> AnyResource {
        let (pci_id, target_driver) = (ADDRESS.to_owned(), target.to_owned());
        resource(ADDRESS, PciDriverRebindConfig { pci_id, target_driver })
    }

    fn plan_of(rows: Vec<AnyResource>, bound: Option<(&str, &str)>) -> Plan<PciDriverRebind, Choose> {
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
        let going = || {
            let ready = resource("devices", DevicesStatus { ready: true });
            vec![ready, config("vfio-pci").edit(|metadata| metadata.phase = Phase::TearingDown)]
        };
        assert_eq!(plan_of(going(), Some(("vfio-pci", "vfio-pci"))).ops(), choose(""));
        for gone in [Some(("", "nvme")), Some(("uio_pci_generic", "uio_pci_generic")), None] {
            assert!(plan_of(going(), gone).ops().is_empty(), "it is released");
        }
        assert!(plan(None, Some(("vfio-pci", "vfio-pci"))).ops().is_empty(), "somebody else chose it");
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
        let found = || look(folder.path(), &[ADDRESS.to_owned(), "0000:05:00.0".to_owned()]).expect("a look");
        assert_eq!((found().len(), found()[ADDRESS].chosen.as_str()), (1, "vfio-pci"));
        fs::write(device.join("driver_override"), "(null)\n").expect("a file");
        assert_eq!(found()[ADDRESS].chosen, "");
    }
}
