//! The life of a machine as a value: what it is doing, what is on its disk, and what calls make of both.
//!
//! ```text
//!          ┌───────── Rebooting, Resetting, Upgrading ◀─────────────┐
//!          ▼                                                        │
//! Off ─▶ Down ─▶ Booting ─┬─ nothing is configured ──▶ Maintenance ─┤
//!  ▲               ▲      └─ the cluster is there ─▶ Running ───────┤
//!  │               │                                                │
//!  │               ├── the first configuration, on a system ◀───────┤
//!  │               └── Rebooting ◀── Installing ◀── the same without┤
//!  └── ShuttingDown ◀───────────────────────────────────────────────┘
//! ```
//!
//! A stage that passes by itself ends with [`Life::elapse`]; calls are decided by [`Life::call`], which changes nothing
//! when it refuses. Time, the network and what configurations say are the business of others.

mod call;

#[cfg(test)]
mod tests;

pub use call::{Answer, Call, Mode, Refusal, Reset, Wipe};

use std::time::Duration;

use serde::Serialize;

use crate::options::Timing;

/// What a machine is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Without power.
    #[default]
    Off,
    /// Between two boots: nothing answers.
    Down,
    /// On the way up; also while the cluster that it belongs to is not there yet.
    Booting,
    /// Waiting for a configuration.
    Maintenance,
    /// Writing the system to its disk.
    Installing,
    /// Up.
    Running,
    /// About to go down and to come up again.
    Rebooting,
    /// About to go down for good.
    ShuttingDown,
    /// Wiping its disk.
    Resetting,
    /// Writing another system to its disk, then rebooting.
    Upgrading,
}

impl Stage {
    /// Whether anything of the machine answers.
    #[must_use]
    pub const fn is_up(self) -> bool {
        !matches!(self, Self::Off | Self::Down)
    }
}

/// What is on the machine's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// A system.
    pub installed: bool,
    /// A whole configuration, on STATE.
    pub configured: bool,
}

/// What the end of a stage asks others to do. The stage itself is to be looked at anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Another boot begins: another boot id, and only what is on the disk.
    Boot,
    /// The system of the configuration is on the disk, and the configuration too.
    Installed,
    /// The system that an upgrade brought is on the disk.
    Upgraded,
    /// The machine leaves its etcd cluster, as it was asked to before it was wiped.
    Leave,
    /// This was wiped.
    Wiped(Wipe),
}

/// The life of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    stage: Stage,
    boots: u64,
    disk: Disk,
    /// A whole configuration is in effect.
    configured: bool,
    /// A call is writing a system to the disk; rebooting is its caller's business.
    writing: bool,
    /// What the stage [`Stage::Resetting`] is to do.
    reset: Reset,
}

impl Life {
    /// A machine that was just switched on; `installed` when there is a system on its disk already.
    #[must_use]
    pub fn new(installed: bool) -> Self {
        let disk = Disk { installed, configured: false };
        Self { stage: Stage::Down, disk, ..Self::default() }
    }

    /// What it is doing.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// How often it has booted.
    #[must_use]
    pub const fn boots(&self) -> u64 {
        self.boots
    }

    /// What is on its disk.
    #[must_use]
    pub const fn disk(&self) -> Disk {
        self.disk
    }

    /// Whether a whole configuration is in effect. Without one, everybody who reaches the machine may read it.
    #[must_use]
    pub const fn is_configured(&self) -> bool {
        self.configured
    }

    /// How long the stage lasts; `None` when it does not end by itself.
    #[must_use]
    pub const fn due(&self, timing: &Timing) -> Option<Duration> {
        match self.stage {
            Stage::Off | Stage::Maintenance | Stage::Running => None,
            Stage::Down => Some(timing.down),
            Stage::Booting => Some(timing.boot),
            Stage::Installing | Stage::Upgrading | Stage::Resetting => Some(timing.write),
            Stage::Rebooting | Stage::ShuttingDown => Some(timing.goodbye),
        }
    }

    /// Ends a stage that passes by itself. `ready` is whether the cluster is there that a configured machine waits for;
    /// without it the machine stays where it is.
    pub fn elapse(&mut self, ready: bool) -> Vec<Effect> {
        match self.stage {
            Stage::Off | Stage::Maintenance | Stage::Running => Vec::new(),
            Stage::Down => {
                self.stage = Stage::Booting;
                self.boots += 1;
                (self.configured, self.writing) = (self.disk.configured, false);
                vec![Effect::Boot]
            }
            Stage::Booting => {
                self.stage = match (self.configured, ready) {
                    (false, _) => Stage::Maintenance,
                    (true, true) => Stage::Running,
                    (true, false) => Stage::Booting,
                };
                Vec::new()
            }
            Stage::Installing => {
                self.disk = Disk { installed: true, configured: true };
                self.stage = Stage::Rebooting;
                vec![Effect::Installed]
            }
            Stage::Upgrading => {
                self.stage = Stage::Rebooting;
                vec![Effect::Upgraded]
            }
            Stage::Rebooting => {
                self.stage = Stage::Down;
                Vec::new()
            }
            Stage::ShuttingDown => {
                self.stage = Stage::Off;
                Vec::new()
            }
            Stage::Resetting => self.wipe(),
        }
    }

    fn wipe(&mut self) -> Vec<Effect> {
        let Reset { graceful, reboot, wipe } = std::mem::take(&mut self.reset);
        if wipe.system_disk {
            self.disk = Disk::default();
        } else if wipe.state {
            self.disk.configured = false;
        }
        self.stage = if reboot { Stage::Down } else { Stage::Off };
        let leave = graceful.then_some(Effect::Leave);
        leave.into_iter().chain([Effect::Wiped(wipe)]).collect()
    }
}
