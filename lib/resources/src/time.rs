//! The machine's clock.

use corten_resource::{Nanos, Resource};

/// Whether the clock can be trusted. Singleton `node`.
///
/// Written by time synchronisation; read by whatever makes certificates or compares times.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "TimeStatuses.v1alpha1.talos.dev", namespace = "runtime", columns("Synced" => "{.synced}"))]
pub struct TimeStatus {
    /// Synchronised, or synchronisation is disabled or gave up waiting.
    #[field(1, "synced")]
    pub synced: bool,
    /// Grows with each jump of the clock that makes earlier certificates suspect.
    #[field(2, "epoch")]
    pub epoch: i64,
    /// Synchronisation is switched off, or the clock is not ours to set.
    #[field(3, "syncDisabled")]
    pub sync_disabled: bool,
}

impl TimeStatus {
    /// Id of the only one.
    pub const ID: &'static str = "node";
}

/// Spike detection of time synchronisation. Singleton `node`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "NTPStatuses.v1alpha1.talos.dev", namespace = "runtime")]
pub struct NtpStatus {
    /// The last answer was so far off that it was not believed.
    #[field(1, "spikeDetected")]
    pub spike_detected: bool,
    /// How many such answers came in a row.
    #[field(2, "consecutiveSpikes")]
    pub consecutive_spikes: i64,
}

/// The kernel's clock discipline (`adjtimex`). Singleton `node`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "AdjtimeStatuses.v1alpha1.talos.dev",
    namespace = "runtime",
    columns(
        "Offset" => "{.offset}",
        "Estimated Error" => "{.estError}",
        "Status" => "{.status}",
        "Sync Status" => "{.syncStatus}"
    )
)]
pub struct AdjtimeStatus {
    /// Offset that is being corrected.
    #[field(1, "offset")]
    pub offset: Nanos,
    /// Frequency correction as a ratio, 1 for none.
    #[field(2, "frequencyAdjustmentRatio")]
    pub frequency_adjustment_ratio: f64,
    /// Largest possible error.
    #[field(3, "maxError")]
    pub max_error: Nanos,
    /// Estimated error.
    #[field(4, "estError")]
    pub est_error: Nanos,
    /// Status flags as text.
    #[field(5, "status")]
    pub status: String,
    /// Time constant of the loop.
    #[field(6, "constant")]
    pub constant: i64,
    /// The kernel considers the clock synchronised.
    #[field(7, "syncStatus")]
    pub sync_status: bool,
    /// State of leap second handling.
    #[field(8, "state")]
    pub state: String,
}
