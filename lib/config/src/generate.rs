//! New configurations of a cluster from its secrets, equal in meaning to those of `talosctl gen config`.

use std::time::{Duration, SystemTime};

use corten_base::{Rng, Secret};
use corten_pki::Identity;

use crate::node::Node;
use crate::secrets::{key_node, pair_node};
use crate::view::Pair;
use crate::{SecretsBundle, SecretsError, defaults, values, write};

/// What a new cluster shall be like.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Name of the cluster.
    pub cluster_name: String,
    /// URL of the Kubernetes API.
    pub endpoint: String,
    /// Kubernetes version without `v`.
    pub kubernetes_version: String,
    /// Disk to install to.
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
    /// The usual options; the installer image carries the version of the running software.
    #[must_use]
    pub fn new(cluster_name: impl Into<String>, endpoint: impl Into<String>) -> Self {
        Self {
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
    let root = Node::map([
        ("version", Node::string("v1alpha1")),
        ("debug", Node::bool(false)),
        ("persist", Node::bool(true)),
        ("machine", machine(options, secrets, role)),
        ("cluster", cluster(options, secrets, role)),
    ]);
    let kind = |kind: &str| [("apiVersion", Node::string("v1alpha1")), ("kind", Node::string(kind))];
    let hostname = Node::map(kind("HostnameConfig").into_iter().chain([("auto", Node::string("stable"))]));
    let mirrors = options.registry_mirrors.iter().map(|(host, url)| {
        let endpoints = Node::list([Node::map([("url", Node::string(url.as_str()))])]);
        let fields = [("name", Node::string(host.as_str())), ("endpoints", endpoints)];
        Node::map(kind("RegistryMirrorConfig").into_iter().chain(fields))
    });
    std::iter::once(root).chain(mirrors).chain([hostname]).collect()
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
    let kubelet = [
        ("image", options.image(defaults::KUBELET_IMAGE)),
        ("defaultRuntimeSeccompProfileEnabled", Node::bool(true)),
        ("disableManifestsDirectory", Node::bool(true)),
    ];
    let install = [
        ("disk", Node::string(options.install_disk.as_str())),
        ("image", Node::string(options.install_image.as_str())),
        ("wipe", Node::bool(false)),
        ("grubUseUKICmdline", Node::bool(true)),
    ];
    let prism =
        [("enabled", Node::bool(true)), ("port", Node::integer(i64::from(defaults::KUBE_PRISM_PORT)))];
    let host_dns = [("enabled", Node::bool(true)), ("forwardKubeDNSToHost", Node::bool(true))];
    let features = [
        ("diskQuotaSupport", Node::bool(true)),
        ("kubePrism", Node::map(prism)),
        ("hostDNS", Node::map(host_dns)),
    ];
    let kind = match role {
        Role::ControlPlane => "controlplane",
        Role::Worker => "worker",
    };
    let mut machine = vec![
        ("type", Node::string(kind)),
        ("token", Node::string(secrets.trustd_token.reveal().as_str())),
        ("ca", pair_for(&secrets.talos, role)),
        ("certSANs", texts(&options.additional_sans)),
        ("kubelet", Node::map(kubelet)),
        ("install", Node::map(install)),
        ("features", Node::map(features)),
    ];
    if role == Role::ControlPlane {
        let label = "node.kubernetes.io/exclude-from-external-load-balancers";
        machine.push(("nodeLabels", Node::map([(label, Node::string(""))])));
    }
    Node::map(machine)
}

fn cluster(options: &GenerateOptions, secrets: &SecretsBundle, role: Role) -> Node {
    let endpoint = Node::map([("endpoint", Node::string(options.endpoint.as_str()))]);
    let network = [
        ("dnsDomain", Node::string(options.dns_domain.as_str())),
        ("podSubnets", texts(&options.pod_subnets)),
        ("serviceSubnets", texts(&options.service_subnets)),
    ];
    let mut cluster = vec![
        ("id", Node::string(secrets.cluster_id.as_str())),
        ("secret", Node::string(secrets.cluster_secret.reveal().as_str())),
        ("controlPlane", endpoint),
        ("clusterName", Node::string(options.cluster_name.as_str())),
        ("network", Node::map(network)),
        ("token", Node::string(secrets.bootstrap_token.reveal().as_str())),
        ("ca", pair_for(&secrets.kubernetes, role)),
    ];
    if role == Role::ControlPlane {
        cluster.extend(control_plane(options, secrets));
    }
    let registries =
        [("kubernetes", Node::map([("disabled", Node::bool(true))])), ("service", Node::map::<&str>([]))];
    let discovery = [("enabled", Node::bool(options.discovery)), ("registries", Node::map(registries))];
    cluster.push(("discovery", Node::map(discovery)));
    Node::map(cluster)
}

fn control_plane(options: &GenerateOptions, secrets: &SecretsBundle) -> Vec<(&'static str, Node)> {
    let mut api_server = vec![("image", options.image(defaults::API_SERVER_IMAGE))];
    if !options.additional_sans.is_empty() {
        api_server.push(("certSANs", texts(&options.additional_sans)));
    }
    api_server.push(("admissionControl", Node::list([pod_security()])));
    api_server.push(("auditPolicy", audit_policy()));
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
        ("apiServer", Node::map(api_server)),
        ("controllerManager", image(defaults::CONTROLLER_MANAGER_IMAGE)),
        ("proxy", image(defaults::PROXY_IMAGE)),
        ("scheduler", image(defaults::SCHEDULER_IMAGE)),
        ("etcd", Node::map([("ca", pair_node(&secrets.etcd))])),
    ]);
    out
}

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
    let configuration = [
        word("apiVersion", "pod-security.admission.config.k8s.io/v1alpha1"),
        ("defaults", Node::map(levels)),
        ("exemptions", Node::map(exemptions)),
        word("kind", "PodSecurityConfiguration"),
    ];
    Node::map([word("name", "PodSecurity"), ("configuration", Node::map(configuration))])
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
