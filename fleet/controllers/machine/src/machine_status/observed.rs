//! What is known of a connected machine, folded together from what it tells.
//!
//! ```text
//! Event ──fold──▶ Observed ──facts──▶ MachineStatus
//! ```
//!
//! One connection makes one observation, from nothing; it counts once the machine has told all it has. It is kept as
//! long as the machine is connected: 3 to 6 KiB for an ordinary machine, and never more than the bounds below.

use corten_base::Secret;
use corten_fleet_resources::machine::{
    BlockDevice, Diagnostic, MachineStatusEvent, MemoryModule, NetworkLink, PlatformMetadata, Processor,
};
use corten_resources::network::NodeAddress;
use corten_resources::runtime::{FipsState, SecurityState};

use super::convert;
use super::extension::{Extension, extension};
use super::kinds::{Item, Kind};
use super::rows::{ROWS_MAX, Rows, set};
use crate::labels::{IMAGE_LABELS_META_KEY, ImageLabels, image_labels};

/// Bytes that the kept resources of one machine have on the wire.
pub const BYTES_MAX: usize = 1024 * 1024;

/// What a machine tells. Printing it shows no content, since META and the command line hold tokens.
#[derive(Clone, PartialEq)]
pub enum Event {
    /// Which types it has; nothing of the others will come.
    Has(Vec<Kind>),
    /// What it runs, in the words of its version call.
    Runs {
        /// Version, with `v`.
        tag: String,
        /// `amd64` or `arm64`.
        arch: String,
    },
    /// A resource is there, or changed.
    Put {
        /// Its id.
        id: String,
        /// What it says.
        item: Item,
        /// Its bytes on the wire.
        size: usize,
    },
    /// A resource is gone.
    Gone {
        /// Its type.
        kind: Kind,
        /// Its id.
        id: String,
    },
    /// All resources of a type that were there were told.
    Complete(Kind),
    /// The id of its boot.
    BootId(String),
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Has(kinds) => f.debug_tuple("Has").field(kinds).finish(),
            Self::Runs { tag, .. } => f.debug_tuple("Runs").field(tag).finish(),
            Self::Put { id, size, .. } => f.debug_tuple("Put").field(id).field(size).finish(),
            Self::Gone { kind, id } => f.debug_tuple("Gone").field(kind).field(id).finish(),
            Self::Complete(kind) => f.debug_tuple("Complete").field(kind).finish(),
            Self::BootId(id) => f.debug_tuple("BootId").field(id).finish(),
        }
    }
}

/// What is known of a connected machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    has: Option<Vec<Kind>>,
    awaited: Vec<Kind>,
    is_truncated: bool,
    /// Version, with `v`.
    pub tag: Box<str>,
    /// `amd64` or `arm64`.
    pub arch: Box<str>,
    /// Name of the edition.
    pub version_name: Box<str>,
    /// Name without domain.
    pub hostname: Box<str>,
    /// Domain.
    pub domainname: Box<str>,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<String>,
    /// Gateways of default routes.
    pub gateways: Rows<Box<str>>,
    /// Network interfaces.
    pub links: Rows<NetworkLink>,
    /// Processors.
    pub processors: Rows<Processor>,
    /// Memory.
    pub memory: Rows<MemoryModule>,
    /// Disks by their kernel names.
    pub disks: Rows<BlockDevice>,
    /// Kernel name of the system's disk; empty when nothing is installed.
    pub system_disk: Box<str>,
    /// What the platform says.
    pub platform: Option<Box<PlatformMetadata>>,
    /// Labels that the installation medium carried.
    pub image_labels: ImageLabels,
    /// What is in the image.
    pub extensions: Rows<Extension>,
    /// Stage.
    pub stage: Option<MachineStatusEvent>,
    /// Secure Boot is in force, a unified kernel image was booted, cryptography is restricted.
    pub security: Option<(bool, bool, FipsState)>,
    /// What it finds wrong with itself.
    pub diagnostics: Rows<Diagnostic>,
    /// Command line of the kernel, join token and all.
    pub cmdline: Secret<Box<str>>,
    /// UUID of the boot.
    pub boot_id: Box<str>,
}

impl Observed {
    /// Whether the machine has told all that it has.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.has.is_some() && self.awaited.is_empty()
    }

    /// Whether the machine told which types it has.
    #[must_use]
    pub const fn is_listed(&self) -> bool {
        self.has.is_some()
    }

    /// Whether the machine has a type.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.has.as_ref().is_some_and(|has| has.contains(&kind))
    }

    /// Whether the machine told more than is kept.
    #[must_use]
    pub const fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// Whether so many bytes more may be kept.
    fn has_room(&mut self, size: usize) -> bool {
        let rows = [
            self.gateways.bytes(),
            self.links.bytes(),
            self.processors.bytes(),
            self.memory.bytes(),
            self.disks.bytes(),
            self.extensions.bytes(),
            self.diagnostics.bytes(),
        ];
        let has_room = rows.iter().sum::<usize>().saturating_add(size) <= BYTES_MAX;
        self.is_truncated |= !has_room;
        has_room
    }
}

/// Takes in what a machine tells. True when anything is known now that was not, or is known no more.
pub fn fold(observed: &mut Observed, event: Event) -> bool {
    match event {
        Event::Has(kinds) => {
            observed.awaited.clone_from(&kinds);
            set(&mut observed.has, Some(kinds))
        }
        Event::Runs { tag, arch } => {
            let tag = set(&mut observed.tag, tag.into());
            set(&mut observed.arch, arch.into()) || tag
        }
        Event::Complete(kind) => {
            let before = observed.awaited.len();
            observed.awaited.retain(|awaited| *awaited != kind);
            observed.awaited.len() != before
        }
        Event::BootId(id) => set(&mut observed.boot_id, id.into()),
        Event::Gone { kind, id } => gone(observed, kind, &id),
        Event::Put { id, item, size } => observed.has_room(size) && put(observed, &id, item, size),
    }
}

fn put(observed: &mut Observed, id: &str, item: Item, size: usize) -> bool {
    match item {
        Item::Hostname(name) => {
            let hostname = set(&mut observed.hostname, name.hostname.into());
            set(&mut observed.domainname, name.domainname.into()) || hostname
        }
        Item::Addresses(addresses) if id == NodeAddress::CURRENT => {
            let texts = addresses.addresses.iter().take(ROWS_MAX).map(ToString::to_string).collect();
            set(&mut observed.addresses, texts)
        }
        Item::Addresses(_) => false,
        Item::Route(route) => {
            let is_default = route.dst.is_none_or(|dst| dst.prefix_len() == 0);
            let gateway = route.gateway.filter(|_| is_default);
            observed.gateways.update(id, gateway.map(|gateway| gateway.to_string().into()), size)
        }
        Item::Link(link) => observed.links.update(id, convert::link(id, &link), size),
        Item::Processor(processor) => observed.processors.update(id, convert::processor(&processor), size),
        Item::Memory(module) => observed.memory.update(id, convert::memory(&module), size),
        Item::Platform(platform) => set(&mut observed.platform, Some(Box::new(convert::platform(&platform)))),
        Item::Meta(key) => meta(observed, id, &key.value),
        Item::Extension(status) => observed.extensions.update(id, extension(&status), size),
        Item::Stage(status) => set(&mut observed.stage, Some(convert::stage(&status))),
        Item::Version(version) => set(&mut observed.version_name, version.name.into()),
        Item::Security(state) => set(&mut observed.security, Some(security(&state))),
        Item::Diagnostic(found) => observed.diagnostics.put(id, convert::diagnostic(id, &found), size),
        Item::Disk(disk) => observed.disks.update(id, convert::disk(id, &disk), size),
        Item::SystemDisk(disk) => set(&mut observed.system_disk, disk.disk_id.into()),
        Item::Cmdline(cmdline) => set(&mut observed.cmdline, Secret::new(cmdline.cmdline.into())),
        Item::BootId(boot) => set(&mut observed.boot_id, boot.boot_id.into()),
    }
}

fn gone(observed: &mut Observed, kind: Kind, id: &str) -> bool {
    match kind {
        Kind::Hostname => {
            let hostname = set(&mut observed.hostname, Box::default());
            set(&mut observed.domainname, Box::default()) || hostname
        }
        Kind::Addresses => id == NodeAddress::CURRENT && set(&mut observed.addresses, Vec::new()),
        Kind::Route => observed.gateways.remove(id),
        Kind::Link => observed.links.remove(id),
        Kind::Processor => observed.processors.remove(id),
        Kind::Memory => observed.memory.remove(id),
        Kind::Platform => set(&mut observed.platform, None),
        Kind::Meta => meta(observed, id, ""),
        Kind::Extension => observed.extensions.remove(id),
        Kind::Security => set(&mut observed.security, None),
        Kind::Diagnostic => observed.diagnostics.remove(id),
        Kind::Disk => observed.disks.remove(id),
        Kind::SystemDisk => set(&mut observed.system_disk, Box::default()),
        // What these say stays true until the machine says something else.
        Kind::Stage | Kind::Version | Kind::Cmdline | Kind::BootId => false,
    }
}

fn meta(observed: &mut Observed, key: &str, value: &str) -> bool {
    key == IMAGE_LABELS_META_KEY && set(&mut observed.image_labels, image_labels(value))
}

const fn security(state: &SecurityState) -> (bool, bool, FipsState) {
    (state.secure_boot, state.booted_with_uki, state.fips_state)
}

#[cfg(test)]
mod tests {
    use corten_resources::block::{Disk, SystemDisk};
    use corten_resources::network::{HostnameStatus, RouteStatus};
    use corten_resources::runtime::MetaKey;

    use super::super::extension::SchematicText;
    use super::super::kinds::{ExtensionMetadata, ExtensionStatus};
    use super::*;

    fn told(id: &str, item: Item) -> Event {
        Event::Put { id: id.to_owned(), item, size: 100 }
    }

    fn hostname(name: &str) -> Event {
        let spec = HostnameStatus { hostname: name.to_owned(), domainname: String::new() };
        told("hostname", Item::Hostname(Box::new(spec)))
    }

    #[test]
    fn an_observation_is_complete_when_all_that_the_machine_has_was_told() {
        let mut observed = Observed::default();
        assert!(!observed.is_complete(), "what it has is not known");
        fold(&mut observed, Event::Has(vec![Kind::Hostname, Kind::Disk]));
        fold(&mut observed, Event::Complete(Kind::Disk));
        assert!(!observed.is_complete());
        fold(&mut observed, Event::Complete(Kind::Hostname));
        assert!(observed.is_complete());
        assert!(observed.has(Kind::Disk) && !observed.has(Kind::Link));
    }

    #[test]
    fn the_same_told_again_is_no_news() {
        let mut observed = Observed::default();
        assert!(fold(&mut observed, hostname("steel")));
        assert!(!fold(&mut observed, hostname("steel")));
        let disk = || told("sda", Item::Disk(Box::new(Disk { size: 1, ..Disk::default() })));
        assert!(fold(&mut observed, disk()));
        assert!(!fold(&mut observed, disk()));
        let gone = || Event::Gone { kind: Kind::Disk, id: "sda".to_owned() };
        assert!(fold(&mut observed, gone()));
        assert!(!fold(&mut observed, gone()));
    }

    #[test]
    fn only_default_routes_with_a_gateway_count() {
        let mut observed = Observed::default();
        let gateway = Some("10.5.0.1".parse().expect("an address"));
        let default = RouteStatus { gateway, ..RouteStatus::default() };
        let other = RouteStatus { dst: Some("10.9.0.0/16".parse().expect("a network")), ..default.clone() };
        assert!(fold(&mut observed, told("a", Item::Route(Box::new(default)))));
        assert!(!fold(&mut observed, told("b", Item::Route(Box::new(other.clone())))));
        let changed = told("a", Item::Route(Box::new(other)));
        assert!(fold(&mut observed, changed), "it is a default route no more");
        assert_eq!(observed.gateways.values().count(), 0);
    }

    #[test]
    fn of_meta_only_labels_are_kept() {
        let mut observed = Observed::default();
        let key = |id: &str, value: &str| told(id, Item::Meta(Box::new(MetaKey { value: value.to_owned() })));
        assert!(fold(&mut observed, key("0x0c", "machineLabels:\n  rack: r1\n")));
        assert!(!fold(&mut observed, key("0x10", "hunter2")));
        assert_eq!(observed.image_labels.get("rack").map(String::as_str), Some("r1"));
        assert!(!format!("{:?}", key("0x10", "hunter2")).contains("hunter2"));
    }

    #[test]
    fn the_schematic_stands_among_the_extensions() {
        let mut observed = Observed::default();
        let status = |name: &str, version: &str, extra: &str| {
            let metadata =
                ExtensionMetadata { name: name.into(), version: version.into(), extra_info: extra.into() };
            Item::Extension(Box::new(ExtensionStatus { image: String::new(), metadata }))
        };
        let text = "customization:\n    extraKernelArgs:\n        - quiet\n";
        fold(&mut observed, told("0", status("iscsi-tools", "v1", "")));
        fold(&mut observed, told("1", status("schematic", "abc", text)));
        let all: Vec<&Extension> = observed.extensions.values().collect();
        let named = Extension::Named("siderolabs/iscsi-tools".into());
        let schematic = SchematicText {
            id: "abc".into(),
            raw: text.into(),
            extensions: Some(Vec::new()),
            kernel_args: vec!["quiet".into()],
        };
        assert_eq!(all, [&named, &Extension::Schematic(Box::new(schematic))]);
    }

    #[test]
    fn a_machine_that_tells_without_end_is_cut_off() {
        let mut observed = Observed::default();
        let disk = |index: usize, size: usize| Event::Put {
            id: format!("sd{index:04}"),
            item: Item::Disk(Box::new(Disk { size: 1, ..Disk::default() })),
            size,
        };
        for index in 0..=ROWS_MAX {
            fold(&mut observed, disk(index, 1));
        }
        assert_eq!(observed.disks.values().count(), ROWS_MAX);
        assert!(!fold(&mut observed, disk(0, BYTES_MAX)));
        assert!(observed.is_truncated());
        let system = SystemDisk { disk_id: "sda".into(), dev_path: "/dev/sda".into() };
        assert!(fold(&mut observed, told("system-disk", Item::SystemDisk(Box::new(system)))));
    }
}
