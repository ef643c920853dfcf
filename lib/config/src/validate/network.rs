//! Rules of `machine.network`.

use std::collections::HashMap;

use super::{Rules, is_dns_name, links};
use crate::node::{Node, Position};
use crate::problem::Path;
use crate::values;

/// Least MTU that IPv6 works with (RFC 8200).
const MTU_MIN: i64 = 1280;
/// Least MTU that IPv4 works with (RFC 791).
const MTU_MIN_IPV4: i64 = 68;

pub(super) fn check(rules: &mut Rules<'_>) {
    if let Some(name) = rules.text(&["machine", "network", "hostname"])
        && !is_dns_name(name)
    {
        rules.refuse(&["machine", "network", "hostname"], not_a_name(name));
    }
    interfaces(rules);
}

pub(super) fn not_a_name(name: &str) -> String {
    format!("{name:?} is not a host name (letters, digits and dashes, joined by dots)")
}

fn interfaces(rules: &mut Rules<'_>) {
    let machine = Path::ROOT.key("machine");
    let network = machine.key("network");
    let list = network.key("interfaces");
    let mut seen: HashMap<&str, Position> = HashMap::new();
    for (index, link) in rules.items(&["machine", "network", "interfaces"]).iter().enumerate() {
        let path = list.index(index);
        let name = link.get("interface").and_then(Node::as_text).unwrap_or_default();
        let selector = link.get("deviceSelector").is_some_and(|node| !node.is_zero());
        match (name.is_empty(), selector) {
            (true, false) => rules.refuse_at(&path, link.at, "give interface or deviceSelector"),
            (false, true) => {
                rules.refuse_at(&path, link.at, "interface and deviceSelector exclude each other")
            }
            _ => {}
        }
        if !name.is_empty()
            && let Some(first) = seen.insert(name, link.at)
        {
            let message = format!("{name} is already configured in line {}", first.line);
            rules.refuse_at(&path.key("interface"), link.at, message);
        }
        link_fields(rules, link, &path);
        links::legacy(rules, link, &path);
        vlans(rules, link, &path);
    }
}

fn link_fields(rules: &mut Rules<'_>, link: &Node, path: &Path<'_>) {
    if link.get("cidr").is_some() && link.get("addresses").is_some_and(|node| !node.is_zero()) {
        rules.refuse_at(&path.key("cidr"), link.at, "cidr and addresses exclude each other; use addresses");
    }
    mtu(rules, link, path, "addresses");
    routes(rules, link, path, "network");
}

/// An MTU must leave room for what is sent over the link.
pub(super) fn mtu(rules: &mut Rules<'_>, link: &Node, path: &Path<'_>, addresses: &str) {
    let Some(node) = link.get("mtu").filter(|node| !node.is_zero()) else { return };
    let Some(mtu) = node.as_text().and_then(|text| text.parse::<i64>().ok()) else { return };
    let items = link.get(addresses).and_then(Node::as_list).unwrap_or_default();
    let text = |item: &Node| item.get("address").unwrap_or(item).as_text().unwrap_or_default().to_owned();
    let only_ipv4 = !items.is_empty()
        && items.iter().all(|item| values::address(&text(item)).is_some_and(|net| net.addr().is_ipv4()));
    let (least, family) = if only_ipv4 { (MTU_MIN_IPV4, "IPv4") } else { (MTU_MIN, "IPv6") };
    if mtu < least {
        rules.refuse_at(
            &path.key("mtu"),
            node.at,
            format!("{mtu} is below the minimum {least} for {family}"),
        );
    }
}

/// Routes must lead somewhere, and stay within one family.
pub(super) fn routes(rules: &mut Rules<'_>, link: &Node, path: &Path<'_>, destination: &str) {
    let list = path.key("routes");
    for (index, route) in link.get("routes").and_then(Node::as_list).unwrap_or_default().iter().enumerate() {
        let path = list.index(index);
        let text = |key: &str| route.get(key).and_then(Node::as_text).filter(|text| !text.is_empty());
        let network: Option<ipnet::IpNet> = text(destination).and_then(|text| text.parse().ok());
        let gateway: Option<std::net::IpAddr> = text("gateway").and_then(|text| text.parse().ok());
        if text(destination).is_none() && text("gateway").is_none() {
            rules.refuse_at(&path, route.at, format!("give {destination}, gateway or both"));
        }
        if let (Some(network), Some(gateway)) = (network, gateway)
            && network.addr().is_ipv4() != gateway.is_ipv4()
        {
            let message = format!("{gateway} and {network} are of different families");
            rules.refuse_at(&path.key("gateway"), route.at, message);
        }
    }
}

fn vlans(rules: &mut Rules<'_>, link: &Node, path: &Path<'_>) {
    let list = path.key("vlans");
    let mut seen: HashMap<&str, Position> = HashMap::new();
    for (index, vlan) in link.get("vlans").and_then(Node::as_list).unwrap_or_default().iter().enumerate() {
        let path = list.index(index);
        match vlan.get("vlanId").and_then(Node::as_text).filter(|id| *id != "0") {
            None => rules.refuse_at(&path.key("vlanId"), vlan.at, "missing; expected 1 to 4094"),
            Some(id) => {
                if let Some(first) = seen.insert(id, vlan.at) {
                    let message = format!("VLAN {id} is already configured in line {}", first.line);
                    rules.refuse_at(&path.key("vlanId"), vlan.at, message);
                }
            }
        }
        link_fields(rules, vlan, &path);
    }
}
