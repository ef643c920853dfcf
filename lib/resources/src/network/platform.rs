//! The network as the platform gives it.

use std::net::IpAddr;

use corten_resource::Resource;

use super::{
    AddressSpec, HostnameSpec, LinkSpec, OperatorSpec, ProbeSpec, ResolverSpec, RouteSpec, TimeServerSpec,
};
use crate::runtime::PlatformMetadata;

/// What the platform says about the network: `active` is what is used, `cached` what is kept of it for a start without
/// the platform.
///
/// Written by what asks the platform; read by people.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "PlatformConfigs.net.talos.dev", namespace = "network")]
pub struct PlatformConfig {
    /// Addresses.
    #[field(1, "addresses")]
    pub addresses: Vec<AddressSpec>,
    /// Links.
    #[field(2, "links")]
    pub links: Vec<LinkSpec>,
    /// Routes.
    #[field(3, "routes")]
    pub routes: Vec<RouteSpec>,
    /// Host names.
    #[field(4, "hostnames")]
    pub hostnames: Vec<HostnameSpec>,
    /// Name servers.
    #[field(5, "resolvers")]
    pub resolvers: Vec<ResolverSpec>,
    /// Time servers.
    #[field(6, "timeServers")]
    pub time_servers: Vec<TimeServerSpec>,
    /// What obtains addresses by itself.
    #[field(7, "operators")]
    pub operators: Vec<OperatorSpec>,
    /// Addresses that the world knows the machine by.
    #[field(8, "externalIPs")]
    pub external_ips: Vec<IpAddr>,
    /// By what the network is judged.
    #[field(9, "probes", omitempty)]
    pub probes: Vec<ProbeSpec>,
    /// What else the platform says about the machine.
    #[field(10, "metadata", omitempty)]
    pub metadata: Option<PlatformMetadata>,
}

impl PlatformConfig {
    /// Id of what is used.
    pub const ACTIVE: &'static str = "active";
    /// Id of what is kept.
    pub const CACHED: &'static str = "cached";
}
