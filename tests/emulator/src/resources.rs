//! A machine's resources: facts in, resources out, the same again being no change (fleet.md 4.2).
//!
//! ```text
//! Facts ─┬─▶ hardware     SystemInformation, Processor, MemoryModule, Disk, SystemDisk, volumes
//!        ├─▶ network      links, addresses, routes, host name
//!        ├─▶ runtime      MachineStatus, Version, META, extensions, services, SideroLink
//!        └─▶ membership   cluster, etcd member, node
//! ```
//!
//! Everything is put each time: what is as it was costs a comparison, and nothing is forgotten.

mod extension;
mod hardware;
mod membership;
mod network;
mod runtime;
pub mod services;

use std::sync::Arc;

use corten_resource::{HardwareAddr, Spec as ResourceSpec, State};

use crate::applied::Applied;
use crate::cluster::nodes::Node;
use crate::life::Stage;
use crate::link::place::Place;
use crate::meta::Meta;
use crate::spec::{Spec, System};

pub use extension::{Compatibility, ExtensionMetadata, ExtensionStatus, TalosConstraint};
pub use runtime::{event, status};

/// Owner of all resources.
pub const OWNER: &str = "emulator";

/// What is so with a machine at a moment.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// What it is made of.
    pub spec: &'a Spec,
    /// The UUID that it shows.
    pub uuid: String,
    /// The address of its network card that it shows.
    pub mac: HardwareAddr,
    /// Host name.
    pub hostname: String,
    /// What it is doing.
    pub stage: Stage,
    /// Whether a whole configuration is in effect.
    pub configured: bool,
    /// Whether there is a system on its disk.
    pub installed: bool,
    /// What runs.
    pub booted: System,
    /// META.
    pub meta: Meta,
    /// What the manager gave it to be known by.
    pub unique_token: String,
    /// This boot.
    pub boot_id: String,
    /// Its place in the manager's network.
    pub place: Option<Arc<Place>>,
    /// Its configuration, whole or not.
    pub applied: Option<Arc<Applied>>,
    /// Its member of etcd, if that runs.
    pub member: Option<u64>,
    /// Whether the Kubernetes API of its cluster answers.
    pub kubernetes: bool,
    /// Its node.
    pub node: Option<Node>,
}

impl Facts<'_> {
    /// The configuration, if it is whole.
    #[must_use]
    pub fn complete(&self) -> Option<&Applied> {
        self.applied.as_deref().filter(|applied| applied.complete && self.configured)
    }

    /// Whether it runs, or wants to run, etcd and the Kubernetes API.
    #[must_use]
    pub fn is_control_plane(&self) -> bool {
        self.complete().is_some_and(Applied::is_control_plane)
    }
}

/// Puts everything.
pub fn publish(state: &State, facts: &Facts<'_>) {
    let out = Out(state);
    hardware::put(&out, facts);
    network::put(&out, facts);
    runtime::put(&out, facts);
    membership::put(&out, facts);
}

/// The machine's resources, to write.
struct Out<'a>(&'a State);

impl Out<'_> {
    /// There is a resource.
    fn put<S: ResourceSpec>(&self, id: &str, spec: S) {
        if let Err(error) = self.0.put(OWNER, id, spec) {
            tracing::warn!(id, error = %error, "a resource cannot be put");
        }
    }

    /// There is a resource, or there is none.
    fn when<S: ResourceSpec>(&self, id: &str, spec: Option<S>) {
        match spec {
            Some(spec) => self.put(id, spec),
            None => {
                if let Err(error) = self.0.remove::<S>(OWNER, id) {
                    tracing::warn!(id, error = %error, "a resource cannot be removed");
                }
            }
        }
    }

    /// There are these resources of a type and no others.
    fn only<S: ResourceSpec>(&self, all: Vec<(String, S)>) {
        for known in self.0.list::<S>() {
            if !all.iter().any(|(id, _)| id == known.id()) {
                self.when::<S>(known.id(), None);
            }
        }
        for (id, spec) in all {
            self.put(&id, spec);
        }
    }
}

#[cfg(test)]
mod tests;
