//! The stories.

pub mod brain_kill;
pub mod fleet_cli;
pub mod fleet_cluster;
pub mod fleet_faults;
pub mod media;
pub mod metal;
pub mod node;
pub mod node_faults;
pub mod power_cut;
pub mod ready;
pub mod siderolink;
pub mod up_down;
