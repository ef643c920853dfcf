//! Rules of the documents about Kubernetes, and what of `v1alpha1` they take the place of (node.md 4.2, 4.3).

use corten_pki::{Certificate, Identity, PrivateKey};

use super::cluster::{endpoint, manifest, networks};
use super::documents::Conflict;
use super::machine::{KUBELET_ARGS_PROTECTED, KUBELET_PROTECTED, node_metadata, refuse_keys, subnets};
use super::{Rules, is_dns_name};
use crate::node::Node;
use crate::problem::Path;
use crate::values;

/// Documents that only control planes have.
const CONTROL_PLANE: &[&str] = &[
    "KubeAPIServerConfig",
    "KubeAdmissionControlConfig",
    "KubeAggregatorCAConfig",
    "KubeAuditPolicyConfig",
    "KubeAuthenticationConfig",
    "KubeAuthorizerConfig",
    "KubeControllerManagerConfig",
    "KubeCoreDNSConfig",
    "KubeEtcdEncryptionConfig",
    "KubeExternalManifestConfig",
    "KubeFlannelCNIConfig",
    "KubeInlineManifestConfig",
    "KubeProxyConfig",
    "KubeSchedulerConfig",
    "KubeServiceAccountConfig",
];

/// What of `v1alpha1` must be gone when there is the document. Manifests and static pods of both are taken together.
pub(super) const CONFLICTS: &[Conflict] = &[
    ("KubeAPIServerCAConfig", &[], &["cluster", "ca"]),
    ("KubeAPIServerConfig", &[], &["cluster", "apiServer"]),
    ("KubeAPIServerConfig", &[], &["cluster", "controlPlane", "localAPIServerPort"]),
    ("KubeAdmissionControlConfig", &[], &["cluster", "apiServer", "admissionControl"]),
    ("KubeAggregatorCAConfig", &[], &["cluster", "aggregatorCA"]),
    ("KubeAuditPolicyConfig", &[], &["cluster", "apiServer", "auditPolicy"]),
    ("KubeAuthorizerConfig", &[], &["cluster", "apiServer", "authorizationConfig"]),
    ("KubeClusterConfig", &["clusterName"], &["cluster", "clusterName"]),
    ("KubeClusterConfig", &["endpoint"], &["cluster", "controlPlane", "endpoint"]),
    ("KubeControllerManagerConfig", &[], &["cluster", "controllerManager"]),
    ("KubeControllerManagerConfig", &[], &["machine", "controlPlane", "controllerManager"]),
    ("KubeCoreDNSConfig", &[], &["cluster", "coreDNS"]),
    ("KubeCredentialProviderConfig", &[], &["machine", "kubelet"]),
    ("KubeEtcdEncryptionConfig", &[], &["cluster", "aescbcEncryptionSecret"]),
    ("KubeEtcdEncryptionConfig", &[], &["cluster", "secretboxEncryptionSecret"]),
    ("KubeFlannelCNIConfig", &[], &["cluster", "network"]),
    ("KubeNetworkConfig", &[], &["cluster", "network"]),
    ("KubeNodeConfig", &[], &["cluster", "allowSchedulingOnControlPlanes"]),
    ("KubeNodeConfig", &[], &["cluster", "allowSchedulingOnMasters"]),
    ("KubeNodeConfig", &[], &["machine", "kubelet", "skipNodeRegistration"]),
    ("KubeNodeConfig", &[], &["machine", "kubelet", "registerWithFQDN"]),
    ("KubeNodeConfig", &[], &["machine", "kubelet", "nodeIP"]),
    ("KubeNodeConfig", &[], &["machine", "nodeLabels"]),
    ("KubeNodeConfig", &[], &["machine", "nodeAnnotations"]),
    ("KubeNodeConfig", &[], &["machine", "nodeTaints"]),
    ("KubePrismConfig", &[], &["machine", "features", "kubePrism"]),
    ("KubeProxyConfig", &[], &["cluster", "proxy"]),
    ("KubeSchedulerConfig", &[], &["cluster", "scheduler"]),
    ("KubeSchedulerConfig", &[], &["machine", "controlPlane", "scheduler"]),
    ("KubeServiceAccountConfig", &[], &["cluster", "serviceAccount"]),
    ("KubeletConfig", &[], &["machine", "kubelet"]),
];

/// Checks a document if it is about Kubernetes; `root` is the `v1alpha1` document.
pub(super) fn check(rules: &mut Rules<'_>, root: Option<&Node>) {
    let kind = rules.document.id.kind.as_str();
    let role = root.and_then(|root| root.at_path(&["machine", "type"])).and_then(Node::as_text);
    let is_control_plane = matches!(role, Some("controlplane" | "init"));
    if CONTROL_PLANE.contains(&kind) && !is_control_plane {
        rules.refuse(&[], "only control planes have this document");
    }
    match kind {
        "KubeAPIServerCAConfig" => api_authority(rules, role.is_some() && !is_control_plane),
        "KubeAPIServerConfig" => api_server(rules),
        "KubeAggregatorCAConfig" => aggregator(rules),
        "KubeAuthorizerConfig" => authorizer(rules),
        "KubeClusterConfig" if rules.text(&["endpoint"]).is_some() => endpoint(rules, &["endpoint"]),
        "KubeControllerManagerConfig" | "KubeSchedulerConfig" => component(rules),
        "KubeEtcdEncryptionConfig" => given(rules, &["config"]),
        "KubeExternalManifestConfig" => external_manifest(rules),
        "KubeFlannelCNIConfig" => flannel(rules),
        "KubeInlineManifestConfig" => inline_manifest(rules),
        "KubeNetworkConfig" => networks(rules, &[]),
        "KubeNodeConfig" => node(rules),
        "KubeProxyConfig" => proxy(rules),
        "KubeServiceAccountConfig" => service_accounts(rules),
        "KubeStaticPodConfig" => {
            dns_name(rules);
            given(rules, &["pod"]);
        }
        "KubeletConfig" => kubelet(rules),
        _ => {}
    }
}

/// A value that must not be empty.
fn given(rules: &mut Rules<'_>, keys: &[&str]) {
    if rules.get(keys).is_none_or(Node::is_zero) {
        rules.refuse(keys, "missing");
    }
}

fn dns_name(rules: &mut Rules<'_>) {
    let name = rules.document.id.name.as_str();
    if !is_dns_name(name) || name.chars().any(char::is_uppercase) {
        rules.refuse(&["name"], format!("{name:?} is not a DNS name of lower case letters"));
    }
}

/// The issuing certificate with its key and the accepted certificates, all PEM.
fn authority(rules: &mut Rules<'_>) {
    let pem =
        |rules: &Rules<'_>, key| rules.text(&["issuingCA", key]).unwrap_or_default().as_bytes().to_vec();
    let (crt, key) = (pem(rules, "cert"), pem(rules, "key"));
    if rules.get(&["issuingCA"]).is_some_and(|pair| !pair.is_zero()) {
        if let Err(error) = Certificate::from_pem(&crt) {
            rules.refuse(&["issuingCA", "cert"], corten_base::chain(&error));
        } else if let Err(error) = Identity::from_pem(&crt, &key) {
            rules.refuse(&["issuingCA", "key"], corten_base::chain(&error));
        }
    }
    let list = Path::ROOT.key("acceptedCAs");
    for (index, item) in rules.items(&["acceptedCAs"]).iter().enumerate() {
        if let Err(error) = Certificate::from_pem(item.as_text().unwrap_or_default().as_bytes()) {
            rules.refuse_at(&list.index(index), item.at, corten_base::chain(&error));
        }
    }
}

fn api_authority(rules: &mut Rules<'_>, is_worker: bool) {
    if is_worker && rules.text(&["issuingCA", "key"]).is_some() {
        rules.refuse(&["issuingCA", "key"], "not allowed on a worker; only control planes hold the key");
    }
    authority(rules);
}

fn aggregator(rules: &mut Rules<'_>) {
    given(rules, &["issuingCA"]);
    authority(rules);
}

/// Beginnings of arguments that would be another word about who may do what, and the document that says it.
const API_SERVER_DENIED: &[(&str, &str)] = &[
    ("anonymous-auth", "KubeAuthenticationConfig"),
    ("authentication-config", "KubeAuthenticationConfig"),
    ("oidc-", "KubeAuthenticationConfig"),
    ("authorization-config", "KubeAuthorizerConfig"),
    ("authorization-mode", "KubeAuthorizerConfig"),
    ("authorization-webhook-", "KubeAuthorizerConfig"),
];

fn api_server(rules: &mut Rules<'_>) {
    resources(rules);
    let arguments = Path::ROOT.key("extraArgs");
    let Some(map) = rules.get(&["extraArgs"]).and_then(Node::as_map) else { return };
    for entry in map {
        if let Some((_, document)) = API_SERVER_DENIED.iter().find(|(begin, _)| entry.key.starts_with(begin))
        {
            rules.refuse_at(&arguments.key(&entry.key), entry.at, format!("not allowed; use {document}"));
        }
    }
}

/// Pods of the machine can only be given these.
fn resources(rules: &mut Rules<'_>) {
    for part in ["requests", "limits"] {
        let Some(map) = rules.get(&["resources", part]).and_then(Node::as_map) else { continue };
        let resources = Path::ROOT.key("resources");
        let path = resources.key(part);
        for entry in map.iter().filter(|entry| !matches!(entry.key.as_str(), "cpu" | "memory")) {
            rules.refuse_at(&path.key(&entry.key), entry.at, "not known; expected cpu or memory");
        }
    }
}

/// What may be off; then nothing else of it counts.
fn component(rules: &mut Rules<'_>) {
    if rules.is_off() {
        return;
    }
    given(rules, &["image"]);
    resources(rules);
}

fn proxy(rules: &mut Rules<'_>) {
    component(rules);
    refuse_keys(rules, &["extraArgs"], &["config"]);
    let Some(mode) = rules.text(&["mode"]).filter(|mode| *mode != "nftables") else { return };
    if matches!(mode, "iptables" | "ipvs") {
        rules.warn(&["mode"], format!("{mode} is not recommended; nftables is"));
    } else {
        rules.refuse(&["mode"], format!("{mode:?} is not one of nftables, iptables, ipvs"));
    }
}

fn authorizer(rules: &mut Rules<'_>) {
    dns_name(rules);
    let is_webhook = rules.text(&["type"]) == Some("Webhook");
    given(rules, &["type"]);
    if is_webhook {
        given(rules, &["webhook"]);
    } else if rules.get(&["webhook"]).is_some_and(|webhook| !webhook.is_zero()) {
        rules.warn(&["webhook"], "only an authorizer of type Webhook uses it");
    }
}

fn external_manifest(rules: &mut Rules<'_>) {
    dns_name(rules);
    let Some(url) = rules.text(&["url"]).and_then(values::url) else { return };
    if !matches!(url.scheme.as_str(), "http" | "https") {
        rules.refuse(&["url"], "expected http:// or https://");
    }
}

fn inline_manifest(rules: &mut Rules<'_>) {
    dns_name(rules);
    let Some(node) = rules.get(&["manifest"]) else { return };
    manifest(rules, node, &Path::ROOT.key("manifest"));
}

fn flannel(rules: &mut Rules<'_>) {
    given(rules, &["backendType"]);
    resources(rules);
}

fn kubelet(rules: &mut Rules<'_>) {
    refuse_keys(rules, &["config"], KUBELET_PROTECTED);
    refuse_keys(rules, &["extraArgs"], KUBELET_ARGS_PROTECTED);
}

fn node(rules: &mut Rules<'_>) {
    subnets(rules, &["nodeIP", "validSubnets"]);
    node_metadata(rules, &[], ["labels", "annotations", "taints"]);
}

fn service_accounts(rules: &mut Rules<'_>) {
    if let Some(pem) = rules.text(&["issuer", "privateKey"])
        && let Err(error) = PrivateKey::from_pem(pem.as_bytes())
    {
        rules.refuse(&["issuer", "privateKey"], corten_base::chain(&error));
    }
    let accepted = Path::ROOT.key("accepted");
    let list = accepted.key("publicKeys");
    for (index, item) in rules.items(&["accepted", "publicKeys"]).iter().enumerate() {
        if let Err(error) = corten_pki::public_key(item.as_text().unwrap_or_default().as_bytes()) {
            rules.refuse_at(&list.index(index), item.at, corten_base::chain(&error));
        }
    }
}

#[cfg(test)]
mod tests;
