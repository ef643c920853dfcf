//! Links, addresses, routes and the name of the machine.
//!
//! The machine pretends to be on a network of its own, 10.0.0.0/8, where nobody reaches it; only its address in the
//! manager's network is real.

use std::net::{IpAddr, Ipv4Addr};

use corten_resource::HardwareAddr;
use corten_resources::network::{
    AddressFlags, AddressStatus, Duplex, Family, HardwareAddress, HostnameStatus, LinkFlags, LinkStatus,
    LinkType, NetworkStatus, NodeAddress, OperationalState, RouteStatus, Scope,
};
use ipnet::{IpNet, Ipv4Net};

use super::{Facts, Out};

/// The network card.
const CARD: &str = "eth0";
/// Number of the card's link.
const CARD_INDEX: u32 = 2;
/// Number of the tunnel's link.
const TUNNEL_INDEX: u32 = 3;
/// Router of the pretended network.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Bits that members of the pretended network share.
const PREFIX_LENGTH: u8 = 8;
/// The first machine's place in the pretended network.
const FIRST_HOST: u32 = 0x0a00_000a;
/// Metric of a default route that DHCP brought.
const METRIC: u32 = 1024;

pub fn put(out: &Out<'_>, facts: &Facts<'_>) {
    let hostname = facts.hostname.clone();
    out.put(HostnameStatus::ID, HostnameStatus { hostname, domainname: String::new() });
    out.put(CARD, card(&facts.mac));
    let first = HardwareAddress { name: CARD.to_owned(), hardware_addr: facts.mac.clone() };
    out.put(HardwareAddress::FIRST, first);
    let tunnel = tunnel_link(facts);
    for name in [KERNEL_LINK, USER_LINK] {
        out.when(name, tunnel.as_ref().filter(|(own, _)| *own == name).map(|(_, link)| link.clone()));
    }
    addresses(out, facts);
    let route = default_route();
    out.put(&route.id(), route);
    let ready = facts.place.is_some();
    out.put(
        NetworkStatus::ID,
        NetworkStatus {
            address_ready: true,
            connectivity_ready: ready,
            hostname_ready: true,
            etc_files_ready: true,
        },
    );
}

/// The tunnel's link when the kernel has WireGuard.
const KERNEL_LINK: &str = "siderolink";
/// The tunnel's link when datagrams go through gRPC.
const USER_LINK: &str = "siderolinktun";

fn card(address: &HardwareAddr) -> LinkStatus {
    let flags = [LinkFlags::UP, LinkFlags::BROADCAST, LinkFlags::RUNNING, LinkFlags::MULTICAST];
    LinkStatus {
        index: CARD_INDEX,
        link_type: LinkType::ETHER,
        flags: LinkFlags(flags.iter().fold(LinkFlags::LOWER_UP.0, |all, flag| all | flag.0)),
        hardware_addr: address.clone(),
        permanent_addr: address.clone(),
        broadcast_addr: HardwareAddr(vec![0xff; 6]),
        mtu: 1500,
        queue_disc: "pfifo_fast".to_owned(),
        operational_state: OperationalState::Up,
        bus_path: "0000:00:03.0".to_owned(),
        driver: "virtio_net".to_owned(),
        link_state: true,
        speed_mbit: 1000,
        duplex: Duplex::Full,
        ..LinkStatus::default()
    }
}

fn tunnel_link(facts: &Facts<'_>) -> Option<(&'static str, LinkStatus)> {
    let place = facts.place.as_ref()?;
    let (name, kind) = match place.virtual_peer {
        None => (KERNEL_LINK, "wireguard"),
        Some(_) => (USER_LINK, "tun"),
    };
    let flags = LinkFlags(LinkFlags::UP.0 | LinkFlags::POINTTOPOINT.0 | LinkFlags::NOARP.0);
    let link = LinkStatus {
        index: TUNNEL_INDEX,
        link_type: LinkType::NONE,
        flags,
        mtu: 1280,
        operational_state: OperationalState::Unknown,
        kind: kind.to_owned(),
        link_state: true,
        ..LinkStatus::default()
    };
    Some((name, link))
}

/// The machine's address in the pretended network.
fn pretended(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST_HOST.wrapping_add(number % 0x00ff_0000))
}

fn addresses(out: &Out<'_>, facts: &Facts<'_>) {
    let local = IpNet::V4(Ipv4Net::new_assert(pretended(facts.spec.number), PREFIX_LENGTH));
    let mut all = vec![(CARD, CARD_INDEX, local)];
    if let (Some(place), Some((name, _))) = (&facts.place, tunnel_link(facts)) {
        all.push((name, TUNNEL_INDEX, IpNet::V6(place.node)));
    }
    let status = |(name, index, address): &(&str, u32, IpNet)| {
        let status = AddressStatus {
            address: *address,
            link_index: *index,
            link_name: (*name).to_owned(),
            family: Family::of(address.addr()),
            scope: Scope::GLOBAL,
            flags: AddressFlags::PERMANENT,
            ..AddressStatus::default()
        };
        (status.id(), status)
    };
    out.only(all.iter().map(status).collect());
    let every: Vec<IpNet> = all.iter().map(|(_, _, address)| *address).collect();
    let node = |addresses: Vec<IpNet>| NodeAddress { addresses, ..NodeAddress::default() };
    out.put(NodeAddress::DEFAULT, node(vec![local]));
    out.put(NodeAddress::ROUTED, node(vec![local]));
    out.put(NodeAddress::CURRENT, node(every.clone()));
    out.put(NodeAddress::ACCUMULATIVE, node(every));
}

fn default_route() -> RouteStatus {
    RouteStatus {
        family: Family::Inet4,
        gateway: Some(IpAddr::V4(GATEWAY)),
        out_link_index: CARD_INDEX,
        out_link_name: CARD.to_owned(),
        priority: METRIC,
        ..RouteStatus::default()
    }
}

/// The machine's address in the pretended network, for others that name it.
pub fn own_address(facts: &Facts<'_>) -> IpAddr {
    IpAddr::V4(pretended(facts.spec.number))
}
