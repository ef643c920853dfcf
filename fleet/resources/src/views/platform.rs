//! What the operating system runs on and what its versions can do, for the choice of media and settings.

use corten_resource::{Enumeration, Resource};

/// Processors that there are images for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum Architecture {
    /// Not said.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// x86-64.
    #[variant(1, "amd64")]
    Amd64,
    /// ARM of 64 bits.
    #[variant(2, "arm64")]
    Arm64,
}

/// How a platform can boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum BootMethod {
    /// Not said.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// From an image of a disk.
    #[variant(1, "disk-image")]
    DiskImage,
    /// From an ISO image.
    #[variant(2, "iso")]
    Iso,
    /// Over the network.
    #[variant(3, "pxe")]
    Pxe,
}

/// A cloud that there are images for, by the id of the platform.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "CloudPlatformConfigs.omni.sidero.dev", namespace = "virtual", message)]
pub struct CloudPlatformConfig {
    /// Name for people.
    #[field(1, "label")]
    pub label: String,
    /// What it runs on, one line.
    #[field(2, "description")]
    pub description: String,
    /// Processors that it has.
    #[field(3, "architectures")]
    pub architectures: Vec<Architecture>,
    /// Where its installation is described, a path below the documentation.
    #[field(4, "documentation")]
    pub documentation: String,
    /// End of the file name of its disk images, without dot.
    #[field(5, "diskimagesuffix")]
    pub disk_image_suffix: String,
    /// How it can boot.
    #[field(6, "bootmethods")]
    pub boot_methods: Vec<BootMethod>,
    /// Oldest version that supports it, without `v`.
    #[field(7, "minversion")]
    pub min_version: String,
    /// It can boot signed images only.
    #[field(8, "securebootsupported")]
    pub secure_boot_supported: bool,
}

/// Bare metal, by the id of the platform, of which there is one: `metal`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MetalPlatformConfigs.omni.sidero.dev", namespace = "virtual", message)]
pub struct MetalPlatformConfig {
    /// Name for people.
    #[field(1, "label")]
    pub label: String,
    /// What it runs on, one line.
    #[field(2, "description")]
    pub description: String,
    /// Processors that it has.
    #[field(3, "architectures")]
    pub architectures: Vec<Architecture>,
    /// Where its installation is described, a path below the documentation.
    #[field(4, "documentation")]
    pub documentation: String,
    /// End of the file name of its disk images, without dot.
    #[field(5, "diskimagesuffix")]
    pub disk_image_suffix: String,
    /// How it can boot.
    #[field(6, "bootmethods")]
    pub boot_methods: Vec<BootMethod>,
    /// Oldest version that supports it, without `v`.
    #[field(7, "minversion")]
    pub min_version: String,
    /// It can boot signed images only.
    #[field(8, "securebootsupported")]
    pub secure_boot_supported: bool,
}

/// A single-board computer that there are images for, by its id.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SBCConfigs.omni.sidero.dev", namespace = "virtual", message)]
pub struct SbcConfig {
    /// Name for people.
    #[field(1, "label")]
    pub label: String,
    /// Name of its overlay.
    #[field(2, "overlayname")]
    pub overlay_name: String,
    /// Container image with the overlay, without registry.
    #[field(3, "overlayimage")]
    pub overlay_image: String,
    /// Where its installation is described, a path below the documentation.
    #[field(4, "documentation")]
    pub documentation: String,
    /// Oldest version that supports it, without `v`.
    #[field(5, "minversion")]
    pub min_version: String,
}

/// What the image factory can do for a version of the operating system, by the version.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Quirks.omni.sidero.dev", namespace = "virtual", message)]
pub struct Quirks {
    /// The name of its installer image begins with the platform.
    #[field(1, "supportsunifiedinstaller")]
    pub supports_unified_installer: bool,
    /// It serves the client of the version.
    #[field(2, "supportsfactorytalosctl")]
    pub supports_factory_talosctl: bool,
    /// Images can hold documents of the machine configuration.
    #[field(3, "supportsembeddedconfig")]
    pub supports_embedded_config: bool,
}

/// Which documents the configurations of a version consist of, by the version.
///
/// Clients know the type by a singular, which no definition resource may have; so it is internal and has none.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "VersionContract.omni.sidero.dev", namespace = "virtual", message, internal)]
pub struct VersionContract {
    /// KubeSpan has a document.
    #[field(1, "kubespanmultidocconfig")]
    pub kube_span_multidoc_config: bool,
    /// Kubernetes has documents.
    #[field(2, "multidockubernetesconfigsupported")]
    pub multidoc_kubernetes_config_supported: bool,
    /// The network has documents.
    #[field(3, "multidocnetworkconfigsupported")]
    pub multidoc_network_config_supported: bool,
    /// The discovery service has a document.
    #[field(4, "discoveryservicemultidocconfig")]
    pub discovery_service_multidoc_config: bool,
}
