//! The machine's configuration as resources.

use corten_resource::{Enumeration, Resource};

/// Machine configuration, byte for byte as it was given.
///
/// Written by the configuration service; id `v1alpha1` is the active one, `persistent` the one on disk when
/// they differ. Read by every controller that derives something from configuration, and by `talosctl get mc`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "MachineConfigs.config.talos.dev",
    namespace = "config",
    aliases("mc", "machineconfig"),
    sensitive,
    yaml_string
)]
pub struct MachineConfig {
    /// All documents, as one YAML stream.
    #[field(1, "yaml_marshalled")]
    pub yaml: Vec<u8>,
}

impl MachineConfig {
    /// Id of the configuration in effect.
    pub const ACTIVE: &'static str = "v1alpha1";
    /// Id of the configuration on disk while another one is in effect.
    pub const PERSISTENT: &'static str = "persistent";
}

/// Role of a machine in its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum Role {
    /// Not configured yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// Legacy name of a control plane that bootstraps itself.
    #[variant(1, "init")]
    Init,
    /// Runs the control plane.
    #[variant(2, "controlplane")]
    ControlPlane,
    /// Runs workloads only.
    #[variant(3, "worker")]
    Worker,
}

impl Role {
    /// Whether etcd and the control plane run here.
    #[must_use]
    pub const fn is_control_plane(self) -> bool {
        matches!(self, Self::ControlPlane | Self::Init)
    }
}

/// The machine's role, from its configuration. Singleton `machine-type`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineTypes.config.talos.dev", namespace = "config", scalar, columns("Type" => "{@}"))]
pub struct MachineType {
    /// The role.
    #[field(1, "machineType")]
    pub role: Role,
}

impl MachineType {
    /// Id of the only one.
    pub const ID: &'static str = "machine-type";
}
