//! Name and addresses under which the kubelet registers.

use std::net::IpAddr;

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::kubernetes::{NodeIp, NodeIpConfig, Nodename};
use corten_resources::network::{HostnameStatus, NodeAddress};

use crate::configuration;
use crate::subnets::Filter;

/// HostnameStatus ──▶ Nodename.
pub struct NodeNaming;

controller!(NodeNaming, "k8s.Nodename", inputs: [weak MachineConfig, strong HostnameStatus], outputs: [exclusive Nodename]);

impl Transform for NodeNaming {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = configuration::complete(view.get(MachineConfig::ACTIVE)) else { return plan };
        let Some(hostname) = view.get::<HostnameStatus>(HostnameStatus::ID) else {
            return plan.waiting("a hostname");
        };
        let kubelet = &config.machine.kubelet;
        let name = if kubelet.register_with_fqdn { hostname.fqdn() } else { hostname.hostname.clone() };
        plan.put(
            Nodename::ID,
            Nodename {
                nodename: nodename(&name),
                hostname_version: hostname.metadata.version.to_string(),
                skip_node_registration: kubelet.skip_node_registration,
            },
        );
        plan
    }
}

/// The name as Kubernetes takes it: lower case, only letters, digits, dashes and dots, none of the latter at the ends.
fn nodename(hostname: &str) -> String {
    let replaced: String = hostname
        .to_lowercase()
        .chars()
        .map(|c| if c == '_' { '-' } else { c })
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
        .collect();
    replaced.trim_matches(['-', '.']).to_owned()
}

/// NodeAddress, NodeIpConfig ──▶ NodeIp.
pub struct NodeAddresses;

controller!(NodeAddresses, "k8s.NodeIP", inputs: [strong NodeIpConfig, weak NodeAddress], outputs: [exclusive NodeIp]);

impl Transform for NodeAddresses {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = view.get::<NodeIpConfig>(NodeIpConfig::ID) else {
            return plan.waiting("subnets of node addresses");
        };
        let Some(routed) = view
            .get::<NodeAddress>(&NodeAddress::filtered(NodeAddress::ROUTED, "no-k8s"))
            .or_else(|| view.get::<NodeAddress>(NodeAddress::ROUTED))
        else {
            return plan.waiting("addresses of this machine");
        };
        let filter = Filter::new(&config.valid_subnets, &config.exclude_subnets);
        let addresses = choose(&routed.ips(), &filter);
        if addresses.is_empty() {
            return plan.waiting("an address in the wanted subnets");
        }
        plan.put(NodeIp::ID, NodeIp { addresses });
        plan
    }
}

/// The first address of each family, in order.
fn choose(addresses: &[IpAddr], filter: &Filter) -> Vec<IpAddr> {
    let mut chosen: Vec<IpAddr> = Vec::new();
    for address in addresses.iter().filter(|address| filter.allows(**address)) {
        if !chosen.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            chosen.push(*address);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_address_of_each_family() {
        let ips: Vec<IpAddr> = ["10.244.0.1", "10.5.0.2", "fd00::2", "192.168.0.1"]
            .iter()
            .map(|ip| ip.parse().expect("an address"))
            .collect();
        let filter = Filter::new(&[], &["10.244.0.0/16".to_owned()]);
        let chosen: Vec<String> = choose(&ips, &filter).iter().map(ToString::to_string).collect();
        assert_eq!(chosen, ["10.5.0.2", "fd00::2"]);
    }

    proptest! {
        #[test]
        fn node_names_are_names_of_kubernetes(hostname in "[A-Za-z0-9._-]{0,64}") {
            let name = nodename(&hostname);
            prop_assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.'));
            prop_assert!(!name.starts_with(['-', '.']) && !name.ends_with(['-', '.']));
        }
    }
}
