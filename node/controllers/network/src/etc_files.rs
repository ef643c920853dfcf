//! Renders `/etc/hosts` and `/etc/resolv.conf`.
//!
//! ```text
//! HostnameStatus, NodeAddress, StaticHost, ResolverStatus, HostDnsConfig ──▶ EtcFileSpec
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::files::EtcFileSpec;
use corten_resources::network::{HostDnsConfig, HostnameStatus, NodeAddress, ResolverStatus, StaticHost};

use crate::from_config::HOST_DNS;

/// Id of the hosts file.
pub const HOSTS: &str = "hosts";
/// Id of the resolver's file.
pub const RESOLV_CONF: &str = "resolv.conf";
/// Name servers that the C library reads.
const SERVERS_MAX: usize = 3;

/// Renders the files.
#[derive(Debug)]
pub struct EtcFiles;

controller!(EtcFiles, "network.EtcFiles",
    inputs: [weak HostnameStatus, weak NodeAddress, weak StaticHost, weak ResolverStatus, weak HostDnsConfig],
    outputs: [shared EtcFileSpec]);

fn file(contents: String) -> EtcFileSpec {
    EtcFileSpec { contents, mode: 0o644, selinux_label: "system_u:object_r:net_conf_t:s0".into() }
}

/// Names in the order in which they were given, short after long.
fn own_names(hostname: &HostnameStatus) -> String {
    if hostname.domainname.is_empty() {
        hostname.hostname.clone()
    } else {
        format!("{} {}", hostname.fqdn(), hostname.hostname)
    }
}

fn hosts(
    hostname: Option<&HostnameStatus>,
    address: Option<IpAddr>,
    extra: &BTreeMap<IpAddr, Vec<String>>,
) -> String {
    let mut text = String::new();
    let mut row = |address: &dyn std::fmt::Display, names: &str| {
        let _ = writeln!(text, "{:<15} {names}", address.to_string());
    };
    row(&"127.0.0.1", "localhost");
    if let (Some(hostname), Some(address)) = (hostname, address) {
        row(&address, &own_names(hostname));
    }
    row(&"::1", "localhost ip6-localhost ip6-loopback");
    row(&"ff02::1", "ip6-allnodes");
    row(&"ff02::2", "ip6-allrouters");
    for (address, names) in extra {
        row(address, &names.join(" "));
    }
    text
}

fn resolv_conf(resolvers: &ResolverStatus, host_dns: bool) -> String {
    let mut text = String::new();
    let own = [IpAddr::V4(HOST_DNS)];
    let servers = if host_dns { &own[..] } else { &resolvers.dns_servers };
    for server in servers.iter().take(SERVERS_MAX) {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !resolvers.search_domains.is_empty() {
        let _ = writeln!(text, "\nsearch {}", resolvers.search_domains.join(" "));
    }
    text
}

impl Transform for EtcFiles {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let hostname = view.get::<HostnameStatus>(HostnameStatus::ID).map(|row| &row.spec);
        let default = view.get::<NodeAddress>(NodeAddress::DEFAULT);
        let address = default.and_then(|row| row.spec.ips().first().copied());
        let mut extra: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
        for host in view.list::<StaticHost>() {
            for address in &host.spec.addresses {
                extra.entry(*address).or_default().push(host.metadata.id.clone());
            }
        }
        plan.put::<EtcFileSpec>(HOSTS, file(hosts(hostname, address, &extra)));
        let host_dns = view.get::<HostDnsConfig>(HostDnsConfig::ID).is_some_and(|row| row.spec.enabled);
        if let Some(resolvers) = view.get::<ResolverStatus>(ResolverStatus::ID) {
            plan.put::<EtcFileSpec>(RESOLV_CONF, file(resolv_conf(&resolvers.spec, host_dns)));
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_this_machine_and_the_extra_ones() {
        let hostname = HostnameStatus { hostname: "node-1".into(), domainname: "example.org".into() };
        let extra = BTreeMap::from([(IpAddr::from([10, 0, 0, 9]), vec!["a".into(), "b".into()])]);
        let text = hosts(Some(&hostname), Some(IpAddr::from([10, 5, 0, 2])), &extra);
        assert_eq!(
            text,
            "127.0.0.1       localhost\n10.5.0.2        node-1.example.org node-1\n\
             ::1             localhost ip6-localhost ip6-loopback\nff02::1         ip6-allnodes\n\
             ff02::2         ip6-allrouters\n10.0.0.9        a b\n"
        );
    }

    #[test]
    fn resolv_conf_points_to_the_host_dns_when_it_is_on() {
        let servers = (1..=4).map(|last| IpAddr::from([10, 0, 0, last])).collect();
        let status = ResolverStatus {
            dns_servers: servers,
            search_domains: vec!["x.example".into()],
            ..ResolverStatus::default()
        };
        assert_eq!(resolv_conf(&status, true), "nameserver 127.0.0.53\n\nsearch x.example\n");
        assert_eq!(resolv_conf(&status, false).matches("nameserver").count(), SERVERS_MAX);
    }
}
