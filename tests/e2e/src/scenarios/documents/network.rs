//! Kinds about the network.

use super::{Row, hardware, row};

/// Each with an example and where its effect is seen.
pub(super) const ROWS: &[Row] = &[
    row(
        "BGPInstanceConfig",
        "name: main\nlocalASN: 64512\nneighbors: []\n",
        &["get", "bgpinstanceconfigs"],
        &["main"],
    ),
    row(
        "BlackholeRouteConfig",
        "name: 192.0.2.0/24\n",
        &["get", "routes", "-o", "yaml"],
        &["192.0.2.0/24", "blackhole"],
    ),
    hardware(
        "BondConfig",
        "name: bond9\nlinks: [dummy9]\nbondMode: active-backup\nmiimon: 100\n---\napiVersion: v1alpha1\nkind: DummyLinkConfig\nname: dummy9\n",
        &["get", "links", "bond9", "-o", "yaml"],
        &["bond", "active-backup"],
    ),
    row(
        "BridgeConfig",
        "name: br9\nlinks: []\nstp:\n  enabled: true\n",
        &["get", "links", "br9", "-o", "yaml"],
        &["bridge"],
    ),
    row(
        "NetworkDefaultActionConfig",
        "ingress: block\n---\napiVersion: v1alpha1\nkind: NetworkRuleConfig\nname: all\nportSelector:\n  ports: [1-65535]\n  protocol: tcp\ningress:\n  - subnet: 0.0.0.0/0\n  - subnet: \"::/0\"\n",
        &["get", "nftableschains", "-o", "yaml"],
        &["ingress", "policy: drop"],
    ),
    hardware(
        "DHCPv4Config",
        "name: dummy9\nrouteMetric: 512\n---\napiVersion: v1alpha1\nkind: DummyLinkConfig\nname: dummy9\n",
        &["get", "operatorspecs"],
        &["dhcp4/dummy9"],
    ),
    hardware(
        "DHCPv6Config",
        "name: dummy9\n---\napiVersion: v1alpha1\nkind: DummyLinkConfig\nname: dummy9\n",
        &["get", "operatorspecs"],
        &["dhcp6/dummy9"],
    ),
    hardware(
        "DummyLinkConfig",
        "name: dummy9\naddresses:\n  - address: 192.0.2.9/32\n",
        &["get", "addresses"],
        &["dummy9/192.0.2.9/32"],
    ),
    row(
        "EthernetConfig",
        "name: eth0\nfeatures:\n  tx-checksum-ip-generic: false\n",
        &["get", "ethernetspecs", "eth0", "-o", "yaml"],
        &["tx-checksum-ip-generic"],
    ),
    row(
        "HCloudVIPConfig",
        "name: 192.0.2.10\nlink: eth0\napiToken: none\n",
        &["get", "operatorspecs"],
        &["192.0.2.10"],
    ),
    row("HostnameConfig", "hostname: renamed\nauto: \"off\"\n", &["get", "hostname"], &["renamed"]),
    row(
        "HTTPProbeConfig",
        "name: page\nurl: http://127.0.0.1:1/\ninterval: 1s\ntimeout: 1s\nfailureThreshold: 1\n",
        &["get", "probes"],
        &["http:http://127.0.0.1:1/", "false"],
    ),
    row("KubeSpanConfig", "enabled: true\n", &["get", "kubespanidentities"], &["local"]),
    row(
        "KubeSpanEndpointsConfig",
        "extraAnnouncedEndpoints: [192.0.2.11:51820]\n",
        &["get", "kubespanconfigs"],
        &["kubespan"],
    ),
    hardware("Layer2VIPConfig", "name: 192.0.2.12\nlink: eth0\n", &["get", "operatorspecs"], &["192.0.2.12"]),
    // A link with a document asks nobody for an address any more: not the one that the machine is reached by.
    row(
        "LinkConfig",
        "name: lo\naddresses:\n  - address: 192.0.2.13/32\n",
        &["get", "addresses"],
        &["lo/192.0.2.13/32"],
    ),
    hardware(
        "LinkAliasConfig",
        "name: uplink\nselector:\n  match: link.kind == \"\" || true\n",
        &["get", "links", "-o", "yaml"],
        &["uplink"],
    ),
    row("ResolverConfig", "nameservers:\n  - address: 192.0.2.53\n", &["get", "resolvers"], &["192.0.2.53"]),
    row(
        "RoutingRuleConfig",
        "name: \"1500\"\nsrc: 192.0.2.0/24\ntable: \"100\"\n",
        &["get", "routingrules", "-o", "yaml"],
        &["192.0.2.0/24"],
    ),
    row(
        "NetworkRuleConfig",
        "name: page\nportSelector:\n  ports: [8080]\n  protocol: tcp\ningress:\n  - subnet: 192.0.2.0/24\n---\napiVersion: v1alpha1\nkind: NetworkDefaultActionConfig\ningress: accept\n",
        &["get", "nftableschains", "-o", "yaml"],
        &["8080"],
    ),
    row(
        "StaticHostConfig",
        "name: 192.0.2.14\nhostnames: [fixed.test]\n",
        &["read", "/etc/hosts"],
        &["192.0.2.14", "fixed.test"],
    ),
    row(
        "TCPProbeConfig",
        "name: nobody\nendpoint: 127.0.0.1:1\ninterval: 1s\ntimeout: 1s\nfailureThreshold: 1\n",
        &["get", "probes"],
        &["tcp:127.0.0.1:1", "false"],
    ),
    row(
        "TimeSyncConfig",
        "enabled: true\nntp:\n  servers: [192.0.2.123]\n",
        &["get", "timeservers"],
        &["192.0.2.123"],
    ),
    row("VethConfig", "name: veth9\npeer:\n  name: veth10\n", &["get", "links"], &["veth9", "veth10"]),
    hardware(
        "VLANConfig",
        "name: eth0.9\nparent: eth0\nvlanID: 9\n",
        &["get", "links", "eth0.9", "-o", "yaml"],
        &["vlanID: 9"],
    ),
    hardware(
        "VRFConfig",
        "name: vrf9\nlinks: []\ntable: \"109\"\n",
        &["get", "links", "vrf9", "-o", "yaml"],
        &["vrf"],
    ),
    hardware(
        "WireguardConfig",
        "name: wg9\nprivateKey: mJ2kgcc4TQMUsPH5Wp6JbH8d1ZJxPJ7r7Tz3gJcNvGg=\nlistenPort: 51999\npeers: []\n",
        &["get", "links", "wg9", "-o", "yaml"],
        &["listenPort: 51999"],
    ),
    row(
        "EventSinkConfig",
        "endpoint: 192.0.2.15:8090\n",
        &["get", "eventsinkconfigs", "-o", "yaml"],
        &["192.0.2.15:8090"],
    ),
    row(
        "KmsgLogConfig",
        "name: away\nurl: tcp://192.0.2.16:514/\n",
        &["get", "kmsglogconfigs", "-o", "yaml"],
        &["192.0.2.16:514"],
    ),
    row(
        "SideroLinkConfig",
        "apiUrl: grpc://192.0.2.17:8090?jointoken=none\n",
        &["get", "siderolinkconfigs"],
        &["192.0.2.17"],
    ),
    hardware(
        "PCIDriverRebindConfig",
        "name: \"0000:00:1f.3\"\ntargetDriver: vfio-pci\n",
        &["get", "pcidriverrebindconfigs"],
        &["0000:00:1f.3"],
    ),
];
