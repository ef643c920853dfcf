//! The documents `ControlPlane` and `Workers`.

use corten_config::node::Position;
use corten_fleet_resources::cluster::UpdateStrategy;

use super::{Scope, Spanned, label};

/// What the machines of a set are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// They run the control plane.
    #[default]
    ControlPlane,
    /// They run what people want.
    Workers,
}

/// A machine set. It has machines, or takes them from a class, never both.
#[derive(Clone, Debug, Default)]
pub struct MachineSet {
    /// What its machines are for.
    pub role: Role,
    /// Where it is.
    pub at: Position,
    /// Its name; only workers have one, and it is `workers` when not given.
    pub name: Option<Spanned<String>>,
    /// The backup that a new control plane starts from.
    pub bootstrap: Option<Bootstrap>,
    /// UUIDs of its machines.
    pub machines: Option<Spanned<Vec<Spanned<String>>>>,
    /// From where it takes its machines.
    pub class: Option<MachineClass>,
    /// How changed configurations go to its machines; only for workers.
    pub update_strategy: Option<Strategy>,
    /// How its machines are upgraded.
    pub upgrade_strategy: Option<Strategy>,
    /// How its machines are removed; only for workers.
    pub delete_strategy: Option<Strategy>,
    /// What is said for all its machines.
    pub scope: Scope,
}

impl MachineSet {
    /// Name of a set of workers that gives none.
    pub const WORKERS: &'static str = "workers";
    /// Name that stands for the control plane, which workers cannot have.
    pub const CONTROL_PLANES: &'static str = "control-planes";

    /// Its name, given or usual.
    #[must_use]
    pub fn name(&self) -> &str {
        match (self.role, &self.name) {
            (Role::ControlPlane, _) => Self::CONTROL_PLANES,
            (Role::Workers, Some(name)) => name.as_str(),
            (Role::Workers, None) => Self::WORKERS,
        }
    }

    /// How messages call it.
    #[must_use]
    pub fn label(&self) -> String {
        let kind = match self.role {
            Role::ControlPlane => "ControlPlane",
            Role::Workers => "Workers",
        };
        label(kind, self.name.as_ref().map(|name| name.as_str()))
    }

    /// UUIDs of its machines; none when it takes them from a class.
    pub fn uuids(&self) -> impl Iterator<Item = &Spanned<String>> {
        self.machines.iter().flat_map(|machines| machines.value.iter())
    }
}

/// The backup that a new control plane starts from.
#[derive(Clone, Debug, Default)]
pub struct Bootstrap {
    /// Where it is.
    pub at: Position,
    /// UUID of the cluster that was backed up.
    pub cluster_uuid: String,
    /// Name of the backup.
    pub snapshot: String,
}

/// From where a machine set takes its machines.
#[derive(Clone, Debug, Default)]
pub struct MachineClass {
    /// Where it is.
    pub at: Position,
    /// Name of the class.
    pub name: String,
    /// How many it takes.
    pub size: Size,
}

/// How many machines a set takes from a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As many as this.
    Count(u32),
    /// All that match.
    Unlimited,
}

impl Default for Size {
    fn default() -> Self {
        Self::Count(0)
    }
}

/// In which order machines are treated.
#[derive(Clone, Debug, Default)]
pub struct Strategy {
    /// Where it is.
    pub at: Position,
    /// Which one; what it is when not given depends on what it is for.
    pub kind: Option<UpdateStrategy>,
    /// The most machines at a time, 0 for the usual 1; `None` when nothing is said about it.
    pub max_parallelism: Option<u32>,
}
