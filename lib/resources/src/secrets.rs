//! Certificates, keys and tokens of the machine and of Kubernetes.
//!
//! Every type here is sensitive: only an administrator may read it. `Debug` output of key material is redacted.

use std::fmt;
use std::net::IpAddr;

use corten_resource::{Record, Resource};

/// A certificate and its private key, both PEM.
#[derive(Clone, Default, PartialEq, Eq, Record)]
pub struct CertificateAndKey {
    /// The certificate.
    #[field(1, "crt", base64)]
    pub crt: Vec<u8>,
    /// Its private key; empty where only the certificate is known.
    #[field(2, "key", base64)]
    pub key: Vec<u8>,
}

impl fmt::Debug for CertificateAndKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateAndKey({} bytes, key redacted)", self.crt.len())
    }
}

/// A certificate, PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Record)]
pub struct Certificate {
    /// The certificate.
    #[field(1, "crt", base64)]
    pub crt: Vec<u8>,
}

/// A private key, PEM.
#[derive(Clone, Default, PartialEq, Eq, Record)]
pub struct PrivateKey {
    /// The key.
    #[field(1, "key", base64)]
    pub key: Vec<u8>,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

/// What apid serves with, and on control planes dials other machines with.
///
/// Written by the secrets domain; read by apid.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ApiCertificates.secrets.talos.dev", namespace = "secrets", sensitive)]
pub struct ApiCertificate {
    /// CAs whose client certificates are accepted.
    #[field(4, "acceptedCAs")]
    pub accepted_cas: Vec<Certificate>,
    /// Client certificate towards other machines' apid; control planes only.
    #[field(2, "client")]
    pub client: Option<CertificateAndKey>,
    /// Serving certificate.
    #[field(3, "server")]
    pub server: Option<CertificateAndKey>,
    /// Maintenance mode: callers need no certificate.
    #[field(5, "skipVerifyingClientCert")]
    pub skip_verifying_client_cert: bool,
}

impl ApiCertificate {
    /// Id of the only one.
    pub const ID: &'static str = "api";
}

/// Names and addresses that a certificate must carry.
///
/// Written from configuration and addresses; read by whoever issues the certificate.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "CertSANs.secrets.talos.dev", namespace = "secrets", sensitive)]
pub struct CertSan {
    /// Addresses, sorted.
    #[field(1, "ips")]
    pub ips: Vec<IpAddr>,
    /// DNS names, sorted.
    #[field(2, "dnsNames")]
    pub dns_names: Vec<String>,
    /// Full name of the machine: the certificate's common name.
    #[field(3, "fqdn")]
    pub fqdn: String,
}

impl CertSan {
    /// Id of the names of the machine API.
    pub const API: &'static str = "api";
    /// Id of the names of kube-apiserver.
    pub const KUBERNETES: &'static str = "k8s";
    /// Id of the names of the maintenance API.
    pub const MAINTENANCE: &'static str = "maintenance";
}

/// What the keys of encrypted disks are salted with.
///
/// Nobody writes it yet: no volume is encrypted with a key that is made on the machine.
#[derive(Clone, Default, PartialEq, Resource)]
#[resource(kind = "EncryptionSalts.secrets.talos.dev", namespace = "secrets", sensitive)]
pub struct EncryptionSalt {
    /// The salt.
    #[field(1, "diskSalt")]
    pub disk_salt: Vec<u8>,
}

impl fmt::Debug for EncryptionSalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptionSalt").finish_non_exhaustive()
    }
}

/// Certificates of etcd and of its clients on this machine.
///
/// Written by the secrets domain on control planes; read by the renderers of files.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcdSecrets.secrets.talos.dev", namespace = "secrets", sensitive)]
pub struct EtcdSecrets {
    /// Serving certificate towards clients.
    #[field(1, "etcd")]
    pub etcd: Option<CertificateAndKey>,
    /// Certificate between members.
    #[field(2, "etcdPeer")]
    pub etcd_peer: Option<CertificateAndKey>,
    /// Client certificate of this machine's own tools.
    #[field(3, "etcdAdmin")]
    pub etcd_admin: Option<CertificateAndKey>,
    /// Client certificate of kube-apiserver.
    #[field(4, "etcdAPIServer")]
    pub etcd_api_server: Option<CertificateAndKey>,
}

impl EtcdSecrets {
    /// Id of the only one.
    pub const ID: &'static str = "etcd";
}

/// CA of etcd.
///
/// Written from configuration on control planes.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcdRootSecrets.secrets.talos.dev", namespace = "secrets", sensitive)]
pub struct EtcdRoot {
    /// The CA.
    #[field(1, "etcdCA")]
    pub etcd_ca: Option<CertificateAndKey>,
}

impl EtcdRoot {
    /// Id of the only one.
    pub const ID: &'static str = "etcd";
}

/// What the kubelet needs for its first contact with the API server.
///
/// Written from configuration; read by the kubelet's service.
#[derive(Clone, Default, PartialEq, Resource)]
#[resource(kind = "KubeletSecrets.secrets.talos.dev", namespace = "secrets", sensitive)]
pub struct KubeletSecrets {
    /// API server to talk to (KubePrism or the cluster's endpoint).
    #[field(1, "endpoint", url)]
    pub endpoint: String,
    /// Name expected in the server's certificate when it differs from the endpoint.
    #[field(6, "endpointTLSServerName", omitempty)]
    pub endpoint_tls_server_name: String,
    /// CAs of the API server.
    #[field(5, "acceptedCAs")]
    pub accepted_cas: Vec<Certificate>,
    /// Public half of the bootstrap token.
    #[field(3, "bootstrapTokenID")]
    pub bootstrap_token_id: String,
    /// Secret half of the bootstrap token.
    #[field(4, "bootstrapTokenSecret")]
    pub bootstrap_token_secret: String,
}

impl KubeletSecrets {
    /// Id of the only one.
    pub const ID: &'static str = "kubelet";
}

impl fmt::Debug for KubeletSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KubeletSecrets({:?}, token redacted)", self.endpoint)
    }
}

/// Kubeconfigs of the control plane's components on this machine.
///
/// Written by the secrets domain; read by the renderers of files and by clients inside machined.
#[derive(Clone, Default, PartialEq, Resource)]
#[resource(kind = "KubernetesSecrets.secrets.talos.dev", namespace = "secrets", sensitive)]
pub struct KubernetesSecrets {
    /// Of kube-scheduler.
    #[field(4, "schedulerKubeconfig")]
    pub scheduler_kubeconfig: String,
    /// Of kube-controller-manager.
    #[field(5, "controllerManagerKubeconfig")]
    pub controller_manager_kubeconfig: String,
    /// Administrator against the local API server.
    #[field(6, "localhostAdminKubeconfig")]
    pub localhost_admin_kubeconfig: String,
    /// Administrator against the cluster's endpoint.
    #[field(7, "adminKubeconfig")]
    pub admin_kubeconfig: String,
}

impl KubernetesSecrets {
    /// Id of the only one.
    pub const ID: &'static str = "k8s-certs";
}

impl fmt::Debug for KubernetesSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KubernetesSecrets(redacted)")
    }
}

/// Certificates of kube-apiserver that follow addresses and CAs.
///
/// Written by the secrets domain; read by the renderers of files.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubernetesDynamicCerts.secrets.talos.dev", namespace = "secrets", sensitive)]
pub struct KubernetesDynamicCerts {
    /// Serving certificate.
    #[field(1, "apiServer")]
    pub api_server: Option<CertificateAndKey>,
    /// Client certificate towards kubelets.
    #[field(2, "apiServerKubeletClient")]
    pub api_server_kubelet_client: Option<CertificateAndKey>,
    /// Client certificate towards aggregated API servers.
    #[field(3, "frontProxy")]
    pub front_proxy: Option<CertificateAndKey>,
}

impl KubernetesDynamicCerts {
    /// Id of the only one.
    pub const ID: &'static str = "k8s-dynamic-certs";
}

/// CAs, keys and tokens of Kubernetes as configured.
///
/// Written from configuration on control planes; read by everything that issues or renders for Kubernetes.
#[derive(Clone, Default, PartialEq, Resource)]
#[resource(kind = "KubernetesRootSecrets.secrets.talos.dev", namespace = "secrets", sensitive)]
pub struct KubernetesRoot {
    /// Name of the cluster.
    #[field(1, "name")]
    pub name: String,
    /// The cluster's endpoint.
    #[field(2, "endpoint", url)]
    pub endpoint: String,
    /// Endpoint for components on this machine.
    #[field(3, "local_endpoint", url)]
    pub local_endpoint: String,
    /// Names that the API server's certificate must carry.
    #[field(4, "certSANs")]
    pub cert_sans: Vec<String>,
    /// Addresses of the service `kubernetes`.
    #[field(14, "apiServerIPs")]
    pub api_server_ips: Vec<IpAddr>,
    /// DNS domain of the cluster.
    #[field(6, "dnsDomain")]
    pub dns_domain: String,
    /// CA that issues.
    #[field(7, "issuingCA")]
    pub issuing_ca: Option<CertificateAndKey>,
    /// Every CA that is trusted, the issuing one included.
    #[field(15, "acceptedCAs")]
    pub accepted_cas: Vec<Certificate>,
    /// CA of the aggregation layer.
    #[field(9, "aggregatorCA")]
    pub aggregator_ca: Option<CertificateAndKey>,
    /// Every trusted CA of the aggregation layer.
    #[field(17, "acceptedAggregatorCAs")]
    pub accepted_aggregator_cas: Vec<Certificate>,
    /// Key that signs service account tokens.
    #[field(8, "serviceAccount")]
    pub service_account: Option<PrivateKey>,
    /// Further public keys, as PEM, whose service account tokens are accepted.
    #[field(18, "serviceAccountAcceptedKeys")]
    pub service_account_accepted_keys: Vec<PrivateKey>,
    /// Issuer of service account tokens.
    #[field(19, "issuerURL")]
    pub issuer_url: String,
    /// Further accepted issuers.
    #[field(20, "acceptedIssuers")]
    pub accepted_issuers: Vec<String>,
    /// Audiences of service account tokens.
    #[field(21, "apiAudiences")]
    pub api_audiences: Vec<String>,
    /// Key of AES-CBC encryption of secrets at rest.
    #[field(10, "aesCBCEncryptionSecret")]
    pub aescbc_encryption_secret: String,
    /// Public half of the bootstrap token.
    #[field(11, "bootstrapTokenID")]
    pub bootstrap_token_id: String,
    /// Secret half of the bootstrap token.
    #[field(12, "bootstrapTokenSecret")]
    pub bootstrap_token_secret: String,
    /// Key of secretbox encryption of secrets at rest.
    #[field(13, "secretboxEncryptionSecret")]
    pub secretbox_encryption_secret: String,
    /// Whole encryption configuration when given by the user.
    #[field(16, "etcdEncryptionConfig")]
    pub etcd_encryption_config: String,
}

impl KubernetesRoot {
    /// Id of the only one.
    pub const ID: &'static str = "k8s";
}

impl fmt::Debug for KubernetesRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KubernetesRoot({}, {:?}, redacted)", self.name, self.endpoint)
    }
}

/// CA of the maintenance API, made at boot and kept in memory only.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MaintenanceRootSecrets.secrets.talos.dev", namespace = "secrets", sensitive)]
pub struct MaintenanceRoot {
    /// The CA.
    #[field(1, "ca")]
    pub ca: Option<CertificateAndKey>,
}

impl MaintenanceRoot {
    /// Id of the only one.
    pub const ID: &'static str = "maintenance";
}

/// CA, token and extra names of the machine API as configured.
///
/// Written from configuration; read by trustd and by whoever issues for the machine API.
#[derive(Clone, Default, PartialEq, Resource)]
#[resource(kind = "OSRootSecrets.secrets.talos.dev", namespace = "secrets", sensitive)]
pub struct OsRoot {
    /// CA that issues; workers know the certificate only.
    #[field(1, "issuingCA")]
    pub issuing_ca: Option<CertificateAndKey>,
    /// Every CA that is trusted, the issuing one included.
    #[field(5, "acceptedCAs")]
    pub accepted_cas: Vec<Certificate>,
    /// Addresses that certificates must carry.
    #[field(2, "certSANIPs")]
    pub cert_san_ips: Vec<IpAddr>,
    /// DNS names that certificates must carry.
    #[field(3, "certSANDNSNames")]
    pub cert_san_dns_names: Vec<String>,
    /// Token with which machines ask trustd for a certificate.
    #[field(4, "token")]
    pub token: String,
}

impl OsRoot {
    /// Id of the only one.
    pub const ID: &'static str = "os";
}

impl fmt::Debug for OsRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OsRoot({} accepted CAs, token redacted)", self.accepted_cas.len())
    }
}

/// What trustd serves with.
///
/// Written by the secrets domain on control planes; read by trustd.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "TrustdCertificates.secrets.talos.dev", namespace = "secrets", sensitive)]
pub struct TrustdCertificate {
    /// CAs handed to machines with their certificate.
    #[field(3, "acceptedCAs")]
    pub accepted_cas: Vec<Certificate>,
    /// Serving certificate.
    #[field(2, "server")]
    pub server: Option<CertificateAndKey>,
}

impl TrustdCertificate {
    /// Id of the only one.
    pub const ID: &'static str = "trustd";
}
