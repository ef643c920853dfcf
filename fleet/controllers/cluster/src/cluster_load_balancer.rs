//! The port behind which the Kubernetes API of a cluster is.
//!
//! ```text
//! Cluster (held) ─▶ a free port, once ─────────────┐
//! ClusterEndpoint ─▶ each address, port 6443 ──────┴▶ LoadBalancerConfig
//! ```
//!
//! The port stands in the configuration of every machine, so a cluster keeps it for life, also when the range is
//! another one later.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::ops::RangeInclusive;

use corten_fleet_cluster::generate::endpoint;
use corten_fleet_resources::cluster::{Cluster, ClusterDestroyStatus, ClusterEndpoint};
use corten_fleet_resources::kubernetes::LoadBalancerConfig;
use corten_resource::{AnyResource, Concern, ItemDriver, Never, Plan, State, View, controller};

use crate::scope;

/// Port of the Kubernetes API on machines of the control plane.
const API_PORT: u16 = 6443;

/// Gives each cluster a port, and says where its control plane is.
#[derive(Debug)]
pub(crate) struct ClusterLoadBalancerController {
    state: State,
    address: Ipv6Addr,
    ports: RangeInclusive<u16>,
}

impl ClusterLoadBalancerController {
    /// A controller that takes ports of a range on the manager's address in the tunnel; `state` says which are taken.
    pub(crate) const fn new(state: State, address: Ipv6Addr, ports: RangeInclusive<u16>) -> Self {
        Self { state, address, ports }
    }

    fn free_port(&self) -> Option<u16> {
        let configs = self.state.list::<LoadBalancerConfig>();
        let taken = configs.iter().filter_map(|config| config.bind_port.parse::<u16>().ok());
        let taken: BTreeSet<u16> = taken.collect();
        self.ports.clone().find(|port| !taken.contains(port))
    }
}

controller!(ClusterLoadBalancerController, "ClusterLoadBalancerController",
    inputs: [strong Cluster, weak ClusterDestroyStatus, weak ClusterEndpoint, weak LoadBalancerConfig],
    outputs: [exclusive LoadBalancerConfig]);

impl ItemDriver for ClusterLoadBalancerController {
    /// The port of the cluster; `None` when there is none left.
    type Observed = Option<u16>;
    type Op = Never;
    /// One after the other, so that no two clusters find the same port free.
    const PARALLEL: usize = 1;

    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Option<u16>> {
        let config = view.get::<LoadBalancerConfig>(item);
        let kept = config.and_then(|config| config.bind_port.parse::<u16>().ok());
        Ok(kept.or_else(|| self.free_port()))
    }

    fn plan(&self, item: &str, view: &View<Self>, port: &Option<u16>) -> Plan<Self, Never> {
        let mut plan = Plan::new();
        if scope::living(view).is_none() {
            return plan;
        }
        let Some(port) = *port else {
            let (first, last) = (self.ports.start(), self.ports.end());
            return plan.waiting(format!(
                "a free port: all from {first} to {last} are taken; remove a cluster, or widen \
                 services.loadBalancer.minPort and maxPort"
            ));
        };
        let addresses = view.get::<ClusterEndpoint>(item).map(|found| found.management_addresses.as_slice());
        let mut endpoints = Vec::new();
        for address in addresses.unwrap_or_default() {
            match address.parse::<Ipv6Addr>() {
                Ok(address) => endpoints.push(SocketAddrV6::new(address, API_PORT, 0, 0).to_string()),
                Err(_) => {
                    plan.missing(format!("an address of the control plane; {address:?} is none"));
                }
            }
        }
        let siderolink_endpoint = endpoint(self.address, port);
        plan.put(item, LoadBalancerConfig { bind_port: port.to_string(), siderolink_endpoint, endpoints });
        plan
    }

    async fn apply(&self, _: &str, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    fn started() -> TestRuntime {
        TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            let state = runtime.state().clone();
            let address = "fdae::1".parse().expect("an address");
            runtime.register_items(ClusterLoadBalancerController::new(state, address, 10_000..=10_001));
        })
    }

    fn config(runtime: &TestRuntime, cluster: &str) -> Option<LoadBalancerConfig> {
        runtime.state().get::<LoadBalancerConfig>(cluster).map(|config| config.spec)
    }

    fn port(runtime: &TestRuntime, cluster: &str) -> Option<String> {
        config(runtime, cluster).map(|config| config.bind_port)
    }

    #[tokio::test(start_paused = true)]
    async fn each_cluster_has_a_port_of_its_own_and_the_next_one_says_that_there_is_none() {
        let runtime = started();
        for cluster in ["a", "b", "c"] {
            runtime.put(resource(cluster, Cluster::default()));
        }
        runtime.quiet().await;
        let ports = ["a", "b", "c"].map(|cluster| port(&runtime, cluster));
        let taken: BTreeSet<&str> = ports.iter().flatten().map(String::as_str).collect();
        assert_eq!(taken.into_iter().collect::<Vec<_>>(), ["10000", "10001"]);
        let status = runtime.status("ClusterLoadBalancerController/c").expect("it waits");
        assert!(status.reason.contains("all from 10000 to 10001 are taken"), "{}", status.reason);
    }

    #[tokio::test(start_paused = true)]
    async fn the_port_stays_and_the_endpoints_follow() {
        let runtime = started();
        let kept = LoadBalancerConfig { bind_port: "20000".to_owned(), ..LoadBalancerConfig::default() };
        let owner = "ClusterLoadBalancerController";
        runtime.state().put(owner, "a", kept).expect("from an earlier start");
        runtime.put(resource("a", Cluster::default()));
        let management_addresses = vec!["fdae::7".to_owned()];
        runtime.put(resource("a", ClusterEndpoint { management_addresses }));
        runtime.quiet().await;
        let found = config(&runtime, "a").expect("a configuration");
        assert_eq!(found.bind_port, "20000");
        assert_eq!(found.siderolink_endpoint, "https://[fdae::1]:20000");
        assert_eq!(found.endpoints, ["[fdae::7]:6443"]);
    }
}
