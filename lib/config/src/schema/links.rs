//! Documents about links and the routes that belong to none.

use super::Type::{Bool, Cidr, Duration, Ip, List, Map, OneOf, Text};
use super::network::{STP, U8, U16, link_fields};
use super::{CIDRS, Record, TEXTS, Type, U32, field};

pub const BOND: Record = Record {
    doc: "A bond of links.",
    fields: link_fields![
        field("name", Text, "Name of the link.").required(),
        field("hardwareAddr", Text, "Hardware address."),
        field("links", TEXTS, "Links.").required(),
        field("bondMode", OneOf(BOND_MODES), "Mode.").required(),
        field("miimon", U32, "Link check interval."),
        field("updelay", U32, "Delay before use."),
        field("downdelay", U32, "Delay before disuse."),
        field("useCarrier", Bool, "Whether carrier is trusted."),
        field("xmitHashPolicy", OneOf(HASH_POLICIES), "Choice of link for sending."),
        field("arpInterval", U32, "Probe interval."),
        field("arpIpTargets", List(&Ip), "Addresses to probe."),
        field("nsIp6Targets", List(&Ip), "IPv6 addresses to probe."),
        field("arpValidate", OneOf(ARP_VALIDATIONS), "Which probes are checked."),
        field("arpAllTargets", OneOf(&["any", "all"]), "Whether all targets must answer."),
        field("lacpRate", OneOf(&["slow", "fast"]), "Rate of LACP."),
        field("failOverMac", OneOf(&["none", "active", "follow"]), "Which hardware address follows."),
        field("adSelect", OneOf(&["stable", "bandwidth", "count"]), "Choice of aggregate."),
        field("adActorSysPrio", U16, "System priority of LACP."),
        field("adUserPortKey", U16, "Port key of LACP."),
        field("adLACPActive", OneOf(&["on", "off"]), "Whether LACP begins by itself."),
        field("primary", Text, "Preferred link."),
        field("primaryReselect", OneOf(&["always", "better", "failure"]), "When to return to it."),
        field("resendIGMP", U32, "IGMP reports after failover."),
        field("minLinks", U32, "Links needed."),
        field("lpInterval", U32, "Learning packet interval."),
        field("packetsPerSlave", U32, "Packets per link."),
        field("numPeerNotif", U8, "Notifications after failover."),
        field("tlbLogicalLb", U8, "Dynamic balancing."),
        field("allSlavesActive", U8, "Whether all links receive."),
        field("peerNotifDelay", U32, "Delay between notifications."),
        field("missedMax", U8, "Probes that may be missed."),
    ],
};

/// How a bond uses its links.
pub const BOND_MODES: &[&str] =
    &["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"];

/// What of a packet chooses the link for sending.
pub const HASH_POLICIES: &[&str] = &["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4"];

/// Which ARP probes are checked.
pub const ARP_VALIDATIONS: &[&str] =
    &["none", "active", "backup", "all", "filter", "filter-active", "filter-backup"];

pub const BRIDGE: Record = Record {
    doc: "A bridge of links.",
    fields: link_fields![
        field("name", Text, "Name of the link.").required(),
        field("hardwareAddr", Text, "Hardware address."),
        field("links", TEXTS, "Links.").required(),
        field("stp", Type::Record(&STP), "Spanning tree."),
        field("vlan", Type::Record(&BRIDGE_VLAN), "VLANs on the bridge."),
    ],
};

const BRIDGE_VLAN: Record =
    Record { doc: "VLANs on a bridge.", fields: &[field("filtering", Bool, "Whether tags are filtered.")] };

pub const DUMMY: Record = Record {
    doc: "A dummy link.",
    fields: link_fields![
        field("name", Text, "Name of the link.").required(),
        field("hardwareAddr", Text, "Hardware address."),
    ],
};

pub const VLAN: Record = Record {
    doc: "A VLAN.",
    fields: link_fields![
        field("name", Text, "Name of the link.").required(),
        field("vlanID", Type::Integer(1, 4094), "Number of the VLAN.").required(),
        field("vlanMode", OneOf(&["802.1q", "802.1ad"]), "How frames are tagged."),
        field("parent", Text, "Link that it is on.").required(),
    ],
};

pub const VRF: Record = Record {
    doc: "A routing domain of its own.",
    fields: link_fields![
        field("name", Text, "Name of the link.").required(),
        field("hardwareAddr", Text, "Hardware address."),
        field("links", TEXTS, "Links in it.").required(),
        field("table", Text, "Its routing table.").required(),
    ],
};

pub const VETH: Record = Record {
    doc: "A pair of virtual links.",
    fields: link_fields![
        field("name", Text, "Name of one end.").required(),
        field("peer", Type::Record(&VETH_PEER), "The other end.").required(),
    ],
};

const VETH_PEER: Record = Record {
    doc: "The other end of a pair.",
    fields: link_fields![field("name", Text, "Name of the other end.").required()],
};

pub const WIREGUARD: Record = Record {
    doc: "A link of WireGuard.",
    fields: link_fields![
        field("name", Text, "Name of the link.").required(),
        field("privateKey", Text, "Private key.").secret().required(),
        field("listenPort", U16, "Port."),
        field("firewallMark", U32, "Firewall mark."),
        field("peers", List(&Type::Record(&WIREGUARD_PEER)), "Peers."),
    ],
};

const WIREGUARD_PEER: Record = Record {
    doc: "A WireGuard peer.",
    fields: &[
        field("publicKey", Text, "Public key.").required(),
        field("presharedKey", Text, "Key that both sides have.").secret(),
        field("endpoint", Text, "Address and port."),
        field("persistentKeepaliveInterval", Duration, "Interval of keep-alives."),
        field("allowedIPs", CIDRS, "Networks behind the peer."),
    ],
};

pub const ALIAS: Record = Record {
    doc: "Another name of a link.",
    fields: &[
        field("name", Text, "The name.").required(),
        field("selector", Type::Record(&SELECTOR), "Which link it is for."),
    ],
};

const SELECTOR: Record = Record {
    doc: "Which links are meant.",
    fields: &[field("match", Text, "Expression that is true for them.")],
};

pub const ETHERNET: Record = Record {
    doc: "Settings of an Ethernet device.",
    fields: &[
        field("name", Text, "Name of the link.").required(),
        field("features", Map(&Bool), "Features that are switched."),
        field("rings", Type::Record(&RINGS), "Sizes of rings."),
        field("channels", Type::Record(&CHANNELS), "Numbers of channels."),
        field("wakeOnLan", List(&OneOf(WAKE_ON_LAN)), "What wakes the machine."),
    ],
};

const WAKE_ON_LAN: &[&str] =
    &["phy", "unicast", "multicast", "broadcast", "arp", "magic", "magicsecure", "filter"];

const RINGS: Record = Record {
    doc: "Rings of an Ethernet device.",
    fields: &[
        field("rx", U32, "For receiving."),
        field("tx", U32, "For sending."),
        field("rx-mini", U32, "For small frames."),
        field("rx-jumbo", U32, "For large frames."),
        field("rx-buf-len", U32, "Length of a buffer."),
        field("cqe-size", U32, "Size of a completion."),
        field("tx-push", Bool, "Whether descriptors are pushed for sending."),
        field("rx-push", Bool, "Whether descriptors are pushed for receiving."),
        field("tx-push-buf-len", U32, "Length of a pushed buffer."),
        field("tcp-data-split", Bool, "Whether headers are split from data."),
    ],
};

const CHANNELS: Record = Record {
    doc: "Channels of an Ethernet device.",
    fields: &[
        field("rx", U32, "For receiving."),
        field("tx", U32, "For sending."),
        field("other", U32, "For other things."),
        field("combined", U32, "For both directions."),
    ],
};

pub const BLACKHOLE_ROUTE: Record = Record {
    doc: "A route that leads nowhere.",
    fields: &[field("name", Cidr, "Destination.").required(), field("metric", U32, "Metric.")],
};

pub const ROUTING_RULE: Record = Record {
    doc: "Which routing table is asked; the name is the priority.",
    fields: &[
        field("name", Text, "Priority.").required(),
        field("src", Cidr, "Network that packets come from."),
        field("dst", Cidr, "Network that packets go to."),
        field("table", Text, "The routing table.").required(),
        field("action", OneOf(RULE_ACTIONS), "What happens instead of asking a table."),
        field("iifName", Text, "Link that packets come in by."),
        field("oifName", Text, "Link that packets go out by."),
        field("fwMark", U32, "Firewall mark."),
        field("fwMask", U32, "Which bits of the mark count."),
    ],
};

const RULE_ACTIONS: &[&str] = &["unicast", "blackhole", "unreachable", "prohibit"];
