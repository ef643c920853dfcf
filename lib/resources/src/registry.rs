//! Every type that this machine knows, in one list.

use corten_resource::Registry;

use crate::{
    block, cluster, config, containers, cri, etcd, files, hardware, kubernetes, kubespan, network, perf,
    runtime, secrets, security, service, siderolink, storage, time,
};

macro_rules! types {
    ($($module:ident :: $name:ident,)*) => {
        /// Registers every type with its namespace.
        #[must_use]
        pub fn registry() -> Registry {
            let mut registry = Registry::new();
            for (name, description) in NAMESPACES {
                registry.namespace(name, description);
            }
            $(registry.register::<$module::$name>();)*
            registry
        }

        /// What tests know of every type.
        #[cfg(test)]
        pub(crate) const TYPES: &[corten_resource::testing::contract::Type] =
            &[$(corten_resource::testing::contract::Type::of::<$module::$name>(),)*];
    };
}

/// Namespaces that clients may ask for (node.md 3.3).
const NAMESPACES: [(&str, &str); 18] = [
    ("runtime", "The running machine."),
    ("cluster", "Members of the cluster."),
    ("cluster-raw", "Members of the cluster by source."),
    ("config", "Machine configuration."),
    ("etcd", "etcd."),
    ("files", "Files below /etc."),
    ("hardware", "Hardware."),
    ("k8s", "Kubernetes on every machine."),
    ("controlplane", "Kubernetes on control planes."),
    ("kubespan", "KubeSpan."),
    ("network", "The network in effect."),
    ("network-config", "Wishes for the network by layer."),
    ("cri", "Container runtime."),
    ("containers", "Containers of the machine."),
    ("secrets", "Keys and certificates."),
    ("security", "Image verification."),
    ("perf", "Performance."),
    ("storage", "Volume groups and arrays."),
];

types! {
    block::Disk,
    block::DiscoveredVolume,
    block::DiscoveredVolumesStatus,
    block::SystemDisk,
    block::VolumeStatus,
    block::VolumeMountStatus,
    block::VolumeMountRequest,
    block::BlockDevice,
    block::BlockSymlink,
    block::DiscoveryRefreshRequest,
    block::DiscoveryRefreshStatus,
    block::MountRequest,
    block::VolumeMount,
    block::VolumeConfig,
    block::VolumeLifecycle,
    block::UserDiskConfigStatus,
    block::SwapStatus,
    block::ZswapStatus,
    block::VolumeTrimSchedule,
    block::ScrubSchedule,
    block::ScrubStatus,
    cluster::Affiliate,
    cluster::Member,
    cluster::Identity,
    cluster::Info,
    cluster::DiscoveryConfig,
    cluster::KubernetesAccessConfig,
    config::MachineConfig,
    config::MachineType,
    containers::ContainerSpec,
    containers::ContainerImageStatus,
    containers::ContainerInstanceSpec,
    cri::BaseRuntimeSpecConfig,
    cri::CustomizationConfig,
    cri::ImageCacheConfig,
    cri::RegistriesConfig,
    cri::SeccompProfile,
    etcd::EtcdConfig,
    etcd::EtcdSpec,
    etcd::EtcdPkiStatus,
    etcd::EtcdMember,
    etcd::EtcdDeparture,
    etcd::EtcdEntry,
    files::EtcFileSpec,
    files::EtcFileStatus,
    hardware::SystemInformation,
    hardware::Processor,
    hardware::MemoryModule,
    hardware::PciDevice,
    hardware::PciDriverRebindConfig,
    hardware::PciDriverRebindStatus,
    hardware::CpuCore,
    hardware::PcrStatus,
    hardware::WatchdogTimerConfig,
    hardware::WatchdogTimerStatus,
    kubernetes::AdmissionControlConfig,
    kubernetes::ApiServerConfig,
    kubernetes::AuditPolicyConfig,
    kubernetes::AuthenticationConfig,
    kubernetes::AuthorizationConfig,
    kubernetes::ConfigStatus,
    kubernetes::SecretStatus,
    kubernetes::ControllerManagerConfig,
    kubernetes::Endpoint,
    kubernetes::EtcdEncryptionConfig,
    kubernetes::ExtraManifestsConfig,
    kubernetes::FetchedManifest,
    kubernetes::KubeletConfig,
    kubernetes::KubeletKubeconfig,
    kubernetes::KubeletLifecycle,
    kubernetes::KubeletSpec,
    kubernetes::KubeletStatus,
    kubernetes::KubePrismStatus,
    kubernetes::KubePrismConfig,
    kubernetes::KubePrismEndpoints,
    kubernetes::Manifest,
    kubernetes::ManifestStatus,
    kubernetes::BootstrapManifestsConfig,
    kubernetes::NodeAnnotationSpec,
    kubernetes::NodeCordonedSpec,
    kubernetes::NodeLabelSpec,
    kubernetes::NodeTaintSpec,
    kubernetes::NodeStatus,
    kubernetes::NodeIp,
    kubernetes::NodeIpConfig,
    kubernetes::Nodename,
    kubernetes::SchedulerConfig,
    kubernetes::StaticPod,
    kubernetes::StaticPodServerStatus,
    kubernetes::StaticPodStatus,
    kubernetes::ApiServerStatus,
    kubespan::KubeSpanConfig,
    kubespan::KubeSpanEndpoint,
    kubespan::KubeSpanIdentity,
    kubespan::KubeSpanPeerSpec,
    kubespan::KubeSpanPeerStatus,
    network::AddressSpec,
    network::AddressStatus,
    network::LinkSpec,
    network::LinkStatus,
    network::HardwareAddress,
    network::DeviceConfigSpec,
    network::HostnameSpec,
    network::HostnameStatus,
    network::ResolverSpec,
    network::ResolverStatus,
    network::TimeServerSpec,
    network::TimeServerStatus,
    network::StaticHost,
    network::OperatorSpec,
    network::RouteSpec,
    network::RouteStatus,
    network::RoutingRuleSpec,
    network::RoutingRuleStatus,
    network::LinkAliasSpec,
    network::LinkRefresh,
    network::EthernetSpec,
    network::EthernetStatus,
    network::PlatformConfig,
    network::BgpInstanceConfig,
    network::BgpPeerStatus,
    network::NodeAddress,
    network::NodeAddressFilter,
    network::NodeAddressSortAlgorithm,
    network::NetworkStatus,
    network::NfTablesChain,
    network::ProbeSpec,
    network::ProbeStatus,
    network::HostDnsConfig,
    network::DnsResolveCache,
    network::DnsUpstream,
    perf::CpuStats,
    perf::MemoryStats,
    runtime::ApiServiceConfig,
    runtime::BootId,
    runtime::DevicesStatus,
    runtime::Diagnostic,
    runtime::KernelCmdline,
    runtime::KernelModuleSpec,
    runtime::KernelParamSpec,
    runtime::KernelParamDefaultSpec,
    runtime::KernelParamStatus,
    runtime::MachineStatus,
    runtime::MaintenanceServiceConfig,
    runtime::MaintenanceServiceRequest,
    runtime::MetaKey,
    runtime::MetaLoaded,
    runtime::MountStatus,
    runtime::PlatformMetadata,
    runtime::SecurityState,
    runtime::Version,
    runtime::SbomItem,
    runtime::SequencerPosition,
    runtime::ServiceGate,
    runtime::KernelModuleStatus,
    runtime::MetaChange,
    runtime::ResetIntent,
    runtime::BootedEntry,
    runtime::Environment,
    runtime::ExtensionServiceConfig,
    runtime::ExtensionServiceConfigStatus,
    runtime::ExtensionStatus,
    runtime::ImageFactorySchematic,
    runtime::LoadedKernelModule,
    runtime::MachineResetSignal,
    runtime::OomAction,
    runtime::RebootRequest,
    runtime::ServicePid,
    runtime::UnattendedInstallStatus,
    runtime::AcquireConfigSpec,
    runtime::AcquireConfigStatus,
    runtime::BootRecord,
    runtime::DebugSession,
    secrets::ApiCertificate,
    secrets::CertSan,
    secrets::EncryptionSalt,
    secrets::EtcdSecrets,
    secrets::EtcdRoot,
    secrets::KubeletSecrets,
    secrets::KubernetesSecrets,
    secrets::KubernetesDynamicCerts,
    secrets::KubernetesRoot,
    secrets::MaintenanceRoot,
    secrets::OsRoot,
    secrets::TrustdCertificate,
    security::ImageVerificationRule,
    security::TufTrustedRoot,
    service::ServiceSpec,
    service::ServiceDemand,
    service::Service,
    service::BootstrapIntent,
    siderolink::SiderolinkConfig,
    siderolink::SiderolinkStatus,
    siderolink::SiderolinkTunnel,
    siderolink::UniqueMachineToken,
    siderolink::EventSinkConfig,
    siderolink::KmsgLogConfig,
    storage::MdArraySpec,
    storage::MdArrayStatus,
    storage::MdRefreshRequest,
    storage::LvmPhysicalVolumeSpec,
    storage::LvmPhysicalVolumeStatus,
    storage::LvmVolumeGroupSpec,
    storage::LvmVolumeGroupStatus,
    storage::LvmLogicalVolumeSpec,
    storage::LvmLogicalVolumeStatus,
    storage::LvmRefreshRequest,
    storage::LvmValidationError,
    time::TimeStatus,
    time::NtpStatus,
    time::AdjtimeStatus,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a name is made of the capitals of a type. Several types have the same; a client that is asked for one
    /// says so.
    fn is_acronym(kind: &str, name: &str) -> bool {
        let capitals: String =
            kind.split('.').take(1).flat_map(str::chars).filter(char::is_ascii_uppercase).collect();
        let capitals = capitals.to_lowercase();
        name == capitals || name.strip_suffix('s') == Some(capitals.as_str())
    }

    /// Talos has two types of this name, of which one is asked for as `mounts`.
    const SHARED: [&str; 2] = ["mountstatus", "mountstatuses"];

    fn written(folder: &std::path::Path) -> usize {
        let entries = std::fs::read_dir(folder).expect("sources");
        let paths = entries.map(|entry| entry.expect("entry").path());
        let counts = paths.filter(|path| !path.ends_with("registry.rs")).map(|path| {
            if path.is_dir() {
                written(&path)
            } else {
                count(&std::fs::read_to_string(&path).expect("source"))
            }
        });
        counts.sum()
    }

    fn count(source: &str) -> usize {
        source.matches("#[resource(").count()
    }

    #[test]
    fn every_type_of_every_file_is_registered() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        assert_eq!(written(&folder), TYPES.len(), "resource types in the sources and in the list above");
    }

    #[test]
    fn every_definition_is_valid_and_no_two_types_have_a_name_in_common() {
        let registry = registry();
        registry.describe().expect("valid definitions");
        let mut owners = std::collections::BTreeMap::new();
        for kind in registry.types().filter(|kind| !kind.definition.internal) {
            let kind = kind.definition;
            let names = kind.names().expect("valid").all_aliases;
            let is_own = |name: &String| !is_acronym(kind.kind, name) && !SHARED.contains(&name.as_str());
            for name in names.into_iter().filter(is_own) {
                let other = owners.insert(name.clone(), kind.kind);
                assert!(
                    other.is_none_or(|other| other == kind.kind),
                    "{name} means {other:?} and {}",
                    kind.kind
                );
            }
        }
    }
}
