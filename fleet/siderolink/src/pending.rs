//! Pending machines go when they do not call again: their peers would fill the tunnel for ever.
//!
//! ```text
//! Provision ──note──▶ Refreshed ──every 30 s──▶ those not refreshed for 30 s: torn down, waited for, destroyed
//! ```
//!
//! Pending machines live in memory only, and so does when they called last.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use corten_base::chain;
use corten_fleet_resources::link::PendingMachine;
use corten_resource::{AnyResource, Phase, Spec as _, State, StateError, Store as _, UpdateOptions};
use futures::StreamExt as _;
use futures::stream;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::OWNER;

/// Between two rounds (fleet.md 1.8).
const INTERVAL: Duration = Duration::from_secs(30);
/// How long a pending machine stays without another call (fleet.md 1.8).
const AGE_MAX: Duration = Duration::from_secs(30);
/// How many are removed at a time.
const CONCURRENCY: usize = 16;
/// How long a round waits for those who hold one; the next round waits again.
const REMOVAL_MAX: Duration = Duration::from_secs(10);

/// When pending machines called last, by WireGuard key. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refreshed(Arc<Mutex<HashMap<String, Instant>>>);

impl Refreshed {
    /// It calls now.
    pub fn note(&self, public_key: &str) {
        self.0.lock().insert(public_key.to_owned(), Instant::now());
    }

    /// Whether it has not called for too long.
    fn is_stale(&self, public_key: &str, now: Instant) -> bool {
        self.0.lock().get(public_key).is_none_or(|at| now.saturating_duration_since(*at) >= AGE_MAX)
    }

    /// Forgets those that are gone. One that is being written at this moment is young.
    fn forget(&self, there: &BTreeSet<&str>, now: Instant) {
        let is_young = |at: &Instant| now.saturating_duration_since(*at) < AGE_MAX;
        self.0.lock().retain(|key, at| is_young(at) || there.contains(key.as_str()));
    }
}

/// Collects for ever.
pub(crate) async fn run(state: State, refreshed: Refreshed) -> Infallible {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        round(&state, &refreshed).await;
    }
}

async fn round(state: &State, refreshed: &Refreshed) {
    let now = Instant::now();
    let all = state.list_any(PendingMachine::DEFINITION.namespace, PendingMachine::DEFINITION.kind);
    refreshed.forget(&all.iter().map(AnyResource::id).collect(), now);
    let is_ending =
        |machine: &AnyResource| machine.metadata().is_tearing_down() || refreshed.is_stale(machine.id(), now);
    let ending: Vec<AnyResource> = all.into_iter().filter(is_ending).collect();
    stream::iter(ending).for_each_concurrent(CONCURRENCY, |machine| remove(state, machine)).await;
}

async fn remove(state: &State, machine: AnyResource) {
    let pointer = machine.pointer();
    let removal = async {
        if !machine.metadata().is_tearing_down() {
            // Based on the version that was looked at: a machine that calls in between has another one, and stays.
            let leaving = machine.edit(|metadata| metadata.phase = Phase::TearingDown);
            state.store().update(leaving, &UpdateOptions::running(OWNER)).await?;
        }
        state.store().teardown_and_destroy(&pointer, OWNER).await
    };
    match timeout(REMOVAL_MAX, removal).await {
        Ok(Ok(())) => tracing::info!(pending = pointer.id, "collected a pending machine that does not call"),
        Ok(Err(StateError::Version { .. } | StateError::NotFound(_) | StateError::Phase { .. })) => {}
        Ok(Err(error)) => {
            tracing::warn!(pending = pointer.id, error = chain(&error), "cannot collect a pending machine");
        }
        Err(_) => tracing::debug!(pending = pointer.id, "a pending machine is held"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::senders::tests::state;

    #[tokio::test(start_paused = true)]
    async fn those_that_call_stay_and_the_others_go() {
        let (state, refreshed) = (state(), Refreshed::default());
        let _running = corten_base::spawn("pending", run(state.clone(), refreshed.clone()));
        for key in ["calls", "silent"] {
            refreshed.note(key);
            state.put(OWNER, key, PendingMachine::default()).unwrap();
        }
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(20)).await;
            refreshed.note("calls");
        }
        let left = state.list::<PendingMachine>();
        assert_eq!(left.iter().map(|machine| machine.id()).collect::<Vec<_>>(), ["calls"]);
        assert_eq!(refreshed.0.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_held_goes_when_it_is_let_go_of() {
        let (state, refreshed) = (state(), Refreshed::default());
        let pointer = state.put(OWNER, "key", PendingMachine::default()).unwrap().metadata.pointer();
        state.add_finalizer(&pointer, "peers").unwrap();
        tokio::join!(round(&state, &refreshed), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(state.get::<PendingMachine>("key").unwrap().metadata.is_tearing_down());
            state.remove_finalizer(&pointer, "peers").unwrap();
        });
        assert!(state.get::<PendingMachine>("key").is_none());
    }

    #[tokio::test]
    async fn a_machine_that_calls_while_it_is_looked_at_stays() {
        let state = state();
        state.put(OWNER, "key", PendingMachine::default()).unwrap();
        let looked_at = AnyResource::from(state.get::<PendingMachine>("key").unwrap());
        state.put(OWNER, "key", PendingMachine { connected: true, ..PendingMachine::default() }).unwrap();
        remove(&state, looked_at).await;
        assert!(!state.get::<PendingMachine>("key").unwrap().metadata.is_tearing_down());
    }
}
