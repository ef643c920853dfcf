//! Rules of the cluster: endpoint, networks, secrets, components.

use std::collections::HashMap;

use ipnet::IpNet;

use super::machine::{certificates, pair, refuse_keys, subnets};
use super::{Rules, is_dns_name};
use crate::document::Document;
use crate::node::{Node, Position};
use crate::problem::Path;
use crate::schema::ROOT_KIND;
use crate::{read, values};

pub(super) fn check(rules: &mut Rules<'_>, documents: &[Document]) {
    if rules.get(&["cluster"]).is_none() {
        return;
    }
    if !has(documents, "KubeClusterConfig") {
        endpoint(rules, &["cluster", "controlPlane", "endpoint"]);
    }
    networks(rules, &["cluster", "network"]);
    authorities(rules);
    if rules.is_control_plane() {
        control_plane(rules, documents);
    } else {
        worker(rules);
    }
    discovery(rules, documents);
    etcd(rules);
    manifests(rules);
}

fn has(documents: &[Document], kind: &str) -> bool {
    documents.iter().any(|document| document.id.kind == kind)
}

/// Where the Kubernetes API is.
pub(super) fn endpoint(rules: &mut Rules<'_>, keys: &[&str]) {
    match rules.text(keys) {
        None => rules.refuse(keys, "missing; the machine must know where the Kubernetes API is"),
        Some(text) => {
            if let Some(url) = values::url(text)
                && !matches!(url.scheme.as_str(), "https" | "http")
            {
                rules.refuse(keys, format!("{text:?} must start with https://"));
            }
        }
    }
}

/// The DNS domain and the networks of pods and services below these keys.
pub(super) fn networks(rules: &mut Rules<'_>, section: &[&'static str]) {
    let at = |key: &'static str| [section, &[key]].concat();
    let domain = at("dnsDomain");
    if let Some(name) = rules.text(&domain)
        && !is_dns_name(name)
    {
        rules.refuse(&domain, format!("{name:?} is not a DNS name"));
    }
    let parsed = |rules: &Rules<'_>, key: &str| -> Vec<IpNet> {
        let items = rules.items(&[section, &[key]].concat()).iter();
        items.filter_map(|item| item.as_text()?.parse().ok()).collect()
    };
    let (pods, services) = (parsed(rules, "podSubnets"), parsed(rules, "serviceSubnets"));
    for service in &services {
        if let Some(pod) = pods.iter().find(|pod| pod.contains(service) || service.contains(*pod)) {
            let message = format!("{service} overlaps with the pod network {pod}");
            rules.refuse(&at("serviceSubnets"), message);
        }
    }
    for (key, all) in [("podSubnets", &pods), ("serviceSubnets", &services)] {
        let families = all.iter().filter(|net| net.addr().is_ipv4()).count();
        if all.len() > 2 || families == 2 || (all.len() == 2 && families == 0) {
            rules.refuse(&at(key), "at most one network for IPv4 and one for IPv6");
        }
    }
}

fn authorities(rules: &mut Rules<'_>) {
    pair(rules, &["cluster", "ca"]);
    pair(rules, &["cluster", "aggregatorCA"]);
    pair(rules, &["cluster", "etcd", "ca"]);
    certificates(rules, &["cluster", "acceptedCAs"]);
    let service_account = ["cluster", "serviceAccount", "key"];
    if let Some(pem) = rules.text(&service_account).and_then(values::base64)
        && let Err(error) = corten_pki::PrivateKey::from_pem(&pem)
    {
        rules.refuse(&service_account, corten_base::chain(&error));
    }
}

/// What a control plane cannot come up without. Talos accepts a configuration that lacks it, so it is a
/// warning: another document may bring it later.
fn control_plane(rules: &mut Rules<'_>, documents: &[Document]) {
    let needed: [(&[&str], &str); 7] = [
        (&["ca", "crt"], "KubeAPIServerCAConfig"),
        (&["ca", "key"], "KubeAPIServerCAConfig"),
        (&["aggregatorCA", "crt"], "KubeAggregatorCAConfig"),
        (&["aggregatorCA", "key"], "KubeAggregatorCAConfig"),
        (&["serviceAccount", "key"], "KubeServiceAccountConfig"),
        (&["etcd", "ca", "crt"], ROOT_KIND),
        (&["etcd", "ca", "key"], ROOT_KIND),
    ];
    for (keys, kind) in needed {
        let keys = [&["cluster"], keys].concat();
        let elsewhere = kind != ROOT_KIND && has(documents, kind);
        if !elsewhere && rules.text(&keys).is_none() {
            rules.warn(&keys, "missing; the control plane waits for it");
        }
    }
}

fn worker(rules: &mut Rules<'_>) {
    if rules.get(&["cluster", "etcd"]).is_some_and(|etcd| !etcd.is_zero()) {
        rules.refuse(&["cluster", "etcd"], "only control planes run etcd");
    }
    for keys in [["ca", "key"], ["aggregatorCA", "key"], ["serviceAccount", "key"]] {
        let keys = [&["cluster"], keys.as_slice()].concat();
        if rules.text(&keys).is_some() {
            rules.refuse(&keys, "not allowed on a worker; only control planes hold the key");
        }
    }
}

fn discovery(rules: &mut Rules<'_>, documents: &[Document]) {
    let enabled = rules.is(&["cluster", "discovery", "enabled"]);
    let has_identity = has(documents, "DiscoveryIdentityConfig");
    if !enabled || has_identity || rules.is(&["cluster", "discovery", "registries", "service", "disabled"]) {
        return;
    }
    for key in ["id", "secret"] {
        if rules.text(&["cluster", key]).is_none() {
            rules.refuse(&["cluster", key], "missing; the discovery service needs it");
        }
    }
}

/// Arguments of etcd that the machine itself decides.
const ETCD_ARGS_PROTECTED: &[&str] = &[
    "name",
    "auto-tls",
    "peer-auto-tls",
    "data-dir",
    "listen-peer-urls",
    "listen-client-urls",
    "listen-client-http-urls",
    "client-cert-auth",
    "cert-file",
    "key-file",
    "trusted-ca-file",
    "peer-client-cert-auth",
    "peer-cert-file",
    "peer-key-file",
    "peer-trusted-ca-file",
];

fn etcd(rules: &mut Rules<'_>) {
    refuse_keys(rules, &["cluster", "etcd", "extraArgs"], ETCD_ARGS_PROTECTED);
    subnets(rules, &["cluster", "etcd", "advertisedSubnets"]);
    subnets(rules, &["cluster", "etcd", "listenSubnets"]);
    let both = rules.text(&["cluster", "etcd", "subnet"]).is_some()
        && !rules.items(&["cluster", "etcd", "advertisedSubnets"]).is_empty();
    if both {
        rules.refuse(&["cluster", "etcd", "subnet"], "subnet and advertisedSubnets exclude each other");
    }
}

fn manifests(rules: &mut Rules<'_>) {
    let cluster = Path::ROOT.key("cluster");
    let list = cluster.key("inlineManifests");
    let mut seen: HashMap<&str, Position> = HashMap::new();
    for (index, entry) in rules.items(&["cluster", "inlineManifests"]).iter().enumerate() {
        let path = list.index(index);
        let name = entry.get("name").and_then(Node::as_text).unwrap_or_default();
        if let Some(first) = seen.insert(name, entry.at) {
            let message = format!("{name:?} is already the name of the manifest in line {}", first.line);
            rules.refuse_at(&path.key("name"), entry.at, message);
        }
        if let Some(contents) = entry.get("contents") {
            manifest(rules, contents, &path.key("contents"));
        }
    }
}

/// The YAML of a manifest.
pub(super) fn manifest(rules: &mut Rules<'_>, contents: &Node, path: &Path<'_>) {
    if let Err(problem) = read::documents(contents.as_text().unwrap_or_default()) {
        rules.refuse_at(path, contents.at, problem.to_string());
    }
}
