//! Where the manager listens, and what it tells machines and people about that.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use corten_config::values::url;

use super::words::{JoinTokensMode, Level, TunnelStack};
use crate::values::Values;

/// All services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// The API.
    pub api: Api,
    /// The manager's own metrics.
    pub metrics: Listener,
    /// The Kubernetes APIs of the clusters.
    pub kubernetes_proxy: KubernetesProxy,
    /// The tunnels to machines.
    pub siderolink: Siderolink,
    /// Where machines join.
    pub machine_api: MachineApi,
    /// Resources for programs on the same host; nothing when switched off.
    pub local_resource_service: Option<LocalResourceService>,
    /// Discovery for members of clusters; nothing when switched off.
    pub embedded_discovery_service: Option<EmbeddedDiscoveryService>,
    /// Load balancers of the clusters.
    pub load_balancer: LoadBalancer,
}

impl Services {
    pub(super) fn read(values: &Values) -> Self {
        Self {
            api: Api::read(values),
            metrics: Listener::read(values, "services.metrics"),
            kubernetes_proxy: KubernetesProxy::read(values),
            siderolink: Siderolink::read(values),
            machine_api: MachineApi::read(values),
            local_resource_service: LocalResourceService::read(values),
            embedded_discovery_service: EmbeddedDiscoveryService::read(values),
            load_balancer: LoadBalancer::read(values),
        }
    }
}

/// Files for speaking TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address and port; port 0 takes any.
    pub endpoint: SocketAddr,
    /// Files for TLS; without them everything is in clear, for a proxy in front.
    pub tls: Option<TlsFiles>,
}

impl Listener {
    /// The listener of a section.
    fn read(values: &Values, section: &str) -> Self {
        let path = |key: &str| values.path(&format!("{section}.{key}"));
        let files = path("certFile").zip(path("keyFile"));
        Self {
            endpoint: values.endpoint(&format!("{section}.endpoint")),
            tls: files.map(|(certificate, key)| TlsFiles { certificate, key }),
        }
    }
}

/// The API for people, their tools and providers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Where it listens.
    pub listener: Listener,
    /// URL under which it is reached, without slash at its end.
    pub advertised_url: String,
    /// It speaks TLS with a certificate that the manager makes itself; never together with files.
    pub has_own_certificate: bool,
}

impl Api {
    fn read(values: &Values) -> Self {
        let listener = Listener::read(values, "services.api");
        let has_own_certificate = values.is("services.api.ownCertificate");
        let given = values.url("services.api.advertisedURL");
        let advertised_url = given.unwrap_or_else(|| bound(&listener, has_own_certificate));
        Self { listener, advertised_url, has_own_certificate }
    }
}

/// URL of the API when none is given: where it listens, and on all addresses the host itself.
fn bound(listener: &Listener, has_own_certificate: bool) -> String {
    let scheme = if listener.tls.is_some() || has_own_certificate { "https" } else { "http" };
    if listener.endpoint.ip().is_unspecified() {
        return format!("{scheme}://localhost:{}", listener.endpoint.port());
    }
    format!("{scheme}://{}", listener.endpoint)
}

/// The Kubernetes APIs of the clusters, behind the manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesProxy {
    /// Where it listens.
    pub listener: Listener,
    /// URL in kubeconfigs, `https` and without slash at its end.
    pub advertised_url: String,
    /// Folder on people's computers for tokens; nothing leaves it to kubelogin.
    pub oidc_cache_base_dir: Option<PathBuf>,
    /// Every context has a folder of its own there.
    pub oidc_cache_isolation: bool,
}

impl KubernetesProxy {
    fn read(values: &Values) -> Self {
        Self {
            listener: Listener::read(values, "services.kubernetesProxy"),
            advertised_url: values.url("services.kubernetesProxy.advertisedURL").unwrap_or_default(),
            oidc_cache_base_dir: values.path("services.kubernetesProxy.oidcCacheBaseDir"),
            oidc_cache_isolation: values.is("services.kubernetesProxy.oidcCacheIsolation"),
        }
    }
}

/// The tunnels to machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Siderolink {
    /// Where WireGuard listens, UDP.
    pub wireguard_endpoint: SocketAddr,
    /// Addresses that machines are told, best first; empty means those of the host.
    pub wireguard_advertised: Vec<SocketAddr>,
    /// Whether machines need tokens of their own.
    pub join_tokens_mode: JoinTokensMode,
    /// A machine is not called where it was last.
    pub disable_last_endpoint: bool,
    /// All machines send WireGuard through gRPC.
    pub use_grpc_tunnel: bool,
    /// Port within WireGuard for events.
    pub event_sink_port: u16,
    /// Port within WireGuard for logs.
    pub log_server_port: u16,
    /// Who does TCP in the tunnels.
    pub tunnel_stack: TunnelStack,
}

impl Siderolink {
    fn read(values: &Values) -> Self {
        Self {
            wireguard_endpoint: values.endpoint("services.siderolink.wireGuard.endpoint"),
            wireguard_advertised: values.addresses("services.siderolink.wireGuard.advertisedEndpoint"),
            join_tokens_mode: values.word("services.siderolink.joinTokensMode", JoinTokensMode::of),
            disable_last_endpoint: values.is("services.siderolink.disableLastEndpoint"),
            use_grpc_tunnel: values.is("services.siderolink.useGRPCTunnel"),
            event_sink_port: values.number("services.siderolink.eventSinkPort"),
            log_server_port: values.number("services.siderolink.logServerPort"),
            tunnel_stack: values.word("services.siderolink.tunnelStack", TunnelStack::of),
        }
    }
}

/// Where machines join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineApi {
    /// Where it listens; the same endpoint as that of the API means that the API takes these calls too.
    pub listener: Listener,
    /// URL that machines are told, without slash at its end.
    pub advertised_url: String,
}

impl MachineApi {
    fn read(values: &Values) -> Self {
        let listener = Listener::read(values, "services.machineAPI");
        let given = values.url("services.machineAPI.advertisedURL");
        let advertised_url = given.unwrap_or_else(|| derived(&Api::read(values), &listener));
        Self { listener, advertised_url }
    }
}

/// URL for joining when none is given: the host of the API's URL with the port of the listener.
fn derived(api: &Api, listener: &Listener) -> String {
    let host = url(&api.advertised_url).map(|url| url.host).unwrap_or_default();
    if listener.endpoint == api.listener.endpoint {
        return api.advertised_url.clone();
    }
    let scheme = if listener.tls.is_some() { "https" } else { "http" };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    format!("{scheme}://{host}:{}", listener.endpoint.port())
}

/// Resources for programs on the same host, without log-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalResourceService {
    /// Port on 127.0.0.1.
    pub port: u16,
}

impl LocalResourceService {
    fn read(values: &Values) -> Option<Self> {
        let port = values.number("services.localResourceService.port");
        values.is("services.localResourceService.enabled").then_some(Self { port })
    }
}

/// Discovery for members of clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedDiscoveryService {
    /// Port within WireGuard.
    pub port: u16,
    /// How often what it knows is written; nothing means never.
    pub snapshots_interval: Option<Duration>,
    /// Least level that it logs.
    pub log_level: Level,
}

impl EmbeddedDiscoveryService {
    fn read(values: &Values) -> Option<Self> {
        let interval = values.duration("services.embeddedDiscoveryService.snapshotsInterval");
        let has_snapshots = values.is("services.embeddedDiscoveryService.snapshotsEnabled");
        values.is("services.embeddedDiscoveryService.enabled").then(|| Self {
            port: values.number("services.embeddedDiscoveryService.port"),
            snapshots_interval: has_snapshots.then_some(interval),
            log_level: values.word("services.embeddedDiscoveryService.logLevel", Level::of),
        })
    }
}

/// Load balancers of the clusters: one port each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    /// First port.
    pub min_port: u16,
    /// Last port.
    pub max_port: u16,
    /// How long a machine is tried.
    pub dial_timeout: Duration,
    /// How often a silent connection is checked.
    pub keep_alive_period: Duration,
    /// How long sent data may stay unconfirmed.
    pub tcp_user_timeout: Duration,
    /// How often machines are checked.
    pub health_check_interval: Duration,
    /// How long a check may take.
    pub health_check_timeout: Duration,
}

impl LoadBalancer {
    fn read(values: &Values) -> Self {
        Self {
            min_port: values.number("services.loadBalancer.minPort"),
            max_port: values.number("services.loadBalancer.maxPort"),
            dial_timeout: values.duration("services.loadBalancer.dialTimeout"),
            keep_alive_period: values.duration("services.loadBalancer.keepAlivePeriod"),
            tcp_user_timeout: values.duration("services.loadBalancer.tcpUserTimeout"),
            health_check_interval: values.duration("services.loadBalancer.healthCheckInterval"),
            health_check_timeout: values.duration("services.loadBalancer.healthCheckTimeout"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url_of(api: &str, endpoint: &str, has_tls: bool) -> String {
        let tls = TlsFiles { certificate: PathBuf::from("c"), key: PathBuf::from("k") };
        let listener = Listener { endpoint: endpoint.parse().unwrap(), tls: has_tls.then_some(tls) };
        let api_listener = Listener { endpoint: "0.0.0.0:8080".parse().unwrap(), tls: None };
        let advertised_url = api.to_owned();
        derived(&Api { listener: api_listener, advertised_url, has_own_certificate: false }, &listener)
    }

    #[test]
    fn the_api_is_where_it_listens_unless_told_otherwise() {
        let url_of = |endpoint: &str, has_own_certificate| {
            let listener = Listener { endpoint: endpoint.parse().unwrap(), tls: None };
            bound(&listener, has_own_certificate)
        };
        assert_eq!(url_of("0.0.0.0:8080", false), "http://localhost:8080");
        assert_eq!(url_of("[::]:9090", true), "https://localhost:9090");
        assert_eq!(url_of("10.0.0.1:9090", false), "http://10.0.0.1:9090");
        assert_eq!(url_of("[2001:db8::1]:80", true), "https://[2001:db8::1]:80");
    }

    #[test]
    fn machines_join_on_the_host_of_the_api_unless_told_otherwise() {
        assert_eq!(url_of("https://fleet.example", "0.0.0.0:8090", true), "https://fleet.example:8090");
        assert_eq!(url_of("http://[2001:db8::1]:80", "0.0.0.0:8090", false), "http://[2001:db8::1]:8090");
        assert_eq!(url_of("https://fleet.example", "0.0.0.0:8080", false), "https://fleet.example");
    }
}
