//! The machine API: doors to what the rest of machined knows and does.
//!
//!     machine.sock ──▶ authorize (local.rs, role table) ──▶ one file per group of methods ──▶ Parts

pub mod dmesg;
pub mod etcd;
pub mod events;
pub mod files;
pub mod health;
pub mod images;
pub mod inspect;
pub mod kubernetes;
pub mod local;
pub mod machine;
pub mod power;
pub mod proc;
pub mod processes;
pub mod recover;
pub mod serve;
pub mod services;
pub mod storage;
pub mod stream;
pub mod system;
pub mod time;
pub mod unimplemented;
pub mod workloads;

use corten_base::{Clock, Platform, Rng};
use corten_resource::State;
use corten_resources::config::MachineConfig;

use crate::configuration::Configuration;
use crate::events::Events;
use crate::sequencer::Sequencer;
use crate::services::Services;

/// What the methods work with.
#[derive(Clone)]
pub struct Parts {
    /// Every resource.
    pub state: State,
    /// Keeper of the machine configuration.
    pub configuration: Configuration,
    /// Service manager.
    pub services: Services,
    /// Sequencer.
    pub sequencer: Sequencer,
    /// Event log.
    pub events: Events,
    /// Edges of the controller graph.
    pub graph: std::sync::Arc<[corten_resource::Edge]>,
    /// What kind of machine this is.
    pub platform: Platform,
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub rng: Rng,
}

/// Whether the machine waits for its configuration.
#[derive(Clone)]
pub struct Mode(State);

impl Mode {
    /// The mode that follows from the resources.
    #[must_use]
    pub const fn new(state: State) -> Self {
        Self(state)
    }

    /// No v1alpha1 document has been applied.
    #[must_use]
    pub fn is_maintenance(&self) -> bool {
        self.0.get::<MachineConfig>(MachineConfig::ACTIVE).is_none()
    }
}
