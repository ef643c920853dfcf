//! The stories.

pub mod brain_kill;
pub mod metal;
pub mod node;
pub mod node_faults;
pub mod power_cut;
pub mod ready;
pub mod up_down;
