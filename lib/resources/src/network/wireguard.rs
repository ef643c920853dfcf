//! WireGuard: what is wanted has keys, what is shown has none to hide.

use std::time::Duration;

use corten_resource::Record;
use ipnet::IpNet;

/// WireGuard on a link as wanted.
#[derive(Clone, Default, PartialEq, Record)]
pub struct Wireguard {
    /// Private key.
    #[field(1, "privateKey", omitempty)]
    pub private_key: String,
    /// Public key.
    #[field(2, "publicKey", omitempty)]
    pub public_key: String,
    /// UDP port.
    #[field(3, "listenPort")]
    pub listen_port: i64,
    /// Mark of its own packets.
    #[field(4, "firewallMark")]
    pub firewall_mark: i64,
    /// Peers.
    #[field(5, "peers")]
    pub peers: Vec<WireguardPeer>,
}

/// A peer as wanted.
#[derive(Clone, Default, PartialEq, Record)]
pub struct WireguardPeer {
    /// Public key.
    #[field(1, "publicKey")]
    pub public_key: String,
    /// Key that both know.
    #[field(2, "presharedKey")]
    pub preshared_key: String,
    /// Address and port.
    #[field(3, "endpoint")]
    pub endpoint: String,
    /// Interval of keep-alives.
    #[field(4, "persistentKeepaliveInterval")]
    pub persistent_keepalive_interval: Duration,
    /// Networks behind the peer.
    #[field(5, "allowedIPs")]
    pub allowed_ips: Vec<IpNet>,
}

impl std::fmt::Debug for Wireguard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wireguard").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for WireguardPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WireguardPeer").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

/// WireGuard on a link as it is. The numbers are those of [`Wireguard`]; secret ones do not exist.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct WireguardStatus {
    /// Public key.
    #[field(2, "publicKey", omitempty)]
    pub public_key: String,
    /// UDP port.
    #[field(3, "listenPort")]
    pub listen_port: i64,
    /// Mark of its own packets.
    #[field(4, "firewallMark")]
    pub firewall_mark: i64,
    /// Peers.
    #[field(5, "peers")]
    pub peers: Vec<WireguardPeerStatus>,
}

/// A peer as it is.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct WireguardPeerStatus {
    /// Public key.
    #[field(1, "publicKey")]
    pub public_key: String,
    /// Address and port.
    #[field(3, "endpoint")]
    pub endpoint: String,
    /// Interval of keep-alives.
    #[field(4, "persistentKeepaliveInterval")]
    pub persistent_keepalive_interval: Duration,
    /// Networks behind the peer.
    #[field(5, "allowedIPs")]
    pub allowed_ips: Vec<IpNet>,
}
