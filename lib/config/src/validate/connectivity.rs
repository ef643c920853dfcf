//! Rules of the documents about the firewall, probes, shared addresses and DHCP version 6.

use super::Rules;
use crate::node::Node;
use crate::problem::Path;
use crate::values;

/// Rules of the firewall have at most so many networks, so that the kernel takes all in one step.
const NETWORKS_MAX: usize = 1024;

/// Checks a document of one of these kinds; nothing of others.
pub(super) fn check(rules: &mut Rules<'_>) {
    match rules.document.id.kind.as_str() {
        "NetworkRuleConfig" => firewall_rule(rules),
        "TCPProbeConfig" => endpoint(rules),
        "HTTPProbeConfig" => url(rules),
        "DHCPv4Config" | "DHCPv6Config" => duid(rules),
        "Layer2VIPConfig" if rules.text(&["link"]).is_none() => {
            rules.refuse(&["link"], "missing; name the link that the control planes have in common");
        }
        _ => {}
    }
}

fn firewall_rule(rules: &mut Rules<'_>) {
    let protocol = rules.text(&["portSelector", "protocol"]);
    if protocol.is_none() {
        rules.refuse(&["portSelector", "protocol"], "missing; expected tcp, udp, icmp or icmpv6");
    }
    let items = rules.items(&["portSelector", "ports"]);
    let (selector, ingress) = (Path::ROOT.key("portSelector"), Path::ROOT.key("ingress"));
    if matches!(protocol, Some("icmp" | "icmpv6")) {
        if !items.is_empty() {
            rules.warn(&["portSelector", "ports"], "ICMP has no ports; the rule is about all its messages");
        }
    } else if items.is_empty() {
        rules.refuse(&["portSelector", "ports"], "missing; give ports such as 50000 or ranges such as 80-90");
    }
    let mut seen: Vec<(u16, u16)> = Vec::new();
    let list = selector.key("ports");
    for (index, item) in items.iter().enumerate() {
        let Some((first, last)) = item.as_text().and_then(values::ports) else { continue };
        let overlaps = |other: &&(u16, u16)| first <= other.1 && other.0 <= last;
        if let Some(other) = seen.iter().find(overlaps) {
            let message = format!("overlaps {}-{}, which is there already", other.0, other.1);
            rules.refuse_at(&list.index(index), item.at, message);
        }
        seen.push((first, last));
    }
    let networks = rules.items(&["ingress"]);
    if networks.len() > NETWORKS_MAX {
        rules.refuse(&["ingress"], format!("{} networks; at most {NETWORKS_MAX}", networks.len()));
    }
    for (index, item) in networks.iter().enumerate() {
        let net = |key: &str| {
            let text = item.get(key).and_then(Node::as_text);
            text.and_then(|text| text.parse::<ipnet::IpNet>().ok())
        };
        let path = ingress.index(index);
        if item.get("subnet").is_none_or(Node::is_zero) {
            rules.refuse_at(&path.key("subnet"), item.at, "missing; expected a network such as 10.0.0.0/8");
        }
        if let (Some(subnet), Some(except)) = (net("subnet"), net("except"))
            && !subnet.contains(&except)
        {
            rules.refuse_at(&path.key("except"), item.at, format!("{except} is no part of {subnet}"));
        }
    }
}

fn endpoint(rules: &mut Rules<'_>) {
    let Some(text) = rules.text(&["endpoint"]) else { return };
    if values::url(&format!("tcp://{text}")).is_none_or(|url| url.port.is_none()) {
        rules.refuse(&["endpoint"], format!("{text:?} is not a host with a port such as example.org:443"));
    }
}

fn url(rules: &mut Rules<'_>) {
    let Some(url) = rules.text(&["url"]).and_then(values::url) else { return };
    if !matches!(url.scheme.as_str(), "http" | "https") {
        rules.refuse(&["url"], format!("{} is not a scheme that is probed; use http or https", url.scheme));
    }
}

/// An identifier that is sent must be one.
fn duid(rules: &mut Rules<'_>) {
    let raw = rules.text(&["duidRaw"]);
    match (rules.text(&["clientIdentifier"]), raw) {
        (Some("duid"), None) => {
            rules.refuse(&["duidRaw"], "missing; clientIdentifier duid sends it");
        }
        (_, Some(text)) if !is_duid(text) => {
            rules.refuse(&["duidRaw"], format!("{text:?} is no identifier: 2 to 130 bytes in hexadecimal"));
        }
        _ => {}
    }
}

/// Two bytes of type and at most 128 of content (RFC 8415, 11.1).
fn is_duid(text: &str) -> bool {
    let digits = text.bytes().filter(|byte| *byte != b':');
    let count = digits.clone().count();
    digits.clone().all(|byte| byte.is_ascii_hexdigit()) && count % 2 == 0 && (4..=260).contains(&count)
}

#[cfg(test)]
mod tests {
    use crate::{Config, Target};

    fn check(kind: &str, fields: &str, expected: &[&str]) {
        let text = format!("apiVersion: v1alpha1\nkind: {kind}\n{fields}\n");
        let found = match Config::check(text.as_bytes(), Target::Metal) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.in_file("x"),
        };
        let texts: Vec<_> = found.iter().map(|text| text.rsplit_once(" (").map_or("", |it| it.0)).collect();
        let label = if fields.contains("name: n") { format!("{kind}/n") } else { kind.to_owned() };
        let expected: Vec<_> = expected.iter().map(|text| format!("document {label}: {text}")).collect();
        assert_eq!(texts, expected, "{text}");
    }

    #[test]
    fn rules_of_the_firewall() {
        let rule = |fields: &str, expected: &[&str]| {
            check("NetworkRuleConfig", &format!("name: n\n{fields}"), expected)
        };
        rule(
            "portSelector: {ports: [50000, 80-90], protocol: tcp}\ningress: [{subnet: 10.0.0.0/8, except: 10.1.0.0/16}]",
            &[],
        );
        rule("portSelector: {protocol: icmp}\ningress: [{subnet: 'fd00::/8'}]", &[]);
        rule(
            "ingress: []",
            &[
                "portSelector.ports: missing; give ports such as 50000 or ranges such as 80-90",
                "portSelector.protocol: missing; expected tcp, udp, icmp or icmpv6",
            ],
        );
        rule(
            "portSelector: {ports: [80-90, 85], protocol: udp}\ningress: [{except: 10.0.0.0/8}, {subnet: 10.0.0.0/8, except: 11.0.0.0/8}]",
            &[
                "portSelector.ports[1]: overlaps 80-90, which is there already",
                "ingress[0].subnet: missing; expected a network such as 10.0.0.0/8",
                "ingress[1].except: 11.0.0.0/8 is no part of 10.0.0.0/8",
            ],
        );
        rule(
            "portSelector: {ports: [90-80], protocol: tcp}",
            &["portSelector.ports[0]: \"90-80\" is not a port such as 443, or a range such as 80-90"],
        );
    }

    #[test]
    fn what_is_probed_can_be_reached() {
        check("TCPProbeConfig", "name: n\nendpoint: '[fd00::1]:443'\ninterval: 5s", &[]);
        let no_port = "endpoint: \"example.org\" is not a host with a port such as example.org:443";
        check("TCPProbeConfig", "name: n\nendpoint: example.org", &[no_port]);
        check("HTTPProbeConfig", "name: n\nurl: https://example.org/healthz", &[]);
        let no_scheme = "url: ftp is not a scheme that is probed; use http or https";
        check("HTTPProbeConfig", "name: n\nurl: ftp://example.org/", &[no_scheme]);
    }

    #[test]
    fn shared_addresses_and_identifiers() {
        check("NetworkDefaultActionConfig", "ingress: block", &[]);
        check("Layer2VIPConfig", "name: 10.0.0.99\nlink: eth0", &[]);
        check("DHCPv6Config", "name: n\nclientIdentifier: duid\nduidRaw: 00030001525400123456", &[]);
        check(
            "DHCPv6Config",
            "name: n\nclientIdentifier: duid",
            &["duidRaw: missing; clientIdentifier duid sends it"],
        );
        let odd = "duidRaw: \"123\" is no identifier: 2 to 130 bytes in hexadecimal";
        check("DHCPv4Config", "name: n\nduidRaw: '123'", &[odd]);
    }
}
