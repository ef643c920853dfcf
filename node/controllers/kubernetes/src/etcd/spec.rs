//! From the configuration to etcd as it will run.
//!
//!     MachineConfig ──▶ EtcdConfig          EtcdConfig, HostnameStatus, NodeAddress ──▶ EtcdSpec

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::etcd::{EtcdArgValues, EtcdConfig, EtcdSpec};
use corten_resources::network::{HostnameStatus, NodeAddress};

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
        let (listen_valid_subnets, listen_exclude_subnets) = Filter::split(&given.listen_subnets);
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
                // Without subnets to listen in, those to advertise in are the ones (what clients expect since listenSubnets exists).
                listen_valid_subnets: if listen_valid_subnets.is_empty() {
                    advertise_valid_subnets.clone()
                } else {
                    listen_valid_subnets
                },
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
