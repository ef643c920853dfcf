//! Labels and annotations: what is said about a resource beside its specification, and what a patch is for.
//!
//! ```text
//! labels of a ConfigPatch ─▶ PatchLayer:  Cluster ─▶ MachineSet ─▶ ClusterMachine ─▶ Machine   (later ones win)
//! ```
//!
//! Many labels say all by being there; their value is empty then.

use std::collections::BTreeMap;

/// Begin of the keys that only the manager and its providers give a meaning.
pub const PREFIX: &str = "omni.sidero.dev/";

/// Begin of the keys of infrastructure providers, followed by the id of the provider and a slash. A provider may put
/// such labels on machines that it brings.
pub const INFRA_PROVIDER_PREFIX: &str = "omni.sidero.dev/infra-provider/";

/// On everything that belongs to a cluster: its name. Access by cluster goes by it.
pub const CLUSTER: &str = "omni.sidero.dev/cluster";
/// On ClusterUUIDs and EtcdBackups: UUID of the cluster.
pub const CLUSTER_UUID: &str = "omni.sidero.dev/cluster-uuid";
/// On everything that belongs to a machine set: its id.
pub const MACHINE_SET: &str = "omni.sidero.dev/machine-set";
/// On what is meant for one machine as long as it is in its cluster, such as ConfigPatches: UUID of the machine.
pub const CLUSTER_MACHINE: &str = "omni.sidero.dev/cluster-machine";
/// On what is meant for one machine wherever it is, such as ConfigPatches: UUID of the machine.
pub const MACHINE: &str = "omni.sidero.dev/machine";
/// On MachineSets and what belongs to their machines: they are of the control plane.
pub const ROLE_CONTROL_PLANE: &str = "omni.sidero.dev/role-controlplane";
/// On MachineSets and what belongs to their machines: they are workers.
pub const ROLE_WORKER: &str = "omni.sidero.dev/role-worker";
/// On what shows a machine: its host name.
pub const HOSTNAME: &str = "omni.sidero.dev/hostname";
/// On ConfigPatches: the manager made it, and people cannot change it.
pub const SYSTEM_PATCH: &str = "omni.sidero.dev/system-patch";
/// On ConfigPatches: it is kept but not applied.
pub const DISABLED: &str = "omni.sidero.dev/disabled";
/// On KubernetesManifestGroups: the manager made it, and people cannot change it.
pub const SYSTEM_MANIFEST: &str = "omni.sidero.dev/system-manifest";
/// On ExposedServices: the name in the host of its URL; it never changes.
pub const EXPOSED_SERVICE_ALIAS: &str = "omni.sidero.dev/exposed-service-alias";
/// On Links, Machines and all that a provider shares with the manager: id of the provider.
pub const INFRA_PROVIDER_ID: &str = "omni.sidero.dev/infra-provider-id";
/// On InfraProviderStatuses: the provider has machines of its own and makes none on request.
pub const IS_STATIC_INFRA_PROVIDER: &str = "omni.sidero.dev/is-static-infra-provider";
/// On machines and their statuses: the machine belongs to such a provider.
pub const IS_MANAGED_BY_STATIC_INFRA_PROVIDER: &str = "omni.sidero.dev/is-managed-by-static-infra-provider";
/// On what came into being for a machine class: its name.
pub const MACHINE_CLASS_NAME: &str = "omni.sidero.dev/machine-class-name";
/// On Links, Machines and ConfigPatchRequests: id of the MachineRequest that the machine was made for.
pub const MACHINE_REQUEST: &str = "omni.sidero.dev/machine-request";
/// On MachineRequests and the machines made for them: id of the MachineRequestSet.
pub const MACHINE_REQUEST_SET: &str = "omni.sidero.dev/machine-request-set";
/// On ClusterMachineRequestStatuses: its machine is in the cluster, so the request need not be shown any more.
pub const MACHINE_REQUEST_IN_USE: &str = "omni.sidero.dev/machine-request-in-use";
/// On MachineRequestStatuses: id of the machine in the words of the provider.
pub const INFRA_ID: &str = "omni.sidero.dev/infra-id";
/// On machines that were made on request: classes that select by labels pass them over.
pub const NO_MANUAL_ALLOCATION: &str = "omni.sidero.dev/no-manual-allocation";
/// On MachineSetNodes: a machine class chose the machine, and may take it away again.
pub const MANAGED_BY_MACHINE_SET_NODE_CONTROLLER: &str =
    "omni.sidero.dev/managed-by-machine-set-node-controller";
/// On InfraMachines: nobody accepted the machine yet.
pub const ACCEPT_PENDING: &str = "omni.sidero.dev/accept-pending";
/// On ClusterStatuses: the secrets were made elsewhere, so others may have a copy.
pub const TAINTED_BY_IMPORTING: &str = "omni.sidero.dev/tainted-by-importing";
/// On ClusterStatuses: somebody took the administrator's configuration out of the manager.
pub const TAINTED_BY_EXPORTING: &str = "omni.sidero.dev/tainted-by-exporting";
/// On ClusterStatuses: somebody has credentials that go around the manager.
pub const TAINTED_BY_BREAK_GLASS: &str = "omni.sidero.dev/tainted-by-break-glass";
/// On PendingMachines, whose id is a key: UUID of the machine.
pub const MACHINE_UUID: &str = "omni.sidero.dev/machine-uuid";
/// On ClusterMachineStatuses: name of the machine in Kubernetes.
pub const NODE_NAME: &str = "omni.sidero.dev/node-name";
/// On Machines: its address in the tunnel, by which callers are known.
pub const ADDRESS: &str = "omni.sidero.dev/address";
/// On MachineExtensions: id of the ExtensionsConfiguration that they come from.
pub const ROOT_CONFIGURATION: &str = "omni.sidero.dev/root-configuration";
/// On ClusterMachineStatuses: an update waits because the machine is locked.
pub const LOCKED_UPDATE: &str = "omni.sidero.dev/locked-update";

/// Labels of MachineStatuses, by which machine classes and people select.
pub mod machine_status {
    /// The machine is reached.
    pub const CONNECTED: &str = "omni.sidero.dev/connected";
    /// The machine is not reached.
    pub const DISCONNECTED: &str = "omni.sidero.dev/disconnected";
    /// The machine is reached, or its provider turned it off and can turn it on.
    pub const READY_TO_USE: &str = "omni.sidero.dev/ready-to-use";
    /// The machine answers but refuses the manager: it belongs to a cluster that is not known here.
    pub const INVALID_STATE: &str = "omni.sidero.dev/invalid-state";
    /// Events of the machine arrive.
    pub const REPORTING_EVENTS: &str = "omni.sidero.dev/reporting-events";
    /// The machine is in no cluster.
    pub const AVAILABLE: &str = "omni.sidero.dev/available";
    /// An operating system is on its disk.
    pub const INSTALLED: &str = "omni.sidero.dev/installed";
    /// Its operating system is of the enterprise edition.
    pub const ENTERPRISE: &str = "omni.sidero.dev/enterprise";
    /// Its cryptography is that of FIPS 140: `enabled`, or `strict`.
    pub const FIPS: &str = "omni.sidero.dev/fips";
    /// Architecture, `amd64` or `arm64`.
    pub const ARCH: &str = "omni.sidero.dev/arch";
    /// Who makes its processors.
    pub const CPU: &str = "omni.sidero.dev/cpu";
    /// Cores of all processors, a number.
    pub const CORES: &str = "omni.sidero.dev/cores";
    /// Size of its memory with the unit.
    pub const MEM: &str = "omni.sidero.dev/mem";
    /// Size of all disks with the unit.
    pub const STORAGE: &str = "omni.sidero.dev/storage";
    /// Speed of all network links with the unit.
    pub const NET: &str = "omni.sidero.dev/net";
    /// Platform, such as `metal` or `aws`.
    pub const PLATFORM: &str = "omni.sidero.dev/platform";
    /// Region in the cloud.
    pub const REGION: &str = "omni.sidero.dev/region";
    /// Zone in the cloud.
    pub const ZONE: &str = "omni.sidero.dev/zone";
    /// Type of the instance in the cloud.
    pub const INSTANCE: &str = "omni.sidero.dev/instance";
    /// Version of its operating system.
    pub const TALOS_VERSION: &str = "omni.sidero.dev/talos-version";
}

/// Annotations: notes that nobody selects by.
pub mod annotation {
    /// On what cluster templates made: a sync may change and delete it.
    pub const MANAGED_BY_CLUSTER_TEMPLATES: &str = "omni.sidero.dev/managed-by-cluster-templates";
    /// On what a tool keeps as a repository has it: changes by hand do not last.
    pub const MANAGED_BY_GITOPS_TOOLS: &str = "omni.sidero.dev/managed-by-gitops-tools";

    /// On Clusters: nothing of it is changed, and it cannot be destroyed, unless an import is given up.
    pub const CLUSTER_LOCKED: &str = "omni.sidero.dev/cluster-locked";
    /// On Clusters: its machines are still being taken over, so that a locked cluster may be edited.
    pub const CLUSTER_IMPORT_IS_IN_PROGRESS: &str = "omni.sidero.dev/cluster-import-is-in-progress";
    /// On ClusterTaints: when credentials that go around the manager were handed out last.
    pub const TAINTED_BY_BREAK_GLASS_TIMESTAMP: &str = "omni.sidero.dev/tainted-by-break-glass-timestamp";
    /// On SecretRotations: version of the RotateTalosCA that the last rotation of this authority followed.
    pub const ROTATE_TALOS_CA_VERSION: &str = "omni.sidero.dev/rotate-talos-ca-version";
    /// On SecretRotations: when that rotation was done.
    pub const ROTATE_TALOS_CA_TIMESTAMP: &str = "omni.sidero.dev/rotate-talos-ca-timestamp";
    /// On SecretRotations: version of the RotateKubernetesCA that the last rotation of this authority followed.
    pub const ROTATE_KUBERNETES_CA_VERSION: &str = "omni.sidero.dev/rotate-kubernetes-ca-version";
    /// On SecretRotations: when that rotation was done.
    pub const ROTATE_KUBERNETES_CA_TIMESTAMP: &str = "omni.sidero.dev/rotate-kubernetes-ca-timestamp";
    /// On ClusterSecrets: version of the SecretRotation that they follow.
    pub const SECRET_ROTATION_VERSION: &str = "omni.sidero.dev/secret-rotation-version";

    /// On MachineSetNodes: the machine is neither updated nor upgraded nor removed.
    pub const LOCKED: &str = "omni.sidero.dev/locked";
    /// On ClusterMachines: its configuration keeps `machine.features.diskQuotaSupport`, which it was made with.
    pub const PRESERVE_DISK_QUOTA_SUPPORT: &str = "omni.sidero.dev/preserve-disk-quota-support";
    /// On ClusterMachines: its configuration keeps `machine.features.apidCheckExtKeyUsage`, which it was made with.
    pub const PRESERVE_APID_CHECK_EXT_KEY_USAGE: &str = "omni.sidero.dev/preserve-apid-check-ext-key-usage";
    /// On MachineStatuses: the KernelArgs of the machine were made from its image, which happens once.
    pub const KERNEL_ARGS_INITIALIZED: &str = "omni.sidero.dev/kernel-args-initialized";
    /// On MachineStatuses: the MachineLabels of the machine were made from the tags of its cloud, which happens once.
    pub const PLATFORM_TAG_LABELS_INITIALIZED: &str = "omni.sidero.dev/platform-tag-labels-initialized";

    /// On Links: the machine had a token of its own when it came first.
    pub const CREATED_WITH_UNIQUE_TOKEN: &str = "omni.sidero.dev/created-with-unique-token";
    /// On PendingMachines: another machine has the same UUID, so this one needs a new one.
    pub const UUID_CONFLICT: &str = "siderolink.omni.sidero.dev/uuid-conflict";
    /// On Links: an operating system is installed, so another token of the same hardware is refused.
    pub const FORCE_VALID_NODE_UNIQUE_TOKEN: &str =
        "siderolink.omni.sidero.dev/force-valid-node-unique-token";

    /// On ConfigPatches and KubernetesManifestGroups: what people call it.
    pub const NAME: &str = "name";
    /// On ConfigPatches: what it is for.
    pub const DESCRIPTION: &str = "description";

    /// On objects in Kubernetes: the KubernetesManifestGroup that they come from.
    pub const OWNED_BY_KUBERNETES_MANIFEST: &str = "omni.sidero.dev/owned-by-kubernetes-manifest";
    /// On nodes in Kubernetes: no audit deletes the node, if the cluster permits that.
    pub const NODE_AUDIT_SKIP: &str = "omni.sidero.dev/node-audit-skip";
}

/// Whether people cannot choose this key in templates, since the manager gives it a meaning.
#[must_use]
pub fn is_reserved(key: &str) -> bool {
    key.starts_with(PREFIX)
}

/// What a patch of the configuration is for. Patches of a later layer win; within a layer those with the greater id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PatchLayer {
    /// All machines of a cluster.
    Cluster,
    /// The machines of a machine set.
    MachineSet,
    /// One machine as long as it is in its cluster.
    ClusterMachine,
    /// One machine wherever it is; the only layer for machines in maintenance.
    Machine,
}

impl PatchLayer {
    /// The layer of a ConfigPatch with these labels: the narrowest thing that they name. Without a machine or a cluster
    /// it is for nothing.
    #[must_use]
    pub fn of(labels: &BTreeMap<String, String>) -> Option<Self> {
        let has = |key: &str| labels.contains_key(key);
        if has(MACHINE) {
            Some(Self::Machine)
        } else if !has(CLUSTER) {
            None
        } else if has(CLUSTER_MACHINE) {
            Some(Self::ClusterMachine)
        } else if has(MACHINE_SET) {
            Some(Self::MachineSet)
        } else {
            Some(Self::Cluster)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(keys: &[&str]) -> Option<PatchLayer> {
        PatchLayer::of(&keys.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect())
    }

    #[test]
    fn a_patch_is_for_the_narrowest_thing_that_its_labels_name() {
        assert_eq!(layer(&[CLUSTER, SYSTEM_PATCH]), Some(PatchLayer::Cluster));
        assert_eq!(layer(&[CLUSTER, MACHINE_SET]), Some(PatchLayer::MachineSet));
        assert_eq!(layer(&[CLUSTER, CLUSTER_MACHINE, MACHINE_SET]), Some(PatchLayer::ClusterMachine));
        assert_eq!(layer(&[MACHINE]), Some(PatchLayer::Machine));
        assert_eq!(layer(&[CLUSTER, MACHINE]), Some(PatchLayer::Machine));
    }

    #[test]
    fn a_patch_that_names_neither_machine_nor_cluster_is_for_nothing() {
        assert_eq!(layer(&[]), None);
        assert_eq!(layer(&[MACHINE_SET, CLUSTER_MACHINE]), None);
    }

    #[test]
    fn layers_are_applied_from_the_cluster_to_the_machine() {
        let mut layers =
            [PatchLayer::Machine, PatchLayer::MachineSet, PatchLayer::ClusterMachine, PatchLayer::Cluster];
        layers.sort();
        let applied =
            [PatchLayer::Cluster, PatchLayer::MachineSet, PatchLayer::ClusterMachine, PatchLayer::Machine];
        assert_eq!(layers, applied);
    }

    #[test]
    fn only_keys_with_the_prefix_are_reserved() {
        assert!(is_reserved(CLUSTER) && is_reserved("omni.sidero.dev/anything"));
        for free in [annotation::NAME, annotation::UUID_CONFLICT, "example.com/omni.sidero.dev/x"] {
            assert!(!is_reserved(free), "{free}");
        }
    }
}
