//! Rules of the documents beside `v1alpha1`, and between documents.

use super::machine::parameters;
use super::network::not_a_name;
use super::{Rules, Validation, connectivity, cri, is_dns_name, kubernetes, links, runtime, volumes};
use super::{hardware, pools};
use crate::document::Document;
use crate::node::Node;
use crate::problem::Path;
use crate::schema::ROOT_KIND;
use crate::values;

pub(super) fn check(documents: &[Document], out: &mut Validation) {
    let root = documents.iter().find(|document| document.id.kind == ROOT_KIND).map(|document| &document.node);
    for document in documents {
        let mut rules = Rules::new(document, out);
        links::document(&mut rules);
        volumes::document(&mut rules);
        pools::document(&mut rules);
        hardware::document(&mut rules);
        match document.id.kind.as_str() {
            "HostnameConfig" => hostname(&mut rules),
            "SysctlConfig" | "SysfsConfig" => parameters(&mut rules, &["params"]),
            "SideroLinkConfig" => join_url(&mut rules),
            "EventSinkConfig" => event_sink(&mut rules),
            "KmsgLogConfig" => kernel_log(&mut rules),
            "EnvironmentConfig" => runtime::environment(&mut rules, &["variables"]),
            "EtcFileConfig" => runtime::etc_file(&mut rules),
            "UdevRulesConfig" => runtime::udev_rules(&mut rules, &["rules"]),
            "TrustedRootsConfig" => runtime::trusted_roots(&mut rules),
            "OOMConfig" => runtime::oom(&mut rules),
            "CRICustomizationConfig" => cri::customization(&mut rules),
            "RegistryAuthConfig" => cri::auth(&mut rules, &document.node, &Path::ROOT),
            _ => kubernetes::check(&mut rules, root),
        }
        connectivity::check(&mut rules);
        if let Some(root) = root {
            conflicts(&mut rules, root);
        }
    }
    links::between(documents, out);
    volumes::between(documents, out);
    pools::between(documents, out);
}

fn hostname(rules: &mut Rules<'_>) {
    let name = rules.text(&["hostname"]);
    let auto = rules.text(&["auto"]);
    match (name, auto) {
        (Some(_), Some("stable")) => {
            rules.refuse(
                &["auto"],
                "stable makes up a name, but hostname gives one; set auto: \"off\" or leave it out",
            );
        }
        (Some(name), _) if !is_dns_name(name) => rules.refuse(&["hostname"], not_a_name(name)),
        (None, None) => rules.refuse(&["hostname"], "give auto or hostname"),
        _ => {}
    }
}

/// A URL whose scheme may be left out. It is not shown: it holds the join token.
fn join_url(rules: &mut Rules<'_>) {
    let Some(text) = rules.text(&["apiUrl"]) else { return };
    let is_scheme = |scheme: &str| !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric());
    let has_scheme = text.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme));
    let url = if has_scheme { text.to_owned() } else { format!("grpc://{text}") };
    if values::url(&url).is_none() {
        rules.refuse(&["apiUrl"], "not a join URL such as https://host:port?jointoken=token");
    }
}

fn event_sink(rules: &mut Rules<'_>) {
    let Some(text) = rules.text(&["endpoint"]) else { return };
    if values::url(&format!("grpc://{text}")).is_none_or(|url| url.port.is_none()) {
        rules.refuse(&["endpoint"], format!("{text:?} is not a host with a port such as [fd00::1]:8090"));
    }
}

fn kernel_log(rules: &mut Rules<'_>) {
    let Some(url) = rules.text(&["url"]).and_then(values::url) else { return };
    if !matches!(url.scheme.as_str(), "tcp" | "udp") || url.port.is_none() {
        rules.refuse(&["url"], "expected tcp://host:port or udp://host:port");
    }
}

/// A setting of a document, and where `v1alpha1` has the same one.
pub(super) type Conflict = (&'static str, &'static [&'static str], &'static [&'static str]);

/// Both must not be set: it would be unclear which one a reader believes in.
const CONFLICTS: &[Conflict] = &[
    ("HostnameConfig", &["hostname"], &["machine", "network", "hostname"]),
    ("HostnameConfig", &["auto"], &["machine", "network", "hostname"]),
    ("HostnameConfig", &[], &["machine", "features", "stableHostname"]),
    ("ResolverConfig", &["nameservers"], &["machine", "network", "nameservers"]),
    ("ResolverConfig", &["searchDomains", "domains"], &["machine", "network", "searchDomains"]),
    ("ResolverConfig", &["searchDomains", "disableDefault"], &["machine", "network", "disableSearchDomain"]),
    ("ResolverConfig", &["hostDNS"], &["machine", "features", "hostDNS"]),
    ("TimeSyncConfig", &["enabled"], &["machine", "time", "disabled"]),
    ("TimeSyncConfig", &["bootTimeout"], &["machine", "time", "bootTimeout"]),
    ("TimeSyncConfig", &["ntp", "servers"], &["machine", "time", "servers"]),
    ("EnvironmentConfig", &["variables"], &["machine", "env"]),
];

fn conflicts(rules: &mut Rules<'_>, root: &Node) {
    let own = rules.document.id.kind.as_str();
    let all = CONFLICTS.iter().chain(kubernetes::CONFLICTS).chain(cri::CONFLICTS);
    for (kind, keys, old) in all.filter(|(kind, ..)| *kind == own) {
        let set = keys.is_empty() || rules.get(keys).is_some_and(|node| !node.is_zero());
        // `auto: off` only says that nothing is made up; a given name may still stand in v1alpha1.
        let off = *keys == ["auto"] && rules.text(keys) == Some("off");
        if set
            && !off
            && let Some(other) = root.at_path(old).filter(|node| !is_unset(node))
        {
            let message =
                format!("{} is already set in line {}; keep only {kind}", old.join("."), other.at.line);
            rules.refuse(keys, message);
        }
    }
    legacy_link(rules, root);
}

/// Empty values do not count; a boolean does even when it is false.
fn is_unset(node: &Node) -> bool {
    node.is_zero() && node.describe() != "boolean"
}

fn legacy_link(rules: &mut Rules<'_>, root: &Node) {
    let id = &rules.document.id;
    if !links::LINK_KINDS.contains(&id.kind.as_str())
        && !matches!(id.kind.as_str(), "DHCPv4Config" | "DHCPv6Config")
    {
        return;
    }
    let links =
        root.at_path(&["machine", "network", "interfaces"]).and_then(Node::as_list).unwrap_or_default();
    let same = links.iter().find(|link| link.get("interface").and_then(Node::as_text) == Some(&id.name));
    if let Some(link) = same {
        let message =
            format!("machine.network.interfaces has {} in line {}; keep only one", id.name, link.at.line);
        rules.refuse(&["name"], message);
    }
}
