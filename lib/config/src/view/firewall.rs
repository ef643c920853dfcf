//! Who may reach the machine.

use ipnet::IpNet;

use super::Documents;
use crate::reader::Reader;
use crate::values;

/// The firewall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firewall {
    /// Whether packets are dropped that no rule is about.
    pub blocks: bool,
    /// Rules in order.
    pub firewall_rules: Vec<FirewallRule>,
}

impl Firewall {
    pub(super) fn read(documents: &Documents<'_>) -> Self {
        let action = documents.one("NetworkDefaultActionConfig");
        let rules = documents.all("NetworkRuleConfig").map(|(_, rule)| FirewallRule::read(rule));
        Self { blocks: action.get("ingress").text() == Some("block"), firewall_rules: rules.collect() }
    }
}

/// A protocol above IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuleProtocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// Control messages of IPv4.
    Icmp,
    /// Control messages of IPv6.
    IcmpV6,
}

/// A rule of the firewall: who may use which ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirewallRule {
    /// Protocol.
    pub protocol: RuleProtocol,
    /// Ranges of ports, both ends in them; none for protocols that have no ports.
    pub port_ranges: Vec<(u16, u16)>,
    /// Who may connect.
    pub ingress: Vec<Ingress>,
}

impl FirewallRule {
    fn read(rule: Reader<'_>) -> Self {
        let selector = rule.get("portSelector");
        let protocol = match selector.get("protocol").text() {
            Some("udp") => RuleProtocol::Udp,
            Some("icmp") => RuleProtocol::Icmp,
            Some("icmpv6") => RuleProtocol::IcmpV6,
            _ => RuleProtocol::Tcp,
        };
        let ports = selector.get("ports").list(|item| item.text().and_then(values::ports));
        Self { protocol, port_ranges: ports, ingress: rule.get("ingress").list(Ingress::read) }
    }
}

/// A network from which one may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// The network.
    pub subnet: IpNet,
    /// What of it is left out.
    pub except: Option<IpNet>,
}

impl Ingress {
    fn read(reader: Reader<'_>) -> Option<Self> {
        Some(Self { subnet: reader.get("subnet").cidr()?, except: reader.get("except").cidr() })
    }
}
