//! What the machines of a process share: network, types, clusters, and who is where.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::Ipv6Addr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tonic::service::Routes;

use crate::api;
use crate::cluster::Clusters;
use crate::machine::Machine;
use crate::network::Network;
use crate::options::Options;
use crate::profile::Profile;
use crate::schema::Schemas;

/// What the machines of a process share.
#[derive(Debug)]
pub struct World {
    /// What is the same for all.
    pub options: Options,
    /// Their network.
    pub network: Network,
    /// Types by version.
    pub schemas: Schemas,
    /// The clusters that they form.
    pub clusters: Clusters,
    /// The API of each version. Which machine is asked comes with each call.
    routes: BTreeMap<Profile, Routes>,
    /// Machines by their address in the tunnel.
    directory: Mutex<HashMap<Ipv6Addr, Weak<Machine>>>,
}

impl World {
    /// A world with the network that the options ask for.
    ///
    /// # Errors
    /// When the host does not allow the namespace of the network.
    pub async fn open(options: Options) -> io::Result<Arc<Self>> {
        let network = match &options.program {
            Some(program) => Network::open(program).await?,
            None => Network::without_link(),
        };
        Ok(Self::with(options, network))
    }

    /// A world in which nobody can connect to machines.
    #[must_use]
    pub fn without_network(options: Options) -> Arc<Self> {
        Self::with(options, Network::without_link())
    }

    fn with(options: Options, network: Network) -> Arc<Self> {
        let schemas = Schemas::new();
        let routes = schemas.iter().map(|(profile, schema)| (profile, api::routes(schema))).collect();
        let directory = Mutex::default();
        Arc::new(Self { options, network, schemas, clusters: Clusters::default(), routes, directory })
    }

    /// The API of a version.
    #[must_use]
    pub fn routes(&self, profile: Profile) -> Option<Routes> {
        self.routes.get(&profile).cloned()
    }

    /// Notes where a machine is.
    pub fn enter(&self, address: Ipv6Addr, machine: &Arc<Machine>) {
        let mut directory = self.directory.lock();
        // Before it grows, those who were thrown away make room.
        if directory.len() == directory.capacity() {
            directory.retain(|_, known| known.strong_count() > 0);
        }
        directory.insert(address, Arc::downgrade(machine));
    }

    /// The machine that has an address.
    #[must_use]
    pub fn machine_at(&self, address: Ipv6Addr) -> Option<Arc<Machine>> {
        self.directory.lock().get(&address).and_then(Weak::upgrade)
    }
}
