//! Types of which a machine may have no resource, each with its reason.
//!
//! Every other type that is served has at least one resource on a running control plane with disks, a manager apart.
//! A reason names what is not there; a type leaves the table when it gets a writer.

/// Type and why a machine may have none of it, in order of types.
pub const MAY_BE_EMPTY: &[(&str, &str)] = &[
    ("BGPInstanceConfigs.net.talos.dev", "BGPInstanceConfig is refused by name"),
    ("BGPPeerStatuses.net.talos.dev", "BGPInstanceConfig is refused by name"),
    ("ContainerImageStatuses.containers.talos.dev", "ContainerConfig is refused by name"),
    ("ContainerInstanceSpecs.containers.talos.dev", "ContainerConfig is refused by name"),
    ("ContainerSpecs.containers.talos.dev", "ContainerConfig is refused by name"),
    ("DebugSessions.corten.dev", "nobody has debugged the machine"),
    (
        "DeviceConfigSpecs.net.talos.dev",
        "the configuration has no machine.network.interfaces, which documents replace",
    ),
    ("Diagnostics.runtime.talos.dev", "nothing is wrong"),
    ("EncryptionSalts.secrets.talos.dev", "no volume is encrypted with a key that the machine makes"),
    ("EtcdEncryptionConfigs.kubernetes.talos.dev", "fields of older contracts tell how etcd is encrypted"),
    ("ExtensionServiceConfigStatuses.runtime.talos.dev", "ExtensionServiceConfig is refused by name"),
    ("ExtensionServiceConfigs.runtime.talos.dev", "ExtensionServiceConfig is refused by name"),
    ("ExtensionStatuses.runtime.talos.dev", "images have no extensions yet"),
    ("FSScrubStatuses.block.talos.dev", "no scrub of a file system has come to its end"),
    ("ImageFactorySchematics.runtime.talos.dev", "the image is not of an image factory"),
    ("ImageVerificationRules.security.talos.dev", "ImageVerificationConfig is refused by name"),
    ("KubeSpanConfigs.kubespan.talos.dev", "KubeSpanConfig is refused by name"),
    ("KubeSpanEndpoints.kubespan.talos.dev", "KubeSpanConfig is refused by name"),
    ("KubeSpanIdentities.kubespan.talos.dev", "KubeSpanConfig is refused by name"),
    ("KubeSpanPeerSpecs.kubespan.talos.dev", "KubeSpanConfig is refused by name"),
    ("KubeSpanPeerStatuses.kubespan.talos.dev", "KubeSpanConfig is refused by name"),
    ("KubernetesAccessConfigs.cluster.talos.dev", "KubeTalosAPIAccessConfig is refused by name"),
    ("LVMValidationErrors.storage.talos.dev", "nothing is wrong with volumes of LVM"),
    ("LinkAliasSpecs.net.talos.dev", "no link has an alias"),
    ("LinkRefreshes.net.talos.dev", "nothing changed of which the kernel notifies nobody"),
    ("MachineResetSignals.runtime.talos.dev", "the machine is not being reset"),
    ("MaintenanceRootSecrets.secrets.talos.dev", "the machine is not in maintenance"),
    ("MaintenanceServiceConfigs.runtime.talos.dev", "the machine is not in maintenance"),
    ("MaintenanceServiceRequests.runtime.talos.dev", "the machine is not in maintenance"),
    ("NodeCordonedSpecs.k8s.talos.dev", "the node is not cordoned"),
    ("OOMActions.talos.dev", "memory was never short"),
    ("PCIDriverRebindStatuses.runtime.talos.dev", "no device has another driver than its own"),
    ("PCRStatuses.hardware.talos.dev", "nothing extends registers of the TPM yet"),
    ("RebootRequests.runtime.talos.dev", "no controller asks for a restart"),
    (
        "SeccompProfiles.cri.talos.dev",
        "the configuration has no seccomp profiles, of which an image could have one",
    ),
    ("SiderolinkTunnels.siderolink.talos.dev", "no manager answers"),
    ("TUFTrustedRoots.security.talos.dev", "ImageVerificationConfig is refused by name"),
    ("UnattendedInstallStatuses.runtime.talos.dev", "UnattendedInstallConfig is refused by name"),
    ("WatchdogTimerConfigs.runtime.talos.dev", "the configuration has no WatchdogTimerConfig"),
    ("WatchdogTimerStatuses.runtime.talos.dev", "the configuration has no WatchdogTimerConfig"),
    ("ZswapStatuses.block.talos.dev", "the kernel of the image has no compressed swap"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn the_table_names_types_that_are_served_once_in_order_with_a_reason() {
        let registry = registry();
        assert!(MAY_BE_EMPTY.is_sorted_by(|one, other| one.0 < other.0), "in order, each once");
        assert!(MAY_BE_EMPTY.len() <= 50, "{}", MAY_BE_EMPTY.len());
        for (kind, reason) in MAY_BE_EMPTY {
            let definition = registry.definition(kind).unwrap_or_else(|| panic!("{kind} is no type"));
            assert!(!definition.internal && !reason.is_empty(), "{kind}");
        }
    }
}
