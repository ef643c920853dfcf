//! The container runtime.

use corten_resource::{Enumeration, Resource};

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
