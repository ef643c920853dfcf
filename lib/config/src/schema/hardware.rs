//! Documents about the hardware of a machine.

use super::Type::{Duration, Text};
use super::{Record, field};

pub const PCI_DRIVER_REBIND: Record = Record {
    doc: "Another driver for a PCI device.",
    fields: &[
        field("name", Text, "Address of the device.").required(),
        field("targetDriver", Text, "The driver.").required(),
    ],
};

pub const WATCHDOG_TIMER: Record = Record {
    doc: "The watchdog of the machine.",
    fields: &[
        field("device", Text, "Its device."),
        field("timeout", Duration, "After how long a silent machine restarts."),
    ],
};
