//! Rules of the documents about hardware.

use std::time::Duration;

use super::Rules;
use crate::values;

/// A machine that is only busy must not be taken for dead.
const WATCHDOG_TIMEOUT_MIN: Duration = Duration::from_secs(10);

/// Rules of one document.
pub(super) fn document(rules: &mut Rules<'_>) {
    match rules.document.id.kind.as_str() {
        "PCIDriverRebindConfig" => pci_driver(rules),
        "WatchdogTimerConfig" => watchdog(rules),
        _ => {}
    }
}

fn pci_driver(rules: &mut Rules<'_>) {
    let name = rules.document.id.name.as_str();
    if !is_pci_address(name) {
        rules.refuse(&["name"], format!("{name:?} is not a PCI address such as 0000:04:00.0"));
    }
    let is_driver = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some(driver) = rules.text(&["targetDriver"]).filter(|driver| !driver.chars().all(is_driver)) {
        rules.refuse(&["targetDriver"], format!("{driver:?} is not a driver such as vfio-pci"));
    }
}

/// `DOMAIN:BUS:DEVICE.FUNCTION`, as the kernel writes it.
fn is_pci_address(text: &str) -> bool {
    let is_hex = |digits: &str, count: usize| {
        digits.len() == count && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let parts: Vec<&str> = text.split([':', '.']).collect();
    let separators: String = text.chars().filter(|c| matches!(c, ':' | '.')).collect();
    separators == "::."
        && matches!(parts.as_slice(), [domain, bus, device, function]
            if is_hex(domain, 4) && is_hex(bus, 2) && is_hex(device, 2) && is_hex(function, 1))
}

fn watchdog(rules: &mut Rules<'_>) {
    match rules.text(&["device"]) {
        Some(device) if device.starts_with("/dev/") => {}
        Some(device) => {
            rules.refuse(&["device"], format!("{device:?} is not a device such as /dev/watchdog0"))
        }
        None => rules.refuse(&["device"], "missing; name it, such as /dev/watchdog0"),
    }
    let timeout = rules.text(&["timeout"]).and_then(values::duration).filter(|timeout| !timeout.is_zero());
    if timeout.is_some_and(|timeout| timeout < WATCHDOG_TIMEOUT_MIN) {
        let seconds = WATCHDOG_TIMEOUT_MIN.as_secs();
        rules.refuse(&["timeout"], format!("shorter than {seconds} seconds"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Target};

    fn problems(document: &str) -> usize {
        let text = format!("apiVersion: v1alpha1\n{document}\n");
        let checked = Config::check(text.as_bytes(), Target::Installed);
        checked.err().map_or(0, |problems| problems.in_file("h.yaml").len())
    }

    #[test]
    fn addresses_are_those_of_the_kernel() {
        assert!(is_pci_address("0000:04:1f.7"));
        for wrong in
            ["", "04:00.0", "0000:04:00", "0000.04.00.0", "0000:04:00.10", "0000:0G:00.0", "0000:04:00.0."]
        {
            assert!(!is_pci_address(wrong), "{wrong}");
        }
        let document = |name: &str, driver: &str| {
            problems(&format!("kind: PCIDriverRebindConfig\nname: \"{name}\"\ntargetDriver: \"{driver}\""))
        };
        assert_eq!(document("0000:04:00.0", "vfio-pci"), 0);
        assert_eq!(document("04:00.0", "../vfio"), 2);
    }

    #[test]
    fn a_watchdog_has_a_device_and_is_patient() {
        assert_eq!(problems("kind: WatchdogTimerConfig\ndevice: /dev/watchdog0\ntimeout: 2m"), 0);
        assert_eq!(problems("kind: WatchdogTimerConfig\ndevice: /dev/watchdog0\ntimeout: 9s"), 1);
        assert_eq!(problems("kind: WatchdogTimerConfig\ndevice: watchdog0"), 1);
        assert_eq!(problems("kind: WatchdogTimerConfig"), 1);
    }
}
