//! The platform layer of a machine whose network its launcher made: what is there is wanted from now on.
//!
//! ```text
//! kernel, resolv.conf at start ──▶ *Spec@network-config of layer platform, PlatformConfig `cached`
//! ```
//! The first complete sight is kept in a file, because later sights include what we did ourselves.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use corten_base::fs::{Durability, write_atomic};
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::network::{
    AddressFlags, AddressSpec, AddressStatus, HostnameSpec, Layer, LinkSpec, PlatformConfig, ResolverSpec,
    RouteProtocol, RouteSpec, RouteStatus, RouteTable, RouteType, Scope, layered_id,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::hostname::split;
use crate::hostname_apply::Uts;
use crate::kernel::{Kernel, Sight as _, Snapshot};
use crate::layer_default::LOOPBACK;

/// Name servers taken over.
const SERVERS_MAX: usize = 3;
/// Name servers and search domains of a resolv.conf.
type Resolvers = (Vec<IpAddr>, Vec<String>);

/// Adopts the network.
#[derive(Debug)]
pub struct AdoptLayer {
    kernel: Kernel,
    memory: PathBuf,
    hostname: String,
    resolvers: Resolvers,
}

controller!(AdoptLayer, "network.AdoptLayer",
inputs: [weak AddressStatus, weak RouteStatus],
outputs: [
    shared LinkSpec in "network-config",
    shared AddressSpec in "network-config",
    shared RouteSpec in "network-config",
    shared HostnameSpec in "network-config",
    shared ResolverSpec in "network-config",
    shared PlatformConfig,
]);

impl AdoptLayer {
    /// A controller that remembers in `memory`. Host name and name servers are read here, before any other
    /// controller can change them.
    #[must_use]
    pub fn new(kernel: Kernel, uts: &impl Uts, memory: PathBuf, resolv_conf: &Path) -> Self {
        let text = std::fs::read_to_string(resolv_conf).unwrap_or_default();
        Self { kernel, memory, hostname: uts.get().hostname, resolvers: parse_resolv_conf(&text) }
    }
}

/// What the launcher made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Adopted {
    addresses: Vec<(String, IpNet)>,
    routes: Vec<AdoptedRoute>,
    hostname: String,
    name_servers: Vec<IpAddr>,
    search_domains: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct AdoptedRoute {
    dst: Option<IpNet>,
    gateway: Option<IpAddr>,
    link: String,
    priority: u32,
    src: Option<IpAddr>,
    protocol: u32,
    scope: u32,
}

/// Name servers and search domains; the host's own resolver cannot be reached from a namespace.
fn parse_resolv_conf(text: &str) -> Resolvers {
    let mut servers = Vec::new();
    let mut domains = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => servers.extend(words.next().and_then(|ip| ip.parse::<IpAddr>().ok())),
            Some("search") => domains = words.take(6).map(str::to_owned).collect(),
            _ => {}
        }
    }
    servers.retain(|ip| *ip != IpAddr::from([127, 0, 0, 53]));
    servers.truncate(SERVERS_MAX);
    (servers, domains)
}

impl Adopted {
    fn of(snapshot: &Snapshot, hostname: String, (name_servers, search_domains): Resolvers) -> Self {
        let ours = |row: &&AddressStatus| {
            row.link_name != LOOPBACK
                && row.scope == Scope::GLOBAL
                && row.flags.contains(AddressFlags::PERMANENT)
        };
        let wanted = |row: &&RouteStatus| {
            row.table == RouteTable::MAIN
                && row.route_type == RouteType::UNICAST
                && !matches!(row.protocol, RouteProtocol::KERNEL | RouteProtocol::RA)
                && !row.out_link_name.is_empty()
        };
        let route = |row: &RouteStatus| AdoptedRoute {
            dst: row.dst,
            gateway: row.gateway,
            link: row.out_link_name.clone(),
            priority: row.priority,
            src: row.src,
            protocol: row.protocol.0,
            scope: row.scope.0,
        };
        let addresses = snapshot.addresses.iter().filter(ours);
        Self {
            addresses: addresses.map(|row| (row.link_name.clone(), row.address)).collect(),
            routes: snapshot.routes.iter().filter(wanted).map(route).collect(),
            hostname,
            name_servers,
            search_domains,
        }
    }

    /// What it means for the layer of the platform.
    fn config(&self) -> PlatformConfig {
        let mut config = PlatformConfig::default();
        for (link, address) in &self.addresses {
            if !config.links.iter().any(|other| other.name == *link) {
                config.links.push(LinkSpec::up(Layer::Platform, link));
            }
            config.addresses.push(AddressSpec::new(Layer::Platform, link, *address, Scope::GLOBAL));
        }
        config.routes.extend(self.routes.iter().map(|row| RouteSpec {
            src: row.src,
            protocol: RouteProtocol(row.protocol),
            scope: Scope(row.scope),
            ..RouteSpec::new(Layer::Platform, row.dst, row.gateway, &row.link, row.priority)
        }));
        if !self.hostname.is_empty() && self.hostname != "localhost" {
            config.hostnames.push(split(Layer::Platform, &self.hostname));
        }
        if !self.name_servers.is_empty() {
            config.resolvers.push(ResolverSpec {
                search_domains: self.search_domains.clone(),
                ..ResolverSpec::plain(Layer::Platform, self.name_servers.clone())
            });
        }
        config
    }

    /// The launcher is done: there is an address and a way out.
    fn is_complete(&self) -> bool {
        !self.addresses.is_empty() && self.routes.iter().any(|route| route.dst.is_none())
    }
}

/// Keep the sight.
#[derive(Clone, Debug, PartialEq)]
pub struct Remember(Adopted);

impl Driver for AdoptLayer {
    type Observed = (Adopted, bool);
    type Op = Remember;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Self::Observed> {
        if let Ok(bytes) = std::fs::read(&self.memory) {
            return Ok((serde_json::from_slice(&bytes).context("the adopted network does not parse")?, true));
        }
        let snapshot = self.kernel.snapshot().await?;
        Ok((Adopted::of(&snapshot, self.hostname.clone(), self.resolvers.clone()), false))
    }

    fn plan(&self, _: &View<Self>, (adopted, remembered): &Self::Observed) -> Plan<Self, Remember> {
        let mut plan = Plan::new();
        let id = |id: &str| layered_id(Layer::Platform, id);
        let config = adopted.config();
        for link in &config.links {
            plan.put::<LinkSpec>(id(&link.name), link.clone());
        }
        for address in &config.addresses {
            plan.put::<AddressSpec>(id(&address.id()), address.clone());
        }
        for route in &config.routes {
            plan.put::<RouteSpec>(id(&route.id()), route.clone());
        }
        for hostname in &config.hostnames {
            plan.put::<HostnameSpec>(id(HostnameSpec::ID), hostname.clone());
        }
        for resolvers in &config.resolvers {
            plan.put::<ResolverSpec>(id(ResolverSpec::ID), resolvers.clone());
        }
        if *remembered {
            plan.put::<PlatformConfig>(PlatformConfig::CACHED, config);
        }
        if adopted.is_complete() && !remembered {
            plan.op(Remember(adopted.clone()));
        }
        if adopted.is_complete() {
            plan
        } else {
            plan.waiting("an address and a default route from the launcher")
        }
    }

    async fn apply(&mut self, Remember(adopted): Remember) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec(&adopted)?;
        write_atomic(&self.memory, &bytes, 0o600, Durability::Volatile)
            .context("failed to remember the network")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_of_a_host() {
        let text = "# comment\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nnameserver nonsense\nsearch a.example b.example\n";
        let (servers, domains) = parse_resolv_conf(text);
        assert_eq!(servers, [IpAddr::from([10, 0, 0, 1])]);
        assert_eq!(domains, ["a.example", "b.example"]);
        bolero::check!().for_each(|bytes: &[u8]| {
            let (servers, domains) = parse_resolv_conf(&String::from_utf8_lossy(bytes));
            assert!(servers.len() <= SERVERS_MAX && domains.len() <= 6);
        });
    }

    #[test]
    fn only_what_the_launcher_made_is_adopted() {
        let address = |link: &str, net: &str, scope| AddressStatus {
            link_name: link.into(),
            address: net.parse().expect("net"),
            scope,
            flags: AddressFlags::PERMANENT,
            ..AddressStatus::default()
        };
        let route = |protocol, gateway: Option<&str>| RouteStatus {
            protocol,
            out_link_name: "eth0".into(),
            gateway: gateway.map(|ip| ip.parse().expect("ip")),
            ..RouteStatus::default()
        };
        let snapshot = Snapshot {
            addresses: vec![
                address("lo", "127.0.0.1/8", Scope::HOST),
                address("eth0", "10.5.0.2/24", Scope::GLOBAL),
                address("eth0", "fe80::1/64", Scope::LINK),
            ],
            routes: vec![route(RouteProtocol::KERNEL, None), route(RouteProtocol::BOOT, Some("10.5.0.1"))],
            ..Snapshot::default()
        };
        let adopted = Adopted::of(&snapshot, "node".into(), Resolvers::default());
        assert_eq!(adopted.addresses, [("eth0".to_owned(), "10.5.0.2/24".parse().expect("net"))]);
        assert_eq!(adopted.routes.len(), 1);
        assert!(adopted.is_complete());
    }
}
