//! Machines that are not there: the node side of Talos towards its manager, thousands in one process.
//!
//! ```text
//! Emulator ─ World: one TUN link in one namespace (network), types by version (schema), clusters (cluster)
//!    │
//!    └─ Machine ×N: life (a value) ◀─ time (drive), calls (api), faults (control)
//!          │  publish ─▶ resources, events, kernel log
//!          └─ of each boot: link      joins, shakes hands, moves on (SideroLink)
//!                           api       [machine]:50000: maintenance, then mTLS with roles
//!                           kube      [machine]:6443 on control planes
//!                           event_sink, log_sender
//! ```
//!
//! For load, for faults, and for trying a manager's pages without hardware. What a manager sees is as the reference of
//! the wire says: `fleet.md` 1 and 9, `node.md` 2 and 3; what no manager asks for answers that it is not emulated.
//!
//! | to | look at |
//! |---|---|
//! | run a fleet by hand | `corten-emulator --help`, then talk JSON to its control socket ([`control`]) |
//! | use machines in a test | [`Emulator`], [`Spec`], [`Faults`] |
//! | change what a machine does over time | [`life`], a value with a property test |
//! | change what a manager reads | `resources`, from one struct of facts |
//! | add a difference between versions | [`profile`] |
//!
//! Invariants:
//! - One process, one current-thread runtime; a machine costs memory for what it has, not for what all have.
//! - Decisions are values ([`life`], etcd, META, places): what a call does is known without a network.
//! - A fault is never the default, and a call that is refused changes nothing.

mod api;
mod applied;
pub mod cluster;
pub mod control;
mod emulator;
mod event_sink;
mod events;
mod faults;
pub mod kernel_args;
mod kernel_log;
mod kube;
pub mod life;
mod link;
mod log_sender;
mod machine;
mod meta;
mod network;
mod options;
pub mod profile;
mod resources;
mod schema;
mod spec;
#[cfg(test)]
mod testing;
mod world;

pub use api::PORT;
pub use applied::Images;
pub use corten_fleet_tunnel::{CHILD, child};
pub use emulator::Emulator;
pub use faults::Faults;
pub use link::place::Place;
pub use machine::Machine;
pub use network::Network;
pub use options::{Options, Timing};
pub use spec::{DiskSpec, Model, Schematic, Spec, System};
pub use world::World;
