//! What is known of earlier boots, and who touched the machine. Ours.

use std::time::SystemTime;

use corten_resource::{Enumeration, Resource};

/// How a boot ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum BootEnd {
    /// It goes on.
    #[default]
    #[variant(0, "running")]
    Running,
    /// Somebody asked for it.
    #[variant(1, "requested")]
    Requested,
    /// A sequence failed, and the machine restarted itself.
    #[variant(2, "failure")]
    Failure,
    /// The kernel panicked.
    #[variant(3, "panic")]
    Panic,
    /// The watchdog or the power went: nothing was said before the end.
    #[variant(4, "power-loss")]
    PowerLoss,
}

/// A boot of this machine; the id counts up over all boots.
///
/// Written from the records that each boot keeps on the LOG volume; read by people, the support bundle and `doctor`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "BootRecords.corten.dev", namespace = "runtime", aliases("boots"),
    columns("Started" => "{.started}", "Ended" => "{.end}", "Reason" => "{.reason}"))]
pub struct BootRecord {
    /// The kernel's identity of the boot.
    #[field(1, "bootID")]
    pub boot_id: String,
    /// Version of the system.
    #[field(2, "version")]
    pub version: String,
    /// When machined opened the record.
    #[field(3, "started", omitempty)]
    pub started: Option<SystemTime>,
    /// When the record was last written to.
    #[field(4, "lastSeen", omitempty)]
    pub last_seen: Option<SystemTime>,
    /// How it ended.
    #[field(5, "end")]
    pub end: BootEnd,
    /// Who asked for the end and what for, or the first words of a panic.
    #[field(6, "reason", omitempty)]
    pub reason: String,
    /// Folder with its logs.
    #[field(7, "folder")]
    pub folder: String,
    /// Names of its logs, which `logs NAME@NUMBER` shows.
    #[field(8, "logs")]
    pub logs: Vec<String>,
}

/// A container for debugging that ran on this machine, which is touched since. The id is that of the session.
///
/// Written by the API; kept on the LOG volume.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "DebugSessions.corten.dev", namespace = "runtime", aliases("touched"),
    columns("Image" => "{.image}", "Started" => "{.started}", "Ended" => "{.ended}", "Outcome" => "{.outcome}"))]
pub struct DebugSession {
    /// Image by digest.
    #[field(1, "image")]
    pub image: String,
    /// Key that has signed the image.
    #[field(2, "signedBy")]
    pub signed_by: String,
    /// `privileged` or `host-ns`.
    #[field(3, "profile")]
    pub profile: String,
    /// When it began.
    #[field(4, "started", omitempty)]
    pub started: Option<SystemTime>,
    /// When it is ended at the latest.
    #[field(5, "expires", omitempty)]
    pub expires: Option<SystemTime>,
    /// When it ended; absent while it runs.
    #[field(6, "ended", omitempty)]
    pub ended: Option<SystemTime>,
    /// How it ended.
    #[field(7, "outcome", omitempty)]
    pub outcome: String,
}
