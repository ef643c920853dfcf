//! Components of the Kubernetes control plane.

use std::collections::BTreeMap;

use serde_json::{Map as JsonMap, Value as Json};

use super::Documents;
use crate::defaults;
use crate::reader::Reader;

/// A volume of a static pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostVolume {
    /// Path on the machine.
    pub host_path: String,
    /// Path in the pod.
    pub mount_path: String,
    /// Whether it is read only.
    pub read_only: bool,
}

fn volumes(reader: Reader<'_>) -> Vec<HostVolume> {
    reader.get("extraVolumes").list(|volume| {
        Some(HostVolume {
            host_path: volume.get("hostPath").string(),
            mount_path: volume.get("mountPath").string(),
            read_only: volume.get("readonly").is(),
        })
    })
}

fn image(reader: Reader<'_>, name: &str) -> String {
    reader.get("image").string_or(&defaults::kubernetes_image(name))
}

/// kube-apiserver.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApiServer {
    /// Image.
    pub image: String,
    /// Port on each control plane.
    pub port: u16,
    /// More arguments; several values repeat or join, by argument.
    pub extra_args: BTreeMap<String, Vec<String>>,
    /// More volumes.
    pub extra_volumes: Vec<HostVolume>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// More names and addresses for the certificate.
    pub cert_sans: Vec<String>,
    /// Admission plug-ins.
    pub admission: Vec<AdmissionPlugin>,
    /// Audit policy; when empty, metadata of everything.
    pub audit_policy: JsonMap<String, Json>,
    /// Whom it believes, without `apiVersion` and `kind`; when empty, nobody is anonymous but who asks for its health.
    pub authentication: JsonMap<String, Json>,
    /// Resource requests and limits.
    pub resources: JsonMap<String, Json>,
    /// Authorizers. Those of `v1alpha1` stand besides Node and RBAC.
    pub authorizers: Vec<Authorizer>,
    /// Whether the authorizers are all there are.
    pub only_given_authorizers: bool,
    /// Whether it has startup probes.
    pub startup_probes: bool,
}

/// An admission plug-in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdmissionPlugin {
    /// Name.
    pub name: String,
    /// Configuration.
    pub configuration: JsonMap<String, Json>,
}

/// An authorizer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Authorizer {
    /// `Node`, `RBAC` or `Webhook`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Settings of a webhook.
    pub webhook: JsonMap<String, Json>,
}

impl ApiServer {
    pub(super) fn read(cluster: Reader<'_>, documents: &Documents<'_>) -> Self {
        let legacy = cluster.get("apiServer");
        let reader = documents.section("KubeAPIServerConfig", legacy);
        let port = reader.get("apiPort").or(cluster.path(&["controlPlane", "localAPIServerPort"]));
        let policy =
            documents.one("KubeAuditPolicyConfig").get("configuration").or(legacy.get("auditPolicy"));
        Self {
            image: image(reader, defaults::API_SERVER_IMAGE),
            port: port.positive().unwrap_or(defaults::API_SERVER_PORT),
            extra_args: reader.get("extraArgs").arguments(),
            extra_volumes: volumes(reader),
            env: reader.get("env").text_map(),
            cert_sans: reader.get("certExtraSANs").or(reader.get("certSANs")).texts(),
            admission: documents
                .elements("KubeAdmissionControlConfig", legacy.get("admissionControl"))
                .map(AdmissionPlugin::read)
                .collect(),
            audit_policy: policy.object(),
            authentication: documents.one("KubeAuthenticationConfig").get("configuration").object(),
            resources: reader.get("resources").object(),
            authorizers: documents
                .elements("KubeAuthorizerConfig", legacy.get("authorizationConfig"))
                .map(Authorizer::read)
                .collect(),
            only_given_authorizers: documents.one("KubeAuthorizerConfig").exists(),
            startup_probes: reader.get("startupProbes").bool().unwrap_or(true),
        }
    }
}

impl AdmissionPlugin {
    fn read(reader: Reader<'_>) -> Self {
        Self { name: reader.get("name").string(), configuration: reader.get("configuration").object() }
    }
}

impl Authorizer {
    fn read(reader: Reader<'_>) -> Self {
        Self {
            kind: reader.get("type").string(),
            name: reader.get("name").string(),
            webhook: reader.get("webhook").object(),
        }
    }
}

/// kube-controller-manager.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ControllerManager {
    /// Image.
    pub image: String,
    /// More arguments.
    pub extra_args: BTreeMap<String, Vec<String>>,
    /// More volumes.
    pub extra_volumes: Vec<HostVolume>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Resource requests and limits.
    pub resources: JsonMap<String, Json>,
}

impl ControllerManager {
    pub(super) fn read(legacy: Reader<'_>, documents: &Documents<'_>) -> Self {
        let reader = documents.section("KubeControllerManagerConfig", legacy);
        Self {
            image: image(reader, defaults::CONTROLLER_MANAGER_IMAGE),
            extra_args: reader.get("extraArgs").arguments(),
            extra_volumes: volumes(reader),
            env: reader.get("env").text_map(),
            resources: reader.get("resources").object(),
        }
    }
}

/// kube-scheduler.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scheduler {
    /// Image.
    pub image: String,
    /// More arguments.
    pub extra_args: BTreeMap<String, Vec<String>>,
    /// More volumes.
    pub extra_volumes: Vec<HostVolume>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Resource requests and limits.
    pub resources: JsonMap<String, Json>,
    /// KubeSchedulerConfiguration.
    pub config: JsonMap<String, Json>,
}

impl Scheduler {
    pub(super) fn read(legacy: Reader<'_>, documents: &Documents<'_>) -> Self {
        let reader = documents.section("KubeSchedulerConfig", legacy);
        Self {
            image: image(reader, defaults::SCHEDULER_IMAGE),
            extra_args: reader.get("extraArgs").arguments(),
            extra_volumes: volumes(reader),
            env: reader.get("env").text_map(),
            resources: reader.get("resources").object(),
            config: reader.get("config").object(),
        }
    }
}

/// kube-proxy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proxy {
    /// Whether it runs.
    pub enabled: bool,
    /// Image.
    pub image: String,
    /// Mode.
    pub mode: String,
    /// More arguments.
    pub extra_args: BTreeMap<String, Vec<String>>,
    /// Whether it is configured by a file instead of arguments.
    pub uses_file: bool,
    /// More fields of that file.
    pub config: JsonMap<String, Json>,
    /// Resource requests and limits.
    pub resources: JsonMap<String, Json>,
}

/// Whether something runs: `enabled` in a document, the opposite of `disabled` in `v1alpha1`.
fn is_enabled(reader: Reader<'_>) -> bool {
    reader.get("enabled").bool().unwrap_or(!reader.get("disabled").is())
}

impl Proxy {
    pub(super) fn read(legacy: Reader<'_>, documents: &Documents<'_>) -> Self {
        let document = documents.one("KubeProxyConfig");
        let reader = document.or(legacy);
        Self {
            enabled: is_enabled(reader),
            image: image(reader, defaults::PROXY_IMAGE),
            mode: reader.get("mode").string_or("nftables"),
            extra_args: reader.get("extraArgs").arguments(),
            uses_file: document.exists(),
            config: reader.get("config").object(),
            resources: reader.get("resources").object(),
        }
    }
}

/// CoreDNS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CoreDns {
    /// Whether it runs.
    pub enabled: bool,
    /// Image.
    pub image: String,
}

impl CoreDns {
    pub(super) fn read(legacy: Reader<'_>, documents: &Documents<'_>) -> Self {
        let reader = documents.section("KubeCoreDNSConfig", legacy);
        Self { enabled: is_enabled(reader), image: reader.get("image").string_or(defaults::CORE_DNS_IMAGE) }
    }
}

#[cfg(test)]
mod tests;
