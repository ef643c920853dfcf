//! Mounts of volumes: what is asked for, all requests together, and what came of it.

use corten_resource::{Enumeration, Record, Resource};

use super::{EncryptionProvider, Filesystem};

/// What all who need a volume mounted ask for together; the id is the volume's.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MountRequests.block.talos.dev", namespace = "runtime",
    columns("Volume" => "{.volumeID}", "Parent" => "{.parentID}", "Requesters" => "{.requesters}"))]
pub struct MountRequest {
    /// Volume.
    #[field(1, "volumeID")]
    pub volume_id: String,
    /// Volume that it lies in.
    #[field(2, "parentID")]
    pub parent_id: String,
    /// Read-only.
    #[field(5, "readOnly")]
    pub read_only: bool,
    /// Not attached to the tree.
    #[field(6, "detached")]
    pub detached: bool,
    /// noatime.
    #[field(7, "disableAccessTime", omitempty)]
    pub disable_access_time: bool,
    /// nosuid, nodev.
    #[field(8, "secure", omitempty)]
    pub secure: bool,
    /// noexec.
    #[field(9, "noExec", omitempty)]
    pub no_exec: bool,
    /// Who asks.
    #[field(3, "requesters")]
    pub requesters: Vec<String>,
    /// Ids of the requests.
    #[field(4, "requesterIDs")]
    pub requester_ids: Vec<String>,
}

/// A volume that is mounted; the id is the volume's.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MountStatuses.block.talos.dev", namespace = "runtime",
    columns("Source" => "{.source}", "Target" => "{.target}", "Filesystem" => "{.filesystem}", "Volume" => "{.spec.volumeID}"))]
pub struct VolumeMount {
    /// What was asked for.
    #[field(1, "spec")]
    pub spec: MountRequest,
    /// Device.
    #[field(3, "source")]
    pub source: String,
    /// Mount point.
    #[field(2, "target")]
    pub target: String,
    /// File system.
    #[field(4, "filesystem")]
    pub filesystem: Filesystem,
    /// How it is encrypted.
    #[field(7, "encryptionProvider", omitempty)]
    pub encryption_provider: EncryptionProvider,
    /// Read-only.
    #[field(5, "readOnly")]
    pub read_only: bool,
    /// Project quotas are on.
    #[field(6, "projectQuotaSupport")]
    pub project_quota_support: bool,
    /// Not attached to the tree.
    #[field(8, "detached")]
    pub detached: bool,
}

/// Where a ready volume is mounted.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct MountSpec {
    /// Mount point.
    #[field(1, "targetPath")]
    pub target_path: String,
    /// SELinux label of the root.
    #[field(2, "selinuxLabel")]
    pub selinux_label: String,
    /// Project quotas are on.
    #[field(3, "projectQuotaSupport")]
    pub project_quota_support: bool,
    /// Volume that the mount point lies in.
    #[field(4, "parentId", omitempty)]
    pub parent_id: String,
    /// Permissions of the root.
    #[field(5, "fileMode", omitempty)]
    pub file_mode: u32,
    /// Owner of the root.
    #[field(6, "uid", omitempty)]
    pub uid: i64,
    /// Group of the root.
    #[field(7, "gid", omitempty)]
    pub gid: i64,
    /// Everything in it gets the SELinux label.
    #[field(8, "recursiveRelabel", omitempty)]
    pub recursive_relabel: bool,
    /// It also appears there.
    #[field(9, "bindTarget", omitempty)]
    pub bind_target: Option<String>,
    /// Options of the file system.
    #[field(10, "parameters", omitempty)]
    pub parameters: Vec<MountParameter>,
    /// nosuid, nodev.
    #[field(11, "secure", omitempty)]
    pub secure: bool,
    /// noexec.
    #[field(12, "noExec", omitempty)]
    pub no_exec: bool,
}

/// Type of an option of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum MountParameterKind {
    /// A text.
    #[default]
    #[variant(0, "string")]
    Text,
    /// A word that stands alone.
    #[variant(1, "boolean")]
    Flag,
    /// Bytes.
    #[variant(2, "binary")]
    Binary,
}

/// An option of a file system.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct MountParameter {
    /// Type.
    #[field(1, "type")]
    pub kind: MountParameterKind,
    /// Name.
    #[field(2, "name")]
    pub name: String,
    /// Text.
    #[field(3, "string", omitempty)]
    pub text: Option<String>,
    /// Bytes.
    #[field(5, "binary", omitempty)]
    pub binary: Vec<u8>,
}

/// A volume is mounted; the id is the volume's.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "VolumeMountStatuses.block.talos.dev", namespace = "runtime",
    columns("Volume" => "{.volumeID}", "Target" => "{.target}", "Read Only" => "{.readOnly}"))]
pub struct VolumeMountStatus {
    /// Volume.
    #[field(1, "volumeID")]
    pub volume_id: String,
    /// Who asked.
    #[field(2, "requester")]
    pub requester: String,
    /// Mount point.
    #[field(3, "target")]
    pub target: String,
    /// Read-only.
    #[field(4, "readOnly")]
    pub read_only: bool,
    /// Not attached to the tree.
    #[field(5, "detached")]
    pub detached: bool,
    /// noatime.
    #[field(6, "disableAccessTime")]
    pub disable_access_time: bool,
    /// nosuid, nodev.
    #[field(7, "secure")]
    pub secure: bool,
    /// noexec.
    #[field(8, "noExec")]
    pub no_exec: bool,
}

/// Somebody needs a volume mounted; the id is `<requester>-<volume>`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "VolumeMountRequests.block.talos.dev", namespace = "runtime",
    columns("Volume" => "{.volumeID}", "Requester" => "{.requester}"))]
pub struct VolumeMountRequest {
    /// Volume.
    #[field(1, "volumeID")]
    pub volume_id: String,
    /// Who asks.
    #[field(2, "requester")]
    pub requester: String,
    /// Read-only.
    #[field(3, "readOnly")]
    pub read_only: bool,
    /// Not attached to the tree.
    #[field(4, "detached")]
    pub detached: bool,
    /// noatime.
    #[field(5, "disableAccessTime")]
    pub disable_access_time: bool,
    /// nosuid, nodev.
    #[field(6, "secure")]
    pub secure: bool,
    /// noexec.
    #[field(7, "noExec")]
    pub no_exec: bool,
}
