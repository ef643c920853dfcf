//! What audits have in common: once a minute they look for what no machine stands behind, and what is found twice goes.
//!
//! ```text
//! Cluster (not locked) ─may_touch─▶ turn ─┬─ early ─▶ what the last audit did, and why it did not do more
//!                                         └─ due ───▶ look ─▶ orphans of both audits are removed ─▶ Round
//! ```
//!
//! What an audit saw is in memory only: after a start of the manager an orphan is seen twice anew before it goes.

use std::collections::BTreeSet;
use std::time::Duration;

use corten_fleet_resources::cluster::Cluster;
use corten_resource::{Plan, Reads, Spec, View, Writes};

use crate::rounds::Rounds;
use crate::scope;

/// Between two audits.
const INTERVAL: Duration = Duration::from_secs(60);
/// What the audits of a cluster wait for that is left alone.
const LOCKED: &str =
    "the cluster to be unlocked, or its import to end; until then nothing is removed that looks left behind";

/// What an audit of a cluster saw and did; `T` names what nobody stands behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Round<T> {
    /// What nobody stands behind.
    pub(crate) orphans: BTreeSet<T>,
    /// What of it was removed.
    pub(crate) removed: Vec<T>,
    /// Why it could not do its work; empty when it could.
    pub(crate) reason: String,
}

/// What an audit begins with; `W` is what it sees of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen<T, W> {
    /// There is nothing to look at, or it is not to be touched, for this reason.
    Nothing(Option<&'static str>),
    /// It is too early for the next one.
    Early(Duration, Round<T>),
    /// It is time: what is seen, and what the audit before saw.
    Due(W, Round<T>),
}

/// Whether it is time for an audit.
pub(crate) enum Turn<T> {
    /// Not yet: how long it is until then, and what the last one saw and did.
    Early(Duration, Round<T>),
    /// It is; what the one before saw.
    Due(Round<T>),
}

/// The last audits, by cluster.
#[derive(Debug)]
pub(crate) struct Audits<T>(Rounds<Round<T>>);

impl<T: Clone + Default> Audits<T> {
    /// Nothing was seen yet.
    pub(crate) const fn new() -> Self {
        Self(Rounds::new())
    }

    /// Whether it is time for an audit of a cluster.
    pub(crate) fn turn(&self, cluster: &str) -> Turn<T> {
        match self.0.last(cluster) {
            Some((age, round)) if age < INTERVAL => Turn::Early(INTERVAL.saturating_sub(age), round),
            last => Turn::Due(last.map(|(_, round)| round).unwrap_or_default()),
        }
    }

    /// Notes what an audit saw and did.
    pub(crate) fn note(&self, cluster: &str, round: Round<T>) {
        self.0.note(cluster, round);
    }

    /// Forgets a cluster that is not to be touched now.
    pub(crate) fn forget(&self, cluster: &str) {
        self.0.forget(cluster);
    }
}

/// Whether anything may be removed from a cluster. One that goes away is emptied by others.
///
/// # Errors
/// What is waited for, if that is anything.
pub(crate) fn may_touch<C>(cluster: &str, view: &View<C>) -> Result<(), Option<&'static str>>
where
    C: Reads<Cluster>,
{
    match view.get::<Cluster>(cluster) {
        None => Err(None),
        Some(cluster) if scope::is_left_alone(cluster) => Err(Some(LOCKED)),
        Some(_) => Ok(()),
    }
}

/// Tells what the last audit did, and looks again when the next one is due.
pub(crate) fn told<C, Op, R, T>(
    mut plan: Plan<C, Op>,
    cluster: &str,
    left: Duration,
    round: &Round<T>,
    result: impl FnOnce(Vec<T>) -> R,
) -> Plan<C, Op>
where
    C: Writes<R>,
    R: Spec,
    T: Clone,
{
    if !round.removed.is_empty() {
        plan.put(cluster, result(round.removed.clone()));
    }
    if !round.reason.is_empty() {
        plan.missing(round.reason.as_str());
    }
    plan.again_in(left)
}
