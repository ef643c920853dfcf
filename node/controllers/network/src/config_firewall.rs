//! The firewall of the configuration as chains.
//!
//! ```text
//! MachineConfig, NodeAddress ──▶ NfTablesChain `ingress` (packets for this machine),
//!                                NfTablesChain `prerouting` (new connections that services send on to pods)
//! ```
//! A machine that blocks lets in what a rule allows; one that does not drops, of what rules are about, what comes from
//! elsewhere than they say. Either lets in the answers to what it asked. Programming the kernel is `nftables_apply`'s
//! business.

use std::net::{IpAddr, Ipv6Addr};

use corten_config::view::{FirewallRule, MachineView, RuleProtocol};
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::network::{
    AddressMatch, ChainHook, ChainPriority, ConntrackState, ConntrackStateMatch, IcmpType, IcmpTypeMatch,
    IfNameMatch, Layer4Match, LimitMatch, MatchOperator, NfTablesChain, NfTablesRule, NodeAddress,
    NodeAddressFilter, PortMatch, PortRange, Protocol, Verdict,
};
use ipnet::{IpNet, Ipv6Net};

use crate::from_config::{HOST_DNS_PODS, machine_view};

/// Links whose packets always pass: the machine's own, that of its manager, that between machines.
const TRUSTED_LINKS: [&str; 3] = ["lo", "siderolink", "kubespan"];
/// ICMP messages of each version that pass, a second.
const ICMP_PER_SECOND: u64 = 5;
/// The chains see packets a little after the kernel's own places.
const INGRESS_PRIORITY: ChainPriority = ChainPriority::MANGLE.plus(10);
/// Before destinations are changed to those of pods.
const PREROUTING_PRIORITY: ChainPriority = ChainPriority::NAT_DESTINATION.plus(-10);
/// Port of DNS.
const DNS: PortRange = PortRange { lo: 53, hi: 53 };
/// Port of a DHCPv6 client (RFC 8415, section 7.2). What it asks goes to a group and what answers is one machine, so that
/// the kernel does not know the answer for one.
const DHCP6_CLIENT: PortRange = PortRange { lo: 546, hi: 546 };
/// Addresses that no router sends on to (RFC 4291, section 2.5.6).
const LINK_LOCAL: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10));

/// Makes the chains.
#[derive(Debug)]
pub struct Firewall;

controller!(Firewall, "network.Firewall",
    inputs: [strong MachineConfig, weak NodeAddress],
    outputs: [exclusive NfTablesChain]);

/// A rule that counts and judges.
fn judge(verdict: Verdict) -> NfTablesRule {
    NfTablesRule { counter: true, verdict: Some(verdict), ..NfTablesRule::default() }
}

fn trusted() -> NfTablesRule {
    let names = TRUSTED_LINKS.map(str::to_owned).to_vec();
    NfTablesRule {
        input_link: Some(IfNameMatch { names, operator: MatchOperator::Equal }),
        ..judge(Verdict::Accept)
    }
}

fn of_connections(states: &[ConntrackState], rule: NfTablesRule) -> NfTablesRule {
    NfTablesRule { conntrack_state: Some(ConntrackStateMatch { states: states.to_vec() }), ..rule }
}

fn of_protocol(protocol: Protocol, rule: NfTablesRule) -> NfTablesRule {
    NfTablesRule { layer4: Some(Layer4Match { protocol, ..Layer4Match::default() }), ..rule }
}

fn within(networks: &[IpNet]) -> Option<AddressMatch> {
    Some(AddressMatch { include_subnets: networks.to_vec(), ..AddressMatch::default() })
}

/// What every machine lets in and drops, whatever its rules are.
fn preamble() -> Vec<NfTablesRule> {
    let known = [ConntrackState::Established, ConntrackState::Related];
    vec![
        trusted(),
        of_connections(&known, judge(Verdict::Accept)),
        of_connections(&[ConntrackState::Invalid], judge(Verdict::Drop)),
    ]
}

/// What a machine lets in that blocks everything else, whatever its rules are.
fn needed(config: &MachineView) -> Vec<NfTablesRule> {
    let limited = |protocol| NfTablesRule {
        limit: Some(LimitMatch { packet_rate_per_second: ICMP_PER_SECOND }),
        ..of_protocol(protocol, judge(Verdict::Accept))
    };
    // They tell a stranger the machine's clock and network (CVE-1999-0524).
    let telling = IcmpTypeMatch {
        types: vec![
            IcmpType::TimestampRequest,
            IcmpType::TimestampReply,
            IcmpType::AddressMaskRequest,
            IcmpType::AddressMaskReply,
        ],
    };
    let telling =
        Layer4Match { protocol: Protocol::Icmp, icmp_type: Some(telling), ..Layer4Match::default() };
    let to_port = |protocol, range| {
        let destination_port = Some(PortMatch { ranges: vec![range] });
        Some(Layer4Match { protocol, destination_port, ..Layer4Match::default() })
    };
    let mut rules = vec![
        NfTablesRule { layer4: Some(telling), ..judge(Verdict::Drop) },
        limited(Protocol::Icmp),
        limited(Protocol::IcmpV6),
        NfTablesRule {
            destination: within(&[LINK_LOCAL]),
            layer4: to_port(Protocol::Udp, DHCP6_CLIENT),
            ..judge(Verdict::Accept)
        },
    ];
    let network = &config.cluster.network;
    let cluster: Vec<IpNet> = network.pod_subnets.iter().chain(&network.service_subnets).copied().collect();
    if !config.complete || cluster.is_empty() {
        return rules;
    }
    if config.machine.network.host_dns.forward_kube_dns {
        let resolver = [IpNet::from(IpAddr::V4(HOST_DNS_PODS))];
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            rules.push(NfTablesRule {
                source: within(&cluster),
                destination: within(&resolver),
                layer4: to_port(protocol, DNS),
                ..judge(Verdict::Accept)
            });
        }
    }
    let (source, destination) = (within(&cluster), within(&cluster));
    rules.push(NfTablesRule { source, destination, ..judge(Verdict::Accept) });
    rules
}

/// A rule of the configuration. One that blocks names whom it lets in, one that does not whom it keeps out.
fn configured(rule: &FirewallRule, blocks: bool) -> NfTablesRule {
    let protocol = match rule.protocol {
        RuleProtocol::Tcp => Protocol::Tcp,
        RuleProtocol::Udp => Protocol::Udp,
        RuleProtocol::Icmp => Protocol::Icmp,
        RuleProtocol::IcmpV6 => Protocol::IcmpV6,
    };
    let mut ranges: Vec<_> = rule.port_ranges.iter().map(|&(lo, hi)| PortRange { lo, hi }).collect();
    ranges.sort_by_key(|range| range.lo);
    let has_ports = matches!(protocol, Protocol::Tcp | Protocol::Udp);
    let ports = has_ports.then_some(PortMatch { ranges });
    let source = AddressMatch {
        include_subnets: rule.ingress.iter().map(|ingress| ingress.subnet).collect(),
        exclude_subnets: rule.ingress.iter().filter_map(|ingress| ingress.except).collect(),
        invert: !blocks,
    };
    NfTablesRule {
        source: Some(source),
        layer4: Some(Layer4Match { protocol, destination_port: ports, ..Layer4Match::default() }),
        ..judge(if blocks { Verdict::Accept } else { Verdict::Drop })
    }
}

fn ingress(config: &MachineView) -> NfTablesChain {
    let firewall = &config.machine.network.firewall;
    let mut rules = preamble();
    if firewall.blocks {
        rules.extend(needed(config));
    }
    rules.extend(firewall.firewall_rules.iter().map(|rule| configured(rule, firewall.blocks)));
    NfTablesChain {
        kind: NfTablesChain::FILTER.to_owned(),
        hook: ChainHook::Input,
        priority: INGRESS_PRIORITY,
        policy: if firewall.blocks { Verdict::Drop } else { Verdict::Accept },
        rules,
    }
}

/// Ports of services are sent on to pods before the machine's own chain sees them.
fn prerouting(config: &MachineView, addresses: &NodeAddress) -> NfTablesChain {
    let firewall = &config.machine.network.firewall;
    let own: Vec<IpNet> = addresses.ips().into_iter().map(IpNet::from).collect();
    let others = AddressMatch { include_subnets: own, invert: true, ..AddressMatch::default() };
    let new = |rule| of_connections(&[ConntrackState::New], rule);
    let mut rules = vec![trusted(), NfTablesRule { destination: Some(others), ..judge(Verdict::Accept) }];
    rules.extend(firewall.firewall_rules.iter().map(|rule| new(configured(rule, firewall.blocks))));
    if firewall.blocks {
        let rest = [Protocol::Tcp, Protocol::Udp];
        rules.extend(rest.map(|protocol| new(of_protocol(protocol, judge(Verdict::Drop)))));
    }
    NfTablesChain {
        kind: NfTablesChain::FILTER.to_owned(),
        hook: ChainHook::Prerouting,
        priority: PREROUTING_PRIORITY,
        policy: Verdict::Accept,
        rules,
    }
}

impl Transform for Firewall {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let config = machine_view(view.get::<MachineConfig>(MachineConfig::ACTIVE));
        let firewall = &config.machine.network.firewall;
        if !firewall.blocks && firewall.firewall_rules.is_empty() {
            return plan;
        }
        plan.put::<NfTablesChain>(NfTablesChain::INGRESS, ingress(&config));
        // A machine outside of a cluster has no filter for addresses of pods.
        let filtered = NodeAddress::filtered(NodeAddress::ROUTED, NodeAddressFilter::NO_K8S);
        let addresses =
            view.get::<NodeAddress>(&filtered).or_else(|| view.get::<NodeAddress>(NodeAddress::ROUTED));
        match addresses {
            Some(addresses) => {
                let chain = prerouting(&config, &addresses.spec);
                plan.put::<NfTablesChain>(NfTablesChain::PREROUTING, chain);
            }
            None => {
                plan.missing("addresses of this machine");
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;

    use super::*;

    const ROOT: &str = "
version: v1alpha1
machine: {type: worker, features: {hostDNS: {enabled: true, forwardKubeDNSToHost: true}}}
cluster: {controlPlane: {endpoint: https://10.0.0.5:6443}}
";
    const APID: &str = "
apiVersion: v1alpha1
kind: NetworkRuleConfig
name: apid
portSelector: {ports: [50000, 10000-10010], protocol: tcp}
ingress: [{subnet: 10.0.0.0/8, except: 10.1.0.0/16}, {subnet: 'fd00::/8'}]
";
    const BLOCK: &str = "\napiVersion: v1alpha1\nkind: NetworkDefaultActionConfig\ningress: block\n";

    fn plan(documents: &[&str]) -> Plan<Firewall> {
        let yaml = documents.join("---").into_bytes();
        let addresses = vec!["10.0.0.5/24".parse().expect("an address")];
        let routed = NodeAddress { addresses, ..NodeAddress::default() };
        let filtered = NodeAddress::filtered(NodeAddress::ROUTED, NodeAddressFilter::NO_K8S);
        let resources = [
            resource(MachineConfig::ACTIVE, MachineConfig { yaml }),
            resource(NodeAddress::ROUTED, NodeAddress::default()),
            resource(&filtered, routed),
        ];
        Firewall.plan(&View::of(resources, UNIX_EPOCH))
    }

    fn chain<'a>(plan: &'a Plan<Firewall>, name: &str) -> &'a NfTablesChain {
        plan.output::<NfTablesChain>(name).expect(name)
    }

    #[test]
    fn without_documents_there_is_no_firewall() {
        assert!(plan(&[ROOT]).outputs::<NfTablesChain>().is_empty());
    }

    #[test]
    fn a_machine_that_accepts_drops_what_comes_from_elsewhere() {
        let plan = plan(&[ROOT, APID]);
        let ingress = chain(&plan, NfTablesChain::INGRESS);
        assert_eq!((ingress.hook, ingress.priority.0), (ChainHook::Input, -140));
        // Trusted links, known connections, none, the rule.
        assert_eq!((ingress.policy, ingress.rules.len()), (Verdict::Accept, 4));
        let rule = &ingress.rules[3];
        let source = rule.source.as_ref().expect("a source");
        assert_eq!((rule.verdict, source.invert), (Some(Verdict::Drop), true));
        assert_eq!((source.include_subnets.len(), source.exclude_subnets.len()), (2, 1));
        let ports = rule.layer4.as_ref().and_then(|layer4| layer4.destination_port.as_ref());
        let ranges = &ports.expect("ports").ranges;
        assert_eq!(ranges[..], [PortRange { lo: 10000, hi: 10010 }, PortRange { lo: 50000, hi: 50000 }]);
        assert_eq!(chain(&plan, NfTablesChain::PREROUTING).rules.len(), 3);
    }

    #[test]
    fn a_machine_that_blocks_lets_in_answers_pings_pods_and_whom_rules_name() {
        let plan = plan(&[ROOT, APID, BLOCK]);
        let ingress = chain(&plan, NfTablesChain::INGRESS);
        assert_eq!(ingress.policy, Verdict::Drop);
        // Trusted links, known connections, none, telling ICMP, ICMP, ICMPv6, DHCPv6, DNS twice, pods, the rule.
        assert_eq!(ingress.rules.len(), 11);
        let last = ingress.rules.last().expect("a rule");
        assert_eq!(
            (last.verdict, last.source.as_ref().map(|it| it.invert)),
            (Some(Verdict::Accept), Some(false))
        );

        let prerouting = chain(&plan, NfTablesChain::PREROUTING);
        assert_eq!((prerouting.policy, prerouting.priority.0), (Verdict::Accept, -110));
        let others = prerouting.rules[1].destination.as_ref().expect("a destination");
        assert_eq!(others.include_subnets, ["10.0.0.5/32".parse::<IpNet>().expect("an address")]);
        assert!(others.invert);
        let dropped: Vec<_> =
            prerouting.rules.iter().filter(|it| it.verdict == Some(Verdict::Drop)).collect();
        assert_eq!(dropped.len(), 2);
        assert!(prerouting.rules[2..].iter().all(|rule| rule.conntrack_state.is_some()));
    }

    #[test]
    fn control_messages_have_no_ports() {
        let ping = APID.replace("tcp", "icmp").replace("ports: [50000, 10000-10010], ", "");
        let plan = plan(&[ROOT, &ping, BLOCK]);
        let rule = chain(&plan, NfTablesChain::INGRESS).rules.last().expect("a rule").clone();
        let layer4 = rule.layer4.expect("a protocol");
        assert_eq!((layer4.protocol, layer4.destination_port), (Protocol::Icmp, None));
    }
}
