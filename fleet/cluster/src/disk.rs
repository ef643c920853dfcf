//! The disk that a machine is installed on (fleet.md 4.3).
//!
//! ```text
//! MachineStatus: has the machine disks of its own? ─no─▶ nowhere: nothing is installed, and nothing is wrong
//!        │ yes
//! disks of the machine ──▶ candidates, each fit or with the reason why not ─┐
//! MachineInstallDiskConfig: path | selector (CEL) | nothing ────────────────┴▶ choice, or what is wrong with the wish
//! ```
//!
//! An installed machine stays on its disk whatever is wished. Without a wish the choice is the same every time: the
//! smallest disk that fits, those on USB last, then by path.

use corten_base::Platform;
use corten_fleet_resources::machine::{
    BlockDevice, InstallDiskCandidate, MachineInstallDiskConfig, MachineInstallDiskStatus, MachineStatus,
};
use sha2::{Digest as _, Sha256};

/// Smallest disk that an operating system is installed on, bytes: 5 GB.
pub const DISK_BYTES_MIN: u64 = 5_000_000_000;

/// Begin of the path in sysfs of devices without hardware.
const VIRTUAL_BUS: &str = "/virtual";
/// Transport of disks that people pull out.
const USB: &str = "usb";

/// Evaluates the expressions by which people select a disk.
pub trait Selector {
    /// The place of the first of these disks for which the CEL expression is true; it calls the disk `disk`.
    ///
    /// # Errors
    /// When it cannot be evaluated; the text says why.
    fn first(&self, expression: &str, disks: &[&BlockDevice]) -> Result<Option<usize>, String>;
}

/// Whether an operating system is installed on disks of a machine. One whose platform gives it no disks of its own, as
/// the namespaces of a host do, runs from what the host gave it; the disks that it may see are the host's.
#[must_use]
pub fn installs(status: &MachineStatus) -> bool {
    let metadata = status.platform_metadata.as_ref();
    let platform = metadata.and_then(|metadata| Platform::from_name(&metadata.platform));
    platform.is_none_or(|platform| platform.capabilities().disks)
}

/// The choice for a machine on which nothing is installed: no disk, and nothing that is wrong with that.
#[must_use]
pub fn nowhere(wish: Option<&MachineInstallDiskConfig>) -> MachineInstallDiskStatus {
    MachineInstallDiskStatus { selection_hash: selection_hash(wish), ..MachineInstallDiskStatus::default() }
}

/// Whether a choice is that of a machine on which nothing is installed.
#[must_use]
pub const fn is_nowhere(choice: &MachineInstallDiskStatus) -> bool {
    choice.disk.is_empty() && choice.message.is_empty()
}

/// Hash of a wish, hex of a SHA-256. No wish has a hash too.
#[must_use]
pub fn selection_hash(wish: Option<&MachineInstallDiskConfig>) -> String {
    let mut hash = Sha256::new();
    let (selector, disk) = wish.map_or(("", ""), |wish| (wish.disk_selector.as_str(), wish.disk.as_str()));
    for part in [selector, disk] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// Chooses the disk of a machine, and says of every disk whether it can be chosen.
#[must_use]
pub fn choose(
    disks: &[BlockDevice],
    wish: Option<&MachineInstallDiskConfig>,
    selector: &impl Selector,
) -> MachineInstallDiskStatus {
    let choice = match disks.iter().find(|disk| disk.system_disk) {
        Some(system) => Ok(path(system).to_owned()),
        None => match wish {
            Some(MachineInstallDiskConfig { disk, .. }) if !disk.is_empty() => by_path(disks, disk),
            Some(MachineInstallDiskConfig { disk_selector, .. }) if !disk_selector.is_empty() => {
                by_selector(disks, disk_selector, selector)
            }
            _ => by_default(disks),
        },
    };
    let (disk, message) = match choice {
        Ok(disk) => (disk, String::new()),
        Err(message) => (String::new(), message),
    };
    let disks = disks.iter().map(|disk| candidate(disk, disks)).collect();
    MachineInstallDiskStatus { disk, message, selection_hash: selection_hash(wish), disks }
}

/// Path of a device.
fn path(disk: &BlockDevice) -> &str {
    if disk.dev_path.is_empty() { &disk.linux_name } else { &disk.dev_path }
}

/// Whether a device is called so: by its path, by its name, or by a link to it.
fn is_called(disk: &BlockDevice, name: &str) -> bool {
    let wanted = without_folder(name);
    let is = |path: &str| without_folder(path) == wanted;
    is(path(disk)) || is(&disk.linux_name) || disk.symlinks.iter().any(|link| is(link))
}

fn without_folder(path: &str) -> &str {
    path.strip_prefix("/dev/").unwrap_or(path)
}

fn candidate(disk: &BlockDevice, all: &[BlockDevice]) -> InstallDiskCandidate {
    let reason = unfit(disk, all);
    let member = |name: &String| {
        let device = all.iter().find(|other| is_called(other, name));
        device.map_or_else(|| name.clone(), |device| path(device).to_owned())
    };
    InstallDiskCandidate {
        dev_path: path(disk).to_owned(),
        selectable: reason.is_none(),
        skip_reason: reason.unwrap_or_default(),
        members: disk.secondary_disks.iter().map(member).collect(),
    }
}

/// Why nothing can be installed on a disk; `None` when it can.
fn unfit(disk: &BlockDevice, all: &[BlockDevice]) -> Option<String> {
    if disk.system_disk {
        return None;
    }
    if disk.cdrom {
        return Some("it is an optical drive".to_owned());
    }
    if disk.readonly {
        return Some("it is read-only".to_owned());
    }
    if let Some(whole) = all.iter().find(|other| is_member(disk, other)) {
        return Some(format!("it is part of {}", path(whole)));
    }
    if disk.size < DISK_BYTES_MIN {
        return Some(format!("it has {} bytes, at least {DISK_BYTES_MIN} are needed", disk.size));
    }
    if disk.bus_path.starts_with(VIRTUAL_BUS) && !is_composite(disk) {
        return Some("no hardware is behind it".to_owned());
    }
    None
}

/// Whether a device is composed of others: multipath, an array.
fn is_composite(disk: &BlockDevice) -> bool {
    !disk.secondary_disks.is_empty()
}

fn is_member(disk: &BlockDevice, whole: &BlockDevice) -> bool {
    path(disk) != path(whole) && whole.secondary_disks.iter().any(|name| is_called(disk, name))
}

fn by_path(disks: &[BlockDevice], wish: &str) -> Result<String, String> {
    let Some(disk) = disks.iter().find(|disk| is_called(disk, wish)) else {
        return Err(format!("the machine has no disk {wish}; choose one of {}", fit_paths(disks)));
    };
    match unfit(disk, disks) {
        None => Ok(path(disk).to_owned()),
        Some(reason) => Err(format!("{wish} cannot be used: {reason}; choose one of {}", fit_paths(disks))),
    }
}

fn by_selector(disks: &[BlockDevice], expression: &str, selector: &impl Selector) -> Result<String, String> {
    let fit = in_order(disks);
    let found = selector.first(expression, &fit);
    let found = found.map_err(|why| format!("the selector cannot be evaluated: {why}; correct it"))?;
    let found = found.and_then(|place| fit.get(place)).map(|disk| path(disk).to_owned());
    found.ok_or_else(|| {
        format!("the selector is true for no disk that fits; those that fit are {}", fit_paths(disks))
    })
}

/// Composed devices are not chosen unless a person does.
fn by_default(disks: &[BlockDevice]) -> Result<String, String> {
    if let Some(disk) = in_order(disks).into_iter().find(|disk| !is_composite(disk)) {
        return Ok(path(disk).to_owned());
    }
    if disks.is_empty() {
        return Err("the machine reports no disks; add one".to_owned());
    }
    let why = |disk: &BlockDevice| {
        let reason = unfit(disk, disks);
        let reason = reason.as_deref().unwrap_or("it is composed of others, so a person chooses it");
        format!("{}: {reason}", path(disk))
    };
    let reasons: Vec<String> = disks.iter().map(why).collect();
    let reasons = reasons.join("; ");
    Err(format!("no disk fits ({reasons}); add one, or choose one in a MachineInstallDiskConfig"))
}

/// The disks that fit: the smallest first, those on USB last, then by path.
fn in_order(disks: &[BlockDevice]) -> Vec<&BlockDevice> {
    let mut fit: Vec<&BlockDevice> = disks.iter().filter(|disk| unfit(disk, disks).is_none()).collect();
    fit.sort_by(|a, b| rank(a).cmp(&rank(b)));
    fit
}

fn rank(disk: &BlockDevice) -> (bool, u64, &str) {
    (disk.transport == USB, disk.size, path(disk))
}

fn fit_paths(disks: &[BlockDevice]) -> String {
    let paths: Vec<&str> = in_order(disks).into_iter().map(path).collect();
    if paths.is_empty() { "none".to_owned() } else { paths.join(", ") }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::machine::PlatformMetadata;

    use super::*;

    const GB: u64 = 1_000_000_000;

    /// Knows `size > N`, and nothing else.
    struct BySize;

    impl Selector for BySize {
        fn first(&self, expression: &str, disks: &[&BlockDevice]) -> Result<Option<usize>, String> {
            let bound = expression.strip_prefix("size > ").ok_or("no such field")?;
            let bound: u64 = bound.parse().map_err(|_| "no number".to_owned())?;
            Ok(disks.iter().position(|disk| disk.size > bound))
        }
    }

    fn disk(name: &str, size: u64) -> BlockDevice {
        let dev_path = format!("/dev/{name}");
        BlockDevice { linux_name: dev_path.clone(), dev_path, size, ..BlockDevice::default() }
    }

    fn chosen(disks: &[BlockDevice], wish: Option<&MachineInstallDiskConfig>) -> String {
        let status = choose(disks, wish, &BySize);
        if status.disk.is_empty() { status.message } else { status.disk }
    }

    fn by_path(path: &str) -> MachineInstallDiskConfig {
        MachineInstallDiskConfig { disk: path.to_owned(), ..MachineInstallDiskConfig::default() }
    }

    fn by_selector(expression: &str) -> MachineInstallDiskConfig {
        let disk_selector = expression.to_owned();
        MachineInstallDiskConfig { disk_selector, ..MachineInstallDiskConfig::default() }
    }

    #[test]
    fn without_a_wish_the_smallest_disk_that_fits_is_chosen() {
        let disks = [disk("sdb", 20 * GB), disk("sdc", 10 * GB), disk("sda", 10 * GB), disk("sdd", GB)];
        assert_eq!(chosen(&disks, None), "/dev/sda");
    }

    #[test]
    fn disks_on_usb_are_chosen_last() {
        let stick = BlockDevice { transport: USB.to_owned(), ..disk("sda", 8 * GB) };
        assert_eq!(chosen(&[stick.clone(), disk("nvme0n1", 900 * GB)], None), "/dev/nvme0n1");
        assert_eq!(chosen(&[stick], None), "/dev/sda");
    }

    #[test]
    fn an_installed_machine_stays_on_its_disk() {
        let system = BlockDevice { system_disk: true, readonly: true, ..disk("sdb", 4 * GB) };
        assert_eq!(chosen(&[disk("sda", 9 * GB), system], Some(&by_path("/dev/sda"))), "/dev/sdb");
    }

    #[test]
    fn each_disk_that_does_not_fit_says_why() {
        let array = BlockDevice { secondary_disks: vec!["sdc".to_owned()], ..disk("md0", 50 * GB) };
        let disks = [
            BlockDevice { cdrom: true, ..disk("sr0", 9 * GB) },
            BlockDevice { readonly: true, ..disk("sda", 9 * GB) },
            disk("sdb", DISK_BYTES_MIN - 1),
            disk("sdc", 60 * GB),
            BlockDevice { bus_path: "/virtual".to_owned(), ..disk("loop0", 9 * GB) },
            BlockDevice { bus_path: "/virtual".to_owned(), ..array },
        ];
        let status = choose(&disks, None, &BySize);
        let reasons: Vec<&str> = status.disks.iter().map(|disk| disk.skip_reason.as_str()).collect();
        assert_eq!(
            reasons,
            [
                "it is an optical drive",
                "it is read-only",
                "it has 4999999999 bytes, at least 5000000000 are needed",
                "it is part of /dev/md0",
                "no hardware is behind it",
                "",
            ]
        );
        assert!(status.disk.is_empty() && status.message.contains("/dev/md0: it is composed of others"));
        assert_eq!(status.disks.last().unwrap().members, ["/dev/sdc"]);
        assert_eq!(chosen(&disks, Some(&by_path("md0"))), "/dev/md0");
    }

    #[test]
    fn a_wish_by_path_may_be_a_link_and_says_what_is_there_instead() {
        let disks = [BlockDevice { symlinks: vec!["/dev/disk/by-id/x".to_owned()], ..disk("sda", 9 * GB) }];
        assert_eq!(chosen(&disks, Some(&by_path("/dev/disk/by-id/x"))), "/dev/sda");
        let message = chosen(&disks, Some(&by_path("/dev/sdz")));
        assert_eq!(message, "the machine has no disk /dev/sdz; choose one of /dev/sda");
        let small = [disk("sda", GB)];
        assert!(chosen(&small, Some(&by_path("/dev/sda"))).starts_with("/dev/sda cannot be used: it has"));
    }

    #[test]
    fn a_selector_chooses_among_the_disks_that_fit() {
        let disks = [disk("sda", 9 * GB), disk("sdb", 90 * GB), disk("sdc", 80 * GB)];
        assert_eq!(chosen(&disks, Some(&by_selector("size > 10000000000"))), "/dev/sdc");
        assert!(chosen(&disks, Some(&by_selector("size > 99000000000"))).contains("true for no disk"));
        assert!(chosen(&disks, Some(&by_selector("colour == red"))).contains("no such field; correct it"));
    }

    #[test]
    fn a_machine_without_disks_of_its_own_needs_none_and_others_do() {
        let on = |platform: &str| {
            let platform = PlatformMetadata { platform: platform.to_owned(), ..PlatformMetadata::default() };
            MachineStatus { platform_metadata: Some(platform), ..MachineStatus::default() }
        };
        assert!(!installs(&on("container")));
        for platform in ["metal", "nocloud", "aws", ""] {
            assert!(installs(&on(platform)), "{platform}");
        }
        assert!(installs(&MachineStatus::default()), "nothing is known yet");
        let wish = by_path("/dev/sda");
        let choice = nowhere(Some(&wish));
        assert!(is_nowhere(&choice) && choice.selection_hash == selection_hash(Some(&wish)));
        assert!(!is_nowhere(&choose(&[], None, &BySize)), "a machine that lost its disks is no such machine");
    }

    #[test]
    fn the_hash_tells_wishes_apart() {
        let hashes = [
            selection_hash(None),
            selection_hash(Some(&by_path("a"))),
            selection_hash(Some(&by_selector("a"))),
            selection_hash(Some(&by_path("b"))),
        ];
        for (index, hash) in hashes.iter().enumerate() {
            assert_eq!(hash.len(), 64);
            assert!(!hashes.iter().skip(index + 1).any(|other| other == hash));
        }
        assert_eq!(selection_hash(None), selection_hash(Some(&MachineInstallDiskConfig::default())));
    }
}
