//! Documents that take effect on this machine.

use super::Type::{Bool, Duration, Ip, List, OneOf, Text, Url};
use super::connectivity;
use super::machine::{HOST_DNS, MACHINE};
use super::network::LINK_FIELDS;
use super::runtime;
use super::volumes;
use super::{CLUSTER, DocumentKind, ROOT_KIND, Record, TEXT_MAP, TEXTS, Type, U32, cri, field, kubernetes};
use super::{hardware, links, pools};

/// Every kind that is understood.
pub const DOCUMENTS: &[DocumentKind] = &[
    DocumentKind { kind: ROOT_KIND, record: &ROOT, named: false },
    DocumentKind { kind: "HostnameConfig", record: &HOSTNAME, named: false },
    DocumentKind { kind: "LinkConfig", record: &LINK, named: true },
    DocumentKind { kind: "BondConfig", record: &links::BOND, named: true },
    DocumentKind { kind: "BridgeConfig", record: &links::BRIDGE, named: true },
    DocumentKind { kind: "DummyLinkConfig", record: &links::DUMMY, named: true },
    DocumentKind { kind: "VLANConfig", record: &links::VLAN, named: true },
    DocumentKind { kind: "VRFConfig", record: &links::VRF, named: true },
    DocumentKind { kind: "VethConfig", record: &links::VETH, named: true },
    DocumentKind { kind: "WireguardConfig", record: &links::WIREGUARD, named: true },
    DocumentKind { kind: "EthernetConfig", record: &links::ETHERNET, named: true },
    DocumentKind { kind: "LinkAliasConfig", record: &links::ALIAS, named: true },
    DocumentKind { kind: "BlackholeRouteConfig", record: &links::BLACKHOLE_ROUTE, named: true },
    DocumentKind { kind: "RoutingRuleConfig", record: &links::ROUTING_RULE, named: true },
    DocumentKind { kind: "DHCPv4Config", record: &DHCP4, named: true },
    DocumentKind { kind: "DHCPv6Config", record: &connectivity::DHCP6, named: true },
    DocumentKind { kind: "Layer2VIPConfig", record: &connectivity::LAYER2_VIP, named: true },
    DocumentKind { kind: "ResolverConfig", record: &RESOLVER, named: false },
    DocumentKind { kind: "StaticHostConfig", record: &STATIC_HOST, named: true },
    DocumentKind { kind: "TimeSyncConfig", record: &TIME_SYNC, named: false },
    DocumentKind { kind: "HTTPProbeConfig", record: &connectivity::HTTP_PROBE, named: true },
    DocumentKind { kind: "TCPProbeConfig", record: &connectivity::TCP_PROBE, named: true },
    DocumentKind { kind: "NetworkDefaultActionConfig", record: &connectivity::DEFAULT_ACTION, named: false },
    DocumentKind { kind: "NetworkRuleConfig", record: &connectivity::RULE, named: true },
    DocumentKind { kind: "RegistryMirrorConfig", record: &REGISTRY_MIRROR, named: true },
    DocumentKind { kind: "RegistryTLSConfig", record: &REGISTRY_TLS, named: true },
    DocumentKind { kind: "KernelModuleConfig", record: &KERNEL_MODULE, named: true },
    DocumentKind { kind: "SysctlConfig", record: &SYSCTL, named: false },
    DocumentKind { kind: "SysfsConfig", record: &SYSFS, named: false },
    DocumentKind { kind: "SideroLinkConfig", record: &SIDEROLINK, named: false },
    DocumentKind { kind: "EventSinkConfig", record: &EVENT_SINK, named: false },
    DocumentKind { kind: "KmsgLogConfig", record: &KMSG_LOG, named: true },
    DocumentKind { kind: "DiscoveryIdentityConfig", record: &DISCOVERY_IDENTITY, named: false },
    DocumentKind { kind: "DiscoveryServiceConfig", record: &DISCOVERY_SERVICE, named: true },
    DocumentKind { kind: "VolumeConfig", record: &volumes::VOLUME, named: true },
    DocumentKind { kind: "UserVolumeConfig", record: &volumes::USER_VOLUME, named: true },
    DocumentKind { kind: "RawVolumeConfig", record: &volumes::RAW_VOLUME, named: true },
    DocumentKind { kind: "SwapVolumeConfig", record: &volumes::RAW_VOLUME, named: true },
    DocumentKind { kind: "ExistingVolumeConfig", record: &volumes::EXISTING_VOLUME, named: true },
    DocumentKind { kind: "ExternalVolumeConfig", record: &volumes::EXTERNAL_VOLUME, named: true },
    DocumentKind { kind: "FilesystemTrimConfig", record: &volumes::FILESYSTEM_TRIM, named: false },
    DocumentKind { kind: "FilesystemScrubConfig", record: &volumes::FILESYSTEM_SCRUB, named: false },
    DocumentKind { kind: "ZswapConfig", record: &volumes::ZSWAP, named: false },
    DocumentKind { kind: "RAIDArrayConfig", record: &pools::RAID_ARRAY, named: true },
    DocumentKind { kind: "LVMVolumeGroupConfig", record: &pools::LVM_VOLUME_GROUP, named: true },
    DocumentKind { kind: "LVMLogicalVolumeConfig", record: &pools::LVM_LOGICAL_VOLUME, named: true },
    DocumentKind { kind: "PCIDriverRebindConfig", record: &hardware::PCI_DRIVER_REBIND, named: true },
    DocumentKind { kind: "WatchdogTimerConfig", record: &hardware::WATCHDOG_TIMER, named: false },
    DocumentKind { kind: "EnvironmentConfig", record: &runtime::ENVIRONMENT, named: false },
    DocumentKind { kind: "EtcFileConfig", record: &runtime::ETC_FILE, named: true },
    DocumentKind { kind: "UdevRulesConfig", record: &runtime::UDEV_RULES, named: false },
    DocumentKind { kind: "TrustedRootsConfig", record: &runtime::TRUSTED_ROOTS, named: true },
    DocumentKind { kind: "OOMConfig", record: &runtime::OOM, named: false },
    DocumentKind { kind: "KubeAPIServerCAConfig", record: &kubernetes::AUTHORITY, named: false },
    DocumentKind { kind: "KubeAPIServerConfig", record: &kubernetes::API_SERVER, named: false },
    DocumentKind { kind: "KubeAdmissionControlConfig", record: &kubernetes::ADMISSION_CONTROL, named: true },
    DocumentKind { kind: "KubeAggregatorCAConfig", record: &kubernetes::AUTHORITY, named: false },
    DocumentKind { kind: "KubeAuditPolicyConfig", record: &kubernetes::AUDIT_POLICY, named: false },
    DocumentKind { kind: "KubeAuthenticationConfig", record: &kubernetes::AUTHENTICATION, named: false },
    DocumentKind { kind: "KubeAuthorizerConfig", record: &kubernetes::AUTHORIZER, named: true },
    DocumentKind { kind: "KubeClusterConfig", record: &kubernetes::CLUSTER, named: false },
    DocumentKind {
        kind: "KubeControllerManagerConfig",
        record: &kubernetes::CONTROLLER_MANAGER,
        named: false,
    },
    DocumentKind { kind: "KubeCoreDNSConfig", record: &kubernetes::CORE_DNS, named: false },
    DocumentKind {
        kind: "KubeCredentialProviderConfig",
        record: &kubernetes::CREDENTIAL_PROVIDER,
        named: false,
    },
    DocumentKind { kind: "KubeEtcdEncryptionConfig", record: &kubernetes::ETCD_ENCRYPTION, named: false },
    DocumentKind { kind: "KubeExternalManifestConfig", record: &kubernetes::EXTERNAL_MANIFEST, named: true },
    DocumentKind { kind: "KubeFlannelCNIConfig", record: &kubernetes::FLANNEL, named: false },
    DocumentKind { kind: "KubeInlineManifestConfig", record: &kubernetes::INLINE_MANIFEST, named: true },
    DocumentKind { kind: "KubeNetworkConfig", record: &kubernetes::NETWORK, named: false },
    DocumentKind { kind: "KubeNodeConfig", record: &kubernetes::NODE, named: false },
    DocumentKind { kind: "KubePrismConfig", record: &kubernetes::PRISM, named: false },
    DocumentKind { kind: "KubeProxyConfig", record: &kubernetes::PROXY, named: false },
    DocumentKind { kind: "KubeSchedulerConfig", record: &kubernetes::SCHEDULER, named: false },
    DocumentKind { kind: "KubeServiceAccountConfig", record: &kubernetes::SERVICE_ACCOUNT, named: false },
    DocumentKind { kind: "KubeStaticPodConfig", record: &kubernetes::STATIC_POD, named: true },
    DocumentKind { kind: "KubeletConfig", record: &kubernetes::KUBELET, named: false },
    DocumentKind { kind: "RegistryAuthConfig", record: &cri::REGISTRY_AUTH, named: true },
    DocumentKind { kind: "CRIBaseRuntimeSpecConfig", record: &cri::BASE_RUNTIME_SPEC, named: false },
    DocumentKind { kind: "CRICustomizationConfig", record: &cri::CUSTOMIZATION, named: true },
    DocumentKind { kind: "ImageCacheConfig", record: &cri::IMAGE_CACHE, named: false },
];

const ROOT: Record = Record {
    doc: "The machine configuration document that has no kind.",
    fields: &[
        field("version", OneOf(&["v1alpha1"]), "Version of the document."),
        field("debug", Bool, "Whether more is logged.").inert(),
        field("persist", Bool, "Has no meaning any more."),
        field("machine", Type::Record(&MACHINE), "The machine."),
        field("cluster", Type::Record(&CLUSTER), "The cluster."),
    ],
};

const HOSTNAME: Record = Record {
    doc: "Host name of the machine.",
    fields: &[
        field("auto", OneOf(&["stable", "off"]), "How the name is made when none is given."),
        field("hostname", Text, "The name, short or full."),
    ],
};

const LINK: Record = Record { doc: "A physical link.", fields: LINK_FIELDS };

const DHCP4: Record = Record {
    doc: "DHCP version 4 on a link.",
    fields: &[
        field("name", Text, "Name of the link.").required(),
        field("routeMetric", U32, "Metric of the routes."),
        field("ignoreHostname", Bool, "Whether the offered host name is not used."),
        field("ignoreRoutes", Bool, "Whether the offered routes are not used."),
        field("clientIdentifier", OneOf(&["none", "mac", "duid"]), "How the machine identifies itself."),
        field("duidRaw", Text, "The identifier in hexadecimal."),
    ],
};

const RESOLVER: Record = Record {
    doc: "DNS resolution.",
    fields: &[
        field("nameservers", List(&Type::Record(&NAMESERVER)), "DNS servers."),
        field("searchDomains", Type::Record(&SEARCH_DOMAINS), "Search domains."),
        field("hostDNS", Type::Record(&HOST_DNS), "Caching resolver on the machine."),
    ],
};

const NAMESERVER: Record = Record {
    doc: "A DNS server.",
    fields: &[
        field("address", Ip, "Its address.").required(),
        field("protocol", OneOf(&["Do53", "DoT", "DoH"]), "How it is asked.").later(&["DoT", "DoH"]),
        field("tlsServerName", Text, "Name in its certificate.").refused(),
    ],
};

const SEARCH_DOMAINS: Record = Record {
    doc: "Search domains.",
    fields: &[
        field("domains", TEXTS, "Domains."),
        field("disableDefault", Bool, "Whether resolv.conf has no search line without them."),
    ],
};

const STATIC_HOST: Record = Record {
    doc: "A line of /etc/hosts.",
    fields: &[field("name", Ip, "Address.").required(), field("hostnames", TEXTS, "Names.")],
};

const TIME_SYNC: Record = Record {
    doc: "Clock synchronization.",
    fields: &[
        field("enabled", Bool, "Whether it is on."),
        field("bootTimeout", Duration, "How long booting waits for the clock."),
        field("ntp", Type::Record(&NTP), "Time servers."),
        field("ptp", Type::Record(&PTP), "Clocks of this machine.").refused(),
    ],
};

const NTP: Record = Record {
    doc: "Time servers.",
    fields: &[
        field("servers", TEXTS, "Servers."),
        field("useNTS", Bool, "Whether time is authenticated.").refused(),
    ],
};

const PTP: Record = Record { doc: "Clocks of this machine.", fields: &[field("devices", TEXTS, "Devices.")] };

const REGISTRY_MIRROR: Record = Record {
    doc: "Mirrors of an image registry.",
    fields: &[
        field("name", Text, "Host of the registry; * stands for all others.").required(),
        field("endpoints", List(&Type::Record(&ENDPOINT)), "Mirrors in order."),
        field("skipFallback", Bool, "Whether the registry itself is never asked."),
    ],
};

const ENDPOINT: Record = Record {
    doc: "A mirror.",
    fields: &[
        field("url", Url, "Address.").required(),
        field("overridePath", Bool, "Whether the address's path takes the place of /v2."),
    ],
};

const REGISTRY_TLS: Record = Record {
    doc: "TLS to an image registry.",
    fields: &[
        field("name", Text, "Host of the registry.").required(),
        field("clientIdentity", Type::Record(&PLAIN_PAIR), "Client certificate."),
        field("ca", Text, "CA to trust, as PEM."),
        field("insecureSkipVerify", Bool, "Whether any certificate is accepted."),
    ],
};

/// A certificate with its key, as PEM.
pub const PLAIN_PAIR: Record = Record {
    doc: "A certificate with its key, as PEM.",
    fields: &[field("cert", Text, "Certificate."), field("key", Text, "Private key.").secret()],
};

const KERNEL_MODULE: Record = Record {
    doc: "A kernel module to load.",
    fields: &[field("name", Text, "Name.").required(), field("parameters", TEXTS, "Parameters.")],
};

const SYSCTL: Record =
    Record { doc: "Kernel parameters below /proc/sys.", fields: &[field("params", TEXT_MAP, "Parameters.")] };

const SYSFS: Record = Record { doc: "Values below /sys.", fields: &[field("params", TEXT_MAP, "Values.")] };

const SIDEROLINK: Record = Record {
    doc: "Where the machine joins its manager.",
    fields: &[
        field("apiUrl", Text, "The join URL, such as https://host:port?jointoken=token.").required(),
        field("uniqueToken", Text, "What the manager gave the machine to be known by.").secret(),
    ],
};

const EVENT_SINK: Record = Record {
    doc: "Where the machine's events are sent.",
    fields: &[field("endpoint", Text, "Host and port of the gRPC service.").required()],
};

const KMSG_LOG: Record = Record {
    doc: "Where the kernel log is sent.",
    fields: &[
        field("name", Text, "Name of the destination.").required(),
        field("url", Url, "Destination, such as tcp://host:port or udp://host:port.").required(),
    ],
};

const DISCOVERY_IDENTITY: Record = Record {
    doc: "What the members of a cluster are found by.",
    fields: &[
        field("clusterID", Text, "Identity of the cluster.").required(),
        field("clusterSecret", Text, "Shared secret of the cluster.").secret().required(),
    ],
};

const DISCOVERY_SERVICE: Record = Record {
    doc: "A service by which the members of a cluster find each other.",
    fields: &[
        field("name", Text, "Name of the service.").required(),
        field("endpoint", Url, "Its address.").required(),
    ],
};
