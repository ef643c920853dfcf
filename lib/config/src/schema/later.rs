//! Kinds of documents that exist in the language but take no effect on this machine yet.
//!
//! A machine refuses them by name: ignoring a firewall rule or an encrypted volume would be worse. A manager of other
//! machines takes them, and checks them like all others.

mod block;
mod kubernetes;
mod links;
mod network;
mod runtime;

use super::{DocumentKind, Record};

/// Known kinds that are not supported yet, in order.
pub const LATER_DOCUMENTS: &[DocumentKind] = &[
    named("BGPInstanceConfig", &network::BGP_INSTANCE),
    named("BlackholeRouteConfig", &network::BLACKHOLE_ROUTE),
    named("BondConfig", &links::BOND),
    named("BridgeConfig", &links::BRIDGE),
    single("CRIBaseRuntimeSpecConfig", &runtime::CRI_BASE_RUNTIME_SPEC),
    named("CRICustomizationConfig", &runtime::CRI_CUSTOMIZATION),
    named("ContainerConfig", &runtime::CONTAINER),
    named("DHCPv6Config", &network::DHCP6),
    named("DummyLinkConfig", &links::DUMMY),
    single("EnvironmentConfig", &runtime::ENVIRONMENT),
    named("EtcFileConfig", &runtime::ETC_FILE),
    named("EthernetConfig", &links::ETHERNET),
    named("ExistingVolumeConfig", &block::EXISTING_VOLUME),
    named("ExtensionServiceConfig", &runtime::EXTENSION_SERVICE),
    named("ExternalVolumeConfig", &block::EXTERNAL_VOLUME),
    single("FilesystemScrubConfig", &block::FILESYSTEM_SCRUB),
    single("FilesystemTrimConfig", &block::FILESYSTEM_TRIM),
    named("HCloudVIPConfig", &network::HCLOUD_VIP),
    named("HTTPProbeConfig", &network::HTTP_PROBE),
    single("ImageCacheConfig", &runtime::IMAGE_CACHE),
    single("ImageVerificationConfig", &runtime::IMAGE_VERIFICATION),
    single("KubeAPIServerCAConfig", &kubernetes::AUTHORITY),
    single("KubeAPIServerConfig", &kubernetes::API_SERVER),
    named("KubeAdmissionControlConfig", &kubernetes::ADMISSION_CONTROL),
    single("KubeAggregatorCAConfig", &kubernetes::AUTHORITY),
    single("KubeAuditPolicyConfig", &kubernetes::AUDIT_POLICY),
    single("KubeAuthenticationConfig", &kubernetes::AUTHENTICATION),
    named("KubeAuthorizerConfig", &kubernetes::AUTHORIZER),
    single("KubeClusterConfig", &kubernetes::CLUSTER),
    single("KubeControllerManagerConfig", &kubernetes::CONTROLLER_MANAGER),
    single("KubeCoreDNSConfig", &kubernetes::CORE_DNS),
    single("KubeCredentialProviderConfig", &kubernetes::CREDENTIAL_PROVIDER),
    single("KubeEtcdEncryptionConfig", &kubernetes::ETCD_ENCRYPTION),
    named("KubeExternalManifestConfig", &kubernetes::EXTERNAL_MANIFEST),
    single("KubeFlannelCNIConfig", &kubernetes::FLANNEL),
    named("KubeInlineManifestConfig", &kubernetes::INLINE_MANIFEST),
    single("KubeNetworkConfig", &kubernetes::NETWORK),
    single("KubeNodeConfig", &kubernetes::NODE),
    single("KubePrismConfig", &kubernetes::PRISM),
    single("KubeProxyConfig", &kubernetes::PROXY),
    single("KubeSchedulerConfig", &kubernetes::SCHEDULER),
    single("KubeServiceAccountConfig", &kubernetes::SERVICE_ACCOUNT),
    single("KubeSpanConfig", &network::KUBESPAN),
    single("KubeSpanEndpointsConfig", &network::KUBESPAN_ENDPOINTS),
    named("KubeStaticPodConfig", &kubernetes::STATIC_POD),
    single("KubeTalosAPIAccessConfig", &kubernetes::TALOS_API_ACCESS),
    single("KubeletConfig", &kubernetes::KUBELET),
    named("LVMLogicalVolumeConfig", &block::LVM_LOGICAL_VOLUME),
    named("LVMVolumeGroupConfig", &block::LVM_VOLUME_GROUP),
    named("Layer2VIPConfig", &network::LAYER2_VIP),
    named("LinkAliasConfig", &links::ALIAS),
    single("NetworkDefaultActionConfig", &network::DEFAULT_ACTION),
    named("NetworkRuleConfig", &network::RULE),
    single("OOMConfig", &runtime::OOM),
    named("PCIDriverRebindConfig", &runtime::PCI_DRIVER_REBIND),
    named("RAIDArrayConfig", &block::RAID_ARRAY),
    named("RawVolumeConfig", &block::RAW_VOLUME),
    named("RegistryAuthConfig", &runtime::REGISTRY_AUTH),
    named("RoutingRuleConfig", &network::ROUTING_RULE),
    single("SecurityProfileConfig", &runtime::SECURITY_PROFILE),
    named("SwapVolumeConfig", &block::RAW_VOLUME),
    named("TCPProbeConfig", &network::TCP_PROBE),
    named("TrustedRootsConfig", &runtime::TRUSTED_ROOTS),
    single("UdevRulesConfig", &runtime::UDEV_RULES),
    single("UnattendedInstallConfig", &runtime::UNATTENDED_INSTALL),
    named("UserVolumeConfig", &block::USER_VOLUME),
    named("VLANConfig", &links::VLAN),
    named("VRFConfig", &links::VRF),
    named("VethConfig", &links::VETH),
    named("VolumeConfig", &block::VOLUME),
    single("WatchdogTimerConfig", &runtime::WATCHDOG_TIMER),
    named("WireguardConfig", &links::WIREGUARD),
    single("ZswapConfig", &block::ZSWAP),
];

/// Names of the known kinds that are not supported yet, in order.
pub const LATER_KINDS: &[&str] = &names::<{ LATER_DOCUMENTS.len() }>(LATER_DOCUMENTS);

const fn named(kind: &'static str, record: &'static Record) -> DocumentKind {
    DocumentKind { kind, record, named: true }
}

const fn single(kind: &'static str, record: &'static Record) -> DocumentKind {
    DocumentKind { kind, record, named: false }
}

const fn names<const N: usize>(documents: &'static [DocumentKind]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut index = 0;
    while index < N {
        names[index] = documents[index].kind;
        index += 1;
    }
    names
}
