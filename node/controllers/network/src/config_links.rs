//! Links of the configuration: which ones are made and how, what belongs to what, addresses and routes.
//!
//! ```text
//! interfaces, LinkStatus ──▶ LinkSpec, AddressSpec, RouteSpec, OperatorSpec of layer configuration
//! ```
//! Several parts of a configuration say something about one link (a bond names its links, which have documents of their
//! own), so that links are put together first.

use std::collections::BTreeMap;

use corten_config::view::{
    DeviceSelector, Dhcp, Interface, LinkAddress, LinkKind, Route, Vlan, VlanLink, WireguardLink,
};
use corten_resource::{Plan, Resource};
use corten_resources::network::{
    AddressSpec, BondSlave, BridgeMaster, BridgeSlave, BridgeVlan, ClientIdentifier, ClientIdentifierSpec,
    Dhcp4Operator, Layer, LinkSpec, LinkStatus, LinkType, OperatorSpec, RouteProtocol, RouteSpec, RouteTable,
    Scope, Stp, Veth, Vlan as VlanSpec, VlanProtocol, VrfMaster, VrfSlave, Wireguard, WireguardPeer,
    layered_id,
};

use crate::config_bond::bond_master;
use crate::from_config::ConfigLayer;
use crate::layer_default::ROUTE_METRIC;

/// Links of the kernel, with their names as ids.
pub type Links<'a> = [&'a Resource<LinkStatus>];
type Specs = BTreeMap<String, LinkSpec>;

fn id(id: &str) -> String {
    layered_id(Layer::Configuration, id)
}

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

/// Names of the links that a selector chooses.
fn chosen<'a>(selector: &DeviceSelector, links: &Links<'a>) -> impl Iterator<Item = &'a str> {
    let is_meant = |link: &&&Resource<LinkStatus>| selected(selector, &link.spec);
    let chosen: Vec<_> = links.iter().filter(is_meant).map(|link| link.metadata.id.as_str()).collect();
    chosen.into_iter()
}

/// The name in the kernel of a link that may be called by another name.
pub fn kernel_name(name: &str, links: &Links<'_>) -> String {
    let known = links.iter().any(|link| link.metadata.id == name);
    let is_called = |link: &&&Resource<LinkStatus>| {
        link.spec.alias == name || link.spec.alt_names.iter().any(|other| other == name)
    };
    let other = links.iter().find(is_called).filter(|_| !known && !name.is_empty());
    other.map_or_else(|| name.to_owned(), |link| link.metadata.id.clone())
}

/// Names of the links that an interface of the configuration means.
pub fn link_names(interface: &Interface, links: &Links<'_>) -> Vec<String> {
    match interface.selector.as_ref().filter(|_| interface.name.is_empty()) {
        Some(selector) => chosen(selector, links).map(str::to_owned).collect(),
        None => vec![kernel_name(&interface.name, links)],
    }
}

/// A routing table by name or number; nothing when none is meant.
pub fn table(text: &str) -> Option<RouteTable> {
    text.parse().ok().filter(|table| *table != RouteTable::UNSPEC)
}

/// Routing tables of the routing domains, by the links in them and their own.
fn domains(interfaces: &[Interface], links: &Links<'_>) -> BTreeMap<String, RouteTable> {
    let mut domains = BTreeMap::new();
    for interface in interfaces {
        if let LinkKind::Vrf(vrf) = &interface.kind
            && let Some(table) = table(&vrf.table)
        {
            let members = vrf.links.iter().map(|member| kernel_name(member, links));
            domains.extend(members.chain([interface.name.clone()]).map(|name| (name, table)));
        }
    }
    domains
}

/// A route over a link; without a table it is in that of the link's routing domain, where the kernel looks for it.
fn route(route: &Route, link: &str, domain: Option<RouteTable>) -> RouteSpec {
    let metric = route.metric.unwrap_or(ROUTE_METRIC);
    let spec = RouteSpec::new(Layer::Configuration, route.destination, route.gateway, link, metric);
    RouteSpec {
        src: route.source,
        mtu: route.mtu.unwrap_or(0),
        table: table(&route.table).or(domain).unwrap_or(spec.table),
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
    (addresses, routes): (&[LinkAddress], &[Route]),
    dhcp: Option<&Dhcp>,
    domain: Option<RouteTable>,
) {
    for address in addresses {
        let address = AddressSpec {
            priority: address.route_priority.unwrap_or(0),
            ..AddressSpec::new(Layer::Configuration, link, address.net, Scope::GLOBAL)
        };
        plan.put::<AddressSpec>(id(&address.id()), address);
    }
    for spec in routes.iter().map(|entry| route(entry, link, domain)) {
        plan.put::<RouteSpec>(id(&spec.id()), spec);
    }
    if let Some(dhcp) = dhcp.filter(|dhcp| dhcp.ipv4) {
        let operator = OperatorSpec::dhcp4(Layer::Configuration, link, dhcp4(dhcp));
        plan.put::<OperatorSpec>(id(&operator.id()), operator);
    }
}

/// The specification of a link, begun when there is none yet.
fn spec<'a>(specs: &'a mut Specs, name: &str) -> &'a mut LinkSpec {
    specs.entry(name.to_owned()).or_insert_with(|| LinkSpec::up(Layer::Configuration, name))
}

/// Says that a link is made in software.
fn make(spec: &mut LinkSpec, kind: &str, link_type: LinkType) {
    spec.logical = true;
    kind.clone_into(&mut spec.kind);
    spec.link_type = link_type;
}

fn vlan_link(spec: &mut LinkSpec, vlan: &VlanLink, links: &Links<'_>) {
    make(spec, "vlan", LinkType::ETHER);
    spec.parent_name = kernel_name(&vlan.parent, links);
    let protocol = if vlan.mode == "802.1ad" { VlanProtocol::Dot1Ad } else { VlanProtocol::Dot1Q };
    spec.vlan = VlanSpec { id: vlan.id.into(), protocol };
}

fn wireguard(link: &WireguardLink) -> Wireguard {
    let peers = link.peers.iter().map(|peer| WireguardPeer {
        public_key: peer.public_key.clone(),
        preshared_key: peer.preshared_key.reveal().clone(),
        endpoint: peer.endpoint.clone(),
        persistent_keepalive_interval: peer.keepalive.unwrap_or_default(),
        allowed_ips: peer.allowed_ips.iter().map(ipnet::IpNet::trunc).collect(),
    });
    Wireguard {
        private_key: link.private_key.reveal().clone(),
        public_key: String::new(),
        listen_port: link.listen_port.unwrap_or(0).into(),
        firewall_mark: link.firewall_mark.unwrap_or(0).into(),
        peers: peers.collect(),
    }
}

/// How a link is made, and which others belong to it.
fn put_kind(specs: &mut Specs, name: &str, kind: &LinkKind, links: &Links<'_>) {
    let link = spec(specs, name);
    match kind {
        LinkKind::Existing => {}
        LinkKind::Dummy => make(link, "dummy", LinkType::ETHER),
        LinkKind::Veth(peer) => {
            make(link, "veth", LinkType::ETHER);
            link.veth = Veth { peer_name: peer.clone() };
        }
        LinkKind::Vlan(vlan) => vlan_link(link, vlan, links),
        LinkKind::Wireguard(settings) => {
            make(link, "wireguard", LinkType::NONE);
            link.wireguard = wireguard(settings);
        }
        LinkKind::Bond(bond) => {
            make(link, "bond", LinkType::ETHER);
            let primary = kernel_name(&bond.primary, links);
            link.bond_master = bond_master(bond, primary);
            let named = bond.links.iter().map(|member| kernel_name(member, links));
            // A bond takes the hardware address of a link of its own, and must not choose itself for it.
            let devices: Vec<_> = links.iter().copied().filter(|link| link.spec.is_physical()).collect();
            let selected = bond.selectors.iter().flat_map(|selector| chosen(selector, &devices));
            let members: Vec<_> = named.chain(selected.map(str::to_owned)).collect();
            for (member, slave_index) in members.iter().zip(0..) {
                spec(specs, member).bond_slave = BondSlave { master_name: name.to_owned(), slave_index };
            }
        }
        LinkKind::Bridge(bridge) => {
            make(link, "bridge", LinkType::ETHER);
            link.bridge_master = BridgeMaster {
                stp: Stp { enabled: bridge.stp },
                vlan: BridgeVlan { filtering_enabled: bridge.vlan_filtering },
            };
            for member in &bridge.links {
                let member = kernel_name(member, links);
                spec(specs, &member).bridge_slave = BridgeSlave { master_name: name.to_owned() };
            }
        }
        LinkKind::Vrf(vrf) => {
            make(link, "vrf", LinkType::ETHER);
            link.vrf_master = table(&vrf.table).map(|table| VrfMaster { table });
            for member in &vrf.links {
                let member = kernel_name(member, links);
                spec(specs, &member).vrf_slave = VrfSlave { master_name: name.to_owned() };
            }
        }
    }
}

/// A VLAN of an entry of `machine.network.interfaces`.
fn put_vlan(plan: &mut Plan<ConfigLayer>, specs: &mut Specs, parent: &str, vlan: &Vlan) {
    let name = format!("{parent}.{}", vlan.id);
    let link = spec(specs, &name);
    make(link, "vlan", LinkType::ETHER);
    parent.clone_into(&mut link.parent_name);
    link.vlan = VlanSpec { id: vlan.id.into(), protocol: VlanProtocol::Dot1Q };
    link.mtu = vlan.mtu.unwrap_or(0);
    put_addressing(plan, &name, (&vlan.addresses, &vlan.routes), vlan.dhcp.as_ref(), None);
}

/// What is said of a link itself.
fn describe(specs: &mut Specs, name: &str, interface: &Interface, links: &Links<'_>) {
    let link = spec(specs, name);
    link.up = interface.up.unwrap_or(true);
    link.mtu = interface.mtu.unwrap_or(0);
    link.multicast = interface.multicast;
    link.hardware_addr = interface.hardware_addr.parse().unwrap_or_default();
    if !interface.bridge_port.is_empty() {
        link.bridge_slave = BridgeSlave { master_name: interface.bridge_port.clone() };
    }
    put_kind(specs, name, &interface.kind, links);
}

/// Puts everything that the configuration says about links. A link of which only is said what runs on it is not specified:
/// it is as it would be without that, and asks for its address.
pub fn put(plan: &mut Plan<ConfigLayer>, interfaces: &[Interface], links: &Links<'_>) {
    let mut specs = Specs::new();
    let domains = domains(interfaces, links);
    for interface in interfaces.iter().filter(|interface| !interface.ignore) {
        for name in link_names(interface, links) {
            if interface.is_described {
                describe(&mut specs, &name, interface, links);
            }
            let own = (interface.addresses.as_slice(), interface.routes.as_slice());
            put_addressing(plan, &name, own, interface.dhcp.as_ref(), domains.get(&name).copied());
            for vlan in &interface.vlans {
                put_vlan(plan, &mut specs, &name, vlan);
            }
        }
    }
    for (name, spec) in specs {
        plan.put::<LinkSpec>(id(&name), spec);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use corten_config::Config;
    use corten_resource::testing::resource;
    use corten_resources::network::{AdLacpActive, BondMode, LacpRate};

    use super::*;

    /// What documents make of links.
    fn plan(documents: &[&str]) -> Plan<ConfigLayer> {
        let text = |document: &&str| format!("{{apiVersion: v1alpha1, {document}}}\n");
        let texts: Vec<_> = documents.iter().map(text).collect();
        put_all(&texts.join("---\n"))
    }

    fn put_all(text: &str) -> Plan<ConfigLayer> {
        let config = Config::parse(text.as_bytes()).expect("a configuration");
        let named = LinkStatus {
            link_type: LinkType::ETHER,
            driver: "virtio_net".into(),
            alias: "lan".into(),
            ..LinkStatus::default()
        };
        let resources = [resource("eth0", named), resource("eth1", LinkStatus::default())];
        let links: Vec<_> = resources.iter().filter_map(|link| link.resource::<LinkStatus>()).collect();
        let mut plan = Plan::new();
        put(&mut plan, &config.view().machine.network.interfaces, &links);
        plan
    }

    fn link(plan: &Plan<ConfigLayer>, name: &str) -> LinkSpec {
        plan.output::<LinkSpec>(&id(name)).unwrap_or_else(|| panic!("no {name}")).clone()
    }

    #[test]
    fn a_bond_takes_its_links_by_any_of_their_names() {
        let bond = "kind: BondConfig, name: bond0, links: [lan, eth1], bondMode: 802.3ad, lacpRate: fast, \
                    up: true, mtu: 9000, addresses: [{address: 10.0.0.2/24}]";
        let plan = plan(&[bond, "kind: LinkConfig, name: lan, mtu: 9000"]);
        let spec = link(&plan, "bond0");
        assert_eq!((spec.kind.as_str(), spec.logical, spec.mtu), ("bond", true, 9000));
        assert_eq!((spec.bond_master.mode, spec.bond_master.lacp_rate), (BondMode::Lacp, LacpRate::Fast));
        assert_eq!((spec.bond_master.miimon, spec.bond_master.ad_lacp_active), (100, Some(AdLacpActive::On)));
        let member = link(&plan, "eth0");
        assert_eq!((member.bond_slave.master_name.as_str(), member.bond_slave.slave_index), ("bond0", 0));
        assert_eq!((member.mtu, member.logical), (9000, false), "its own document counts too");
        assert_eq!(link(&plan, "eth1").bond_slave.slave_index, 1);
        assert!(plan.output::<AddressSpec>("configuration/bond0/10.0.0.2/24").is_some());
    }

    #[test]
    fn what_runs_on_a_link_does_not_specify_it() {
        let plan = plan(&[
            "kind: Layer2VIPConfig, name: 10.0.0.99, link: eth0",
            "kind: DHCPv6Config, name: eth0",
            "kind: LinkConfig, name: lan, mtu: 9000",
            "kind: DHCPv4Config, name: eth1",
        ]);
        assert_eq!(link(&plan, "eth0").mtu, 9000, "the document about the link counts, by any of its names");
        assert!(plan.output::<LinkSpec>("configuration/eth1").is_none());
        assert!(plan.output::<OperatorSpec>("configuration/dhcp4/eth1").is_some());
    }

    #[test]
    fn every_other_kind_is_made_with_its_settings() {
        let plan = plan(&[
            "kind: BridgeConfig, name: br0, links: [eth0], stp: {enabled: true}, vlan: {filtering: true}",
            "kind: DummyLinkConfig, name: dummy0, hardwareAddr: '2e:00:00:00:00:01', multicast: false",
            "kind: VLANConfig, name: svc, vlanID: 7, parent: lan, vlanMode: 802.1ad, up: false",
            "kind: VRFConfig, name: blue, links: [eth1], table: '200'",
            "kind: VethConfig, name: a, peer: {name: b, mtu: 1400}",
            "kind: DHCPv4Config, name: br0",
        ]);
        let bridge = link(&plan, "br0");
        assert!(bridge.bridge_master.stp.enabled && bridge.bridge_master.vlan.filtering_enabled);
        assert_eq!(link(&plan, "eth0").bridge_slave.master_name, "br0");
        let dummy = link(&plan, "dummy0");
        assert_eq!(
            (dummy.hardware_addr.to_string().as_str(), dummy.multicast),
            ("2e:00:00:00:00:01", Some(false))
        );
        let vlan = link(&plan, "svc");
        assert_eq!((vlan.parent_name.as_str(), vlan.up), ("eth0", false));
        assert_eq!(vlan.vlan, VlanSpec { id: 7, protocol: VlanProtocol::Dot1Ad });
        assert_eq!(link(&plan, "blue").vrf_master, Some(VrfMaster { table: RouteTable(200) }));
        assert_eq!(link(&plan, "eth1").vrf_slave.master_name, "blue");
        assert_eq!(
            (link(&plan, "a").veth.peer_name, link(&plan, "b").veth.peer_name),
            ("b".into(), "a".into())
        );
        assert_eq!(link(&plan, "b").mtu, 1400);
        assert!(plan.output::<OperatorSpec>("configuration/dhcp4/br0").is_some());
    }

    #[test]
    fn wireguard_has_keys_and_peers() {
        let key = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
        let plan = plan(&[&format!(
            "kind: WireguardConfig, name: wg0, privateKey: {key}, listenPort: 51820, peers: [{{publicKey: {key}, \
             endpoint: '192.0.2.1:1', persistentKeepaliveInterval: 25s, allowedIPs: [10.1.2.3/16]}}]"
        )]);
        let spec = link(&plan, "wg0");
        assert_eq!((spec.link_type, spec.wireguard.listen_port), (LinkType::NONE, 51_820));
        let [peer] = spec.wireguard.peers.as_slice() else { panic!("one peer") };
        assert_eq!(peer.allowed_ips, ["10.1.0.0/16".parse().expect("net")], "as the kernel keeps it");
        assert_eq!(
            (peer.endpoint.as_str(), peer.persistent_keepalive_interval.as_secs()),
            ("192.0.2.1:1", 25)
        );
    }

    #[test]
    fn the_older_form_makes_the_same() {
        let plan = put_all(
            "version: v1alpha1
machine:
  type: worker
  network:
    interfaces:
      - {interface: bond0, bond: {deviceSelectors: [{driver: virtio*}], mode: active-backup, miimon: 50}}
      - {interface: br0, bridge: {interfaces: [dummy0], vlan: {vlanFiltering: true}}}
      - {interface: dummy0, dummy: true}
      - {interface: eth1, bridgePort: {master: br0}, vlans: [{vlanId: 5, mtu: 1400}]}
cluster: {}
",
        );
        let bond = link(&plan, "bond0").bond_master;
        assert_eq!((bond.mode, bond.miimon), (BondMode::ActiveBackup, 50));
        assert_eq!(link(&plan, "eth0").bond_slave.master_name, "bond0");
        assert!(link(&plan, "br0").bridge_master.vlan.filtering_enabled);
        for member in ["dummy0", "eth1"] {
            assert_eq!(link(&plan, member).bridge_slave.master_name, "br0");
        }
        assert_eq!((link(&plan, "dummy0").kind, link(&plan, "eth1.5").mtu), ("dummy".into(), 1400));
    }

    #[test]
    fn routes_may_be_in_any_table() {
        let routes =
            "routes: [{destination: 10.8.0.0/16, gateway: 10.0.0.1, table: 100, metric: 7, mtu: 1300}]";
        let plan = plan(&[&format!("kind: LinkConfig, name: eth1, {routes}")]);
        let route =
            plan.output::<RouteSpec>("configuration/100/inet4/10.0.0.1/10.8.0.0/16/7").expect("a route");
        assert_eq!((route.table, route.mtu), (RouteTable(100), 1300));
        assert_eq!(route.gateway, Some(IpAddr::from([10, 0, 0, 1])));
    }

    #[test]
    fn routes_of_a_routing_domain_are_in_its_table() {
        let routes = "routes: [{gateway: 10.0.0.1}, {gateway: 10.0.0.1, table: main}]";
        let plan = plan(&[
            "kind: VRFConfig, name: blue, links: [lan], table: 200, routes: [{gateway: 10.0.0.2}]",
            &format!("kind: LinkConfig, name: lan, {routes}"),
        ]);
        let ids: Vec<_> = plan.outputs::<RouteSpec>().iter().map(|row| row.metadata.id.clone()).collect();
        let expected = ["200/inet4/10.0.0.1//1024", "inet4/10.0.0.1//1024", "200/inet4/10.0.0.2//1024"];
        assert_eq!(ids, expected.map(id));
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
