//! Components of the Kubernetes control plane.

use std::collections::BTreeMap;

use serde_json::{Map as JsonMap, Value as Json};

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
    /// Resource requests and limits.
    pub resources: JsonMap<String, Json>,
    /// Authorizers besides Node and RBAC.
    pub authorizers: Vec<Authorizer>,
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
    pub(super) fn read(cluster: Reader<'_>) -> Self {
        let reader = cluster.get("apiServer");
        let port = cluster.path(&["controlPlane", "localAPIServerPort"]).positive();
        Self {
            image: image(reader, defaults::API_SERVER_IMAGE),
            port: port.unwrap_or(defaults::API_SERVER_PORT),
            extra_args: reader.get("extraArgs").arguments(),
            extra_volumes: volumes(reader),
            env: reader.get("env").text_map(),
            cert_sans: reader.get("certSANs").texts(),
            admission: reader.get("admissionControl").list(|plugin| {
                Some(AdmissionPlugin {
                    name: plugin.get("name").string(),
                    configuration: plugin.get("configuration").object(),
                })
            }),
            audit_policy: reader.get("auditPolicy").object(),
            resources: reader.get("resources").object(),
            authorizers: reader.get("authorizationConfig").list(|authorizer| {
                Some(Authorizer {
                    kind: authorizer.get("type").string(),
                    name: authorizer.get("name").string(),
                    webhook: authorizer.get("webhook").object(),
                })
            }),
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
    pub(super) fn read(reader: Reader<'_>) -> Self {
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
    pub(super) fn read(reader: Reader<'_>) -> Self {
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
}

impl Proxy {
    pub(super) fn read(reader: Reader<'_>) -> Self {
        Self {
            enabled: !reader.get("disabled").is(),
            image: image(reader, defaults::PROXY_IMAGE),
            mode: reader.get("mode").string_or("nftables"),
            extra_args: reader.get("extraArgs").arguments(),
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
    pub(super) fn read(reader: Reader<'_>) -> Self {
        Self {
            enabled: !reader.get("disabled").is(),
            image: reader.get("image").string_or(defaults::CORE_DNS_IMAGE),
        }
    }
}
