//! The network: what is wanted per layer, what is in effect, what the kernel says.
//!
//! Each `…Spec` exists twice: in [`CONFIG_NAMESPACE`] once per layer with the id `<layer>/<id>`, and in `network`
//! with the plain id as the winner that is applied. Each `…Status` is what was observed afterwards.

mod address;
mod alias;
mod bgp;
mod bond;
mod ethernet;
mod firewall;
mod link;
mod names;
mod numbers;
mod operator;
mod platform;
mod probe;
mod route;
mod rule;
mod state;
mod wireguard;

pub use address::{AddressSpec, AddressStatus};
pub use alias::{LinkAliasSpec, LinkRefresh};
pub use bgp::{BgpBfd, BgpImportRoute, BgpInstanceConfig, BgpNeighbor, BgpPeerStatus, BgpSessionState};
pub use bond::{
    AdLacpActive, AdSelect, ArpAllTargets, ArpValidate, BondMaster, BondMode, FailOverMac, LacpRate,
    PrimaryReselect, XmitHashPolicy,
};
pub use ethernet::{
    EthernetChannels, EthernetChannelsStatus, EthernetFeature, EthernetRings, EthernetRingsStatus,
    EthernetSpec, EthernetStatus, WakeOnLan,
};
pub use firewall::{
    AddressMatch, ChainHook, ChainPriority, ClampMss, ConntrackState, ConntrackStateMatch, IcmpType,
    IcmpTypeMatch, IfNameMatch, Layer4Match, LimitMatch, Mark, MatchOperator, NfTablesChain, NfTablesRule,
    PortMatch, PortRange, Protocol, Verdict,
};
pub use link::{
    BondSlave, BridgeMaster, BridgeSlave, BridgeVlan, DeviceConfigSpec, HardwareAddress, LinkSpec,
    LinkStatus, Stp, Veth, Vlan, VlanProtocol, VrfMaster, VrfSlave,
};
pub use names::{
    HostnameSpec, HostnameStatus, NameServer, NameServerProtocol, ResolverSpec, ResolverStatus, StaticHost,
    TimeServerSpec, TimeServerStatus,
};
pub use numbers::{
    AddressFlags, Duplex, Family, Layer, LinkFlags, LinkType, OperationalState, Port, RouteFlags,
    RouteProtocol, RouteTable, RouteType, Scope,
};
pub use operator::{
    ClientIdentifier, ClientIdentifierSpec, Dhcp4Operator, Dhcp6Operator, Operator, OperatorSpec, VipOperator,
};
pub use platform::PlatformConfig;
pub use probe::{HttpProbe, ProbeSpec, ProbeStatus, TcpProbe};
pub use route::{RouteNextHop, RouteSpec, RouteStatus, route_id};
pub use rule::{RoutingRuleAction, RoutingRuleSpec, RoutingRuleStatus, routing_rule_id};
pub use state::{
    DnsResolveCache, DnsUpstream, HostDnsConfig, NetworkStatus, NodeAddress, NodeAddressFilter,
    NodeAddressSortAlgorithm, SortAlgorithm,
};
pub use wireguard::{Wireguard, WireguardPeer, WireguardPeerStatus, WireguardStatus};

/// Namespace of the layered specifications.
pub const CONFIG_NAMESPACE: &str = "network-config";

/// Id of a specification in [`CONFIG_NAMESPACE`].
#[must_use]
pub fn layered_id(layer: Layer, id: &str) -> String {
    format!("{layer}/{id}")
}
