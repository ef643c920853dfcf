//! What the machine configuration asks of the kubelet, as resources.
//!
//!     MachineConfig, StaticPodServerStatus ──▶ KubeletConfigs, NodeIPConfigs

use corten_config::view::{ExtraMount, MachineView};
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::kubernetes::{KubeletConfig, Mount, NodeIpConfig, StaticPodServerStatus};
use ipnet::IpNet;

use crate::configuration;
use crate::subnets::Filter;

/// See the module.
pub struct KubeletIntent;

controller!(KubeletIntent, "k8s.KubeletConfig",
    inputs: [weak MachineConfig, strong StaticPodServerStatus],
    outputs: [exclusive KubeletConfig, exclusive NodeIpConfig]);

impl Transform for KubeletIntent {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = configuration::complete(view.get(MachineConfig::ACTIVE)) else { return plan };
        plan.put(NodeIpConfig::ID, node_ip(&config));
        let Some(server) = view.get::<StaticPodServerStatus>(StaticPodServerStatus::ID) else {
            return plan.waiting("the server of static pods");
        };
        plan.put(KubeletConfig::ID, kubelet(&config, &server.url));
        plan
    }
}

fn kubelet(config: &MachineView, url: &str) -> KubeletConfig {
    let given = &config.machine.kubelet;
    let dns = if given.cluster_dns.is_empty() {
        config.cluster.network.dns_service_ips()
    } else {
        given.cluster_dns.clone()
    };
    KubeletConfig {
        image: given.image.clone(),
        cluster_dns: dns.iter().map(ToString::to_string).collect(),
        cluster_domain: config.cluster.network.dns_domain.clone(),
        extra_args: configuration::arguments(&given.extra_args),
        extra_mounts: given.extra_mounts.iter().map(mount).collect(),
        extra_config: given.extra_config.clone(),
        cloud_provider_external: config.cluster.external_cloud_provider,
        default_runtime_seccomp_enabled: given.default_runtime_seccomp_profile,
        skip_node_registration: given.skip_node_registration,
        static_pod_list_url: url.to_owned(),
        disable_manifests_directory: given.disable_manifests_directory,
        enable_fs_quota_monitoring: config.machine.features.disk_quota,
        credential_provider_config: given.credential_provider_config.clone(),
        register_with_taints: crate::node::taints(config),
    }
}

fn mount(given: &ExtraMount) -> Mount {
    Mount {
        destination: given.destination.clone(),
        kind: given.kind.clone(),
        source: given.source.clone(),
        options: given.options.clone(),
        ..Mount::default()
    }
}

fn node_ip(config: &MachineView) -> NodeIpConfig {
    let (valid, mut exclude) = Filter::split(&config.machine.kubelet.node_ip_valid_subnets);
    // Pods and services have addresses on this machine too, and control planes share some; they never name the node.
    let network = &config.cluster.network;
    exclude.extend(network.pod_subnets.iter().chain(&network.service_subnets).map(ToString::to_string));
    exclude.extend(config.machine.network.shared_addresses().map(|ip| IpNet::from(ip).to_string()));
    NodeIpConfig { valid_subnets: valid, exclude_subnets: exclude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_shared_never_name_the_node() {
        let yaml = "version: v1alpha1
machine:
  type: controlplane
  network: {interfaces: [{interface: eth0, vip: {ip: 10.5.0.1}, vlans: [{vlanId: 5, vip: {ip: 10.6.0.1}}]}]}
---
{apiVersion: v1alpha1, kind: Layer2VIPConfig, name: 'fd00::1', link: eth0}
";
        let config = corten_config::Config::parse(yaml.as_bytes()).expect("a configuration");
        let excluded = node_ip(&config.view()).exclude_subnets;
        for shared in ["10.5.0.1/32", "10.6.0.1/32", "fd00::1/128"] {
            assert!(excluded.iter().any(|subnet| subnet == shared), "{shared}: {excluded:?}");
        }
    }
}
