//! New configurations of a cluster from its secrets, equal in meaning to those of `talosctl gen config`.
//!
//! ```text
//! options, secrets ─▶ the document without kind ─┬▶ with everything in it          (contracts before 1.14)
//!                                                └▶ small, and a document for each (documents.rs)
//! ```

mod documents;

use std::time::{Duration, SystemTime};

use corten_base::{Rng, Secret};
use corten_pki::Identity;

use crate::node::Node;
use crate::secrets::{key_node, pair_node};
use crate::view::Pair;
use crate::{Contract, SecretsBundle, SecretsError, defaults, values, write};

/// What a new cluster shall be like.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// The form of the configurations.
    pub contract: Contract,
    /// Name of the cluster.
    pub cluster_name: String,
    /// URL of the Kubernetes API.
    pub endpoint: String,
    /// Kubernetes version without `v`.
    pub kubernetes_version: String,
    /// Disk to install to. Since contract 1.14 the configuration installs nothing when it is empty.
    pub install_disk: String,
    /// Installer image.
    pub install_image: String,
    /// DNS domain.
    pub dns_domain: String,
    /// More names and addresses for the certificates of both APIs.
    pub additional_sans: Vec<String>,
    /// Networks of pods.
    pub pod_subnets: Vec<String>,
    /// Networks of services.
    pub service_subnets: Vec<String>,
    /// Registry hosts with the URL of their mirror.
    pub registry_mirrors: Vec<(String, String)>,
    /// Whether members find each other through the discovery service.
    pub discovery: bool,
}

impl GenerateOptions {
    /// The usual options: the newest form that machines of ours read, and the installer image with the version of the
    /// running software.
    #[must_use]
    pub fn new(cluster_name: impl Into<String>, endpoint: impl Into<String>) -> Self {
        Self {
            contract: Contract::OURS,
            cluster_name: cluster_name.into(),
            endpoint: endpoint.into(),
            kubernetes_version: defaults::KUBERNETES_VERSION.to_owned(),
            install_disk: defaults::INSTALL_DISK.to_owned(),
            install_image: format!("{}:{}", defaults::INSTALLER_IMAGE, corten_base::version::TAG),
            dns_domain: defaults::DNS_DOMAIN.to_owned(),
            additional_sans: Vec::new(),
            pod_subnets: vec![defaults::POD_SUBNET.to_owned()],
            service_subnets: vec![defaults::SERVICE_SUBNET.to_owned()],
            registry_mirrors: Vec::new(),
            discovery: true,
        }
    }

    fn image(&self, name: &str) -> Node {
        Node::string(format!("{name}:v{}", self.kubernetes_version))
    }
}

/// New configurations, as texts.
#[derive(Clone, Debug)]
pub struct Generated {
    /// For control planes.
    pub controlplane: Secret<String>,
    /// For workers.
    pub worker: Secret<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    ControlPlane,
    Worker,
}

/// Writes the configurations of a cluster.
#[must_use]
pub fn generate(options: &GenerateOptions, secrets: &SecretsBundle) -> Generated {
    let text = |role| Secret::new(write::documents(&documents(options, secrets, role)));
    Generated { controlplane: text(Role::ControlPlane), worker: text(Role::Worker) }
}

fn documents(options: &GenerateOptions, secrets: &SecretsBundle, role: Role) -> Vec<Node> {
    let contract = options.contract;
    let mut documents = vec![Node::map([
        ("version", Node::string("v1alpha1")),
        ("debug", Node::bool(false)),
        ("persist", Node::bool(true)),
        ("machine", machine(options, secrets, role)),
        ("cluster", cluster(options, secrets, role)),
    ])];
    if contract.has_kubernetes_documents() {
        documents.extend(documents::of_machine(options, secrets));
    }
    if contract.has_hostname_document() {
        documents.extend(options.registry_mirrors.iter().map(|(host, url)| {
            let endpoints = Node::list([Node::map([("url", Node::string(url.as_str()))])]);
            let fields = [("name", Node::string(host.as_str())), ("endpoints", endpoints)];
            document("RegistryMirrorConfig", fields)
        }));
        documents.push(document("HostnameConfig", [("auto", Node::string("stable"))]));
    }
    if contract.has_kubernetes_documents() {
        documents.extend(documents::of_kubernetes(options, secrets, role));
    }
    documents
}

fn document<const N: usize>(kind: &str, fields: [(&'static str, Node); N]) -> Node {
    let header = [("apiVersion", Node::string("v1alpha1")), ("kind", Node::string(kind))];
    Node::map(header.into_iter().chain(fields))
}

fn texts(values: &[String]) -> Node {
    Node::list(values.iter().map(|value| Node::string(value.as_str())))
}

/// The pair for a control plane, the certificate alone for a worker.
fn pair_for(pair: &Pair, role: Role) -> Node {
    match role {
        Role::ControlPlane => pair_node(pair),
        Role::Worker => pair_node(&Pair { crt: pair.crt.clone(), key: Secret::default() }),
    }
}

fn machine(options: &GenerateOptions, secrets: &SecretsBundle, role: Role) -> Node {
    let kind = match role {
        Role::ControlPlane => "controlplane",
        Role::Worker => "worker",
    };
    let mut machine = vec![
        ("type", Node::string(kind)),
        ("token", Node::string(secrets.trustd_token.reveal().as_str())),
        ("ca", pair_for(&secrets.talos, role)),
        ("certSANs", texts(&options.additional_sans)),
        ("features", Node::map(features(options.contract))),
    ];
    if !options.contract.has_kubernetes_documents() {
        machine.extend(machine_before_documents(options, role));
    }
    Node::map(machine)
}

/// What of the machine has a document of its own since 1.14.
fn machine_before_documents(options: &GenerateOptions, role: Role) -> Vec<(&'static str, Node)> {
    let contract = options.contract;
    let kubelet = [
        ("image", options.image(defaults::KUBELET_IMAGE)),
        ("defaultRuntimeSeccompProfileEnabled", Node::bool(true)),
        ("disableManifestsDirectory", Node::bool(true)),
    ];
    let mut install = vec![
        ("disk", Node::string(options.install_disk.as_str())),
        ("image", Node::string(options.install_image.as_str())),
        ("wipe", Node::bool(false)),
    ];
    if contract.grub_uses_uki_cmdline() {
        install.push(("grubUseUKICmdline", Node::bool(true)));
    }
    let mut machine = vec![("kubelet", Node::map(kubelet)), ("install", Node::map(install))];
    if !contract.leaves_out_empty_network() {
        machine.push(("network", Node::map::<&str>([])));
    }
    if !contract.has_hostname_document() && !options.registry_mirrors.is_empty() {
        let mirrors = options.registry_mirrors.iter().map(|(host, url)| {
            let endpoints = Node::list([Node::string(url.as_str())]);
            (host.as_str(), Node::map([("endpoints", endpoints)]))
        });
        machine.push(("registries", Node::map([("mirrors", Node::map(mirrors))])));
    }
    if role == Role::ControlPlane && contract.excludes_control_planes() {
        machine.push(("nodeLabels", Node::map([(EXCLUDED_FROM_BALANCERS, Node::string(""))])));
    }
    machine
}

/// Label that keeps a node out of load balancers.
const EXCLUDED_FROM_BALANCERS: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

fn features(contract: Contract) -> Vec<(&'static str, Node)> {
    let mut features = Vec::new();
    if !contract.leaves_out_the_obvious() {
        features.extend([("rbac", Node::bool(true)), ("apidCheckExtKeyUsage", Node::bool(true))]);
    }
    if !contract.has_hostname_document() {
        features.push(("stableHostname", Node::bool(true)));
    }
    if contract.has_disk_quota() {
        features.push(("diskQuotaSupport", Node::bool(true)));
    }
    if contract.has_kubernetes_documents() {
        return features;
    }
    if contract.has_kube_prism() {
        let port = Node::integer(i64::from(defaults::KUBE_PRISM_PORT));
        features.push(("kubePrism", Node::map([("enabled", Node::bool(true)), ("port", port)])));
    }
    if contract.has_host_dns() {
        features.push(("hostDNS", host_dns(contract)));
    }
    features
}

/// The caching resolver on the machine.
fn host_dns(contract: Contract) -> Node {
    let mut fields = vec![("enabled", Node::bool(true))];
    if contract.forwards_kube_dns() {
        fields.push(("forwardKubeDNSToHost", Node::bool(true)));
    }
    Node::map(fields)
}

fn cluster(options: &GenerateOptions, secrets: &SecretsBundle, role: Role) -> Node {
    let mut cluster = vec![("token", Node::string(secrets.bootstrap_token.reveal().as_str()))];
    if role == Role::ControlPlane {
        cluster.push(("etcd", Node::map([("ca", pair_node(&secrets.etcd))])));
    }
    if !options.contract.has_kubernetes_documents() {
        cluster.extend(cluster_before_documents(options, secrets, role));
        if role == Role::ControlPlane {
            cluster.extend(control_plane(options, secrets));
        }
    }
    Node::map(cluster)
}

/// What of the cluster has a document of its own since 1.14.
fn cluster_before_documents(
    options: &GenerateOptions,
    secrets: &SecretsBundle,
    role: Role,
) -> Vec<(&'static str, Node)> {
    let endpoint = Node::map([("endpoint", Node::string(options.endpoint.as_str()))]);
    let network = [
        ("dnsDomain", Node::string(options.dns_domain.as_str())),
        ("podSubnets", texts(&options.pod_subnets)),
        ("serviceSubnets", texts(&options.service_subnets)),
    ];
    let registries =
        [("kubernetes", Node::map([("disabled", Node::bool(true))])), ("service", Node::map::<&str>([]))];
    let discovery = [("enabled", Node::bool(options.discovery)), ("registries", Node::map(registries))];
    let mut cluster = vec![
        ("id", Node::string(secrets.cluster_id.as_str())),
        ("secret", Node::string(secrets.cluster_secret.reveal().as_str())),
        ("controlPlane", endpoint),
        ("network", Node::map(network)),
        ("ca", pair_for(&secrets.kubernetes, role)),
        ("discovery", Node::map(discovery)),
    ];
    if role == Role::ControlPlane || options.contract.names_cluster_to_workers() {
        cluster.push(("clusterName", Node::string(options.cluster_name.as_str())));
    }
    cluster
}

fn control_plane(options: &GenerateOptions, secrets: &SecretsBundle) -> Vec<(&'static str, Node)> {
    let image = |name| Node::map([("image", options.image(name))]);
    let mut out: Vec<(&'static str, Node)> = Vec::new();
    for (key, secret) in [
        ("aescbcEncryptionSecret", &secrets.aescbc_secret),
        ("secretboxEncryptionSecret", &secrets.secretbox_secret),
    ] {
        if !secret.reveal().is_empty() {
            out.push((key, Node::string(secret.reveal().as_str())));
        }
    }
    out.extend([
        ("aggregatorCA", pair_node(&secrets.aggregator)),
        ("serviceAccount", Node::map([("key", key_node(&secrets.service_account_key))])),
        ("apiServer", api_server(options)),
        ("controllerManager", image(defaults::CONTROLLER_MANAGER_IMAGE)),
        ("proxy", image(defaults::PROXY_IMAGE)),
        ("scheduler", image(defaults::SCHEDULER_IMAGE)),
    ]);
    out
}

fn api_server(options: &GenerateOptions) -> Node {
    let plugin = [("name", Node::string(POD_SECURITY)), ("configuration", pod_security())];
    let mut fields = vec![
        ("image", options.image(defaults::API_SERVER_IMAGE)),
        ("admissionControl", Node::list([Node::map(plugin)])),
        ("auditPolicy", audit_policy()),
    ];
    let mut sans = options.additional_sans.clone();
    if !options.contract.leaves_out_the_obvious() {
        fields.push(("disablePodSecurityPolicy", Node::bool(true)));
        if let Some(url) = values::url(&options.endpoint) {
            sans.insert(0, url.host);
        }
    }
    if !sans.is_empty() {
        fields.push(("certSANs", texts(&sans)));
    }
    Node::map(fields)
}

/// The admission plug-in that holds pods to a standard.
const POD_SECURITY: &str = "PodSecurity";

/// Pods are held to the baseline standard; kube-system is exempt.
fn pod_security() -> Node {
    let word = |key: &'static str, value: &str| (key, Node::string(value));
    let levels = [
        word("audit", "restricted"),
        word("audit-version", "latest"),
        word("enforce", "baseline"),
        word("enforce-version", "latest"),
        word("warn", "restricted"),
        word("warn-version", "latest"),
    ];
    let exemptions = [
        ("namespaces", Node::list([Node::string("kube-system")])),
        ("runtimeClasses", Node::list([])),
        ("usernames", Node::list([])),
    ];
    Node::map([
        word("apiVersion", "pod-security.admission.config.k8s.io/v1alpha1"),
        ("defaults", Node::map(levels)),
        ("exemptions", Node::map(exemptions)),
        word("kind", "PodSecurityConfiguration"),
    ])
}

fn audit_policy() -> Node {
    Node::map([
        ("apiVersion", Node::string("audit.k8s.io/v1")),
        ("kind", Node::string("Policy")),
        ("rules", Node::list([Node::map([("level", Node::string("Metadata"))])])),
    ])
}

/// Life of the certificate in a new talosconfig.
const TALOSCONFIG_LIFETIME: Duration = Duration::from_secs(8760 * 3600);

/// Writes a talosconfig for an administrator of the cluster.
pub fn talosconfig(
    cluster_name: &str,
    endpoints: &[String],
    secrets: &SecretsBundle,
    now: SystemTime,
    rng: &Rng,
) -> Result<Secret<String>, SecretsError> {
    let identity = secrets.client(&["os:admin"], TALOSCONFIG_LIFETIME, now, rng)?;
    Ok(talosconfig_of(cluster_name, endpoints, &secrets.talos.crt, &identity))
}

/// Writes a talosconfig with one context around a client certificate; `ca` is PEM.
#[must_use]
pub fn talosconfig_of(
    cluster_name: &str,
    endpoints: &[String],
    ca: &[u8],
    identity: &Identity,
) -> Secret<String> {
    let context = [
        ("endpoints", texts(endpoints)),
        ("ca", Node::string(values::to_base64(ca))),
        ("crt", Node::string(values::to_base64(identity.certificate.to_pem()))),
        ("key", Node::string(values::to_base64(identity.key.to_pem().reveal()))),
    ];
    let root = [
        ("context", Node::string(cluster_name)),
        ("contexts", Node::map([(cluster_name, Node::map(context))])),
    ];
    Secret::new(write::document(&Node::map(root)))
}

#[cfg(test)]
mod tests;
