//! The layer of the machine configuration.
//!
//! ```text
//! MachineConfig, LinkStatus, Identity, NodeAddress ──▶ *Spec@network-config of layer configuration,
//!                                                      StaticHost, HostDnsConfig, filters, sort algorithm
//! ```
//! Only this file, `config_*` and `time_sync` know the configuration. Links are put together in `config_links`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use corten_config::view::{
    BlackholeRoute, Ethernet, ExtraHost, HostnameMode, MachineView, Network, RoutingRule,
};
use corten_resource::{Plan, Resource, Transform, View, controller};
use corten_resources::cluster::Identity;
use corten_resources::config::MachineConfig;
use corten_resources::network::{
    AddressSpec, DeviceConfigSpec, EthernetChannels, EthernetRings, EthernetSpec, Family, HostDnsConfig,
    HostnameSpec, Layer, LinkSpec, LinkStatus, NodeAddress, NodeAddressFilter, NodeAddressSortAlgorithm,
    OperatorSpec, ResolverSpec, RouteProtocol, RouteSpec, RouteType, RoutingRuleSpec, Scope, SortAlgorithm,
    StaticHost, TimeServerSpec, layered_id,
};

use crate::config_links::{self, Links};
use crate::hostname::{split, stable};
use crate::layer_default::{LOOPBACK, ROUTE_METRIC};

/// Where the host's resolver listens for the host.
pub const HOST_DNS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
/// Where it listens for pods.
pub const HOST_DNS_PODS: Ipv4Addr = Ipv4Addr::new(169, 254, 116, 108);
/// Port of DNS.
const DNS_PORT: u16 = 53;

/// Writes what the configuration says, also where the launcher made the network: what is configured comes on top.
#[derive(Debug)]
pub struct ConfigLayer;

controller!(ConfigLayer, "network.ConfigLayer",
inputs: [strong MachineConfig, weak LinkStatus, weak Identity, weak NodeAddress],
outputs: [
    shared LinkSpec in "network-config",
    shared AddressSpec in "network-config",
    shared RouteSpec in "network-config",
    shared RoutingRuleSpec in "network-config",
    shared OperatorSpec in "network-config",
    shared HostnameSpec in "network-config",
    shared ResolverSpec in "network-config",
    shared TimeServerSpec in "network-config",
    exclusive DeviceConfigSpec,
    exclusive EthernetSpec,
    exclusive StaticHost,
    exclusive HostDnsConfig,
    exclusive NodeAddressFilter,
    exclusive NodeAddressSortAlgorithm,
]);

/// The typed view of a configuration; one that does not parse never became a resource.
pub fn machine_view(config: Option<&Resource<MachineConfig>>) -> Arc<MachineView> {
    let parsed = config.and_then(|config| corten_config::load_cached(&config.spec.yaml).ok());
    parsed.map(|config| config.view()).unwrap_or_default()
}

fn id(id: &str) -> String {
    layered_id(Layer::Configuration, id)
}

/// What stands in `machine.network.interfaces`, for each link that is meant.
fn put_devices(plan: &mut Plan<ConfigLayer>, network: &Network, links: &Links<'_>) {
    for (position, (entry, interface)) in network.devices.reveal().iter().zip(&network.interfaces).enumerate()
    {
        for name in config_links::link_names(interface, links) {
            let mut device = entry.clone();
            device.insert("interface".to_owned(), name.as_str().into());
            plan.put::<DeviceConfigSpec>(format!("{name}/{position:03}"), DeviceConfigSpec { device });
        }
    }
}

/// Routes that lead nowhere belong to no link.
fn put_blackholes(plan: &mut Plan<ConfigLayer>, routes: &[BlackholeRoute]) {
    for route in routes {
        let metric = route.metric.unwrap_or(ROUTE_METRIC);
        let destination = Some(route.destination.trunc());
        let spec = RouteSpec {
            route_type: RouteType::BLACKHOLE,
            scope: Scope::GLOBAL,
            protocol: RouteProtocol::STATIC,
            ..RouteSpec::new(Layer::Configuration, destination, None, "", metric)
        };
        // `RouteSpec::new` takes everything as no destination, whose family is then lost.
        let spec = RouteSpec { family: Family::of(route.destination.addr()), ..spec };
        plan.put::<RouteSpec>(id(&spec.id()), spec);
    }
}

/// A rule that names no network is one for each family.
fn put_rules(plan: &mut Plan<ConfigLayer>, rules: &[RoutingRule]) {
    for rule in rules {
        let family = rule.src.or(rule.dst).map(|net| Family::of(net.addr()));
        let families = family.map_or(vec![Family::Inet4, Family::Inet6], |family| vec![family]);
        let (Ok(priority), Some(table)) = (rule.priority.parse(), config_links::table(&rule.table)) else {
            continue;
        };
        for family in families {
            let spec = RoutingRuleSpec {
                family,
                src: rule.src,
                dst: rule.dst,
                table,
                priority,
                action: rule.action.parse().unwrap_or_default(),
                iif_name: rule.iif_name.clone(),
                oif_name: rule.oif_name.clone(),
                fw_mark: rule.fw_mark.unwrap_or(0),
                fw_mask: rule.fw_mask.unwrap_or(0),
                layer: Layer::Configuration,
            };
            plan.put::<RoutingRuleSpec>(id(&spec.id()), spec);
        }
    }
}

/// Settings of a device.
fn ethernet(settings: &Ethernet) -> EthernetSpec {
    let (rings, channels) = (&settings.rings, &settings.channels);
    EthernetSpec {
        rings: EthernetRings {
            rx: rings.rx,
            tx: rings.tx,
            rx_mini: rings.rx_mini,
            rx_jumbo: rings.rx_jumbo,
            rx_buf_len: rings.rx_buf_len,
            cqe_size: rings.cqe_size,
            tx_push: rings.tx_push,
            rx_push: rings.rx_push,
            tx_push_buf_len: rings.tx_push_buf_len,
            tcp_data_split: rings.tcp_data_split,
        },
        features: settings.features.clone(),
        channels: EthernetChannels {
            rx: channels.rx,
            tx: channels.tx,
            other: channels.other,
            combined: channels.combined,
        },
        wake_on_lan: settings.wake_on_lan.iter().filter_map(|mode| mode.parse().ok()).collect(),
    }
}

/// The hostname of the configuration, or the default one, which is of the lowest layer.
fn hostname(
    config: &MachineView,
    identity: Option<&Identity>,
    address: Option<IpAddr>,
) -> Option<HostnameSpec> {
    let network = &config.machine.network;
    if !network.hostname.is_empty() {
        return Some(split(Layer::Configuration, &network.hostname));
    }
    let name = match network.hostname_mode {
        HostnameMode::Stable => stable(&identity?.node_id),
        HostnameMode::Address => format!("talos-{}", address?.to_string().replace('.', "-").replace(':', "")),
        HostnameMode::Off => return None,
    };
    Some(split(Layer::Default, &name))
}

fn put_servers(plan: &mut Plan<ConfigLayer>, config: &MachineView) {
    let network = &config.machine.network;
    if !network.nameservers.is_empty() || !network.search_domains.is_empty() || network.disable_search_domain
    {
        let spec = ResolverSpec {
            search_domains: network.search_domains.clone(),
            search_domains_overridden: network.disable_search_domain,
            ..ResolverSpec::plain(Layer::Configuration, network.nameservers.clone())
        };
        plan.put::<ResolverSpec>(id(ResolverSpec::ID), spec);
    }
    if !config.machine.time.servers.is_empty() {
        let time_servers = config.machine.time.servers.clone();
        let spec = TimeServerSpec { time_servers, use_nts: false, layer: Layer::Configuration };
        plan.put::<TimeServerSpec>(id(TimeServerSpec::ID), spec);
    }
    for (name, addresses) in static_hosts(&network.extra_hosts) {
        plan.put(name, StaticHost { addresses });
    }
}

/// The addresses of each name: one that stands in several entries has them all, in both families.
fn static_hosts(entries: &[ExtraHost]) -> BTreeMap<&str, Vec<IpAddr>> {
    let mut hosts: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
    for entry in entries {
        for name in &entry.aliases {
            let addresses = hosts.entry(name).or_default();
            if !addresses.contains(&entry.ip) {
                addresses.push(entry.ip);
            }
        }
    }
    hosts
}

fn put_host_dns(plan: &mut Plan<ConfigLayer>, config: &MachineView) {
    let host_dns = config.machine.network.host_dns;
    let pods = IpAddr::V4(HOST_DNS_PODS);
    let mut listen = vec![(IpAddr::V4(HOST_DNS), DNS_PORT).into()];
    if host_dns.forward_kube_dns {
        listen.push((pods, DNS_PORT).into());
        let address = AddressSpec::new(Layer::Operator, LOOPBACK, pods.into(), Scope::HOST);
        plan.put::<AddressSpec>(layered_id(Layer::Operator, &address.id()), address);
    }
    let spec = HostDnsConfig {
        enabled: host_dns.enabled,
        listen_addresses: if host_dns.enabled { listen } else { Vec::new() },
        service_host_dns_address: host_dns.forward_kube_dns.then_some(pods),
        resolve_member_names: host_dns.resolve_member_names,
        service_host_dns_address_v6: None,
    };
    plan.put::<HostDnsConfig>(HostDnsConfig::ID, spec);
}

fn put_address_rules(plan: &mut Plan<ConfigLayer>, config: &MachineView) {
    if config.complete {
        let network = &config.cluster.network;
        let subnets: Vec<_> = network.pod_subnets.iter().chain(&network.service_subnets).copied().collect();
        let filter = |include: &[ipnet::IpNet], exclude: &[ipnet::IpNet]| NodeAddressFilter {
            include_subnets: include.to_vec(),
            exclude_subnets: exclude.to_vec(),
        };
        plan.put::<NodeAddressFilter>(NodeAddressFilter::NO_K8S, filter(&[], &subnets));
        plan.put::<NodeAddressFilter>(NodeAddressFilter::ONLY_K8S, filter(&subnets, &[]));
    }
    let algorithm =
        config.machine.features.node_address_sort_algorithm.parse::<SortAlgorithm>().unwrap_or_default();
    plan.put::<NodeAddressSortAlgorithm>(
        NodeAddressSortAlgorithm::ID,
        NodeAddressSortAlgorithm { algorithm },
    );
}

impl Transform for ConfigLayer {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let config = machine_view(view.get::<MachineConfig>(MachineConfig::ACTIVE));
        let (network, links) = (&config.machine.network, view.list::<LinkStatus>());
        config_links::put(&mut plan, &network.interfaces, &links);
        put_devices(&mut plan, network, &links);
        put_blackholes(&mut plan, &network.blackholes);
        put_rules(&mut plan, &network.routing_rules);
        for settings in &network.ethernet {
            let name = config_links::kernel_name(&settings.name, &links);
            plan.put::<EthernetSpec>(name, ethernet(settings));
        }
        let identity = view.get::<Identity>(Identity::ID);
        let default = view.get::<NodeAddress>(NodeAddress::DEFAULT);
        let address = default.and_then(|address| address.spec.ips().first().copied());
        if let Some(hostname) = hostname(&config, identity.map(|identity| &identity.spec), address) {
            plan.put::<HostnameSpec>(layered_id(hostname.layer, HostnameSpec::ID), hostname);
        }
        put_servers(&mut plan, &config);
        put_host_dns(&mut plan, &config);
        put_address_rules(&mut plan, &config);
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;
    use corten_resources::network::{LinkType, RoutingRuleAction};

    use super::*;

    fn plan(yaml: &str) -> Plan<ConfigLayer> {
        let link =
            LinkStatus { link_type: LinkType::ETHER, driver: "virtio_net".into(), ..LinkStatus::default() };
        let resources = [
            resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.as_bytes().to_vec() }),
            resource(Identity::ID, Identity { node_id: "node".into() }),
            resource("eth0", link),
        ];
        ConfigLayer.plan(&View::of(resources, UNIX_EPOCH))
    }

    const CONFIG: &str = "
version: v1alpha1
machine:
  type: controlplane
  network:
    hostname: node-1.example.org
    nameservers: [10.0.0.1]
    interfaces:
      - deviceSelector: {driver: virtio*}
        addresses: [10.0.0.5/24]
        routes: [{network: 0.0.0.0/0, gateway: 10.0.0.1}]
        vlans: [{vlanId: 5, dhcp: true}]
  features:
    hostDNS: {enabled: true, forwardKubeDNSToHost: true}
cluster:
  controlPlane: {endpoint: https://10.0.0.5:6443}
";

    #[test]
    fn interfaces_names_and_servers_become_specifications() {
        let plan = plan(CONFIG);
        let ids = |ids: Vec<&str>| ids.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let addresses: Vec<_> =
            plan.outputs::<AddressSpec>().iter().map(|row| row.metadata.id.clone()).collect();
        assert_eq!(addresses, ids(vec!["configuration/eth0/10.0.0.5/24", "operator/lo/169.254.116.108/32"]));
        assert!(plan.output::<RouteSpec>("configuration/inet4/10.0.0.1//1024").is_some());
        assert_eq!(plan.output::<LinkSpec>("configuration/eth0.5").map(|link| link.vlan.id), Some(5));
        assert!(plan.output::<OperatorSpec>("configuration/dhcp4/eth0.5").is_some());
        let device = plan.output::<DeviceConfigSpec>("eth0/000").expect("an entry");
        assert_eq!(device.device.get("interface").and_then(|name| name.as_str()), Some("eth0"));
        let hostname = plan.output::<HostnameSpec>("configuration/hostname").expect("a hostname");
        assert_eq!((hostname.hostname.as_str(), hostname.domainname.as_str()), ("node-1", "example.org"));
        let dns = plan.output::<HostDnsConfig>(HostDnsConfig::ID).expect("a configuration");
        assert_eq!(dns.listen_addresses.len(), 2);
        let filter = plan.output::<NodeAddressFilter>(NodeAddressFilter::NO_K8S).expect("a filter");
        assert!(!filter.passes(IpAddr::from([10, 244, 0, 1])) && filter.passes(IpAddr::from([10, 0, 0, 5])));
    }

    #[test]
    fn a_link_can_be_down_and_the_route_of_an_address_can_have_a_metric() {
        let link = "{apiVersion: v1alpha1, kind: LinkConfig, name: eth0, up: false, addresses: [{address: 10.0.0.5/24, routePriority: 50}]}";
        let plan = plan(&format!("version: v1alpha1\nmachine: {{type: worker}}\n---\n{link}\n"));
        assert_eq!(plan.output::<LinkSpec>("configuration/eth0").map(|link| link.up), Some(false));
        let address = plan.output::<AddressSpec>("configuration/eth0/10.0.0.5/24").expect("an address");
        assert_eq!(address.priority, 50);
    }

    #[test]
    fn a_name_in_several_host_entries_has_all_their_addresses() {
        let entries = "[{ip: 10.0.0.1, aliases: [db, a]}, {ip: 'fd00::1', aliases: [db]}, {ip: 10.0.0.1, aliases: [db]}]";
        let plan = plan(&format!(
            "version: v1alpha1\nmachine: {{type: worker, network: {{extraHostEntries: {entries}}}}}\n"
        ));
        let addresses = |name: &str| plan.output::<StaticHost>(name).map(|host| host.addresses.clone());
        let (four, six) = (IpAddr::from([10, 0, 0, 1]), "fd00::1".parse().expect("ip"));
        assert_eq!(addresses("db"), Some(vec![four, six]));
        assert_eq!(addresses("a"), Some(vec![four]));
        assert_eq!(plan.outputs::<StaticHost>().len(), 2);
    }

    #[test]
    fn without_a_configuration_there_is_a_stable_name() {
        let plan = plan("");
        let hostname = plan.output::<HostnameSpec>("default/hostname").expect("a hostname");
        assert_eq!(hostname.hostname, stable("node"));
        assert!(plan.outputs::<LinkSpec>().is_empty());
    }

    #[test]
    fn a_route_to_nowhere_has_no_link() {
        let plan = plan(
            "{apiVersion: v1alpha1, kind: BlackholeRouteConfig, name: 10.1.2.3/16, metric: 5}\n---\n\
            {apiVersion: v1alpha1, kind: BlackholeRouteConfig, name: '::/0'}\n",
        );
        let route = plan.output::<RouteSpec>("configuration/inet4//10.1.0.0/16/5").expect("a route");
        assert_eq!((route.route_type, route.scope), (RouteType::BLACKHOLE, Scope::GLOBAL));
        let default = plan.output::<RouteSpec>("configuration/inet6///1024").expect("a route");
        assert_eq!((default.family, default.dst), (Family::Inet6, None));
    }

    #[test]
    fn a_rule_without_networks_is_one_of_both_families() {
        let rule = |fields: &str| format!("{{apiVersion: v1alpha1, kind: RoutingRuleConfig, {fields}}}\n");
        let first = rule("name: '1000', src: 'fd00::/8', table: '100', action: prohibit");
        let second = rule("name: '2000', table: main, iifName: eth0, fwMark: 1");
        let plan = plan(&format!("{first}---\n{second}"));
        let ids: Vec<_> =
            plan.outputs::<RoutingRuleSpec>().iter().map(|row| row.metadata.id.clone()).collect();
        assert_eq!(
            ids,
            ["configuration/inet6/01000", "configuration/inet4/02000", "configuration/inet6/02000"]
        );
        let rule = plan.output::<RoutingRuleSpec>("configuration/inet6/01000").expect("a rule");
        assert_eq!((rule.table.0, rule.action), (100, RoutingRuleAction::Prohibit));
    }
}
