//! `machine.network` of the `v1alpha1` document, and the link fields that documents share.

use super::Type::{Address, Bool, Cidr, Duration, Integer, Ip, List, OneOf, Text};
use super::links::{ARP_VALIDATIONS, BOND_MODES, HASH_POLICIES};
use super::{CIDRS, Field, Merge, Record, TEXTS, Type, U32, field};

/// Largest MTU that Linux takes.
pub const MTU: Type = Integer(0, 65_535);
/// A byte.
pub const U8: Type = Integer(0, 255);
/// Two bytes.
pub const U16: Type = Integer(0, 65_535);

/// Network settings.
pub const NETWORK: Record = Record {
    doc: "Network settings.",
    fields: &[
        field("hostname", Text, "Host name."),
        field("interfaces", List(&Type::Record(&INTERFACE)), "Links.")
            .merged(Merge::Keyed(&["interface", "deviceSelector"])),
        field("nameservers", List(&Ip), "DNS servers."),
        field("searchDomains", TEXTS, "DNS search domains."),
        field("extraHostEntries", List(&Type::Record(&EXTRA_HOST)), "More lines of /etc/hosts."),
        field("kubespan", Type::Record(&KUBESPAN), "Encrypted mesh between machines."),
        field("disableSearchDomain", Bool, "Whether resolv.conf has no search line."),
    ],
};

const INTERFACE: Record = Record {
    doc: "A link.",
    fields: &[
        field("interface", Text, "Name of the link."),
        field("deviceSelector", Type::Record(&DEVICE_SELECTOR), "Properties of the link."),
        field("addresses", List(&Address), "Addresses."),
        field("cidr", Cidr, "One address; older form of addresses."),
        field("routes", List(&Type::Record(&ROUTE)), "Routes."),
        field("bond", Type::Record(&BOND), "Bond of links."),
        field("bridge", Type::Record(&BRIDGE), "Bridge of links."),
        field("bridgePort", Type::Record(&BRIDGE_PORT), "Bridge that the link belongs to."),
        field("vlans", List(&Type::Record(&VLAN)), "VLANs on the link.").merged(Merge::Keyed(&["vlanId"])),
        field("mtu", MTU, "Largest packet."),
        field("dhcp", Bool, "Whether addresses come by DHCP."),
        field("ignore", Bool, "Whether the link is left alone."),
        field("dummy", Bool, "Whether the link is a dummy."),
        field("dhcpOptions", Type::Record(&DHCP_OPTIONS), "How DHCP is done."),
        field("wireguard", Type::Record(&WIREGUARD), "WireGuard on the link."),
        field("vip", Type::Record(&VIP), "Address shared by control planes."),
    ],
};

const DEVICE_SELECTOR: Record = Record {
    doc: "Properties of a link; all given ones must match, * stands for any text.",
    fields: &[
        field("busPath", Text, "Path of the bus."),
        field("hardwareAddr", Text, "Hardware address."),
        field("permanentAddr", Text, "Burnt-in hardware address."),
        field("pciID", Text, "PCI vendor and device."),
        field("driver", Text, "Kernel driver."),
        field("physical", Bool, "Whether it is a physical link."),
    ],
};

const ROUTE: Record = Record {
    doc: "A route.",
    fields: &[
        field("network", Cidr, "Destination."),
        field("gateway", Ip, "Gateway."),
        field("source", Ip, "Source address."),
        field("metric", U32, "Metric."),
        field("mtu", U32, "Largest packet."),
    ],
};

const BOND: Record = Record {
    doc: "A bond of links.",
    fields: &[
        field("interfaces", TEXTS, "Links."),
        field("deviceSelectors", List(&Type::Record(&DEVICE_SELECTOR)), "Properties of the links."),
        field("arpIPTarget", List(&Ip), "Addresses to probe."),
        field("mode", OneOf(BOND_MODES), "Mode."),
        field("xmitHashPolicy", OneOf(HASH_POLICIES), "Choice of link for sending."),
        field("lacpRate", OneOf(&["slow", "fast"]), "Rate of LACP."),
        field("adActorSystem", Text, "System address of LACP.").refused(),
        field("arpValidate", OneOf(ARP_VALIDATIONS), "Which probes are checked."),
        field("arpAllTargets", OneOf(&["any", "all"]), "Whether all targets must answer."),
        field("primary", Text, "Preferred link."),
        field("primaryReselect", OneOf(&["always", "better", "failure"]), "When to return to it."),
        field("failOverMac", OneOf(&["none", "active", "follow"]), "Which hardware address follows."),
        field("adSelect", OneOf(&["stable", "bandwidth", "count"]), "Choice of aggregate."),
        field("miimon", U32, "Link check interval."),
        field("updelay", U32, "Delay before use."),
        field("downdelay", U32, "Delay before disuse."),
        field("arpInterval", U32, "Probe interval."),
        field("resendIgmp", U32, "IGMP reports after failover."),
        field("minLinks", U32, "Links needed."),
        field("lpInterval", U32, "Learning packet interval."),
        field("packetsPerSlave", U32, "Packets per link."),
        field("numPeerNotif", U8, "Notifications after failover."),
        field("tlbDynamicLb", U8, "Dynamic balancing."),
        field("allSlavesActive", U8, "Whether all links receive."),
        field("useCarrier", Bool, "Whether carrier is trusted."),
        field("adActorSysPrio", U16, "System priority of LACP."),
        field("adUserPortKey", U16, "Port key of LACP."),
        field("peerNotifyDelay", U32, "Delay between notifications."),
    ],
};

const BRIDGE: Record = Record {
    doc: "A bridge of links.",
    fields: &[
        field("interfaces", TEXTS, "Links."),
        field("stp", Type::Record(&STP), "Spanning tree."),
        field("vlan", Type::Record(&BRIDGE_VLAN), "VLANs on the bridge."),
    ],
};

/// Spanning tree.
pub const STP: Record =
    Record { doc: "Spanning tree.", fields: &[field("enabled", Bool, "Whether it is on.")] };

const BRIDGE_VLAN: Record = Record {
    doc: "VLANs on a bridge.",
    fields: &[field("vlanFiltering", Bool, "Whether tags are filtered.")],
};

const BRIDGE_PORT: Record =
    Record { doc: "Membership in a bridge.", fields: &[field("master", Text, "The bridge.")] };

const VLAN: Record = Record {
    doc: "A VLAN.",
    fields: &[
        field("addresses", List(&Address), "Addresses."),
        field("cidr", Cidr, "One address; older form of addresses."),
        field("routes", List(&Type::Record(&ROUTE)), "Routes."),
        field("dhcp", Bool, "Whether addresses come by DHCP."),
        field("vlanId", Integer(0, 4094), "Number of the VLAN."),
        field("mtu", MTU, "Largest packet."),
        field("vip", Type::Record(&VIP), "Address shared by control planes."),
        field("dhcpOptions", Type::Record(&DHCP_OPTIONS), "How DHCP is done."),
    ],
};

const DHCP_OPTIONS: Record = Record {
    doc: "How DHCP is done.",
    fields: &[
        field("routeMetric", U32, "Metric of the routes."),
        field("ipv4", Bool, "Whether DHCP version 4 is used."),
        field("ipv6", Bool, "Whether DHCP version 6 is used."),
        field("duidv6", Text, "Identifier for version 6, in hexadecimal."),
    ],
};

const WIREGUARD: Record = Record {
    doc: "WireGuard.",
    fields: &[
        field("privateKey", Text, "Private key.").secret(),
        field("listenPort", U16, "Port."),
        field("firewallMark", U32, "Firewall mark."),
        field("peers", List(&Type::Record(&WIREGUARD_PEER)), "Peers."),
    ],
};

const WIREGUARD_PEER: Record = Record {
    doc: "A WireGuard peer.",
    fields: &[
        field("publicKey", Text, "Public key."),
        field("endpoint", Text, "Address and port."),
        field("persistentKeepaliveInterval", Duration, "Interval of keep-alives."),
        field("allowedIPs", CIDRS, "Networks behind the peer."),
    ],
};

const VIP: Record = Record {
    doc: "An address shared by control planes.",
    fields: &[
        field("ip", Ip, "The address."),
        field("equinixMetal", Type::Record(&CLOUD_VIP), "Address by the cloud's API.").refused(),
        field("hcloud", Type::Record(&CLOUD_VIP), "Address by the cloud's API.").refused(),
    ],
};

const CLOUD_VIP: Record =
    Record { doc: "Access to a cloud.", fields: &[field("apiToken", Text, "Token.").secret()] };

const EXTRA_HOST: Record = Record {
    doc: "A line of /etc/hosts.",
    fields: &[field("ip", Ip, "Address."), field("aliases", TEXTS, "Names.")],
};

const KUBESPAN: Record = Record {
    doc: "Encrypted mesh between machines.",
    fields: &[
        field("enabled", Bool, "Whether it is on.").refused(),
        field("advertiseKubernetesNetworks", Bool, "Whether pod networks are sent through it.").inert(),
        field("allowDownPeerBypass", Bool, "Whether traffic to lost peers goes outside.").inert(),
        field("harvestExtraEndpoints", Bool, "Whether seen addresses of peers are collected.").inert(),
        field("mtu", U32, "Largest packet.").inert(),
        field("filters", Type::Record(&KUBESPAN_FILTERS), "Which addresses are used.").inert(),
    ],
};

/// Which addresses of the mesh are used.
pub const KUBESPAN_FILTERS: Record = Record {
    doc: "Which addresses are used.",
    fields: &[
        field("endpoints", TEXTS, "Networks of endpoints; a leading ! excludes."),
        field("excludeAdvertisedNetworks", CIDRS, "Networks that are not advertised."),
    ],
};

/// Fields of a document about a link: its own, and those that all links have.
macro_rules! link_fields {
    ($($own:expr),* $(,)?) => {
        &[
            $($own,)*
            $crate::schema::field("up", $crate::schema::Type::Bool, "Whether the link is up."),
            $crate::schema::field("mtu", $crate::schema::network::MTU, "Largest packet."),
            $crate::schema::field(
                "multicast",
                $crate::schema::Type::Bool,
                "Whether the link takes multicast.",
            ),
            $crate::schema::field("addresses", $crate::schema::network::LINK_ADDRESSES, "Addresses."),
            $crate::schema::field("routes", $crate::schema::network::LINK_ROUTES, "Routes."),
        ]
    };
}
pub(super) use link_fields;

/// Addresses of a link.
pub const LINK_ADDRESSES: Type = List(&Type::Record(&LINK_ADDRESS));
/// Routes of a link.
pub const LINK_ROUTES: Type = List(&Type::Record(&LINK_ROUTE));

/// Link fields of a document about a physical link.
pub const LINK_FIELDS: &[Field] = link_fields![field("name", Text, "Name of the link.").required()];

const LINK_ADDRESS: Record = Record {
    doc: "An address of a link.",
    fields: &[
        field("address", Address, "The address.").required(),
        field("routePriority", U32, "Metric of its route."),
    ],
};

const LINK_ROUTE: Record = Record {
    doc: "A route of a link.",
    fields: &[
        field("destination", Cidr, "Destination; all when absent."),
        field("gateway", Ip, "Gateway."),
        field("source", Ip, "Source address."),
        field("metric", U32, "Metric."),
        field("mtu", U32, "Largest packet."),
        field("table", Text, "Routing table, by number or as default, main or local."),
    ],
};
