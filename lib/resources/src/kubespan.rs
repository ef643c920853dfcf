//! KubeSpan: the mesh of a cluster's machines over WireGuard. Nothing writes these types yet.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use corten_resource::{Enumeration, Resource};
use ipnet::IpNet;

/// Settings of the mesh. Singleton `kubespan`.
#[derive(Clone, Default, PartialEq, Resource)]
#[resource(kind = "KubeSpanConfigs.kubespan.talos.dev", namespace = "config", sensitive)]
pub struct KubeSpanConfig {
    /// Whether there is one.
    #[field(1, "enabled")]
    pub enabled: bool,
    /// Identity of the cluster.
    #[field(2, "clusterId")]
    pub cluster_id: String,
    /// Shared secret of the cluster.
    #[field(3, "sharedSecret")]
    pub shared_secret: String,
    /// Whether traffic to a peer that is down is held back.
    #[field(4, "forceRouting")]
    pub force_routing: bool,
    /// Whether networks of pods go through the mesh.
    #[field(5, "advertiseKubernetesNetworks")]
    pub advertise_kubernetes_networks: bool,
    /// Largest packet.
    #[field(6, "mtu", omitempty)]
    pub mtu: u32,
    /// Networks that endpoints must be in; a leading `!` excludes.
    #[field(7, "endpointFilters", omitempty)]
    pub endpoint_filters: Vec<String>,
    /// Whether endpoints that peers were seen at are told to others.
    #[field(8, "harvestExtraEndpoints")]
    pub harvest_extra_endpoints: bool,
    /// More endpoints of this machine.
    #[field(9, "extraEndpoints", omitempty)]
    pub extra_endpoints: Vec<SocketAddr>,
    /// Networks that are not advertised.
    #[field(10, "excludeAdvertisedNetworks", omitempty)]
    pub exclude_advertised_networks: Vec<IpNet>,
}

impl KubeSpanConfig {
    /// Id of the only one.
    pub const ID: &'static str = "kubespan";
}

impl fmt::Debug for KubeSpanConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KubeSpanConfig(enabled: {}, secret redacted)", self.enabled)
    }
}

/// An endpoint at which a peer was seen; the id is its public key.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubeSpanEndpoints.kubespan.talos.dev", namespace = "kubespan",
    columns("Endpoint" => "{.endpoint}", "Affiliate ID" => "{.affiliateID}"))]
pub struct KubeSpanEndpoint {
    /// Affiliate that it belongs to.
    #[field(1, "affiliateID")]
    pub affiliate_id: String,
    /// The endpoint.
    #[field(2, "endpoint")]
    pub endpoint: Option<SocketAddr>,
}

/// Who this machine is in the mesh. Singleton `local`.
#[derive(Clone, Default, PartialEq, Resource)]
#[resource(kind = "KubeSpanIdentities.kubespan.talos.dev", namespace = "kubespan", sensitive,
    columns("Address" => "{.address}", "Public Key" => "{.publicKey}"))]
pub struct KubeSpanIdentity {
    /// Address in the mesh.
    #[field(1, "address")]
    pub address: Option<IpNet>,
    /// Network of the mesh.
    #[field(2, "subnet")]
    pub subnet: Option<IpNet>,
    /// Private key of WireGuard.
    #[field(3, "privateKey")]
    pub private_key: String,
    /// Public key of WireGuard.
    #[field(4, "publicKey")]
    pub public_key: String,
}

impl KubeSpanIdentity {
    /// Id of the only one.
    pub const ID: &'static str = "local";
}

impl fmt::Debug for KubeSpanIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KubeSpanIdentity({:?}, key redacted)", self.public_key)
    }
}

/// A wanted peer; the id is its public key.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubeSpanPeerSpecs.kubespan.talos.dev", namespace = "kubespan",
    columns("Label" => "{.label}", "Endpoints" => "{.endpoints}"))]
pub struct KubeSpanPeerSpec {
    /// Its address in the mesh.
    #[field(1, "address")]
    pub address: Option<IpAddr>,
    /// Networks behind it.
    #[field(2, "allowedIPs")]
    pub allowed_ips: Vec<IpNet>,
    /// Where it may be reached.
    #[field(3, "endpoints")]
    pub endpoints: Vec<SocketAddr>,
    /// Name of the machine.
    #[field(4, "label")]
    pub label: String,
}

/// Whether a peer answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum PeerState {
    /// Too early to tell.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// It answers.
    #[variant(1, "up")]
    Up,
    /// It does not.
    #[variant(2, "down")]
    Down,
}

/// A peer as WireGuard sees it; the id is its public key.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubeSpanPeerStatuses.kubespan.talos.dev", namespace = "kubespan",
    columns("Label" => "{.label}", "Endpoint" => "{.endpoint}", "State" => "{.state}",
        "Rx" => "{.receiveBytes}", "Tx" => "{.transmitBytes}"))]
pub struct KubeSpanPeerStatus {
    /// Endpoint in use.
    #[field(1, "endpoint")]
    pub endpoint: Option<SocketAddr>,
    /// Name of the machine.
    #[field(2, "label")]
    pub label: String,
    /// Whether it answers.
    #[field(3, "state")]
    pub state: PeerState,
    /// Bytes that came from it.
    #[field(4, "receiveBytes")]
    pub receive_bytes: i64,
    /// Bytes that went to it.
    #[field(5, "transmitBytes")]
    pub transmit_bytes: i64,
    /// Last handshake.
    #[field(6, "lastHandshakeTime")]
    pub last_handshake_time: Option<SystemTime>,
    /// Endpoint that was tried last.
    #[field(7, "lastUsedEndpoint")]
    pub last_used_endpoint: Option<SocketAddr>,
    /// When the endpoint changed last.
    #[field(8, "lastEndpointChange")]
    pub last_endpoint_change: Option<SystemTime>,
}
