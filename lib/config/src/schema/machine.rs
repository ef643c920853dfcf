//! `machine` of the `v1alpha1` document.

use super::Type::{Bool, Duration, Integer, List, Map, Mode, Object, OneOf, Pem, Size, Text, Url};
use super::{ARGUMENTS, Merge, PORT, Record, TEXT_MAP, TEXTS, Type, U32, field, network};

/// The machine itself.
pub const MACHINE: Record = Record {
    doc: "The machine: identity, network, storage and system settings.",
    fields: &[
        field("type", OneOf(&["controlplane", "worker", "init", "join"]), "Role in the cluster.").required(),
        field("token", Text, "Secret that lets a machine join through trustd.").secret(),
        field("ca", Type::Record(&PAIR), "Talos CA; workers have the certificate only."),
        field("acceptedCAs", List(&Type::Record(&CERTIFICATE)), "More Talos CAs to trust, for rotation."),
        field("certSANs", TEXTS, "More names and addresses for the API certificate."),
        field("controlPlane", Type::Record(&CONTROL_PLANE), "Which control plane components run here."),
        field("kubelet", Type::Record(&KUBELET), "The kubelet."),
        field("pods", List(&Object), "Static pods."),
        field("network", Type::Record(&network::NETWORK), "Network settings."),
        field("disks", List(&Type::Record(&DISK)), "Partitions on further disks."),
        field("install", Type::Record(&INSTALL), "Where and what to install."),
        field("files", List(&Type::Record(&FILE)), "Files to write below /var."),
        field("env", TEXT_MAP, "Environment of system services."),
        field("time", Type::Record(&TIME), "Clock synchronization."),
        field("sysctls", TEXT_MAP, "Kernel parameters below /proc/sys."),
        field("sysfs", TEXT_MAP, "Values below /sys."),
        field("registries", Type::Record(&REGISTRIES), "Mirrors and credentials of image registries."),
        field("systemDiskEncryption", Type::Record(&DISK_ENCRYPTION), "Encryption of system volumes.")
            .refused(),
        field("features", Type::Record(&FEATURES), "Features that can be switched."),
        field("udev", Type::Record(&UDEV), "Device rules."),
        field("logging", Type::Record(&LOGGING), "Where service logs are sent.").inert(),
        field("kernel", Type::Record(&KERNEL), "Kernel modules."),
        field("seccompProfiles", List(&Type::Record(&SECCOMP)), "Seccomp profiles for pods."),
        field("baseRuntimeSpecOverrides", Object, "Changes to the base OCI runtime specification."),
        field("nodeLabels", TEXT_MAP, "Labels of the Kubernetes node."),
        field("nodeAnnotations", TEXT_MAP, "Annotations of the Kubernetes node."),
        field("nodeTaints", TEXT_MAP, "Taints of the Kubernetes node, as value:effect."),
    ],
};

/// A certificate with its key.
pub const PAIR: Record = Record {
    doc: "A certificate with its key.",
    fields: &[field("crt", Pem, "Certificate."), field("key", Pem, "Private key.").secret()],
};

/// A certificate.
pub const CERTIFICATE: Record =
    Record { doc: "A certificate.", fields: &[field("crt", Pem, "Certificate.")] };

const DISABLED: Record =
    Record { doc: "A switch.", fields: &[field("disabled", Bool, "Whether it is off.")] };

const CONTROL_PLANE: Record = Record {
    doc: "Control plane components of this machine.",
    fields: &[
        field("controllerManager", Type::Record(&DISABLED), "kube-controller-manager on this machine."),
        field("scheduler", Type::Record(&DISABLED), "kube-scheduler on this machine."),
    ],
};

const KUBELET: Record = Record {
    doc: "The kubelet.",
    fields: &[
        field("image", Text, "Image of the kubelet."),
        field("clusterDNS", List(&Type::Ip), "DNS servers that pods are given."),
        field("extraArgs", ARGUMENTS, "More command line arguments."),
        field("extraMounts", List(&Type::Record(&EXTRA_MOUNT)), "More mounts of the kubelet container."),
        field("extraConfig", Object, "More fields of the KubeletConfiguration."),
        field("credentialProviderConfig", Object, "CredentialProviderConfig of the kubelet.")
            .merged(Merge::Replace),
        field("defaultRuntimeSeccompProfileEnabled", Bool, "Whether pods run under the runtime's profile."),
        field("registerWithFQDN", Bool, "Whether the node is named by its full name."),
        field("nodeIP", Type::Record(&NODE_IP), "How the node's addresses are chosen."),
        field("skipNodeRegistration", Bool, "Whether the kubelet runs without the cluster."),
        field("disableManifestsDirectory", Bool, "Whether /etc/kubernetes/manifests is not read."),
    ],
};

const EXTRA_MOUNT: Record = Record {
    doc: "A mount in the form of the OCI runtime specification.",
    fields: &[
        field("destination", Text, "Where it appears.").required(),
        field("type", Text, "Type of file system."),
        field("source", Text, "What is mounted."),
        field("options", TEXTS, "Mount options."),
        field("uidMappings", List(&Type::Record(&ID_MAPPING)), "User mappings.").refused(),
        field("gidMappings", List(&Type::Record(&ID_MAPPING)), "Group mappings.").refused(),
    ],
};

const ID_MAPPING: Record = Record {
    doc: "A range of ids.",
    fields: &[
        field("containerID", U32, "First id inside."),
        field("hostID", U32, "First id outside."),
        field("size", U32, "Number of ids."),
    ],
};

/// Choice of node addresses.
pub const NODE_IP: Record = Record {
    doc: "Choice of node addresses.",
    fields: &[field("validSubnets", TEXTS, "Networks that addresses must be in; a leading ! excludes.")],
};

const DISK: Record = Record {
    doc: "A further disk.",
    fields: &[
        field("device", Text, "Device."),
        field("partitions", List(&Type::Record(&PARTITION)), "Partitions."),
    ],
};

const PARTITION: Record = Record {
    doc: "A partition.",
    fields: &[field("size", Size, "Size."), field("mountpoint", Text, "Where it is mounted.")],
};

const INSTALL: Record = Record {
    doc: "Installation to disk.",
    fields: &[
        field("disk", Text, "Disk to install to."),
        field("diskSelector", Type::Record(&DISK_SELECTOR), "Properties of the disk to install to.").inert(),
        field("extraKernelArgs", TEXTS, "More kernel arguments.").inert(),
        field("image", Text, "Installer image."),
        field("extensions", List(&Type::Record(&EXTENSION)), "System extensions.").inert(),
        field("bootloader", Bool, "Whether a boot loader is installed.").inert(),
        field("wipe", Bool, "Whether the disk is wiped first.").inert(),
        field("legacyBIOSSupport", Bool, "Whether the partition is marked for old firmware.").inert(),
        field("grubUseUKICmdline", Bool, "Whether kernel arguments come from the image; they always do."),
    ],
};

const DISK_SELECTOR: Record = Record {
    doc: "Properties of a disk; all given ones must match.",
    fields: &[
        field("size", Text, "Size with an optional comparison, such as >= 10GB."),
        field("name", Text, "Name in /sys/block."),
        field("model", Text, "Model."),
        field("serial", Text, "Serial number."),
        field("modalias", Text, "Modalias."),
        field("uuid", Text, "UUID."),
        field("wwid", Text, "World wide id."),
        field("type", OneOf(&["ssd", "hdd", "nvme", "sd"]), "Type of disk."),
        field("busPath", Text, "Path of the bus."),
    ],
};

const EXTENSION: Record = Record { doc: "A system extension.", fields: &[field("image", Text, "Image.")] };

const FILE: Record = Record {
    doc: "A file.",
    fields: &[
        field("content", Text, "Content."),
        field("permissions", Mode, "Permissions."),
        field("path", Text, "Where."),
        field("op", OneOf(&["create", "append", "overwrite"]), "What to do if it exists."),
    ],
};

const TIME: Record = Record {
    doc: "Clock synchronization.",
    fields: &[
        field("disabled", Bool, "Whether it is off."),
        field("servers", TEXTS, "Time servers."),
        field("bootTimeout", Duration, "How long booting waits for the clock."),
    ],
};

const REGISTRIES: Record = Record {
    doc: "Image registries.",
    fields: &[
        field("mirrors", Map(&Type::Record(&MIRROR)), "Mirrors by registry host; * stands for all others."),
        field("config", Map(&Type::Record(&REGISTRY)), "TLS and credentials by host."),
    ],
};

const MIRROR: Record = Record {
    doc: "Mirrors of one registry.",
    fields: &[
        field("endpoints", List(&Url), "Mirrors in order."),
        field("overridePath", Bool, "Whether the endpoint's path takes the place of /v2."),
        field("skipFallback", Bool, "Whether the registry itself is never asked."),
    ],
};

const REGISTRY: Record = Record {
    doc: "Access to one registry.",
    fields: &[
        field("tls", Type::Record(&REGISTRY_TLS), "TLS."),
        field("auth", Type::Record(&REGISTRY_AUTH), "Credentials."),
    ],
};

const REGISTRY_TLS: Record = Record {
    doc: "TLS to a registry.",
    fields: &[
        field("clientIdentity", Type::Record(&PAIR), "Client certificate."),
        field("ca", Pem, "CA to trust."),
        field("insecureSkipVerify", Bool, "Whether any certificate is accepted."),
    ],
};

const REGISTRY_AUTH: Record = Record {
    doc: "Credentials for a registry.",
    fields: &[
        field("username", Text, "User."),
        field("password", Text, "Password.").secret(),
        field("auth", Text, "User and password in base64.").secret(),
        field("identityToken", Text, "Token.").secret(),
    ],
};

const DISK_ENCRYPTION: Record = Record {
    doc: "Encryption of system volumes.",
    fields: &[
        field("state", Type::Record(&ENCRYPTION), "STATE."),
        field("ephemeral", Type::Record(&ENCRYPTION), "EPHEMERAL."),
    ],
};

/// Encryption of a volume.
pub const ENCRYPTION: Record = Record {
    doc: "Encryption of a volume.",
    fields: &[
        field("provider", OneOf(&["luks2"]), "Format."),
        field("keys", List(&Type::Record(&ENCRYPTION_KEY)), "Keys."),
        field("cipher", Text, "Cipher."),
        field("keySize", U32, "Bits of the volume key."),
        field("blockSize", U32, "Sector size."),
        field("options", TEXTS, "More options."),
        field("allowDiscards", Bool, "Whether discards reach the disk."),
    ],
};

const ENCRYPTION_KEY: Record = Record {
    doc: "A key slot.",
    fields: &[
        field("slot", Integer(0, 31), "Number of the slot."),
        field("static", Type::Record(&STATIC_KEY), "A passphrase."),
        field("nodeID", Type::Record(&NODE_ID_KEY), "A key derived from the machine's identity."),
        field("kms", Type::Record(&KMS_KEY), "A key sealed by a key server."),
        field("tpm", Type::Record(&TPM_KEY), "A key sealed by the TPM."),
        field("lockToState", Bool, "Whether the key is bound to the STATE volume."),
    ],
};

const STATIC_KEY: Record =
    Record { doc: "A passphrase.", fields: &[field("passphrase", Text, "The passphrase.").secret()] };

const NODE_ID_KEY: Record = Record { doc: "A key derived from the machine's identity.", fields: &[] };

const KMS_KEY: Record = Record { doc: "A key server.", fields: &[field("endpoint", Text, "Its address.")] };

const TPM_KEY: Record = Record {
    doc: "The TPM.",
    fields: &[
        field("checkSecurebootStatusOnEnroll", Bool, "Whether Secure Boot must be on when sealing."),
        field("options", Object, "PCR choice."),
    ],
};

const FEATURES: Record = Record {
    doc: "Features that can be switched.",
    fields: &[
        field("rbac", Bool, "Always on."),
        field("stableHostname", Bool, "Whether the default name comes from the machine's identity."),
        field("kubernetesTalosAPIAccess", Type::Record(&API_ACCESS), "Talos API for pods.").inert(),
        field("apidCheckExtKeyUsage", Bool, "Always on."),
        field("diskQuotaSupport", Bool, "Whether EPHEMERAL is mounted with project quotas."),
        field("kubePrism", Type::Record(&KUBE_PRISM), "Load balancer for the Kubernetes API on the machine."),
        field("hostDNS", Type::Record(&HOST_DNS), "Caching resolver on the machine."),
        field("imageCache", Type::Record(&IMAGE_CACHE), "Local image cache."),
        field("nodeAddressSortAlgorithm", OneOf(&["v1", "v2"]), "How addresses are ordered."),
    ],
};

const API_ACCESS: Record = Record {
    doc: "Talos API for pods.",
    fields: &[
        field("enabled", Bool, "Whether it is on."),
        field("allowedRoles", TEXTS, "Roles that may be asked for."),
        field("allowedKubernetesNamespaces", TEXTS, "Namespaces that may ask."),
    ],
};

const KUBE_PRISM: Record = Record {
    doc: "Load balancer for the Kubernetes API on the machine.",
    fields: &[
        field("enabled", Bool, "Whether it is on."),
        field("port", PORT, "Port on the loopback address."),
    ],
};

/// Caching resolver on the machine.
pub const HOST_DNS: Record = Record {
    doc: "Caching resolver on the machine.",
    fields: &[
        field("enabled", Bool, "Whether it is on."),
        field("forwardKubeDNSToHost", Bool, "Whether CoreDNS asks it."),
        field("resolveMemberNames", Bool, "Whether it answers names of cluster members."),
    ],
};

const IMAGE_CACHE: Record =
    Record { doc: "Local image cache.", fields: &[field("localEnabled", Bool, "Whether it is on.")] };

const UDEV: Record = Record { doc: "Device rules.", fields: &[field("rules", TEXTS, "Rules.")] };

const LOGGING: Record = Record {
    doc: "Where service logs are sent.",
    fields: &[field("destinations", List(&Type::Record(&DESTINATION)), "Destinations.")],
};

const DESTINATION: Record = Record {
    doc: "A destination of logs.",
    fields: &[
        field("endpoint", Url, "Address, tcp or udp."),
        field("format", OneOf(&["json_lines"]), "Format."),
        field("extraTags", TEXT_MAP, "Tags added to each message."),
    ],
};

const KERNEL: Record = Record {
    doc: "Kernel modules.",
    fields: &[field("modules", List(&Type::Record(&MODULE)), "Modules to load.")],
};

const MODULE: Record = Record {
    doc: "A kernel module.",
    fields: &[field("name", Text, "Name.").required(), field("parameters", TEXTS, "Parameters.")],
};

const SECCOMP: Record = Record {
    doc: "A seccomp profile.",
    fields: &[field("name", Text, "File name.").required(), field("value", Object, "Profile.")],
};
