//! How far a machine's life is, and whether it is ready.

use corten_resource::{Enumeration, Record, Resource};

/// Stage of a machine's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum MachineStage {
    /// Not known yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// On the way to running.
    #[variant(1, "booting")]
    Booting,
    /// Being written to a disk.
    #[variant(2, "installing")]
    Installing,
    /// Waiting for a configuration.
    #[variant(3, "maintenance")]
    Maintenance,
    /// Boot has finished.
    #[variant(4, "running")]
    Running,
    /// Going down to come up again.
    #[variant(5, "rebooting")]
    Rebooting,
    /// Going down.
    #[variant(6, "shutting down")]
    ShuttingDown,
    /// Being wiped.
    #[variant(7, "resetting")]
    Resetting,
    /// Being upgraded.
    #[variant(8, "upgrading")]
    Upgrading,
}

/// One reason why a machine is not ready.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct UnmetCondition {
    /// Which check: `time`, `network`, `services`, `staticPods`, `nodeReady`.
    #[field(1, "name")]
    pub name: String,
    /// Why it does not hold.
    #[field(2, "reason")]
    pub reason: String,
}

/// Whether a machine is ready, and why not.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct MachineStatusStatus {
    /// Every check holds.
    #[field(1, "ready")]
    pub ready: bool,
    /// The checks that do not hold.
    #[field(2, "unmetConditions")]
    pub unmet_conditions: Vec<UnmetCondition>,
}

/// Stage and readiness. Singleton `machine`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineStatuses.runtime.talos.dev", namespace = "runtime", columns("Stage" => "{.stage}", "Ready" => "{.status.ready}"))]
pub struct MachineStatus {
    /// Stage.
    #[field(1, "stage")]
    pub stage: MachineStage,
    /// Readiness.
    #[field(2, "status")]
    pub status: MachineStatusStatus,
}
