//! The status of a machine and its labels, from what it says and from what is around it (fleet.md 3.3, 3.12).
//!
//! ```text
//! Facts, or the status of before ─┐
//! Machine, Reach, membership ─────┼─▶ MachineStatus ─┐
//! provider (power) ───────────────┘                  ├─▶ labels
//! labels of the Machine, of people ──────────────────┘
//! ```

use std::collections::BTreeMap;

use corten_fleet_resources::labels::{self as keys, is_reserved, machine_status as names};
use corten_fleet_resources::machine::{Hardware, Machine, MachineRole, MachineStatus, Network, PowerState};
use corten_fleet_resources::provider::{InfraMachineStatus, InfraPowerState};
use corten_resource::Resource;

use super::facts::{Facts, remember};
use crate::board::Reach;

/// What a status says of a machine that belongs to somebody else.
const FOREIGN: &str = "the machine refuses the manager, since it belongs to a cluster that is unknown here; \
    reset it, or import its cluster";
/// Labels of a membership that the status of the machine has too.
const MEMBERSHIP: [&str; 4] = [keys::CLUSTER, keys::MACHINE_SET, keys::ROLE_CONTROL_PLANE, keys::ROLE_WORKER];
/// Bytes of a gigabyte, as makers of disks count.
const GB: u64 = 1_000_000_000;
/// MiB of a GiB.
const MIB_PER_GIB: u64 = 1024;

/// Labels by their keys.
pub type Labels = BTreeMap<String, String>;

/// What is known of a machine beside its own words.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The machine.
    pub machine: &'a Resource<Machine>,
    /// How it is reached.
    pub reach: &'a Reach,
    /// Labels of its place in a cluster; `None` when it is in none.
    pub membership: Option<&'a Labels>,
    /// Labels that people gave it.
    pub people: Option<&'a Labels>,
    /// What its provider says, if the provider has machines of its own.
    pub provider: Option<&'a InfraMachineStatus>,
    /// Whether it told its stage at least once.
    pub has_events: bool,
}

/// The status of a machine: its own words if it is connected, those of before otherwise.
#[must_use]
pub fn status(facts: Option<&Facts>, last: Option<&MachineStatus>, around: &Around<'_>) -> MachineStatus {
    let mut status = match (facts, last) {
        (Some(facts), _) => facts.status.clone(),
        (None, Some(last)) => last.clone(),
        (None, None) => MachineStatus::default(),
    };
    if facts.is_some() {
        remember(&mut status, last);
    }
    status.management_address.clone_from(&around.machine.management_address);
    status.connected = around.machine.connected;
    let was_in_maintenance = last.is_some_and(|last| last.maintenance);
    let told = std::mem::take(&mut status.last_error);
    let (maintenance, last_error) = match around.reach {
        Reach::Maintenance => (true, told),
        Reach::Member => (false, told),
        Reach::Foreign => (false, FOREIGN.to_owned()),
        Reach::Unreachable(why) => (was_in_maintenance, why.to_string()),
        Reach::Unknown => (was_in_maintenance, String::new()),
    };
    (status.maintenance, status.last_error) = (maintenance, last_error);
    let label = |key: &str| around.membership.and_then(|labels| labels.get(key));
    status.cluster = label(keys::CLUSTER).cloned().unwrap_or_default();
    status.role = if label(keys::ROLE_CONTROL_PLANE).is_some() {
        MachineRole::ControlPlane
    } else if label(keys::ROLE_WORKER).is_some() {
        MachineRole::Worker
    } else {
        MachineRole::None
    };
    status.power_state = match around.provider.map(|provider| provider.power_state) {
        None => PowerState::Unsupported,
        Some(InfraPowerState::Unknown) => PowerState::Unknown,
        Some(InfraPowerState::Off) => PowerState::Off,
        Some(InfraPowerState::On) => PowerState::On,
    };
    status
}

/// The labels of a status. Those of the machine come first; people cannot set those that have a meaning here.
#[must_use]
pub fn labels(status: &MachineStatus, fips: &str, around: &Around<'_>) -> Labels {
    let mut labels = around.machine.metadata.labels.clone();
    let people = around.people.into_iter().flatten().filter(|(key, _)| !is_reserved(key));
    labels.extend(people.map(|(key, value)| (key.clone(), value.clone())));
    for key in MEMBERSHIP {
        if let Some(value) = around.membership.and_then(|membership| membership.get(key)) {
            labels.insert(key.to_owned(), value.clone());
        }
    }
    state_labels(&mut labels, status, around);
    text(&mut labels, names::FIPS, fips);
    text(&mut labels, names::TALOS_VERSION, &status.talos_version);
    if let Some(hardware) = &status.hardware {
        hardware_labels(&mut labels, hardware);
    }
    if let Some(network) = &status.network {
        text(&mut labels, names::NET, &speed(network));
    }
    if let Some(platform) = &status.platform_metadata {
        text(&mut labels, names::PLATFORM, &platform.platform);
        text(&mut labels, names::REGION, &platform.region);
        text(&mut labels, names::ZONE, &platform.zone);
        text(&mut labels, names::INSTANCE, &platform.instance_type);
    }
    labels
}

fn state_labels(labels: &mut Labels, status: &MachineStatus, around: &Around<'_>) {
    let is_foreign = *around.reach == Reach::Foreign;
    let is_off = |provider: &InfraMachineStatus| provider.power_state == InfraPowerState::Off;
    let can_be_switched_on =
        around.provider.is_some_and(|provider| is_off(provider) && provider.ready_to_use);
    let is_enterprise = status.talos_version_name.to_lowercase().contains("enterprise");
    for (key, holds) in [
        (names::CONNECTED, status.connected),
        (names::DISCONNECTED, !status.connected),
        (names::READY_TO_USE, (status.connected && !is_foreign) || can_be_switched_on),
        (names::INVALID_STATE, is_foreign),
        (names::REPORTING_EVENTS, around.has_events),
        (names::AVAILABLE, around.membership.is_none()),
        (names::INSTALLED, is_installed(status)),
        (names::ENTERPRISE, is_enterprise),
        (keys::IS_MANAGED_BY_STATIC_INFRA_PROVIDER, around.provider.is_some()),
    ] {
        if holds {
            labels.insert(key.to_owned(), String::new());
        }
    }
}

/// Whether an operating system is on a disk of the machine.
#[must_use]
pub fn is_installed(status: &MachineStatus) -> bool {
    let mut disks = status.hardware.iter().flat_map(|hardware| &hardware.blockdevices);
    disks.any(|disk| disk.system_disk)
}

fn hardware_labels(labels: &mut Labels, hardware: &Hardware) {
    text(labels, names::ARCH, &hardware.arch);
    let maker = hardware.processors.first().map(|processor| maker(&processor.manufacturer));
    text(labels, names::CPU, &maker.unwrap_or_default());
    let cores: u64 = hardware.processors.iter().map(|processor| u64::from(processor.core_count)).sum();
    text(labels, names::CORES, &number(cores, ""));
    let memory: u64 = hardware.memory_modules.iter().map(|module| u64::from(module.size_mb)).sum();
    let in_gib = memory.saturating_add(MIB_PER_GIB / 2) / MIB_PER_GIB;
    text(labels, names::MEM, &if in_gib > 0 { number(in_gib, "GiB") } else { number(memory, "MiB") });
    let disks = hardware.blockdevices.iter().filter(|disk| !disk.cdrom && !disk.readonly);
    let storage = disks.fold(0_u64, |sum, disk| sum.saturating_add(disk.size));
    text(labels, names::STORAGE, &number(storage.saturating_add(GB / 2) / GB, "GB"));
}

/// Who makes a processor, in a word.
fn maker(manufacturer: &str) -> String {
    let lower = manufacturer.to_lowercase();
    for (sign, word) in [("intel", "intel"), ("amd", "amd"), ("advanced micro devices", "amd")] {
        if lower.contains(sign) {
            return word.to_owned();
        }
    }
    let mut words = lower.split(|c: char| !c.is_ascii_alphanumeric());
    words.find(|word| !word.is_empty()).unwrap_or_default().to_owned()
}

/// Speed of all links with a carrier.
fn speed(network: &Network) -> String {
    let links = network.network_links.iter().filter(|link| link.link_up);
    let megabits: u64 = links.map(|link| u64::from(link.speed_mbps)).sum();
    if megabits >= 1000 { number(megabits / 1000, "Gbps") } else { number(megabits, "Mbps") }
}

/// A number with its unit; nothing for none.
fn number(number: u64, unit: &str) -> String {
    if number > 0 { format!("{number}{unit}") } else { String::new() }
}

/// Sets a label that has something to say.
fn text(labels: &mut Labels, key: &str, value: &str) {
    if !value.is_empty() {
        labels.insert(key.to_owned(), value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::machine::{BlockDevice, MemoryModule, NetworkLink, Processor};

    use super::*;

    fn machine(connected: bool) -> Resource<Machine> {
        let spec = Machine { management_address: "fdae::7".to_owned(), connected, use_grpc_tunnel: false };
        Resource::new("m1", spec)
    }

    fn around<'a>(machine: &'a Resource<Machine>, reach: &'a Reach) -> Around<'a> {
        Around { machine, reach, membership: None, people: None, provider: None, has_events: false }
    }

    fn has(labels: &Labels, key: &str) -> bool {
        labels.contains_key(key)
    }

    #[test]
    fn a_machine_that_went_away_keeps_what_it_said() {
        let last = MachineStatus {
            talos_version: "v1.14.0".to_owned(),
            maintenance: true,
            connected: true,
            ..MachineStatus::default()
        };
        let (machine, reach) = (machine(false), Reach::Unknown);
        let status = status(None, Some(&last), &around(&machine, &reach));
        assert_eq!((status.talos_version.as_str(), status.maintenance), ("v1.14.0", true));
        assert_eq!((status.connected, status.management_address.as_str()), (false, "fdae::7"));
        assert_eq!(status.power_state, PowerState::Unsupported);
    }

    #[test]
    fn a_machine_of_somebody_else_is_in_an_invalid_state_and_not_ready() {
        let (machine, reach) = (machine(true), Reach::Foreign);
        let around = around(&machine, &reach);
        let status = status(None, None, &around);
        let labels = labels(&status, "", &around);
        assert!(has(&labels, names::INVALID_STATE) && has(&labels, names::CONNECTED));
        assert!(!has(&labels, names::READY_TO_USE) && !status.maintenance);
        assert!(status.last_error.contains("reset it"), "{}", status.last_error);
    }

    #[test]
    fn a_machine_that_its_provider_switched_off_is_ready_to_use() {
        let (machine, reach) = (machine(false), Reach::Unknown);
        let off = InfraMachineStatus {
            power_state: InfraPowerState::Off,
            ready_to_use: true,
            ..InfraMachineStatus::default()
        };
        let around = Around { provider: Some(&off), ..around(&machine, &reach) };
        let status = status(None, None, &around);
        let labels = labels(&status, "", &around);
        assert!(has(&labels, names::READY_TO_USE) && has(&labels, names::DISCONNECTED));
        assert_eq!(status.power_state, PowerState::Off);
    }

    #[test]
    fn people_label_machines_but_not_in_the_managers_name_and_members_are_not_available() {
        let (machine, reach) = (machine(true), Reach::Member);
        let map = |entries: &[(&str, &str)]| -> Labels {
            entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let people = map(&[("rack", "7"), (names::AVAILABLE, "")]);
        let membership = map(&[(keys::CLUSTER, "prod"), (keys::ROLE_WORKER, ""), ("other", "x")]);
        let around = Around {
            people: Some(&people),
            membership: Some(&membership),
            has_events: true,
            ..around(&machine, &reach)
        };
        let status = status(None, None, &around);
        let labels = labels(&status, "strict", &around);
        assert_eq!((status.cluster.as_str(), status.role), ("prod", MachineRole::Worker));
        let expected = map(&[
            ("rack", "7"),
            (keys::CLUSTER, "prod"),
            (keys::ROLE_WORKER, ""),
            (names::CONNECTED, ""),
            (names::READY_TO_USE, ""),
            (names::REPORTING_EVENTS, ""),
            (names::FIPS, "strict"),
        ]);
        assert_eq!(labels, expected);
    }

    #[test]
    fn hardware_is_summed_up_with_units_that_selectors_compare() {
        let processor = |manufacturer: &str| Processor {
            core_count: 32,
            manufacturer: manufacturer.to_owned(),
            ..Processor::default()
        };
        let disk = |size, cdrom| BlockDevice { size, cdrom, system_disk: !cdrom, ..BlockDevice::default() };
        let link = |speed_mbps, link_up| NetworkLink { speed_mbps, link_up, ..NetworkLink::default() };
        let status = MachineStatus {
            hardware: Some(Hardware {
                processors: vec![processor("Advanced Micro Devices, Inc."), processor("")],
                memory_modules: vec![MemoryModule { size_mb: 16_384, description: String::new() }; 2],
                blockdevices: vec![disk(512_110_190_592, false), disk(4_700_000_000, true)],
                arch: "amd64".to_owned(),
            }),
            network: Some(Network {
                network_links: vec![link(10_000, true), link(25_000, false)],
                ..Network::default()
            }),
            ..MachineStatus::default()
        };
        let (machine, reach) = (machine(true), Reach::Maintenance);
        let labels = labels(&status, "", &around(&machine, &reach));
        let label = |key: &str| labels.get(key).map(String::as_str).unwrap_or_default();
        assert_eq!((label(names::CPU), label(names::CORES), label(names::ARCH)), ("amd", "64", "amd64"));
        let sums = [label(names::MEM), label(names::STORAGE), label(names::NET)];
        assert_eq!(sums, ["32GiB", "512GB", "10Gbps"]);
        assert!(has(&labels, names::INSTALLED));
        assert_eq!([maker("GenuineIntel"), maker("QEMU, Inc."), maker("")], ["intel", "qemu", ""]);
    }
}
