//! What is heard of machines right now: the one place between those who listen and those who publish.
//!
//! ```text
//! watch of a machine ─adopt, fold─▶ ┌───────┐ ─Sight─▶ MachineStatusController
//! event sink ─────────────report──▶ │ Board │ ─Heard─▶ MachineStatusSnapshotController
//!                                   └───────┘ ─MachineObservation (a number)─▶ wakes both for the machine
//! ```
//!
//! It is in memory only. A machine that is not connected has at most its last stage here; all that it said before
//! stands in its status.

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_fleet_resources::machine::MachineStatusEvent;
use corten_resource::{Registry, Resource, State};
use parking_lot::Mutex;

use crate::machine_status::{Event, Facts, Observed, facts, is_stage, stage_of_event};
use crate::pool::Target;

/// Owner of the observations.
const OWNER: &str = "MachineWatches";
/// Machines of which something is kept. Nobody has that many; it bounds what a faulty caller can do.
const MACHINES_MAX: usize = 65_536;

/// Something new was heard of a machine, by its UUID. It carries no content: it wakes the controllers that look.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineObservations.corten.dev", namespace = "ephemeral", internal)]
pub struct MachineObservation {
    /// How often.
    #[field(1, "revision")]
    pub revision: u64,
}

/// Registers the type by which listeners wake controllers; the state of the manager must know it.
pub fn types(registry: &mut Registry) {
    registry.register::<MachineObservation>();
}

/// How a machine is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Nobody has tried yet.
    #[default]
    Unknown,
    /// It waits for a configuration.
    Maintenance,
    /// It is a member of its cluster.
    Member,
    /// It belongs to a cluster that is not known here.
    Foreign,
    /// It does not answer; why.
    Unreachable(Box<str>),
}

/// What is seen of a machine.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Anything is kept of it.
    pub is_known: bool,
    /// How it is watched; `None` when it is not.
    pub target: Option<Target>,
    /// How it is reached.
    pub reach: Reach,
    /// What it says, once it has told all.
    pub facts: Option<Box<Facts>>,
}

/// The last word of a machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// Its stage.
    pub stage: Option<MachineStatusEvent>,
    /// UUID of its boot; empty when it is not known.
    pub boot_id: String,
}

/// The right to write about a machine, of one watch. A later watch of the machine takes it away.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// UUID of the machine.
    pub machine: String,
    generation: u64,
}

#[derive(Default)]
struct Entry {
    target: Option<Target>,
    generation: u64,
    reach: Reach,
    observed: Option<Box<Observed>>,
    stage: Option<Box<MachineStatusEvent>>,
    boot_id: Box<str>,
    revision: u64,
}

/// What is heard of all machines.
pub struct Board {
    state: State,
    machines: Mutex<BTreeMap<String, Entry>>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("machines", &self.machines.lock().len()).finish_non_exhaustive()
    }
}

/// Too many machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manager listens to {MACHINES_MAX} machines and to no more; remove some")]
pub struct BoardFull;

impl Board {
    /// A board that knows of no machine and wakes controllers through `state`.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self { state, machines: Mutex::default() }
    }

    /// What is seen of a machine.
    #[must_use]
    pub fn sight(&self, machine: &str) -> Sight {
        let machines = self.machines.lock();
        let Some(entry) = machines.get(machine) else { return Sight::default() };
        Sight {
            is_known: true,
            target: entry.target.clone(),
            reach: entry.reach.clone(),
            facts: entry.observed.as_deref().map(|observed| Box::new(facts(observed))),
        }
    }

    /// The last word of a machine.
    #[must_use]
    pub fn heard(&self, machine: &str) -> Heard {
        let machines = self.machines.lock();
        let Some(entry) = machines.get(machine) else { return Heard::default() };
        Heard { stage: entry.stage.as_deref().cloned(), boot_id: entry.boot_id.to_string() }
    }

    /// Begins a watch of a machine; what an earlier one has seen stays until this one has seen as much.
    ///
    /// # Errors
    /// When there are too many machines.
    pub fn begin(&self, machine: &str, target: &Target) -> Result<Ticket, BoardFull> {
        let mut machines = self.machines.lock();
        if machines.len() >= MACHINES_MAX && !machines.contains_key(machine) {
            return Err(BoardFull);
        }
        let entry = machines.entry(machine.to_owned()).or_default();
        entry.generation += 1;
        entry.target = Some(target.clone());
        Ok(Ticket { machine: machine.to_owned(), generation: entry.generation })
    }

    /// Ends the watch of a machine and forgets what it has seen, but for the last stage.
    pub fn end(&self, machine: &str) {
        if let Some(entry) = self.machines.lock().get_mut(machine) {
            entry.generation += 1;
            entry.target = None;
            entry.observed = None;
            entry.reach = Reach::Unknown;
        }
    }

    /// Forgets a machine.
    pub fn forget(&self, machine: &str) {
        self.machines.lock().remove(machine);
        // Nobody holds it; what is left of it in spite of that is put again with the next word of the machine.
        let _ = self.state.remove::<MachineObservation>(OWNER, machine);
    }

    /// Notes how a machine is reached.
    pub fn set_reach(&self, ticket: &Ticket, reach: Reach) {
        let is_new = self.write(ticket, |entry| std::mem::replace(&mut entry.reach, reach.clone()) != reach);
        if is_new {
            self.tell(&ticket.machine);
        }
    }

    /// Takes over all that a machine has told on a new connection.
    pub fn adopt(&self, ticket: &Ticket, reach: Reach, observed: Observed) {
        self.write(ticket, |entry| {
            entry.reach = reach;
            if let Some(stage) = &observed.stage {
                entry.stage = Some(Box::new(stage.clone()));
            }
            if !observed.boot_id.is_empty() {
                entry.boot_id.clone_from(&observed.boot_id);
            }
            entry.observed = Some(Box::new(observed));
            true
        });
        self.tell(&ticket.machine);
    }

    /// Takes in what a machine tells. True when it is news.
    #[must_use]
    pub fn fold(&self, ticket: &Ticket, event: Event) -> bool {
        self.write(ticket, |entry| {
            let Some(observed) = entry.observed.as_deref_mut() else { return false };
            let is_stage = is_stage(&event);
            let is_news = crate::machine_status::fold(observed, event);
            if is_stage {
                entry.stage = observed.stage.clone().map(Box::new);
            }
            if !observed.boot_id.is_empty() {
                entry.boot_id.clone_from(&observed.boot_id);
            }
            is_news
        })
    }

    /// Takes an event that a machine sent by itself; the last word counts, however it came.
    ///
    /// # Errors
    /// When there are too many machines.
    pub fn report(&self, machine: &str, stage: MachineStatusEvent) -> Result<(), BoardFull> {
        {
            let mut machines = self.machines.lock();
            if machines.len() >= MACHINES_MAX && !machines.contains_key(machine) {
                return Err(BoardFull);
            }
            machines.entry(machine.to_owned()).or_default().stage = Some(Box::new(stage));
        }
        self.tell(machine);
        Ok(())
    }

    /// Wakes the controllers for a machine.
    pub fn tell(&self, machine: &str) {
        let revision = {
            let mut machines = self.machines.lock();
            let Some(entry) = machines.get_mut(machine) else { return };
            entry.revision += 1;
            entry.revision
        };
        if let Err(error) = self.state.put(OWNER, machine, MachineObservation { revision }) {
            tracing::warn!(machine, error = corten_base::chain(&error), "the controllers cannot be woken");
        }
    }

    /// Changes the entry of a machine if the ticket still counts; false if it does not.
    fn write(&self, ticket: &Ticket, change: impl FnOnce(&mut Entry) -> bool) -> bool {
        let mut machines = self.machines.lock();
        let entry = machines.get_mut(&ticket.machine);
        entry.filter(|entry| entry.generation == ticket.generation).is_some_and(change)
    }
}

/// Where the event sink leaves what machines send. Clones are the same.
#[derive(Clone, Debug)]
pub struct Events(Arc<Board>);

impl Events {
    /// The door to a board.
    #[must_use]
    pub const fn new(board: Arc<Board>) -> Self {
        Self(board)
    }

    /// Takes the stage that a machine sent. The caller knows the machine by its address.
    ///
    /// # Errors
    /// When there are too many machines.
    pub fn report(
        &self,
        machine: &str,
        event: &corten_api::machine::MachineStatusEvent,
    ) -> Result<(), BoardFull> {
        self.0.report(machine, stage_of_event(event))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use corten_fleet_resources::machine::MachineStage;
    use corten_resource::testing::state;

    use super::*;

    fn board() -> Board {
        let mut registry = corten_fleet_resources::registry();
        types(&mut registry);
        Board::new(state(registry))
    }

    fn target() -> Target {
        Target { address: Ipv6Addr::LOCALHOST, public_key: "k".to_owned(), cluster: None }
    }

    fn stage(stage: MachineStage) -> MachineStatusEvent {
        MachineStatusEvent { stage, status: None }
    }

    fn revision(board: &Board) -> Option<u64> {
        board.state.get::<MachineObservation>("m1").map(|observation| observation.revision)
    }

    #[test]
    fn a_watch_that_was_replaced_writes_no_more() {
        let board = board();
        let old = board.begin("m1", &target()).expect("room");
        let new = board.begin("m1", &target()).expect("room");
        board.set_reach(&old, Reach::Foreign);
        assert_eq!(board.sight("m1").reach, Reach::Unknown);
        board.set_reach(&new, Reach::Member);
        assert_eq!(board.sight("m1").reach, Reach::Member);
        board.end("m1");
        board.adopt(&new, Reach::Member, Observed::default());
        assert!(board.sight("m1").facts.is_none());
    }

    #[test]
    fn the_end_of_a_watch_frees_what_it_saw_but_the_last_stage() {
        let board = board();
        let ticket = board.begin("m1", &target()).expect("room");
        let mut observed = Observed::default();
        observed.stage = Some(stage(MachineStage::Running));
        board.adopt(&ticket, Reach::Member, observed);
        assert!(board.sight("m1").facts.is_some());
        board.end("m1");
        assert!(board.sight("m1").facts.is_none());
        assert_eq!(board.heard("m1").stage, Some(stage(MachineStage::Running)));
    }

    #[test]
    fn the_last_word_counts_and_each_word_wakes() {
        let board = board();
        board.report("m1", stage(MachineStage::Booting)).expect("room");
        assert_eq!(revision(&board), Some(1));
        board.report("m1", stage(MachineStage::Running)).expect("room");
        assert_eq!(revision(&board), Some(2));
        assert_eq!(board.heard("m1").stage, Some(stage(MachineStage::Running)));
        board.forget("m1");
        assert_eq!((revision(&board), board.sight("m1").is_known), (None, false));
    }
}
