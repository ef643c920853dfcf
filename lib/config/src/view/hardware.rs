//! Hardware that is set up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Documents;
use crate::reader::Reader;

/// After how long a silent machine restarts when nothing is said of it.
const WATCHDOG_TIMEOUT: Duration = Duration::from_secs(60);

/// Settings of hardware.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hardware {
    /// Drivers that devices should have, by PCI address.
    pub pci_drivers: BTreeMap<String, String>,
    /// The watchdog to arm.
    pub watchdog: Option<Watchdog>,
}

/// A watchdog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watchdog {
    /// Its device.
    pub device: String,
    /// After how long a silent machine restarts.
    pub timeout: Duration,
}

impl Hardware {
    pub(super) fn read(documents: &Documents<'_>) -> Self {
        let drivers = documents.all("PCIDriverRebindConfig");
        let watchdog = documents.one("WatchdogTimerConfig");
        Self {
            pci_drivers: drivers
                .map(|(name, document)| (name.to_owned(), document.get("targetDriver").string()))
                .collect(),
            watchdog: watchdog.exists().then(|| Watchdog::read(watchdog)),
        }
    }
}

impl Watchdog {
    fn read(reader: Reader<'_>) -> Self {
        let timeout = reader.get("timeout").duration().filter(|timeout| !timeout.is_zero());
        Self { device: reader.get("device").string(), timeout: timeout.unwrap_or(WATCHDOG_TIMEOUT) }
    }
}
