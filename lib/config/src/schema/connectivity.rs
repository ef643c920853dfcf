//! Documents about who may reach the machine, what is probed, and addresses that come by themselves.

use super::Type::{Cidr, Duration, Ip, List, OneOf, Ports, Text, Url};
use super::{Merge, Record, Type, U32, field};

/// How a machine names itself to a DHCP server.
pub const CLIENT_IDENTIFIERS: &[&str] = &["none", "mac", "duid"];

/// `NetworkDefaultActionConfig`.
pub const DEFAULT_ACTION: Record = Record {
    doc: "What the firewall does with packets that no rule is about.",
    fields: &[field("ingress", OneOf(&["accept", "block"]), "With packets that come in.")],
};

/// `NetworkRuleConfig`.
pub const RULE: Record = Record {
    doc: "A rule of the firewall.",
    fields: &[
        field("name", Text, "Name of the rule.").required(),
        field("portSelector", Type::Record(&PORT_SELECTOR), "Ports that it is about."),
        field("ingress", List(&Type::Record(&INGRESS)), "Who may connect.").merged(Merge::Replace),
    ],
};

const PORT_SELECTOR: Record = Record {
    doc: "Ports of a protocol.",
    fields: &[
        field("ports", List(&Ports), "Ports and ranges of ports.").merged(Merge::Replace),
        field("protocol", OneOf(&["tcp", "udp", "icmp", "icmpv6"]), "Protocol."),
    ],
};

const INGRESS: Record = Record {
    doc: "Who may connect.",
    fields: &[field("subnet", Cidr, "The network."), field("except", Cidr, "What of it is left out.")],
};

/// `HTTPProbeConfig`.
pub const HTTP_PROBE: Record = Record {
    doc: "A request by which the network is judged.",
    fields: &[
        field("name", Text, "Name of the probe.").required(),
        field("interval", Duration, "How often it is made."),
        field("failureThreshold", U32, "Failures in a row that count."),
        field("url", Url, "What is asked.").required(),
        field("timeout", Duration, "How long an answer may take."),
    ],
};

/// `TCPProbeConfig`.
pub const TCP_PROBE: Record = Record {
    doc: "A connection by which the network is judged.",
    fields: &[
        field("name", Text, "Name of the probe.").required(),
        field("interval", Duration, "How often it is made."),
        field("failureThreshold", U32, "Failures in a row that count."),
        field("endpoint", Text, "Host and port.").required(),
        field("timeout", Duration, "How long it may take."),
    ],
};

/// `Layer2VIPConfig`.
pub const LAYER2_VIP: Record = Record {
    doc: "An address shared by control planes in one network.",
    fields: &[field("name", Ip, "The address.").required(), field("link", Text, "Link that it is on.")],
};

/// `DHCPv6Config`.
pub const DHCP6: Record = Record {
    doc: "DHCP version 6 on a link.",
    fields: &[
        field("name", Text, "Name of the link.").required(),
        field("routeMetric", U32, "Metric of the routes."),
        field("ignoreHostname", Type::Bool, "Whether the offered host name is not used."),
        field("clientIdentifier", OneOf(CLIENT_IDENTIFIERS), "How the machine identifies itself."),
        field("duidRaw", Text, "The identifier in hexadecimal."),
    ],
};
