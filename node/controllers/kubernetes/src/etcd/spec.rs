//! From the configuration to etcd as it will run.
//!
//!     MachineConfig ──▶ EtcdConfig          EtcdConfig, HostnameStatus, NodeAddress ──▶ EtcdSpec

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::etcd::{EtcdArgValues, EtcdConfig, EtcdSpec};
use corten_resources::network::{HostnameStatus, NodeAddress};
use ipnet::IpNet;

use crate::configuration;
use crate::subnets::Filter;

/// MachineConfig ──▶ EtcdConfig.
pub struct EtcdIntent;

controller!(EtcdIntent, "etcd.Config", inputs: [weak MachineConfig], outputs: [exclusive EtcdConfig]);

impl Transform for EtcdIntent {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = configuration::control_plane(view.get(MachineConfig::ACTIVE)) else { return plan };
        let given = &config.cluster.etcd;
        let (advertise_valid_subnets, mut advertise_exclude_subnets) =
            Filter::split(&given.advertised_subnets);
        let (listen_valid_subnets, mut listen_exclude_subnets) = Filter::split(&given.listen_subnets);
        // Without subnets to listen in, those to advertise in are the ones (what clients expect since listenSubnets exists).
        let listen_valid_subnets = if listen_valid_subnets.is_empty() {
            advertise_valid_subnets.clone()
        } else {
            listen_valid_subnets
        };
        // A shared address that comes must not have etcd start again: etcd decides whose it is.
        let shared = config.machine.network.shared_addresses().map(|ip| IpNet::from(ip).to_string());
        let shared: Vec<String> = shared.collect();
        if !listen_valid_subnets.is_empty() || !listen_exclude_subnets.is_empty() {
            listen_exclude_subnets.extend(shared.clone());
        }
        advertise_exclude_subnets.extend(shared);
        let network = &config.cluster.network;
        advertise_exclude_subnets
            .extend(network.pod_subnets.iter().chain(&network.service_subnets).map(ToString::to_string));
        let arguments: BTreeMap<String, EtcdArgValues> = given
            .extra_args
            .iter()
            .map(|(name, values)| (name.clone(), EtcdArgValues { values: values.clone() }))
            .collect();
        plan.put(
            EtcdConfig::ID,
            EtcdConfig {
                listen_valid_subnets,
                advertise_valid_subnets,
                advertise_exclude_subnets,
                listen_exclude_subnets,
                image: given.image.clone(),
                extra_args: arguments,
            },
        );
        plan
    }
}

/// EtcdConfig, names and addresses ──▶ EtcdSpec.
pub struct EtcdSpecification;

controller!(EtcdSpecification, "etcd.Spec",
    inputs: [strong EtcdConfig, strong HostnameStatus, weak NodeAddress],
    outputs: [exclusive EtcdSpec]);

impl Transform for EtcdSpecification {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = view.get::<EtcdConfig>(EtcdConfig::ID) else { return plan };
        let Some(hostname) = view.get::<HostnameStatus>(HostnameStatus::ID) else {
            return plan.waiting("a hostname");
        };
        let Some(routed) = view.get::<NodeAddress>(NodeAddress::ROUTED) else {
            return plan.waiting("addresses of this machine");
        };
        let advertise = Filter::new(&config.advertise_valid_subnets, &config.advertise_exclude_subnets);
        let first = routed.ips().into_iter().find(|address| advertise.allows(*address));
        let Some(advertised) = first else {
            return plan.waiting("an address in the subnets that etcd advertises");
        };
        let listen = listen_addresses(config, &routed.ips());
        plan.put(
            EtcdSpec::ID,
            EtcdSpec {
                name: hostname.hostname.clone(),
                advertised_addresses: vec![advertised],
                listen_peer_addresses: listen.clone(),
                listen_client_addresses: listen,
                image: config.image.clone(),
                extra_args: config.extra_args.clone(),
            },
        );
        plan
    }
}

/// The chosen addresses, or all: `::` where the kernel has IPv6, `0.0.0.0` where only IPv4 is in use.
fn listen_addresses(config: &EtcdConfig, addresses: &[IpAddr]) -> Vec<IpAddr> {
    if config.listen_valid_subnets.is_empty() && config.listen_exclude_subnets.is_empty() {
        let any_v6 = addresses.iter().any(IpAddr::is_ipv6);
        return vec![if any_v6 {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        }];
    }
    let filter = Filter::new(&config.listen_valid_subnets, &config.listen_exclude_subnets);
    addresses.iter().copied().filter(|address| filter.allows(*address)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use corten_resource::testing::resource;

    use super::*;

    /// The specification on a machine that has these addresses.
    fn spec(subnets: &str, addresses: &[&str]) -> EtcdSpec {
        let yaml = format!(
            "version: v1alpha1
machine:
  type: controlplane
  network: {{interfaces: [{{interface: eth0, vip: {{ip: 10.5.0.1}}}}]}}
cluster: {{etcd: {{{subnets}}}}}
"
        );
        let config = [resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.into_bytes() })];
        let plan = EtcdIntent.plan(&View::of(config, SystemTime::UNIX_EPOCH));
        let config = plan.output::<EtcdConfig>(EtcdConfig::ID).expect("a configuration").clone();
        let addresses = addresses.iter().map(|net| net.parse().expect("an address")).collect();
        let given = [
            resource(EtcdConfig::ID, config),
            resource(
                HostnameStatus::ID,
                HostnameStatus { hostname: "a".into(), ..HostnameStatus::default() },
            ),
            resource(NodeAddress::ROUTED, NodeAddress { addresses, ..NodeAddress::default() }),
        ];
        let plan = EtcdSpecification.plan(&View::of(given, SystemTime::UNIX_EPOCH));
        plan.output::<EtcdSpec>(EtcdSpec::ID).expect("a specification").clone()
    }

    #[test]
    fn etcd_does_not_start_again_for_the_shared_address_that_it_gave_away() {
        let (own, shared) = ("10.5.0.2/24", "10.5.0.1/32");
        for subnets in ["", "advertisedSubnets: [10.5.0.0/24]", "listenSubnets: [10.5.0.0/24]"] {
            let without = spec(subnets, &[own]);
            assert_eq!(spec(subnets, &[shared, own]), without, "{subnets}");
            assert_eq!(without.advertised_addresses, [IpAddr::from([10, 5, 0, 2])]);
        }
        let any = spec("", &[own]).listen_client_addresses;
        assert_eq!(any, [IpAddr::V4(Ipv4Addr::UNSPECIFIED)]);
    }
}
