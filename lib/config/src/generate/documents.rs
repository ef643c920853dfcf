//! The documents that stand beside a small `v1alpha1` since contract 1.14 (node.md 4.5).

use corten_base::Secret;

use super::{
    EXCLUDED_FROM_BALANCERS, GenerateOptions, POD_SECURITY, Role, audit_policy, document, host_dns,
    pod_security, texts,
};
use crate::node::Node;
use crate::view::Pair;
use crate::{SecretsBundle, defaults};

/// How often unused blocks are told to disks: once a week.
const TRIM_INTERVAL: &str = "168h0m0s";
/// Label and taint of control planes.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

fn text(text: &str) -> Node {
    Node::string(text)
}

/// PEM as it is; configurations before 1.14 have it in base64.
fn pem(bytes: &[u8]) -> Node {
    Node::string(String::from_utf8_lossy(bytes))
}

fn plain_pair(pair: &Pair) -> Node {
    Node::map([("cert", pem(&pair.crt)), ("key", pem(pair.key.reveal()))])
}

/// Documents about the machine itself and how it is found.
pub(super) fn of_machine(options: &GenerateOptions, secrets: &SecretsBundle) -> Vec<Node> {
    let mut documents = Vec::new();
    if options.discovery {
        let fields = [("name", text("default")), ("endpoint", text(defaults::DISCOVERY_ENDPOINT))];
        documents.push(document("DiscoveryServiceConfig", fields));
    }
    let identity =
        [("clusterID", text(&secrets.cluster_id)), ("clusterSecret", text(secrets.cluster_secret.reveal()))];
    documents.push(document("DiscoveryIdentityConfig", identity));
    if !options.install_disk.is_empty() {
        documents.push(unattended_install(options));
    }
    let mount = Node::map([("secure", Node::bool(true))]);
    documents.extend([
        document("ResolverConfig", [("hostDNS", host_dns(options.contract))]),
        document("VolumeConfig", [("name", text("EPHEMERAL")), ("mount", mount)]),
        document("FilesystemTrimConfig", [("interval", text(TRIM_INTERVAL))]),
        document("SecurityProfileConfig", [("workloadIsolation", Node::bool(true))]),
    ]);
    documents
}

fn unattended_install(options: &GenerateOptions) -> Node {
    let expression = format!("disk.dev_path == {:?}", options.install_disk);
    let selector = Node::map([("match", text(&expression))]);
    let installer = Node::map([("image", text(&options.install_image))]);
    let provisioning = Node::map([("diskSelector", selector), ("wipe", Node::bool(false))]);
    document("UnattendedInstallConfig", [("installer", installer), ("provisioning", provisioning)])
}

/// Documents about Kubernetes.
pub(super) fn of_kubernetes(options: &GenerateOptions, secrets: &SecretsBundle, role: Role) -> Vec<Node> {
    let network = [
        ("dnsDomain", text(&options.dns_domain)),
        ("podSubnets", texts(&options.pod_subnets)),
        ("serviceSubnets", texts(&options.service_subnets)),
    ];
    let authority = match role {
        Role::ControlPlane => ("issuingCA", plain_pair(&secrets.kubernetes)),
        Role::Worker => ("acceptedCAs", Node::list([pem(&secrets.kubernetes.crt)])),
    };
    let cluster = [("clusterName", text(&options.cluster_name)), ("endpoint", text(&options.endpoint))];
    let kubelet = [
        ("image", options.image(defaults::KUBELET_IMAGE)),
        ("defaultRuntimeSeccompProfileEnabled", Node::bool(true)),
    ];
    let mut documents = vec![
        document("KubeClusterConfig", cluster),
        document("KubeNetworkConfig", network),
        document("KubeAPIServerCAConfig", [authority]),
        document("KubeletConfig", kubelet),
        node(role),
        document("KubePrismConfig", [("port", Node::integer(i64::from(defaults::KUBE_PRISM_PORT)))]),
    ];
    if role == Role::ControlPlane {
        documents.extend(control_plane(options, secrets));
    }
    documents
}

fn node(role: Role) -> Node {
    if role == Role::Worker {
        return document("KubeNodeConfig", []);
    }
    let labels = Node::map([(CONTROL_PLANE, text("")), (EXCLUDED_FROM_BALANCERS, text(""))]);
    let taints = Node::map([(CONTROL_PLANE, text("NoSchedule"))]);
    document("KubeNodeConfig", [("labels", labels), ("taints", taints)])
}

fn control_plane(options: &GenerateOptions, secrets: &SecretsBundle) -> Vec<Node> {
    let authorizer =
        |name, kind| document("KubeAuthorizerConfig", [("name", text(name)), ("type", text(kind))]);
    let issuer = Node::map([
        ("privateKey", pem(secrets.service_account_key.reveal())),
        ("issuerURL", text(&options.endpoint)),
    ]);
    let image = |kind, name| document(kind, [("image", options.image(name))]);
    let port = Node::integer(i64::from(defaults::FLANNEL_PORT));
    vec![
        document("KubeAggregatorCAConfig", [("issuingCA", plain_pair(&secrets.aggregator))]),
        document(
            "KubeAdmissionControlConfig",
            [("name", text(POD_SECURITY)), ("configuration", pod_security())],
        ),
        document("KubeAuditPolicyConfig", [("configuration", audit_policy())]),
        document("KubeAuthenticationConfig", [("configuration", authentication())]),
        authorizer("node", "Node"),
        authorizer("rbac", "RBAC"),
        document("KubeEtcdEncryptionConfig", [("config", encryption(secrets))]),
        document("KubeServiceAccountConfig", [("issuer", issuer)]),
        api_server(options),
        image("KubeControllerManagerConfig", defaults::CONTROLLER_MANAGER_IMAGE),
        image("KubeSchedulerConfig", defaults::SCHEDULER_IMAGE),
        image("KubeProxyConfig", defaults::PROXY_IMAGE),
        document(
            "KubeFlannelCNIConfig",
            [("backendType", text(defaults::FLANNEL_BACKEND)), ("backendPort", port)],
        ),
        document("KubeCoreDNSConfig", [("enabled", Node::bool(true))]),
    ]
}

fn api_server(options: &GenerateOptions) -> Node {
    let image = options.image(defaults::API_SERVER_IMAGE);
    if options.additional_sans.is_empty() {
        return document("KubeAPIServerConfig", [("image", image)]);
    }
    document("KubeAPIServerConfig", [("image", image), ("certExtraSANs", texts(&options.additional_sans))])
}

/// Nobody is anonymous but those who ask whether the API works.
fn authentication() -> Node {
    let condition = |path| Node::map([("path", text(path))]);
    let anonymous = [
        ("conditions", Node::list(["/livez", "/readyz", "/healthz"].map(condition))),
        ("enabled", Node::bool(true)),
    ];
    Node::map([("anonymous", Node::map(anonymous)), ("jwt", Node::list([]))])
}

/// Secrets are encrypted by the keys that the bundle has; the newer way comes first.
fn encryption(secrets: &SecretsBundle) -> Node {
    let provider = |name: &'static str, secret: &Secret<String>| {
        let key = Node::map([("name", text("key1")), ("secret", text(secret.reveal()))]);
        Node::map([(name, Node::map([("keys", Node::list([key]))]))])
    };
    let keys = [("secretbox", &secrets.secretbox_secret), ("aescbc", &secrets.aescbc_secret)];
    let providers = keys.into_iter().filter(|(_, secret)| !secret.reveal().is_empty());
    let resources = Node::map([
        ("providers", Node::list(providers.map(|(name, secret)| provider(name, secret)))),
        ("resources", Node::list([text("secrets")])),
    ]);
    Node::map([("resources", Node::list([resources]))])
}
