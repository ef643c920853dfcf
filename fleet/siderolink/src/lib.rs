//! The services that machines reach: to join, to carry their packets, to unseal their disks, to tell what happens to
//! them.
//!
//! ```text
//! machine API (public)   ProvisionService ───────────▶ PendingMachine, Link, NodeUniqueToken, JoinTokenUsage
//!                        WireGuardOverGRPCService ───▶ tunnel
//!                        KMSService ◀──────────────── ClusterMachineEncryptionKey
//! tunnel :8090 events    EventSinkService ───────────▶ Snapshots
//!        :8092 logs      lines of JSON ──────────────▶ LogSink
//!        :8093 discovery Cluster (corten-fleet-discovery)
//!        :50001 trustd   SecurityService ◀─────────── ClusterMachineSecrets, ClusterSecrets
//! tunnel ──liveness──▶ Link, PendingMachine
//! ```
//!
//! Invariants:
//! - In the tunnel the address of a caller is who it is; outside of it nothing but tokens is.
//! - A machine is answered when what was decided is kept, never before.
//! - Everything has a bound, and what one machine sends holds back that machine alone.
//! - Answers and logs contain no token and no key.

mod carrier;
mod connections;
mod events;
mod kms;
mod listeners;
mod liveness;
mod locks;
mod logs;
mod pending;
mod places;
mod provision;
mod senders;
mod trustd;

use std::convert::Infallible;
use std::sync::Arc;

use corten_base::{Clock, Rng, Task, spawn};
use corten_fleet_link::{AddressPlan, Policy, Server};
use corten_fleet_tunnel::Tunnel;
use corten_resource::State;
use tonic::service::Routes;

pub use corten_base::Rate;
pub use events::{News, NoRoom, Report, Reports, Sequence, SequenceAction, Snapshots, channel};
pub use kms::KmsBinding;
pub use listeners::{Outlets, Ports};
pub use logs::LogSink;

use carrier::Carriers;
use kms::Kms;
use listeners::supervise;
use liveness::Liveness;
use pending::Refreshed;
use provision::Provision;
use senders::Senders;

/// Owner of what is written here: nobody, so that people can remove links.
const OWNER: &str = "";

/// Values that the configuration of the manager gives.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The manager's end of the tunnel, as machines are told it.
    pub server: Server,
    /// Networks of the tunnel.
    pub addresses: AddressPlan,
    /// Which machines are let in.
    pub policy: Policy,
    /// Most machines that may join, `account.maxRegisteredMachines`; `None` without a limit.
    pub machines_max: Option<u32>,
    /// For whom a call for the key of a disk counts that comes through the tunnel.
    pub kms_binding: KmsBinding,
    /// Bytes of logs that a machine may send, `logs.machine.ingestionRate…`; `None` without a limit.
    pub log_rate: Option<Rate>,
    /// Ports in the tunnel.
    pub ports: Ports,
}

/// The services, with what they stand on. Clones are the same.
#[derive(Clone, Debug)]
pub struct Services {
    state: State,
    tunnel: Tunnel,
    clock: Clock,
    rng: Rng,
    settings: Arc<Settings>,
    senders: Senders,
    refreshed: Refreshed,
}

impl Services {
    /// Services that nobody can reach yet.
    #[must_use]
    pub fn new(state: State, tunnel: Tunnel, clock: Clock, rng: Rng, settings: Settings) -> Self {
        let senders = Senders::new(state.clone());
        let (settings, refreshed) = (Arc::new(settings), Refreshed::default());
        Self { state, tunnel, clock, rng, settings, senders, refreshed }
    }

    /// The services on the public machine API: joining, carrying packets, keys of disks. To be made once.
    ///
    /// The listener must leave a [`TcpConnectInfo`](tonic::transport::server::TcpConnectInfo) with the address of the
    /// machine in the extensions of every call, and bounds connections and their streams.
    #[must_use]
    pub fn machine_api(&self) -> Routes {
        let provision = Provision::new(
            self.state.clone(),
            self.tunnel.clone(),
            self.clock.clone(),
            self.rng.clone(),
            Arc::clone(&self.settings),
            self.refreshed.clone(),
        );
        let kms = Kms::new(
            self.state.clone(),
            self.rng.clone(),
            self.senders.clone(),
            self.settings.addresses.machines(),
            self.settings.kms_binding,
        );
        let mut routes = Routes::builder();
        routes
            .add_service(provision.into_service())
            .add_service(Carriers::new(self.tunnel.clone()).into_service())
            .add_service(kms.into_service());
        routes.routes()
    }

    /// Listens in the tunnel, looks who is alive and collects who does not call; for ever, and once at a time.
    pub async fn run(self, outlets: Outlets) {
        let mut tasks: Vec<Task<Infallible>> = listeners::start(&self, &outlets);
        let (state, refreshed) = (self.state.clone(), self.refreshed.clone());
        let collect = move || pending::run(state.clone(), refreshed.clone());
        tasks.push(spawn("pending machines", supervise("pending machines", self.rng.clone(), collect)));
        let (state, tunnel) = (self.state.clone(), self.tunnel.clone());
        let look = move || Liveness::new(state.clone(), tunnel.clone()).run();
        tasks.push(spawn("liveness of machines", supervise("liveness of machines", self.rng.clone(), look)));
        for task in tasks {
            // None ends before the program does; dropped here, they all end.
            task.join().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings of a manager with one endpoint.
    pub(crate) fn settings() -> Settings {
        let addresses = AddressPlan::default();
        let server = Server {
            endpoints: vec!["192.0.2.9:50180".to_owned()],
            public_key: "key-of-the-manager".to_owned(),
            address: addresses.server(),
        };
        Settings {
            server,
            addresses,
            policy: Policy::default(),
            machines_max: None,
            kms_binding: KmsBinding::default(),
            log_rate: None,
            ports: Ports::default(),
        }
    }

    #[test]
    fn machines_find_the_ports_that_they_know() {
        let Ports { events, logs, trustd, discovery } = settings().ports;
        assert_eq!((events, logs, trustd, discovery), (8090, 8092, 50_001, 8093));
    }
}
