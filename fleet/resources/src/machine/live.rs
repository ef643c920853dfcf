//! What changes often about machines: their stage, their traffic, and how many there are.

use std::collections::BTreeMap;
use std::time::SystemTime;

use corten_resource::{Enumeration, Record, Resource};

use super::MachineStatus;

/// What the operating system of a machine is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum MachineStage {
    /// Not heard of yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// It starts.
    #[variant(1, "booting")]
    Booting,
    /// It writes itself to the disk.
    #[variant(2, "installing")]
    Installing,
    /// It has no configuration and waits for one.
    #[variant(3, "maintenance")]
    Maintenance,
    /// It runs as configured.
    #[variant(4, "running")]
    Running,
    /// It goes down to come back.
    #[variant(5, "rebooting")]
    Rebooting,
    /// It goes down to stay off.
    #[variant(6, "shutting-down")]
    ShuttingDown,
    /// It wipes itself.
    #[variant(7, "resetting")]
    Resetting,
    /// It installs another image.
    #[variant(8, "upgrading")]
    Upgrading,
}

/// Why a machine is not ready.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct UnmetCondition {
    /// Name of the condition, such as `services`.
    #[field(1, "name")]
    pub name: String,
    /// What is missing, plain text.
    #[field(2, "reason")]
    pub reason: String,
}

/// Whether a machine is ready in its stage.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct MachineReadiness {
    /// Nothing is missing.
    #[field(1, "ready")]
    pub ready: bool,
    /// What is missing.
    #[field(2, "unmetconditions")]
    pub unmet_conditions: Vec<UnmetCondition>,
}

/// The event by which a machine tells its stage.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct MachineStatusEvent {
    /// What it is doing.
    #[field(1, "stage")]
    pub stage: MachineStage,
    /// Whether it is ready.
    #[field(2, "status")]
    pub status: Option<MachineReadiness>,
}

/// What a provider does with the power of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum PowerStage {
    /// Nothing; the machine speaks for itself.
    #[default]
    #[variant(0, "none")]
    None,
    /// It is off.
    #[variant(1, "powered-off")]
    PoweredOff,
    /// It was switched on and is not heard of yet.
    #[variant(2, "powering-on")]
    PoweringOn,
}

/// The last word of a machine on its stage, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineStatusSnapshots.omni.sidero.dev", namespace = "default", message)]
pub struct MachineStatusSnapshot {
    /// Its stage.
    #[field(1, "machinestatus")]
    pub machine_status: Option<MachineStatusEvent>,
    /// What its provider does with its power.
    #[field(2, "powerstage")]
    pub power_stage: PowerStage,
    /// UUID that the kernel made when it started; another one proves a reboot.
    #[field(3, "bootid")]
    pub boot_id: String,
}

/// Traffic of a machine's tunnel since the manager started.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct SiderolinkCounter {
    /// Bytes that came from the machine.
    #[field(1, "bytesreceived")]
    pub bytes_received: i64,
    /// Bytes that went to the machine.
    #[field(2, "bytessent")]
    pub bytes_sent: i64,
    /// Its last handshake.
    #[field(3, "lastalive")]
    pub last_alive: Option<SystemTime>,
}

/// Everything that a list of machines shows of one, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineStatusLinks.omni.sidero.dev", namespace = "metrics", sensitive, message)]
pub struct MachineStatusLink {
    /// What it is.
    #[field(1, "messagestatus")]
    pub message_status: Option<MachineStatus>,
    /// Its traffic.
    #[field(2, "siderolinkcounter")]
    pub siderolink_counter: Option<SiderolinkCounter>,
    /// When it joined, seconds since 1970.
    #[field(3, "machinecreatedat")]
    pub machine_created_at: i64,
    /// It is being removed.
    #[field(4, "tearingdown")]
    pub tearing_down: bool,
    /// Its stage.
    #[field(5, "snapshot")]
    pub snapshot: Option<MachineStatusSnapshot>,
}

/// How many machines there are. Singleton `metrics`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineStatusMetrics.omni.sidero.dev", namespace = "ephemeral", message)]
pub struct MachineStatusMetrics {
    /// Those that were let in.
    #[field(1, "registeredmachinescount")]
    pub registered_machines_count: u32,
    /// Those whose last handshake is recent.
    #[field(2, "connectedmachinescount")]
    pub connected_machines_count: u32,
    /// Those in a cluster.
    #[field(3, "allocatedmachinescount")]
    pub allocated_machines_count: u32,
    /// Those of bare metal that a person has yet to accept.
    #[field(4, "pendingmachinescount")]
    pub pending_machines_count: u32,
    /// Machines by platform.
    #[field(6, "platforms")]
    pub platforms: BTreeMap<String, u32>,
    /// Machines by state of Secure Boot.
    #[field(7, "securebootstatus")]
    pub secure_boot_status: BTreeMap<String, u32>,
    /// Machines by whether they booted a unified kernel image.
    #[field(8, "ukistatus")]
    pub uki_status: BTreeMap<String, u32>,
    /// How many may be let in; 0 when there is no limit.
    #[field(9, "registeredmachineslimit")]
    pub registered_machines_limit: u32,
    /// No further one is let in.
    #[field(10, "registrationlimitreached")]
    pub registration_limit_reached: bool,
    /// Those with an image that no factory made.
    #[field(11, "invalidschematicmachinescount")]
    pub invalid_schematic_machines_count: u32,
    /// Those with a version whose support ends soon.
    #[field(12, "approachingtalosversionendofsupportmachinescount")]
    pub approaching_talos_version_end_of_support_machines_count: u32,
    /// Those with a version that is no longer supported.
    #[field(13, "talosversionendofsupportmachinescount")]
    pub talos_version_end_of_support_machines_count: u32,
    /// Processor cores of all of them.
    #[field(14, "corescount")]
    pub cores_count: u64,
}

impl MachineStatusMetrics {
    /// Id of the only one.
    pub const ID: &'static str = "metrics";
}
