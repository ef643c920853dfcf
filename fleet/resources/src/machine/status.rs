//! What a machine says about itself: version, hardware, network, platform, image.

use std::collections::BTreeMap;

use corten_resource::{Enumeration, Record, Resource};

/// How the firmware started a machine.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct SecurityState {
    /// Secure Boot is in force.
    #[field(1, "secureboot")]
    pub secure_boot: bool,
    /// A unified kernel image was booted, as it always is with Secure Boot.
    #[field(2, "bootedwithuki")]
    pub booted_with_uki: bool,
}

/// A processor socket.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Processor {
    /// Cores.
    #[field(1, "corecount")]
    pub core_count: u32,
    /// Threads of all cores.
    #[field(2, "threadcount")]
    pub thread_count: u32,
    /// Highest clock, MHz.
    #[field(3, "frequency")]
    pub frequency: u32,
    /// Manufacturer and model.
    #[field(4, "description")]
    pub description: String,
    /// Manufacturer.
    #[field(5, "manufacturer")]
    pub manufacturer: String,
}

/// A memory slot with something in it.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct MemoryModule {
    /// Size, MiB.
    #[field(1, "sizemb")]
    pub size_mb: u32,
    /// Manufacturer and model.
    #[field(2, "description")]
    pub description: String,
}

/// A disk, or another block device that holds data.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct BlockDevice {
    /// Size, bytes.
    #[field(1, "size")]
    pub size: u64,
    /// Model.
    #[field(2, "model")]
    pub model: String,
    /// Path of the device, such as `/dev/sda`.
    #[field(3, "linuxname")]
    pub linux_name: String,
    /// What the device calls itself, as sysfs has it.
    #[field(4, "name")]
    pub name: String,
    /// Serial number.
    #[field(5, "serial")]
    pub serial: String,
    /// UUID of the device itself.
    #[field(7, "uuid")]
    pub uuid: String,
    /// World wide identifier.
    #[field(8, "wwid")]
    pub wwid: String,
    /// `nvme`, `ssd`, `hdd` or `sd`.
    #[field(9, "type")]
    pub kind: String,
    /// Where it is attached, a path in sysfs.
    #[field(10, "buspath")]
    pub bus_path: String,
    /// The operating system is on it.
    #[field(11, "systemdisk")]
    pub system_disk: bool,
    /// It cannot be written.
    #[field(12, "readonly")]
    pub readonly: bool,
    /// `sata`, `nvme`, `usb`, `virtio` and so on.
    #[field(13, "transport")]
    pub transport: String,
    /// Path of the device as the operating system names it; empty for old versions.
    #[field(14, "devpath")]
    pub dev_path: String,
    /// Best size of a request, bytes.
    #[field(15, "iosize")]
    pub io_size: u64,
    /// Size of a sector, bytes.
    #[field(16, "sectorsize")]
    pub sector_size: u64,
    /// What the kernel chooses its driver by.
    #[field(17, "modalias")]
    pub modalias: String,
    /// Subsystem in sysfs.
    #[field(18, "subsystem")]
    pub sub_system: String,
    /// It has spinning platters.
    #[field(19, "rotational")]
    pub rotational: bool,
    /// It is an optical drive.
    #[field(20, "cdrom")]
    pub cdrom: bool,
    /// Size for people, such as `2.0 TB`.
    #[field(21, "prettysize")]
    pub pretty_size: String,
    /// Names of the disks it is composed of.
    #[field(22, "secondarydisks")]
    pub secondary_disks: Vec<String>,
    /// Stable paths that lead to it.
    #[field(23, "symlinks")]
    pub symlinks: Vec<String>,
    /// Version of its firmware.
    #[field(24, "firmwareversion")]
    pub firmware_version: String,
}

/// What a machine is made of.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Hardware {
    /// Its processors.
    #[field(1, "processors")]
    pub processors: Vec<Processor>,
    /// Its memory.
    #[field(2, "memorymodules")]
    pub memory_modules: Vec<MemoryModule>,
    /// Its disks.
    #[field(3, "blockdevices")]
    pub blockdevices: Vec<BlockDevice>,
    /// `amd64` or `arm64`.
    #[field(4, "arch")]
    pub arch: String,
}

/// A network interface that is a piece of hardware.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct NetworkLink {
    /// Name, such as `enp1s0`.
    #[field(1, "linuxname")]
    pub linux_name: String,
    /// MAC address.
    #[field(2, "hardwareaddress")]
    pub hardware_address: String,
    /// Speed, Mbit/s; 0 when it is not known.
    #[field(3, "speedmbps")]
    pub speed_mbps: u32,
    /// A cable is plugged in at both ends.
    #[field(4, "linkup")]
    pub link_up: bool,
    /// Manufacturer and model.
    #[field(5, "description")]
    pub description: String,
}

/// How a machine is connected.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Network {
    /// Host name, without domain.
    #[field(1, "hostname")]
    pub hostname: String,
    /// Domain.
    #[field(2, "domainname")]
    pub domainname: String,
    /// Its addresses with their prefix lengths.
    #[field(3, "addresses")]
    pub addresses: Vec<String>,
    /// Gateways of its default routes.
    #[field(4, "defaultgateways")]
    pub default_gateways: Vec<String>,
    /// Its network interfaces.
    #[field(5, "networklinks")]
    pub network_links: Vec<NetworkLink>,
}

/// What the platform says about a machine; most of it is empty on bare metal.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct PlatformMetadata {
    /// Name, such as `metal` or `aws`.
    #[field(1, "platform")]
    pub platform: String,
    /// Host name that the platform gave it.
    #[field(2, "hostname")]
    pub hostname: String,
    /// Region.
    #[field(3, "region")]
    pub region: String,
    /// Availability zone.
    #[field(4, "zone")]
    pub zone: String,
    /// Size or type of the instance in the platform's words.
    #[field(5, "instancetype")]
    pub instance_type: String,
    /// Id of the instance at the platform.
    #[field(6, "instanceid")]
    pub instance_id: String,
    /// What Kubernetes is to have as provider id of the node.
    #[field(7, "providerid")]
    pub provider_id: String,
    /// The platform may take it away at any time.
    #[field(8, "spot")]
    pub spot: bool,
    /// Tags of the instance; they become labels of the machine once.
    #[field(9, "tags")]
    pub tags: BTreeMap<String, String>,
}

/// What a machine's schematic had when it joined.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct SchematicInitialState {
    /// Names of the extensions.
    #[field(1, "extensions")]
    pub extensions: Vec<String>,
}

/// What the image of a machine was made of.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Schematic {
    /// No factory made it; its extensions and kernel arguments cannot be managed.
    #[field(2, "invalid")]
    pub invalid: bool,
    /// Names of the extensions that are installed.
    #[field(3, "extensions")]
    pub extensions: Vec<String>,
    /// Id of the schematic that it joined with.
    #[field(4, "initialschematic")]
    pub initial_schematic: String,
    /// Kernel arguments of the schematic, those by which it finds the manager included.
    #[field(7, "kernelargs")]
    pub kernel_args: Vec<String>,
    /// Id of the whole schematic at the factory, hex of a SHA-256.
    #[field(9, "fullid")]
    pub full_id: String,
    /// It runs the agent of a bare metal provider, from the network.
    #[field(10, "inagentmode")]
    pub in_agent_mode: bool,
    /// The schematic, YAML, byte for byte as the id is the hash of it.
    #[field(11, "raw")]
    pub raw: String,
    /// What it joined with.
    #[field(12, "initialstate")]
    pub initial_state: Option<SchematicInitialState>,
}

/// Something that a machine finds wrong with itself.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Diagnostic {
    /// Name of the finding.
    #[field(1, "id")]
    pub id: String,
    /// One line.
    #[field(2, "message")]
    pub message: String,
    /// Further lines.
    #[field(3, "details")]
    pub details: Vec<String>,
}

/// What a machine is in its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum MachineRole {
    /// It is in none.
    #[default]
    #[variant(0, "none")]
    None,
    /// It runs the control plane.
    #[variant(1, "control-plane")]
    ControlPlane,
    /// It runs work only.
    #[variant(2, "worker")]
    Worker,
}

/// Whether a machine is on, as its provider sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum PowerState {
    /// Not known.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// No provider manages its power.
    #[variant(1, "unsupported")]
    Unsupported,
    /// It is on.
    #[variant(2, "on")]
    On,
    /// It is off.
    #[variant(3, "off")]
    Off,
}

/// What is known of a machine, by its UUID. The kernel arguments in it carry the join token.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineStatuses.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct MachineStatus {
    /// Version that runs, with `v`.
    #[field(1, "talosversion")]
    pub talos_version: String,
    /// What it is made of.
    #[field(2, "hardware")]
    pub hardware: Option<Hardware>,
    /// How it is connected.
    #[field(3, "network")]
    pub network: Option<Network>,
    /// Why the last look at it failed.
    #[field(4, "lasterror")]
    pub last_error: String,
    /// Address of the machine in the tunnel, without prefix length.
    #[field(5, "managementaddress")]
    pub management_address: String,
    /// The last WireGuard handshake is recent.
    #[field(6, "connected")]
    pub connected: bool,
    /// It has no configuration and can be reached without credentials.
    #[field(7, "maintenance")]
    pub maintenance: bool,
    /// Name of its cluster.
    #[field(9, "cluster")]
    pub cluster: String,
    /// What it is in its cluster.
    #[field(10, "role")]
    pub role: MachineRole,
    /// What its platform says about it.
    #[field(11, "platformmetadata")]
    pub platform_metadata: Option<PlatformMetadata>,
    /// Labels that its installation medium carried.
    #[field(13, "imagelabels")]
    pub image_labels: BTreeMap<String, String>,
    /// What its image was made of; absent while it is not known.
    #[field(14, "schematic")]
    pub schematic: Option<Schematic>,
    /// Version that it joined with, with `v`.
    #[field(16, "initialtalosversion")]
    pub initial_talos_version: String,
    /// What it finds wrong with itself.
    #[field(19, "diagnostics")]
    pub diagnostics: Vec<Diagnostic>,
    /// Whether it is on.
    #[field(20, "powerstate")]
    pub power_state: PowerState,
    /// How its firmware started it; absent while it is not known.
    #[field(21, "securitystate")]
    pub security_state: Option<SecurityState>,
    /// The whole command line of its kernel.
    #[field(22, "kernelcmdline")]
    pub kernel_cmdline: String,
    /// Name of the operating system's edition, as it reports it beside the version.
    #[field(23, "talosversionname")]
    pub talos_version_name: String,
}
