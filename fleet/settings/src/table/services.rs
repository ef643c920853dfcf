//! Settings of the services: where the manager listens and what it tells machines and people about that.

use super::{ANY_DURATION, COUNT, INTERVAL, LEVELS, PORT, Setting, TICK, WEB, effective, later};
use crate::kind::Kind;
use crate::settings::{JoinTokensMode, TunnelStack};

const HTTPS: Kind = Kind::Url(&["https"]);
const TIMEOUT: Kind = Kind::Duration(TICK);
const CERTIFICATE: &str = "File with the certificate chain in PEM; with it and the key, TLS is spoken.";
const KEY: &str = "File with the key of the certificate in PEM.";
const PROXY: &str = "web services of clusters behind the manager";
const BANDWIDTH: &str = "a limit of what goes through all tunnels together";

pub(super) const SERVICES: &[Setting] = &[
    effective(
        "services.api.endpoint",
        Kind::Endpoint,
        "0.0.0.0:8080",
        "Where the API for people, their tools and providers listens.",
    )
    .flag("bind-addr"),
    effective(
        "services.api.advertisedURL",
        WEB,
        "",
        "URL under which people and their tools reach the API; by default where it listens, or localhost.",
    )
    .flag("advertised-api-url"),
    effective("services.api.certFile", Kind::Path, "", CERTIFICATE).flag("cert"),
    effective("services.api.keyFile", Kind::Path, "", KEY).flag("key"),
    effective(
        "services.api.ownCertificate",
        Kind::Bool,
        "false",
        "Whether TLS is spoken with a certificate of the manager's own, whose authority clients must trust.",
    )
    .flag("own-certificate"),
    later("services.devServerProxy.proxyTo", Kind::Text, "", "a user interface from another server")
        .flag("frontend-dst"),
    effective(
        "services.metrics.endpoint",
        Kind::Endpoint,
        "0.0.0.0:2122",
        "Where the manager's own metrics are, for Prometheus; they need no log-in.",
    )
    .flag("metrics-bind-addr"),
    later("services.metrics.advertisedURL", Kind::Text, "", "telling where the metrics are"),
    effective("services.metrics.certFile", Kind::Path, "", CERTIFICATE),
    effective("services.metrics.keyFile", Kind::Path, "", KEY),
    effective(
        "services.kubernetesProxy.endpoint",
        Kind::Endpoint,
        "0.0.0.0:8095",
        "Where kubectl reaches the Kubernetes APIs of the clusters.",
    )
    .flag("k8s-proxy-bind-addr"),
    effective(
        "services.kubernetesProxy.advertisedURL",
        HTTPS,
        "https://localhost:8095",
        "URL of the Kubernetes proxy in the kubeconfigs that the manager makes.",
    )
    .flag("advertised-kubernetes-proxy-url"),
    effective("services.kubernetesProxy.certFile", Kind::Path, "", CERTIFICATE),
    effective("services.kubernetesProxy.keyFile", Kind::Path, "", KEY),
    effective(
        "services.kubernetesProxy.oidcCacheBaseDir",
        Kind::Path,
        "",
        "Folder on people's computers where tokens of the kubeconfigs are kept; by default kubelogin's own.",
    )
    .flag("kubeconfig-oidc-cache-base-dir"),
    effective(
        "services.kubernetesProxy.oidcCacheIsolation",
        Kind::Bool,
        "false",
        "Whether every context of a kubeconfig keeps its tokens in a folder of its own.",
    )
    .flag("kubeconfig-oidc-cache-isolation"),
    effective(
        "services.siderolink.wireGuard.endpoint",
        Kind::Endpoint,
        "0.0.0.0:50180",
        "Where WireGuard listens, UDP.",
    )
    .flag("siderolink-wireguard-bind-addr"),
    effective(
        "services.siderolink.wireGuard.advertisedEndpoint",
        Kind::Addresses,
        "",
        "Addresses under which machines reach WireGuard, best first; by default those of the manager's host.",
    )
    .flag("siderolink-wireguard-advertised-addr"),
    effective(
        "services.siderolink.joinTokensMode",
        Kind::OneOf(JoinTokensMode::WORDS),
        "legacyAllowed",
        "Whether machines need tokens of their own: all, those that can have one, or none.",
    )
    .flag("join-tokens-mode"),
    effective(
        "services.siderolink.disableLastEndpoint",
        Kind::Bool,
        "false",
        "Whether a machine is not called where it was last, but waited for.",
    )
    .flag("siderolink-disable-last-endpoint"),
    effective(
        "services.siderolink.useGRPCTunnel",
        Kind::Bool,
        "false",
        "Whether all machines send WireGuard through gRPC instead of UDP.",
    )
    .flag("siderolink-use-grpc-tunnel"),
    effective(
        "services.siderolink.eventSinkPort",
        PORT,
        "8090",
        "Port within WireGuard that machines send events to.",
    )
    .flag("event-sink-port"),
    effective(
        "services.siderolink.logServerPort",
        PORT,
        "8092",
        "Port within WireGuard that machines send logs to.",
    )
    .flag("log-server-port"),
    effective(
        "services.siderolink.tunnelStack",
        Kind::OneOf(TunnelStack::WORDS),
        "auto",
        "Who does TCP in the tunnels: the kernel in a namespace, a stack in user space, or the first that the host \
         allows. Omni has no such setting.",
    )
    .flag("siderolink-tunnel-stack"),
    later("services.siderolink.bandwidthLimitMbps", COUNT, "0", BANDWIDTH)
        .flag("siderolink-bandwidth-limit-mbps"),
    later("services.siderolink.bandwidthLimitBurstBytes", COUNT, "0", BANDWIDTH)
        .flag("siderolink-bandwidth-limit-burst-bytes"),
    effective(
        "services.machineAPI.endpoint",
        Kind::Endpoint,
        "0.0.0.0:8090",
        "Where machines join; it may be the endpoint of the API.",
    )
    .flag("machine-api-bind-addr"),
    effective(
        "services.machineAPI.advertisedURL",
        WEB,
        "",
        "URL under which machines join; by default the host of the API's with the port of the endpoint.",
    )
    .flag("machine-api-advertised-url"),
    effective("services.machineAPI.certFile", Kind::Path, "", CERTIFICATE).flag("machine-api-cert"),
    effective("services.machineAPI.keyFile", Kind::Path, "", KEY).flag("machine-api-key"),
    effective(
        "services.localResourceService.enabled",
        Kind::Bool,
        "true",
        "Whether programs on the manager's host may read resources without log-in.",
    )
    .flag("local-resource-server-enabled"),
    effective("services.localResourceService.port", PORT, "8081", "Port on 127.0.0.1 where they do.")
        .flag("local-resource-server-port"),
    effective(
        "services.embeddedDiscoveryService.enabled",
        Kind::Bool,
        "true",
        "Whether the manager helps the members of a cluster to find each other.",
    )
    .flag("embedded-discovery-service-enabled"),
    effective(
        "services.embeddedDiscoveryService.port",
        PORT,
        "8093",
        "Port within WireGuard where members ask.",
    )
    .flag("embedded-discovery-service-port"),
    effective(
        "services.embeddedDiscoveryService.snapshotsEnabled",
        Kind::Bool,
        "true",
        "Whether what members told outlives the manager.",
    )
    .flag("embedded-discovery-service-snapshots-enabled"),
    effective(
        "services.embeddedDiscoveryService.snapshotsInterval",
        INTERVAL,
        "10m0s",
        "How often that is written.",
    )
    .flag("embedded-discovery-service-snapshot-interval"),
    effective(
        "services.embeddedDiscoveryService.logLevel",
        LEVELS,
        "warn",
        "Least level that the discovery service logs.",
    )
    .flag("embedded-discovery-service-log-level"),
    later("services.embeddedDiscoveryService.sqliteTimeout", ANY_DURATION, "30s", super::storage::SQLITE)
        .flag("embedded-discovery-service-sqlite-timeout"),
    effective(
        "services.loadBalancer.minPort",
        PORT,
        "10000",
        "First port for the load balancers of the clusters.",
    )
    .flag("lb-min-port"),
    effective(
        "services.loadBalancer.maxPort",
        PORT,
        "35000",
        "Last port for the load balancers of the clusters.",
    )
    .flag("lb-max-port"),
    effective(
        "services.loadBalancer.dialTimeout",
        TIMEOUT,
        "15s",
        "How long a load balancer tries to reach a control plane machine.",
    ),
    effective(
        "services.loadBalancer.keepAlivePeriod",
        INTERVAL,
        "30s",
        "How often a silent connection is checked.",
    ),
    effective(
        "services.loadBalancer.tcpUserTimeout",
        TIMEOUT,
        "30s",
        "How long sent data may stay unconfirmed before a connection is given up.",
    ),
    effective(
        "services.loadBalancer.healthCheckInterval",
        INTERVAL,
        "20s",
        "How often control plane machines are checked.",
    ),
    effective("services.loadBalancer.healthCheckTimeout", TIMEOUT, "15s", "How long a check may take."),
    later("services.workloadProxy.enabled", Kind::Bool, "false", PROXY).flag("workload-proxying-enabled"),
    later("services.workloadProxy.subdomain", Kind::Text, "proxy-us", PROXY)
        .flag("workload-proxying-subdomain"),
    later("services.workloadProxy.stopLBsAfter", ANY_DURATION, "5m0s", PROXY)
        .flag("workload-proxying-stop-lbs-after"),
    later("services.workloadProxy.useOmniSubdomain", Kind::Bool, "false", PROXY)
        .flag("workload-proxying-use-omni-subdomain"),
];
