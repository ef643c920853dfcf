//! Rules of links that are made in software, and of what belongs to links.

use std::collections::HashMap;

use ipnet::IpNet;

use super::network::{mtu, routes};
use super::{Rules, Validation};
use crate::document::Document;
use crate::link_selector::LinkSelector;
use crate::node::{Node, Position};
use crate::problem::Path;
use crate::reader::Reader;
use crate::values;

/// Longest name of a link, bytes: the kernel's `IFNAMSIZ` with its zero is 16.
const NAME_BYTES_MAX: usize = 15;
/// Bytes of a hardware address of Ethernet.
const HARDWARE_BYTES: usize = 6;
/// Bytes of a key of WireGuard.
const KEY_BYTES: usize = 32;
/// Addresses that a bond may probe (`BOND_MAX_ARP_TARGETS`).
const PROBED_MAX: usize = 16;
/// Interval of link checks of bonds that cannot probe, milliseconds.
const MIIMON: i64 = 100;
/// Priorities of rules that the system has for itself: the tables of the kernel, and the mesh between machines.
const RESERVED: [u32; 5] = [0, 32_500, 32_501, 32_766, 32_767];
/// Least important priority.
const PRIORITY_MAX: u32 = 32_765;
/// Names of routing tables; the last one says that none is meant.
const TABLES: [&str; 4] = ["default", "main", "local", "unspec"];

/// Kinds that are about one link, which they name.
pub(super) const LINK_KINDS: [&str; 8] = [
    "LinkConfig",
    "BondConfig",
    "BridgeConfig",
    "DummyLinkConfig",
    "VLANConfig",
    "VRFConfig",
    "VethConfig",
    "WireguardConfig",
];

/// Rules of one document.
pub(super) fn document(rules: &mut Rules<'_>) {
    let kind = rules.document.id.kind.as_str();
    let (node, root) = (rules.node(), Path::ROOT);
    if LINK_KINDS.contains(&kind) {
        link(rules, node, &root);
    }
    match kind {
        "BondConfig" => {
            members(rules, node, &root, "links");
            bond(rules, node, &root, "bondMode", "links");
        }
        "BridgeConfig" => members(rules, node, &root, "links"),
        "VLANConfig" => parent(rules, node),
        "VRFConfig" => {
            members(rules, node, &root, "links");
            table(rules, node, &root);
        }
        "VethConfig" => peer(rules, node),
        "WireguardConfig" => wireguard(rules, node, &root),
        "RoutingRuleConfig" => routing_rule(rules, node),
        "LinkAliasConfig" => alias(rules, node),
        _ => {}
    }
}

/// Text under a key, if it is not empty, with its place.
fn text<'a>(node: &'a Node, key: &str) -> Option<(&'a str, Position)> {
    let value = node.get(key)?;
    value.as_text().filter(|text| !text.is_empty()).map(|text| (text, value.at))
}

fn number(node: &Node, key: &str) -> i64 {
    Reader::new(node).get(key).integer().unwrap_or(0)
}

/// What all links have in common.
fn link(rules: &mut Rules<'_>, node: &Node, path: &Path<'_>) {
    if let Some((name, at)) = text(node, "name")
        && !is_link_name(name)
    {
        rules.refuse_at(&path.key("name"), at, not_a_link(name));
    }
    if let Some((address, at)) = text(node, "hardwareAddr")
        && !is_hardware_address(address)
    {
        let message = format!("{address:?} is not a hardware address such as 52:54:00:00:00:01");
        rules.refuse_at(&path.key("hardwareAddr"), at, message);
    }
    mtu(rules, node, path, "addresses");
    routes(rules, node, path, "destination");
    let list = path.key("routes");
    for (index, route) in node.get("routes").and_then(Node::as_list).unwrap_or_default().iter().enumerate() {
        table(rules, route, &list.index(index));
    }
}

fn is_link_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && !matches!(name, "." | "..")
        && name.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':'))
}

fn not_a_link(name: &str) -> String {
    format!("{name:?} is not a name of a link (at most {NAME_BYTES_MAX} bytes, without blanks, / and :)")
}

fn is_hardware_address(address: &str) -> bool {
    let parts: Vec<_> = address.split([':', '-']).collect();
    parts.len() == HARDWARE_BYTES
        && parts.iter().all(|part| part.len() == 2 && u8::from_str_radix(part, 16).is_ok())
}

/// A routing table is a number, or has one of a few names.
fn table(rules: &mut Rules<'_>, node: &Node, path: &Path<'_>) {
    if let Some((table, at)) = text(node, "table")
        && !TABLES.contains(&table)
        && !table.parse::<u32>().is_ok_and(|number| number > 0)
    {
        let message = format!("{table:?} is not a number, nor one of {}", TABLES.join(", "));
        rules.refuse_at(&path.key("table"), at, message);
    }
}

/// Links that belong to another one: each once, and not to itself.
fn members(rules: &mut Rules<'_>, node: &Node, path: &Path<'_>, key: &str) {
    let own = text(node, "name").map(|(name, _)| name);
    let list = path.key(key);
    let mut seen: HashMap<&str, Position> = HashMap::new();
    for (index, item) in node.get(key).and_then(Node::as_list).unwrap_or_default().iter().enumerate() {
        let Some(name) = item.as_text() else { continue };
        let path = list.index(index);
        if name.is_empty() {
            rules.refuse_at(&path, item.at, "expected the name of a link");
        } else if own == Some(name) {
            rules.refuse_at(&path, item.at, format!("{name} cannot belong to itself"));
        } else if let Some(first) = seen.insert(name, item.at) {
            rules.refuse_at(&path, item.at, format!("{name} is already named in line {}", first.line));
        }
    }
}

fn parent(rules: &mut Rules<'_>, node: &Node) {
    if let (Some((parent, at)), Some((name, _))) = (text(node, "parent"), text(node, "name"))
        && parent == name
    {
        rules.refuse_at(&Path::ROOT.key("parent"), at, format!("{name} cannot be below itself"));
    }
}

fn peer(rules: &mut Rules<'_>, node: &Node) {
    let Some(peer) = node.get("peer") else { return };
    let path = Path::ROOT.key("peer");
    link(rules, peer, &path);
    if let (Some((other, at)), Some((name, _))) = (text(peer, "name"), text(node, "name"))
        && other == name
    {
        rules.refuse_at(&path.key("name"), at, "the two ends need two names");
    }
}

/// An option of bonds that some modes do not have (`bond_opts` of the kernel): its key, the value that says what is so in
/// any case, and the modes that have it.
type OnlyIn = (&'static str, &'static str, &'static [&'static str]);

const PROBING: &[&str] = &["balance-rr", "active-backup", "balance-xor", "broadcast"];
const LACP: &[&str] = &["802.3ad"];
const BALANCING: &[&str] = &["balance-tlb", "balance-alb"];

const ONLY_IN: &[OnlyIn] = &[
    ("lacpRate", "slow", LACP),
    ("adActorSysPrio", "65535", LACP),
    ("adUserPortKey", "0", LACP),
    ("adLACPActive", "on", LACP),
    ("packetsPerSlave", "1", &["balance-rr"]),
    ("tlbLogicalLb", "1", BALANCING),
    ("tlbDynamicLb", "1", BALANCING),
    ("primary", "", &["active-backup", "balance-tlb", "balance-alb"]),
    ("arpInterval", "0", PROBING),
    ("arpValidate", "none", PROBING),
    ("missedMax", "2", PROBING),
];

/// The kernel's `INT_MAX`.
const INT_MAX: i64 = 2_147_483_647;

/// An option of bonds whose numbers the kernel bounds (`bond_opts`): its key, the least and the greatest. One that it refuses
/// would keep the bond from coming up.
const BOUNDS: &[(&str, i64, i64)] = &[
    ("resendIGMP", 0, 255),
    ("resendIgmp", 0, 255),
    ("lpInterval", 1, INT_MAX),
    ("packetsPerSlave", 0, 65_535),
    ("numPeerNotif", 0, 255),
    ("tlbLogicalLb", 0, 1),
    ("tlbDynamicLb", 0, 1),
    ("allSlavesActive", 0, 1),
    ("missedMax", 1, 255),
    ("adActorSysPrio", 1, 65_535),
    ("adUserPortKey", 0, 1023),
    ("miimon", 0, INT_MAX),
    ("updelay", 0, INT_MAX),
    ("downdelay", 0, INT_MAX),
    ("arpInterval", 0, INT_MAX),
    ("minLinks", 0, INT_MAX),
    ("peerNotifDelay", 0, 300_000),
    ("peerNotifyDelay", 0, 300_000),
];

/// A bond whose options the kernel takes together.
fn bond(rules: &mut Rules<'_>, bond: &Node, path: &Path<'_>, mode: &str, links: &str) {
    let mode = text(bond, mode).map_or("balance-rr", |(mode, _)| mode);
    for (key, harmless, modes) in ONLY_IN.iter().filter(|(.., modes)| !modes.contains(&mode)) {
        let set = bond.get(key).filter(|value| !value.is_zero() && value.as_text() != Some(*harmless));
        if let Some(value) = set {
            let message =
                format!("bonds have it in the mode {} only, this one is {mode}", modes.join(" or "));
            rules.refuse_at(&path.key(key), value.at, message);
        }
    }
    for (key, least, greatest) in BOUNDS {
        let given = bond.get(key).map(|value| (value.at, Reader::new(value).integer::<i64>()));
        if let Some((at, Some(number))) = given
            && !(*least..=*greatest).contains(&number)
        {
            rules.refuse_at(&path.key(key), at, format!("must be from {least} to {greatest}"));
        }
    }
    monitoring(rules, bond, path, mode);
    probed(rules, bond, path);
    let members: Vec<_> = bond.get(links).and_then(Node::as_list).unwrap_or_default().iter().collect();
    if let Some((primary, at)) = text(bond, "primary")
        && !members.is_empty()
        && !members.iter().any(|member| member.as_text() == Some(primary))
    {
        rules.refuse_at(&path.key("primary"), at, format!("{primary} is not a link of this bond"));
    }
}

/// Links are watched one way or the other, and delays are counted in looks.
fn monitoring(rules: &mut Rules<'_>, bond: &Node, path: &Path<'_>, mode: &str) {
    let at = |key: &str| bond.get(key).map_or(bond.at, |value| value.at);
    let given = number(bond, "miimon");
    // Modes that cannot probe are watched in any case.
    let miimon = if given == 0 && !PROBING.contains(&mode) { MIIMON } else { given };
    for key in ["arpInterval", "arpValidate"] {
        let set = text(bond, key).is_some_and(|(value, _)| !matches!(value, "0" | "none"));
        if set && given != 0 {
            rules.refuse_at(&path.key(key), at(key), "a bond with miimon does not probe; keep only one");
        }
    }
    for key in ["updelay", "downdelay", "peerNotifDelay", "peerNotifyDelay"] {
        let delay = number(bond, key);
        if delay != 0 && miimon == 0 {
            rules.refuse_at(&path.key(key), at(key), "needs miimon");
        } else if miimon != 0 && delay % miimon != 0 {
            rules.refuse_at(
                &path.key(key),
                at(key),
                format!("must be a multiple of miimon, which is {miimon}"),
            );
        }
    }
}

/// Addresses that a bond probes are of the right family.
fn probed(rules: &mut Rules<'_>, bond: &Node, path: &Path<'_>) {
    for (key, four) in [("arpIpTargets", true), ("arpIPTarget", true), ("nsIp6Targets", false)] {
        let items = bond.get(key).and_then(Node::as_list).unwrap_or_default();
        if items.len() > PROBED_MAX {
            rules.refuse_at(
                &path.key(key),
                items[PROBED_MAX].at,
                format!("at most {PROBED_MAX} addresses are probed"),
            );
        }
        for (index, item) in items.iter().enumerate() {
            let address = item.as_text().and_then(|text| text.parse::<std::net::IpAddr>().ok());
            if address.is_some_and(|address| address.is_ipv4() != four) {
                let family = if four { "IPv4" } else { "IPv6" };
                rules.refuse_at(
                    &path.key(key).index(index),
                    item.at,
                    format!("expected an address of {family}"),
                );
            }
        }
    }
}

/// Keys are never shown.
fn wireguard(rules: &mut Rules<'_>, link: &Node, path: &Path<'_>) {
    key(rules, link, path, "privateKey");
    let list = path.key("peers");
    let mut seen: HashMap<&str, Position> = HashMap::new();
    for (index, peer) in link.get("peers").and_then(Node::as_list).unwrap_or_default().iter().enumerate() {
        let path = list.index(index);
        key(rules, peer, &path, "publicKey");
        key(rules, peer, &path, "presharedKey");
        if let Some((key, at)) = text(peer, "publicKey")
            && let Some(first) = seen.insert(key, at)
        {
            let message = format!("this peer is already given in line {}", first.line);
            rules.refuse_at(&path.key("publicKey"), at, message);
        }
        if let Some((endpoint, at)) = text(peer, "endpoint")
            && endpoint.parse::<std::net::SocketAddr>().is_err()
        {
            let message = format!("{endpoint:?} is not an address with a port such as 192.0.2.1:51820");
            rules.refuse_at(&path.key("endpoint"), at, message);
        }
        let keepalive = text(peer, "persistentKeepaliveInterval");
        let seconds = keepalive.and_then(|(text, _)| values::duration(text)).map(|time| time.as_secs());
        if let (Some((_, at)), Some(true)) = (keepalive, seconds.map(|seconds| seconds > u64::from(u16::MAX)))
        {
            let path = path.key("persistentKeepaliveInterval");
            rules.refuse_at(&path, at, format!("at most {}s", u16::MAX));
        }
    }
}

fn key(rules: &mut Rules<'_>, node: &Node, path: &Path<'_>, key: &str) {
    if let Some((text, at)) = text(node, key)
        && values::base64(text).is_none_or(|bytes| bytes.len() != KEY_BYTES)
    {
        rules.refuse_at(&path.key(key), at, "not a WireGuard key, which is the base64 of 32 bytes");
    }
}

fn routing_rule(rules: &mut Rules<'_>, rule: &Node) {
    let root = Path::ROOT;
    if let Some((name, at)) = text(rule, "name") {
        let priority = name.parse::<u32>().ok().filter(|priority| *priority <= PRIORITY_MAX);
        if priority.is_none_or(|priority| RESERVED.contains(&priority) || priority.to_string() != name) {
            let message = format!(
                "{name:?} is not a priority: a number from 1 to {PRIORITY_MAX}, except 32500 and 32501"
            );
            rules.refuse_at(&root.key("name"), at, message);
        }
    }
    table(rules, rule, &root);
    for key in ["iifName", "oifName"] {
        if let Some((name, at)) = text(rule, key)
            && !is_link_name(name)
        {
            rules.refuse_at(&root.key(key), at, not_a_link(name));
        }
    }
    let network = |key: &str| text(rule, key).and_then(|(text, _)| text.parse::<IpNet>().ok());
    if let (Some(src), Some(dst)) = (network("src"), network("dst"))
        && src.addr().is_ipv4() != dst.addr().is_ipv4()
    {
        rules.refuse(&["dst"], format!("{dst} and {src} are of different families"));
    }
    if number(rule, "fwMask") != 0 && number(rule, "fwMark") == 0 {
        rules.refuse(&["fwMask"], "needs fwMark");
    }
}

fn alias(rules: &mut Rules<'_>, alias: &Node) {
    if let Some((name, at)) = text(alias, "name") {
        let plain = name.replacen("%d", "0", 1);
        if plain.contains('%') || !is_link_name(&plain) {
            let message = format!("{name:?} is not a name of a link, in which one %d may stand for a number");
            rules.refuse_at(&Path::ROOT.key("name"), at, message);
        }
    }
    match rules.text(&["selector", "match"]).map(LinkSelector::parse) {
        None => rules
            .refuse(&["selector", "match"], "missing; expected an expression such as link.driver == 'e1000'"),
        Some(Err(error)) => rules.refuse(&["selector", "match"], error.to_string()),
        Some(Ok(_)) => {}
    }
}

/// What a link in `machine.network.interfaces` is made as.
pub(super) fn legacy(rules: &mut Rules<'_>, link: &Node, path: &Path<'_>) {
    let set = |key: &&&str| link.get(key).is_some_and(|value| !value.is_zero());
    let kinds: Vec<_> = ["bond", "bridge", "wireguard", "dummy"].iter().filter(set).collect();
    if let [first, second, ..] = kinds.as_slice() {
        rules.refuse_at(&path.key(second), link.at, format!("{first} and {second} exclude each other"));
    }
    if let Some(kind) = kinds.first()
        && link.get("deviceSelector").is_some_and(|node| !node.is_zero())
    {
        rules.refuse_at(&path.key("deviceSelector"), link.at, format!("a {kind} is made, and needs a name"));
    }
    if let Some(node) = link.get("bond").filter(|node| !node.is_zero()) {
        let path = path.key("bond");
        let set = |key: &str| node.get(key).is_some_and(|value| !value.is_zero());
        match (set("interfaces"), set("deviceSelectors")) {
            (false, false) => rules.refuse_at(&path, node.at, "give interfaces or deviceSelectors"),
            (true, true) => {
                rules.refuse_at(&path, node.at, "interfaces and deviceSelectors exclude each other");
            }
            _ => {}
        }
        members(rules, node, &path, "interfaces");
        bond(rules, node, &path, "mode", "interfaces");
    }
    if let Some(bridge) = link.get("bridge") {
        members(rules, bridge, &path.key("bridge"), "interfaces");
    }
    if let Some(node) = link.get("wireguard").filter(|node| !node.is_zero()) {
        let path = path.key("wireguard");
        if text(node, "privateKey").is_none() {
            rules.refuse_at(&path.key("privateKey"), node.at, "missing");
        }
        let peers = path.key("peers");
        for (index, peer) in node.get("peers").and_then(Node::as_list).unwrap_or_default().iter().enumerate()
        {
            if text(peer, "publicKey").is_none() {
                rules.refuse_at(&peers.index(index).key("publicKey"), peer.at, "missing");
            }
        }
        wireguard(rules, node, &path);
    }
}

/// Rules between documents: links share one space of names, and each belongs to one other at most.
pub(super) fn between(documents: &[Document], out: &mut Validation) {
    let mut names: HashMap<&str, &Document> = HashMap::new();
    let mut masters: HashMap<&str, &Document> = HashMap::new();
    for document in documents.iter().filter(|document| LINK_KINDS.contains(&document.id.kind.as_str())) {
        let mut rules = Rules::new(document, out);
        let peer = document.node.at_path(&["peer", "name"]).and_then(Node::as_text);
        let own: (&str, &[&str]) = (document.id.name.as_str(), &["name"]);
        let other = peer.map(|name| -> (&str, &[&str]) { (name, &["peer", "name"]) });
        for (name, keys) in [own].into_iter().chain(other).filter(|(name, _)| !name.is_empty()) {
            match names.insert(name, document) {
                Some(first) if first.id != document.id => {
                    let line = first.node.at.line;
                    rules.refuse(keys, format!("{} in line {line} is about {name} too", first.id));
                }
                _ => {}
            }
        }
        for member in document.node.get("links").and_then(Node::as_list).unwrap_or_default() {
            let Some(name) = member.as_text() else { continue };
            if let Some(first) = masters.insert(name, document).filter(|first| first.id != document.id) {
                let message =
                    format!("{name} belongs to {} in line {} already", first.id, first.node.at.line);
                rules.refuse_at(&Path::ROOT.key("links"), member.at, message);
            }
        }
    }
}

#[cfg(test)]
mod tests;
