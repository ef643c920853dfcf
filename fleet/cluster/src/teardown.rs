//! How a machine leaves its cluster: the reset, step by step, always to an end (fleet.md 4.7).
//!
//! ```text
//! observed ─┐                     gone, in maintenance, import given up ─────────────────▶ Done
//! progress ─┴─next─▶ Step:        not reached ─▶ Wait ─────────────(15 min, or forced)──▶ Done: let go
//!    ▲                            boots, installs, … ─▶ Wait ─(10 min)─▶ Reset not graceful
//!    └── after(step, outcome) ◀── runs ─▶ MetaDelete ─▶ EtcdForfeit ─▶ EtcdLeave ─▶ Reset ─▶ Wait
//!                                 1 h, or too many resets ──────────────────────────────▶ Done: let go
//! ```
//!
//! A dead machine must not keep its cluster: every wait has a limit, every attempt a number. A machine that is let go
//! was not wiped, which its end says. [`order()`] has the order of a whole cluster, [`leftovers()`] what others still
//! know of a machine.

mod leftovers;
mod order;

use std::time::Duration;

use corten_fleet_resources::machine::MachineStage;
use corten_resource::Enumeration as _;

use crate::{Role, TalosVersion};

pub use leftovers::{Leaver, Leftovers, leftovers};
pub use order::{ClusterRemains, ClusterStep, SetRemains, order};

/// How long a machine that cannot be reached is waited for.
pub const UNREACHABLE_MAX: Duration = Duration::from_secs(15 * 60);
/// How long of that it is waited for in any case after the manager has started: a machine that lives comes back within
/// the longest life of a session in the tunnel, which is below this.
pub const RETURN_MAX: Duration = Duration::from_secs(5 * 60);
/// How long a machine may boot, install or the like before it is reset all the same.
pub const BUSY_MAX: Duration = Duration::from_secs(10 * 60);
/// How long a reset may take before it counts as failed.
pub const RESET_MAX: Duration = Duration::from_secs(5 * 60);
/// How long all of it may take.
pub const TOTAL_MAX: Duration = Duration::from_secs(60 * 60);
/// Resets that are graceful.
pub const GRACEFUL_RESETS: u32 = 4;
/// Resets in all.
pub const RESETS_MAX: u32 = 8;
/// Attempts at each step before the reset.
pub const ATTEMPTS_MAX: u32 = 3;
/// Actions in all: three steps before the reset, and the resets.
pub const ACTIONS_MAX: u32 = 3 * ATTEMPTS_MAX + RESETS_MAX;

/// Volumes that are wiped.
const VOLUMES: &[&str] = &["EPHEMERAL", "STATE"];
/// The same since [`MORE_VOLUMES_SINCE`].
const MORE_VOLUMES: &[&str] = &["EPHEMERAL", "STATE", "CRI", "KUBELET", "ETCD", "LOG"];
/// First version that knows more volumes. An older one refuses names that it does not know.
const MORE_VOLUMES_SINCE: &str = "1.14.0-beta.1";

/// How a machine is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The machine is gone from the manager.
    Gone,
    /// Its tunnel is down, or it does not answer.
    Unreachable,
    /// It answers without credentials: it is in maintenance.
    Maintenance,
    /// It answers with the credentials of the cluster.
    Configured,
}

/// What is known of a machine that leaves.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// How it is reached.
    pub reach: Reach,
    /// What it is doing.
    pub stage: MachineStage,
    /// What it is in its cluster.
    pub role: Role,
    /// Version that runs; `None` when it is not known.
    pub version: Option<&'a TalosVersion>,
    /// A person asked to take it out without asking it.
    pub is_forced: bool,
    /// It is to leave etcd and Kubernetes in order; see `MachineSetConfigStatus`.
    pub is_graceful: bool,
    /// An import is given up: the cluster is locked and tainted by it. Its machines are left as they are.
    pub is_import_aborted: bool,
    /// How long the manager has worked on it, not counting times when the manager was down.
    pub elapsed: Duration,
    /// How long it could not be reached, see [`unreachable_for()`]; zero when it can be.
    pub unreachable_for: Duration,
    /// How long ago it took the last reset; `None` when it took none.
    pub since_reset: Option<Duration>,
}

/// Attempts at one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// How many there were.
    pub count: u32,
    /// One succeeded.
    pub is_done: bool,
}

impl Attempts {
    const fn is_settled(self) -> bool {
        self.is_done || self.count >= ATTEMPTS_MAX
    }

    const fn after(self, outcome: Outcome) -> Self {
        let is_done = self.is_done || matches!(outcome, Outcome::Succeeded);
        Self { count: self.count.saturating_add(1), is_done }
    }
}

/// What was done so far. It may be forgotten: every step can be repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Deleting the configuration of STATE's encryption.
    pub meta_delete: Attempts,
    /// Giving up the leadership of etcd.
    pub etcd_forfeit: Attempts,
    /// Leaving etcd.
    pub etcd_leave: Attempts,
    /// Resets, also those that failed.
    pub resets: u32,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The machine did it, or there was nothing to do.
    Succeeded,
    /// It refused, or did not answer.
    Failed,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Delete the key of META that says how STATE is encrypted. A machine that keeps it cannot start after the wipe.
    MetaDelete,
    /// Give up the leadership of etcd.
    EtcdForfeit,
    /// Leave etcd.
    EtcdLeave,
    /// Wipe these volumes and restart.
    Reset {
        /// It drains its pods and leaves etcd first.
        graceful: bool,
        /// Labels of the volumes.
        volumes: &'static [&'static str],
    },
    /// Nothing now, for this reason: it restarts into maintenance, or cannot be reset yet.
    WaitMaintenance(String),
    /// Nothing more.
    Done(End),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It is in maintenance and free.
    Free,
    /// It is gone from the manager.
    Gone,
    /// It keeps what it has, because the import was given up.
    Kept,
    /// It was not wiped; the text says why, and what follows.
    LetGo(String),
}

impl Progress {
    /// What was done after a step.
    #[must_use]
    pub fn after(self, step: &Step, outcome: Outcome) -> Self {
        match step {
            Step::MetaDelete => Self { meta_delete: self.meta_delete.after(outcome), ..self },
            Step::EtcdForfeit => Self { etcd_forfeit: self.etcd_forfeit.after(outcome), ..self },
            Step::EtcdLeave => Self { etcd_leave: self.etcd_leave.after(outcome), ..self },
            Step::Reset { .. } => Self { resets: self.resets.saturating_add(1), ..self },
            Step::WaitMaintenance(_) | Step::Done(_) => self,
        }
    }
}

/// How long a machine counts as not reached: `here` since this run of the manager misses it, `stored` by what is in the
/// store. A start of the manager does not begin the wait anew, and leaves the machine [`RETURN_MAX`] to come back.
#[must_use]
pub fn unreachable_for(here: Duration, stored: Duration) -> Duration {
    let most = UNREACHABLE_MAX.saturating_sub(RETURN_MAX).saturating_add(here);
    here.max(stored.min(most))
}

/// Decides what to do next with a machine that leaves.
#[must_use]
pub fn next(observed: &Observed<'_>, progress: &Progress) -> Step {
    if observed.is_import_aborted {
        return Step::Done(End::Kept);
    }
    match observed.reach {
        Reach::Gone => Step::Done(End::Gone),
        Reach::Maintenance => Step::Done(End::Free),
        Reach::Unreachable => unreachable_machine(observed),
        Reach::Configured => configured_machine(observed, progress),
    }
}

fn let_go(why: &str) -> Step {
    Step::Done(End::LetGo(format!(
        "{why}; it was not wiped and still has the configuration and the data of the cluster; \
         wipe it, or start it with a new image, before it is used again"
    )))
}

fn unreachable_machine(observed: &Observed<'_>) -> Step {
    if observed.is_forced {
        return let_go("its removal was forced while it could not be reached");
    }
    if observed.unreachable_for >= UNREACHABLE_MAX || observed.elapsed >= TOTAL_MAX {
        return let_go("it could not be reached");
    }
    let left = UNREACHABLE_MAX.saturating_sub(observed.unreachable_for);
    let minutes = left.as_secs().div_ceil(60);
    let reason = format!("it cannot be reached; it is let go in {minutes} min, or at once when forced");
    Step::WaitMaintenance(reason)
}

fn configured_machine(observed: &Observed<'_>, progress: &Progress) -> Step {
    if observed.elapsed >= TOTAL_MAX {
        return let_go("it did not reset itself in time");
    }
    if observed.since_reset.is_some_and(|since| since < RESET_MAX) {
        return Step::WaitMaintenance("it resets itself; it is free when it is in maintenance".to_owned());
    }
    if progress.resets >= RESETS_MAX {
        return let_go("it did not reset itself although it was told to");
    }
    match observed.stage {
        MachineStage::Running => procedure(observed, progress),
        MachineStage::Booting if observed.role == Role::Worker || !is_orderly(observed) => {
            procedure(observed, progress)
        }
        _ if observed.elapsed >= BUSY_MAX => procedure(observed, progress),
        stage => {
            let stage = stage.text();
            let reason = "it is reset when it runs, or in some minutes all the same";
            Step::WaitMaintenance(format!("its stage is {stage}; {reason}"))
        }
    }
}

/// Whether it is to leave in order at all.
const fn is_orderly(observed: &Observed<'_>) -> bool {
    observed.is_graceful && !observed.is_forced
}

/// The steps on a machine that answers and can be reset.
fn procedure(observed: &Observed<'_>, progress: &Progress) -> Step {
    let is_running = observed.stage == MachineStage::Running;
    let is_member = observed.role == Role::ControlPlane && is_orderly(observed) && is_running;
    if !progress.meta_delete.is_settled() {
        Step::MetaDelete
    } else if is_member && !progress.etcd_forfeit.is_settled() {
        Step::EtcdForfeit
    } else if is_member && !progress.etcd_leave.is_settled() {
        Step::EtcdLeave
    } else {
        let graceful = is_orderly(observed) && is_running && progress.resets < GRACEFUL_RESETS;
        Step::Reset { graceful, volumes: volumes(observed.version) }
    }
}

fn volumes(version: Option<&TalosVersion>) -> &'static [&'static str] {
    let is_new = version.is_some_and(|version| version.is_at_least(MORE_VOLUMES_SINCE));
    if is_new { MORE_VOLUMES } else { VOLUMES }
}

#[cfg(test)]
mod tests;
