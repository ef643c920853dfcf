//! What the bootstrap manifests are rendered from.
//!
//!     MachineConfig ──▶ BootstrapManifestsConfigs, ExtraManifestsConfigs

use corten_config::defaults;
use corten_config::view::{Cni, Flannel, MachineView};
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::kubernetes::{BootstrapManifestsConfig, ExtraManifest, ExtraManifestsConfig};

use super::proxy;
use crate::configuration;

/// See the module.
pub struct ManifestIntent;

controller!(ManifestIntent, "k8s.BootstrapManifestsConfig",
    inputs: [weak MachineConfig],
    outputs: [exclusive BootstrapManifestsConfig, exclusive ExtraManifestsConfig]);

impl Transform for ManifestIntent {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = configuration::control_plane(view.get(MachineConfig::ACTIVE)) else { return plan };
        plan.put(BootstrapManifestsConfig::ID, bootstrap(&config));
        plan.put(ExtraManifestsConfig::ID, extra(&config));
        plan
    }
}

/// Where pods find the API server before services work: KubePrism on every node, or the cluster's endpoint.
fn server(config: &MachineView) -> String {
    match config.machine.features.kube_prism_port {
        Some(port) => format!("https://127.0.0.1:{port}"),
        None => config.cluster.endpoint.clone(),
    }
}

fn bootstrap(config: &MachineView) -> BootstrapManifestsConfig {
    let cluster = &config.cluster;
    let pod_cidrs: Vec<String> = cluster.network.pod_subnets.iter().map(ToString::to_string).collect();
    let dns = cluster.network.dns_service_ips();
    let of_family =
        |v4: bool| dns.iter().find(|ip| ip.is_ipv4() == v4).map(ToString::to_string).unwrap_or_default();
    let prism = config.machine.features.kube_prism_port;
    let proxy = proxy::configured(&cluster.proxy, &pod_cidrs);
    let base = match &cluster.network.cni {
        Cni::Flannel(given) => flannel(given),
        Cni::Custom(_) | Cni::None => BootstrapManifestsConfig::default(),
    };
    BootstrapManifestsConfig {
        server: server(config),
        cluster_domain: cluster.network.dns_domain.clone(),
        proxy_enabled: cluster.proxy.enabled,
        proxy_image: cluster.proxy.image.clone(),
        proxy_args: proxy.arguments,
        proxy_config: proxy.file,
        proxy_config_checksum: proxy.checksum,
        proxy_resources: configuration::resources(&cluster.proxy.resources),
        core_dns_enabled: cluster.core_dns.enabled,
        core_dns_image: cluster.core_dns.image.clone(),
        dns_service_ip: of_family(true),
        dns_service_ipv6: of_family(false),
        flannel_image: defaults::FLANNEL_IMAGE.into(),
        flannel_kube_service_host: prism.map(|_| "127.0.0.1".to_owned()).unwrap_or_default(),
        flannel_kube_service_port: prism.map(|port| port.to_string()).unwrap_or_default(),
        cni_name: match cluster.network.cni {
            Cni::Flannel(_) => "flannel",
            Cni::Custom(_) => "custom",
            Cni::None => "none",
        }
        .into(),
        pod_cidrs,
        ..base
    }
}

fn flannel(given: &Flannel) -> BootstrapManifestsConfig {
    BootstrapManifestsConfig {
        flannel_enabled: true,
        flannel_extra_args: given.extra_args.clone(),
        flannel_backend_type: given.backend.clone(),
        flannel_backend_port: given.backend_port.into(),
        flannel_backend_mtu: given.backend_mtu,
        flannel_backend_extra_config: given.backend_config.clone(),
        flannel_resources: configuration::resources(&given.resources),
        ..BootstrapManifestsConfig::default()
    }
}

/// Manifests of the user. Their priority places those of the pod network first and those of the cloud provider next.
fn extra(config: &MachineView) -> ExtraManifestsConfig {
    let cluster = &config.cluster;
    let custom: &[String] = match &cluster.network.cni {
        Cni::Custom(urls) => urls,
        Cni::Flannel(_) | Cni::None => &[],
    };
    let by_url = |url: &String, priority: &str| ExtraManifest {
        name: url.clone(),
        url: url.clone(),
        priority: priority.into(),
        ..ExtraManifest::default()
    };
    let external = cluster.external_manifests.iter().map(|manifest| ExtraManifest {
        name: manifest.name.clone(),
        url: manifest.url.clone(),
        priority: "99".into(),
        extra_headers: manifest
            .headers
            .iter()
            .map(|(key, value)| (key.clone(), value.reveal().clone()))
            .collect(),
        ..ExtraManifest::default()
    });
    let inline = cluster.inline_manifests.iter().map(|manifest| ExtraManifest {
        name: manifest.name.clone(),
        priority: "99".into(),
        inline_manifest: manifest.contents.clone(),
        ..ExtraManifest::default()
    });
    let urls = custom
        .iter()
        .map(|url| by_url(url, "05"))
        .chain(cluster.cloud_provider_manifests.iter().map(|url| by_url(url, "30")));
    ExtraManifestsConfig { extra_manifests: urls.chain(external).chain(inline).collect() }
}
