//! The machine.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use corten_base::Secret;
use serde_json::{Map as JsonMap, Value as Json};

use super::{Cri, Documents, Network, Registries};
use crate::defaults;
use crate::reader::Reader;

/// Role in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MachineType {
    /// Not known yet.
    #[default]
    Unknown,
    /// Runs the control plane.
    ControlPlane,
    /// Runs pods only.
    Worker,
}

impl MachineType {
    fn read(reader: Reader<'_>) -> Self {
        match reader.text() {
            Some("controlplane" | "init") => Self::ControlPlane,
            Some("worker" | "join") => Self::Worker,
            _ => Self::Unknown,
        }
    }

    /// As configurations write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::ControlPlane => "controlplane",
            Self::Worker => "worker",
        }
    }
}

/// A certificate with its key, both as PEM; either may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Certificate.
    pub crt: Vec<u8>,
    /// Private key.
    pub key: Secret<Vec<u8>>,
}

impl Pair {
    /// The pair of `v1alpha1`, base64 of PEM.
    pub(crate) fn read(reader: Reader<'_>) -> Option<Self> {
        Self { crt: reader.get("crt").base64(), key: Secret::new(reader.get("key").base64()) }.filled()
    }

    /// The pair of a document, PEM as it is.
    pub(super) fn read_plain(reader: Reader<'_>) -> Option<Self> {
        let text = |key: &str| reader.get(key).string().into_bytes();
        Self { crt: text("cert"), key: Secret::new(text("key")) }.filled()
    }

    fn filled(self) -> Option<Self> {
        (!self.crt.is_empty() || self.has_key()).then_some(self)
    }

    /// Whether there is a key.
    #[must_use]
    pub const fn has_key(&self) -> bool {
        !self.key.reveal().is_empty()
    }
}

pub(super) fn certificates(reader: Reader<'_>) -> Vec<Vec<u8>> {
    reader.list(|item| Some(item.get("crt").base64()).filter(|pem| !pem.is_empty()))
}

/// The machine: identity, network, storage and system settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// Role in the cluster.
    pub kind: MachineType,
    /// Token for trustd.
    pub token: Secret<String>,
    /// Talos CA; the key is there on control planes.
    pub ca: Option<Pair>,
    /// More Talos CAs to trust, as PEM.
    pub accepted_cas: Vec<Vec<u8>>,
    /// More names and addresses for the API certificate.
    pub cert_sans: Vec<String>,
    /// The kubelet.
    pub kubelet: Kubelet,
    /// Static pods as Kubernetes objects.
    pub pods: Vec<Json>,
    /// Network.
    pub network: Network,
    /// Where and what to install; nothing when the configuration has no install section.
    pub install: Option<Install>,
    /// Files to write.
    pub files: Vec<File>,
    /// Clock synchronization.
    pub time: Time,
    /// Kernel parameters, dotted names.
    pub sysctls: BTreeMap<String, String>,
    /// Values below /sys.
    pub sysfs: BTreeMap<String, String>,
    /// Image registries.
    pub registries: Registries,
    /// The container runtime.
    pub cri: Cri,
    /// Features that can be switched.
    pub features: Features,
    /// Kernel modules to load.
    pub kernel_modules: Vec<KernelModule>,
    /// Labels of the node.
    pub node_labels: BTreeMap<String, String>,
    /// Annotations of the node.
    pub node_annotations: BTreeMap<String, String>,
    /// Taints of the node: key to `value:effect` or `effect`.
    pub node_taints: BTreeMap<String, String>,
    /// Whether the label and the taint of control planes stand among the others. Otherwise a control plane has them
    /// anyway.
    pub node_is_explicit: bool,
    /// Whether kube-controller-manager does not run here.
    pub controller_manager_disabled: bool,
    /// Whether kube-scheduler does not run here.
    pub scheduler_disabled: bool,
}

impl Machine {
    pub(super) fn read(machine: Reader<'_>, documents: &Documents<'_>) -> Self {
        let maps = |key: &str, kind: &str, field: &str| {
            let mut map = machine.get(key).text_map();
            map.extend(documents.one(kind).get(field).text_map());
            map
        };
        let is_off = |kind: &str, component: &str| {
            let legacy = || machine.path(&["controlPlane", component, "disabled"]).is();
            documents.one(kind).get("enabled").bool().map_or_else(legacy, |enabled| !enabled)
        };
        Self {
            kind: MachineType::read(machine.get("type")),
            token: machine.get("token").secret(),
            ca: Pair::read(machine.get("ca")),
            accepted_cas: certificates(machine.get("acceptedCAs")),
            cert_sans: machine.get("certSANs").texts(),
            kubelet: Kubelet::read(machine.get("kubelet"), documents),
            pods: pods(machine.get("pods"), documents),
            network: Network::read(machine, documents),
            install: Install::read(machine.get("install")),
            files: machine.get("files").list(|file| Some(File::read(file))),
            time: Time::read(machine.get("time"), documents.one("TimeSyncConfig")),
            sysctls: maps("sysctls", "SysctlConfig", "params"),
            sysfs: maps("sysfs", "SysfsConfig", "params"),
            registries: Registries::read(machine.get("registries"), documents),
            cri: Cri::read(machine, documents),
            features: Features::read(machine.get("features"), documents),
            kernel_modules: KernelModule::read_all(machine.path(&["kernel", "modules"]), documents),
            node_labels: maps("nodeLabels", "KubeNodeConfig", "labels"),
            node_annotations: maps("nodeAnnotations", "KubeNodeConfig", "annotations"),
            node_taints: maps("nodeTaints", "KubeNodeConfig", "taints"),
            node_is_explicit: documents.one("KubeNodeConfig").exists(),
            controller_manager_disabled: is_off("KubeControllerManagerConfig", "controllerManager"),
            scheduler_disabled: is_off("KubeSchedulerConfig", "scheduler"),
        }
    }

    /// Every Talos CA that is trusted, the issuing one first, as one PEM text.
    #[must_use]
    pub fn ca_bundle(&self) -> Vec<u8> {
        bundle(self.ca.as_ref(), &self.accepted_cas)
    }
}

/// Static pods: of documents, then those of `v1alpha1`.
fn pods(legacy: Reader<'_>, documents: &Documents<'_>) -> Vec<Json> {
    let of_documents = documents.all("KubeStaticPodConfig").map(|(_, reader)| reader.get("pod"));
    of_documents.chain(legacy.items()).filter_map(Reader::json).collect()
}

pub(super) fn bundle(ca: Option<&Pair>, accepted: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for pem in ca.map(|ca| &ca.crt).into_iter().chain(accepted) {
        out.extend_from_slice(pem);
        if !out.is_empty() && !out.ends_with(b"\n") {
            out.push(b'\n');
        }
    }
    out
}

/// The kubelet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kubelet {
    /// Image.
    pub image: String,
    /// DNS servers for pods; when empty, the tenth address of each service network.
    pub cluster_dns: Vec<IpAddr>,
    /// More arguments; several values repeat the argument.
    pub extra_args: BTreeMap<String, Vec<String>>,
    /// More mounts.
    pub extra_mounts: Vec<ExtraMount>,
    /// More fields of the KubeletConfiguration.
    pub extra_config: JsonMap<String, Json>,
    /// CredentialProviderConfig.
    pub credential_provider_config: JsonMap<String, Json>,
    /// Whether pods run under the runtime's seccomp profile.
    pub default_runtime_seccomp_profile: bool,
    /// Whether the node is named by its full name.
    pub register_with_fqdn: bool,
    /// Networks that node addresses must be in; a leading `!` excludes.
    pub node_ip_valid_subnets: Vec<String>,
    /// Whether the kubelet runs without the cluster.
    pub skip_node_registration: bool,
    /// Whether the manifests directory is not read.
    pub disable_manifests_directory: bool,
}

impl Kubelet {
    fn read(legacy: Reader<'_>, documents: &Documents<'_>) -> Self {
        let document = documents.one("KubeletConfig");
        let reader = document.or(legacy);
        let node = documents.section("KubeNodeConfig", legacy);
        let provider = documents.one("KubeCredentialProviderConfig").get("configuration");
        Self {
            image: reader.get("image").string_or(&defaults::kubernetes_image(defaults::KUBELET_IMAGE)),
            cluster_dns: reader.get("clusterDNS").list(Reader::ip),
            extra_args: reader.get("extraArgs").arguments(),
            extra_mounts: reader.get("extraMounts").list(|mount| Some(ExtraMount::read(mount))),
            extra_config: document.get("config").or(reader.get("extraConfig")).object(),
            credential_provider_config: provider.or(legacy.get("credentialProviderConfig")).object(),
            default_runtime_seccomp_profile: reader.get("defaultRuntimeSeccompProfileEnabled").is(),
            register_with_fqdn: node.get("registerWithFQDN").is(),
            node_ip_valid_subnets: node.path(&["nodeIP", "validSubnets"]).texts(),
            skip_node_registration: node.get("skipNodeRegistration").is(),
            disable_manifests_directory: document.exists() || reader.get("disableManifestsDirectory").is(),
        }
    }
}

/// A mount in the form of the OCI runtime specification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraMount {
    /// Where it appears.
    pub destination: String,
    /// Type of file system.
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Mount options.
    pub options: Vec<String>,
}

impl ExtraMount {
    fn read(reader: Reader<'_>) -> Self {
        Self {
            destination: reader.get("destination").string(),
            kind: reader.get("type").string(),
            source: reader.get("source").string(),
            options: reader.get("options").texts(),
        }
    }
}

/// Installation to disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Install {
    /// Device; empty when a selector chooses.
    pub disk: String,
}

impl Install {
    fn read(reader: Reader<'_>) -> Option<Self> {
        reader.exists().then(|| Self { disk: reader.get("disk").string() })
    }
}

/// What to do with a file that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileOp {
    /// Make it new; it must not exist.
    #[default]
    Create,
    /// Add to its end.
    Append,
    /// Write it anew; it must exist.
    Overwrite,
}

/// A file to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Content.
    pub content: String,
    /// Permissions.
    pub permissions: u32,
    /// Where.
    pub path: String,
    /// What to do if it exists.
    pub op: FileOp,
}

impl File {
    fn read(reader: Reader<'_>) -> Self {
        Self {
            content: reader.get("content").string(),
            permissions: reader.get("permissions").positive().unwrap_or(0o644),
            path: reader.get("path").string(),
            op: match reader.get("op").text() {
                Some("append") => FileOp::Append,
                Some("overwrite") => FileOp::Overwrite,
                _ => FileOp::Create,
            },
        }
    }
}

/// Clock synchronization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time {
    /// Whether it is on.
    pub enabled: bool,
    /// Servers; when empty, those of other layers or the default.
    pub servers: Vec<String>,
    /// How long booting waits; nothing means for ever.
    pub boot_timeout: Option<Duration>,
}

impl Default for Time {
    fn default() -> Self {
        Self { enabled: true, servers: Vec::new(), boot_timeout: None }
    }
}

impl Time {
    fn read(legacy: Reader<'_>, document: Reader<'_>) -> Self {
        let servers = document.path(&["ntp", "servers"]).texts();
        let timeout =
            |reader: Reader<'_>| reader.get("bootTimeout").duration().filter(|wait| !wait.is_zero());
        Self {
            enabled: document.get("enabled").bool().unwrap_or(!legacy.get("disabled").is()),
            servers: if servers.is_empty() { legacy.get("servers").texts() } else { servers },
            boot_timeout: timeout(document).or_else(|| timeout(legacy)),
        }
    }
}

/// Features that can be switched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Whether EPHEMERAL is mounted with project quotas.
    pub disk_quota: bool,
    /// Port of the load balancer for the Kubernetes API; nothing when it is off.
    pub kube_prism_port: Option<u16>,
    /// Name that the kubelet asks for and expects behind it; empty for the address.
    pub kube_prism_server_name: String,
    /// `v1` or `v2`.
    pub node_address_sort_algorithm: String,
}

impl Features {
    fn read(reader: Reader<'_>, documents: &Documents<'_>) -> Self {
        let document = documents.one("KubePrismConfig");
        let prism = document.or(reader.get("kubePrism"));
        let port = || prism.get("port").positive().unwrap_or(defaults::KUBE_PRISM_PORT);
        Self {
            disk_quota: reader.get("diskQuotaSupport").is(),
            kube_prism_port: (document.exists() || prism.get("enabled").is()).then(port),
            kube_prism_server_name: document.get("tlsServerName").string(),
            node_address_sort_algorithm: reader.get("nodeAddressSortAlgorithm").string_or("v1"),
        }
    }
}

/// A kernel module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelModule {
    /// Name.
    pub name: String,
    /// Parameters as `key=value`.
    pub parameters: Vec<String>,
}

impl KernelModule {
    fn read_all(legacy: Reader<'_>, documents: &Documents<'_>) -> Vec<Self> {
        let read = |reader: Reader<'_>| Self {
            name: reader.get("name").string(),
            parameters: reader.get("parameters").texts(),
        };
        let mut modules: Vec<Self> =
            documents.all("KernelModuleConfig").map(|(_, reader)| read(reader)).collect();
        for module in legacy.items().map(read) {
            if !modules.iter().any(|known| known.name == module.name) {
                modules.push(module);
            }
        }
        modules
    }
}
