//! How the machine joins its manager, and what it sends there.
//!
//! ```text
//! configuration, kernel's arguments ──▶ config ──▶ SiderolinkConfig ──▶ join ──Provision──▶ manager
//!                     META ──▶ unique_token ──▶ UniqueMachineToken ──▶    │
//!                                                                         ├──▶ LinkSpec, AddressSpec (network domain)
//!   kernel's WireGuard, or engine over UDP or gRPC ◀── machine_links ◀────┘
//!                           ╰──▶ status ──▶ SiderolinkStatus
//! configuration, kernel's arguments ──▶ destinations ──▶ EventSinkConfig ──▶ events ──gRPC──▶ manager
//!                                                   ╰──▶ KmsgLogConfig ──▶ kernel_log ──JSON lines──▶ manager
//! ```
//! Invariants: the private key is never on a disk; only the manager's own address is let through the link;
//! decisions about the connection are in `session`, which is pure.

mod address;
mod answer;
mod api;
mod config;
mod destinations;
mod events;
#[cfg(test)]
mod fake;
mod join;
mod kernel_log;
mod link;
mod log_line;
mod machine_links;
mod relay;
mod session;
mod status;
mod told;
mod unique_token;
mod url;
mod userspace;

use corten_base::{Capabilities, Clock, Rng};
use corten_resource::Runtime;

use self::machine_links::MachineLinks;

pub use events::{Event, EventLog};

/// What the controllers of this domain need from the program that runs them.
#[derive(Clone, Debug)]
pub struct Dependencies<E> {
    /// What this machine lets us do.
    pub capabilities: Capabilities,
    /// The kernel's arguments are meant for this machine, and not for its host.
    pub own_arguments: bool,
    /// The machine's events.
    pub events: E,
    /// Wall clock.
    pub clock: Clock,
    /// Randomness, from which keys are made.
    pub rng: Rng,
}

/// Registers all controllers of the domain. A machine of a host has no kernel log of its own.
pub fn register<E: EventLog>(runtime: &mut Runtime, dependencies: Dependencies<E>) {
    let Dependencies { capabilities, own_arguments, events, clock, rng } = dependencies;
    let links = MachineLinks::new(clock.clone());
    runtime
        .register_transform(config::JoinConfig { own_arguments })
        .register_transform(destinations::DestinationConfig { own_arguments })
        .register_transform(unique_token::UniqueToken)
        .register(join::Join::new(api::GrpcApi, links.clone(), rng.clone()))
        .register(status::Status::new(links))
        .register(events::EventSink::new(events, rng.clone()));
    if capabilities.power {
        runtime.register(kernel_log::KernelLog::new(clock, rng));
    }
}
