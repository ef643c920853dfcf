//! The cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use corten_base::Secret;
use ipnet::IpNet;

use serde_json::{Map as JsonMap, Value as Json};

use super::machine::{bundle, certificates};
use super::{ApiServer, ControllerManager, CoreDns, Documents, Machine, MachineType, Pair, Proxy, Scheduler};
use crate::defaults;
use crate::reader::Reader;
use crate::values::{self, Url};

/// The cluster: identity, secrets, Kubernetes and etcd.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    /// Identity for discovery.
    pub id: String,
    /// Shared secret.
    pub secret: Secret<String>,
    /// Name.
    pub name: String,
    /// Address of the Kubernetes API as written; empty when none is given.
    pub endpoint: String,
    /// Its parts.
    pub endpoint_url: Option<Url>,
    /// Networks.
    pub network: ClusterNetwork,
    /// Kubernetes bootstrap token, `id.secret`.
    pub token: Secret<String>,
    /// Key that encrypts secrets in etcd with AES-CBC; empty when not used.
    pub aescbc_secret: Secret<String>,
    /// Key that encrypts secrets in etcd with secretbox; empty when not used.
    pub secretbox_secret: Secret<String>,
    /// How secrets in etcd are encrypted: JSON of an EncryptionConfiguration; empty when it follows from the keys.
    pub etcd_encryption: Secret<String>,
    /// Kubernetes CA; the key is there on control planes.
    pub ca: Option<Pair>,
    /// More Kubernetes CAs to trust, as PEM.
    pub accepted_cas: Vec<Vec<u8>>,
    /// CA of aggregated API servers.
    pub aggregator_ca: Option<Pair>,
    /// More CAs of aggregated API servers to trust, as PEM.
    pub accepted_aggregator_cas: Vec<Vec<u8>>,
    /// Tokens of service accounts.
    pub service_accounts: ServiceAccounts,
    /// kube-apiserver.
    pub api_server: ApiServer,
    /// kube-controller-manager.
    pub controller_manager: ControllerManager,
    /// kube-scheduler.
    pub scheduler: Scheduler,
    /// kube-proxy.
    pub proxy: Proxy,
    /// CoreDNS.
    pub core_dns: CoreDns,
    /// How members find each other.
    pub discovery: Discovery,
    /// etcd.
    pub etcd: Etcd,
    /// Whether there is a cloud provider outside Kubernetes.
    pub external_cloud_provider: bool,
    /// URLs of the cloud provider's manifests.
    pub cloud_provider_manifests: Vec<String>,
    /// Manifests that are fetched.
    pub external_manifests: Vec<ExternalManifest>,
    /// Manifests.
    pub inline_manifests: Vec<InlineManifest>,
    /// Kubeconfigs of administrators.
    pub admin_kubeconfig: AdminKubeconfig,
    /// Whether control planes run ordinary pods.
    pub schedule_on_control_planes: bool,
}

impl Cluster {
    pub(super) fn read(cluster: Reader<'_>, machine: &Machine, documents: &Documents<'_>) -> Self {
        let of_cluster = documents.one("KubeClusterConfig");
        let endpoint = of_cluster.get("endpoint").or(cluster.path(&["controlPlane", "endpoint"])).string();
        let provider = cluster.get("externalCloudProvider");
        let cloud = provider.get("enabled").is();
        let schedule = cluster.get("allowSchedulingOnControlPlanes").bool();
        let identity = documents.one("DiscoveryIdentityConfig");
        let of_document = || identity.get("clusterSecret").secret();
        let secret = cluster.get("secret");
        let api = Authority::read("KubeAPIServerCAConfig", cluster.get("ca"), documents);
        let aggregator = Authority::read("KubeAggregatorCAConfig", cluster.get("aggregatorCA"), documents);
        Self {
            id: cluster.get("id").string_or(&identity.get("clusterID").string()),
            secret: secret.text().map_or_else(of_document, |_| secret.secret()),
            name: of_cluster.get("clusterName").or(cluster.get("clusterName")).string(),
            endpoint_url: values::url(&endpoint),
            network: ClusterNetwork::read(cluster.get("network"), machine, documents),
            token: cluster.get("token").secret(),
            aescbc_secret: cluster.get("aescbcEncryptionSecret").secret(),
            secretbox_secret: cluster.get("secretboxEncryptionSecret").secret(),
            etcd_encryption: encryption(documents.one("KubeEtcdEncryptionConfig").get("config")),
            ca: api.issuing,
            accepted_cas: [api.accepted, certificates(cluster.get("acceptedCAs"))].concat(),
            aggregator_ca: aggregator.issuing,
            accepted_aggregator_cas: aggregator.accepted,
            service_accounts: ServiceAccounts::read(cluster, &endpoint, documents),
            endpoint,
            api_server: ApiServer::read(cluster, documents),
            controller_manager: ControllerManager::read(cluster.get("controllerManager"), documents),
            scheduler: Scheduler::read(cluster.get("scheduler"), documents),
            proxy: Proxy::read(cluster.get("proxy"), documents),
            core_dns: CoreDns::read(cluster.get("coreDNS"), documents),
            discovery: Discovery::read(cluster.get("discovery"), documents),
            etcd: Etcd::read(cluster.get("etcd")),
            external_cloud_provider: cloud,
            cloud_provider_manifests: if cloud { provider.get("manifests").texts() } else { Vec::new() },
            external_manifests: ExternalManifest::read_all(cluster, documents),
            inline_manifests: documents
                .elements("KubeInlineManifestConfig", cluster.get("inlineManifests"))
                .map(InlineManifest::read)
                .collect(),
            admin_kubeconfig: AdminKubeconfig::read(cluster.get("adminKubeconfig")),
            schedule_on_control_planes: schedule.unwrap_or(cluster.get("allowSchedulingOnMasters").is())
                && machine.kind != MachineType::Unknown,
        }
    }

    /// Every Kubernetes CA that is trusted, the issuing one first, as one PEM text.
    #[must_use]
    pub fn ca_bundle(&self) -> Vec<u8> {
        bundle(self.ca.as_ref(), &self.accepted_cas)
    }
}

fn secrets(reader: Reader<'_>) -> BTreeMap<String, Secret<String>> {
    reader.text_map().into_iter().map(|(key, value)| (key, Secret::new(value))).collect()
}

/// The object of a document with the header that Kubernetes wants.
fn encryption(reader: Reader<'_>) -> Secret<String> {
    let mut object = reader.object();
    if object.is_empty() {
        return Secret::default();
    }
    object.insert("apiVersion".to_owned(), "apiserver.config.k8s.io/v1".into());
    object.insert("kind".to_owned(), "EncryptionConfiguration".into());
    Secret::new(Json::Object(object).to_string())
}

/// An authority of a document, or that of `v1alpha1`.
struct Authority {
    issuing: Option<Pair>,
    accepted: Vec<Vec<u8>>,
}

impl Authority {
    fn read(kind: &str, legacy: Reader<'_>, documents: &Documents<'_>) -> Self {
        let document = documents.one(kind);
        let accepted = document.get("acceptedCAs").texts().into_iter().map(String::into_bytes);
        Self {
            issuing: Pair::read_plain(document.get("issuingCA")).or_else(|| Pair::read(legacy)),
            accepted: accepted.collect(),
        }
    }
}

/// Tokens of service accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAccounts {
    /// Key that signs them, as PEM; empty on workers.
    pub signing_key: Secret<Vec<u8>>,
    /// Name of the issuer.
    pub issuer_url: String,
    /// More public keys that they may be signed with, as PEM.
    pub accepted_keys: Vec<Vec<u8>>,
    /// Names of more issuers whose tokens are accepted.
    pub accepted_issuers: Vec<String>,
    /// For whom they may be; when empty, for the issuer.
    pub audiences: Vec<String>,
}

impl ServiceAccounts {
    fn read(cluster: Reader<'_>, endpoint: &str, documents: &Documents<'_>) -> Self {
        let document = documents.one("KubeServiceAccountConfig");
        let (issuer, accepted) = (document.get("issuer"), document.get("accepted"));
        let key = issuer.get("privateKey").string().into_bytes();
        let legacy = || cluster.path(&["serviceAccount", "key"]).base64();
        Self {
            signing_key: Secret::new(if key.is_empty() { legacy() } else { key }),
            issuer_url: issuer.get("issuerURL").string_or(endpoint),
            accepted_keys: accepted.get("publicKeys").texts().into_iter().map(String::into_bytes).collect(),
            accepted_issuers: accepted.get("issuers").texts(),
            audiences: accepted.get("audiences").texts(),
        }
    }
}

/// Networks of the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterNetwork {
    /// Pod network.
    pub cni: Cni,
    /// DNS domain.
    pub dns_domain: String,
    /// Networks of pods.
    pub pod_subnets: Vec<IpNet>,
    /// Networks of services.
    pub service_subnets: Vec<IpNet>,
    /// Prefix length of the pods of a node, IPv4; nothing for the default of Kubernetes.
    pub node_mask_ipv4: Option<u8>,
    /// Prefix length of the pods of a node, IPv6.
    pub node_mask_ipv6: Option<u8>,
}

/// Pod network.
#[derive(Clone, Debug, PartialEq)]
pub enum Cni {
    /// Flannel.
    Flannel(Flannel),
    /// Manifests from these URLs.
    Custom(Vec<String>),
    /// Someone else's business.
    None,
}

impl Default for Cni {
    fn default() -> Self {
        Self::Flannel(Flannel::default())
    }
}

/// Flannel.
#[derive(Clone, Debug, PartialEq)]
pub struct Flannel {
    /// How packets go between nodes.
    pub backend: String,
    /// Port of the backend; 0 for that of Flannel.
    pub backend_port: u16,
    /// Largest packet; 0 lets Flannel find out.
    pub backend_mtu: u32,
    /// More settings of the backend.
    pub backend_config: JsonMap<String, Json>,
    /// Resource requests and limits.
    pub resources: JsonMap<String, Json>,
    /// More arguments.
    pub extra_args: Vec<String>,
}

impl Default for Flannel {
    fn default() -> Self {
        Self {
            backend: defaults::FLANNEL_BACKEND.to_owned(),
            backend_port: defaults::FLANNEL_PORT,
            backend_mtu: 0,
            backend_config: JsonMap::new(),
            resources: JsonMap::new(),
            extra_args: Vec::new(),
        }
    }
}

impl Flannel {
    fn read(document: Reader<'_>) -> Self {
        Self {
            backend: document.get("backendType").string_or(defaults::FLANNEL_BACKEND),
            backend_port: document.get("backendPort").positive().unwrap_or_default(),
            backend_mtu: document.get("backendMTU").positive().unwrap_or_default(),
            backend_config: document.get("backendExtraConfig").object(),
            resources: document.get("resources").object(),
            extra_args: document.get("extraArgs").texts(),
        }
    }
}

impl Cni {
    /// Only control planes have the document about Flannel; a worker follows what Flannel writes, if it ever runs there.
    fn read(legacy: Reader<'_>, machine: &Machine, documents: &Documents<'_>) -> Self {
        let flannel = documents.one("KubeFlannelCNIConfig");
        if flannel.exists() {
            return Self::Flannel(Flannel::read(flannel));
        }
        let has_documents = documents.one("KubeNetworkConfig").exists();
        match legacy.get("name").text() {
            Some("none") => Self::None,
            Some("custom") => Self::Custom(legacy.get("urls").texts()),
            None if has_documents && machine.kind == MachineType::ControlPlane => Self::None,
            _ => Self::Flannel(Flannel {
                extra_args: legacy.path(&["flannel", "extraArgs"]).texts(),
                ..Flannel::default()
            }),
        }
    }
}

impl ClusterNetwork {
    fn read(legacy: Reader<'_>, machine: &Machine, documents: &Documents<'_>) -> Self {
        let reader = documents.section("KubeNetworkConfig", legacy);
        let subnets = |key: &str, default: &str| {
            let given = reader.get(key).list(Reader::cidr);
            if given.is_empty() { default.parse().into_iter().collect() } else { given }
        };
        Self {
            cni: Cni::read(legacy.get("cni"), machine, documents),
            dns_domain: reader.get("dnsDomain").string_or(defaults::DNS_DOMAIN),
            pod_subnets: subnets("podSubnets", defaults::POD_SUBNET),
            service_subnets: subnets("serviceSubnets", defaults::SERVICE_SUBNET),
            node_mask_ipv4: reader.get("nodeCIDRMaskSizeIPv4").positive(),
            node_mask_ipv6: reader.get("nodeCIDRMaskSizeIPv6").positive(),
        }
    }

    /// The tenth address of each service network, where DNS answers.
    #[must_use]
    pub fn dns_service_ips(&self) -> Vec<IpAddr> {
        self.service_subnets.iter().filter_map(|subnet| nth(subnet, 10)).collect()
    }

    /// The first address of each service network, where the Kubernetes API answers.
    #[must_use]
    pub fn api_service_ips(&self) -> Vec<IpAddr> {
        self.service_subnets.iter().filter_map(|subnet| nth(subnet, 1)).collect()
    }
}

fn nth(subnet: &IpNet, offset: u32) -> Option<IpAddr> {
    let ip = match subnet.network() {
        IpAddr::V4(ip) => IpAddr::from(u32::from(ip).checked_add(offset)?.to_be_bytes()),
        IpAddr::V6(ip) => IpAddr::from(u128::from(ip).checked_add(u128::from(offset))?.to_be_bytes()),
    };
    subnet.contains(&ip).then_some(ip)
}

/// How members find each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Whether it is on.
    pub enabled: bool,
    /// Whether members are registered in annotations of Kubernetes nodes.
    pub kubernetes: bool,
    /// Services that members are registered with: name and URL of each. That of `v1alpha1` has the name `default`
    /// and comes before a document of that name.
    pub services: Vec<(String, String)>,
}

impl Discovery {
    fn read(reader: Reader<'_>, documents: &Documents<'_>) -> Self {
        let enabled = reader.get("enabled").is();
        let registries = reader.get("registries");
        let mut services = Vec::new();
        if enabled && !registries.path(&["service", "disabled"]).is() {
            let url = registries.path(&["service", "endpoint"]).string_or(defaults::DISCOVERY_ENDPOINT);
            services.push(("default".to_owned(), url));
        }
        for (name, document) in documents.all("DiscoveryServiceConfig") {
            if services.iter().all(|(known, _)| known != name) {
                services.push((name.to_owned(), document.get("endpoint").string()));
            }
        }
        Self {
            enabled: enabled || !services.is_empty(),
            kubernetes: enabled && !registries.path(&["kubernetes", "disabled"]).bool().unwrap_or(true),
            services,
        }
    }
}

/// etcd.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Etcd {
    /// Image.
    pub image: String,
    /// CA; there on control planes.
    pub ca: Option<Pair>,
    /// More arguments.
    pub extra_args: BTreeMap<String, Vec<String>>,
    /// Networks of advertised addresses; a leading `!` excludes.
    pub advertised_subnets: Vec<String>,
    /// Networks to listen in; when empty, everywhere.
    pub listen_subnets: Vec<String>,
}

impl Etcd {
    fn read(reader: Reader<'_>) -> Self {
        let mut advertised = reader.get("advertisedSubnets").texts();
        if advertised.is_empty() {
            advertised.extend(reader.get("subnet").text().map(ToOwned::to_owned));
        }
        Self {
            image: reader.get("image").string_or(defaults::ETCD_IMAGE),
            ca: Pair::read(reader.get("ca")),
            extra_args: reader.get("extraArgs").arguments(),
            advertised_subnets: advertised,
            listen_subnets: reader.get("listenSubnets").texts(),
        }
    }
}

/// A manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InlineManifest {
    /// Name.
    pub name: String,
    /// YAML.
    pub contents: String,
}

impl InlineManifest {
    fn read(reader: Reader<'_>) -> Self {
        Self {
            name: reader.get("name").string(),
            contents: reader.get("manifest").or(reader.get("contents")).string(),
        }
    }
}

/// A manifest that is fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalManifest {
    /// Name; in `v1alpha1` the URL.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// HTTP headers.
    pub headers: BTreeMap<String, Secret<String>>,
}

impl ExternalManifest {
    fn read_all(cluster: Reader<'_>, documents: &Documents<'_>) -> Vec<Self> {
        let of_document = |(name, document): (&str, Reader<'_>)| Self {
            name: name.to_owned(),
            url: document.get("url").string(),
            headers: secrets(document.get("headers")),
        };
        let headers = secrets(cluster.get("extraManifestHeaders"));
        let legacy = |url: String| Self { name: url.clone(), url, headers: headers.clone() };
        let legacy = cluster.get("extraManifests").texts().into_iter().map(legacy);
        documents.all("KubeExternalManifestConfig").map(of_document).chain(legacy).collect()
    }
}

/// Kubeconfigs of administrators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminKubeconfig {
    /// How long their certificates are valid.
    pub cert_lifetime: Duration,
}

impl Default for AdminKubeconfig {
    fn default() -> Self {
        Self { cert_lifetime: defaults::ADMIN_CERT_LIFETIME }
    }
}

impl AdminKubeconfig {
    fn read(reader: Reader<'_>) -> Self {
        let lifetime = reader.get("certLifetime").duration().filter(|life| !life.is_zero());
        lifetime.map_or_else(Self::default, |cert_lifetime| Self { cert_lifetime })
    }
}
