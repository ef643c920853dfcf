//! The manager's connections to machines, and what it learns of them.
//!
//! ```text
//! PendingMachine ─▶ pending_machine_status ─(UUID, token)─▶ the machine calls again ─▶ Link ─▶ Machine
//!
//! Machine ─▶ machine_join_config ─▶ MachineJoinConfig ─┐
//!         └▶ machine_status ◀──────────────────────────┘
//!                │ watches, one for each connected machine          event sink
//!                ▼                                                     │
//!            ┌───────┐◀────────────────────────────────────────────────┘
//!            │ board │─▶ MachineStatus ─┬▶ node_unique_token_status ─▶ NodeUniqueTokenStatus, PendingMachine
//!            └───────┘                  ├▶ maintenance_config ─▶ MaintenanceConfigStatus
//!                └▶ MachineStatusSnapshot ┴▶ machine_status_link (traffic) ─▶ MachineStatusLink
//!
//! Link, Machine torn down ─▶ cleanup: cluster first, then the machine, then what was kept of it
//! ```
//!
//! - [`connect`] makes connections and judges by them what a machine is; `pool` keeps them.
//! - [`calls`] are the short calls; the long ones are the watches of `machine_status`.
//! - `labels` makes once what people change later; [`view`] is what other domains read and write alike.
//!
//! Invariants: a machine is called only through its tunnel; everything that is kept of a machine has a bound; a machine
//! that is not connected costs no task and no connection.

mod board;
pub mod calls;
mod cleanup;
pub mod connect;
mod labels;
mod machine_join_config;
mod machine_status;
mod machine_status_link;
mod machine_status_snapshot;
mod maintenance_config;
mod node_unique_token_status;
mod pending_machine_status;
mod pool;
mod version;
pub mod view;

use std::sync::Arc;

use corten_base::Rng;
use corten_resource::Runtime;

pub use board::{BoardFull, Events, MachineObservation, types};
pub use machine_join_config::{Tunnel, join_config};
pub use machine_status::{Kind, MACHINES_MAX, is_installed};
pub use machine_status_link::Traffic;
pub use node_unique_token_status::Tokens;
pub use pool::{Pool, Target};

use board::Board;
use cleanup::{LinkCleanupController, MachineCleanupController};
use connect::Dial;
use machine_join_config::MachineJoinConfigController;
use machine_status::{MachineStatusController, Network, Watches};
use machine_status_link::MachineStatusLinkController;
use machine_status_snapshot::MachineStatusSnapshotController;
use maintenance_config::MaintenanceConfigStatusController;
use node_unique_token_status::NodeUniqueTokenStatusController;
use pending_machine_status::{Calls, PendingMachineStatusController};

/// What the controllers of this domain need.
#[derive(Debug)]
pub struct Dependencies<D, T> {
    /// Calls machines.
    pub dial: D,
    /// Counts their traffic.
    pub traffic: T,
    /// Source of tokens and UUIDs, and of the jitter of pauses.
    pub rng: Rng,
    /// Whether machines are given tokens.
    pub tokens: Tokens,
    /// Machines that are watched at most; [`MACHINES_MAX`] unless somebody says otherwise.
    pub machines_max: usize,
}

/// What the rest of the manager needs of this domain.
#[derive(Debug)]
pub struct Machines<D> {
    /// Where the event sink leaves what machines send.
    pub events: Events,
    /// Connections to machines.
    pub pool: Arc<Pool<D>>,
}

/// Registers the controllers of this domain. The state of the runtime must know the types of [`types`]. Must be called
/// inside a Tokio runtime.
pub fn register<D: Dial, T: Traffic>(runtime: &mut Runtime, dependencies: Dependencies<D, T>) -> Machines<D> {
    let Dependencies { dial, traffic, rng, tokens, machines_max } = dependencies;
    let state = runtime.state().clone();
    let pool = Arc::new(Pool::new(dial));
    let board = Arc::new(Board::new(state.clone()));
    let network = Network::new(Arc::clone(&pool), state.clone());
    let watches = Watches::new(network, Arc::clone(&board), rng.clone(), machines_max);
    let calls = Calls::new(Arc::clone(&pool), state.clone());
    runtime.register_items(PendingMachineStatusController::new(calls, rng));
    runtime.register_item_transform(MachineJoinConfigController);
    runtime.register_items(MachineStatusController::new(watches, state.clone()));
    runtime.register_items(MachineStatusSnapshotController::new(Arc::clone(&board)));
    runtime.register_items(MachineStatusLinkController::new(traffic));
    runtime.register_item_transform(NodeUniqueTokenStatusController::new(tokens));
    runtime.register_items(MaintenanceConfigStatusController::new(Arc::clone(&pool)));
    runtime.register_items(MachineCleanupController::new(state.clone()));
    runtime.register_items(LinkCleanupController::new(state));
    Machines { events: Events::new(board), pool }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::time::Duration;

    use corten_fleet_resources::link::{JoinTokenUsage, Link, SiderolinkApiConfig, SiderolinkConfig};
    use corten_fleet_resources::machine::{Machine, MachineStatus, MachineStatusLink};
    use corten_resource::testing::{TestRuntime, resource};
    use corten_wireguard::{PeerStatus, PublicKey};

    use super::*;
    use crate::connect::{Connection, DialError, MemberAccess, Stream};

    /// Nobody answers, and nothing flows.
    struct Silence;

    impl Dial for Silence {
        async fn maintenance(&self, address: Ipv6Addr) -> Result<Connection, DialError> {
            Err(DialError::Silent { address })
        }
        async fn member(&self, address: Ipv6Addr, _: &MemberAccess) -> Result<Connection, DialError> {
            Err(DialError::Silent { address })
        }
        async fn stream(&self, address: Ipv6Addr, _: Option<&MemberAccess>) -> Result<Stream, DialError> {
            Err(DialError::Silent { address })
        }
    }

    impl Traffic for Silence {
        fn of(&self, _: &PublicKey) -> Option<PeerStatus> {
            None
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_controllers_go_together_and_a_machine_that_does_not_answer_says_so_in_its_status() {
        let mut registry = corten_fleet_resources::registry();
        types(&mut registry);
        let runtime = TestRuntime::new(registry, |runtime| {
            let dependencies = Dependencies {
                dial: Silence,
                traffic: Silence,
                rng: Rng::seeded(1),
                tokens: Tokens::Given,
                machines_max: MACHINES_MAX,
            };
            register(runtime, dependencies);
        });
        runtime.put(resource(SiderolinkConfig::ID, SiderolinkApiConfig::default()));
        runtime.put(resource("m1", JoinTokenUsage { token_id: "abc".to_owned() }));
        runtime.put(resource("m1", Link { node_subnet: "fdae::7/64".to_owned(), ..Link::default() }));
        let management_address = "fdae::7".to_owned();
        let machine = Machine { management_address, connected: true, use_grpc_tunnel: false };
        runtime.put(resource("m1", machine));
        runtime.quiet().await;
        runtime.advance(Duration::from_secs(1)).await;
        let status = runtime.state().get::<MachineStatus>("m1").expect("a status");
        assert!(status.last_error.contains("machine fdae::7 did not answer"), "{}", status.last_error);
        let shown = runtime.state().get::<MachineStatusLink>("m1").expect("shown");
        assert_eq!(shown.message_status.as_ref(), Some(&status.spec));
    }
}
