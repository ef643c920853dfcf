//! Kinds about Kubernetes.

use super::{Needs, Row, Seen, row};

const fn kubernetes(
    kind: &'static str,
    body: &'static str,
    command: &'static [&'static str],
    words: &'static [&'static str],
) -> Row {
    Row { kind, needs: Needs::Machine, body, seen: Seen::Kubernetes(command, words) }
}

const fn always(kind: &'static str, body: &'static str) -> Row {
    Row { kind, needs: Needs::Machine, body, seen: Seen::Always }
}

/// The command line of a component of the control plane.
macro_rules! arguments_of {
    ($name:literal) => {
        &["get", "pods", "-n", "kube-system", "-l", concat!("k8s-app=", $name), "-o", "yaml"]
    };
}

/// Each with an example and where its effect is seen.
pub(super) const ROWS: &[Row] = &[
    row(
        "KubeAdmissionControlConfig",
        "name: EventRateLimit\nconfiguration:\n  apiVersion: eventratelimit.admission.k8s.io/v1alpha1\n  kind: Configuration\n  limits:\n    - type: Server\n      qps: 5000\n      burst: 20000\n",
        &["get", "admissioncontrolconfigs", "-o", "yaml"],
        &["EventRateLimit"],
    ),
    row("KubeAggregatorCAConfig", "acceptedCAs: []\n", &["get", "kubernetesrootsecrets"], &["k8s"]),
    kubernetes(
        "KubeAPIServerConfig",
        "image: registry.k8s.io/kube-apiserver:v@KUBERNETES@\nextraArgs:\n  profiling: \"true\"\n",
        arguments_of!("kube-apiserver"),
        &["--profiling=true"],
    ),
    row("KubeAPIServerCAConfig", "acceptedCAs: []\n", &["get", "kubernetesrootsecrets"], &["k8s"]),
    row(
        "KubeAuditPolicyConfig",
        "configuration:\n  apiVersion: audit.k8s.io/v1\n  kind: Policy\n  rules:\n    - level: None\n",
        &["get", "auditpolicyconfigs", "-o", "yaml"],
        &["level: None"],
    ),
    row(
        "KubeAuthenticationConfig",
        "configuration:\n  apiVersion: apiserver.config.k8s.io/v1\n  kind: AuthenticationConfiguration\n  jwt: []\n",
        &["get", "authenticationconfigs", "-o", "yaml"],
        &["jwt"],
    ),
    row(
        "KubeAuthorizerConfig",
        "name: rbac\ntype: RBAC\n",
        &["get", "authorizationconfigs", "-o", "yaml"],
        &["RBAC"],
    ),
    row(
        "KubeClusterConfig",
        "clusterName: e2e\nendpoint: https://127.0.0.1:6443\n",
        &["get", "infos"],
        &["e2e"],
    ),
    kubernetes(
        "KubeControllerManagerConfig",
        "image: registry.k8s.io/kube-controller-manager:v@KUBERNETES@\nextraArgs:\n  profiling: \"true\"\n",
        arguments_of!("kube-controller-manager"),
        &["--profiling=true"],
    ),
    always("KubeCoreDNSConfig", "enabled: true\n"),
    row(
        "KubeCredentialProviderConfig",
        "configuration:\n  apiVersion: kubelet.config.k8s.io/v1\n  kind: CredentialProviderConfig\n  providers: []\n",
        &["get", "kubeletspec", "-o", "yaml"],
        &["CredentialProviderConfig"],
    ),
    row(
        "KubeEtcdEncryptionConfig",
        "config:\n  apiVersion: apiserver.config.k8s.io/v1\n  kind: EncryptionConfiguration\n  resources:\n    - resources: [secrets]\n      providers:\n        - identity: {}\n",
        &["get", "etcdencryptionconfigs", "-o", "yaml"],
        &["identity"],
    ),
    row(
        "KubeExternalManifestConfig",
        "name: page\nurl: http://127.0.0.1:1/page.yaml\n",
        &["get", "extramanifestsconfigs", "-o", "yaml"],
        &["127.0.0.1:1"],
    ),
    // What a cluster has of its manifests is changed by an upgrade of Kubernetes only, which comes later.
    row("KubeFlannelCNIConfig", "backendMTU: 1400\n", &["get", "manifests", "-o", "yaml"], &["1400"]),
    kubernetes(
        "KubeInlineManifestConfig",
        "name: page\nmanifest: |\n  apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: inline\n    namespace: default\n",
        &["get", "configmap", "-n", "default"],
        &["inline"],
    ),
    row(
        "KubeletConfig",
        "image: ghcr.io/siderolabs/kubelet:v@KUBERNETES@\nextraArgs:\n  v: \"3\"\n",
        &["get", "kubeletspec", "-o", "yaml"],
        &["--v=3"],
    ),
    always("KubePrismConfig", "port: 7445\n"),
    row(
        "KubeNetworkConfig",
        "dnsDomain: cluster.local\npodSubnets: [10.244.0.0/16]\nserviceSubnets: [10.96.0.0/12]\n",
        &["get", "kubeletconfigs", "-o", "yaml"],
        &["cluster.local"],
    ),
    kubernetes(
        "KubeNodeConfig",
        "labels:\n  zone: a\ntaints:\n  e2e: \"yes:PreferNoSchedule\"\n",
        &["get", "nodes", "-o", "yaml"],
        &["zone: a", "PreferNoSchedule"],
    ),
    row(
        "KubeProxyConfig",
        "enabled: true\nimage: registry.k8s.io/kube-proxy:v@KUBERNETES@\nmode: iptables\n",
        &["get", "manifests", "-o", "yaml"],
        &["iptables"],
    ),
    kubernetes(
        "KubeSchedulerConfig",
        "image: registry.k8s.io/kube-scheduler:v@KUBERNETES@\nextraArgs:\n  profiling: \"true\"\n",
        arguments_of!("kube-scheduler"),
        &["--profiling=true"],
    ),
    row(
        "KubeServiceAccountConfig",
        "issuer:\n  issuerURL: https://issuer.test\n  privateKey: |\n@KEY@",
        &["get", "kubernetesrootsecrets", "-o", "yaml"],
        &["issuer.test"],
    ),
    row(
        "KubeStaticPodConfig",
        "name: page\npod:\n  apiVersion: v1\n  kind: Pod\n  metadata:\n    name: page\n  spec:\n    containers:\n      - name: page\n        image: registry.invalid/page:1\n",
        &["get", "staticpods"],
        &["page"],
    ),
    row(
        "KubeTalosAPIAccessConfig",
        "allowedRoles: [os:reader]\nallowedKubernetesNamespaces: [default]\n",
        &["get", "kubernetesaccessconfigs"],
        &["config"],
    ),
];
