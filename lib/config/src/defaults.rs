//! Versions and numbers that apply when a configuration does not say otherwise.

use std::time::Duration;

/// Kubernetes version of new configurations.
pub const KUBERNETES_VERSION: &str = "1.36.3";
/// Name in front of the kubelet's version.
pub const KUBELET_IMAGE: &str = "ghcr.io/siderolabs/kubelet";
/// Name in front of kube-apiserver's version.
pub const API_SERVER_IMAGE: &str = "registry.k8s.io/kube-apiserver";
/// Name in front of kube-controller-manager's version.
pub const CONTROLLER_MANAGER_IMAGE: &str = "registry.k8s.io/kube-controller-manager";
/// Name in front of kube-scheduler's version.
pub const SCHEDULER_IMAGE: &str = "registry.k8s.io/kube-scheduler";
/// Name in front of kube-proxy's version.
pub const PROXY_IMAGE: &str = "registry.k8s.io/kube-proxy";
/// etcd.
pub const ETCD_IMAGE: &str = "registry.k8s.io/etcd:v3.7.3";
/// CoreDNS.
pub const CORE_DNS_IMAGE: &str = "registry.k8s.io/coredns/coredns:v1.14.7";
/// Flannel.
pub const FLANNEL_IMAGE: &str = "ghcr.io/siderolabs/flannel:v0.26.7";
/// How Flannel sends packets between nodes.
pub const FLANNEL_BACKEND: &str = "vxlan";
/// Port by which it does.
pub const FLANNEL_PORT: u16 = 4789;
/// The container that holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.10";
/// Name in front of the installer's version.
pub const INSTALLER_IMAGE: &str = "ghcr.io/siderolabs/installer";

/// How much of the memory compressed swap may take, per cent.
pub const ZSWAP_POOL_PERCENT: u32 = 20;
/// How often a file system is looked after.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(168 * 3600);

/// DNS domain of a cluster.
pub const DNS_DOMAIN: &str = "cluster.local";
/// Networks of pods.
pub const POD_SUBNET: &str = "10.244.0.0/16";
/// Networks of services.
pub const SERVICE_SUBNET: &str = "10.96.0.0/12";
/// Port of kube-apiserver on a control plane.
pub const API_SERVER_PORT: u16 = 6443;
/// Port of the load balancer for the Kubernetes API.
pub const KUBE_PRISM_PORT: u16 = 7445;
/// Life of an administrator's kubeconfig.
pub const ADMIN_CERT_LIFETIME: Duration = Duration::from_secs(8760 * 3600);
/// Discovery service.
pub const DISCOVERY_ENDPOINT: &str = "https://discovery.talos.dev/";
/// Disk of new configurations.
pub const INSTALL_DISK: &str = "/dev/sda";
/// DNS servers.
pub const NAMESERVERS: [&str; 2] = ["1.1.1.1", "8.8.8.8"];
/// Time servers.
pub const TIME_SERVERS: [&str; 1] = ["time.cloudflare.com"];

/// Time between two attempts of a probe.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Failures in a row after which a probe has failed.
pub const PROBE_FAILURE_THRESHOLD: u32 = 3;
/// How long an attempt of a probe may take.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// An image of Kubernetes in the default version.
#[must_use]
pub fn kubernetes_image(name: &str) -> String {
    format!("{name}:v{KUBERNETES_VERSION}")
}
