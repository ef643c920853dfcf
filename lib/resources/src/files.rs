//! Files that are rendered over `/etc`.

use corten_resource::Resource;

/// A file wanted under `/etc`; the id is its path there.
///
/// Written by the controllers that render hosts, resolv.conf and the like; read by the one that puts them in place.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcFileSpecs.files.talos.dev", namespace = "files", sensitive)]
pub struct EtcFileSpec {
    /// Whole content.
    #[field(1, "contents")]
    pub contents: String,
    /// Permission bits.
    #[field(2, "mode")]
    pub mode: u32,
    /// SELinux label.
    #[field(3, "selinux_label")]
    pub selinux_label: String,
}

/// A file that is in place; the id is its path under `/etc`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcFileStatuses.files.talos.dev", namespace = "files")]
pub struct EtcFileStatus {
    /// Version of the [`EtcFileSpec`] that was put in place.
    #[field(1, "specVersion")]
    pub spec_version: String,
}
