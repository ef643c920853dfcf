//! The container runtime.

use std::collections::BTreeMap;
use std::fmt;

use corten_resource::{Enumeration, Object, Record, Resource};

use crate::secrets::CertificateAndKey;

/// State of the image cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ImageCacheState {
    /// Not looked for yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// This machine has none.
    #[variant(1, "disabled")]
    Disabled,
    /// Found, not served yet.
    #[variant(2, "preparing")]
    Preparing,
    /// Served.
    #[variant(3, "ready")]
    Ready,
}

/// Whether images are copied from boot media to a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ImageCacheCopy {
    /// Not decided yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// Nothing to copy.
    #[variant(1, "skipped")]
    Skipped,
    /// To be copied.
    #[variant(2, "pending")]
    Pending,
    /// Copied.
    #[variant(3, "ready")]
    Ready,
}

/// The image cache of this machine. Singleton `image-cache`.
///
/// Written by the image cache controller; read by people and by whatever pulls images.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ImageCacheConfigs.cri.talos.dev", namespace = "cri",
    columns("Status" => "{.status}", "Copy Status" => "{.copyStatus}"))]
pub struct ImageCacheConfig {
    /// State.
    #[field(1, "status")]
    pub status: ImageCacheState,
    /// Folders with OCI layouts.
    #[field(2, "roots")]
    pub roots: Vec<String>,
    /// Copying.
    #[field(3, "copyStatus")]
    pub copy_status: ImageCacheCopy,
}

impl ImageCacheConfig {
    /// Id of the only one.
    pub const ID: &'static str = "image-cache";
}

/// The specification that pods start from: `default` as it is without a word of the user, `overrides` what the user
/// changes of it.
///
/// Written from the machine configuration; read by people and by the writer of containerd's files.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "BaseRuntimeSpecConfigs.cri.talos.dev", namespace = "cri")]
pub struct BaseRuntimeSpecConfig {
    /// In the form of the OCI runtime specification.
    #[field(1, "object", inline)]
    pub object: Object,
}

impl BaseRuntimeSpecConfig {
    /// Id of what pods start from by default.
    pub const DEFAULT: &'static str = "default";
    /// Id of the user's changes.
    pub const OVERRIDES: &'static str = "overrides";
}

/// A part of containerd's configuration; the id is its name.
///
/// Written from the machine configuration; read by people.
#[derive(Clone, Default, PartialEq, Resource)]
#[resource(kind = "CustomizationConfigs.cri.talos.dev", namespace = "cri", sensitive)]
pub struct CustomizationConfig {
    /// TOML.
    #[field(1, "content")]
    pub content: String,
}

impl fmt::Debug for CustomizationConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomizationConfig({} bytes)", self.content.len())
    }
}

/// One mirror.
#[derive(Clone, Debug, Default, PartialEq, Eq, Record)]
pub struct RegistryEndpoint {
    /// URL.
    #[field(1, "endpoint")]
    pub endpoint: String,
    /// The URL's path takes the place of `/v2`.
    #[field(2, "overridePath")]
    pub override_path: bool,
}

/// Mirrors of one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Record)]
pub struct RegistryMirror {
    /// Mirrors, in order.
    #[field(1, "endpoints")]
    pub endpoints: Vec<RegistryEndpoint>,
    /// The registry itself is never asked.
    #[field(3, "skipFallback", omitempty)]
    pub skip_fallback: bool,
}

/// Credentials for one registry.
#[derive(Clone, Default, PartialEq, Eq, Record)]
pub struct RegistryAuth {
    /// User.
    #[field(1, "username", omitempty)]
    pub username: String,
    /// Password.
    #[field(2, "password", omitempty)]
    pub password: String,
    /// User and password in base64.
    #[field(3, "auth", omitempty)]
    pub auth: String,
    /// Token.
    #[field(4, "identityToken", omitempty)]
    pub identity_token: String,
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistryAuth({:?}, redacted)", self.username)
    }
}

/// TLS to one registry.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct RegistryTls {
    /// Client certificate.
    #[field(1, "clientIdentity", omitempty)]
    pub client_identity: Option<CertificateAndKey>,
    /// CA to trust, PEM.
    #[field(2, "ca", omitempty, base64)]
    pub ca: Vec<u8>,
    /// Any certificate is accepted.
    #[field(3, "insecureSkipVerify", omitempty)]
    pub insecure_skip_verify: bool,
}

/// Image registries. Singleton `registries`.
///
/// Written from the machine configuration; read by people.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "RegistryConfigs.cri.talos.dev", namespace = "cri", sensitive)]
pub struct RegistriesConfig {
    /// Mirrors by host.
    #[field(1, "mirrors", omitempty)]
    pub mirrors: BTreeMap<String, RegistryMirror>,
    /// Credentials by host.
    #[field(2, "auths", omitempty)]
    pub auths: BTreeMap<String, RegistryAuth>,
    /// TLS by host.
    #[field(3, "tls", omitempty)]
    pub tls: BTreeMap<String, RegistryTls>,
}

impl RegistriesConfig {
    /// Id of the only one.
    pub const ID: &'static str = "registries";
}

/// A seccomp profile that is in place for pods; the id is its name.
///
/// Written by the controller that writes the files; read by people.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SeccompProfiles.cri.talos.dev", namespace = "cri")]
pub struct SeccompProfile {
    /// Name of the file.
    #[field(1, "name")]
    pub name: String,
    /// The profile.
    #[field(2, "value")]
    pub value: Object,
}
