//! Names and time: the machine's own name, resolvers, the clock.

use std::time::Duration;

use corten_resources::cluster::{Affiliate, Identity};
use corten_resources::network::{
    DnsResolveCache, DnsUpstream, HostDnsConfig, HostnameStatus, NetworkStatus, ResolverStatus,
    TimeServerStatus,
};
use corten_resources::time::{NtpStatus, TimeStatus};

use crate::{Diagnosis, Evidence, Facts, Severity};

/// A clock that differs more from that of who asks is wrong; certificates are made for a minute ago.
const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(60);
/// What keeps answers of name and time servers away.
const AWAY: &[&str] = &["no-carrier", "no-address", "no-default-route"];

/// The diagnoses.
pub(crate) const TABLE: &[Diagnosis] = &[
    Diagnosis {
        id: "no-hostname",
        title: "The machine has no name.",
        why: "The kubelet and etcd are called after it, so neither starts.",
        remedy: &[
            "Give it one with a HostnameConfig document, have the DHCP server send one, or let the machine make one (`auto: stable`).",
        ],
        severity: Severity::Problem,
        after: &[],
        find: no_hostname,
    },
    Diagnosis {
        id: "duplicate-hostname",
        title: "Two machines have the same name.",
        why: "Both are the same Kubernetes node and the same etcd member to others, and take it from one another.",
        remedy: &[
            "Give one of them another name.",
            "If the other one is gone for good, wait half an hour, until discovery has forgotten it.",
        ],
        severity: Severity::Problem,
        after: &[],
        find: duplicate_hostname,
    },
    Diagnosis {
        id: "no-resolvers",
        title: "The machine knows no name servers.",
        why: "No name can be looked up: registries, time servers and discovery are names.",
        remedy: &["Name some with a ResolverConfig document, or have the DHCP server send them."],
        severity: Severity::Problem,
        after: &["no-carrier", "no-address"],
        find: no_resolvers,
    },
    Diagnosis {
        id: "dns-failing",
        title: "No name server answers.",
        why: "Names cannot be looked up, here and, where pods ask the machine, in pods.",
        remedy: &[
            "See with `corten get dnsupstreams` which ones are asked.",
            "See that UDP and TCP port 53 to them is let through, or name others with a ResolverConfig document.",
        ],
        severity: Severity::Problem,
        after: AWAY,
        find: dns_failing,
    },
    Diagnosis {
        id: "host-dns-down",
        title: "The machine's own resolver does not listen.",
        why: "Programs of the machine, and pods where their names are forwarded to it, look up nothing.",
        remedy: &[
            "Read what it says; an address that is taken belongs to another resolver on this machine.",
            "See `corten logs dataplane`.",
        ],
        severity: Severity::Problem,
        after: &[],
        find: host_dns_down,
    },
    Diagnosis {
        id: "time-servers-missing",
        title: "The machine knows no time servers.",
        why: "Its clock is what the hardware says. Services that check certificates wait for the right time.",
        remedy: &["Name some with a TimeSyncConfig document, or turn time synchronization off there."],
        severity: Severity::Problem,
        after: &[],
        find: time_servers_missing,
    },
    Diagnosis {
        id: "time-server-unreachable",
        title: "No time server has answered.",
        why: "The clock is not known to be right, so etcd and the kubelet wait: a wrong time makes certificates that nobody accepts.",
        remedy: &[
            "See with `corten time` whether one answers you through the machine, and `corten time --check SERVER` for another.",
            "See that UDP port 123 is let through, or name servers that can be reached with a TimeSyncConfig document.",
            "Where there are none, turn synchronization off there, or give it a bootTimeout.",
        ],
        severity: Severity::Problem,
        after: &["no-carrier", "no-address", "no-default-route", "no-resolvers", "dns-failing"],
        find: time_server_unreachable,
    },
    Diagnosis {
        id: "clock-wrong",
        title: "The clock is wrong.",
        why: "Certificates that were just made are refused as of the future or of the past, and logs cannot be compared.",
        remedy: &[
            "See which clock is wrong, that of the machine or your own.",
            "See with `corten time` what its time server says; name another one if it is that which is wrong.",
            "On a machine that runs in a container, correct the clock of its host.",
        ],
        severity: Severity::Problem,
        after: &["time-server-unreachable", "time-servers-missing"],
        find: clock_wrong,
    },
    Diagnosis {
        id: "time-server-jumps",
        title: "A time server gives times that are not believed.",
        why: "Its last answers are far from the machine's clock, which was right before. After a few of them the clock follows.",
        remedy: &["Compare the server with others by `corten time --check SERVER`, and name better ones."],
        severity: Severity::Warning,
        after: &[],
        find: time_server_jumps,
    },
];

fn no_hostname(facts: &Facts) -> Vec<Evidence> {
    let is_missing = facts.list::<NetworkStatus>().any(|status| !status.hostname_ready)
        && facts.list::<HostnameStatus>().all(|status| status.hostname.is_empty());
    is_missing
        .then(|| Evidence::new("neither configuration, platform nor DHCP gave it a name"))
        .into_iter()
        .collect()
}

fn duplicate_hostname(facts: &Facts) -> Vec<Evidence> {
    let own = facts.get::<Identity>(Identity::ID);
    let name = facts.get::<HostnameStatus>(HostnameStatus::ID).filter(|name| !name.hostname.is_empty());
    let Some((own, name)) = own.zip(name) else { return Vec::new() };
    let names = [name.hostname.clone(), name.fqdn()];
    let addresses =
        facts.get::<Affiliate>(&own.node_id).map(|own| own.addresses.as_slice()).unwrap_or_default();
    let is_other = |other: &Affiliate| {
        // Who has an address of ours is this machine before its reset; discovery forgets it after half an hour.
        other.node_id != own.node_id
            && names.contains(&other.hostname)
            && !other.addresses.iter().any(|address| addresses.contains(address))
    };
    let others = facts.list::<Affiliate>().filter(|affiliate| is_other(&affiliate.spec));
    let told = others.map(|other| {
        let at: Vec<String> = other.addresses.iter().map(ToString::to_string).collect();
        Evidence::new(format!("the machine at {} is called {} as well", at.join(", "), other.hostname))
    });
    told.collect()
}

fn no_resolvers(facts: &Facts) -> Vec<Evidence> {
    let is_empty = |status: &ResolverStatus| status.dns_servers.is_empty() && status.name_servers.is_empty();
    let none = facts.list::<ResolverStatus>().filter(|status| is_empty(&status.spec));
    none.map(|_| Evidence::new("the list of name servers is empty")).collect()
}

fn dns_failing(facts: &Facts) -> Vec<Evidence> {
    let upstreams: Vec<&str> = facts.list::<DnsUpstream>().map(|upstream| upstream.addr.as_str()).collect();
    if upstreams.is_empty() || facts.list::<DnsUpstream>().any(|upstream| upstream.healthy) {
        return Vec::new();
    }
    vec![Evidence::new(format!("none of {} answers", upstreams.join(", ")))]
}

fn host_dns_down(facts: &Facts) -> Vec<Evidence> {
    if !facts.list::<HostDnsConfig>().any(|config| config.enabled) {
        return Vec::new();
    }
    let down = facts.list::<DnsResolveCache>().filter(|cache| cache.status != "running");
    down.map(|cache| Evidence::new(format!("{} does not listen", cache.id())).with(&cache.status)).collect()
}

/// Whether the clock is to be synchronized and is not.
fn is_unsynced(facts: &Facts) -> bool {
    facts.list::<TimeStatus>().any(|time| !time.synced && !time.sync_disabled)
}

fn time_servers(facts: &Facts) -> Option<&[String]> {
    facts.list::<TimeServerStatus>().next().map(|status| status.time_servers.as_slice())
}

fn time_servers_missing(facts: &Facts) -> Vec<Evidence> {
    let is_missing = is_unsynced(facts) && time_servers(facts).is_some_and(<[String]>::is_empty);
    is_missing.then(|| Evidence::new("the list of time servers is empty")).into_iter().collect()
}

fn time_server_unreachable(facts: &Facts) -> Vec<Evidence> {
    let asked = time_servers(facts).filter(|servers| !servers.is_empty() && is_unsynced(facts));
    asked
        .map(|servers| Evidence::new(format!("no answer from {} yet", servers.join(", "))))
        .into_iter()
        .collect()
}

fn clock_wrong(facts: &Facts) -> Vec<Evidence> {
    let Some(ahead) = facts.vitals.clock_ahead else { return Vec::new() };
    let distance = Duration::from_nanos(ahead.0.unsigned_abs());
    if distance <= CLOCK_AHEAD_MAX {
        return Vec::new();
    }
    let side = if ahead.0 > 0 { "ahead of" } else { "behind" };
    vec![Evidence::new(format!("its clock is {} s {side} that of who asked", distance.as_secs()))]
}

fn time_server_jumps(facts: &Facts) -> Vec<Evidence> {
    let jumps = facts.list::<NtpStatus>().filter(|ntp| ntp.spike_detected);
    jumps.map(|ntp| Evidence::new(format!("{} such answers in a row", ntp.consecutive_spikes))).collect()
}

#[cfg(test)]
mod tests {
    use corten_resource::Nanos;
    use corten_resource::testing::resource;

    use super::*;
    use crate::testing::{check, check_absent, facts, find, vitals};
    use crate::vitals::Vitals;

    fn time(synced: bool, sync_disabled: bool, servers: &[&str]) -> Facts {
        let time_servers = servers.iter().map(|server| (*server).to_owned()).collect();
        facts([
            resource(TimeStatus::ID, TimeStatus { synced, sync_disabled, epoch: 0 }),
            resource(TimeServerStatus::ID, TimeServerStatus { time_servers, use_nts: false }),
        ])
    }

    #[test]
    fn a_clock_that_nobody_sets_is_told_of_with_the_servers_that_do_not_answer() {
        check(&time(false, false, &["a", "b"]), "time-server-unreachable", "no answer from a, b yet");
        check(&time(false, false, &[]), "time-servers-missing", "the list of time servers is empty");
        for fine in [time(true, false, &["a"]), time(true, true, &[]), time(false, true, &["a"])] {
            check_absent(&fine, "time-server-unreachable");
            check_absent(&fine, "time-servers-missing");
        }
    }

    #[test]
    fn a_clock_is_compared_with_that_of_who_asks() {
        let clock = |seconds: i64| {
            vitals(Vitals { clock_ahead: Some(Nanos(seconds * 1_000_000_000)), ..Vitals::default() })
        };
        check(&clock(3600), "clock-wrong", "its clock is 3600 s ahead of that of who asked");
        check(&clock(-61), "clock-wrong", "its clock is 61 s behind that of who asked");
        check_absent(&clock(59), "clock-wrong");
        let jumps = facts([resource("node", NtpStatus { spike_detected: true, consecutive_spikes: 2 })]);
        check(&jumps, "time-server-jumps", "2 such answers in a row");
    }

    #[test]
    fn name_servers_that_are_all_silent_are_named_and_time_follows_from_it() {
        let upstream = |addr: &str, healthy| resource(addr, DnsUpstream { addr: addr.to_owned(), healthy });
        let silent = facts([upstream("8.8.8.8:53", false), upstream("1.1.1.1:53", false)]);
        check(&silent, "dns-failing", "none of 8.8.8.8:53, 1.1.1.1:53 answers");
        check_absent(&facts([upstream("8.8.8.8:53", true), upstream("1.1.1.1:53", false)]), "dns-failing");
        let mut both = time(false, false, &["pool"]);
        both.read("DNSUpstreams.net.talos.dev", [upstream("8.8.8.8:53", false)]);
        assert_eq!(find(&both, "time-server-unreachable").expect("found").because, ["dns-failing"]);
        let none = facts([resource(ResolverStatus::ID, ResolverStatus::default())]);
        check(&none, "no-resolvers", "the list of name servers is empty");
    }

    #[test]
    fn a_resolver_that_cannot_listen_says_why() {
        let cache = resource("udp-127.0.0.53:53", DnsResolveCache { status: "address in use".to_owned() });
        let config = |enabled| resource(HostDnsConfig::ID, HostDnsConfig { enabled, ..Default::default() });
        let down = facts([cache.clone(), config(true)]);
        check(&down, "host-dns-down", "udp-127.0.0.53:53 does not listen");
        assert_eq!(find(&down, "host-dns-down").expect("found").evidence[0].details, ["address in use"]);
        check_absent(&facts([cache, config(false)]), "host-dns-down");
    }

    #[test]
    fn a_namesake_is_another_machine_elsewhere() {
        let affiliate = |node_id: &str, address: &str| {
            let addresses = vec![address.parse().expect("an address")];
            let (hostname, node) = ("cp-1".to_owned(), node_id.to_owned());
            resource(node_id, Affiliate { node_id: node, hostname, addresses, ..Affiliate::default() })
        };
        let own = || {
            let name = HostnameStatus { hostname: "cp-1".to_owned(), ..HostnameStatus::default() };
            let identity = resource(Identity::ID, Identity { node_id: "a".to_owned() });
            [identity, resource(HostnameStatus::ID, name), affiliate("a", "10.5.0.2")]
        };
        let twins = own().into_iter().chain([affiliate("b", "10.5.0.9")]);
        check(&facts(twins), "duplicate-hostname", "the machine at 10.5.0.9 is called cp-1 as well");
        let before = own().into_iter().chain([affiliate("b", "10.5.0.2")]);
        check_absent(&facts(before), "duplicate-hostname");
    }

    #[test]
    fn a_machine_without_a_name_is_told_so() {
        let nameless = facts([resource(NetworkStatus::ID, NetworkStatus::default())]);
        check(&nameless, "no-hostname", "neither configuration, platform nor DHCP gave it a name");
    }
}
