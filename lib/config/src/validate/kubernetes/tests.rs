//! Rules of the documents about Kubernetes, by the texts that users see.

use std::sync::LazyLock;

use corten_base::{Clock, Rng};

use super::{CONFLICTS, CONTROL_PLANE};
use crate::generate::{GenerateOptions, generate};
use crate::node::Node;
use crate::schema::DOCUMENTS;
use crate::{Config, Contract, SecretsBundle, Target, read, write};

static SECRETS: LazyLock<SecretsBundle> =
    LazyLock::new(|| SecretsBundle::generate(Clock::fixed(1_800_000_000).now(), &Rng::seeded(1)).unwrap());

/// The documents of a new control plane or worker that this machine reads, in the form of 1.14.
fn documents(is_control_plane: bool) -> Vec<Node> {
    let mut options = GenerateOptions::new("demo", "https://10.5.0.2:6443");
    options.contract = Contract::new(1, 14);
    let generated = generate(&options, &SECRETS);
    let text = if is_control_plane { generated.controlplane } else { generated.worker };
    let mut nodes = read::documents(text.reveal()).unwrap();
    nodes.retain(|node| {
        let kind = node.get("kind").and_then(Node::as_text);
        kind.is_none_or(|kind| DOCUMENTS.iter().any(|known| known.kind == kind))
    });
    nodes
}

fn check(nodes: &[Node]) -> Result<Config, String> {
    Config::check(write::documents(nodes).as_bytes(), Target::Container).map_err(|error| error.to_string())
}

/// The problems of these documents beside a control plane without documents of the same kinds.
fn problems(more: &str) -> Vec<String> {
    let more = read::documents(more).unwrap();
    let kinds: Vec<&str> = more.iter().filter_map(|node| node.get("kind").and_then(Node::as_text)).collect();
    let mut nodes = documents(true);
    nodes.retain(|node| !node.get("kind").and_then(Node::as_text).is_some_and(|kind| kinds.contains(&kind)));
    nodes.extend(more);
    let found = check(&nodes).err().unwrap_or_default();
    found.lines().map(|line| line.rsplit_once(" (line").map_or(line, |(text, _)| text).to_owned()).collect()
}

#[test]
fn documents_of_a_new_cluster_are_whole() {
    for is_control_plane in [true, false] {
        let config = check(&documents(is_control_plane)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.warnings().to_string(), "");
    }
}

#[test]
fn what_only_control_planes_have_is_refused_elsewhere() {
    let worker = documents(false);
    let count = |kind: &str| {
        let of_kind = |node: &&Node| node.get("kind").and_then(Node::as_text) == Some(kind);
        documents(true).iter().filter(of_kind).cloned().collect::<Vec<Node>>()
    };
    let mut tried = 0;
    for kind in CONTROL_PLANE {
        let found = count(kind);
        if found.is_empty() {
            continue;
        }
        tried += 1;
        let refused = check(&[worker.clone(), found].concat()).expect_err(kind);
        assert!(refused.contains("only control planes have this document"), "{kind}: {refused}");
    }
    assert!(tried > 10, "{tried}");
}

#[test]
fn a_document_and_what_it_takes_the_place_of_exclude_each_other() {
    let mut all = documents(true);
    // Something under each of the old keys.
    let root = &mut all[0];
    for (_, _, path) in CONFLICTS {
        set(root, path);
    }
    let refused = Config::check(write::documents(&all).as_bytes(), Target::Container).expect_err("both");
    let texts: Vec<String> = refused.iter().map(crate::Problem::text).collect();
    let mut tried = 0;
    for (kind, _, path) in CONFLICTS {
        if !all.iter().any(|node| node.get("kind").and_then(Node::as_text) == Some(kind)) {
            continue;
        }
        tried += 1;
        let line = format!("{} is already set in line", path.join("."));
        assert!(
            texts.iter().any(|text| text.contains(kind) && text.contains(&line)),
            "{kind} {line}\n{texts:#?}"
        );
    }
    assert!(tried > 20, "{tried}");
}

fn set(node: &mut Node, path: &[&str]) {
    let crate::node::Value::Map(map) = &mut node.value else { return };
    if let [key] = path {
        if map.get(key).is_none() {
            map.set(key, Node::map([("sample", Node::string("x"))]));
        }
        return;
    }
    if map.get(path[0]).is_none() {
        map.set(path[0], Node::map::<&str>([]));
    }
    set(map.get_mut(path[0]).unwrap(), &path[1..]);
}

#[test]
fn every_rule_has_its_text() {
    let document = |kind: &str, fields: &str| format!("{{apiVersion: v1alpha1, kind: {kind}, {fields}}}");
    for (kind, fields, expected) in [
        (
            "KubeletConfig",
            "image: i, config: {port: 1}, extraArgs: {kubeconfig: x}",
            &[
                "document KubeletConfig: config.port: cannot be overridden; the machine decides it",
                "document KubeletConfig: extraArgs.kubeconfig: cannot be overridden; the machine decides it",
            ][..],
        ),
        (
            "KubeAPIServerConfig",
            "image: i, extraArgs: {oidc-issuer-url: x, v: '2'}, resources: {requests: {gpu: 1}}",
            &[
                "document KubeAPIServerConfig: extraArgs.oidc-issuer-url: not allowed; use KubeAuthenticationConfig",
                "document KubeAPIServerConfig: resources.requests.gpu: not known; expected cpu or memory",
            ],
        ),
        (
            "KubeNetworkConfig",
            "podSubnets: [10.0.0.0/8], serviceSubnets: [10.96.0.0/12], dnsDomain: 'x y'",
            &[
                "document KubeNetworkConfig: serviceSubnets: 10.96.0.0/12 overlaps with the pod network 10.0.0.0/8",
                "document KubeNetworkConfig: dnsDomain: \"x y\" is not a DNS name",
            ],
        ),
        (
            "KubeNodeConfig",
            "labels: {'a b': c}, taints: {x: Never}, nodeIP: {validSubnets: [foo]}",
            &[
                "document KubeNodeConfig: labels.a b: \"a b\" is not a qualified name such as example.com/name",
                "document KubeNodeConfig: taints.x: \"Never\" is not an effect; expected NoSchedule, PreferNoSchedule or NoExecute",
                "document KubeNodeConfig: nodeIP.validSubnets[0]: \"foo\" is not a network such as 10.0.0.0/8, with ! in front to exclude it",
            ],
        ),
        ("KubeProxyConfig", "enabled: false", &[]),
        ("KubeProxyConfig", "enabled: true", &["document KubeProxyConfig: image: missing"]),
        (
            "KubeProxyConfig",
            "image: i, mode: userspace, extraArgs: {config: /x}",
            &[
                "document KubeProxyConfig: extraArgs.config: cannot be overridden; the machine decides it",
                "document KubeProxyConfig: mode: \"userspace\" is not one of nftables, iptables, ipvs",
            ],
        ),
        ("KubeSchedulerConfig", "enabled: false", &[]),
        (
            "KubeAuthorizerConfig",
            "name: a, type: Webhook",
            &["document KubeAuthorizerConfig/a: webhook: missing"],
        ),
        (
            "KubeClusterConfig",
            "clusterName: c, endpoint: 'ftp://h'",
            &["document KubeClusterConfig: endpoint: \"ftp://h\" must start with https://"],
        ),
        ("KubeEtcdEncryptionConfig", "config: {}", &["document KubeEtcdEncryptionConfig: config: missing"]),
        (
            "KubeFlannelCNIConfig",
            "backendMTU: 1400",
            &["document KubeFlannelCNIConfig: backendType: missing"],
        ),
        (
            "KubeFlannelCNIConfig",
            "backendType: vxlan, kubeNetworkPoliciesEnabled: true",
            &["document KubeFlannelCNIConfig: kubeNetworkPoliciesEnabled: not yet supported"],
        ),
        (
            "KubeExternalManifestConfig",
            "name: A_b, url: 'ftp://h/m.yaml'",
            &[
                "document KubeExternalManifestConfig/A_b: name: \"A_b\" is not a DNS name of lower case letters",
                "document KubeExternalManifestConfig/A_b: url: expected http:// or https://",
            ],
        ),
        ("KubeStaticPodConfig", "name: a, pod: {}", &["document KubeStaticPodConfig/a: pod: missing"]),
        ("KubePrismConfig", "port: 0", &["document KubePrismConfig: port: 0 is below the minimum 1"]),
        (
            "KubeAggregatorCAConfig",
            "acceptedCAs: []",
            &["document KubeAggregatorCAConfig: issuingCA: missing"],
        ),
    ] {
        let mut found = problems(&document(kind, fields));
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{kind} {fields}");
    }
    let inline = problems(&document("KubeInlineManifestConfig", "name: m, manifest: '{'"));
    assert!(inline[0].starts_with("document KubeInlineManifestConfig/m: manifest: not YAML"), "{inline:?}");
}

#[test]
fn keys_and_certificates_must_be_what_they_say() {
    let document = |kind: &str, fields: &str| format!("{{apiVersion: v1alpha1, kind: {kind}, {fields}}}");
    let found =
        problems(&document("KubeAPIServerCAConfig", "issuingCA: {cert: x, key: hunter2}, acceptedCAs: [y]"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("issuingCA.cert: ") && found[1].contains("acceptedCAs[0]: "), "{found:?}");
    let accounts = "issuer: {privateKey: hunter2, issuerURL: 'https://h'}, accepted: {publicKeys: [z]}";
    let found = problems(&document("KubeServiceAccountConfig", accounts));
    assert!(
        found[0].contains("issuer.privateKey: ") && found[1].contains("accepted.publicKeys[0]: "),
        "{found:?}"
    );
    assert!(!found.concat().contains("hunter2"));
    let mut worker = documents(false);
    worker.retain(|node| node.get("kind").and_then(Node::as_text) != Some("KubeAPIServerCAConfig"));
    let of_control_plane = documents(true).into_iter();
    worker.extend(
        of_control_plane
            .filter(|node| node.get("kind").and_then(Node::as_text) == Some("KubeAPIServerCAConfig")),
    );
    let refused = check(&worker).expect_err("a key on a worker");
    assert!(refused.contains("issuingCA.key: not allowed on a worker"), "{refused}");
}
