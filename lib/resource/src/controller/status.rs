//! What the runtime publishes about each controller.

use crate::{Enumeration, Resource};

/// What a controller is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ControllerState {
    /// Everything is as it should be.
    #[default]
    #[variant(0, "running")]
    Running,
    /// It waits for what somebody else provides.
    #[variant(1, "waiting")]
    Waiting,
    /// It failed and tries again.
    #[variant(2, "failed")]
    Failed,
}

/// State of one controller and its reason; the id is the controller's name. `get controllers` says what waits for what.
///
/// Written by the runtime after each cycle that changes it; read by people. Its type has no `Status` in its name, because
/// the acronym would be that of `ConfigStatuses.kubernetes.talos.dev`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "Controllers.corten.dev",
    namespace = "runtime",
    columns("State" => "{.state}", "Failures" => "{.failures}", "Reason" => "{.reason}")
)]
pub struct ControllerStatus {
    /// What it is doing.
    #[field(1, "state")]
    pub state: ControllerState,
    /// What it waits for, or why it failed.
    #[field(2, "reason", omitempty)]
    pub reason: String,
    /// Failures in a row.
    #[field(3, "failures", omitempty)]
    pub failures: u32,
}
