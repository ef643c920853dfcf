//! The cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use corten_base::Secret;
use ipnet::IpNet;

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
    /// Kubernetes CA; the key is there on control planes.
    pub ca: Option<Pair>,
    /// More Kubernetes CAs to trust, as PEM.
    pub accepted_cas: Vec<Vec<u8>>,
    /// CA of aggregated API servers.
    pub aggregator_ca: Option<Pair>,
    /// Key that signs service account tokens, as PEM; empty on workers.
    pub service_account_key: Secret<Vec<u8>>,
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
    /// URLs of manifests, those of the cloud provider first.
    pub extra_manifests: Vec<String>,
    /// HTTP headers for them.
    pub extra_manifest_headers: BTreeMap<String, Secret<String>>,
    /// Manifests.
    pub inline_manifests: Vec<InlineManifest>,
    /// Kubeconfigs of administrators.
    pub admin_kubeconfig: AdminKubeconfig,
    /// Whether control planes run ordinary pods.
    pub schedule_on_control_planes: bool,
}

impl Cluster {
    pub(super) fn read(cluster: Reader<'_>, machine: &Machine, documents: &Documents<'_>) -> Self {
        let endpoint = cluster.path(&["controlPlane", "endpoint"]).string();
        let provider = cluster.get("externalCloudProvider");
        let cloud = provider.get("enabled").is();
        let mut manifests = if cloud { provider.get("manifests").texts() } else { Vec::new() };
        manifests.extend(cluster.get("extraManifests").texts());
        let schedule = cluster.get("allowSchedulingOnControlPlanes").bool();
        let identity = documents.one("DiscoveryIdentityConfig");
        let of_document = || identity.get("clusterSecret").secret();
        let secret = cluster.get("secret");
        Self {
            id: cluster.get("id").string_or(&identity.get("clusterID").string()),
            secret: secret.text().map_or_else(of_document, |_| secret.secret()),
            name: cluster.get("clusterName").string(),
            endpoint_url: values::url(&endpoint),
            endpoint,
            network: ClusterNetwork::read(cluster.get("network")),
            token: cluster.get("token").secret(),
            aescbc_secret: cluster.get("aescbcEncryptionSecret").secret(),
            secretbox_secret: cluster.get("secretboxEncryptionSecret").secret(),
            ca: Pair::read(cluster.get("ca")),
            accepted_cas: certificates(cluster.get("acceptedCAs")),
            aggregator_ca: Pair::read(cluster.get("aggregatorCA")),
            service_account_key: Secret::new(cluster.path(&["serviceAccount", "key"]).base64()),
            api_server: ApiServer::read(cluster),
            controller_manager: ControllerManager::read(cluster.get("controllerManager")),
            scheduler: Scheduler::read(cluster.get("scheduler")),
            proxy: Proxy::read(cluster.get("proxy")),
            core_dns: CoreDns::read(cluster.get("coreDNS")),
            discovery: Discovery::read(cluster.get("discovery"), documents),
            etcd: Etcd::read(cluster.get("etcd")),
            external_cloud_provider: cloud,
            extra_manifests: manifests,
            extra_manifest_headers: secrets(cluster.get("extraManifestHeaders")),
            inline_manifests: cluster.get("inlineManifests").list(|manifest| {
                Some(InlineManifest {
                    name: manifest.get("name").string(),
                    contents: manifest.get("contents").string(),
                })
            }),
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
}

/// Pod network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cni {
    /// Flannel, with more arguments.
    Flannel(Vec<String>),
    /// Manifests from these URLs.
    Custom(Vec<String>),
    /// Someone else's business.
    None,
}

impl Default for Cni {
    fn default() -> Self {
        Self::Flannel(Vec::new())
    }
}

impl ClusterNetwork {
    fn read(reader: Reader<'_>) -> Self {
        let subnets = |key: &str, default: &str| {
            let given = reader.get(key).list(Reader::cidr);
            if given.is_empty() { default.parse().into_iter().collect() } else { given }
        };
        let cni = reader.get("cni");
        Self {
            cni: match cni.get("name").text() {
                Some("none") => Cni::None,
                Some("custom") => Cni::Custom(cni.get("urls").texts()),
                _ => Cni::Flannel(cni.path(&["flannel", "extraArgs"]).texts()),
            },
            dns_domain: reader.get("dnsDomain").string_or(defaults::DNS_DOMAIN),
            pod_subnets: subnets("podSubnets", defaults::POD_SUBNET),
            service_subnets: subnets("serviceSubnets", defaults::SERVICE_SUBNET),
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
