//! What a DHCP lease means for this machine; pure.

use std::net::{IpAddr, Ipv4Addr};

use corten_resources::network::{
    AddressSpec, Dhcp4Operator, HostnameSpec, Layer, LinkSpec, ResolverSpec, RouteProtocol, RouteSpec, Scope,
    TimeServerSpec,
};
use ipnet::{IpNet, Ipv4Net};

use crate::hostname::split;

/// Routes, servers and domains taken from one lease.
pub const ITEMS_MAX: usize = 32;
/// Smallest packet size that IPv4 allows to be sensible; smaller offers are ignored.
const MTU_MIN: u16 = 576;

/// A lease, as far as it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Own address.
    pub address: Option<Ipv4Net>,
    /// Default gateways; ignored when there are classless routes (RFC 3442).
    pub gateways: Vec<Ipv4Addr>,
    /// Destination and router; router 0.0.0.0 means on the link.
    pub classless_routes: Option<Vec<(Ipv4Net, Ipv4Addr)>>,
    /// Name servers.
    pub name_servers: Vec<Ipv4Addr>,
    /// Time servers.
    pub time_servers: Vec<Ipv4Addr>,
    /// Search domains.
    pub search_domains: Vec<String>,
    /// Hostname, perhaps with a domain.
    pub hostname: Option<String>,
    /// Domain.
    pub domain: Option<String>,
    /// Largest packet.
    pub mtu: Option<u16>,
}

/// Specifications of layer operator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The address.
    pub address: Option<AddressSpec>,
    /// Routes.
    pub routes: Vec<RouteSpec>,
    /// The link's MTU.
    pub link: Option<LinkSpec>,
    /// Hostname.
    pub hostname: Option<HostnameSpec>,
    /// Name servers.
    pub resolvers: Option<ResolverSpec>,
    /// Time servers.
    pub time_servers: Option<TimeServerSpec>,
}

impl From<&mozim::DhcpV4Lease> for Lease {
    fn from(lease: &mozim::DhcpV4Lease) -> Self {
        let prefix = ipnet::ipv4_mask_to_prefix(lease.subnet_mask).unwrap_or(32);
        let routes = lease.classless_routes.as_ref().map(|routes| {
            let route = |route: &mozim::DhcpV4ClasslessRoute| {
                Some((Ipv4Net::new(route.destination, route.prefix_length).ok()?, route.router))
            };
            routes.iter().filter_map(route).take(ITEMS_MAX).collect()
        });
        let some = |list: &Option<Vec<Ipv4Addr>>| list.iter().flatten().copied().take(ITEMS_MAX).collect();
        Self {
            address: Ipv4Net::new(lease.yiaddr, prefix).ok(),
            gateways: some(&lease.gateways),
            classless_routes: routes,
            name_servers: some(&lease.dns_srvs),
            time_servers: some(&lease.ntp_srvs),
            search_domains: lease.domain_search.iter().flatten().take(ITEMS_MAX).cloned().collect(),
            hostname: lease.host_name.clone(),
            domain: lease.domain_name.clone(),
            mtu: lease.mtu,
        }
    }
}

/// Whether a text from the network may become a name of this machine.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.trim_end_matches('.').split('.').all(label)
}

/// What a lease on `link` asks for.
#[must_use]
pub fn outcome(link: &str, settings: &Dhcp4Operator, lease: &Lease) -> Outcome {
    let Some(own) = lease.address else { return Outcome::default() };
    let layer = Layer::Operator;
    let mut outcome = Outcome {
        address: Some(AddressSpec {
            priority: settings.route_metric,
            ..AddressSpec::new(layer, link, IpNet::V4(own), Scope::GLOBAL)
        }),
        ..Outcome::default()
    };
    if !settings.skip_routes {
        outcome.routes = routes(link, settings.route_metric, own, lease);
    }
    outcome.link = lease
        .mtu
        .filter(|mtu| *mtu >= MTU_MIN)
        .map(|mtu| LinkSpec { mtu: mtu.into(), ..LinkSpec::up(layer, link) });
    if !settings.skip_hostname_request {
        outcome.hostname = hostname(lease);
    }
    let domain = lease.domain.iter().filter(|_| lease.search_domains.is_empty());
    let search_domains: Vec<String> =
        lease.search_domains.iter().chain(domain).filter(|domain| is_name(domain)).cloned().collect();
    if !lease.name_servers.is_empty() {
        let servers = lease.name_servers.iter().copied().map(IpAddr::V4).collect();
        outcome.resolvers = Some(ResolverSpec { search_domains, ..ResolverSpec::plain(layer, servers) });
    }
    if !lease.time_servers.is_empty() {
        let time_servers = lease.time_servers.iter().map(ToString::to_string).collect();
        outcome.time_servers = Some(TimeServerSpec { time_servers, use_nts: false, layer });
    }
    outcome
}

fn hostname(lease: &Lease) -> Option<HostnameSpec> {
    let name = lease.hostname.as_ref().filter(|name| is_name(name))?;
    let mut spec = split(Layer::Operator, name);
    if spec.domainname.is_empty() {
        spec.domainname = lease.domain.clone().filter(|domain| is_name(domain)).unwrap_or_default();
    }
    Some(spec)
}

fn routes(link: &str, metric: u32, own: Ipv4Net, lease: &Lease) -> Vec<RouteSpec> {
    let everywhere = Ipv4Net::default();
    let wanted: Vec<(Ipv4Net, Ipv4Addr)> = match &lease.classless_routes {
        Some(routes) => routes.clone(),
        None => lease.gateways.first().map(|gateway| (everywhere, *gateway)).into_iter().collect(),
    };
    let route = |dst: Ipv4Net, gateway: Option<Ipv4Addr>| {
        let spec = RouteSpec::new(
            Layer::Operator,
            Some(IpNet::V4(dst.trunc())),
            gateway.map(IpAddr::V4),
            link,
            metric,
        );
        RouteSpec { protocol: RouteProtocol::BOOT, src: Some(IpAddr::V4(own.addr())), ..spec }
    };
    let mut routes: Vec<RouteSpec> = Vec::new();
    for (dst, gateway) in wanted {
        let gateway = Some(gateway).filter(|gateway| !gateway.is_unspecified());
        // A router outside the subnet is reached over the link itself, as cloud networks want it.
        if let Some(outside) = gateway.filter(|gateway| !own.contains(gateway)) {
            routes.push(route(outside.into(), None));
        }
        routes.push(route(dst, gateway));
    }
    routes.dedup();
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("net")
    }

    fn lease() -> Lease {
        Lease {
            address: Some(net("10.0.2.15/24")),
            gateways: vec![[10, 0, 2, 2].into()],
            name_servers: vec![[10, 0, 2, 3].into()],
            hostname: Some("vm-1".into()),
            domain: Some("example.org".into()),
            mtu: Some(1400),
            ..Lease::default()
        }
    }

    fn settings() -> Dhcp4Operator {
        Dhcp4Operator { route_metric: 1024, ..Dhcp4Operator::default() }
    }

    #[test]
    fn a_plain_lease_gives_address_route_name_and_servers() {
        let outcome = outcome("eth0", &settings(), &lease());
        assert_eq!(outcome.address.expect("an address").id(), "eth0/10.0.2.15/24");
        assert_eq!(outcome.routes.iter().map(RouteSpec::id).collect::<Vec<_>>(), ["inet4/10.0.2.2//1024"]);
        let hostname = outcome.hostname.expect("a hostname");
        assert_eq!((hostname.hostname.as_str(), hostname.domainname.as_str()), ("vm-1", "example.org"));
        assert_eq!(outcome.resolvers.expect("resolvers").search_domains, ["example.org"]);
        assert_eq!(outcome.link.expect("a link").mtu, 1400);
        assert_eq!(outcome.time_servers, None);
    }

    #[test]
    fn classless_routes_replace_the_gateway_and_reach_outside_the_subnet() {
        let routes =
            vec![(net("0.0.0.0/0"), [169, 254, 0, 1].into()), (net("10.9.0.0/16"), [0, 0, 0, 0].into())];
        let lease = Lease { address: Some(net("10.0.0.5/32")), classless_routes: Some(routes), ..lease() };
        let ids: Vec<_> = outcome("eth0", &settings(), &lease).routes.iter().map(RouteSpec::id).collect();
        assert_eq!(ids, ["inet4//169.254.0.1/32/1024", "inet4/169.254.0.1//1024", "inet4//10.9.0.0/16/1024"]);
    }

    #[test]
    fn what_was_not_asked_for_or_makes_no_sense_is_left_out() {
        let settings = Dhcp4Operator { skip_routes: true, skip_hostname_request: true, ..settings() };
        let skipped = outcome("eth0", &settings, &Lease { mtu: Some(68), ..lease() });
        assert_eq!((skipped.routes, skipped.hostname, skipped.link), (vec![], None, None));
        let evil =
            Lease { hostname: Some("a b\nnameserver 6.6.6.6".into()), domain: Some("x y".into()), ..lease() };
        let outcome = outcome("eth0", &self::settings(), &evil);
        assert_eq!(outcome.hostname, None);
        assert!(outcome.resolvers.expect("resolvers").search_domains.is_empty());
    }

    #[test]
    fn any_lease_is_survived() {
        let strategy = bolero::generator::produce::<(u32, u8, Vec<(u32, u8, u32)>, String, u16)>();
        bolero::check!().with_generator(strategy).for_each(|(ip, bits, routes, name, mtu)| {
            let address = Ipv4Net::new((*ip).into(), bits % 33).ok();
            let route = |(dst, bits, via): &(u32, u8, u32)| {
                Some((Ipv4Net::new((*dst).into(), *bits).ok()?, (*via).into()))
            };
            let lease = Lease {
                address,
                classless_routes: Some(routes.iter().filter_map(route).collect()),
                hostname: Some(name.clone()),
                mtu: Some(*mtu),
                ..Lease::default()
            };
            let outcome = outcome("eth0", &settings(), &lease);
            assert!(outcome.hostname.is_none_or(|hostname| is_name(&hostname.hostname)));
        });
    }
}
