//! Routes: from netlink messages to statuses, and back.

use std::future::Future;
use std::net::IpAddr;

use anyhow::Context;
use corten_resources::network::{
    Family, RouteFlags, RouteNextHop, RouteProtocol, RouteSpec, RouteStatus, RouteTable, RouteType, Scope,
};
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags as WireFlags, RouteMessage, RouteMetric,
    RouteNextHop as WireNextHop, RouteProtocol as WireProtocol, RouteScope as WireScope,
    RouteType as WireType,
};

use crate::kernel::{Kernel, Snapshot, errno, refused};

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

pub(crate) fn status(message: &RouteMessage, snapshot: &Snapshot) -> Option<RouteStatus> {
    let header = &message.header;
    let mut route = RouteStatus {
        family: if header.address_family == AddressFamily::Inet6 { Family::Inet6 } else { Family::Inet4 },
        table: RouteTable(header.table.into()),
        scope: Scope(u8::from(header.scope).into()),
        route_type: RouteType(u8::from(header.kind).into()),
        flags: RouteFlags(header.flags.bits()),
        protocol: RouteProtocol(u8::from(header.protocol).into()),
        ..RouteStatus::default()
    };
    if route.flags.contains(RouteFlags::CLONED) {
        return None;
    }
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                route.dst = IpNet::new(ip(address)?, header.destination_prefix_length).ok();
            }
            RouteAttribute::PrefSource(address) => route.src = ip(address),
            RouteAttribute::Gateway(address) => route.gateway = ip(address),
            RouteAttribute::Oif(index) => {
                route.out_link_index = *index;
                route.out_link_name = snapshot.link_name(*index).unwrap_or_default().to_owned();
            }
            RouteAttribute::Priority(priority) => route.priority = *priority,
            RouteAttribute::Table(table) => route.table = RouteTable(*table),
            RouteAttribute::Metrics(metrics) => route.mtu = metrics.iter().find_map(mtu).unwrap_or(0),
            RouteAttribute::MultiPath(hops) => {
                route.next_hops = hops.iter().map(|hop| next_hop(hop, snapshot)).collect();
            }
            _ => {}
        }
    }
    Some(route)
}

fn mtu(metric: &RouteMetric) -> Option<u32> {
    match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    }
}

fn next_hop(hop: &WireNextHop, snapshot: &Snapshot) -> RouteNextHop {
    let gateway = hop.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        _ => None,
    });
    let out_link_name = snapshot.link_name(hop.interface_index).unwrap_or_default().to_owned();
    RouteNextHop { gateway, out_link_name, weight: u32::from(hop.hops) + 1 }
}

/// Which route a message is about.
struct Key {
    family: Family,
    table: RouteTable,
    dst: Option<IpNet>,
    gateway: Option<IpAddr>,
    src: Option<IpAddr>,
    /// Index of its link, 0 without one.
    link: u32,
    priority: u32,
    protocol: RouteProtocol,
    scope: Scope,
    route_type: RouteType,
}

impl Key {
    fn message(&self) -> RouteMessage {
        let byte = |number: u32| u8::try_from(number).unwrap_or(0);
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family =
            if self.family == Family::Inet6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        header.destination_prefix_length = self.dst.map_or(0, |dst| dst.prefix_len());
        header.table = byte(self.table.0);
        header.protocol = WireProtocol::from(byte(self.protocol.0));
        header.scope = WireScope::from(byte(self.scope.0));
        header.kind = WireType::from(byte(self.route_type.0));
        let mut add = |attribute| message.attributes.push(attribute);
        add(RouteAttribute::Table(self.table.0));
        if let Some(dst) = self.dst {
            add(RouteAttribute::Destination(dst.network().into()));
        }
        if let Some(src) = self.src {
            add(RouteAttribute::PrefSource(src.into()));
        }
        if let Some(gateway) = self.gateway {
            add(RouteAttribute::Gateway(gateway.into()));
        }
        if self.link != 0 {
            add(RouteAttribute::Oif(self.link));
        }
        if self.priority != 0 {
            add(RouteAttribute::Priority(self.priority));
        }
        message
    }
}

/// Indices of the links by which a route leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutLinks {
    /// That of the route itself, 0 without one.
    pub link: u32,
    /// Those of its next hops, in their order.
    pub hops: Vec<u32>,
}

/// A next hop over the link with this index.
fn wire_hop(hop: &RouteNextHop, link: u32) -> WireNextHop {
    let mut wire = WireNextHop::default();
    wire.interface_index = link;
    // The kernel adds the one that every hop has.
    wire.hops = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
    if let Some(gateway) = hop.gateway {
        wire.attributes.push(RouteAttribute::Gateway(gateway.into()));
    }
    wire
}

/// The message that adds `spec` over these links.
fn wanted(spec: &RouteSpec, out: &OutLinks) -> RouteMessage {
    let key = Key {
        family: spec.family,
        table: spec.table,
        dst: spec.dst,
        gateway: spec.gateway,
        src: spec.src,
        link: out.link,
        priority: spec.priority,
        protocol: spec.protocol,
        scope: spec.scope,
        route_type: spec.route_type,
    };
    let mut message = key.message();
    message.header.flags = WireFlags::from_bits_retain(spec.flags.0);
    if spec.mtu != 0 {
        message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(spec.mtu)]));
    }
    if !spec.next_hops.is_empty() {
        let hops = spec.next_hops.iter().zip(&out.hops).map(|(hop, link)| wire_hop(hop, *link));
        message.attributes.push(RouteAttribute::MultiPath(hops.collect()));
    }
    message
}

/// The message that names an installed route. The kernel compares every part that is given, so all are its own.
fn installed(route: &RouteStatus) -> RouteMessage {
    let key = Key {
        family: route.family,
        table: route.table,
        dst: route.dst,
        gateway: route.gateway,
        src: route.src,
        link: route.out_link_index,
        priority: route.priority,
        protocol: route.protocol,
        scope: route.scope,
        route_type: route.route_type,
    };
    key.message()
}

/// What may be done to the kernel's routes.
pub trait RouteChanges: Send + Sync {
    /// Adds a route or brings the one with the same destination and metric in line.
    ///
    /// # Errors
    /// When the kernel refuses, for example while the gateway is not reachable yet.
    fn add_route(&self, spec: &RouteSpec, out: &OutLinks) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Removes a route as it is installed; one that is gone already is fine.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn delete_route(&self, route: &RouteStatus) -> impl Future<Output = anyhow::Result<()>> + Send;
}

impl RouteChanges for Kernel {
    async fn add_route(&self, spec: &RouteSpec, out: &OutLinks) -> anyhow::Result<()> {
        let result = self.handle.route().add(wanted(spec, out)).replace().execute().await;
        result.map_err(|error| refused(&error)).with_context(|| format!("failed to add route {}", spec.id()))
    }

    async fn delete_route(&self, route: &RouteStatus) -> anyhow::Result<()> {
        match self.handle.route().del(installed(route)).execute().await {
            Err(error) if is_gone(errno(&error)) => Ok(()),
            result => result
                .map_err(|error| refused(&error))
                .with_context(|| format!("failed to remove route {}", route.id())),
        }
    }
}

fn is_gone(errno: i32) -> bool {
    errno == rustix::io::Errno::SRCH.raw_os_error() || errno == rustix::io::Errno::NODEV.raw_os_error()
}
