//! Kinds about disks, the system and containers.

use super::{Row, hardware, row};

/// Each with an example and where its effect is seen.
pub(super) const ROWS: &[Row] = &[
    hardware(
        "ExistingVolumeConfig",
        "name: found\ndiscovery:\n  volumeSelector:\n    match: volume.partition_label == \"EPHEMERAL\"\n",
        &["get", "volumestatus"],
        &["e-found"],
    ),
    hardware(
        "ExternalVolumeConfig",
        "name: shared\nfilesystemType: virtiofs\nmount:\n  virtiofs:\n    tag: shared\n",
        &["get", "volumestatus"],
        &["x-shared"],
    ),
    hardware(
        "FilesystemTrimConfig",
        "interval: 24h\n",
        &["get", "volumestatus", "EPHEMERAL", "-o", "yaml"],
        &["trim"],
    ),
    hardware(
        "FilesystemScrubConfig",
        "interval: 168h\n",
        &["get", "fsscrubschedules", "-o", "yaml"],
        &["168h"],
    ),
    hardware(
        "RawVolumeConfig",
        "name: raw\nprovisioning:\n  diskSelector:\n    match: disk.dev_path == \"/dev/vde\"\n  minSize: 100MiB\n  maxSize: 200MiB\n",
        &["get", "volumestatus", "r-raw"],
        &["ready"],
    ),
    hardware(
        "SwapVolumeConfig",
        "name: swap\nprovisioning:\n  diskSelector:\n    match: disk.dev_path == \"/dev/vde\"\n  minSize: 100MiB\n  maxSize: 200MiB\n",
        &["get", "swap"],
        &["/dev/"],
    ),
    hardware(
        "UserVolumeConfig",
        "name: data\nprovisioning:\n  diskSelector:\n    match: disk.dev_path == \"/dev/vde\"\n  minSize: 400MiB\n  maxSize: 500MiB\n",
        &["get", "volumestatus", "u-data"],
        &["ready"],
    ),
    hardware(
        "VolumeConfig",
        "name: EPHEMERAL\ntrim:\n  enabled: true\n  interval: 36h\n",
        &["get", "volumetrimschedules", "EPHEMERAL", "-o", "yaml"],
        &["interval: 36h"],
    ),
    // The kernel of the image has none.
    hardware(
        "ZswapConfig",
        "maxPoolPercent: 20\n",
        &["get", "controllers", "block.Zswap", "-o", "yaml"],
        &["remove ZswapConfig"],
    ),
    hardware(
        "LVMVolumeGroupConfig",
        "name: vg9\nprovisioning:\n  volumeSelector:\n    match: disk.dev_path == \"/dev/vdc\"\n",
        &["get", "vgs"],
        &["vg9"],
    ),
    hardware(
        "LVMLogicalVolumeConfig",
        "name: lv9\ntype: linear\nprovisioning:\n  volumeGroup: vg9\n  minSize: 100MiB\n  maxSize: 100MiB\n---\napiVersion: v1alpha1\nkind: LVMVolumeGroupConfig\nname: vg9\nprovisioning:\n  volumeSelector:\n    match: disk.dev_path == \"/dev/vdc\"\n",
        &["get", "lvs"],
        &["lv9"],
    ),
    hardware(
        "RAIDArrayConfig",
        "name: mirror\nlevel: raid1\nprovisioning:\n  volumeSelector:\n    match: disk.dev_path in [\"/dev/vdb\", \"/dev/vdd\"]\n",
        &["get", "mdarraystatuses"],
        &["raid1"],
    ),
    row(
        "ContainerConfig",
        "name: hello\nimage: registry.invalid/hello:1\n",
        &["get", "containerspecs"],
        &["hello"],
    ),
    row(
        "CRIBaseRuntimeSpecConfig",
        "overrides:\n  process:\n    rlimits:\n      - type: RLIMIT_NOFILE\n        hard: 4096\n        soft: 4096\n",
        &["get", "baseruntimespecconfigs", "-o", "yaml"],
        &["RLIMIT_NOFILE"],
    ),
    row(
        "CRICustomizationConfig",
        "name: metrics\ncontent: |\n  [metrics]\n    address = \"127.0.0.1:11234\"\n",
        &["get", "customizationconfigs"],
        &["metrics"],
    ),
    row("ImageCacheConfig", "local:\n  enabled: true\n", &["get", "imagecacheconfig"], &["image-cache"]),
    row(
        "RegistryAuthConfig",
        "name: registry.test\nusername: somebody\npassword: nothing\n",
        &["get", "registryconfigs", "-o", "yaml"],
        &["registry.test", "somebody"],
    ),
    row(
        "RegistryMirrorConfig",
        "name: mirror.test\nendpoints:\n  - url: https://192.0.2.20\n",
        &["get", "registryconfigs", "-o", "yaml"],
        &["192.0.2.20"],
    ),
    row(
        "RegistryTLSConfig",
        "name: secure.test\ninsecureSkipVerify: true\n",
        &["get", "registryconfigs", "-o", "yaml"],
        &["secure.test"],
    ),
    row(
        "ExtensionServiceConfig",
        "name: nut-client\nenvironment: [A=b]\n",
        &["get", "extensionserviceconfigs"],
        &["nut-client"],
    ),
    row(
        "DiscoveryIdentityConfig",
        "clusterID: dGhpcyBpcyBhIGNsdXN0ZXIgaWQgb2YgMzIgYnl0ZXM=\nclusterSecret: dGhpcyBpcyBhIHNlY3JldCBvZiBleGFjdGx5IDMyIGJ5dGU=\n",
        &["get", "infos", "-o", "yaml"],
        &["dGhpcyBpcyBhIGNsdXN0ZXIgaWQ"],
    ),
    row(
        "DiscoveryServiceConfig",
        "name: own\nendpoint: https://192.0.2.21/\n",
        &["get", "discoveryconfigs", "-o", "yaml"],
        &["192.0.2.21"],
    ),
    row(
        "EnvironmentConfig",
        "variables:\n  GRPC_TRACE: all\n",
        &["get", "environments", "-o", "yaml"],
        &["GRPC_TRACE"],
    ),
    row(
        "EtcFileConfig",
        "name: e2e.conf\nmode: 420\ncontents: |\n  hello\n",
        &["read", "/etc/e2e.conf"],
        &["hello"],
    ),
    hardware("KernelModuleConfig", "name: dummy\n", &["get", "modules"], &["dummy"]),
    row("OOMConfig", "sampleInterval: 1s\n", &["get", "controllers", "-o", "yaml"], &["MemoryPressure"]),
    row("SecurityProfileConfig", "workloadIsolation: true\n", &["get", "securitystate"], &["securitystate"]),
    row(
        "SysctlConfig",
        "params:\n  net.ipv4.ip_local_port_range: \"40000 60000\"\n",
        &["read", "/proc/sys/net/ipv4/ip_local_port_range"],
        &["40000"],
    ),
    hardware(
        "SysfsConfig",
        "params:\n  module.printk.parameters.time: \"1\"\n",
        &["get", "kernelparams", "sys.module.printk.parameters.time"],
        &["CURRENT"],
    ),
    hardware(
        "UdevRulesConfig",
        "rules:\n  - SUBSYSTEM==\"block\", SYMLINK+=\"e2e-%k\"\n",
        &["list", "/dev"],
        &["e2e-"],
    ),
    row("UnattendedInstallConfig", "reboot: false\n", &["get", "unattendedinstallstatuses"], &["pending"]),
    hardware(
        "WatchdogTimerConfig",
        "device: /dev/watchdog0\ntimeout: 2m\n---\napiVersion: v1alpha1\nkind: KernelModuleConfig\nname: softdog\n",
        &["get", "watchdogtimerstatuses"],
        &["/dev/watchdog0"],
    ),
    row(
        "TrustedRootsConfig",
        concat!(
            "name: own\ncertificates: |\n",
            "  -----BEGIN CERTIFICATE-----\n  MIIBMjCB5aADAgECAhQ5bw6GS6Q6PPFDIRvrGUlpCCLWWDAFBgMrZXAwDjEMMAoG\n  A1UEAwwDb3duMCAXDTI2MTEyOTA1MjY1M1oYDzIxMjYxMTA1MDUyNjUzWjAOMQww\n  CgYDVQQDDANvd24wKjAFBgMrZXADIQCPam2kTLjurXPHSQbTCQtprFY3+bZLas1h\n  c/LulutqXKNTMFEwHQYDVR0OBBYEFKQq1D3L0dL/lNkbrdtgE6TAB5IAMB8GA1Ud\n  IwQYMBaAFKQq1D3L0dL/lNkbrdtgE6TAB5IAMA8GA1UdEwEB/wQFMAMBAf8wBQYD\n  K2VwA0EAn+SgTk0VizMjJxGnZFfKPxp4XvkpodLT3ppUly/d76Dcq2btBRvZ5Izj\n  ojtNJLd3/1lz/j0+1m6qfNvZXO7OBg==\n  -----END CERTIFICATE-----\n"
        ),
        &["get", "etcfilestatuses"],
        &["ssl"],
    ),
    row(
        "ImageVerificationConfig",
        "rules:\n  - image: registry.test/*\n    deny: true\n",
        &["get", "imageverificationrules"],
        &["registry.test"],
    ),
];
