//! What decides about a call besides the call itself: what the store says, and how the manager is configured.

use std::collections::BTreeSet;
use std::net::SocketAddrV6;

use corten_base::Secret;
use ipnet::Ipv6Net;

use crate::token::ExtraData;
use crate::unique::UniqueToken;

/// Which machines are let in; the setting `joinTokensMode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JoinMode {
    /// `strict`: only machines that can keep a unique token.
    Strict,
    /// `legacyAllowed`: the others too, with a join token alone.
    #[default]
    LegacyAllowed,
    /// `legacy`: all with a join token alone; nobody is given a unique token.
    Legacy,
}

/// Settings of the manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Which machines are let in.
    pub mode: JoinMode,
    /// Every machine is to tunnel through gRPC.
    pub enforce_tunnel: bool,
}

/// What the store says about a call.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// What [`JoinToken::authority`](crate::JoinToken::authority) leads to; `None` when there is no such thing.
    pub key: Option<TokenKey>,
    /// The link with the UUID of the call.
    pub link: Option<KnownLink>,
    /// The pending machine with the WireGuard key of the call.
    pub pending: Option<KnownPending>,
    /// Infrastructure providers that are registered: at least those that the token or the link name.
    pub providers: BTreeSet<String>,
    /// How many machines there are.
    pub machines: Machines,
    /// The machine is to tunnel through gRPC: its `GRPCTunnelConfig`.
    pub wants_tunnel: bool,
}

/// The plain token that a join token is checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKey {
    /// Its text.
    pub token: Secret<String>,
    /// It is neither revoked nor expired. That of a provider always is.
    pub is_active: bool,
}

/// Machines that there are and that there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machines {
    /// How many have a link.
    pub registered: u32,
    /// `account.maxRegisteredMachines`; `None` when there is no limit, which the setting 0 means.
    pub limit: Option<u32>,
}

/// Where a resource is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It is in use.
    #[default]
    Running,
    /// It goes away as soon as nobody needs it any more.
    TearingDown,
}

/// A `Link`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownLink {
    /// Where it is in its life.
    pub phase: Phase,
    /// Address of the machine in the tunnel.
    pub node_subnet: Ipv6Net,
    /// WireGuard key of its last boot, base64.
    pub public_key: String,
    /// Address and port that stand for it when it tunnels through gRPC.
    pub virtual_peer: Option<SocketAddrV6>,
    /// Unique token; `None` when it came without one.
    pub unique_token: Option<UniqueToken>,
    /// It carries the annotation `siderolink.omni.sidero.dev/force-valid-node-unique-token`.
    pub force_valid: bool,
    /// Unique token that an infrastructure provider wiped from the machine: `wiped_node_unique_token`.
    pub wiped_token: Option<UniqueToken>,
    /// Its labels, as far as join tokens set them.
    pub labels: ExtraData,
}

/// A `PendingMachine`, with what its status says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPending {
    /// Address of the machine in the tunnel.
    pub node_subnet: Ipv6Net,
    /// Address and port that stand for it when it tunnels through gRPC.
    pub virtual_peer: Option<SocketAddrV6>,
    /// A system is on its disk, so that the token that it was given is there too.
    pub talos_installed: bool,
}
