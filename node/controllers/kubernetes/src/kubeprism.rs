//! KubePrism: where the local load balancer of the Kubernetes API listens and whom it may choose from.
//!
//!     MachineConfig, Members ──▶ KubePrismEndpoints ──▶ KubePrismConfig ──▶ kubeprism.json          status/kubeprism.json ──▶ KubePrismStatus

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use corten_dataplane::files::{self, Endpoint, KubePrism, KubePrismStatus as Status};
use corten_resource::{Driver, Plan, Transform, View, controller};
use corten_resources::cluster::Member;
use corten_resources::config::MachineConfig;
use corten_resources::kubernetes::{KubePrismConfig, KubePrismEndpoint, KubePrismEndpoints, KubePrismStatus};

use crate::{Folder, configuration};

/// Address it listens on.
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Candidates: the cluster's endpoint, the local API server, the control planes that are members.
pub struct PrismEndpoints;

controller!(PrismEndpoints, "k8s.KubePrismEndpoints", inputs: [weak MachineConfig, weak Member], outputs: [exclusive KubePrismEndpoints]);

impl Transform for PrismEndpoints {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = configuration::complete(view.get(MachineConfig::ACTIVE)) else { return plan };
        let mut all = Vec::new();
        if let Some(url) = &config.cluster.endpoint_url {
            all.push(KubePrismEndpoint { host: url.host.clone(), port: url.port_or_default().into() });
        }
        if config.is_control_plane() {
            let port = config.cluster.api_server.port.into();
            all.push(KubePrismEndpoint { host: "localhost".into(), port });
        }
        for member in view.list::<Member>() {
            let Some(port) = member.control_plane.as_ref().and_then(|plane| u32::try_from(plane.port).ok())
            else {
                continue;
            };
            all.extend(
                member.addresses.iter().map(|address| KubePrismEndpoint { host: address.to_string(), port }),
            );
        }
        let mut seen = BTreeSet::new();
        all.retain(|endpoint| seen.insert((endpoint.host.clone(), endpoint.port)));
        plan.put(KubePrismEndpoints::ID, KubePrismEndpoints { endpoints: all });
        plan
    }
}

/// Configuration: nothing while the feature is off.
pub struct PrismConfig;

controller!(PrismConfig, "k8s.KubePrismConfig", inputs: [weak MachineConfig, strong KubePrismEndpoints], outputs: [exclusive KubePrismConfig]);

impl Transform for PrismConfig {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = configuration::complete(view.get(MachineConfig::ACTIVE)) else { return plan };
        let (Some(port), Some(endpoints)) =
            (config.machine.features.kube_prism_port, view.get::<KubePrismEndpoints>(KubePrismEndpoints::ID))
        else {
            return plan;
        };
        plan.put(
            KubePrismConfig::ID,
            KubePrismConfig {
                host: HOST.to_string(),
                port: port.into(),
                endpoints: endpoints.endpoints.clone(),
            },
        );
        plan
    }
}

/// Hands the configuration to the data plane and publishes what it found out.
pub struct PublishKubePrism {
    folder: Folder,
}

impl PublishKubePrism {
    /// A controller over the data plane's folder.
    #[must_use]
    pub fn new(folder: Folder) -> Self {
        Self { folder }
    }
}

controller!(PublishKubePrism, "k8s.KubePrism", inputs: [strong KubePrismConfig], outputs: [exclusive KubePrismStatus]);

/// The file for a configuration; nothing listens without one.
fn document(config: Option<&KubePrismConfig>) -> KubePrism {
    let Some(config) = config else { return KubePrism::default() };
    let listen = config.host.parse().ok().zip(u16::try_from(config.port).ok());
    let endpoint = |endpoint: &KubePrismEndpoint| {
        Some(Endpoint { host: endpoint.host.clone(), port: u16::try_from(endpoint.port).ok()? })
    };
    KubePrism {
        listen: listen.map(|(host, port)| SocketAddr::new(host, port)),
        endpoints: config.endpoints.iter().filter_map(endpoint).collect(),
    }
}

impl Driver for PublishKubePrism {
    type Observed = (Option<KubePrism>, Option<Status>);
    type Op = KubePrism;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Self::Observed> {
        Ok((files::read(&self.folder.0)?, files::read(&self.folder.0)?))
    }

    fn plan(&self, view: &View<Self>, (published, status): &Self::Observed) -> Plan<Self, KubePrism> {
        let mut plan = Plan::new();
        let config = view.get::<KubePrismConfig>(KubePrismConfig::ID);
        let wanted = document(config.map(|config| &config.spec));
        if published.clone().unwrap_or_default() != wanted {
            plan.op(wanted);
        }
        let Some(config) = config else { return plan };
        let healthy = status.as_ref().is_some_and(|status| status.healthy.values().any(|healthy| *healthy));
        plan.put(
            KubePrismStatus::ID,
            KubePrismStatus { host: format!("{}:{}", config.host, config.port), healthy },
        );
        plan.again_in(Duration::from_secs(5))
    }

    async fn apply(&mut self, op: KubePrism) -> anyhow::Result<()> {
        Ok(files::write_atomic(&self.folder.0, &op)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_listens_without_a_configuration() {
        assert_eq!(document(None), KubePrism::default());
        let config = KubePrismConfig {
            host: "127.0.0.1".into(),
            port: 7445,
            endpoints: vec![KubePrismEndpoint { host: "10.5.0.2".into(), port: 6443 }],
        };
        let wanted = document(Some(&config));
        assert_eq!(wanted.listen.map(|listen| listen.to_string()).as_deref(), Some("127.0.0.1:7445"));
        assert_eq!(wanted.endpoints[0].to_string(), "10.5.0.2:6443");
    }
}
