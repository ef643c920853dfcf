//! BGP: what instances are told and how their sessions are.
//!
//! Machines have no BGP yet: `BGPInstanceConfig` is refused by name, so that nobody writes these types.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use corten_resource::{Enumeration, Record, Resource};
use ipnet::IpNet;

use super::RouteTable;

/// How the loss of a neighbor is found early.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct BgpBfd {
    /// Interval of sending.
    #[field(1, "transmitInterval", omitempty)]
    pub transmit_interval: Duration,
    /// Interval of receiving.
    #[field(2, "receiveInterval", omitempty)]
    pub receive_interval: Duration,
    /// Packets that may be missed.
    #[field(3, "detectMultiplier", omitempty)]
    pub detect_multiplier: u32,
}

/// A neighbor.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct BgpNeighbor {
    /// Its address; nothing when the link tells it.
    #[field(1, "address", omitempty)]
    pub address: Option<IpAddr>,
    /// Link that it is on.
    #[field(2, "link", omitempty)]
    pub link: String,
    /// Its autonomous system.
    #[field(3, "peerASN", omitempty)]
    pub peer_asn: u32,
    /// How long silence is borne.
    #[field(4, "holdTime", omitempty)]
    pub hold_time: Duration,
    /// How its loss is found early.
    #[field(5, "bfd", omitempty)]
    pub bfd: Option<BgpBfd>,
    /// The autonomous system that it is told; 0 for that of the instance.
    #[field(6, "localASN", omitempty)]
    pub local_asn: u32,
    /// It has to connect.
    #[field(7, "passive", omitempty)]
    pub passive: bool,
}

/// Routes of another instance that are told.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct BgpImportRoute {
    /// The other instance.
    #[field(1, "bgpInstance")]
    pub bgp_instance: String,
    /// Networks that routes must be in.
    #[field(2, "prefixes")]
    pub prefixes: Vec<IpNet>,
}

/// A BGP instance wanted; the id is its name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "BGPInstanceConfigs.net.talos.dev",
    namespace = "network",
    columns("Local ASN" => "{.localASN}", "Router ID" => "{.routerID}")
)]
pub struct BgpInstanceConfig {
    /// Its autonomous system.
    #[field(1, "localASN")]
    pub local_asn: u32,
    /// Its identifier.
    #[field(2, "routerID", omitempty)]
    pub router_id: Option<IpAddr>,
    /// Source address of packets on learned routes.
    #[field(3, "routeSource", omitempty)]
    pub route_source: Option<IpAddr>,
    /// Links whose addresses are told.
    #[field(4, "advertiseLinks", omitempty)]
    pub advertise_links: Vec<String>,
    /// Packets take several routes.
    #[field(5, "multipath", omitempty)]
    pub multipath: bool,
    /// Most routes to one destination.
    #[field(6, "maxPaths", omitempty)]
    pub max_paths: u32,
    /// Neighbors.
    #[field(7, "neighbors", omitempty)]
    pub neighbors: Vec<BgpNeighbor>,
    /// Routing domain that it is in.
    #[field(8, "vrf", omitempty)]
    pub vrf: String,
    /// Routing table of the domain.
    #[field(9, "vrfTable", omitempty)]
    pub vrf_table: Option<RouteTable>,
    /// Routes of other instances that are told.
    #[field(10, "importRoutes", omitempty)]
    pub import_routes: Vec<BgpImportRoute>,
    /// Learned routes are used.
    #[field(11, "installRoutes")]
    pub install_routes: bool,
}

/// How far a session is (RFC 4271, section 8.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum BgpSessionState {
    /// Not known.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// Nothing is done.
    #[variant(1, "idle")]
    Idle,
    /// A connection is made.
    #[variant(2, "connect")]
    Connect,
    /// A connection is awaited.
    #[variant(3, "active")]
    Active,
    /// An OPEN was sent.
    #[variant(4, "opensent")]
    OpenSent,
    /// An OPEN was answered.
    #[variant(5, "openconfirm")]
    OpenConfirm,
    /// Routes are exchanged.
    #[variant(6, "established")]
    Established,
}

/// A session with a neighbor; the id is `instance/peer`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "BGPPeerStatuses.net.talos.dev",
    namespace = "network",
    columns("Instance" => "{.instance}", "Peer" => "{.peer}", "State" => "{.state}")
)]
pub struct BgpPeerStatus {
    /// The neighbor.
    #[field(1, "peer")]
    pub peer: String,
    /// Own autonomous system.
    #[field(2, "localASN")]
    pub local_asn: u32,
    /// That of the neighbor.
    #[field(3, "peerASN")]
    pub peer_asn: u32,
    /// How far the session is.
    #[field(4, "state")]
    pub state: BgpSessionState,
    /// Identifier of the neighbor.
    #[field(5, "routerID", omitempty)]
    pub router_id: Option<IpAddr>,
    /// When it got there.
    #[field(6, "since", omitempty)]
    pub since: Option<SystemTime>,
    /// Routes received.
    #[field(7, "received")]
    pub received: u32,
    /// Routes told.
    #[field(8, "advertised")]
    pub advertised: u32,
    /// Routes used.
    #[field(9, "accepted")]
    pub accepted: u32,
    /// How bidirectional forwarding detection sees it.
    #[field(10, "bfdState", omitempty)]
    pub bfd_state: String,
    /// The instance.
    #[field(11, "instance")]
    pub instance: String,
}
