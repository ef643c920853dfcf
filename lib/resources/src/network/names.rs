//! Names: the machine's own, name servers, time servers, extra hosts.

use std::net::IpAddr;

use corten_resource::{Enumeration, Record, Resource};

use super::Layer;

/// A hostname; the plain id is `hostname`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "HostnameSpecs.net.talos.dev", namespace = "network")]
pub struct HostnameSpec {
    /// Short name without dots.
    #[field(1, "hostname")]
    pub hostname: String,
    /// Domain without leading dot; empty when unknown.
    #[field(2, "domainname")]
    pub domainname: String,
    /// Where it comes from.
    #[field(3, "layer")]
    pub layer: Layer,
}

impl HostnameSpec {
    /// Id of the only one.
    pub const ID: &'static str = "hostname";
}

/// Hostname in effect. Singleton `hostname`.
///
/// Written after the kernel confirmed it; read by certificates, the kubelet's node name and `get hostname`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "HostnameStatuses.net.talos.dev",
    namespace = "network",
    aliases("hostname"),
    columns("Hostname" => "{.hostname}", "Domainname" => "{.domainname}")
)]
pub struct HostnameStatus {
    /// Short name without dots.
    #[field(1, "hostname")]
    pub hostname: String,
    /// Domain without leading dot; empty when unknown.
    #[field(2, "domainname")]
    pub domainname: String,
}

impl HostnameStatus {
    /// Id of the only one.
    pub const ID: &'static str = "hostname";

    /// Name with domain.
    #[must_use]
    pub fn fqdn(&self) -> String {
        if self.domainname.is_empty() {
            self.hostname.clone()
        } else {
            format!("{}.{}", self.hostname, self.domainname)
        }
    }
}

/// How a name server is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum NameServerProtocol {
    /// Plain DNS.
    #[default]
    #[variant(0, "Do53")]
    Do53,
    /// DNS over TLS.
    #[variant(1, "DoT")]
    DoT,
    /// DNS over HTTPS.
    #[variant(2, "DoH")]
    DoH,
}

/// A name server.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct NameServer {
    /// Its address.
    #[field(1, "addr")]
    pub addr: Option<IpAddr>,
    /// How it is spoken to.
    #[field(2, "protocol")]
    pub protocol: NameServerProtocol,
    /// Name in its certificate.
    #[field(3, "tlsServerName")]
    pub tls_server_name: String,
}

impl NameServer {
    /// A plain server.
    #[must_use]
    pub fn plain(address: IpAddr) -> Self {
        Self { addr: Some(address), ..Self::default() }
    }
}

/// Resolvers of a layer; the plain id is `resolvers`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ResolverSpecs.net.talos.dev", namespace = "network")]
pub struct ResolverSpec {
    /// Addresses of name servers.
    #[field(1, "dnsServers")]
    pub dns_servers: Vec<IpAddr>,
    /// Name servers with their protocols.
    #[field(4, "nameServers", omitempty)]
    pub name_servers: Vec<NameServer>,
    /// Where they come from.
    #[field(2, "layer")]
    pub layer: Layer,
    /// Search domains.
    #[field(3, "searchDomains", omitempty)]
    pub search_domains: Vec<String>,
    /// Search domains of lower layers and the machine's own domain are left out.
    #[field(5, "searchDomainsOverridden", omitempty)]
    pub search_domains_overridden: bool,
}

impl ResolverSpec {
    /// Id of the only one.
    pub const ID: &'static str = "resolvers";

    /// Plain servers of a layer.
    #[must_use]
    pub fn plain(layer: Layer, servers: Vec<IpAddr>) -> Self {
        let name_servers = servers.iter().copied().map(NameServer::plain).collect();
        Self { dns_servers: servers, name_servers, layer, ..Self::default() }
    }
}

/// Resolvers in effect. Singleton `resolvers`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "ResolverStatuses.net.talos.dev",
    namespace = "network",
    aliases("resolvers"),
    columns("Resolvers" => "{.dnsServers}", "Search Domains" => "{.searchDomains}")
)]
pub struct ResolverStatus {
    /// Addresses of name servers.
    #[field(1, "dnsServers")]
    pub dns_servers: Vec<IpAddr>,
    /// Name servers with their protocols.
    #[field(4, "nameServers", omitempty)]
    pub name_servers: Vec<NameServer>,
    /// Search domains.
    #[field(2, "searchDomains")]
    pub search_domains: Vec<String>,
}

impl ResolverStatus {
    /// Id of the only one.
    pub const ID: &'static str = "resolvers";
}

/// Time servers of a layer; the plain id is `timeservers`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "TimeServerSpecs.net.talos.dev", namespace = "network")]
pub struct TimeServerSpec {
    /// Names or addresses; a path starting with `/dev` is a PTP device.
    #[field(1, "timeServers")]
    pub time_servers: Vec<String>,
    /// Authenticate them (NTS).
    #[field(3, "useNTS", omitempty)]
    pub use_nts: bool,
    /// Where they come from.
    #[field(2, "layer")]
    pub layer: Layer,
}

impl TimeServerSpec {
    /// Id of the only one.
    pub const ID: &'static str = "timeservers";
}

/// Time servers in effect. Singleton `timeservers`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "TimeServerStatuses.net.talos.dev",
    namespace = "network",
    aliases("timeserver", "timeservers"),
    columns("Timeservers" => "{.timeServers}")
)]
pub struct TimeServerStatus {
    /// Names or addresses.
    #[field(1, "timeServers")]
    pub time_servers: Vec<String>,
    /// Authenticate them (NTS).
    #[field(2, "useNTS")]
    pub use_nts: bool,
}

impl TimeServerStatus {
    /// Id of the only one.
    pub const ID: &'static str = "timeservers";
}

/// Extra name in `/etc/hosts`; the id is the name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "StaticHosts.net.talos.dev", namespace = "network")]
pub struct StaticHost {
    /// Addresses of the name.
    #[field(1, "addresses")]
    pub addresses: Vec<IpAddr>,
}
