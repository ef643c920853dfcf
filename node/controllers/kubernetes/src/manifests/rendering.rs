//! Renders the bootstrap manifests and takes in the user's.
//!
//!     BootstrapManifestsConfig, KubernetesRoot, ExtraManifestsConfig ──▶ Manifests (ids sort in the order of application)

use corten_config::yaml;
use corten_resource::{Object, Plan, Transform, View, controller};
use corten_resources::kubernetes::{
    BootstrapManifestsConfig, ExtraManifest, ExtraManifestsConfig, Manifest, SingleManifest,
};
use corten_resources::secrets::KubernetesRoot;

use super::{Rendered, coredns, flannel, proxy, rbac};

/// See the module.
pub struct ManifestRendering;

controller!(ManifestRendering, "k8s.Manifest",
    inputs: [strong BootstrapManifestsConfig, strong KubernetesRoot, strong ExtraManifestsConfig],
    outputs: [exclusive Manifest]);

impl Transform for ManifestRendering {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let config = view.get::<BootstrapManifestsConfig>(BootstrapManifestsConfig::ID);
        let Some((config, root)) = config.zip(view.get::<KubernetesRoot>(KubernetesRoot::ID)) else {
            return plan.waiting("configuration and secrets of Kubernetes");
        };
        for (id, objects) in bootstrap(config, root) {
            plan.put(id, manifest(objects));
        }
        let mut unusable = Vec::new();
        let extra = view.get::<ExtraManifestsConfig>(ExtraManifestsConfig::ID);
        for given in extra.iter().flat_map(|extra| &extra.extra_manifests) {
            match inline(given) {
                Ok(objects) => {
                    plan.put(format!("{}-{}", given.priority, given.name), manifest(objects));
                }
                Err(reason) => unusable.push(format!("{}: {reason}", given.name)),
            }
        }
        if unusable.is_empty() {
            plan
        } else {
            plan.failed(format!("manifests left out: {}", unusable.join("; ")))
        }
    }
}

fn manifest(objects: Vec<Object>) -> Manifest {
    Manifest { items: objects.into_iter().map(|object| SingleManifest { object }).collect() }
}

/// All bootstrap manifests that the configuration asks for.
#[must_use]
pub fn bootstrap(config: &BootstrapManifestsConfig, root: &KubernetesRoot) -> Vec<Rendered> {
    let mut all = rbac::joining(root);
    if config.flannel_enabled {
        all.push(flannel::manifest(config));
    }
    if config.proxy_enabled {
        all.push(proxy::manifest(config));
    }
    if config.core_dns_enabled {
        all.extend(coredns::manifests(config));
    }
    all.push(rbac::kubeconfig(config));
    all.push(rbac::nodes());
    all
}

/// The objects of a manifest that stands in the configuration. One that must be fetched is refused: this machine fetches nothing but images.
fn inline(given: &ExtraManifest) -> Result<Vec<Object>, String> {
    if !given.url.is_empty() {
        return Err("manifests by URL are not supported; give it in line".into());
    }
    let documents = yaml::parse(&given.inline_manifest).map_err(|problem| problem.to_string())?;
    let mut objects = Vec::new();
    for document in documents {
        match document {
            serde_json::Value::Object(object) => objects.push(object),
            serde_json::Value::Null => {}
            _ => return Err("a document is not an object".into()),
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> BootstrapManifestsConfig {
        let pod_cidrs = vec!["10.244.0.0/16".to_owned()];
        BootstrapManifestsConfig {
            server: "https://127.0.0.1:7445".into(),
            cluster_domain: "cluster.local".into(),
            proxy_enabled: true,
            proxy_image: "registry.k8s.io/kube-proxy:v1.36.3".into(),
            proxy_args: proxy::arguments(&pod_cidrs, "nftables", &std::collections::BTreeMap::new()),
            core_dns_enabled: true,
            core_dns_image: "registry.k8s.io/coredns/coredns:v1.14.7".into(),
            dns_service_ip: "10.96.0.10".into(),
            flannel_enabled: true,
            flannel_image: "ghcr.io/siderolabs/flannel:v0.26.7".into(),
            flannel_kube_service_host: "127.0.0.1".into(),
            flannel_kube_service_port: "7445".into(),
            flannel_backend_type: "vxlan".into(),
            flannel_backend_port: 4789,
            pod_cidrs,
            ..BootstrapManifestsConfig::default()
        }
    }

    #[test]
    fn manifests_are_rendered_as_in_the_golden_file() {
        let root = KubernetesRoot {
            bootstrap_token_id: "abcdef".into(),
            bootstrap_token_secret: "0123456789abcdef".into(),
            ..KubernetesRoot::default()
        };
        let all: Vec<(&str, Vec<Object>)> = bootstrap(&config(), &root);
        let text = serde_json::to_string_pretty(&all).expect("JSON") + "\n";
        crate::golden::check("manifests.json", &text);
    }

    #[test]
    fn what_is_off_is_left_out() {
        let ids = |config: &BootstrapManifestsConfig| -> Vec<&str> {
            bootstrap(config, &KubernetesRoot::default()).into_iter().map(|(id, _)| id).collect()
        };
        let off = BootstrapManifestsConfig {
            flannel_enabled: false,
            proxy_enabled: false,
            core_dns_enabled: false,
            ..config()
        };
        assert!(ids(&config()).contains(&"05-flannel"));
        assert!(!ids(&off).iter().any(|id| ["05-flannel", "10-kube-proxy", "11-core-dns"].contains(id)));
    }

    #[test]
    fn inline_manifests_may_hold_several_documents() {
        let given = ExtraManifest {
            inline_manifest: "kind: A\n---\n---\nkind: B\n".into(),
            ..ExtraManifest::default()
        };
        assert_eq!(inline(&given).map(|objects| objects.len()), Ok(2));
        assert!(inline(&ExtraManifest { url: "https://x".into(), ..ExtraManifest::default() }).is_err());
    }
}
