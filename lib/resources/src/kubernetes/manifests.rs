//! Manifests: what the bootstrap manifests are made of, those of the user, and what became of them.

use std::collections::BTreeMap;

use corten_resource::{Object, Record, Resource};

use super::Resources;

/// A manifest of the user, by URL or in line.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ExtraManifest {
    /// Name.
    #[field(1, "name")]
    pub name: String,
    /// Where to fetch it.
    #[field(2, "url")]
    pub url: String,
    /// Two digits that place it among the bootstrap manifests.
    #[field(3, "priority")]
    pub priority: String,
    /// Headers to send when fetching.
    #[field(4, "extraHeaders")]
    pub extra_headers: BTreeMap<String, String>,
    /// The manifest itself.
    #[field(5, "inlineManifest")]
    pub inline_manifest: String,
}

/// One object of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct SingleManifest {
    /// The object.
    #[field(1, "object", inline)]
    pub object: Object,
}

/// Manifests of the user.
///
/// Written from the machine configuration; read by the renderer of manifests.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ExtraManifestsConfigs.kubernetes.talos.dev", namespace = "controlplane")]
pub struct ExtraManifestsConfig {
    /// The manifests.
    #[field(1, "extraManifests")]
    pub extra_manifests: Vec<ExtraManifest>,
}

impl ExtraManifestsConfig {
    /// Id of the only one.
    pub const ID: &'static str = "extra-manifests";
}

/// A manifest of the user that was fetched; the id is made of its URL and the headers. Ours only.
///
/// Written by whoever fetches; read by the renderer of manifests.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "FetchedManifests.corten.dev", namespace = "controlplane", internal)]
pub struct FetchedManifest {
    /// Where it came from.
    #[field(1, "url")]
    pub url: String,
    /// The objects, in order.
    #[field(2, "items")]
    pub items: Vec<SingleManifest>,
}

/// Bootstrap manifests; ids order them.
///
/// Written by the renderer of manifests; read by the applier and by clients that upgrade Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Manifests.kubernetes.talos.dev", namespace = "controlplane", scalar)]
pub struct Manifest {
    /// The objects, in order.
    #[field(1, "items")]
    pub items: Vec<SingleManifest>,
}

/// Which bootstrap manifests were applied.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ManifestStatuses.kubernetes.talos.dev", namespace = "controlplane", columns("Manifests Applied" => "{.manifestsApplied}"))]
pub struct ManifestStatus {
    /// Ids of the manifests.
    #[field(1, "manifestsApplied")]
    pub manifests_applied: Vec<String>,
}

impl ManifestStatus {
    /// Id of the only one.
    pub const ID: &'static str = "manifests";
}

/// What the bootstrap manifests are rendered from.
///
/// Written from the machine configuration; read by the renderer of manifests.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "BootstrapManifestsConfigs.kubernetes.talos.dev", namespace = "controlplane")]
pub struct BootstrapManifestsConfig {
    /// Endpoint for components inside the cluster.
    #[field(1, "string")]
    pub server: String,
    /// DNS domain of the cluster.
    #[field(2, "clusterDomain")]
    pub cluster_domain: String,
    /// Subnets of pods.
    #[field(3, "podCIDRs")]
    pub pod_cidrs: Vec<String>,
    /// kube-proxy runs.
    #[field(4, "proxyEnabled")]
    pub proxy_enabled: bool,
    /// Image of kube-proxy.
    #[field(5, "proxyImage")]
    pub proxy_image: String,
    /// Arguments of kube-proxy.
    #[field(6, "proxyArgs")]
    pub proxy_args: Vec<String>,
    /// Configuration file of kube-proxy; empty while it is configured by arguments.
    #[field(27, "proxyConfig")]
    pub proxy_config: Object,
    /// Its hash: a change restarts the pods.
    #[field(29, "proxyConfigChecksum")]
    pub proxy_config_checksum: String,
    /// Requests and limits of kube-proxy.
    #[field(28, "proxyResources")]
    pub proxy_resources: Resources,
    /// CoreDNS runs.
    #[field(7, "coreDNSEnabled")]
    pub core_dns_enabled: bool,
    /// Image of CoreDNS.
    #[field(8, "coreDNSImage")]
    pub core_dns_image: String,
    /// IPv4 address of the DNS service.
    #[field(9, "dnsServiceIP")]
    pub dns_service_ip: String,
    /// IPv6 address of the DNS service.
    #[field(10, "dnsServiceIPv6")]
    pub dns_service_ipv6: String,
    /// Flannel runs.
    #[field(11, "flannelEnabled")]
    pub flannel_enabled: bool,
    /// Image of flannel.
    #[field(12, "flannelImage")]
    pub flannel_image: String,
    /// Further arguments of flannel.
    #[field(16, "flannelExtraArgs")]
    pub flannel_extra_args: Vec<String>,
    /// Host of the API server for flannel.
    #[field(17, "flannelKubeServiceHost")]
    pub flannel_kube_service_host: String,
    /// Port of the API server for flannel.
    #[field(18, "flannelKubeServicePort")]
    pub flannel_kube_service_port: String,
    /// Network policies are enforced.
    #[field(19, "flannelKubeNetworkPoliciesEnabled")]
    pub flannel_kube_network_policies_enabled: bool,
    /// Image of the enforcer.
    #[field(20, "flannelKubeNetworkPoliciesImage")]
    pub flannel_kube_network_policies_image: String,
    /// Backend (`vxlan`).
    #[field(23, "flannelBackendType")]
    pub flannel_backend_type: String,
    /// Port of the backend.
    #[field(24, "flannelBackendPort")]
    pub flannel_backend_port: u32,
    /// MTU of the backend; 0 lets flannel decide.
    #[field(22, "flannelBackendMTU")]
    pub flannel_backend_mtu: u32,
    /// Further settings of the backend.
    #[field(26, "flannelBackendExtraConfig")]
    pub flannel_backend_extra_config: Object,
    /// Requests and limits of flannel.
    #[field(25, "flannelResources")]
    pub flannel_resources: Resources,
    /// Legacy, always off.
    #[field(14, "podSecurityPolicyEnabled")]
    pub pod_security_policy_enabled: bool,
    /// The machine API has a service in the cluster.
    #[field(15, "talosAPIServiceEnabled")]
    pub talos_api_service_enabled: bool,
    /// Which CNI is configured.
    #[field(21, "cniName")]
    pub cni_name: String,
}

impl BootstrapManifestsConfig {
    /// Id of the only one.
    pub const ID: &'static str = "manifests";
}
