//! Which cluster this machine is of, and how members find each other.
//!
//!     MachineConfig ──▶ Infos/current, DiscoveryConfigs/cluster

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_config::view::MachineView;
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::cluster::{DiscoveryConfig, Info};
use corten_resources::config::MachineConfig;

use crate::configuration;

/// See the module.
pub struct ClusterInfo;

controller!(ClusterInfo, "cluster.Info", inputs: [weak MachineConfig], outputs: [exclusive Info, exclusive DiscoveryConfig]);

impl Transform for ClusterInfo {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = configuration::complete(view.get(MachineConfig::ACTIVE)) else { return plan };
        let (cluster_id, cluster_name) = (config.cluster.id.clone(), config.cluster.name.clone());
        plan.put(Info::ID, Info { cluster_id, cluster_name });
        plan.put(DiscoveryConfig::ID, discovery(&config));
        plan
    }
}

fn discovery(config: &MachineView) -> DiscoveryConfig {
    let given = &config.cluster.discovery;
    DiscoveryConfig {
        discovery_enabled: given.enabled,
        registry_kubernetes_enabled: given.kubernetes,
        // No client of the discovery service exists on this machine yet, so the truth is that nothing is learned from it.
        registry_service_enabled: false,
        service_endpoint: if given.service { given.endpoint.clone() } else { String::new() },
        service_encryption_key: STANDARD.decode(config.cluster.secret.reveal()).unwrap_or_default(),
        service_cluster_id: config.cluster.id.clone(),
        ..DiscoveryConfig::default()
    }
}
