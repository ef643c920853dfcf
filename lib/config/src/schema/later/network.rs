//! Documents about addresses, routes, the firewall and the mesh between machines.

use crate::schema::Type::{Bool, Duration, Ip, List, OneOf, Text, Url};
use crate::schema::network::{KUBESPAN_FILTERS, U8};
use crate::schema::{CIDRS, Merge, Record, TEXTS, Type, U32, field};

pub const DHCP6: Record = Record {
    doc: "DHCP version 6 on a link.",
    fields: &[
        field("name", Text, "Name of the link.").required(),
        field("routeMetric", U32, "Metric of the routes."),
        field("ignoreHostname", Bool, "Whether the offered host name is not used."),
        field("clientIdentifier", OneOf(&["none", "mac", "duid"]), "How the machine identifies itself."),
        field("duidRaw", Text, "The identifier in hexadecimal."),
    ],
};

pub const LAYER2_VIP: Record = Record {
    doc: "An address shared by control planes in one network.",
    fields: &[field("name", Text, "The address.").required(), field("link", Text, "Link that it is on.")],
};

pub const HCLOUD_VIP: Record = Record {
    doc: "An address shared by control planes, moved by the API of Hetzner Cloud.",
    fields: &[
        field("name", Text, "The address.").required(),
        field("link", Text, "Link that it is on."),
        field("apiToken", Text, "Token of the API.").secret(),
    ],
};

pub const BLACKHOLE_ROUTE: Record = Record {
    doc: "A route that leads nowhere.",
    fields: &[field("name", Text, "Destination.").required(), field("metric", U32, "Metric.")],
};

pub const ROUTING_RULE: Record = Record {
    doc: "Which routing table is asked; the name is the priority.",
    fields: &[
        field("name", Text, "Priority.").required(),
        field("src", Text, "Network that packets come from."),
        field("dst", Text, "Network that packets go to."),
        field("table", Text, "The routing table.").required(),
        field("action", U8, "What happens instead of asking a table."),
        field("iifName", Text, "Link that packets come in by."),
        field("oifName", Text, "Link that packets go out by."),
        field("fwMark", U32, "Firewall mark."),
        field("fwMask", U32, "Which bits of the mark count."),
    ],
};

pub const BGP_INSTANCE: Record = Record {
    doc: "A BGP instance.",
    fields: &[
        field("name", Text, "Name of the instance.").required(),
        field("vrf", Text, "Routing domain that it is in."),
        field("localASN", U32, "Its autonomous system.").required(),
        field("routerID", Ip, "Its identifier."),
        field("routeSource", Ip, "Source address of packets on learned routes."),
        field("advertise", TEXTS, "Links whose addresses are told.").merged(Merge::Replace),
        field("multipath", Bool, "Whether packets take several routes."),
        field("maxPaths", U8, "Most routes to one destination."),
        field("installRoutes", Bool, "Whether learned routes are used."),
        field("importRoutes", List(&Type::Record(&BGP_IMPORT)), "Routes of other instances that are told.")
            .merged(Merge::Replace),
        field("neighbors", List(&Type::Record(&BGP_NEIGHBOR)), "Neighbors.").merged(Merge::Replace),
    ],
};

const BGP_IMPORT: Record = Record {
    doc: "Routes of another instance.",
    fields: &[
        field("bgpInstance", Text, "The other instance."),
        field("prefixes", CIDRS, "Networks that routes must be in."),
    ],
};

const BGP_NEIGHBOR: Record = Record {
    doc: "A BGP neighbor.",
    fields: &[
        field("address", Ip, "Its address."),
        field("link", Text, "Link that it is on."),
        field("peerASN", U32, "Its autonomous system."),
        field("localASN", U32, "The autonomous system that it is told."),
        field("passive", Bool, "Whether it has to connect."),
        field("holdTime", Duration, "How long silence is borne."),
        field("bfd", Type::Record(&BFD), "How its loss is found early."),
    ],
};

const BFD: Record = Record {
    doc: "Bidirectional forwarding detection.",
    fields: &[
        field("transmitInterval", Duration, "Interval of sending."),
        field("receiveInterval", Duration, "Interval of receiving."),
        field("detectMultiplier", U8, "Packets that may be missed."),
    ],
};

pub const DEFAULT_ACTION: Record = Record {
    doc: "What the firewall does with packets that no rule is about.",
    fields: &[field("ingress", OneOf(&["accept", "block"]), "With packets that come in.")],
};

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
        field("ports", TEXTS, "Ports and ranges of ports.").merged(Merge::Replace),
        field("protocol", OneOf(&["tcp", "udp", "icmp", "icmpv6"]), "Protocol."),
    ],
};

const INGRESS: Record = Record {
    doc: "Who may connect.",
    fields: &[
        field("subnet", Type::Cidr, "The network."),
        field("except", Type::Cidr, "What of it is left out."),
    ],
};

pub const KUBESPAN: Record = Record {
    doc: "Encrypted mesh between machines.",
    fields: &[
        field("enabled", Bool, "Whether it is on."),
        field("advertiseKubernetesNetworks", Bool, "Whether pod networks are sent through it."),
        field("allowDownPeerBypass", Bool, "Whether traffic to lost peers goes outside."),
        field("harvestExtraEndpoints", Bool, "Whether seen addresses of peers are collected."),
        field("mtu", U32, "Largest packet."),
        field("filters", Type::Record(&KUBESPAN_FILTERS), "Which addresses are used."),
    ],
};

pub const KUBESPAN_ENDPOINTS: Record = Record {
    doc: "More addresses that peers are told.",
    fields: &[field("extraAnnouncedEndpoints", TEXTS, "Addresses with ports.")],
};

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
