//! Machines of our image that have joined a manager.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Manager;
use crate::machine::{Machine, MachineOptions};

/// Machines that the manager knows.
#[derive(Debug)]
pub struct Members {
    /// The machines.
    pub machines: Vec<Machine>,
    /// Their UUIDs, in the same order.
    pub uuids: Vec<String>,
    /// Version of their system, with `v`.
    pub version: String,
}

impl Members {
    /// Switches machines on and waits until the manager knows what they are made of.
    pub fn join(manager: &Manager, options: &[MachineOptions], deadline: Duration) -> Result<Self> {
        let mut members = Self { machines: Vec::new(), uuids: Vec::new(), version: String::new() };
        for machine in options {
            members.machines.push(machine.start()?);
        }
        for (number, machine) in options.iter().enumerate() {
            let known = manager.until(&format!("{} to join", machine.name), deadline, || {
                members.check()?;
                let uuid = manager.machine_at(machine.address().into())?;
                Ok((manager.known(&uuid)?, uuid))
            });
            let ((status, uuid), _) = known.map_err(|error| error.context(members.evidence()))?;
            if number == 0 {
                let version = status["spec"]["talosversion"].as_str().context("a machine without version")?;
                members.version = version.to_owned();
            }
            members.uuids.push(uuid);
        }
        Ok(members)
    }

    /// Fails if one of them has ended.
    pub fn check(&self) -> Result<()> {
        self.machines.iter().try_for_each(Machine::check)
    }

    /// Logs that tell what happened.
    #[must_use]
    pub fn evidence(&self) -> String {
        self.machines.iter().map(Machine::evidence).collect()
    }

    /// Cuts the power of all of them.
    pub fn cut_power(self) -> Result<()> {
        self.machines.into_iter().try_for_each(Machine::cut_power)
    }

    /// Leaves all of them running.
    pub fn leave(self) -> Result<()> {
        self.machines.into_iter().try_for_each(Machine::leave)
    }
}
