//! Upkeep of mounted file systems: telling the disk what is unused, and checking.

use std::time::{Duration, SystemTime};

use corten_resource::Resource;

/// When unused blocks of a file system are told to its disk next; the id is the volume's.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "VolumeTrimSchedules.block.talos.dev", namespace = "runtime",
    columns("Filesystem" => "{.filesystem}", "Interval" => "{.interval}", "Next" => "{.nextTrim}"))]
pub struct VolumeTrimSchedule {
    /// Mount point.
    #[field(1, "filesystem")]
    pub filesystem: String,
    /// How often.
    #[field(2, "interval")]
    pub interval: Duration,
    /// When.
    #[field(3, "nextTrim")]
    pub next: Option<SystemTime>,
}

/// When a file system is checked next; the id is the volume's.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "FSScrubSchedules.block.talos.dev", namespace = "runtime",
    columns("Filesystem" => "{.filesystem}", "Interval" => "{.interval}", "Next" => "{.nextScrub}"))]
pub struct ScrubSchedule {
    /// Mount point.
    #[field(1, "filesystem")]
    pub filesystem: String,
    /// How often.
    #[field(2, "interval")]
    pub interval: Duration,
    /// When.
    #[field(3, "nextScrub")]
    pub next: Option<SystemTime>,
}

/// What the last check of a file system found; the id is the volume's.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "FSScrubStatuses.block.talos.dev", namespace = "runtime",
    columns("Mountpoint" => "{.mountpoint}", "Time" => "{.time}", "Duration" => "{.duration}", "Status" => "{.status}"))]
pub struct ScrubStatus {
    /// Mount point.
    #[field(1, "mountpoint")]
    pub mountpoint: String,
    /// How often it is done.
    #[field(2, "interval")]
    pub interval: Duration,
    /// When it began.
    #[field(3, "time")]
    pub time: Option<SystemTime>,
    /// How long it took.
    #[field(4, "duration")]
    pub duration: Duration,
    /// `success`, or what is wrong.
    #[field(5, "status")]
    pub status: String,
}
