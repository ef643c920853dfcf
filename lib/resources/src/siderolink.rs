//! How the machine is connected to its manager: what it was told, how it is known there, and what came of it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use corten_resource::Resource;

/// First byte of unique local addresses (RFC 4193).
const UNIQUE_LOCAL: u8 = 0xfd;
/// Byte of an address that says what its network is for, and its value for the network of a manager and its machines
/// (node.md 7.5).
const PURPOSE: (usize, u8) = (7, 0x03);

/// Whether an address is one of the network of a manager and its machines.
#[must_use]
pub fn is_in_network(address: IpAddr) -> bool {
    let IpAddr::V6(address) = address else { return false };
    let octets = address.octets();
    octets.first() == Some(&UNIQUE_LOCAL) && octets.get(PURPOSE.0) == Some(&PURPOSE.1)
}

/// Where the machine joins its manager. Singleton `siderolink`; absent on a machine without a manager.
///
/// Written from the machine configuration or the kernel's arguments; read by the controllers of the domain, and by who
/// decides where the machine may be reached.
#[derive(Clone, Default, PartialEq, Resource)]
#[resource(
    kind = "SiderolinkConfigs.siderolink.talos.dev",
    namespace = "config",
    sensitive,
    columns("Host" => "{.host}", "Tunnel" => "{.tunnel}")
)]
pub struct SiderolinkConfig {
    /// The join URL as it was given, token included.
    #[field(1, "apiEndpoint")]
    pub api_endpoint: String,
    /// Host and port of the join API.
    #[field(2, "host")]
    pub host: String,
    /// Token that lets the machine in; empty when the URL has none.
    #[field(3, "joinToken", omitempty)]
    pub join_token: String,
    /// The join API has no TLS.
    #[field(4, "insecure")]
    pub insecure: bool,
    /// The machine asks for WireGuard inside gRPC.
    #[field(5, "tunnel")]
    pub tunnel: bool,
}

impl SiderolinkConfig {
    /// Id of the only one.
    pub const ID: &'static str = "siderolink";
}

impl fmt::Debug for SiderolinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiderolinkConfig").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Whether the machine and its manager see each other. Singleton `siderolink-status`.
///
/// Written from the state of the WireGuard link; read by people.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "SiderolinkStatuses.siderolink.talos.dev",
    namespace = "config",
    columns("Host" => "{.host}", "Connected" => "{.connected}", "Link" => "{.linkName}")
)]
pub struct SiderolinkStatus {
    /// Host and port of the join API.
    #[field(1, "host")]
    pub host: String,
    /// The last handshake is not too long ago.
    #[field(2, "connected")]
    pub connected: bool,
    /// Name of the link; empty while there is none.
    #[field(3, "linkName")]
    pub link_name: String,
    /// WireGuard is carried inside gRPC.
    #[field(4, "grpcTunnel")]
    pub grpc_tunnel: bool,
}

impl SiderolinkStatus {
    /// Id of the only one.
    pub const ID: &'static str = "siderolink-status";
}

/// WireGuard inside gRPC. Singleton `siderolink-tunnel`; absent while datagrams go by UDP.
///
/// Written from the manager's answer; read by people.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "SiderolinkTunnels.siderolink.talos.dev",
    namespace = "config",
    sensitive,
    columns("Link" => "{.linkName}", "Node Address" => "{.nodeAddress}")
)]
pub struct SiderolinkTunnel {
    /// Host and port of the service that carries.
    #[field(1, "apiEndpoint")]
    pub api_endpoint: String,
    /// Name of the link.
    #[field(2, "linkName")]
    pub link_name: String,
    /// Largest packet of the link, bytes.
    #[field(3, "mtu")]
    pub mtu: u32,
    /// Address and port that stand for the machine at the manager.
    #[field(4, "nodeAddress")]
    pub node_address: Option<SocketAddr>,
}

impl SiderolinkTunnel {
    /// Id of the only one.
    pub const ID: &'static str = "siderolink-tunnel";
}

/// What the manager gave the machine to be known by. Singleton `unique-machine-token`; it is there when META was read.
///
/// Written from the machine configuration or META; read by who joins. It speaks for the machine, so that only
/// administrators see it.
#[derive(Clone, Default, PartialEq, Resource)]
#[resource(kind = "UniqueMachineTokens.runtime.talos.dev", namespace = "runtime", sensitive)]
pub struct UniqueMachineToken {
    /// The token; empty on a machine that has none yet.
    #[field(1, "token")]
    pub token: String,
}

impl UniqueMachineToken {
    /// Id of the only one.
    pub const ID: &'static str = "unique-machine-token";
    /// META tag that keeps the token (node.md 5.6).
    pub const META_KEY: &'static str = "0x10";
    /// META tag with a UUID that takes the place of the firmware's (node.md 5.6).
    pub const UUID_META_KEY: &'static str = "0x0f";
}

impl fmt::Debug for UniqueMachineToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UniqueMachineToken").finish_non_exhaustive()
    }
}

/// Where the machine's events are sent. Singleton `event-sink`; absent when nobody wants them.
///
/// Written from the machine configuration or the kernel's arguments; read by who sends.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EventSinkConfigs.runtime.talos.dev", namespace = "runtime", columns("Endpoint" => "{.endpoint}"))]
pub struct EventSinkConfig {
    /// Host and port.
    #[field(1, "endpoint")]
    pub endpoint: String,
}

impl EventSinkConfig {
    /// Id of the only one.
    pub const ID: &'static str = "event-sink";
}

/// Where the kernel log is sent. Singleton `kmsg-log`; absent when nobody wants it.
///
/// Written from the machine configuration and the kernel's arguments; read by who sends.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KmsgLogConfigs.runtime.talos.dev", namespace = "runtime", columns("Destinations" => "{.destinations}"))]
pub struct KmsgLogConfig {
    /// `tcp://host:port` or `udp://host:port` each.
    #[field(1, "destinations", url)]
    pub destinations: Vec<String>,
}

impl KmsgLogConfig {
    /// Id of the only one.
    pub const ID: &'static str = "kmsg-log";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unique_local_addresses_of_purpose_three_are_in_the_network() {
        let is = |text: &str| is_in_network(text.parse().expect("an address"));
        assert!(is("fdae:41e4:649b:9303::1"));
        for other in ["fdae:41e4:649b:9302::1", "fcae:41e4:649b:9303::1", "10.0.0.3", "::"] {
            assert!(!is(other), "{other}");
        }
    }

    #[test]
    fn tokens_are_not_printed() {
        let config = SiderolinkConfig { join_token: "hunter2".into(), ..SiderolinkConfig::default() };
        let token = UniqueMachineToken { token: "hunter2".into() };
        assert!(!format!("{config:?} {token:?}").contains("hunter2"));
    }
}
