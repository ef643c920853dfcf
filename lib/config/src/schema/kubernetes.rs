//! Documents about Kubernetes. What `v1alpha1` says of it stands in `cluster` and `machine`; the two are never set at
//! once (`validate::kubernetes`).

use crate::schema::Type::{Bool, Ip, List, Object, OneOf, Text, Url};
use crate::schema::cluster::RESOURCES;
use crate::schema::documents::PLAIN_PAIR;
use crate::schema::machine::NODE_IP;
use crate::schema::{ARGUMENTS, CIDRS, Merge, PORT, Record, TEXT_MAP, TEXTS, Type, U32, field};

pub const CLUSTER: Record = Record {
    doc: "The cluster that the machine belongs to.",
    fields: &[
        field("clusterName", Text, "Name of the cluster.").required(),
        field("endpoint", Url, "Address of the Kubernetes API for all.").required(),
    ],
};

pub const NETWORK: Record = Record {
    doc: "Networks of the cluster.",
    fields: &[
        field("dnsDomain", Text, "DNS domain of the cluster."),
        field("podSubnets", CIDRS, "Networks of pods.").merged(Merge::Replace).required(),
        field("serviceSubnets", CIDRS, "Networks of services.").merged(Merge::Replace).required(),
        field("nodeCIDRMaskSizeIPv4", Type::Integer(0, 32), "Prefix length of the pods of a node, IPv4."),
        field("nodeCIDRMaskSizeIPv6", Type::Integer(0, 128), "Prefix length of the pods of a node, IPv6."),
    ],
};

pub const FLANNEL: Record = Record {
    doc: "Flannel.",
    fields: &[
        field("backendType", Text, "How packets go between nodes."),
        field("backendPort", PORT, "Port of the backend."),
        field("backendMTU", U32, "Largest packet."),
        field("backendExtraConfig", Object, "More settings of the backend."),
        field("resources", Type::Record(&RESOURCES), "Resources."),
        field("extraArgs", TEXTS, "More command line arguments."),
        field("kubeNetworkPoliciesEnabled", Bool, "Whether network policies are enforced.").refused(),
    ],
};

pub const PRISM: Record = Record {
    doc: "Load balancer for the Kubernetes API on the machine.",
    fields: &[
        field("port", PORT, "Port on the loopback address.").required(),
        field("tlsServerName", Text, "Name that the certificate of the API is checked for."),
    ],
};

pub const KUBELET: Record = Record {
    doc: "The kubelet.",
    fields: &[
        field("image", Text, "Image of the kubelet.").required(),
        field("config", Object, "More fields of the KubeletConfiguration."),
        field("extraArgs", ARGUMENTS, "More command line arguments."),
        field("clusterDNS", List(&Ip), "DNS servers that pods are given."),
        field("defaultRuntimeSeccompProfileEnabled", Bool, "Whether pods run under the runtime's profile."),
    ],
};

pub const NODE: Record = Record {
    doc: "The Kubernetes node of the machine.",
    fields: &[
        field("skipNodeRegistration", Bool, "Whether the kubelet runs without the cluster."),
        field("registerWithFQDN", Bool, "Whether the node is named by its full name."),
        field("nodeIP", Type::Record(&NODE_IP), "How the node's addresses are chosen."),
        field("labels", TEXT_MAP, "Labels of the node."),
        field("annotations", TEXT_MAP, "Annotations of the node."),
        field("taints", TEXT_MAP, "Taints of the node, as value:effect."),
    ],
};

pub const API_SERVER: Record = Record {
    doc: "kube-apiserver.",
    fields: &[
        field("image", Text, "Image.").required(),
        field("extraArgs", ARGUMENTS, "More command line arguments."),
        field("env", TEXT_MAP, "Environment."),
        field("resources", Type::Record(&RESOURCES), "Resources."),
        field("apiPort", PORT, "Port of the API server on each control plane."),
        field("certExtraSANs", TEXTS, "More names and addresses for the certificate."),
        field("startupProbes", Bool, "Whether it has startup probes."),
    ],
};

pub const CONTROLLER_MANAGER: Record = Record {
    doc: "kube-controller-manager.",
    fields: &[
        field("enabled", Bool, "Whether it runs on this machine."),
        field("image", Text, "Image; only what is off needs none."),
        field("extraArgs", ARGUMENTS, "More command line arguments."),
        field("env", TEXT_MAP, "Environment."),
        field("resources", Type::Record(&RESOURCES), "Resources."),
    ],
};

pub const SCHEDULER: Record = Record {
    doc: "kube-scheduler.",
    fields: &[
        field("enabled", Bool, "Whether it runs on this machine."),
        field("image", Text, "Image; only what is off needs none."),
        field("config", Object, "More fields of the KubeSchedulerConfiguration."),
        field("extraArgs", ARGUMENTS, "More command line arguments."),
        field("env", TEXT_MAP, "Environment."),
        field("resources", Type::Record(&RESOURCES), "Resources."),
    ],
};

pub const PROXY: Record = Record {
    doc: "kube-proxy.",
    fields: &[
        field("enabled", Bool, "Whether it runs."),
        field("image", Text, "Image; only what is off needs none."),
        field("mode", Text, "Mode."),
        field("config", Object, "More fields of the KubeProxyConfiguration."),
        field("extraArgs", ARGUMENTS, "More command line arguments."),
        field("resources", Type::Record(&RESOURCES), "Resources."),
    ],
};

pub const CORE_DNS: Record = Record {
    doc: "CoreDNS.",
    fields: &[field("enabled", Bool, "Whether it runs."), field("image", Text, "Image.")],
};

pub const ADMISSION_CONTROL: Record = Record {
    doc: "An admission plug-in of kube-apiserver.",
    fields: &[
        field("name", Text, "Name of the plug-in.").required(),
        field("configuration", Object, "Its configuration."),
    ],
};

pub const AUDIT_POLICY: Record = Record {
    doc: "What kube-apiserver writes down.",
    fields: &[field("configuration", Object, "Audit policy.").merged(Merge::Replace)],
};

pub const AUTHENTICATION: Record = Record {
    doc: "Whom kube-apiserver believes.",
    fields: &[field("configuration", Object, "AuthenticationConfiguration.").merged(Merge::Replace)],
};

pub const AUTHORIZER: Record = Record {
    doc: "An authorizer of kube-apiserver.",
    fields: &[
        field("name", Text, "Name.").required(),
        field("type", OneOf(&["Node", "RBAC", "Webhook"]), "Type."),
        field("webhook", Object, "Settings of a webhook."),
    ],
};

pub const CREDENTIAL_PROVIDER: Record = Record {
    doc: "Where the kubelet gets credentials of registries.",
    fields: &[field("configuration", Object, "CredentialProviderConfig.").merged(Merge::Replace)],
};

pub const ETCD_ENCRYPTION: Record = Record {
    doc: "How kube-apiserver encrypts what it keeps in etcd.",
    fields: &[field("config", Object, "EncryptionConfiguration, with its keys.").secret()],
};

/// An authority: that of the Kubernetes API, or of aggregated API servers.
pub const AUTHORITY: Record = Record {
    doc: "An authority of the cluster.",
    fields: &[
        field("issuingCA", Type::Record(&PLAIN_PAIR), "The one that issues, on control planes."),
        field("acceptedCAs", TEXTS, "Certificates of those that are trusted, as PEM."),
    ],
};

pub const SERVICE_ACCOUNT: Record = Record {
    doc: "Tokens of service accounts.",
    fields: &[
        field("issuer", Type::Record(&ISSUER), "Who issues them.").required(),
        field("accepted", Type::Record(&ACCEPTED), "What is accepted beside those."),
    ],
};

const ISSUER: Record = Record {
    doc: "Who issues tokens.",
    fields: &[
        field("privateKey", Text, "Key that signs them, as PEM.").secret().required(),
        field("issuerURL", Url, "Name of the issuer.").required(),
    ],
};

const ACCEPTED: Record = Record {
    doc: "Tokens of others that are accepted.",
    fields: &[
        field("publicKeys", TEXTS, "Keys that they may be signed with, as PEM."),
        field("issuers", TEXTS, "Names of issuers."),
        field("audiences", TEXTS, "For whom they may be."),
    ],
};

pub const EXTERNAL_MANIFEST: Record = Record {
    doc: "A manifest that is fetched.",
    fields: &[
        field("name", Text, "Name.").required(),
        field("headers", TEXT_MAP, "HTTP headers.").secret(),
        field("url", Url, "Where it is.").required(),
    ],
};

pub const INLINE_MANIFEST: Record = Record {
    doc: "A manifest.",
    fields: &[field("name", Text, "Name.").required(), field("manifest", Text, "YAML.").required()],
};

pub const STATIC_POD: Record = Record {
    doc: "A static pod.",
    fields: &[
        field("name", Text, "Name.").required(),
        field("pod", Object, "The pod.").merged(Merge::Replace).required(),
    ],
};

pub const TALOS_API_ACCESS: Record = Record {
    doc: "Talos API for pods.",
    fields: &[
        field("allowedRoles", TEXTS, "Roles that may be asked for."),
        field("allowedKubernetesNamespaces", TEXTS, "Namespaces that may ask."),
    ],
};
