//! The machine API: doors to what the rest of machined knows and does.
//!
//!     machine.sock ──▶ authorize (local.rs, role table) ──▶ one file per group of methods ──▶ Parts

pub mod capture;
pub mod debug;
pub mod dmesg;
pub mod etcd;
pub mod etcd_downgrade;
pub mod events;
pub mod files;
pub mod health;
pub mod images;
pub mod inspect;
pub mod kubernetes;
pub mod lifecycle;
pub mod local;
pub mod machine;
pub mod meter;
pub mod netstat;
pub mod power;
pub mod proc;
pub mod processes;
pub mod recover;
pub mod reset;
pub mod serve;
pub mod services;
pub mod status;
pub mod storage;
pub mod storage_pools;
pub mod storage_wipe;
pub mod stream;
pub mod system;
pub mod time;
pub mod unimplemented;
pub mod workloads;

use corten_api::Envelope;
use corten_base::{Clock, Lane, Platform, Rng};
use corten_resource::State;
use corten_resources::config::MachineConfig;
use tonic::Response;

use crate::configuration::Configuration;
use crate::events::Events;
use crate::evidence::Evidence;
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
    /// What is left of a boot.
    pub evidence: Evidence,
    /// Containers for debugging.
    pub debug: debug::Debug,
    /// Who starts programs.
    pub init: corten_supervisor::Client,
    /// Edges of the controller graph.
    pub graph: std::sync::Arc<[corten_resource::Edge]>,
    /// What kind of machine this is.
    pub platform: Platform,
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub rng: Rng,
    /// Threads for what clients ask of the kernel.
    pub lanes: Lanes,
}

#[cfg(test)]
mod roles;

#[cfg(test)]
impl Parts {
    /// The parts of a machine on which nothing runs.
    fn for_tests() -> Self {
        use corten_base::paths;

        use crate::configuration::generations::Generations;
        use crate::services::Backends;
        use crate::services::backend::{container::Containers, process::Processes};

        let (state, clock, rng) = (State::new(corten_resources::registry()), Clock::system(), Rng::seeded(1));
        let platform = Platform::Container;
        let events = Events::new(clock.clone(), &rng);
        let (init, init_events, _) = corten_supervisor::Client::new(paths::INIT_SOCKET);
        let backends = Backends::new(
            Processes::new(init.clone(), init_events),
            Containers::new(Clock::system()).expect("containers"),
        );
        let generations = Generations::below("/nonexistent".as_ref());
        let services = Services::new(state.clone(), events.clone(), backends, clock.clone(), rng.clone());
        Self {
            configuration: Configuration::new(state.clone(), generations, platform),
            debug: debug::Debug::new(
                state.clone(),
                services.clone(),
                events.clone(),
                clock.clone(),
                rng.clone(),
            ),
            services,
            sequencer: crate::sequencer::channel().0,
            init,
            graph: [].into(),
            evidence: Evidence::new(state.clone(), clock.clone(), false),
            lanes: Lanes::default(),
            state,
            events,
            platform,
            clock,
            rng,
        }
    }
}

/// Threads that clients may occupy, by what for; all others of the pool are the machine's own.
#[derive(Clone)]
pub struct Lanes {
    /// Contents and listings of files.
    pub files: Lane,
    /// Facts of the kernel; a file system that does not answer must not keep anybody from files of another.
    pub facts: Lane,
    /// Disks that are wiped, for hours if they are large.
    pub disks: Lane,
}

impl Lanes {
    /// Threads of all lanes together.
    pub const WIDTH: usize = Self::FILES + Self::FACTS + Self::DISKS;
    const FILES: usize = 4;
    const FACTS: usize = 2;
    const DISKS: usize = 2;
}

impl Default for Lanes {
    fn default() -> Self {
        Self { files: Lane::new(Self::FILES), facts: Lane::new(Self::FACTS), disks: Lane::new(Self::DISKS) }
    }
}

/// The reply of one machine: its message in the envelope of the method's response.
fn one<R: Envelope>(message: R::Message) -> Response<R> {
    Response::new(R::from(message))
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
        let config = self.0.get::<MachineConfig>(MachineConfig::ACTIVE);
        !config.is_some_and(|config| corten_config::is_complete(&config.spec.yaml))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_about_a_manager_do_not_end_maintenance() {
        let state = State::new(corten_resources::registry());
        let mode = Mode::new(state.clone());
        assert!(mode.is_maintenance());
        let partial = "{apiVersion: v1alpha1, kind: EventSinkConfig, endpoint: 'h:1'}";
        for (yaml, is_maintenance) in [(partial, true), ("version: v1alpha1\n", false)] {
            let config = MachineConfig { yaml: yaml.as_bytes().to_vec() };
            state.put("", MachineConfig::ACTIVE, config).expect("put");
            assert_eq!(mode.is_maintenance(), is_maintenance, "{yaml}");
        }
    }
}
