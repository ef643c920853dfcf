//! From a machine that called to a machine that the manager knows.
//!
//! ```text
//! JoinToken, JoinTokenUsage ──▶ join_token_status ──▶ JoinTokenStatus
//! Link, PendingMachine ──▶ peers ──▶ WireGuard ──▶ LinkStatus
//! Link ──▶ machine ──▶ Machine
//! ```
//!
//! Links and pending machines are written by whoever answers the machines' calls.

mod join_token_status;
mod machine;
mod peers;

use corten_resource::Runtime;

pub use join_token_status::JoinTokenStatusController;
pub use machine::MachineController;
pub use peers::{LinkStatusController, Peers};

/// Registers the controllers of this domain; `peers` is the tunnel.
pub fn register<P: Peers + 'static>(runtime: &mut Runtime, peers: P) {
    runtime.register_item_transform(JoinTokenStatusController);
    runtime.register_item_transform(MachineController);
    runtime.register_items(LinkStatusController::new(peers));
}
