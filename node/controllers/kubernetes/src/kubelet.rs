//! The kubelet: its specification, its files, its identity and its service.
//!
//!     machine configuration ──▶ KubeletConfig ─┐
//!     Nodename, NodeIp, static pod list's URL ─┴─▶ KubeletSpec ──▶ files ──▶ ServiceSpec/kubelet

pub mod identity;
pub mod intent;
pub mod kubeconfig;
pub mod lifecycle;
pub mod service;
pub mod spec;
pub mod spec_controller;

/// The kubelet's configuration file.
pub const CONFIG_FILE: &str = "/etc/kubernetes/kubelet.yaml";
/// Kubeconfig with the bootstrap token.
pub const BOOTSTRAP_KUBECONFIG: &str = "/etc/kubernetes/bootstrap-kubeconfig";
/// Kubeconfig with the kubelet's own certificate.
pub const KUBECONFIG: &str = "/etc/kubernetes/kubeconfig-kubelet";
/// Resolver configuration that pods without one of their own get.
pub const RESOLV_CONF: &str = "/etc/kubernetes/resolv.conf";
/// CAs of clients and of the API server.
pub const CA_FILE: &str = "/etc/kubernetes/pki/ca.crt";
/// Configuration of credential providers.
pub const CREDENTIAL_PROVIDER_CONFIG: &str = "/etc/kubernetes/credentialprovider.yaml";
/// Folder with the kubelet's certificates.
pub const PKI_FOLDER: &str = "/var/lib/kubelet/pki";
/// Data of the kubelet.
pub const KUBELET_FOLDER: &str = "/var/lib/kubelet";
/// The client certificate and key in use, one PEM file.
pub const CLIENT_CERTIFICATE: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";
/// Id of the service.
pub const SERVICE: &str = "kubelet";
/// Port of its API.
pub const PORT: u16 = 10_250;
