//! PCI devices: what there is, and which driver each function has.
//!
//!     /sys/bus/pci, list of names ──▶ PciDevice

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use corten_base::blocking;
use corten_resource::{Driver, Never, Plan, Source, View, controller};
use corten_resources::hardware::{PciDevice, PciDriverRebindStatus};
use corten_resources::runtime::DevicesStatus;

use crate::pci_ids::{self, Ids, Names};

const DEADLINE: Duration = Duration::from_secs(30);
/// Devices that come and go while the machine runs are rare.
const POLL: Duration = Duration::from_secs(60);

/// Where devices and their names are; only tests have them elsewhere.
#[derive(Clone, Debug)]
pub struct Places {
    /// The kernel's view of the bus.
    pub bus: PathBuf,
    /// The list of names.
    pub names: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { bus: "/sys/bus/pci".into(), names: "/usr/share/misc/pci.ids".into() }
    }
}

/// A function as the kernel shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// What it is.
    pub ids: Ids,
    /// Driver that it is bound to; empty when to none.
    pub driver: String,
}

/// Lists PCI devices.
pub struct PciDevices {
    places: Places,
    /// Names that were looked up already, also those that are in no list.
    names: BTreeMap<Ids, Names>,
}

// The others only wake: drivers are loaded and changed.
controller!(PciDevices, "hardware.PciDevices",
    inputs: [weak DevicesStatus, weak PciDriverRebindStatus],
    outputs: [exclusive PciDevice]);

impl PciDevices {
    /// Of the kernel that shows itself there.
    pub const fn new(places: Places) -> Self {
        Self { places, names: BTreeMap::new() }
    }
}

impl Driver for PciDevices {
    type Observed = BTreeMap<String, Function>;
    type Op = Never;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<BTreeMap<String, Function>> {
        let bus = self.places.bus.clone();
        let found = blocking(DEADLINE, move || functions(&bus)).await?.context("cannot list PCI devices")?;
        let unknown: BTreeSet<Ids> = found.values().map(|function| function.ids).collect();
        let unknown: BTreeSet<Ids> =
            unknown.into_iter().filter(|ids| !self.names.contains_key(ids)).collect();
        if !unknown.is_empty() {
            let list = self.places.names.clone();
            let read = move || pci_ids::read(BufReader::new(File::open(list)?), &unknown);
            let names = blocking(DEADLINE, read).await?.context("cannot read the names of PCI devices")?;
            self.names.extend(names);
        }
        Ok(found)
    }

    fn plan(&self, _: &View<Self>, observed: &BTreeMap<String, Function>) -> Plan<Self> {
        let mut plan = Plan::new();
        for (address, function) in observed {
            let names = self.names.get(&function.ids).cloned().unwrap_or_default();
            plan.put(address, device(function, names));
        }
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![Source::interval("PCI poll", POLL)]
    }
}

fn device(function: &Function, names: Names) -> PciDevice {
    let Ids { vendor, product, class, subclass } = function.ids;
    PciDevice {
        class: names.class,
        subclass: names.subclass,
        vendor: names.vendor,
        product: names.product,
        class_id: format!("0x{class:02x}"),
        subclass_id: format!("0x{subclass:02x}"),
        vendor_id: format!("0x{vendor:04x}"),
        product_id: format!("0x{product:04x}"),
        driver: function.driver.clone(),
    }
}

/// Every function by address; one that vanishes meanwhile is left out. A machine without the bus has none.
fn functions(bus: &Path) -> std::io::Result<BTreeMap<String, Function>> {
    let entries = match fs::read_dir(bus.join("devices")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        if let Some(function) = function(&entry.path()) {
            found.insert(entry.file_name().to_string_lossy().into_owned(), function);
        }
    }
    Ok(found)
}

fn function(folder: &Path) -> Option<Function> {
    let number = |file: &str| {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
    };
    let [_, class, subclass, _] = number("class")?.to_be_bytes();
    let ids = Ids {
        vendor: number("vendor")?.try_into().ok()?,
        product: number("device")?.try_into().ok()?,
        class,
        subclass,
    };
    Some(Function { ids, driver: driver(folder) })
}

/// Driver of a function; empty when it has none.
pub fn driver(folder: &Path) -> String {
    let link = fs::read_link(folder.join("driver")).unwrap_or_default();
    link.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use corten_resource::testing::TestRuntime;

    use super::*;

    #[tokio::test]
    async fn devices_have_names_and_drivers() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = Places { bus: folder.path().join("pci"), names: folder.path().join("pci.ids") };
        let device = places.bus.join("devices/0000:00:03.0");
        fs::create_dir_all(&device).expect("a device");
        for (file, text) in [("class", "0x020000\n"), ("vendor", "0x1af4\n"), ("device", "0x1000\n")] {
            fs::write(device.join(file), text).expect("a file");
        }
        symlink("../../../../bus/pci/drivers/virtio-pci", device.join("driver")).expect("a link");
        fs::create_dir_all(places.bus.join("devices/0000:00:04.0")).expect("one that vanishes");
        fs::write(&places.names, "1af4  Red Hat, Inc.\nC 02  Network controller\n").expect("a list");
        let runtime = TestRuntime::new(corten_resources::registry(), move |runtime| {
            runtime.register(PciDevices::new(places));
        });
        runtime.quiet().await;
        let devices = runtime.state().list::<PciDevice>();
        assert_eq!(devices.len(), 1);
        let expected = PciDevice {
            class: "Network controller".to_owned(),
            vendor: "Red Hat, Inc.".to_owned(),
            class_id: "0x02".to_owned(),
            subclass_id: "0x00".to_owned(),
            vendor_id: "0x1af4".to_owned(),
            product_id: "0x1000".to_owned(),
            driver: "virtio-pci".to_owned(),
            ..PciDevice::default()
        };
        assert_eq!(devices[0].spec, expected);
    }

    #[test]
    fn a_machine_without_the_bus_has_no_devices() {
        assert_eq!(functions(Path::new("/nonexistent")).expect("nothing"), BTreeMap::new());
    }
}
