//! Which cluster this machine is of, and how members find each other.
//!
//!     MachineConfig ──▶ Infos/current, DiscoveryConfigs/cluster

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_config::values;
use corten_config::view::MachineView;
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::cluster::{DiscoveryConfig, Info, ServiceEndpoint};
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
    let services: Vec<ServiceEndpoint> =
        given.services.iter().map(|(name, url)| service(name, url)).collect();
    let first = services.first().cloned().unwrap_or_default();
    DiscoveryConfig {
        discovery_enabled: given.enabled,
        registry_kubernetes_enabled: given.kubernetes,
        registry_service_enabled: !services.is_empty(),
        service_endpoint: first.endpoint,
        service_endpoint_insecure: first.insecure,
        service_encryption_key: STANDARD.decode(config.cluster.secret.reveal()).unwrap_or_default(),
        service_cluster_id: config.cluster.id.clone(),
        service_endpoints: services,
    }
}

/// A discovery service by its URL; without a scheme it has TLS. What is no URL stays, for whoever is to follow it to
/// tell.
fn service(name: &str, url: &str) -> ServiceEndpoint {
    let has_scheme = url.contains("://");
    let parsed = if has_scheme { values::url(url) } else { values::url(&format!("https://{url}")) };
    let endpoint = parsed.as_ref().map(|url| {
        let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
        format!("{host}:{}", url.port_or_default())
    });
    ServiceEndpoint {
        name: name.to_owned(),
        endpoint: endpoint.unwrap_or_else(|| url.to_owned()),
        insecure: parsed.is_some_and(|url| url.scheme == "http"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_hosts_with_ports_and_http_alone_has_no_tls() {
        let read = |url: &str| {
            let service = service("default", url);
            (service.endpoint, service.insecure)
        };
        for (url, endpoint, insecure) in [
            ("https://discovery.talos.dev/", "discovery.talos.dev:443", false),
            ("https://discovery.test:8443", "discovery.test:8443", false),
            ("discovery.test", "discovery.test:443", false),
            ("http://[fdae:41e4:649b:9303::1]:8093", "[fdae:41e4:649b:9303::1]:8093", true),
            ("https://", "https://", false),
        ] {
            assert_eq!(read(url), (endpoint.to_owned(), insecure));
        }
    }
}
