//! Membership: who this machine is, which cluster it belongs to, and who else is in it.

use std::net::IpAddr;

use corten_resource::{Record, Resource};
use ipnet::IpNet;

use crate::config::Role;

/// Namespace of affiliates as each registry knows them.
pub const RAW_NAMESPACE: &str = "cluster-raw";

/// Control plane details of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Record)]
pub struct ControlPlane {
    /// Port of the API server.
    #[field(1, "port")]
    pub port: i64,
}

/// KubeSpan details of an affiliate.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct KubeSpanAffiliate {
    /// Public key of WireGuard.
    #[field(1, "publicKey")]
    pub public_key: String,
    /// Address inside KubeSpan.
    #[field(2, "address")]
    pub address: Option<IpAddr>,
    /// Further networks reachable through it.
    #[field(3, "additionalAddresses")]
    pub additional_addresses: Vec<IpNet>,
    /// Where it can be reached.
    #[field(4, "endpoints")]
    pub endpoints: Vec<std::net::SocketAddr>,
    /// Networks that it does not advertise.
    #[field(5, "excludeAdvertisedNetworks")]
    pub exclude_advertised_networks: Vec<IpNet>,
}

/// A machine that was discovered and may be a member. The id is the node id.
///
/// Written per registry into [`RAW_NAMESPACE`] and merged into the namespace `cluster`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "Affiliates.cluster.talos.dev",
    namespace = "cluster",
    columns(
        "Hostname" => "{.hostname}",
        "Machine Type" => "{.machineType}",
        "OS" => "{.operatingSystem}",
        "Addresses" => "{.addresses}"
    )
)]
pub struct Affiliate {
    /// Node id (base62).
    #[field(1, "nodeId")]
    pub node_id: String,
    /// Addresses of the machine.
    #[field(2, "addresses")]
    pub addresses: Vec<IpAddr>,
    /// Hostname.
    #[field(3, "hostname")]
    pub hostname: String,
    /// Name of the Kubernetes node.
    #[field(4, "nodename", omitempty)]
    pub nodename: String,
    /// Operating system and its version.
    #[field(5, "operatingSystem")]
    pub operating_system: String,
    /// Role.
    #[field(6, "machineType")]
    pub machine_type: Role,
    /// KubeSpan details.
    #[field(7, "kubespan", omitempty)]
    pub kubespan: KubeSpanAffiliate,
    /// Control plane details.
    #[field(8, "controlPlane", omitempty)]
    pub control_plane: Option<ControlPlane>,
}

/// A member of the cluster. The id is the node name.
///
/// Written from the affiliates; read by `get members`, health checks and the endpoints of the control plane.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "Members.cluster.talos.dev",
    namespace = "cluster",
    columns(
        "Hostname" => "{.hostname}",
        "Machine Type" => "{.machineType}",
        "OS" => "{.operatingSystem}",
        "Addresses" => "{.addresses}"
    )
)]
pub struct Member {
    /// Node id (base62).
    #[field(1, "nodeId")]
    pub node_id: String,
    /// Addresses of the machine.
    #[field(2, "addresses")]
    pub addresses: Vec<IpAddr>,
    /// Hostname.
    #[field(3, "hostname")]
    pub hostname: String,
    /// Role.
    #[field(4, "machineType")]
    pub machine_type: Role,
    /// Operating system and its version.
    #[field(5, "operatingSystem")]
    pub operating_system: String,
    /// Control plane details.
    #[field(6, "controlPlane", omitempty)]
    pub control_plane: Option<ControlPlane>,
}

/// Who this machine is: made once, kept in STATE.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Identities.cluster.talos.dev", namespace = "cluster", columns("ID" => "{.nodeId}"))]
pub struct Identity {
    /// 32 random bytes in base62.
    #[field(1, "nodeId")]
    pub node_id: String,
}

impl Identity {
    /// Id of the only one.
    pub const ID: &'static str = "local";
}

/// Which cluster this machine belongs to.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "Infos.cluster.talos.dev",
    namespace = "cluster",
    columns("Cluster ID" => "{.clusterId}", "Cluster Name" => "{.clusterName}")
)]
pub struct Info {
    /// Cluster id (base64).
    #[field(1, "clusterId")]
    pub cluster_id: String,
    /// Name of the cluster.
    #[field(2, "clusterName")]
    pub cluster_name: String,
}

impl Info {
    /// Id of the only one.
    pub const ID: &'static str = "current";
}

/// A discovery service.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ServiceEndpoint {
    /// Name of the service.
    #[field(1, "name")]
    pub name: String,
    /// `host:port`.
    #[field(2, "endpoint")]
    pub endpoint: String,
    /// Talk without TLS.
    #[field(3, "insecure")]
    pub insecure: bool,
}

/// Discovery settings in effect.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "DiscoveryConfigs.cluster.talos.dev", namespace = "config", sensitive)]
pub struct DiscoveryConfig {
    /// Discovery is on.
    #[field(1, "discoveryEnabled")]
    pub discovery_enabled: bool,
    /// Members are learned from Kubernetes nodes.
    #[field(2, "registryKubernetesEnabled")]
    pub registry_kubernetes_enabled: bool,
    /// Members are learned from the discovery service.
    #[field(3, "registryServiceEnabled")]
    pub registry_service_enabled: bool,
    /// First discovery service.
    #[field(4, "serviceEndpoint")]
    pub service_endpoint: String,
    /// Talk to it without TLS.
    #[field(5, "serviceEndpointInsecure", omitempty)]
    pub service_endpoint_insecure: bool,
    /// Key with which affiliate data is encrypted.
    #[field(6, "serviceEncryptionKey")]
    pub service_encryption_key: Vec<u8>,
    /// Id of the cluster at the service.
    #[field(7, "serviceClusterID")]
    pub service_cluster_id: String,
    /// All discovery services.
    #[field(8, "serviceEndpoints")]
    pub service_endpoints: Vec<ServiceEndpoint>,
}

impl DiscoveryConfig {
    /// Id of the only one.
    pub const ID: &'static str = "cluster";
}

/// Who in Kubernetes may use the machine API. Singleton `config`.
///
/// Nothing writes it yet: the machine API is not offered to pods.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubernetesAccessConfigs.cluster.talos.dev", namespace = "config")]
pub struct KubernetesAccessConfig {
    /// Whether anybody may.
    #[field(1, "enabled")]
    pub enabled: bool,
    /// Roles that may be asked for.
    #[field(2, "allowedAPIRoles")]
    pub allowed_api_roles: Vec<String>,
    /// Namespaces that may ask.
    #[field(3, "allowedKubernetesNamespaces")]
    pub allowed_kubernetes_namespaces: Vec<String>,
}

impl KubernetesAccessConfig {
    /// Id of the only one.
    pub const ID: &'static str = "config";
}
