//! How many machines of a set change their configuration at a time.
//!
//! ```text
//! MachineSetConfigStatus (limit) ─▶ Slots ─take─▶ finalizer on the ClusterMachine, kept before the machine is touched
//!                                     ▲              │ the manager starts again
//!                                     └──────────────┘
//! ```
//!
//! A slot is a finalizer, so that a start of the manager forgets none. A machine holds this one or that of upgrades,
//! never both (fleet.md 13, 34).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corten_fleet_cluster::apply::Availability;
use corten_fleet_resources::cluster::ClusterMachine;
use corten_fleet_resources::labels::MACHINE_SET;
use corten_resource::{Pointer, Spec, State};
use parking_lot::Mutex;

use crate::tags::label;

/// Finalizer on a ClusterMachine: its configuration changes now.
pub const CONFIG_SLOT: &str = "ClusterMachineConfigStatusController.config-update";
/// Finalizer on a ClusterMachine: it is upgraded now. Whoever upgrades machines writes it.
pub const UPGRADE_SLOT: &str = "ClusterMachineConfigStatusController.upgrade";

/// Shortest and longest wait before a machine asks again for a slot.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// Machines of a set that ask in a second, at most.
const ASKED_PER_SECOND: usize = 20;

/// Machines of one set.
#[derive(Debug, Default)]
struct Turn {
    holders: BTreeSet<String>,
    waiting: BTreeSet<String>,
}

/// The slots of all sets.
#[derive(Debug)]
pub struct Slots {
    state: State,
    turns: Mutex<BTreeMap<String, Turn>>,
}

impl Slots {
    /// The slots, as far as they are held already.
    #[must_use]
    pub fn new(state: State) -> Self {
        let mut turns: BTreeMap<String, Turn> = BTreeMap::new();
        for member in state.list::<ClusterMachine>() {
            if member.metadata.finalizers.iter().any(|holder| holder == CONFIG_SLOT) {
                let set = label(&member.metadata, MACHINE_SET).to_owned();
                turns.entry(set).or_default().holders.insert(member.metadata.id);
            }
        }
        Self { state, turns: Mutex::new(turns) }
    }

    /// Who has a slot, and how long to wait before asking again; `most` is `None` when there is no limit.
    pub fn ask(&self, set: &str, machine: &str, most: Option<usize>) -> (Availability, Duration) {
        let mut turns = self.turns.lock();
        let Some(turn) = turns.get_mut(set) else { return (Availability::Free, PAUSES.0) };
        let pause = Duration::from_secs(u64::try_from(turn.waiting.len() / ASKED_PER_SECOND).unwrap_or(0));
        let pause = (PAUSES.0 + pause).min(PAUSES.1);
        if turn.holders.contains(machine) {
            return (Availability::Held, pause);
        }
        if most.is_none_or(|most| turn.holders.len() < most) {
            turn.waiting.remove(machine);
            return (Availability::Free, pause);
        }
        turn.waiting.insert(machine.to_owned());
        (Availability::Taken, pause)
    }

    /// Takes a slot, unless others were faster; it is kept when this ends.
    ///
    /// # Errors
    /// When the store does not keep it.
    pub async fn take(&self, set: &str, machine: &str, most: Option<usize>) -> anyhow::Result<()> {
        {
            let mut turns = self.turns.lock();
            let turn = turns.entry(set.to_owned()).or_default();
            if most.is_some_and(|most| turn.holders.len() >= most) && !turn.holders.contains(machine) {
                return Ok(());
            }
            turn.waiting.remove(machine);
            turn.holders.insert(machine.to_owned());
        }
        if let Err(error) = self.state.add_finalizer(&pointer(machine), CONFIG_SLOT) {
            self.forget(set, machine);
            return Err(error.into());
        }
        self.state.store().settled().await;
        Ok(())
    }

    /// Gives a slot back.
    ///
    /// # Errors
    /// When the store does not take it back.
    pub async fn give_back(&self, set: &str, machine: &str) -> anyhow::Result<()> {
        self.state.remove_finalizer(&pointer(machine), CONFIG_SLOT)?;
        self.state.store().settled().await;
        self.forget(set, machine);
        Ok(())
    }

    /// Forgets a machine, and a set when nobody of it is left.
    pub fn forget(&self, set: &str, machine: &str) {
        let mut turns = self.turns.lock();
        let Some(turn) = turns.get_mut(set) else { return };
        turn.holders.remove(machine);
        turn.waiting.remove(machine);
        if turn.holders.is_empty() && turn.waiting.is_empty() {
            turns.remove(set);
        }
    }
}

fn pointer(machine: &str) -> Pointer {
    Pointer::new(ClusterMachine::DEFINITION.namespace, ClusterMachine::DEFINITION.kind, machine)
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{resource, state};

    use super::*;

    fn with_members() -> State {
        let state = state(corten_fleet_resources::registry());
        for id in ["m1", "m2"] {
            let member = resource(id, ClusterMachine::default())
                .edit(|metadata| drop(metadata.labels.insert(MACHINE_SET.to_owned(), "set".to_owned())));
            state.put_any("", member).expect("put");
        }
        state
    }

    #[tokio::test]
    async fn no_more_machines_change_than_the_set_permits_also_after_a_start() {
        let state = with_members();
        let slots = Slots::new(state.clone());
        assert_eq!(slots.ask("set", "m1", Some(1)).0, Availability::Free);
        slots.take("set", "m1", Some(1)).await.expect("taken");
        assert_eq!(slots.ask("set", "m1", Some(1)).0, Availability::Held);
        assert_eq!(slots.ask("set", "m2", Some(1)).0, Availability::Taken);
        assert_eq!(slots.ask("set", "m2", Some(2)).0, Availability::Free);
        assert_eq!(slots.ask("set", "m2", None).0, Availability::Free);
        slots.take("set", "m2", Some(1)).await.expect("others were faster");
        let again = Slots::new(state.clone());
        assert_eq!(again.ask("set", "m1", Some(1)).0, Availability::Held);
        assert_eq!(again.ask("set", "m2", Some(1)).0, Availability::Taken);
        again.give_back("set", "m1").await.expect("given back");
        assert_eq!(again.ask("set", "m2", Some(1)).0, Availability::Free);
        let member = state.get::<ClusterMachine>("m1").expect("a member");
        assert!(member.metadata.finalizers.is_empty());
    }
}
