//! The layer of the machine configuration.
//!
//! ```text
//! MachineConfig, LinkStatus, Identity, NodeAddress ──▶ *Spec@network-config of layer configuration,
//!                                                      StaticHost, HostDnsConfig, filters, sort algorithm
//! ```
//! Only this file and `time_sync` know the configuration.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use corten_config::view::{
    DeviceSelector, Dhcp, ExtraHost, HostnameMode, Interface, LinkAddress, MachineView, Route, Vlan,
};
use corten_resource::{Plan, Resource, Transform, View, controller};
use corten_resources::cluster::Identity;
use corten_resources::config::MachineConfig;
use corten_resources::network::{
    AddressSpec, ClientIdentifier, ClientIdentifierSpec, Dhcp4Operator, HostDnsConfig, HostnameSpec, Layer,
    LinkSpec, LinkStatus, LinkType, NodeAddress, NodeAddressFilter, NodeAddressSortAlgorithm, OperatorSpec,
    ResolverSpec, RouteProtocol, RouteSpec, Scope, SortAlgorithm, StaticHost, TimeServerSpec,
    Vlan as VlanSpec, VlanProtocol, layered_id,
};

use crate::hostname::{split, stable};
use crate::layer_default::{LOOPBACK, ROUTE_METRIC};

/// Where the host's resolver listens for the host.
pub const HOST_DNS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
/// Where it listens for pods.
pub const HOST_DNS_PODS: Ipv4Addr = Ipv4Addr::new(169, 254, 116, 108);
/// Port of DNS.
const DNS_PORT: u16 = 53;

/// Writes what the configuration says.
#[derive(Debug)]
pub struct ConfigLayer {
    /// Links are ours to configure; otherwise the configuration's links are left out.
    pub own_links: bool,
}

controller!(ConfigLayer, "network.ConfigLayer",
inputs: [strong MachineConfig, weak LinkStatus, weak Identity, weak NodeAddress],
outputs: [
    shared LinkSpec in "network-config",
    shared AddressSpec in "network-config",
    shared RouteSpec in "network-config",
    shared OperatorSpec in "network-config",
    shared HostnameSpec in "network-config",
    shared ResolverSpec in "network-config",
    shared TimeServerSpec in "network-config",
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

type Links<'a> = [&'a Resource<LinkStatus>];

/// `*` stands for any text; an empty pattern matches all.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern.is_empty() || pattern.eq_ignore_ascii_case(text);
    };
    let head_matches = text.get(..head.len()).is_some_and(|start| start.eq_ignore_ascii_case(head));
    head_matches
        && (tail.is_empty()
            || (head.len()..=text.len()).any(|at| text.get(at..).is_some_and(|rest| matches(tail, rest))))
}

fn selected(selector: &DeviceSelector, link: &LinkStatus) -> bool {
    matches(&selector.bus_path, &link.bus_path)
        && matches(&selector.hardware_addr, &link.hardware_addr.to_string())
        && matches(&selector.permanent_addr, &link.permanent_addr.to_string())
        && matches(&selector.pci_id, &link.pci_id)
        && matches(&selector.driver, &link.driver)
        && selector.physical.is_none_or(|physical| physical == link.is_physical())
}

/// Names of the links that an interface of the configuration means.
fn link_names(interface: &Interface, links: &Links<'_>) -> Vec<String> {
    if let Some(selector) = interface.selector.as_ref().filter(|_| interface.name.is_empty()) {
        let chosen = links.iter().filter(|link| selected(selector, &link.spec));
        return chosen.map(|link| link.metadata.id.clone()).collect();
    }
    let name = interface.name.clone();
    let alias =
        |link: &&&Resource<LinkStatus>| link.spec.alt_names.contains(&name) || link.spec.alias == name;
    let known = links.iter().any(|link| link.metadata.id == name);
    let aliased = links.iter().find(alias).filter(|_| !known).map(|link| link.metadata.id.clone());
    vec![aliased.unwrap_or(name)]
}

fn route(route: &Route, link: &str) -> RouteSpec {
    let metric = route.metric.unwrap_or(ROUTE_METRIC);
    let spec = RouteSpec::new(Layer::Configuration, route.destination, route.gateway, link, metric);
    RouteSpec {
        src: route.source,
        mtu: route.mtu.unwrap_or(0),
        table: if route.table.is_empty() { spec.table } else { route.table.parse().unwrap_or(spec.table) },
        protocol: RouteProtocol::STATIC,
        ..spec
    }
}

fn dhcp4(dhcp: &Dhcp) -> Dhcp4Operator {
    let kind = match dhcp.client_identifier.as_str() {
        "none" => ClientIdentifier::None,
        "duid" => ClientIdentifier::Duid,
        _ => ClientIdentifier::Mac,
    };
    let duid_raw_hex = if kind == ClientIdentifier::Duid { dhcp.duid.clone() } else { String::new() };
    Dhcp4Operator {
        route_metric: dhcp.route_metric.unwrap_or(ROUTE_METRIC),
        skip_hostname_request: dhcp.ignore_hostname,
        skip_routes: dhcp.ignore_routes,
        client_identifier: ClientIdentifierSpec { kind, duid_raw_hex },
    }
}

fn put_addressing(
    plan: &mut Plan<ConfigLayer>,
    link: &str,
    addresses: &[LinkAddress],
    routes: &[Route],
    dhcp: Option<&Dhcp>,
) {
    for address in addresses {
        let address = AddressSpec {
            priority: address.route_priority.unwrap_or(0),
            ..AddressSpec::new(Layer::Configuration, link, address.net, Scope::GLOBAL)
        };
        plan.put::<AddressSpec>(id(&address.id()), address);
    }
    for spec in routes.iter().map(|entry| route(entry, link)) {
        plan.put::<RouteSpec>(id(&spec.id()), spec);
    }
    if let Some(dhcp) = dhcp.filter(|dhcp| dhcp.ipv4) {
        let operator = OperatorSpec::dhcp4(Layer::Configuration, link, dhcp4(dhcp));
        plan.put::<OperatorSpec>(id(&operator.id()), operator);
    }
}

fn put_vlan(plan: &mut Plan<ConfigLayer>, parent: &str, vlan: &Vlan) {
    let name = format!("{parent}.{}", vlan.id);
    let link = LinkSpec {
        logical: true,
        kind: "vlan".into(),
        link_type: LinkType::ETHER,
        parent_name: parent.to_owned(),
        vlan: VlanSpec { id: vlan.id.into(), protocol: VlanProtocol::Dot1Q },
        mtu: vlan.mtu.unwrap_or(0),
        ..LinkSpec::up(Layer::Configuration, &name)
    };
    plan.put::<LinkSpec>(id(&name), link);
    put_addressing(plan, &name, &vlan.addresses, &vlan.routes, vlan.dhcp.as_ref());
}

fn put_interfaces(plan: &mut Plan<ConfigLayer>, interfaces: &[Interface], links: &Links<'_>) {
    for interface in interfaces.iter().filter(|interface| !interface.ignore) {
        for name in link_names(interface, links) {
            let link = LinkSpec {
                up: interface.up.unwrap_or(true),
                mtu: interface.mtu.unwrap_or(0),
                logical: interface.dummy,
                kind: if interface.dummy { "dummy".into() } else { String::new() },
                ..LinkSpec::up(Layer::Configuration, &name)
            };
            plan.put::<LinkSpec>(id(&name), link);
            put_addressing(plan, &name, &interface.addresses, &interface.routes, interface.dhcp.as_ref());
            for vlan in &interface.vlans {
                put_vlan(plan, &name, vlan);
            }
        }
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
        if self.own_links {
            put_interfaces(&mut plan, &config.machine.network.interfaces, &view.list::<LinkStatus>());
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

    use super::*;

    fn plan(yaml: &str) -> Plan<ConfigLayer> {
        let link =
            LinkStatus { link_type: LinkType::ETHER, driver: "virtio_net".into(), ..LinkStatus::default() };
        let resources = [
            resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.as_bytes().to_vec() }),
            resource(Identity::ID, Identity { node_id: "node".into() }),
            resource("eth0", link),
        ];
        ConfigLayer { own_links: true }.plan(&View::of(resources, UNIX_EPOCH))
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
    fn patterns() {
        assert!(
            matches("", "x")
                && matches("*", "")
                && matches("virtio*", "virtio_net")
                && matches("*net", "virtio_net")
        );
        assert!(
            !matches("virtio", "virtio_net")
                && !matches("*x", "virtio_net")
                && matches("52:*:56", "52:54:56")
        );
    }
}
