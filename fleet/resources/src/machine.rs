//! Machines: what they are, what they say about themselves, and what is to be installed on them.
//!
//! ```text
//! Link ─▶ Machine ─(watches, calls and events through the tunnel)─▶ MachineStatus ──────────┐
//!                                                                └▶ MachineStatusSnapshot ──┴▶ MachineStatusLink
//! ExtensionsConfiguration ─▶ MachineExtensions ─┐
//! KernelArgs ───────────────────────────────────┴▶ SchematicConfiguration ─▶ MachineUpgradeStatus
//! MachineInstallDiskConfig ─▶ MachineInstallDiskStatus
//! ```

mod disk;
mod image;
mod live;
mod status;

use corten_resource::{Enumeration, Resource};

pub use disk::{InstallDiskCandidate, MachineInstallDiskConfig, MachineInstallDiskStatus};
pub use image::{
    ExtensionPhase, ExtensionStatus, ExtensionsConfiguration, GrpcTunnelMode, InstallImage, KernelArgs,
    KernelArgsStatus, MachineConfigGenOptions, MachineExtensions, MachineExtensionsStatus,
    MachineUpgradePhase, MachineUpgradeStatus, MetaValue, Overlay, SchematicConfiguration,
};
pub use live::{
    MachineReadiness, MachineStage, MachineStatusEvent, MachineStatusLink, MachineStatusMetrics,
    MachineStatusSnapshot, PowerStage, SiderolinkCounter, UnmetCondition,
};
pub use status::{
    BlockDevice, Diagnostic, Hardware, MachineRole, MachineStatus, MemoryModule, Network, NetworkLink,
    PlatformMetadata, PowerState, Processor, Schematic, SchematicInitialState, SecurityState,
};

/// A machine that may be used, by its UUID. Made of its link once its provider, if it has one, lets it in.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Machines.omni.sidero.dev", namespace = "default", message)]
pub struct Machine {
    /// Address of the machine in the tunnel, without prefix length; the only one the manager calls.
    #[field(1, "managementaddress")]
    pub management_address: String,
    /// The last WireGuard handshake is recent.
    #[field(2, "connected")]
    pub connected: bool,
    /// Its tunnel runs through gRPC instead of UDP.
    #[field(5, "usegrpctunnel")]
    pub use_grpc_tunnel: bool,
}

/// Labels that a person gave a machine, by its UUID. They stand in the metadata and are copied to its status.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineLabels.omni.sidero.dev", namespace = "default", message)]
pub struct MachineLabels {}

/// Wish to take a machine out of its cluster without asking it, by its UUID.
///
/// The reset is not graceful, and nothing is cleaned up in Kubernetes and etcd. It needs a cluster machine of that id.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "NodeForceDestroyRequests.omni.sidero.dev", namespace = "default", message)]
pub struct NodeForceDestroyRequest {}

/// What a machine in maintenance was configured with last, by its UUID. It is done anew when either field is outdated.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MaintenanceConfigStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct MaintenanceConfigStatus {
    /// WireGuard key of the machine at that time, base64; another one means that it booted since and forgot.
    #[field(1, "publickeyatlastapply")]
    pub public_key_at_last_apply: String,
    /// Hash of the documents that were applied.
    #[field(2, "lastappliedconfighash")]
    pub last_applied_config_hash: String,
}

/// Whether the documents that a new machine brought along were saved as a patch of it, by its UUID. Done once.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineConfigExtractionStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct MachineConfigExtractionStatus {
    /// It is settled; the documents of the machine are not looked at again.
    #[field(1, "initialized")]
    pub initialized: bool,
    /// Why the documents could not be saved; they are refused for the same reasons as a patch.
    #[field(2, "error")]
    pub error: String,
}

/// How urgent a notification is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum NotificationKind {
    /// Good to know.
    #[default]
    #[variant(0, "info")]
    Info,
    /// It becomes a problem if nobody acts.
    #[variant(1, "warning")]
    Warning,
    /// Something does not work.
    #[variant(2, "error")]
    Error,
}

/// Something that everybody who looks at the manager is to see; it disappears when its cause does.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Notifications.omni.sidero.dev", namespace = "ephemeral", message)]
pub struct Notification {
    /// One line.
    #[field(1, "title")]
    pub title: String,
    /// What is the matter and what to do, plain text.
    #[field(2, "body")]
    pub body: String,
    /// How urgent it is.
    #[field(3, "type")]
    pub kind: NotificationKind,
}
