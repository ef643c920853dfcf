//! Bootstrap manifests: rendered from the configuration, applied once the API server answers.
//!
//!     BootstrapManifestsConfig, KubernetesRoot ──▶ Manifest (ordered ids) ──▶ API server ──▶ ManifestStatus
//!     ExtraManifestsConfig ──(by URL)──▶ FetchedManifest ──▶ Manifest

pub mod applier;
pub mod coredns;
pub mod fetching;
pub mod flannel;
pub mod intent;
pub mod proxy;
pub mod rbac;
pub mod rendering;

use corten_resource::Object;
use corten_resources::kubernetes::Resources;
use serde_json::{Value, json};

use crate::control_plane::pods::into_object;

/// One rendered manifest: its id and its objects.
pub type Rendered = (&'static str, Vec<Object>);

/// A service account in `kube-system`.
pub(crate) fn service_account(name: &str) -> Object {
    into_object(json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": name, "namespace": "kube-system" },
    }))
}

/// A cluster role binding of a group or of a service account in `kube-system`.
pub(crate) fn binding(name: &str, role: &str, subjects: &[Subject<'_>]) -> Object {
    let subjects: Vec<Value> = subjects.iter().map(Subject::object).collect();
    into_object(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": name },
        "subjects": subjects,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
    }))
}

/// A cluster role; rules are API groups, resources and verbs.
pub(crate) fn role(name: &str, rules: &[(&[&str], &[&str], &[&str])]) -> Object {
    let rule = |(groups, resources, verbs): &(&[&str], &[&str], &[&str])| json!({ "apiGroups": groups, "resources": resources, "verbs": verbs });
    into_object(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": name },
        "rules": rules.iter().map(rule).collect::<Vec<_>>(),
    }))
}

/// Who a binding is for.
pub(crate) enum Subject<'a> {
    /// A group.
    Group(&'a str),
    /// A service account in `kube-system`.
    Account(&'a str),
}

impl Subject<'_> {
    fn object(&self) -> Value {
        match self {
            Self::Group(name) => {
                json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name })
            }
            Self::Account(name) => {
                json!({ "kind": "ServiceAccount", "name": name, "namespace": "kube-system" })
            }
        }
    }
}

/// A config map in `kube-system`.
pub(crate) fn config_map(name: &str, data: &Value) -> Object {
    into_object(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": "kube-system" },
        "data": data,
    }))
}

/// The user's requests and limits over our requests.
pub(crate) fn resources(defaults: &[(&str, &str)], given: &Resources) -> Value {
    let mut requests: std::collections::BTreeMap<&str, &str> = defaults.iter().copied().collect();
    requests.extend(given.requests.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut all = json!({ "requests": requests });
    if !given.limits.is_empty() {
        all["limits"] = json!(given.limits);
    }
    all
}
