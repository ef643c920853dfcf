//! Who may join: the bootstrap token, requests for certificates, and what nodes may do; the in-cluster kubeconfig.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_resource::Object;
use corten_resources::kubernetes::BootstrapManifestsConfig;
use corten_resources::secrets::KubernetesRoot;
use serde_json::json;

use super::{Rendered, Subject, binding, config_map, role};
use crate::control_plane::pods::into_object;

/// Group of machines that hold the bootstrap token.
const BOOTSTRAPPERS: &str = "system:bootstrappers:nodes";

/// Manifests that let kubelets join.
#[must_use]
pub fn joining(root: &KubernetesRoot) -> Vec<Rendered> {
    let approve = "system:certificates.k8s.io:certificatesigningrequests:nodeclient";
    let renew = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient";
    let bootstrappers = [Subject::Group(BOOTSTRAPPERS), Subject::Group("system:nodes")];
    vec![
        ("00-kubelet-bootstrapping-token", vec![token(root)]),
        (
            "01-csr-node-bootstrap",
            vec![binding("system-bootstrap-node-bootstrapper", "system:node-bootstrapper", &bootstrappers)],
        ),
        (
            "01-csr-approver-role-binding",
            vec![binding(
                "system-bootstrap-approve-node-client-csr",
                approve,
                &[Subject::Group(BOOTSTRAPPERS)],
            )],
        ),
        (
            "01-csr-renewal-role-binding",
            vec![binding("system-bootstrap-node-renewal", renew, &[Subject::Group("system:nodes")])],
        ),
    ]
}

fn token(root: &KubernetesRoot) -> Object {
    let encode = |text: &str| STANDARD.encode(text);
    into_object(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": format!("bootstrap-token-{}", root.bootstrap_token_id), "namespace": "kube-system" },
        "type": "bootstrap.kubernetes.io/token",
        "data": {
            "token-id": encode(&root.bootstrap_token_id),
            "token-secret": encode(&root.bootstrap_token_secret),
            "usage-bootstrap-authentication": encode("true"),
            "auth-extra-groups": encode(BOOTSTRAPPERS),
        },
    }))
}

/// What a machine may do to nodes with its kubelet's identity, beyond what Kubernetes grants.
#[must_use]
pub fn nodes() -> Rendered {
    let objects = vec![
        role("system:talos-nodes", &[(&[""], &["nodes"], &["get", "list", "watch"])]),
        binding("system:talos-nodes", "system:talos-nodes", &[Subject::Group("system:nodes")]),
    ];
    ("11-talos-node-rbac-template", objects)
}

/// Kubeconfig for pods that run before the cluster's network does.
#[must_use]
pub fn kubeconfig(config: &BootstrapManifestsConfig) -> Rendered {
    let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "local", "cluster": { "server": config.server, "certificate-authority": format!("{folder}/ca.crt") } }],
        "users": [{ "name": "service-account", "user": { "tokenFile": format!("{folder}/token") } }],
        "contexts": [{ "name": "service-account-context", "context": { "cluster": "local", "user": "service-account" } }],
        "current-context": "service-account-context",
    });
    (
        "11-kube-config-in-cluster",
        vec![config_map("kubeconfig-in-cluster", &json!({ "kubeconfig": kubeconfig.to_string() }))],
    )
}
