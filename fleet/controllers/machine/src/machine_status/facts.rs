//! What a machine says about itself, as its status has it.

use corten_fleet_resources::machine::{
    Hardware, MachineStatus, Network, Schematic, SchematicInitialState, SecurityState,
};
use corten_resources::runtime::FipsState;

use super::extension::{Extension, SchematicText};
use super::observed::Observed;

/// What a status says of a machine that tells more than is kept.
const TRUNCATED: &str = "the machine tells more about itself than the manager keeps; the rest is not shown";

/// What a connected machine says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The parts of its status that are its own words; the others are as they are by default.
    pub status: MachineStatus,
    /// Whether its cryptography is restricted: `enabled`, `strict`, or empty.
    pub fips: &'static str,
    /// Kernel arguments of its image; `None` when its schematic cannot be read.
    pub kernel_args: Option<Vec<String>>,
}

/// What a connected machine says.
#[must_use]
pub fn facts(observed: &Observed) -> Facts {
    let schematic = text(observed);
    let (secure_boot, booted_with_uki, fips) = observed.security.unwrap_or_default();
    let status = MachineStatus {
        talos_version: observed.tag.to_string(),
        talos_version_name: observed.version_name.to_string(),
        hardware: Some(hardware(observed)),
        network: Some(network(observed)),
        last_error: if observed.is_truncated() { TRUNCATED.to_owned() } else { String::new() },
        platform_metadata: observed.platform.as_deref().cloned(),
        image_labels: observed.image_labels.clone(),
        schematic: observed.is_listed().then(|| self::schematic(observed, schematic)),
        diagnostics: observed.diagnostics.values().cloned().collect(),
        security_state: observed.security.is_some().then_some(SecurityState { secure_boot, booted_with_uki }),
        kernel_cmdline: observed.cmdline.reveal().to_string(),
        ..MachineStatus::default()
    };
    let is_read = schematic.is_some_and(|schematic| schematic.extensions.is_some());
    Facts {
        status,
        fips: match fips {
            FipsState::Disabled => "",
            FipsState::Enabled => "enabled",
            FipsState::Strict => "strict",
        },
        kernel_args: schematic.filter(|_| is_read).map(|schematic| schematic.kernel_args.clone()),
    }
}

fn hardware(observed: &Observed) -> Hardware {
    let disks = observed.disks.iter().map(|(name, disk)| {
        let mut disk = disk.clone();
        disk.system_disk = !name.is_empty() && name == observed.system_disk.as_ref();
        disk
    });
    Hardware {
        processors: observed.processors.values().cloned().collect(),
        memory_modules: observed.memory.values().cloned().collect(),
        blockdevices: disks.collect(),
        arch: observed.arch.to_string(),
    }
}

fn network(observed: &Observed) -> Network {
    let mut gateways: Vec<String> = observed.gateways.values().map(ToString::to_string).collect();
    gateways.sort_unstable();
    gateways.dedup();
    Network {
        hostname: observed.hostname.to_string(),
        domainname: observed.domainname.to_string(),
        addresses: observed.addresses.clone(),
        default_gateways: gateways,
        network_links: observed.links.values().cloned().collect(),
    }
}

fn text(observed: &Observed) -> Option<&SchematicText> {
    observed.extensions.values().find_map(|extension| match extension {
        Extension::Schematic(schematic) => Some(schematic.as_ref()),
        Extension::Named(_) | Extension::Agent => None,
    })
}

/// The schematic of the image. An image without one was not made by a factory.
fn schematic(observed: &Observed, text: Option<&SchematicText>) -> Schematic {
    let named = || {
        let names = observed.extensions.values().filter_map(|extension| match extension {
            Extension::Named(name) => Some(name.to_string()),
            Extension::Schematic(_) | Extension::Agent => None,
        });
        names.collect::<Vec<_>>()
    };
    let in_agent_mode = observed.extensions.values().any(|extension| *extension == Extension::Agent);
    let Some(text) = text else {
        return Schematic { invalid: true, extensions: named(), in_agent_mode, ..Schematic::default() };
    };
    Schematic {
        invalid: false,
        extensions: text.extensions.clone().unwrap_or_else(named),
        initial_schematic: String::new(),
        kernel_args: text.kernel_args.clone(),
        full_id: text.id.clone(),
        in_agent_mode,
        raw: text.raw.clone(),
        initial_state: None,
    }
}

/// Fills in what the machine joined with: that of its earlier status, or what it has now. An agent is not what a
/// machine joined with.
pub fn remember(status: &mut MachineStatus, last: Option<&MachineStatus>) {
    let earlier = last.map(|last| last.initial_talos_version.clone()).filter(|version| !version.is_empty());
    let last = last.and_then(|last| last.schematic.as_ref()).filter(|last| last.initial_state.is_some());
    let is_agent = status.schematic.as_ref().is_some_and(|schematic| schematic.in_agent_mode);
    let version = if is_agent { String::new() } else { status.talos_version.clone() };
    status.initial_talos_version = earlier.unwrap_or(version);
    let Some(schematic) = status.schematic.as_mut() else { return };
    match last {
        Some(last) => {
            schematic.initial_schematic.clone_from(&last.initial_schematic);
            schematic.initial_state.clone_from(&last.initial_state);
        }
        None if !is_agent => {
            schematic.initial_schematic.clone_from(&schematic.full_id);
            let extensions = schematic.extensions.clone();
            schematic.initial_state = Some(SchematicInitialState { extensions });
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use corten_resources::block::{Disk, SystemDisk};

    use super::super::kinds::{ExtensionMetadata, ExtensionStatus, Item, Kind};
    use super::super::observed::{Event, fold};
    use super::*;

    fn put(id: &str, item: Item) -> Event {
        Event::Put { id: id.to_owned(), item, size: 1 }
    }

    fn extension(id: &str, name: &str, version: &str, extra_info: &str) -> Event {
        let (name, version, extra_info) = (name.to_owned(), version.to_owned(), extra_info.to_owned());
        let metadata = ExtensionMetadata { name, version, extra_info };
        put(id, Item::Extension(Box::new(ExtensionStatus { image: String::new(), metadata })))
    }

    fn observed(events: impl IntoIterator<Item = Event>) -> Observed {
        let mut observed = Observed::default();
        for event in events {
            fold(&mut observed, event);
        }
        observed
    }

    #[test]
    fn the_disk_with_the_system_is_marked() {
        let disk = |name: &str| put(name, Item::Disk(Box::new(Disk { size: 1, ..Disk::default() })));
        let system = SystemDisk { disk_id: "sdb".into(), dev_path: "/dev/sdb".into() };
        let events = [disk("sda"), disk("sdb"), put("system-disk", Item::SystemDisk(Box::new(system)))];
        let hardware = facts(&observed(events)).status.hardware.expect("hardware");
        let marks: Vec<bool> = hardware.blockdevices.iter().map(|disk| disk.system_disk).collect();
        assert_eq!(marks, [false, true]);
    }

    #[test]
    fn an_image_without_schematic_was_not_made_by_a_factory() {
        let has = || Event::Has(vec![Kind::Extension]);
        let plain = facts(&observed([has(), extension("0", "iscsi-tools", "v1", "")]));
        let schematic = plain.status.schematic.expect("known");
        assert!(schematic.invalid && plain.kernel_args.is_none());
        assert_eq!(schematic.extensions, ["siderolabs/iscsi-tools"]);
        let made = facts(&observed([has(), extension("0", "schematic", "abc", "customization: {}\n")]));
        assert!(!made.status.schematic.expect("known").invalid);
        assert_eq!(made.kernel_args, Some(Vec::new()));
        let without_type = facts(&observed([Event::Has(Vec::new())]));
        assert!(without_type.status.schematic.expect("known").invalid, "as machines of ours");
        assert!(facts(&Observed::default()).status.schematic.is_none(), "nothing is known yet");
    }

    fn status(version: &str, id: &str, in_agent_mode: bool) -> MachineStatus {
        let schematic = Schematic { full_id: id.to_owned(), in_agent_mode, ..Schematic::default() };
        MachineStatus {
            talos_version: version.to_owned(),
            schematic: Some(schematic),
            ..MachineStatus::default()
        }
    }

    #[test]
    fn what_a_machine_joined_with_stays_and_an_agent_is_not_it() {
        let mut agent = status("v1.13.7", "agent", true);
        remember(&mut agent, None);
        assert_eq!(agent.initial_talos_version, "");
        let mut first = status("v1.14.0", "one", false);
        remember(&mut first, Some(&agent));
        let mut second = status("v1.14.1", "two", false);
        remember(&mut second, Some(&first));
        assert_eq!(second.initial_talos_version, "v1.14.0");
        assert_eq!(second.schematic.expect("a schematic").initial_schematic, "one");
    }
}
