//! Network settings of the machine.

use std::net::IpAddr;

use corten_base::Secret;
use ipnet::IpNet;
use serde_json::{Map as JsonMap, Value as Json};

use super::Documents;
use super::connectivity::{Dhcp6, Probe};
use super::firewall::Firewall;
use super::links::{self, BlackholeRoute, Ethernet, LinkAlias, LinkKind, RoutingRule};
use crate::reader::Reader;

/// How a host name is made when none is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostnameMode {
    /// From the machine's identity.
    #[default]
    Stable,
    /// From the first address; older configurations.
    Address,
    /// Not at all.
    Off,
}

/// Network settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// Host name, short or full; empty when none is given.
    pub hostname: String,
    /// How it is made when none is given.
    pub hostname_mode: HostnameMode,
    /// Links.
    pub interfaces: Vec<Interface>,
    /// The first of them as they stand in `machine.network.interfaces`, with their keys.
    pub devices: Secret<Vec<JsonMap<String, Json>>>,
    /// Other names of links.
    pub aliases: Vec<LinkAlias>,
    /// Settings of Ethernet devices.
    pub ethernet: Vec<Ethernet>,
    /// Routes that lead nowhere.
    pub blackholes: Vec<BlackholeRoute>,
    /// Which routing tables are asked.
    pub routing_rules: Vec<RoutingRule>,
    /// DNS servers; when empty, those of other layers or the default.
    pub nameservers: Vec<IpAddr>,
    /// DNS search domains.
    pub search_domains: Vec<String>,
    /// Whether resolv.conf has no search line.
    pub disable_search_domain: bool,
    /// More lines of /etc/hosts.
    pub extra_hosts: Vec<ExtraHost>,
    /// Caching resolver on the machine.
    pub host_dns: HostDns,
    /// Who may reach the machine.
    pub firewall: Firewall,
    /// What is probed.
    pub probes: Vec<Probe>,
}

impl Network {
    /// Addresses that control planes share. They come and go, and never stand for one machine.
    pub fn shared_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let of = |interface: &'_ Interface| -> Vec<IpAddr> {
            let of_vlans = interface.vlans.iter().flat_map(|vlan| &vlan.shared_addresses);
            interface.shared_addresses.iter().chain(of_vlans).copied().collect()
        };
        self.interfaces.iter().flat_map(of)
    }

    pub(super) fn read(machine: Reader<'_>, documents: &Documents<'_>) -> Self {
        let network = machine.get("network");
        let hostname = documents.one("HostnameConfig");
        let resolver = documents.one("ResolverConfig");
        let nameservers = resolver.get("nameservers").list(|server| server.get("address").ip());
        let domains = resolver.path(&["searchDomains", "domains"]).texts();
        let host_dns = resolver.get("hostDNS");
        let stable = machine.path(&["features", "stableHostname"]).bool();
        Self {
            hostname: hostname.get("hostname").string_or(&network.get("hostname").string()),
            hostname_mode: match (hostname.get("auto").text(), stable) {
                (Some("off"), _) => HostnameMode::Off,
                (None, Some(false)) => HostnameMode::Address,
                _ => HostnameMode::Stable,
            },
            interfaces: Interface::read_all(network.get("interfaces"), documents),
            devices: Secret::new(network.get("interfaces").items().map(Reader::object).collect()),
            aliases: LinkAlias::read_all(documents),
            ethernet: Ethernet::read_all(documents),
            blackholes: BlackholeRoute::read_all(documents),
            routing_rules: RoutingRule::read_all(documents),
            nameservers: or(nameservers, || network.get("nameservers").list(Reader::ip)),
            search_domains: or(domains, || network.get("searchDomains").texts()),
            disable_search_domain: resolver
                .path(&["searchDomains", "disableDefault"])
                .bool()
                .unwrap_or(network.get("disableSearchDomain").is()),
            extra_hosts: ExtraHost::read_all(network.get("extraHostEntries"), documents),
            firewall: Firewall::read(documents),
            probes: Probe::read_all(documents),
            host_dns: HostDns::read(if host_dns.exists() {
                host_dns
            } else {
                machine.path(&["features", "hostDNS"])
            }),
        }
    }
}

fn or<T>(first: Vec<T>, second: impl FnOnce() -> Vec<T>) -> Vec<T> {
    if first.is_empty() { second() } else { first }
}

/// Properties of a link; empty ones match any, `*` stands for any text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceSelector {
    /// Path of the bus.
    pub bus_path: String,
    /// Hardware address.
    pub hardware_addr: String,
    /// Burnt-in hardware address.
    pub permanent_addr: String,
    /// PCI vendor and device.
    pub pci_id: String,
    /// Kernel driver.
    pub driver: String,
    /// Whether it is a physical link.
    pub physical: Option<bool>,
}

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Name; empty when the selector chooses.
    pub name: String,
    /// Properties of the link; several may match.
    pub selector: Option<DeviceSelector>,
    /// Addresses.
    pub addresses: Vec<LinkAddress>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Largest packet.
    pub mtu: Option<u32>,
    /// Whether the link is up; nothing means up.
    pub up: Option<bool>,
    /// DHCP; nothing when it is off.
    pub dhcp: Option<Dhcp>,
    /// DHCP version 6; nothing when it is off.
    pub dhcp6: Option<Dhcp6>,
    /// Addresses that control planes share.
    pub shared_addresses: Vec<IpAddr>,
    /// Whether the link is left alone.
    pub ignore: bool,
    /// Whether the link takes multicast; nothing leaves it alone.
    pub multicast: Option<bool>,
    /// Hardware address to set; empty leaves it alone.
    pub hardware_addr: String,
    /// What it is made as.
    pub kind: LinkKind,
    /// Bridge that it belongs to; empty for none.
    pub bridge_port: String,
    /// VLANs on the link.
    pub vlans: Vec<Vlan>,
    /// Whether the link itself is described, and not only what runs on it.
    pub is_described: bool,
}

impl Interface {
    fn read_all(legacy: Reader<'_>, documents: &Documents<'_>) -> Vec<Self> {
        let mut all: Vec<Self> = legacy.items().map(Self::read_legacy).collect();
        for (name, link) in documents.all("LinkConfig") {
            Self::named(&mut all, name).take(link);
        }
        for (kind, read) in links::MAKERS {
            for (name, link) in documents.all(kind) {
                let interface = Self::named(&mut all, name);
                interface.take(link);
                interface.kind = read(link);
            }
        }
        for (name, link) in documents.all("VethConfig") {
            let peer = link.get("peer");
            let mut far = Self { name: peer.get("name").string(), ..Self::default() };
            let near = Self::named(&mut all, name);
            near.take(link);
            near.kind = LinkKind::Veth(far.name.clone());
            far.take(peer);
            far.kind = LinkKind::Veth(name.to_owned());
            all.push(far);
        }
        for (name, dhcp) in documents.all("DHCPv4Config") {
            Self::named(&mut all, name).dhcp = Some(Dhcp::read_document(dhcp));
        }
        for (name, dhcp) in documents.all("DHCPv6Config") {
            Self::named(&mut all, name).dhcp6 = Some(Dhcp6::read_document(dhcp));
        }
        for (_, shared) in documents.all("Layer2VIPConfig") {
            let link = shared.get("link").string();
            Self::named(&mut all, &link).shared_addresses.extend(shared.get("name").ip());
        }
        all
    }

    /// Takes what documents about links have in common.
    fn take(&mut self, link: Reader<'_>) {
        self.is_described = true;
        self.up = link.get("up").bool().or(self.up);
        self.mtu = link.get("mtu").positive().or(self.mtu);
        self.multicast = link.get("multicast").bool().or(self.multicast);
        self.hardware_addr = link.get("hardwareAddr").string_or(&self.hardware_addr);
        self.addresses.extend(link.get("addresses").list(LinkAddress::read));
        self.routes.extend(link.get("routes").items().map(|route| Route::read(route, "destination")));
    }

    fn named<'a>(all: &'a mut Vec<Self>, name: &str) -> &'a mut Self {
        let index = all.iter().position(|interface| interface.name == name).unwrap_or_else(|| {
            all.push(Self { name: name.to_owned(), ..Self::default() });
            all.len() - 1
        });
        &mut all[index]
    }

    fn read_legacy(reader: Reader<'_>) -> Self {
        Self {
            name: reader.get("interface").string(),
            selector: DeviceSelector::read(reader.get("deviceSelector")),
            addresses: addresses(reader),
            routes: reader.get("routes").items().map(|route| Route::read(route, "network")).collect(),
            mtu: reader.get("mtu").positive(),
            up: None,
            dhcp: Dhcp::read_legacy(reader),
            dhcp6: Dhcp6::read_legacy(reader),
            shared_addresses: reader.path(&["vip", "ip"]).ip().into_iter().collect(),
            ignore: reader.get("ignore").is(),
            multicast: None,
            hardware_addr: String::new(),
            kind: LinkKind::read_legacy(reader),
            bridge_port: reader.path(&["bridgePort", "master"]).string(),
            vlans: reader.get("vlans").items().map(Vlan::read).collect(),
            is_described: true,
        }
    }
}

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkAddress {
    /// The address with the length of its network.
    pub net: IpNet,
    /// Metric of the route to its network; nothing means the kernel's choice.
    pub route_priority: Option<u32>,
}

impl LinkAddress {
    fn read(item: Reader<'_>) -> Option<Self> {
        let net = item.get("address").address()?;
        Some(Self { net, route_priority: item.get("routePriority").positive() })
    }

    const fn plain(net: IpNet) -> Self {
        Self { net, route_priority: None }
    }
}

fn addresses(reader: Reader<'_>) -> Vec<LinkAddress> {
    let mut all = reader.get("addresses").list(Reader::address);
    all.extend(reader.get("cidr").address());
    all.into_iter().map(LinkAddress::plain).collect()
}

impl DeviceSelector {
    pub(super) fn read(reader: Reader<'_>) -> Option<Self> {
        let text = |key: &str| reader.get(key).string();
        reader.exists().then(|| Self {
            bus_path: text("busPath"),
            hardware_addr: text("hardwareAddr"),
            permanent_addr: text("permanentAddr"),
            pci_id: text("pciID"),
            driver: text("driver"),
            physical: reader.get("physical").bool(),
        })
    }
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Destination; nothing means the default route.
    pub destination: Option<IpNet>,
    /// Gateway; nothing means directly on the link.
    pub gateway: Option<IpAddr>,
    /// Source address.
    pub source: Option<IpAddr>,
    /// Metric; nothing means the default.
    pub metric: Option<u32>,
    /// Largest packet.
    pub mtu: Option<u32>,
    /// Routing table by name; empty means main.
    pub table: String,
}

impl Route {
    fn read(reader: Reader<'_>, destination: &str) -> Self {
        Self {
            destination: reader.get(destination).cidr(),
            gateway: reader.get("gateway").ip(),
            source: reader.get("source").ip(),
            metric: reader.get("metric").positive(),
            mtu: reader.get("mtu").positive(),
            table: reader.get("table").string(),
        }
    }
}

/// A VLAN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vlan {
    /// Number.
    pub id: u16,
    /// Addresses.
    pub addresses: Vec<LinkAddress>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Largest packet.
    pub mtu: Option<u32>,
    /// DHCP; nothing when it is off.
    pub dhcp: Option<Dhcp>,
    /// DHCP version 6; nothing when it is off.
    pub dhcp6: Option<Dhcp6>,
    /// Addresses that control planes share.
    pub shared_addresses: Vec<IpAddr>,
}

impl Vlan {
    fn read(reader: Reader<'_>) -> Self {
        Self {
            id: reader.get("vlanId").integer().unwrap_or_default(),
            addresses: addresses(reader),
            routes: reader.get("routes").items().map(|route| Route::read(route, "network")).collect(),
            mtu: reader.get("mtu").positive(),
            dhcp: Dhcp::read_legacy(reader),
            dhcp6: Dhcp6::read_legacy(reader),
            shared_addresses: reader.path(&["vip", "ip"]).ip().into_iter().collect(),
        }
    }
}

/// How DHCP is done on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dhcp {
    /// Whether version 4 is used.
    pub ipv4: bool,
    /// Metric of the routes; nothing means the default.
    pub route_metric: Option<u32>,
    /// Whether the offered host name is not used.
    pub ignore_hostname: bool,
    /// Whether the offered routes are not used.
    pub ignore_routes: bool,
    /// `none`, `mac` or `duid`; empty means `mac`.
    pub client_identifier: String,
    /// Identifier in hexadecimal; empty when none is given.
    pub duid: String,
}

impl Dhcp {
    fn read_legacy(link: Reader<'_>) -> Option<Self> {
        let options = link.get("dhcpOptions");
        link.get("dhcp").is().then(|| Self {
            ipv4: options.get("ipv4").bool().unwrap_or(true),
            route_metric: options.get("routeMetric").positive(),
            ignore_hostname: false,
            ignore_routes: false,
            client_identifier: String::new(),
            duid: String::new(),
        })
    }

    fn read_document(reader: Reader<'_>) -> Self {
        Self {
            ipv4: true,
            route_metric: reader.get("routeMetric").positive(),
            ignore_hostname: reader.get("ignoreHostname").is(),
            ignore_routes: reader.get("ignoreRoutes").is(),
            client_identifier: reader.get("clientIdentifier").string(),
            duid: reader.get("duidRaw").string(),
        }
    }
}

/// A line of /etc/hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraHost {
    /// Address.
    pub ip: IpAddr,
    /// Names.
    pub aliases: Vec<String>,
}

impl ExtraHost {
    fn read_all(legacy: Reader<'_>, documents: &Documents<'_>) -> Vec<Self> {
        let mut all: Vec<Self> = documents
            .all("StaticHostConfig")
            .filter_map(|(_, host)| {
                Some(Self { ip: host.get("name").ip()?, aliases: host.get("hostnames").texts() })
            })
            .collect();
        all.extend(legacy.items().filter_map(|host| {
            Some(Self { ip: host.get("ip").ip()?, aliases: host.get("aliases").texts() })
        }));
        all
    }
}

/// Caching resolver on the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostDns {
    /// Whether it is on.
    pub enabled: bool,
    /// Whether CoreDNS asks it.
    pub forward_kube_dns: bool,
    /// Whether it answers names of cluster members.
    pub resolve_member_names: bool,
}

impl HostDns {
    fn read(reader: Reader<'_>) -> Self {
        let enabled = reader.get("enabled").is();
        Self {
            enabled,
            forward_kube_dns: enabled && reader.get("forwardKubeDNSToHost").is(),
            resolve_member_names: enabled && reader.get("resolveMemberNames").is(),
        }
    }
}
