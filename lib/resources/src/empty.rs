//! Types of which a machine may have no resource, each with its reason.
//!
//! Every other type that is served has at least one resource on a running control plane with disks, a manager apart.
//! A reason names what is not there; a type leaves the table when it gets a writer.

/// Type and why a machine may have none of it, in order of types.
pub const MAY_BE_EMPTY: &[(&str, &str)] = &[
    ("BGPInstanceConfigs.net.talos.dev", "BGPInstanceConfig is refused by name"),
    ("BGPPeerStatuses.net.talos.dev", "BGPInstanceConfig is refused by name"),
    ("BootedEntries.talos.dev", "the boot loader tells its entry only to machines with EFI variables"),
    ("ContainerImageStatuses.containers.talos.dev", "ContainerConfig is refused by name"),
    ("ContainerInstanceSpecs.containers.talos.dev", "ContainerConfig is refused by name"),
    ("ContainerSpecs.containers.talos.dev", "ContainerConfig is refused by name"),
    ("CustomizationConfigs.cri.talos.dev", "the configuration has no part for containerd"),
    ("DebugSessions.corten.dev", "nobody has debugged the machine"),
    ("DeviceConfigSpecs.net.talos.dev", "the configuration has no machine.network.interfaces"),
    ("Diagnostics.runtime.talos.dev", "nothing is wrong"),
    ("EncryptionSalts.secrets.talos.dev", "no volume is encrypted with a key that the machine makes"),
    ("EthernetSpecs.net.talos.dev", "the configuration has no EthernetConfig"),
    ("ExtensionServiceConfigStatuses.runtime.talos.dev", "ExtensionServiceConfig is refused by name"),
    ("ExtensionServiceConfigs.runtime.talos.dev", "ExtensionServiceConfig is refused by name"),
    ("ExtensionStatuses.runtime.talos.dev", "images have no extensions yet"),
    ("ImageVerificationRules.security.talos.dev", "ImageVerificationConfig is refused by name"),
    ("KubeSpanConfigs.kubespan.talos.dev", "KubeSpanConfig is refused by name"),
    ("KubeSpanEndpoints.kubespan.talos.dev", "KubeSpanConfig is refused by name"),
    ("KubeSpanIdentities.kubespan.talos.dev", "KubeSpanConfig is refused by name"),
    ("KubeSpanPeerSpecs.kubespan.talos.dev", "KubeSpanConfig is refused by name"),
    ("KubeSpanPeerStatuses.kubespan.talos.dev", "KubeSpanConfig is refused by name"),
    ("KubernetesAccessConfigs.cluster.talos.dev", "KubeTalosAPIAccessConfig is refused by name"),
    ("LVMLogicalVolumeSpecs.storage.talos.dev", "the configuration has no LVMLogicalVolumeConfig"),
    ("LVMLogicalVolumeStatuses.storage.talos.dev", "no disk has volumes of LVM"),
    ("LVMPhysicalVolumeSpecs.storage.talos.dev", "the configuration has no LVMVolumeGroupConfig"),
    ("LVMPhysicalVolumeStatuses.storage.talos.dev", "no disk has volumes of LVM"),
    ("LVMValidationErrors.storage.talos.dev", "nothing is wrong with volumes of LVM"),
    ("LVMVolumeGroupSpecs.storage.talos.dev", "the configuration has no LVMVolumeGroupConfig"),
    ("LVMVolumeGroupStatuses.storage.talos.dev", "no disk has volumes of LVM"),
    ("LinkAliasSpecs.net.talos.dev", "the configuration has no LinkAliasConfig"),
    ("LinkRefreshes.net.talos.dev", "nothing changed of which the kernel notifies nobody"),
    ("MDArraySpecs.storage.talos.dev", "the configuration has no RAIDArrayConfig"),
    ("MDArrayStatuses.storage.talos.dev", "there are no arrays"),
    ("MachineResetSignals.runtime.talos.dev", "the machine is not being reset"),
    ("NodeAnnotationSpecs.k8s.talos.dev", "the configuration names no annotations of the node"),
    ("NodeCordonedSpecs.k8s.talos.dev", "the node is not cordoned"),
    ("OOMActions.talos.dev", "memory was never short"),
    ("PCIDriverRebindConfigs.runtime.talos.dev", "the configuration has no PCIDriverRebindConfig"),
    ("PCIDriverRebindStatuses.runtime.talos.dev", "the configuration has no PCIDriverRebindConfig"),
    ("PCRStatuses.hardware.talos.dev", "nothing extends registers of the TPM yet"),
    ("RebootRequests.runtime.talos.dev", "no controller asks for a restart"),
    ("RoutingRuleSpecs.net.talos.dev", "the configuration has no RoutingRuleConfig"),
    ("SeccompProfiles.cri.talos.dev", "the configuration has no seccomp profiles"),
    ("TUFTrustedRoots.security.talos.dev", "ImageVerificationConfig is refused by name"),
    ("UnattendedInstallStatuses.runtime.talos.dev", "UnattendedInstallConfig is refused by name"),
    ("WatchdogTimerConfigs.runtime.talos.dev", "the configuration has no WatchdogTimerConfig"),
    ("WatchdogTimerStatuses.runtime.talos.dev", "the configuration has no WatchdogTimerConfig"),
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
