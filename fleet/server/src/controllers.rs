//! All controllers: each domain registers its own, and gets what it needs from here and from no other place.
//!
//! ```text
//! link ──▶ peers of the tunnel
//! machine ─▶ connections ─┬▶ cluster ─▶ Kubernetes ─▶ machine_set
//!    └▶ Events            └▶ configuration
//! ```

use std::net::Ipv6Addr;
use std::sync::Arc;

use anyhow::Context as _;
use corten_base::{Clock, Rng};
use corten_fleet_controllers_cluster::{self as cluster, KubernetesWatches};
use corten_fleet_controllers_configuration::{self as configuration, NoFactory, TalosSelector};
use corten_fleet_controllers_link as link;
use corten_fleet_controllers_machine::connect::Dialer;
use corten_fleet_controllers_machine::{self as machine, Events, MACHINES_MAX, Tokens};
use corten_fleet_controllers_machine_set::{self as machine_set, KubernetesNodes, Services};
use corten_fleet_discovery::Discovery;
use corten_fleet_settings::{JoinTokensMode, Settings};
use corten_fleet_support::Connections;
use corten_fleet_tunnel::Tunnel;
use corten_kubernetes::ApiResource;
use corten_resource::{LabelTerm, Registry, Runtime, Selector, State};

use crate::failure::Failure;

/// What the domains need.
pub struct Needs<'a> {
    /// The configuration.
    pub settings: &'a Settings,
    /// Ways to machines.
    pub tunnel: Tunnel,
    /// The manager's address in the tunnel.
    pub address: Ipv6Addr,
    /// The manager's own discovery service, if it has one.
    pub discovery: Option<Discovery>,
    /// Authorities of servers elsewhere, PEM; empty when this host knows none.
    pub authorities: Vec<u8>,
    /// Judges certificates and waits.
    pub clock: Clock,
    /// Source of keys, ids and jitter.
    pub rng: Rng,
}

/// Ways to machines and clusters, for those who only look.
pub type Ways = Connections<Dialer, Tunnel>;

/// Registers the types by which controllers talk to each other.
pub fn types(registry: &mut Registry) {
    machine::types(registry);
    cluster::types(registry);
    machine_set::types(registry);
    configuration::types(registry);
}

/// All controllers, ready to be started, where events of machines go, and ways to machines and clusters. Must be called
/// inside a Tokio runtime.
///
/// # Errors
/// When TLS cannot be set up on this host, or the controllers do not go together.
pub fn register(state: &State, needs: Needs<'_>) -> Result<(Runtime, Events, Ways), Failure> {
    let Needs { settings, tunnel, address, discovery, authorities, clock, rng } = needs;
    let mut runtime = Runtime::with_rng(state.clone(), clock.clone(), rng.clone());
    link::register(&mut runtime, tunnel.clone());
    let machines = machine::Dependencies {
        dial: Dialer::new(tunnel.clone(), clock.clone())?,
        traffic: tunnel.clone(),
        rng: rng.clone(),
        tokens: tokens(settings.services.siderolink.join_tokens_mode),
        machines_max: MACHINES_MAX,
    };
    let machine::Machines { events, pool } = machine::register(&mut runtime, machines);
    let clusters = cluster::Dependencies {
        pool: Arc::clone(&pool),
        ports: tunnel,
        address,
        load_balancer: settings.services.load_balancer.clone(),
        rng: rng.clone(),
    };
    let clusters = cluster::register(&mut runtime, clusters);
    let ways = Connections {
        state: state.clone(),
        pool: Arc::clone(&pool),
        kubernetes: Arc::clone(&clusters.kubernetes),
    };
    let sets = machine_set::Dependencies {
        pool: Arc::clone(&pool),
        kubernetes: Nodes(clusters.kubernetes),
        affiliates: Services { own: discovery, authorities, clock },
        selectors,
    };
    machine_set::register(&mut runtime, sets);
    // Nothing here talks to an image factory: machines that would need it say so.
    let configurations = configuration::Dependencies {
        pool,
        factory: NoFactory,
        selector: TalosSelector,
        factory_url: settings.registries.primary.url.clone(),
        plain_installer: settings.registries.talos.clone(),
        rng,
    };
    configuration::register(&mut runtime, configurations);
    runtime.check()?;
    Ok((runtime, events, ways))
}

const fn tokens(mode: JoinTokensMode) -> Tokens {
    match mode {
        JoinTokensMode::Strict | JoinTokensMode::LegacyAllowed => Tokens::Given,
        JoinTokensMode::Legacy => Tokens::NotGiven,
    }
}

/// Selectors of machine classes, as the API checks them.
fn selectors(text: &str) -> Result<Vec<LabelTerm>, String> {
    Selector::parse(text).map(|selector| selector.terms()).map_err(|error| error.to_string())
}

/// Nodes of Kubernetes, through the watches of clusters.
struct Nodes(Arc<KubernetesWatches<Tunnel>>);

impl KubernetesNodes for Nodes {
    async fn delete(&self, cluster: &str, node: &str) -> anyhow::Result<()> {
        let client = self.0.client(cluster).context("its Kubernetes does not answer yet")?;
        Ok(client.api(&ApiResource::nodes(), None).delete(node).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_of_a_class_is_read_as_the_api_reads_it() {
        assert_eq!(selectors("rack = a, gpu").map(|terms| terms.len()), Ok(2));
        assert!(selectors("= a").is_err());
    }

    #[test]
    fn machines_get_tokens_unless_join_tokens_alone_count() {
        assert_eq!(tokens(JoinTokensMode::LegacyAllowed), Tokens::Given);
        assert_eq!(tokens(JoinTokensMode::Legacy), Tokens::NotGiven);
    }
}
