//! Documents about addresses, routes and the mesh between machines.

use crate::schema::Type::{Bool, Duration, Ip, List, Text};
use crate::schema::network::{KUBESPAN_FILTERS, U8};
use crate::schema::{CIDRS, Merge, Record, TEXTS, Type, U32, field};

pub const HCLOUD_VIP: Record = Record {
    doc: "An address shared by control planes, moved by the API of Hetzner Cloud.",
    fields: &[
        field("name", Text, "The address.").required(),
        field("link", Text, "Link that it is on."),
        field("apiToken", Text, "Token of the API.").secret(),
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
