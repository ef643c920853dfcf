//! What to do with a machine whose image or configuration may not be the wanted one (fleet.md 4.3; 13, 33 and 34).
//!
//! ```text
//! gate: leaving, connected, image known, provider, cluster     ─▶ Skip, with the reason
//! nothing differs                                              ─▶ Done
//! lock, stage, a restart that is awaited                       ─▶ Skip
//! it came back from a restart                                  ─▶ Verify
//! another image            (needs the slot of upgrades)        ─▶ Lifecycle
//! another configuration    (needs the slot of configurations)  ─▶ Apply
//! ```
//!
//! A machine holds one slot or none: with both, an upgrade would wait for a configuration and the configuration for the
//! upgrade. A slot is kept over a restart, so that the next machine begins only when this one is back.

use corten_fleet_resources::machine::MachineStage;
use corten_resource::Enumeration as _;

/// One of the two limits on how many machines of a set change at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// For a change of the configuration.
    Config,
    /// For another image.
    Upgrade,
}

/// Who has a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// This machine has one.
    Held,
    /// It can have one.
    Free,
    /// Other machines have all of them.
    Taken,
}

/// Where a restart is that the manager caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// There was none.
    None,
    /// The machine has not come back yet.
    Awaited,
    /// The machine is back.
    Done,
}

impl Restart {
    /// Compares the id of the boot before the restart, empty when none was caused, with the one of now, empty when it
    /// is not known. Only another id proves a restart.
    #[must_use]
    pub fn of(before: &str, now: &str) -> Self {
        match (before, now) {
            ("", _) => Self::None,
            (_, "") => Self::Awaited,
            (before, now) if before == now => Self::Awaited,
            _ => Self::Done,
        }
    }
}

/// What a bare metal provider says of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its disks are clean and its power can be switched.
    pub is_ready_to_use: bool,
    /// An operating system is on its disk.
    pub is_installed: bool,
}

/// What is known of a machine.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// It leaves its cluster.
    pub is_tearing_down: bool,
    /// Its tunnel is up.
    pub is_connected: bool,
    /// The schematic that it runs and the one it is to run are known.
    pub is_schematic_ready: bool,
    /// What its provider says; `None` for a machine that no bare metal provider has.
    pub provider: Option<Provider>,
    /// The machine sees an operating system on one of its disks.
    pub has_system_disk: bool,
    /// Nothing of its cluster is changed, as while it is imported.
    pub is_cluster_locked: bool,
    /// A person wants it neither updated nor removed.
    pub is_locked: bool,
    /// Its set permits changed configurations; see `MachineSetConfigStatus`.
    pub config_updates_allowed: bool,
    /// What it is doing.
    pub stage: MachineStage,
    /// It is reached without credentials.
    pub is_maintenance: bool,
    /// It took a configuration of this cluster before.
    pub was_configured: bool,
    /// Hash of the wanted configuration; empty while there is none.
    pub wanted_sha256: &'a str,
    /// Hash of the configuration that it has, as far as that is proven; empty otherwise.
    pub taken_sha256: &'a str,
    /// What it has differs from what it took, secrets aside.
    pub is_drifting: bool,
    /// The image that it may run now is another than the one it runs.
    pub is_other_image: bool,
    /// Where the last restart is that the manager caused.
    pub restart: Restart,
    /// Slots of configurations.
    pub config_slot: Availability,
    /// Slots of upgrades.
    pub upgrade_slot: Availability,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing now, for this reason.
    Skip(String),
    /// Install the image.
    Lifecycle,
    /// Send the configuration.
    Apply,
    /// Read what it has, and record it when that is the wanted one.
    Verify,
    /// Nothing: it has what is wanted.
    Done,
}

/// What to do, and what the machine holds meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub step: Step,
    /// The slot to hold. A slot that is held and not named here is given back first.
    pub slot: Option<Slot>,
    /// Something waits because the machine is locked.
    pub is_locked_update: bool,
}

impl Decision {
    fn of(step: Step, slot: Option<Slot>) -> Self {
        Self { step, slot, is_locked_update: false }
    }

    fn skip(reason: impl Into<String>, slot: Option<Slot>) -> Self {
        Self::of(Step::Skip(reason.into()), slot)
    }
}

/// Decides what to do with a machine.
#[must_use]
pub fn decide(view: &View<'_>) -> Decision {
    let kept = kept(view);
    if let Some(reason) = gate(view) {
        return Decision::skip(reason, kept);
    }
    let is_first = !view.was_configured || view.is_maintenance;
    let is_other_config = is_first || view.is_drifting || view.wanted_sha256 != view.taken_sha256;
    if !view.is_other_image && !is_other_config && view.restart == Restart::None {
        return Decision::of(Step::Done, None);
    }
    if view.is_locked && view.was_configured {
        let step = Step::Skip("it is locked; unlock it to bring it up to date".to_owned());
        return Decision { step, slot: kept, is_locked_update: true };
    }
    if let Some(reason) = stage_gate(view) {
        return Decision::skip(reason, kept);
    }
    match view.restart {
        Restart::Awaited => return Decision::skip("it restarts; it goes on when it is back", kept),
        Restart::Done if !view.is_maintenance => return Decision::of(Step::Verify, kept),
        Restart::Done | Restart::None => {}
    }
    if view.is_other_image { lifecycle(view, is_first) } else { apply(view, is_first) }
}

/// The slot that is kept while a restart is not verified.
fn kept(view: &View<'_>) -> Option<Slot> {
    if view.restart == Restart::None {
        return None;
    }
    match (view.upgrade_slot, view.config_slot) {
        (Availability::Held, _) => Some(Slot::Upgrade),
        (_, Availability::Held) => Some(Slot::Config),
        _ => None,
    }
}

/// Why nothing can be done with the machine at all.
fn gate(view: &View<'_>) -> Option<&'static str> {
    let is_ready = view.provider.is_none_or(|provider| provider.is_ready_to_use);
    let is_stale = view.provider.is_some_and(|provider| !provider.is_installed) && view.has_system_disk;
    let rules = [
        (!view.is_tearing_down, "it leaves the cluster"),
        (view.is_connected, "it is not connected; it goes on when its tunnel is up"),
        (view.is_schematic_ready, "its schematic is not known yet; it reports it when it is up"),
        (is_ready, "its provider prepares it; it goes on when it is ready to use"),
        (!is_stale, "what it said of its disks is older than their wipe; it goes on when it says it anew"),
        (!view.is_cluster_locked, "the cluster is locked; unlock it to change its machines"),
        (!view.wanted_sha256.is_empty(), "there is no configuration for it yet; see why it cannot be made"),
    ];
    rules.iter().find(|(holds, _)| !holds).map(|(_, reason)| *reason)
}

/// Why nothing can be done with the machine in this stage.
fn stage_gate(view: &View<'_>) -> Option<String> {
    let is_ready = match view.stage {
        MachineStage::Booting | MachineStage::Running => !view.is_maintenance,
        MachineStage::Maintenance => view.is_maintenance,
        _ => false,
    };
    let stage = view.stage.text();
    (!is_ready).then(|| format!("its stage is {stage}; it goes on when it boots, runs or is in maintenance"))
}

/// A machine that is not part of the cluster yet needs no slot.
fn lifecycle(view: &View<'_>, is_first: bool) -> Decision {
    match view.upgrade_slot {
        _ if is_first => Decision::of(Step::Lifecycle, None),
        Availability::Taken => Decision::skip("other machines of its set are upgraded first", None),
        Availability::Held | Availability::Free => Decision::of(Step::Lifecycle, Some(Slot::Upgrade)),
    }
}

fn apply(view: &View<'_>, is_first: bool) -> Decision {
    if is_first {
        return Decision::of(Step::Apply, None);
    }
    if !view.config_updates_allowed {
        return Decision::skip("its set grows or shrinks; it goes on when the set has its machines", None);
    }
    match view.config_slot {
        Availability::Taken => Decision::skip("other machines of its set are configured first", None),
        Availability::Held | Availability::Free => Decision::of(Step::Apply, Some(Slot::Config)),
    }
}

/// How a machine took a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has it, without a restart.
    NoReboot,
    /// It restarts to have it.
    Reboot,
}

/// What to record after a machine took a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Hash to record; `None` when what the machine has must be read first.
    pub sha256: Option<String>,
    /// Id of the boot before the restart; empty when there is none.
    pub pre_reboot_boot_id: String,
}

/// What to record after a machine took the wanted configuration. A restart may fail, and the machine then has its
/// former one, so nothing is recorded before it is back.
#[must_use]
pub fn taken(answer: Answer, wanted_sha256: &str, boot_id: &str) -> Taken {
    match answer {
        Answer::NoReboot => Taken { sha256: Some(wanted_sha256.to_owned()), ..Taken::default() },
        Answer::Reboot => Taken { sha256: None, pre_reboot_boot_id: boot_id.to_owned() },
    }
}

#[cfg(test)]
mod tests;
