//! Merges the layers: of each kind of specification, the highest layer wins.
//!
//! ```text
//! *Spec@network-config (`<layer>/<id>`) ──▶ merge ──▶ *Spec@network (`<id>`)
//! ```
//! Addresses, routes, rules and operators win as a whole by id. Links are merged field by field, so that configuration can
//! set the MTU of a link that the command line addressed. Name servers are replaced per address family, time servers
//! as a list; several of one layer are put together (two links with DHCP).

use std::collections::BTreeMap;
use std::net::IpAddr;

use corten_resource::{Plan, Resource, Spec, Transform, View, controller};
use corten_resources::network::{
    AddressSpec, HostnameSpec, Layer, LinkSpec, LinkType, NameServer, OperatorSpec, ProbeSpec, ResolverSpec,
    RouteSpec, RoutingRuleSpec, TimeServerSpec,
};

/// A specification of a layer.
trait Layered: Spec {
    /// Its layer.
    fn layer(&self) -> Layer;
    /// Id of what it is about, the same in all layers.
    fn key(&self) -> String;
}

macro_rules! layered {
    ($($spec:ty => |$it:ident| $key:expr;)*) => {$(
        impl Layered for $spec {
            fn layer(&self) -> Layer { self.layer }
            fn key(&self) -> String { let $it = self; $key }
        }
    )*};
}

layered! {
    AddressSpec => |spec| spec.id();
    RouteSpec => |spec| spec.id();
    RoutingRuleSpec => |spec| spec.id();
    OperatorSpec => |spec| spec.id();
    ProbeSpec => |spec| spec.id();
    LinkSpec => |spec| spec.name.clone();
    HostnameSpec => |_spec| HostnameSpec::ID.to_owned();
    ResolverSpec => |_spec| ResolverSpec::ID.to_owned();
    TimeServerSpec => |_spec| TimeServerSpec::ID.to_owned();
}

/// All specifications by what they are about, each list with the lowest layer first.
fn by_key<'a, S: Layered>(rows: impl IntoIterator<Item = &'a S>) -> BTreeMap<String, Vec<&'a S>> {
    let mut keyed: BTreeMap<String, Vec<&S>> = BTreeMap::new();
    for spec in rows {
        keyed.entry(spec.key()).or_default().push(spec);
    }
    for layers in keyed.values_mut() {
        layers.sort_by_key(|spec| spec.layer());
    }
    keyed
}

/// The first specification of the highest layer.
fn winner<S: Layered>(layers: &[&S]) -> Option<S> {
    let highest = layers.iter().map(|spec| spec.layer()).max()?;
    layers.iter().find(|spec| spec.layer() == highest).map(|spec| (*spec).clone())
}

/// Fields that a higher layer sets replace those of a lower one; whether the link is up is set by each of them.
fn merge_links(layers: &[&LinkSpec]) -> Option<LinkSpec> {
    let (first, rest) = layers.split_first()?;
    let mut link = (*first).clone();
    for next in rest {
        macro_rules! take {
            ($($field:ident unless $empty:expr),* $(,)?) => {
                $(if next.$field != $empty { link.$field = next.$field.clone(); })*
            };
        }
        take! {
            logical unless false, mtu unless 0, kind unless "", link_type unless LinkType::default(),
            hardware_addr unless Default::default(), parent_name unless "", bond_slave unless Default::default(),
            bridge_slave unless Default::default(), vlan unless Default::default(),
            bridge_master unless Default::default(), bond_master unless Default::default(),
            vrf_slave unless Default::default(), vrf_master unless None, veth unless Default::default(),
            wireguard unless Default::default(), multicast unless None,
        }
        link.up = next.up;
        link.layer = next.layer;
    }
    Some(link)
}

/// Servers of both families, each from the highest layer that names any of it.
fn merge_resolvers(layers: &[&ResolverSpec]) -> Option<ResolverSpec> {
    let mut merged = (*layers.last()?).clone();
    let names_family = |spec: &ResolverSpec, v4: bool| spec.dns_servers.iter().any(|ip| ip.is_ipv4() == v4);
    let source = |v4: bool| layers.iter().rev().find(|spec| names_family(spec, v4)).map(|spec| spec.layer);
    let (four, six) = (source(true), source(false));
    let chosen = |spec: &ResolverSpec, ip: &IpAddr| Some(spec.layer) == if ip.is_ipv4() { four } else { six };
    let from_top = || layers.iter().rev();
    merged.dns_servers =
        dedup(from_top().flat_map(|spec| spec.dns_servers.iter().filter(|ip| chosen(spec, ip)).copied()));
    let servers = from_top().flat_map(|spec| {
        let wanted = |server: &&NameServer| server.addr.is_some_and(|ip| chosen(spec, &ip));
        spec.name_servers.iter().filter(wanted).cloned()
    });
    merged.name_servers = dedup(servers);
    let domains =
        layers.iter().rev().find(|spec| !spec.search_domains.is_empty() || spec.search_domains_overridden);
    let of_layer = |spec: &&&ResolverSpec| Some(spec.layer) == domains.map(|spec| spec.layer);
    merged.search_domains =
        dedup(layers.iter().filter(of_layer).flat_map(|spec| spec.search_domains.clone()));
    merged.search_domains_overridden = layers.iter().any(|spec| spec.search_domains_overridden);
    Some(merged)
}

fn merge_time_servers(layers: &[&TimeServerSpec]) -> Option<TimeServerSpec> {
    let top = layers.last()?;
    let same = layers.iter().filter(|spec| spec.layer == top.layer);
    let time_servers = dedup(same.clone().flat_map(|spec| spec.time_servers.clone()));
    Some(TimeServerSpec { time_servers, use_nts: same.clone().all(|spec| spec.use_nts), layer: top.layer })
}

fn dedup<T: PartialEq>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut unique = Vec::new();
    for item in items {
        if !unique.contains(&item) {
            unique.push(item);
        }
    }
    unique
}

macro_rules! merges {
    ($($(#[$doc:meta])* $controller:ident = $name:literal: $spec:ty, $merge:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $controller;

        controller!($controller, $name,
            inputs: [strong $spec in "network-config"],
            outputs: [exclusive $spec in "network"]);

        impl Transform for $controller {
            fn plan(&self, view: &View<Self>) -> Plan<Self> {
                let rows = view.list::<$spec>();
                let mut plan = Plan::new();
                for (id, layers) in by_key(rows.iter().map(|row: &&Resource<$spec>| &row.spec)) {
                    if let Some(spec) = $merge(&layers) {
                        plan.put::<$spec>(id, spec);
                    }
                }
                plan
            }
        }
    )*};
}

merges! {
    /// Merges [`AddressSpec`].
    AddressMerge = "network.AddressMerge": AddressSpec, winner;
    /// Merges [`RouteSpec`].
    RouteMerge = "network.RouteMerge": RouteSpec, winner;
    /// Merges [`RoutingRuleSpec`].
    RoutingRuleMerge = "network.RoutingRuleMerge": RoutingRuleSpec, winner;
    /// Merges [`OperatorSpec`].
    OperatorMerge = "network.OperatorMerge": OperatorSpec, winner;
    /// Merges [`ProbeSpec`].
    ProbeMerge = "network.ProbeMerge": ProbeSpec, winner;
    /// Merges [`LinkSpec`].
    LinkMerge = "network.LinkMerge": LinkSpec, merge_links;
    /// Merges [`HostnameSpec`].
    HostnameMerge = "network.HostnameMerge": HostnameSpec, winner;
    /// Merges [`ResolverSpec`].
    ResolverMerge = "network.ResolverMerge": ResolverSpec, merge_resolvers;
    /// Merges [`TimeServerSpec`].
    TimeServerMerge = "network.TimeServerMerge": TimeServerSpec, merge_time_servers;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolvers(layer: Layer, servers: &[&str]) -> ResolverSpec {
        ResolverSpec::plain(layer, servers.iter().map(|ip| ip.parse().expect("ip")).collect())
    }

    #[test]
    fn the_highest_layer_wins_as_a_whole() {
        let hostname =
            |layer, name: &str| HostnameSpec { hostname: name.into(), layer, ..HostnameSpec::default() };
        let (low, high) = (hostname(Layer::Default, "talos-abc"), hostname(Layer::Operator, "from-dhcp"));
        let keyed = by_key([&high, &low]);
        assert_eq!(winner(&keyed["hostname"]), Some(high));
    }

    #[test]
    fn links_are_merged_field_by_field() {
        let low = LinkSpec { mtu: 9000, ..LinkSpec::up(Layer::Default, "eth0") };
        let high = LinkSpec { mtu: 1400, ..LinkSpec::up(Layer::Configuration, "eth0") };
        let merged = merge_links(&[&low, &high]).expect("a link");
        assert_eq!((merged.up, merged.mtu, merged.layer), (true, 1400, Layer::Configuration));
        let merged = merge_links(&[&low, &LinkSpec { up: false, ..high }]).expect("a link");
        assert!(!merged.up, "the configuration can set a link down");
    }

    #[test]
    fn name_servers_are_replaced_per_family() {
        let builtin = resolvers(Layer::Default, &["1.1.1.1", "2606:4700::1111"]);
        let (one, two) = (
            resolvers(Layer::Operator, &["10.0.0.1"]),
            resolvers(Layer::Operator, &["10.0.0.2", "10.0.0.1"]),
        );
        let merged = merge_resolvers(&[&builtin, &one, &two]).expect("resolvers");
        let texts: Vec<_> = merged.dns_servers.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.2", "10.0.0.1", "2606:4700::1111"]);
        assert_eq!(merged.name_servers.len(), 3);
    }

    proptest::proptest! {
        #[test]
        fn merging_never_invents_a_server_and_never_loses_all(layers in proptest::collection::vec(
            (0..5_i64, proptest::collection::vec(proptest::prelude::any::<[u8; 4]>(), 0..4)), 1..6))
        {
            use corten_resource::Enumeration as _;
            let mut specs: Vec<ResolverSpec> = layers.into_iter().map(|(layer, ips)| ResolverSpec::plain(
                Layer::from_number(layer).unwrap_or_default(), ips.into_iter().map(IpAddr::from).collect())).collect();
            specs.sort_by_key(|spec| spec.layer);
            let merged = merge_resolvers(&specs.iter().collect::<Vec<_>>()).expect("resolvers");
            let all: Vec<IpAddr> = specs.iter().flat_map(|spec| spec.dns_servers.clone()).collect();
            proptest::prop_assert!(merged.dns_servers.iter().all(|ip| all.contains(ip)));
            proptest::prop_assert_eq!(merged.dns_servers.is_empty(), all.is_empty());
        }
    }
}
