//! The load balancer in front of the Kubernetes API of each cluster, and whether it has somebody to lead to.
//!
//! ```text
//! LoadBalancerConfig (held) ────┐
//! ClusterStatus (connected) ────┼─▶ Balancers: open, follow, close ─▶ LoadBalancerStatus
//!                               │        └─ health changed ─ClusterObservation─┐
//!                               └──────────────────────────────────────────────┘
//! ```
//!
//! It is open while a machine of the control plane is connected. The port is one on the manager's address in the
//! tunnel: only machines reach it, and the API server asks each caller for a certificate.
//!
//! - `backends`: whom to lead to; `balancers`: the ports, the connections and the checks

mod backends;
mod balancers;

use std::net::SocketAddrV6;

use corten_fleet_resources::cluster::ClusterStatus;
use corten_fleet_resources::kubernetes::{LoadBalancerConfig, LoadBalancerStatus};
use corten_resource::{AnyResource, Concern, ItemDriver, Plan, View, controller};

pub use balancers::{Balancers, Balancing, Ports, Running};

use crate::bell::ClusterObservation;
use crate::scope;

/// What a load balancer waits for that leads to nobody.
const SILENT: &str = "a machine of its control plane whose Kubernetes API answers; each is tried every few \
                      seconds, and it answers once etcd runs, of which the ClusterBootstrapStatus tells";

/// Keeps load balancers as they are wanted.
#[derive(Debug)]
pub(crate) struct LoadBalancerController<B> {
    balancing: B,
}

impl<B: Balancing> LoadBalancerController<B> {
    /// A controller of load balancers.
    pub(crate) const fn new(balancing: B) -> Self {
        Self { balancing }
    }
}

controller!(impl<B: Balancing> LoadBalancerController<B>, "LoadBalancerController",
    inputs: [strong LoadBalancerConfig, weak ClusterStatus, weak ClusterObservation],
    outputs: [exclusive LoadBalancerStatus]);

/// What is done for a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// It is opened: port, and whom it leads to.
    Open(u16, Vec<SocketAddrV6>),
    /// It leads to these.
    Follow(Vec<SocketAddrV6>),
    /// It is closed.
    Close,
}

impl<B: Balancing> ItemDriver for LoadBalancerController<B> {
    type Observed = Option<Running>;
    type Op = Op;

    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    async fn observe(&self, item: &str, _: &View<Self>) -> anyhow::Result<Option<Running>> {
        Ok(self.balancing.running(item))
    }

    fn plan(&self, item: &str, view: &View<Self>, running: &Option<Running>) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let Some(config) = view.get::<LoadBalancerConfig>(item) else {
            if running.is_some() {
                plan.op(Op::Close);
            }
            return plan;
        };
        let (port, backends) = match wanted(config) {
            Ok(wanted) => wanted,
            Err(why) => return plan.failed(why),
        };
        let cluster = view.get::<ClusterStatus>(item);
        let is_wanted = cluster.is_some_and(|status| status.has_connected_control_planes);
        let healthy = running.as_ref().is_some_and(|running| running.is_healthy);
        plan.put(item, LoadBalancerStatus { healthy, stopped: running.is_none() });
        let op = match running {
            None if is_wanted => Op::Open(port, backends),
            None => return plan.waiting("a connected machine in its control plane; its port opens then"),
            Some(_) if !is_wanted => Op::Close,
            Some(running) if running.port != port => Op::Open(port, backends),
            Some(running) if running.backends != backends => Op::Follow(backends),
            Some(running) if running.is_healthy => return plan,
            Some(_) => return plan.waiting(SILENT),
        };
        plan.op(op);
        plan
    }

    async fn apply(&self, item: &str, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Open(port, backends) => self.balancing.open(item, port, &backends).await?,
            Op::Follow(backends) => self.balancing.follow(item, &backends),
            Op::Close => self.balancing.close(item).await,
        }
        Ok(())
    }
}

/// Port and backends that a configuration asks for.
fn wanted(config: &LoadBalancerConfig) -> Result<(u16, Vec<SocketAddrV6>), String> {
    let wrong =
        |text: &str| format!("{text:?} in its LoadBalancerConfig is wrong; delete that to have it made anew");
    let port = config.bind_port.parse::<u16>().map_err(|_| wrong(&config.bind_port))?;
    let backends = config.endpoints.iter().map(|text| text.parse::<SocketAddrV6>().map_err(|_| wrong(text)));
    Ok((port, backends.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corten_resource::testing::{TestRuntime, resource};
    use parking_lot::Mutex;

    use super::*;
    use crate::testing::registry;

    /// One load balancer, and what was done to it.
    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<(Option<Running>, Vec<String>)>>);

    impl Balancing for Fake {
        fn running(&self, _: &str) -> Option<Running> {
            self.0.lock().0.clone()
        }
        async fn open(&self, _: &str, port: u16, backends: &[SocketAddrV6]) -> anyhow::Result<()> {
            let mut fake = self.0.lock();
            fake.0 = Some(Running { port, backends: backends.to_vec(), is_healthy: true });
            fake.1.push(format!("open {port}"));
            Ok(())
        }
        fn follow(&self, _: &str, backends: &[SocketAddrV6]) {
            let mut fake = self.0.lock();
            if let Some(running) = &mut fake.0 {
                running.backends = backends.to_vec();
            }
            fake.1.push(format!("follow {}", backends.len()));
        }
        async fn close(&self, _: &str) {
            let mut fake = self.0.lock();
            fake.0 = None;
            fake.1.push("close".to_owned());
        }
    }

    impl Fake {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().1)
        }
    }

    fn config(endpoints: &[&str]) -> AnyResource {
        let endpoints = endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect();
        let bind_port = "10000".to_owned();
        resource("prod", LoadBalancerConfig { bind_port, endpoints, ..LoadBalancerConfig::default() })
    }

    fn status(has_connected_control_planes: bool) -> AnyResource {
        resource("prod", ClusterStatus { has_connected_control_planes, ..ClusterStatus::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_is_open_while_a_control_plane_is_connected_and_follows_it() {
        let fake = Fake::default();
        let runtime = TestRuntime::new(registry(), |runtime| {
            runtime.register_items(LoadBalancerController::new(fake.clone()));
        });
        let found = || runtime.state().get::<LoadBalancerStatus>("prod").map(|status| status.spec);
        runtime.put(config(&["[fdae::7]:6443"]));
        runtime.quiet().await;
        assert_eq!(found(), Some(LoadBalancerStatus { healthy: false, stopped: true }));
        runtime.put(status(true));
        runtime.quiet().await;
        assert_eq!(found(), Some(LoadBalancerStatus { healthy: true, stopped: false }));
        runtime.put(config(&["[fdae::7]:6443", "[fdae::8]:6443"]));
        runtime.quiet().await;
        assert_eq!(fake.take(), ["open 10000", "follow 2"]);
        runtime.put(status(false));
        runtime.quiet().await;
        assert_eq!(found(), Some(LoadBalancerStatus { healthy: false, stopped: true }));
        runtime.put(status(true));
        runtime.quiet().await;
        runtime.state().remove::<LoadBalancerConfig>("", "prod").expect("torn down");
        runtime.quiet().await;
        assert_eq!(fake.take(), ["close", "open 10000", "close"]);
        assert_eq!(found(), None);
    }

    #[test]
    fn what_is_no_address_is_named() {
        let config = LoadBalancerConfig {
            bind_port: "10000".to_owned(),
            endpoints: vec!["nowhere".to_owned()],
            ..LoadBalancerConfig::default()
        };
        let error = wanted(&config).expect_err("no address");
        assert!(error.starts_with("\"nowhere\" in its LoadBalancerConfig is wrong"), "{error}");
    }
}
