//! How machines, sets and clusters are, from what is observed (fleet.md 4.13).
//!
//! ```text
//! MachineStatusSnapshot, configuration ─machine─▶ ClusterMachineStatus ─┐
//! plan of the set ──────────────────────────────────────────────────────┴set─▶ MachineSetStatus ──┐
//! etcd, tunnels ─control_plane─▶ ControlPlaneStatus ──────────────────────────────────────────────┤
//! load balancer ──────────────────────────────────────────────────────────────────────────────────┴▶ ClusterStatus
//! ```
//!
//! A status is made anew from what is observed each time, never from the status before: nothing stays stuck in a phase
//! that is over.

mod cluster;
mod control_plane;
mod machine;
mod set;

pub use cluster::{ClusterView, cluster, remains};
pub use control_plane::{ControlPlaneMember, control_plane};
pub use machine::{MachineView, machine};
pub use set::{Member, SetView, config_hash, set};
