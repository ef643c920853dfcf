//! What the manager decides about clusters: secrets, configurations, machines, and how both come and go.
//!
//! ```text
//! secrets ─────────────┐
//! patches ─────────────┼─generate─▶ configuration of a machine ─apply─▶ skip, image, configuration, verify, done
//! disk, image, version ┘
//!
//! class ─allocate─▶ MachineSetNode ─scale (quorum)─▶ ClusterMachine ─bootstrap─▶ etcd
//!                                                          └─teardown─▶ reset, maintenance, or let go
//! what is observed ─status─▶ ClusterMachineStatus ─▶ MachineSetStatus ─▶ ClusterStatus
//! ```
//!
//! Everything here is a function from data to data: no store, no socket, no clock. Controllers call it. What cannot be
//! done now comes with a sentence that says why and what would change that.

pub mod allocate;
pub mod apply;
pub mod bootstrap;
pub mod contract;
pub mod disk;
pub mod generate;
pub mod patches;
pub mod quorum;
mod role;
pub mod scale;
pub mod secrets;
pub mod status;
pub mod teardown;
#[cfg(test)]
mod testing;
mod version;

pub use contract::{Contract, Preserved, audience};
pub use generate::{Generated, GenerationError, Inputs, configuration};
pub use role::{Labels, Role};
pub use version::{InvalidVersion, TalosVersion};
