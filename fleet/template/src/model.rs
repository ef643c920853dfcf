//! A template as plain structs, each value with its place.
//!
//! ```text
//! Template ─┬ Cluster ─────── Manifest, HealthCheck ─┐
//!           ├ MachineSet (control plane, workers) ───┼─ Scope: labels, annotations, Patch, extensions, kernel args
//!           └ Machine ───────────────────────────────┘
//! ```
//!
//! A list that is not given is `None`; an empty one takes away what a wider scope gives.

mod cluster;
mod machine;
mod scope;
mod set;

use std::ops::Deref;

use corten_config::node::Position;

pub use cluster::{Cluster, Features, HealthCheck, Manifest};
pub use machine::{Install, Machine};
pub use scope::{Descriptors, FileText, Patch, Scope, Tags};
pub use set::{Bootstrap, MachineClass, MachineSet, Role, Size, Strategy};

/// A value and where it is in the template.
#[derive(Clone, Debug, Default)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it starts.
    pub at: Position,
}

impl<T> Spanned<T> {
    /// A value with its place.
    pub const fn new(value: T, at: Position) -> Self {
        Self { value, at }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The documents of a template as they were read; any number of each kind.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// Name of the template's file, for messages.
    pub file: String,
    /// Some documents could not be told apart, so that what is missing may be among them.
    pub is_partial: bool,
    /// Documents of kind `Cluster`.
    pub clusters: Vec<Cluster>,
    /// Documents of kind `ControlPlane`.
    pub control_planes: Vec<MachineSet>,
    /// Documents of kind `Workers`.
    pub workers: Vec<MachineSet>,
    /// Documents of kind `Machine`.
    pub machines: Vec<Machine>,
}

impl Documents {
    /// All machine sets, the control plane first.
    pub fn sets(&self) -> impl Iterator<Item = &MachineSet> {
        self.control_planes.iter().chain(&self.workers)
    }
}

/// A template that keeps all rules.
#[derive(Clone, Debug)]
pub struct Template {
    /// The cluster.
    pub cluster: Cluster,
    /// Its control plane.
    pub control_plane: MachineSet,
    /// Its workers, in the order of the template.
    pub workers: Vec<MachineSet>,
    /// What is different on single machines.
    pub machines: Vec<Machine>,
}

impl Template {
    /// Name of the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        self.cluster.name()
    }

    /// All machine sets, the control plane first.
    pub fn sets(&self) -> impl Iterator<Item = &MachineSet> {
        std::iter::once(&self.control_plane).chain(&self.workers)
    }

    /// What is different on a machine, if anything is.
    #[must_use]
    pub fn machine(&self, uuid: &str) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.uuid() == uuid)
    }
}

/// How messages call a document.
pub(crate) fn label(kind: &str, name: Option<&str>) -> String {
    match name {
        Some(name) if !name.is_empty() => format!("{kind}/{name}"),
        _ => kind.to_owned(),
    }
}
