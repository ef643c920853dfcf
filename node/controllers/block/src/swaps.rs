//! Swap: what the kernel swaps to, and what a device that is swapped to begins with.
//!
//!     kernel ──▶ SwapStatus
//!
//! Which volumes are swapped to is the business of `volumes`.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use corten_base::blocking;
use corten_resource::{Driver, Never, Plan, Source, View, controller};
use corten_resources::block::{SwapStatus, VolumeStatus};

use crate::device::WriteAt;
use crate::pretty;

const DEADLINE: Duration = Duration::from_secs(10);
/// What is in use changes without an event.
const INTERVAL: Duration = Duration::from_secs(30);
/// The kernel's table of swap.
pub const TABLE: &str = "/proc/swaps";
/// Sizes in the table are of this many bytes.
const UNIT_BYTES: u64 = 1024;
/// Page of the machines that we run on.
const PAGE_BYTES: u64 = 4096;
/// Fewest pages that the kernel takes.
const PAGES_MIN: u64 = 10;
/// Where the header ends with its mark.
const MARK: &[u8; 10] = b"SWAPSPACE2";

/// What is swapped to, from the kernel's table. Names have spaces and the like as octal numbers.
pub fn parse(table: &str) -> Vec<SwapStatus> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (device, kind) = (words.next()?, words.next()?);
        let mut number = || words.next()?.parse::<i64>().ok();
        let (size, used, priority) = (number()?, number()?, number()?);
        let bytes = |units: i64| u64::try_from(units).unwrap_or(0).saturating_mul(UNIT_BYTES);
        Some(SwapStatus {
            device: device.to_owned(),
            size: bytes(size),
            size_human: pretty::size(bytes(size)),
            used: bytes(used),
            used_human: pretty::size(bytes(used)),
            priority: i32::try_from(priority).ok()?,
            kind: kind.to_owned(),
        })
    };
    table.lines().skip(1).filter_map(row).collect()
}

/// Makes a device one that can be swapped to: the header in its first page, the format of Linux since 2.2.
///
/// # Errors
/// When it is too small, or cannot be written.
pub fn format(
    device: &(impl WriteAt + ?Sized),
    size_bytes: u64,
    uuid: [u8; 16],
    label: &str,
) -> io::Result<()> {
    let pages = (size_bytes / PAGE_BYTES).min(u64::from(u32::MAX));
    if pages < PAGES_MIN {
        return Err(io::Error::other("the device is too small for swap"));
    }
    let last_page = u32::try_from(pages - 1).unwrap_or(u32::MAX);
    let mut page = vec![0; PAGE_BYTES as usize];
    let version = 1_u32.to_le_bytes();
    page.splice(1024..1028, version);
    page.splice(1028..1032, last_page.to_le_bytes());
    page.splice(1036..1052, uuid);
    let label = label.as_bytes();
    // Sixteen bytes, the last of which ends the text.
    let label = label.get(..label.len().min(15)).unwrap_or_default();
    page.splice(1052..1052 + label.len(), label.iter().copied());
    page.splice(PAGE_BYTES as usize - MARK.len().., MARK.iter().copied());
    device.write_at(&page, 0)?;
    device.sync()
}

/// Lists what is swapped to.
pub struct Swaps {
    table: PathBuf,
}

// Volumes only wake: swapping to one makes no event.
controller!(Swaps, "block.Swaps", inputs: [weak VolumeStatus], outputs: [exclusive SwapStatus]);

impl Default for Swaps {
    fn default() -> Self {
        Self { table: TABLE.into() }
    }
}

impl Driver for Swaps {
    type Observed = Vec<SwapStatus>;
    type Op = Never;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Vec<SwapStatus>> {
        let table = self.table.clone();
        let read = blocking(DEADLINE, move || match fs::read_to_string(table) {
            // A kernel that cannot swap has no table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read,
        });
        Ok(parse(&read.await?.context("cannot read the table of swap")?))
    }

    fn plan(&self, _: &View<Self>, observed: &Vec<SwapStatus>) -> Plan<Self> {
        let mut plan = Plan::new();
        for swap in observed {
            plan.put(&swap.device, swap.clone());
        }
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![Source::interval("swap in use", INTERVAL)]
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::device::ReadAt;

    #[test]
    fn the_table_is_read() {
        let table = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/vda5                               partition\t1048572\t\t512\t\t-2\n";
        let swaps = parse(table);
        assert_eq!(swaps.len(), 1);
        let swap = &swaps[0];
        assert_eq!((swap.device.as_str(), swap.kind.as_str()), ("/dev/vda5", "partition"));
        assert_eq!((swap.size, swap.used, swap.priority), (1_048_572 << 10, 512 << 10, -2));
        assert_eq!(parse(""), []);
    }

    #[test]
    fn no_table_makes_it_panic() {
        bolero::check!().with_type::<String>().for_each(|table| {
            parse(table);
        });
    }

    /// A device of one page.
    struct Page(RefCell<Vec<u8>>);

    impl ReadAt for Page {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.borrow().as_slice().read_at(buffer, offset)
        }
    }

    impl WriteAt for Page {
        fn write_at(&self, bytes: &[u8], _: u64) -> io::Result<()> {
            *self.0.borrow_mut() = bytes.to_vec();
            Ok(())
        }
        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_made_is_recognized() {
        let page = Page(RefCell::new(Vec::new()));
        format(&page, 1 << 20, [7; 16], "s-a-label-that-is-too-long").expect("made");
        let found = crate::probe::recognize(&page.0.borrow()).expect("something");
        assert_eq!((found.name, found.label.as_str()), ("swap", "s-a-label-that-"));
        assert!(format(&page, 4096, [7; 16], "").is_err(), "too small");
    }
}
