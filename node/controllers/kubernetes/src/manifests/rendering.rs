//! Renders the bootstrap manifests and takes in the user's.
//!
//!     BootstrapManifestsConfig, KubernetesRoot ─┐
//!     ExtraManifestsConfig, FetchedManifests ───┴──▶ Manifests (ids sort in the order of application)

use corten_resource::{Object, Plan, Transform, View, controller};
use corten_resources::kubernetes::{
    BootstrapManifestsConfig, ExtraManifestsConfig, FetchedManifest, Manifest, SingleManifest,
};
use corten_resources::secrets::KubernetesRoot;

use super::{Rendered, coredns, fetching, flannel, proxy, rbac};

/// See the module.
pub struct ManifestRendering;

controller!(ManifestRendering, "k8s.Manifest",
    inputs: [
        strong BootstrapManifestsConfig, strong KubernetesRoot, strong ExtraManifestsConfig, weak FetchedManifest,
    ],
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
        let (mut missing, mut unusable) = (Vec::new(), Vec::new());
        let extra = view.get::<ExtraManifestsConfig>(ExtraManifestsConfig::ID);
        for given in extra.iter().flat_map(|extra| &extra.extra_manifests) {
            let id = format!("{}-{}", given.priority, given.name);
            if !given.url.is_empty() {
                match view.get::<FetchedManifest>(&fetching::id(given)) {
                    Some(fetched) => {
                        plan.put(id, Manifest { items: fetched.items.clone() });
                    }
                    None => missing.push(given.name.as_str()),
                }
                continue;
            }
            match fetching::objects(&given.inline_manifest) {
                Ok(objects) => {
                    plan.put(id, manifest(objects));
                }
                Err(error) => {
                    unusable.push(format!("{}: {}", given.name, corten_base::chain(error.as_ref())))
                }
            }
        }
        if !unusable.is_empty() {
            plan.failed(format!("manifests left out: {}", unusable.join("; ")))
        } else if !missing.is_empty() {
            plan.waiting(format!("manifests to be fetched: {}", missing.join(", ")))
        } else {
            plan
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
    fn manifests_of_the_user_come_in_line_or_fetched() {
        use corten_resource::testing::resource;
        use corten_resources::kubernetes::ExtraManifest;

        let inline = ExtraManifest {
            name: "inline".into(),
            priority: "99".into(),
            inline_manifest: "kind: A\n---\n---\nkind: B\n".into(),
            ..ExtraManifest::default()
        };
        let by_url = ExtraManifest {
            name: "fetched".into(),
            priority: "05".into(),
            url: "https://x".into(),
            ..ExtraManifest::default()
        };
        let id = fetching::id(&by_url);
        let given = |fetched: bool| {
            let extra = ExtraManifestsConfig { extra_manifests: vec![by_url.clone(), inline.clone()] };
            let items = vec![SingleManifest::default()];
            let mut all = vec![
                resource(BootstrapManifestsConfig::ID, config()),
                resource(KubernetesRoot::ID, KubernetesRoot::default()),
                resource(ExtraManifestsConfig::ID, extra),
            ];
            all.extend(fetched.then(|| resource(&id, FetchedManifest { url: String::new(), items })));
            let plan = ManifestRendering.plan(&View::of(all, std::time::SystemTime::UNIX_EPOCH));
            let manifests = plan.outputs::<Manifest>();
            let users =
                manifests.iter().filter(|one| one.id().ends_with("inline") || one.id().ends_with("fetched"));
            users.map(|one| (one.id().to_owned(), one.items.len())).collect::<Vec<_>>()
        };
        assert_eq!(given(false), [("99-inline".to_owned(), 2)]);
        assert_eq!(given(true), [("05-fetched".to_owned(), 1), ("99-inline".to_owned(), 2)]);
    }
}
