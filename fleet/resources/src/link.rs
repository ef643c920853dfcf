//! How machines reach the manager: the tunnel, its peers, and the tokens that let them in.
//!
//! ```text
//! JoinToken ─▶ a machine calls Provision ─▶ PendingMachine ─(token written to META)─▶ Link ─▶ Machine
//!                                                  └───────────▶ LinkStatus ◀──────────┘
//! ```
//!
//! Links and pending machines are written by whoever answers Provision; statuses by controllers of the same name.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::SystemTime;

use corten_resource::{Enumeration, Record, Resource};

/// The manager's own end of the tunnel. Singleton `siderolink-config`, made at the first start.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Configs.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct SiderolinkConfig {
    /// WireGuard key of the manager, base64.
    #[field(1, "privatekey")]
    pub private_key: String,
    /// The public half, base64.
    #[field(2, "publickey")]
    pub public_key: String,
    /// Where the manager listens, host and port.
    #[field(3, "wireguardendpoint")]
    pub wireguard_endpoint: String,
    /// Prefix of all machines.
    #[field(5, "subnet")]
    pub subnet: String,
    /// Address of the manager in the tunnel.
    #[field(6, "serveraddress")]
    pub server_address: String,
    /// The join token that was made at the first start.
    #[field(7, "initialjointoken")]
    pub initial_join_token: String,
    /// Where machines reach the manager, hosts and ports separated by commas.
    #[field(8, "advertisedendpoint")]
    pub advertised_endpoint: String,
}

impl SiderolinkConfig {
    /// Id of the only one, and of the resources that are made of it.
    pub const ID: &'static str = "siderolink-config";
}

/// What a machine must know to call. Singleton `siderolink-config`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SiderolinkAPIConfigs.omni.sidero.dev", namespace = "default", message)]
pub struct SiderolinkApiConfig {
    /// Address of the machine API as machines reach it, a URL.
    #[field(1, "machineapiadvertisedurl")]
    pub machine_api_advertised_url: String,
    /// Where machines reach WireGuard, hosts and ports separated by commas.
    #[field(2, "wireguardadvertisedendpoint")]
    pub wireguard_advertised_endpoint: String,
    /// Every machine is to tunnel through gRPC.
    #[field(3, "enforcegrpctunnel")]
    pub enforce_grpc_tunnel: bool,
    /// Port of the event sink in the tunnel.
    #[field(4, "eventsport")]
    pub events_port: i32,
    /// Port of the log receiver in the tunnel.
    #[field(5, "logsport")]
    pub logs_port: i32,
}

/// The same for older infrastructure providers. Singleton `siderolink-config`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ConnectionParams.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct ConnectionParams {
    /// Kernel arguments, separated by spaces.
    #[field(1, "args")]
    pub args: String,
    /// Address of the machine API, a URL.
    #[field(2, "apiendpoint")]
    pub api_endpoint: String,
    /// Where machines reach WireGuard.
    #[field(3, "wireguardendpoint")]
    pub wireguard_endpoint: String,
    /// The default join token.
    #[field(4, "jointoken")]
    pub join_token: String,
    /// Machines are to tunnel through gRPC.
    #[field(5, "usegrpctunnel")]
    pub use_grpc_tunnel: bool,
    /// Port of the event sink in the tunnel.
    #[field(9, "eventsport")]
    pub events_port: i32,
    /// Port of the log receiver in the tunnel.
    #[field(10, "logsport")]
    pub logs_port: i32,
}

/// A machine that was let in, by its UUID. Removing it removes the machine.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Links.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct Link {
    /// Address of the machine in the tunnel, with the prefix length of the network.
    #[field(1, "nodesubnet")]
    pub node_subnet: String,
    /// WireGuard key of the machine, base64; another one after each of its boots.
    #[field(2, "nodepublickey")]
    pub node_public_key: String,
    /// Where its packets came from last.
    #[field(3, "lastendpoint")]
    pub last_endpoint: String,
    /// The last handshake is recent.
    #[field(4, "connected")]
    pub connected: bool,
    /// Address and port that stand for it when it tunnels through gRPC; empty when it does not.
    #[field(7, "virtualaddrport")]
    pub virtual_addr_port: String,
    /// Where its call to Provision came from.
    #[field(8, "remoteaddr")]
    pub remote_addr: String,
    /// The token by which it is known again, JSON.
    #[field(9, "nodeuniquetoken")]
    pub node_unique_token: String,
}

impl Link {
    /// Its address in the tunnel.
    ///
    /// # Errors
    /// When the field holds none.
    pub fn address(&self) -> Result<Ipv6Addr, InvalidLink> {
        address(&self.node_public_key, &self.node_subnet)
    }

    /// What stands for it when it tunnels through gRPC.
    ///
    /// # Errors
    /// When the field holds something else.
    pub fn virtual_peer(&self) -> Result<Option<SocketAddrV6>, InvalidLink> {
        virtual_peer(&self.node_public_key, &self.virtual_addr_port)
    }
}

impl PendingMachine {
    /// Its address in the tunnel.
    ///
    /// # Errors
    /// When the field holds none.
    pub fn address(&self) -> Result<Ipv6Addr, InvalidLink> {
        address(&self.node_public_key, &self.node_subnet)
    }

    /// What stands for it when it tunnels through gRPC.
    ///
    /// # Errors
    /// When the field holds something else.
    pub fn virtual_peer(&self) -> Result<Option<SocketAddrV6>, InvalidLink> {
        virtual_peer(&self.node_public_key, &self.virtual_addr_port)
    }
}

/// A link or pending machine with a field that nobody can work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidLink(String);

impl InvalidLink {
    /// The machine, the field, what it holds and what it should.
    #[must_use]
    pub fn new(machine: &str, field: &str, value: &str, wanted: &str) -> Self {
        Self(format!(
            "machine {machine}: {field} {value:?} is not {wanted}; it is written anew when the machine calls again: reboot \
             it, or delete its link"
        ))
    }
}

impl std::fmt::Display for InvalidLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidLink {}

fn address(machine: &str, subnet: &str) -> Result<Ipv6Addr, InvalidLink> {
    let address = subnet.split_once('/').and_then(|(address, _)| address.parse().ok());
    address.ok_or_else(|| {
        InvalidLink::new(machine, "node subnet", subnet, "an IPv6 address with a prefix length")
    })
}

fn virtual_peer(machine: &str, text: &str) -> Result<Option<SocketAddrV6>, InvalidLink> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse().map(Some);
    parsed.map_err(|_| InvalidLink::new(machine, "virtual address", text, "an IPv6 address with a port"))
}

/// The peer of a link or of a pending machine, once packets of it are taken.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "LinkStatuses.omni.sidero.dev", namespace = "ephemeral", message)]
pub struct LinkStatus {
    /// Address of the machine in the tunnel, with the prefix length of the network.
    #[field(1, "nodesubnet")]
    pub node_subnet: String,
    /// Its WireGuard key, base64.
    #[field(2, "nodepublickey")]
    pub node_public_key: String,
    /// Address and port that stand for it when it tunnels through gRPC.
    #[field(3, "virtualaddrport")]
    pub virtual_addr_port: String,
    /// Id of the link or of the pending machine.
    #[field(4, "linkid")]
    pub link_id: String,
}

/// A machine that called without a token of its own, by its WireGuard key. It is reachable, so that it can be given one.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "PendingMachines.omni.sidero.dev", namespace = "ephemeral", sensitive, message)]
pub struct PendingMachine {
    /// Address of the machine in the tunnel, with the prefix length of the network.
    #[field(1, "nodesubnet")]
    pub node_subnet: String,
    /// Its WireGuard key, base64.
    #[field(2, "nodepublickey")]
    pub node_public_key: String,
    /// Where its packets came from last.
    #[field(3, "lastendpoint")]
    pub last_endpoint: String,
    /// The last handshake is recent.
    #[field(4, "connected")]
    pub connected: bool,
    /// Address and port that stand for it when it tunnels through gRPC.
    #[field(7, "virtualaddrport")]
    pub virtual_addr_port: String,
    /// Where its call to Provision came from.
    #[field(8, "remoteaddr")]
    pub remote_addr: String,
    /// The token that it sent, JSON; empty when it had none.
    #[field(9, "nodeuniquetoken")]
    pub node_unique_token: String,
}

/// What was found out about a pending machine, by its WireGuard key.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "PendingMachineStatuses.omni.sidero.dev", namespace = "ephemeral", sensitive, message)]
pub struct PendingMachineStatus {
    /// The token that was written to its META.
    #[field(1, "token")]
    pub token: String,
    /// An operating system is on its disk.
    #[field(2, "talosinstalled")]
    pub talos_installed: bool,
}

/// A token that lets machines in; its id is the token.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "JoinTokens.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct JoinToken {
    /// When it ends to work; never if absent.
    #[field(1, "expirationtime")]
    pub expiration_time: Option<SystemTime>,
    /// It was withdrawn.
    #[field(2, "revoked")]
    pub revoked: bool,
    /// What people call it, at most 16 characters.
    #[field(3, "name")]
    pub name: String,
}

/// Whether a join token works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum JoinTokenState {
    /// Not known yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// It lets machines in.
    #[variant(1, "active")]
    Active,
    /// It was withdrawn.
    #[variant(2, "revoked")]
    Revoked,
    /// Its time is over.
    #[variant(3, "expired")]
    Expired,
}

/// What a join token is worth now, and who depends on it; its id is the token.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "JoinTokenStatuses.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct JoinTokenStatus {
    /// Whether it works.
    #[field(1, "state")]
    pub state: JoinTokenState,
    /// New media and kernel arguments carry it.
    #[field(2, "isdefault")]
    pub is_default: bool,
    /// How many machines joined with it.
    #[field(3, "usecount")]
    pub use_count: u64,
    /// When it ends to work.
    #[field(4, "expirationtime")]
    pub expiration_time: Option<SystemTime>,
    /// What people call it.
    #[field(5, "name")]
    pub name: String,
    /// Machines that would be cut off if it were withdrawn.
    #[field(6, "warnings")]
    pub warnings: Vec<JoinTokenWarning>,
}

/// Why a machine needs a join token.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct JoinTokenWarning {
    /// UUID of the machine.
    #[field(1, "machine")]
    pub machine: String,
    /// The reason.
    #[field(2, "message")]
    pub message: String,
}

/// Which join token a machine came with, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "JoinTokenUsages.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct JoinTokenUsage {
    /// The token.
    #[field(1, "tokenid")]
    pub token_id: String,
}

/// The join token of new media and kernel arguments. Singleton `default`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "DefaultJoinTokens.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct DefaultJoinToken {
    /// The token.
    #[field(1, "tokenid")]
    pub token_id: String,
}

/// The token by which a machine is known again, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "NodeUniqueTokens.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct NodeUniqueToken {
    /// Fingerprint of its hardware and a random part, JSON.
    #[field(1, "token")]
    pub token: String,
}

/// How firmly a machine is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum NodeUniqueTokenState {
    /// Not known yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// The token is on its disk.
    #[variant(1, "persistent")]
    Persistent,
    /// The token is lost with the next boot, since nothing is installed.
    #[variant(2, "ephemeral")]
    Ephemeral,
    /// It has none yet.
    #[variant(3, "none")]
    None,
    /// Its operating system knows no such token.
    #[variant(4, "unsupported")]
    Unsupported,
}

/// How firmly a machine is known, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "NodeUniqueTokenStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct NodeUniqueTokenStatus {
    /// Whether its token survives a boot.
    #[field(1, "state")]
    pub state: NodeUniqueTokenState,
}

/// Whether a machine is to tunnel through gRPC, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "GRPCTunnelConfigs.omni.sidero.dev", namespace = "default", message)]
pub struct GrpcTunnelConfig {
    /// Packets go through a gRPC stream instead of UDP.
    #[field(1, "enabled")]
    pub enabled: bool,
}

/// How a machine is told to call: as kernel arguments, and as documents of its configuration.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct JoinConfig {
    /// Kernel arguments.
    #[field(1, "kernelargs")]
    pub kernel_args: Vec<String>,
    /// Documents of the machine configuration.
    #[field(2, "config")]
    pub config: String,
}

/// How one machine is told to call, by its UUID.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineJoinConfigs.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct MachineJoinConfig {
    /// What it is told.
    #[field(1, "config")]
    pub config: Option<JoinConfig>,
}

/// How the machines of an infrastructure provider are told to call, by the provider.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ProviderJoinConfigs.omni.sidero.dev", namespace = "infra-provider", sensitive, message)]
pub struct ProviderJoinConfig {
    /// What they are told.
    #[field(1, "config")]
    pub config: Option<JoinConfig>,
    /// Key of the signatures in their tokens.
    #[field(2, "jointoken")]
    pub join_token: String,
}
