//! `cluster` of the `v1alpha1` document.

use super::Type::{Bool, Duration, List, Object, OneOf, Pem, Text, Url};
use super::machine::{CERTIFICATE, PAIR};
use super::{ARGUMENTS, CIDRS, Merge, PORT, Record, TEXT_MAP, TEXTS, Type, field};

/// The cluster.
pub const CLUSTER: Record = Record {
    doc: "The cluster: identity, secrets, Kubernetes and etcd.",
    fields: &[
        field("id", Text, "Identity of the cluster for discovery."),
        field("secret", Text, "Shared secret of the cluster.").secret(),
        field("controlPlane", Type::Record(&CONTROL_PLANE), "Where the Kubernetes API is."),
        field("clusterName", Text, "Name of the cluster."),
        field("network", Type::Record(&NETWORK), "Networks of the cluster."),
        field("token", Text, "Kubernetes bootstrap token.").secret(),
        field("aescbcEncryptionSecret", Text, "Key that encrypts secrets in etcd, older form.").secret(),
        field("secretboxEncryptionSecret", Text, "Key that encrypts secrets in etcd.").secret(),
        field("ca", Type::Record(&PAIR), "Kubernetes CA; workers have the certificate only."),
        field(
            "acceptedCAs",
            List(&Type::Record(&CERTIFICATE)),
            "More Kubernetes CAs to trust, for rotation.",
        ),
        field("aggregatorCA", Type::Record(&PAIR), "CA of aggregated API servers."),
        field("serviceAccount", Type::Record(&KEY), "Key that signs service account tokens."),
        field("apiServer", Type::Record(&API_SERVER), "kube-apiserver."),
        field("controllerManager", Type::Record(&CONTROLLER_MANAGER), "kube-controller-manager."),
        field("proxy", Type::Record(&PROXY), "kube-proxy."),
        field("scheduler", Type::Record(&SCHEDULER), "kube-scheduler."),
        field("discovery", Type::Record(&DISCOVERY), "How members find each other."),
        field("etcd", Type::Record(&ETCD), "etcd."),
        field("coreDNS", Type::Record(&CORE_DNS), "CoreDNS."),
        field("externalCloudProvider", Type::Record(&CLOUD_PROVIDER), "Cloud provider outside Kubernetes."),
        field("extraManifests", TEXTS, "URLs of more manifests."),
        field("extraManifestHeaders", TEXT_MAP, "HTTP headers for them.").secret(),
        field("inlineManifests", List(&Type::Record(&INLINE_MANIFEST)), "More manifests."),
        field("adminKubeconfig", Type::Record(&ADMIN_KUBECONFIG), "Kubeconfigs of administrators."),
        field("allowSchedulingOnMasters", Bool, "Older form of allowSchedulingOnControlPlanes."),
        field("allowSchedulingOnControlPlanes", Bool, "Whether control planes run ordinary pods."),
    ],
};

const KEY: Record = Record { doc: "A private key.", fields: &[field("key", Pem, "Private key.").secret()] };

const CONTROL_PLANE: Record = Record {
    doc: "Where the Kubernetes API is.",
    fields: &[
        field("endpoint", Url, "Address of the Kubernetes API for all."),
        field("localAPIServerPort", PORT, "Port of the API server on each control plane."),
    ],
};

const NETWORK: Record = Record {
    doc: "Networks of the cluster.",
    fields: &[
        field("cni", Type::Record(&CNI), "Pod network."),
        field("dnsDomain", Text, "DNS domain of the cluster."),
        field("podSubnets", CIDRS, "Networks of pods.").merged(Merge::Replace),
        field("serviceSubnets", CIDRS, "Networks of services.").merged(Merge::Replace),
    ],
};

const CNI: Record = Record {
    doc: "Pod network.",
    fields: &[
        field("name", OneOf(&["custom", "flannel", "none"]), "Which one."),
        field("urls", TEXTS, "Manifests of a custom one."),
        field("flannel", Type::Record(&FLANNEL), "Flannel."),
    ],
};

const FLANNEL: Record = Record {
    doc: "Flannel.",
    fields: &[
        field("extraArgs", TEXTS, "More command line arguments."),
        field("kubeNetworkPoliciesEnabled", Bool, "Whether network policies are enforced.").inert(),
    ],
};

const API_SERVER: Record = Record {
    doc: "kube-apiserver.",
    fields: &[
        field("image", Text, "Image."),
        field("extraArgs", ARGUMENTS, "More command line arguments."),
        field("extraVolumes", List(&Type::Record(&VOLUME)), "More volumes."),
        field("env", TEXT_MAP, "Environment."),
        field("certSANs", TEXTS, "More names and addresses for the certificate."),
        field("disablePodSecurityPolicy", Bool, "Has no meaning any more."),
        field("admissionControl", List(&Type::Record(&ADMISSION)), "Admission plug-ins.")
            .merged(Merge::Keyed(&["name"])),
        field("auditPolicy", Object, "Audit policy.").merged(Merge::Replace),
        field("resources", Type::Record(&RESOURCES), "Resources."),
        field("authorizationConfig", List(&Type::Record(&AUTHORIZER)), "Authorizers."),
    ],
};

const VOLUME: Record = Record {
    doc: "A volume of a static pod.",
    fields: &[
        field("hostPath", Text, "Path on the machine."),
        field("mountPath", Text, "Path in the pod."),
        field("readonly", Bool, "Whether it is read only."),
    ],
};

const ADMISSION: Record = Record {
    doc: "An admission plug-in.",
    fields: &[field("name", Text, "Name.").required(), field("configuration", Object, "Configuration.")],
};

/// Resources of a pod.
pub const RESOURCES: Record = Record {
    doc: "Resources of a pod.",
    fields: &[field("requests", Object, "Requests."), field("limits", Object, "Limits.")],
};

const AUTHORIZER: Record = Record {
    doc: "An authorizer.",
    fields: &[
        field("type", OneOf(&["Node", "RBAC", "Webhook"]), "Type."),
        field("name", Text, "Name."),
        field("webhook", Object, "Settings of a webhook."),
    ],
};

const CONTROLLER_MANAGER: Record = Record {
    doc: "kube-controller-manager.",
    fields: &[
        field("image", Text, "Image."),
        field("extraArgs", ARGUMENTS, "More command line arguments."),
        field("extraVolumes", List(&Type::Record(&VOLUME)), "More volumes."),
        field("env", TEXT_MAP, "Environment."),
        field("resources", Type::Record(&RESOURCES), "Resources."),
    ],
};

const SCHEDULER: Record = Record {
    doc: "kube-scheduler.",
    fields: &[
        field("image", Text, "Image."),
        field("extraArgs", ARGUMENTS, "More command line arguments."),
        field("extraVolumes", List(&Type::Record(&VOLUME)), "More volumes."),
        field("env", TEXT_MAP, "Environment."),
        field("resources", Type::Record(&RESOURCES), "Resources."),
        field("config", Object, "KubeSchedulerConfiguration."),
    ],
};

const PROXY: Record = Record {
    doc: "kube-proxy.",
    fields: &[
        field("disabled", Bool, "Whether it is left out."),
        field("image", Text, "Image."),
        field("mode", Text, "Mode."),
        field("extraArgs", ARGUMENTS, "More command line arguments."),
    ],
};

const DISCOVERY: Record = Record {
    doc: "How members find each other.",
    fields: &[
        field("enabled", Bool, "Whether it is on."),
        field("registries", Type::Record(&DISCOVERY_REGISTRIES), "Where members are registered."),
    ],
};

const DISCOVERY_REGISTRIES: Record = Record {
    doc: "Where members are registered.",
    fields: &[
        field("kubernetes", Type::Record(&KUBERNETES_REGISTRY), "Annotations of Kubernetes nodes."),
        field("service", Type::Record(&SERVICE_REGISTRY), "Discovery service."),
    ],
};

const KUBERNETES_REGISTRY: Record = Record {
    doc: "Annotations of Kubernetes nodes.",
    fields: &[field("disabled", Bool, "Whether it is off.")],
};

const SERVICE_REGISTRY: Record = Record {
    doc: "Discovery service.",
    fields: &[field("disabled", Bool, "Whether it is off."), field("endpoint", Text, "Its address.")],
};

const ETCD: Record = Record {
    doc: "etcd.",
    fields: &[
        field("image", Text, "Image."),
        field("ca", Type::Record(&PAIR), "CA of etcd."),
        field("extraArgs", ARGUMENTS, "More command line arguments."),
        field("subnet", Text, "Older form of advertisedSubnets."),
        field("advertisedSubnets", TEXTS, "Networks of advertised addresses; a leading ! excludes."),
        field("listenSubnets", TEXTS, "Networks to listen in; a leading ! excludes."),
    ],
};

const CORE_DNS: Record = Record {
    doc: "CoreDNS.",
    fields: &[field("disabled", Bool, "Whether it is left out."), field("image", Text, "Image.")],
};

const CLOUD_PROVIDER: Record = Record {
    doc: "Cloud provider outside Kubernetes.",
    fields: &[
        field("enabled", Bool, "Whether there is one."),
        field("manifests", TEXTS, "URLs of its manifests."),
    ],
};

const INLINE_MANIFEST: Record = Record {
    doc: "A manifest.",
    fields: &[field("name", Text, "Name.").required(), field("contents", Text, "YAML.")],
};

const ADMIN_KUBECONFIG: Record = Record {
    doc: "Kubeconfigs of administrators.",
    fields: &[field("certLifetime", Duration, "How long their certificates are valid.")],
};
