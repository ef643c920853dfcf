//! Kinds and the resources that serve them. What bootstrap needs is known without asking the server.

use crate::error::Error;
use crate::object;
use crate::{Client, Object};

/// A resource of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiResource {
    /// Group; empty for the core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind of its objects.
    pub kind: String,
    /// Its name in paths.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// group/version, kind, plural, namespaced.
const KNOWN: [(&str, &str, &str, bool); 31] = [
    ("v1", "ConfigMap", "configmaps", true),
    ("v1", "Endpoints", "endpoints", true),
    ("v1", "Event", "events", true),
    ("v1", "LimitRange", "limitranges", true),
    ("v1", "Namespace", "namespaces", false),
    ("v1", "Node", "nodes", false),
    ("v1", "PersistentVolume", "persistentvolumes", false),
    ("v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("v1", "Pod", "pods", true),
    ("v1", "ResourceQuota", "resourcequotas", true),
    ("v1", "Secret", "secrets", true),
    ("v1", "Service", "services", true),
    ("v1", "ServiceAccount", "serviceaccounts", true),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", false),
    ("apiregistration.k8s.io/v1", "APIService", "apiservices", false),
    ("apps/v1", "DaemonSet", "daemonsets", true),
    ("apps/v1", "Deployment", "deployments", true),
    ("apps/v1", "ReplicaSet", "replicasets", true),
    ("apps/v1", "StatefulSet", "statefulsets", true),
    ("batch/v1", "CronJob", "cronjobs", true),
    ("batch/v1", "Job", "jobs", true),
    ("certificates.k8s.io/v1", "CertificateSigningRequest", "certificatesigningrequests", false),
    ("coordination.k8s.io/v1", "Lease", "leases", true),
    ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", true),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", true),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", false),
    ("rbac.authorization.k8s.io/v1", "Role", "roles", true),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", true),
    ("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", false),
];

impl ApiResource {
    /// A resource by all its parts.
    #[must_use]
    pub fn new(api_version: &str, kind: &str, plural: &str, namespaced: bool) -> Self {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            namespaced,
        }
    }

    /// A resource that every cluster has.
    #[must_use]
    pub fn known(api_version: &str, kind: &str) -> Option<Self> {
        let row = KNOWN.iter().find(|row| row.0 == api_version && row.1 == kind)?;
        Some(Self::new(row.0, row.1, row.2, row.3))
    }

    /// Nodes.
    #[must_use]
    pub fn nodes() -> Self {
        Self::new("v1", "Node", "nodes", false)
    }

    /// Pods.
    #[must_use]
    pub fn pods() -> Self {
        Self::new("v1", "Pod", "pods", true)
    }

    /// As objects have it: `group/version`, or the version alone for the core.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Path of the collection.
    #[must_use]
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = group_path(&self.api_version());
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{}/{}", escape(namespace), self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }
}

pub(crate) fn group_path(api_version: &str) -> String {
    if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") }
}

/// Percent-encodes everything that has a meaning in a path or a query.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

impl Client {
    /// The resource that serves an object: known, or asked from the server.
    ///
    /// # Errors
    /// When no resource serves the kind, or the server does not answer.
    pub async fn resource_of(&self, object: &Object) -> Result<ApiResource, Error> {
        let (api_version, kind) = (object::api_version(object), object::kind(object));
        if api_version.is_empty() || kind.is_empty() {
            return Err(Error::Object("apiVersion or kind is missing".to_owned()));
        }
        match ApiResource::known(api_version, kind) {
            Some(resource) => Ok(resource),
            None => self.discover(api_version, kind).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_group_and_namespace() {
        let pods = ApiResource::pods();
        assert_eq!(pods.path(Some("kube-system")), "/api/v1/namespaces/kube-system/pods");
        assert_eq!(pods.path(None), "/api/v1/pods");
        let roles = ApiResource::known("rbac.authorization.k8s.io/v1", "ClusterRole").unwrap();
        assert_eq!(roles.path(Some("ignored")), "/apis/rbac.authorization.k8s.io/v1/clusterroles");
        assert_eq!(roles.api_version(), "rbac.authorization.k8s.io/v1");
        assert_eq!(ApiResource::known("v2", "Pod"), None);
    }

    #[test]
    fn names_cannot_leave_their_segment() {
        assert_eq!(escape("a/../b?c d"), "a%2F..%2Fb%3Fc%20d");
    }
}
