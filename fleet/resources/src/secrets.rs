//! The secrets of clusters, how they are replaced, and the credentials of the manager itself.
//!
//! ```text
//! ImportedClusterSecrets ─▶ ClusterSecrets ─▶ ClusterMachineSecrets ─▶ configuration of a machine
//!                            ▲          └─▶ TalosConfig, Kubeconfig ─▶ the manager calls machines and Kubernetes
//! RotateTalosCa ──────┐      │
//! RotateKubernetesCa ─┴─▶ SecretRotation ─▶ ClusterSecretsRotationStatus
//! ```

use corten_resource::{Enumeration, Record, Resource};

/// A certificate authority.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct CertificateAuthority {
    /// Its certificate, PEM.
    #[field(1, "crt")]
    pub crt: Vec<u8>,
    /// Its private key, PEM.
    #[field(2, "key")]
    pub key: Vec<u8>,
}

/// The two authorities of a cluster that can be replaced.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct CertificateAuthorities {
    /// Issues for the API of the machines.
    #[field(1, "os")]
    pub os: Option<CertificateAuthority>,
    /// Issues for Kubernetes.
    #[field(2, "k8s")]
    pub k8s: Option<CertificateAuthority>,
}

/// Everything secret of a cluster, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterSecrets.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct ClusterSecrets {
    /// The bundle of secrets from which configurations of machines are generated, JSON.
    #[field(1, "data")]
    pub data: Vec<u8>,
    /// The bundle was brought along by a cluster that was made elsewhere, so others may have a copy.
    #[field(2, "imported")]
    pub imported: bool,
    /// Authorities that are trusted beside those of the bundle while a rotation runs.
    #[field(3, "extracerts")]
    pub extra_certs: Option<CertificateAuthorities>,
}

/// Whether a rotation runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum RotationStatus {
    /// None does.
    #[default]
    #[variant(0, "idle")]
    Idle,
    /// One does.
    #[variant(1, "in progress")]
    InProgress,
}

/// How far a rotation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum RotationPhase {
    /// One authority issues and is trusted.
    #[default]
    #[variant(0, "ok")]
    Ok,
    /// The old authority issues, the new one is trusted too.
    #[variant(1, "pre-rotate")]
    PreRotate,
    /// The new authority issues, the old one is trusted too.
    #[variant(2, "rotate")]
    Rotate,
    /// Trust in the old authority is withdrawn.
    #[variant(3, "post-rotate")]
    PostRotate,
}

/// Which authority a rotation replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum RotationComponent {
    /// None.
    #[default]
    #[variant(0, "none")]
    None,
    /// The authority of the API of the machines.
    #[variant(1, "talos ca")]
    TalosCa,
    /// The authority of Kubernetes.
    #[variant(2, "kubernetes ca")]
    KubernetesCa,
}

/// Which step of a rotation the secrets of a machine belong to.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct MachineRotation {
    /// Whether a rotation runs.
    #[field(1, "status")]
    pub status: RotationStatus,
    /// How far it is on this machine; others may be behind.
    #[field(2, "phase")]
    pub phase: RotationPhase,
    /// What it replaces.
    #[field(3, "component")]
    pub component: RotationComponent,
    /// Authorities that this machine trusts beside those of its bundle.
    #[field(4, "extracerts")]
    pub extra_certs: Option<CertificateAuthorities>,
    /// Version of the [`SecretRotation`] that the machine follows, as text.
    #[field(5, "secretrotationversion")]
    pub secret_rotation_version: String,
}

/// The secrets that go into the configuration of one machine, by its UUID. While a rotation runs they differ between
/// the machines of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterMachineSecrets.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct ClusterMachineSecrets {
    /// The bundle of secrets, JSON.
    #[field(1, "data")]
    pub data: Vec<u8>,
    /// Which step of a rotation they belong to.
    #[field(2, "rotation")]
    pub rotation: Option<MachineRotation>,
}

/// The secrets of a cluster that was made elsewhere, by the name that it gets here. Gone once they are taken over.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ImportedClusterSecrets.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct ImportedClusterSecrets {
    /// The bundle of secrets, YAML.
    #[field(1, "data")]
    pub data: String,
}

/// The rotation of the authorities of a cluster, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SecretRotations.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct SecretRotation {
    /// Whether a rotation runs.
    #[field(1, "status")]
    pub status: RotationStatus,
    /// How far it is.
    #[field(2, "phase")]
    pub phase: RotationPhase,
    /// What it replaces.
    #[field(3, "component")]
    pub component: RotationComponent,
    /// Authorities that issue now.
    #[field(4, "certs")]
    pub certs: Option<CertificateAuthorities>,
    /// Authorities that are trusted beside them: first the new ones, after the change the old ones.
    #[field(5, "extracerts")]
    pub extra_certs: Option<CertificateAuthorities>,
    /// Former authorities of the API of the machines, at most five.
    #[field(6, "backupcertsos")]
    pub backup_certs_os: Vec<CertificateAuthority>,
    /// Former authorities of Kubernetes, at most five.
    #[field(7, "backupcertsk8s")]
    pub backup_certs_k8s: Vec<CertificateAuthority>,
}

/// How far the rotation of a cluster's authorities is, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterSecretsRotationStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct ClusterSecretsRotationStatus {
    /// How far it is.
    #[field(1, "phase")]
    pub phase: RotationPhase,
    /// What it replaces.
    #[field(2, "component")]
    pub component: RotationComponent,
    /// Why it does not go on; empty when it does.
    #[field(3, "error")]
    pub error: String,
    /// What is done now, a sentence.
    #[field(4, "step")]
    pub step: String,
    /// The phase in words.
    #[field(5, "status")]
    pub status: String,
}

/// The wish for another authority of the API of the machines, by the cluster. Each new version of it starts a rotation;
/// it cannot change while one runs.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "RotateTalosCAs.omni.sidero.dev", namespace = "default", message)]
pub struct RotateTalosCa {}

/// The wish for another authority of Kubernetes, by the cluster. Each new version of it starts a rotation; it cannot
/// change while one runs.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "RotateKubernetesCAs.omni.sidero.dev", namespace = "default", message)]
pub struct RotateKubernetesCa {}

/// What the manager calls the machines of a cluster with, by the cluster: an administrator of their API.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "TalosConfigs.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct TalosConfig {
    /// Certificate of the authority, PEM in base64.
    #[field(1, "ca")]
    pub ca: String,
    /// Certificate of the manager, PEM in base64; valid for a year, replaced after half of it.
    #[field(2, "crt")]
    pub crt: String,
    /// Private key of the manager, PEM in base64.
    #[field(3, "key")]
    pub key: String,
}

/// What the manager calls the Kubernetes of a cluster with, by the cluster: an administrator.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Kubeconfigs.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct Kubeconfig {
    /// The file, YAML.
    #[field(1, "data")]
    pub data: Vec<u8>,
}

/// How machines and the manager log in at an image factory, by the factory's host.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ImageFactoryAuths.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct ImageFactoryAuth {
    /// User of HTTP basic authentication.
    #[field(1, "username")]
    pub username: String,
    /// Password of HTTP basic authentication.
    #[field(2, "password")]
    pub password: String,
}
