//! Arguments of etcd.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use corten_resources::etcd::EtcdSpec;

use super::{CLIENT_PORT, DATA_FOLDER, HEALTH_PORT, HTTP_PORT, PEER_PORT, PKI_FOLDER};
use crate::arguments::{Arguments, Policy, Refused};

/// Arguments that a user may not set: they tie etcd to the machine's files, ports and safety.
const REFUSED: [&str; 17] = [
    "name",
    "auto-tls",
    "peer-auto-tls",
    "data-dir",
    "listen-peer-urls",
    "listen-client-urls",
    "listen-client-http-urls",
    "cert-file",
    "key-file",
    "trusted-ca-file",
    "client-cert-auth",
    "peer-cert-file",
    "peer-key-file",
    "peer-trusted-ca-file",
    "peer-client-cert-auth",
    "watch-progress-notify-interval",
    "tls-min-version",
];

/// How a member comes into the cluster when its data folder is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Entry {
    /// The data folder has a member already; etcd ignores what is said here.
    #[default]
    Present,
    /// First member of a new cluster.
    New,
    /// Member of a running cluster, whose members with their peer URLs are these (this one included).
    Join(Vec<(String, String)>),
}

/// `https://address:port` with brackets where needed.
#[must_use]
pub fn url(address: IpAddr, port: u16) -> String {
    format!("https://{}", SocketAddr::new(address, port))
}

fn urls(addresses: &[IpAddr], port: u16) -> String {
    addresses.iter().map(|address| url(*address, port)).collect::<Vec<_>>().join(",")
}

/// URLs under which other members reach this one.
#[must_use]
pub fn peer_urls(spec: &EtcdSpec) -> Vec<String> {
    match spec.extra_args.get("initial-advertise-peer-urls") {
        Some(given) => given.values.iter().flat_map(|list| list.split(',')).map(str::to_owned).collect(),
        None => spec.advertised_addresses.iter().map(|address| url(*address, PEER_PORT)).collect(),
    }
}

/// The whole command line, program first.
///
/// # Errors
/// When the user sets an argument that must not be set.
pub fn arguments(spec: &EtcdSpec, entry: &Entry) -> Result<Vec<String>, Refused> {
    let file = |name: &str| format!("{PKI_FOLDER}/{name}");
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let with_loopback = |addresses: &[IpAddr]| {
        let covered = addresses.iter().any(|address| address.is_unspecified() || address.is_loopback());
        addresses.iter().copied().chain((!covered).then_some(loopback)).collect::<Vec<_>>()
    };
    let clients = with_loopback(&spec.listen_client_addresses);
    let members = initial_cluster(spec, entry);
    let state = if matches!(entry, Entry::Join(_)) { "existing" } else { "new" };
    let arguments = Arguments::new()
        .with("name", spec.name.as_str())
        .with("auto-tls", "false")
        .with("peer-auto-tls", "false")
        .with("data-dir", DATA_FOLDER)
        .with("listen-peer-urls", urls(&spec.listen_peer_addresses, PEER_PORT))
        .with("listen-client-urls", urls(&clients, CLIENT_PORT))
        .with("listen-client-http-urls", urls(&clients, HTTP_PORT))
        .with("listen-metrics-urls", format!("http://127.0.0.1:{HEALTH_PORT}"))
        .with("client-cert-auth", "true")
        .with("cert-file", file("server.crt"))
        .with("key-file", file("server.key"))
        .with("trusted-ca-file", file("ca.crt"))
        .with("peer-client-cert-auth", "true")
        .with("peer-cert-file", file("peer.crt"))
        .with("peer-key-file", file("peer.key"))
        .with("peer-trusted-ca-file", file("ca.crt"))
        .with("feature-gates", "InitialCorruptCheck=true,CompactHashCheck=true")
        .with("watch-progress-notify-interval", "5s")
        .with("tls-min-version", "TLS1.3")
        .with("initial-cluster", members)
        .with("initial-cluster-state", state)
        .with("initial-advertise-peer-urls", peer_urls(spec).join(","))
        .with("advertise-client-urls", urls(&spec.advertised_addresses, CLIENT_PORT))
        .merge(&extra(spec), policy)?;
    Ok(std::iter::once("/usr/local/bin/etcd".to_owned()).chain(arguments.render()).collect())
}

fn policy(name: &str) -> Policy {
    match name {
        // Our health check needs its own URL whatever else is asked for.
        "feature-gates" | "listen-metrics-urls" => Policy::Add,
        name if REFUSED.contains(&name) => Policy::Refuse,
        _ => Policy::Replace,
    }
}

fn extra(spec: &EtcdSpec) -> BTreeMap<String, Vec<String>> {
    spec.extra_args.iter().map(|(name, values)| (name.clone(), values.values.clone())).collect()
}

fn initial_cluster(spec: &EtcdSpec, entry: &Entry) -> String {
    let own = || peer_urls(spec).into_iter().map(|url| (spec.name.clone(), url)).collect::<Vec<_>>();
    let members = match entry {
        Entry::Join(members) => members.clone(),
        Entry::New | Entry::Present => own(),
    };
    members.iter().map(|(name, url)| format!("{name}={url}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> EtcdSpec {
        EtcdSpec {
            name: "cp-1".into(),
            advertised_addresses: vec!["10.5.0.2".parse().expect("an address")],
            listen_peer_addresses: vec!["::".parse().expect("an address")],
            listen_client_addresses: vec!["::".parse().expect("an address")],
            ..EtcdSpec::default()
        }
    }

    fn has(all: &[String], wanted: &str) {
        assert!(all.iter().any(|argument| argument == wanted), "{wanted} in {all:#?}");
    }

    #[test]
    fn a_new_cluster_consists_of_us() {
        let all = arguments(&spec(), &Entry::New).expect("valid");
        has(&all, "--initial-cluster=cp-1=https://10.5.0.2:2380");
        has(&all, "--initial-cluster-state=new");
        has(&all, "--listen-client-urls=https://[::]:2379");
    }

    #[test]
    fn a_joining_member_names_all_others() {
        let members = vec![
            ("a".to_owned(), "https://10.5.0.1:2380".to_owned()),
            ("cp-1".into(), "https://10.5.0.2:2380".into()),
        ];
        let all = arguments(&spec(), &Entry::Join(members)).expect("valid");
        has(&all, "--initial-cluster=a=https://10.5.0.1:2380,cp-1=https://10.5.0.2:2380");
        has(&all, "--initial-cluster-state=existing");
    }

    #[test]
    fn listening_on_chosen_addresses_keeps_the_loopback() {
        let mut spec = spec();
        spec.listen_client_addresses = spec.advertised_addresses.clone();
        has(
            &arguments(&spec, &Entry::New).expect("valid"),
            "--listen-client-urls=https://10.5.0.2:2379,https://127.0.0.1:2379",
        );
    }

    #[test]
    fn own_metrics_urls_join_ours_and_safety_stays() {
        let mut spec = spec();
        let values = |text: &str| corten_resources::etcd::EtcdArgValues { values: vec![text.into()] };
        spec.extra_args.insert("listen-metrics-urls".into(), values("http://0.0.0.0:2381"));
        has(
            &arguments(&spec, &Entry::New).expect("valid"),
            "--listen-metrics-urls=http://127.0.0.1:2384,http://0.0.0.0:2381",
        );
        spec.extra_args.insert("data-dir".into(), values("/tmp"));
        assert_eq!(arguments(&spec, &Entry::New), Err(Refused("data-dir".into())));
    }
}
