//! What the rest of the machine asks the network about.

use std::net::{IpAddr, SocketAddr};

use corten_resource::{Enumeration, Resource};
use ipnet::IpNet;

/// How addresses are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum SortAlgorithm {
    /// By address.
    #[default]
    #[variant(0, "v1")]
    V1,
    /// By family and prefix length first.
    #[variant(1, "v2")]
    V2,
}

/// Addresses of this machine: `default`, `current`, `routed`, `accumulative`, each also with `-no-k8s` and `-only-k8s`.
///
/// Written from the addresses that are on links; read by certificates, the kubelet, etcd and discovery.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "NodeAddresses.net.talos.dev",
    namespace = "network",
    columns("Addresses" => "{.addresses}", "Sort Algorithm" => "{.sortAlgorithm}")
)]
pub struct NodeAddress {
    /// Addresses with their prefix lengths.
    #[field(1, "addresses")]
    pub addresses: Vec<IpNet>,
    /// How they are ordered.
    #[field(2, "sortAlgorithm")]
    pub sort_algorithm: SortAlgorithm,
}

impl NodeAddress {
    /// The one address that names this machine; it stays for as long as it exists.
    pub const DEFAULT: &'static str = "default";
    /// All addresses on links that are up.
    pub const CURRENT: &'static str = "current";
    /// Those that are on links here, without external ones.
    pub const ROUTED: &'static str = "routed";
    /// All that ever were.
    pub const ACCUMULATIVE: &'static str = "accumulative";

    /// Id of the variant that `filter` makes of `base`.
    #[must_use]
    pub fn filtered(base: &str, filter: &str) -> String {
        format!("{base}-{filter}")
    }

    /// The addresses without prefix lengths.
    #[must_use]
    pub fn ips(&self) -> Vec<IpAddr> {
        self.addresses.iter().map(IpNet::addr).collect()
    }
}

/// A filter over [`NodeAddress`]: `no-k8s` and `only-k8s`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "NodeAddressFilters.net.talos.dev",
    namespace = "network",
    columns("Include Subnets" => "{.includeSubnets}", "Exclude Subnets" => "{.excludeSubnets}")
)]
pub struct NodeAddressFilter {
    /// An address must be in one of these, if there are any.
    #[field(1, "includeSubnets")]
    pub include_subnets: Vec<IpNet>,
    /// An address must be in none of these.
    #[field(2, "excludeSubnets")]
    pub exclude_subnets: Vec<IpNet>,
}

impl NodeAddressFilter {
    /// Without addresses of pods and services.
    pub const NO_K8S: &'static str = "no-k8s";
    /// Addresses of pods and services only.
    pub const ONLY_K8S: &'static str = "only-k8s";

    /// Whether an address passes.
    #[must_use]
    pub fn passes(&self, address: IpAddr) -> bool {
        let within = |subnets: &[IpNet]| subnets.iter().any(|subnet| subnet.contains(&address));
        (self.include_subnets.is_empty() || within(&self.include_subnets)) && !within(&self.exclude_subnets)
    }
}

/// The algorithm in force. Singleton `algorithm`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "NodeAddressSortAlgorithms.net.talos.dev",
    namespace = "network",
    columns("Algorithm" => "{.algorithm}")
)]
pub struct NodeAddressSortAlgorithm {
    /// How addresses are ordered.
    #[field(1, "algorithm")]
    pub algorithm: SortAlgorithm,
}

impl NodeAddressSortAlgorithm {
    /// Id of the only one.
    pub const ID: &'static str = "algorithm";
}

/// Whether the network is ready for what comes next. Singleton `status`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "NetworkStatuses.net.talos.dev",
    namespace = "network",
    aliases("netstatus", "netstatuses"),
    columns(
        "Address" => "{.addressReady}",
        "Connectivity" => "{.connectivityReady}",
        "Hostname" => "{.hostnameReady}",
        "Etc" => "{.etcFilesReady}"
    )
)]
pub struct NetworkStatus {
    /// There is an address.
    #[field(1, "addressReady")]
    pub address_ready: bool,
    /// There is a way out.
    #[field(2, "connectivityReady")]
    pub connectivity_ready: bool,
    /// There is a hostname.
    #[field(3, "hostnameReady")]
    pub hostname_ready: bool,
    /// `/etc/hosts` and `/etc/resolv.conf` are in place.
    #[field(4, "etcFilesReady")]
    pub etc_files_ready: bool,
}

impl NetworkStatus {
    /// Id of the only one.
    pub const ID: &'static str = "status";
}

/// The host's resolver as configured. Singleton `config`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "HostDNSConfigs.net.talos.dev",
    namespace = "network",
    columns("Enabled" => "{.enabled}", "Listen Addresses" => "{.listenAddresses}")
)]
pub struct HostDnsConfig {
    /// Runs.
    #[field(1, "enabled")]
    pub enabled: bool,
    /// Where it listens.
    #[field(2, "listenAddresses", omitempty)]
    pub listen_addresses: Vec<SocketAddr>,
    /// Address for pods.
    #[field(3, "serviceHostDNSAddress", omitempty)]
    pub service_host_dns_address: Option<IpAddr>,
    /// Answer names of cluster members.
    #[field(4, "resolveMemberNames", omitempty)]
    pub resolve_member_names: bool,
    /// IPv6 address for pods.
    #[field(5, "serviceHostDNSAddressV6", omitempty)]
    pub service_host_dns_address_v6: Option<IpAddr>,
}

impl HostDnsConfig {
    /// Id of the only one.
    pub const ID: &'static str = "config";
}

/// A listener of the host's resolver; the id is `udp-127.0.0.53:53`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "DNSResolveCaches.net.talos.dev", namespace = "network", columns("Status" => "{.status}"))]
pub struct DnsResolveCache {
    /// `running`, or why not.
    #[field(1, "status")]
    pub status: String,
}

/// An upstream of the host's resolver.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "DNSUpstreams.net.talos.dev",
    namespace = "network",
    columns("Healthy" => "{.healthy}", "Address" => "{.addr}")
)]
pub struct DnsUpstream {
    /// It answered when it was last asked.
    #[field(0, "healthy")]
    pub healthy: bool,
    /// Its address.
    #[field(0, "addr")]
    pub addr: String,
}
