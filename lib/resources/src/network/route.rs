//! Routes.

use std::fmt::Write;
use std::net::IpAddr;

use corten_resource::{Record, Resource};
use ipnet::IpNet;

use super::{Family, Layer, RouteFlags, RouteProtocol, RouteTable, RouteType, Scope};

/// One way of a route with several.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct RouteNextHop {
    /// Next router.
    #[field(1, "gateway")]
    pub gateway: Option<IpAddr>,
    /// Link to leave by.
    #[field(2, "outLinkName", omitempty)]
    pub out_link_name: String,
    /// Share of the traffic.
    #[field(3, "weight", omitempty)]
    pub weight: u32,
}

/// A route wanted; the plain id is that of [`route_id`].
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "RouteSpecs.net.talos.dev", namespace = "network")]
pub struct RouteSpec {
    /// Its family.
    #[field(1, "family")]
    pub family: Family,
    /// Destination; nothing for all.
    #[field(2, "dst")]
    pub dst: Option<IpNet>,
    /// Source address to prefer.
    #[field(3, "src")]
    pub src: Option<IpAddr>,
    /// Next router; nothing when the destination is on the link.
    #[field(4, "gateway")]
    pub gateway: Option<IpAddr>,
    /// Link to leave by.
    #[field(5, "outLinkName", omitempty)]
    pub out_link_name: String,
    /// Table.
    #[field(6, "table")]
    pub table: RouteTable,
    /// Metric.
    #[field(7, "priority", omitempty)]
    pub priority: u32,
    /// How far it reaches.
    #[field(8, "scope")]
    pub scope: Scope,
    /// What happens to packets.
    #[field(9, "type")]
    pub route_type: RouteType,
    /// Flags.
    #[field(10, "flags")]
    pub flags: RouteFlags,
    /// Who makes it.
    #[field(11, "protocol")]
    pub protocol: RouteProtocol,
    /// Where it comes from.
    #[field(12, "layer")]
    pub layer: Layer,
    /// Largest packet; 0 for that of the link.
    #[field(13, "mtu", omitempty)]
    pub mtu: u32,
    /// Ways, when there are several.
    #[field(14, "nextHops", omitempty)]
    pub next_hops: Vec<RouteNextHop>,
}

impl RouteSpec {
    /// A static unicast route in the main table. It reaches the link only when it has no gateway.
    #[must_use]
    pub fn new(layer: Layer, dst: Option<IpNet>, gateway: Option<IpAddr>, link: &str, priority: u32) -> Self {
        let dst = dst.filter(|dst| dst.prefix_len() != 0);
        let family = dst.map(|dst| dst.addr()).or(gateway).map_or(Family::Inet4, Family::of);
        Self {
            family,
            dst,
            gateway,
            out_link_name: link.to_owned(),
            priority,
            scope: if gateway.is_none() && family == Family::Inet4 { Scope::LINK } else { Scope::GLOBAL },
            layer,
            ..Self::default()
        }
    }

    /// Its plain id.
    #[must_use]
    pub fn id(&self) -> String {
        route_id(self.table, self.family, &self.out_link_name, self.gateway, self.dst, self.priority)
    }
}

/// A route of the kernel; the id is that of [`route_id`].
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "RouteStatuses.net.talos.dev",
    namespace = "network",
    aliases("route", "routes"),
    columns(
        "Destination" => "{.dst}",
        "Gateway" => "{.gateway}",
        "Link" => "{.outLinkName}",
        "Metric" => "{.priority}"
    )
)]
pub struct RouteStatus {
    /// Its family.
    #[field(1, "family")]
    pub family: Family,
    /// Destination; nothing for all.
    #[field(2, "dst")]
    pub dst: Option<IpNet>,
    /// Source address to prefer.
    #[field(3, "src")]
    pub src: Option<IpAddr>,
    /// Next router.
    #[field(4, "gateway")]
    pub gateway: Option<IpAddr>,
    /// Index of the link to leave by.
    #[field(5, "outLinkIndex", omitempty)]
    pub out_link_index: u32,
    /// Link to leave by.
    #[field(6, "outLinkName", omitempty)]
    pub out_link_name: String,
    /// Table.
    #[field(7, "table")]
    pub table: RouteTable,
    /// Metric.
    #[field(8, "priority")]
    pub priority: u32,
    /// How far it reaches.
    #[field(9, "scope")]
    pub scope: Scope,
    /// What happens to packets.
    #[field(10, "type")]
    pub route_type: RouteType,
    /// Flags.
    #[field(11, "flags")]
    pub flags: RouteFlags,
    /// Who made it.
    #[field(12, "protocol")]
    pub protocol: RouteProtocol,
    /// Largest packet; 0 for that of the link.
    #[field(13, "mtu", omitempty)]
    pub mtu: u32,
    /// Ways, when there are several.
    #[field(14, "nextHops", omitempty)]
    pub next_hops: Vec<RouteNextHop>,
}

impl RouteStatus {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> String {
        route_id(self.table, self.family, &self.out_link_name, self.gateway, self.dst, self.priority)
    }
}

/// Id of a route: `[table/][link/]family/gateway/destination/metric`, the table unless it is the main one, the link
/// for IPv6 only, where the kernel keeps equal routes over several links.
#[must_use]
pub fn route_id(
    table: RouteTable,
    family: Family,
    link: &str,
    gateway: Option<IpAddr>,
    dst: Option<IpNet>,
    priority: u32,
) -> String {
    let mut id = String::new();
    if table != RouteTable::MAIN {
        let _ = write!(id, "{table}/");
    }
    if family == Family::Inet6 && !link.is_empty() {
        let _ = write!(id, "{link}/");
    }
    let gateway = gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
    let dst = dst.map(|dst| dst.to_string()).unwrap_or_default();
    let _ = write!(id, "{family}/{gateway}/{dst}/{priority}");
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_routes_apart_as_the_kernel_does() {
        let gateway = Some("10.5.0.1".parse().expect("ip"));
        let route = RouteSpec::new(Layer::Operator, None, gateway, "eth0", 1024);
        assert_eq!(route.id(), "inet4/10.5.0.1//1024");
        assert_eq!(route.scope, Scope::GLOBAL);
        let onlink =
            RouteSpec::new(Layer::Operator, Some("10.5.0.0/24".parse().expect("net")), None, "eth0", 0);
        assert_eq!((onlink.id().as_str(), onlink.scope), ("inet4//10.5.0.0/24/0", Scope::LINK));
        let six = RouteSpec {
            table: RouteTable(100),
            ..RouteSpec::new(Layer::Configuration, Some("fd00::/8".parse().expect("net")), None, "eth0", 256)
        };
        assert_eq!(six.id(), "100/eth0/inet6//fd00::/8/256");
        let any =
            RouteSpec::new(Layer::Operator, Some("0.0.0.0/0".parse().expect("net")), gateway, "eth0", 1024);
        assert_eq!(any.id(), route.id(), "a default route has no destination");
    }
}
