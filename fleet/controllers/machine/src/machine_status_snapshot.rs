//! The last word of a machine on its stage.
//!
//! ```text
//! event sink ─────────────────┐
//! watch of its MachineStatus ─┼─Board─▶ stage, boot id ─┐
//! watch or reading of boot id ┘                         ├─▶ MachineStatusSnapshot
//! InfraMachine, InfraMachineStatus ─▶ power ────────────┘
//! ```
//!
//! What was published last stays until the machine says something else, also when the manager starts anew.

use std::sync::Arc;

use corten_fleet_resources::machine::{Machine, MachineStatusSnapshot, PowerStage};
use corten_fleet_resources::provider::{InfraMachine, InfraMachineStatus, InfraPowerState, PreferredPower};
use corten_resource::{AnyResource, Concern, ItemDriver, Never, Plan, View, controller};

use crate::board::{Board, Heard, MachineObservation};

/// Publishes the last word of machines.
#[derive(Debug)]
pub struct MachineStatusSnapshotController {
    board: Arc<Board>,
}

impl MachineStatusSnapshotController {
    /// A controller of what a board hears.
    #[must_use]
    pub const fn new(board: Arc<Board>) -> Self {
        Self { board }
    }
}

controller!(MachineStatusSnapshotController, "MachineStatusSnapshotController",
    inputs: [strong Machine, weak InfraMachine, weak InfraMachineStatus, weak MachineObservation,
        weak MachineStatusSnapshot],
    outputs: [exclusive MachineStatusSnapshot]);

impl ItemDriver for MachineStatusSnapshotController {
    type Observed = Heard;
    type Op = Never;
    const PARALLEL: usize = 64;

    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    async fn observe(&self, item: &str, _: &View<Self>) -> anyhow::Result<Heard> {
        Ok(self.board.heard(item))
    }

    fn plan(&self, item: &str, view: &View<Self>, heard: &Heard) -> Plan<Self, Never> {
        let mut plan = Plan::new();
        if view.get::<Machine>(item).is_none() {
            return plan;
        }
        let last = view.get::<MachineStatusSnapshot>(item).map(|last| last.spec.clone()).unwrap_or_default();
        let status = view.get::<InfraMachineStatus>(item).map(|status| status.power_state);
        let wanted = view.get::<InfraMachine>(item).map(|machine| machine.preferred_power_state);
        let snapshot = MachineStatusSnapshot {
            machine_status: heard.stage.clone().or(last.machine_status),
            power_stage: power_stage(status, wanted),
            boot_id: if heard.boot_id.is_empty() { last.boot_id } else { heard.boot_id.clone() },
        };
        if snapshot == MachineStatusSnapshot::default() {
            return plan.waiting("a word of the machine");
        }
        plan.put(item, snapshot);
        plan
    }

    async fn apply(&self, _: &str, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}

/// What a provider does with the power of a machine: one that is off and should not be is being switched on.
fn power_stage(status: Option<InfraPowerState>, wanted: Option<PreferredPower>) -> PowerStage {
    match (status, wanted) {
        (Some(InfraPowerState::Off), Some(PreferredPower::On)) => PowerStage::PoweringOn,
        (Some(InfraPowerState::Off), _) => PowerStage::PoweredOff,
        _ => PowerStage::None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use corten_fleet_resources::machine::{MachineStage, MachineStatusEvent};
    use corten_resource::testing::{TestRuntime, resource, state};

    use super::*;
    use crate::board::{Events, Reach, types};
    use crate::machine_status::Observed;
    use crate::pool::Target;

    fn started() -> (Arc<Board>, TestRuntime) {
        let mut registry = corten_fleet_resources::registry();
        types(&mut registry);
        let state = state(registry);
        let board = Arc::new(Board::new(state.clone()));
        let runtime = TestRuntime::with_state(state, |runtime| {
            runtime.register_items(MachineStatusSnapshotController::new(Arc::clone(&board)));
        });
        (board, runtime)
    }

    fn event(stage: MachineStage) -> MachineStatusEvent {
        MachineStatusEvent { stage, status: None }
    }

    fn snapshot(runtime: &TestRuntime) -> Option<MachineStatusSnapshot> {
        runtime.state().get::<MachineStatusSnapshot>("m1").map(|snapshot| snapshot.spec)
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_word_counts_whether_it_was_sent_or_watched() {
        let (board, runtime) = started();
        runtime.put(resource("m1", Machine::default()));
        runtime.quiet().await;
        assert_eq!(snapshot(&runtime), None);
        let sent = corten_api::machine::MachineStatusEvent { stage: 1, status: None };
        Events::new(Arc::clone(&board)).report("m1", &sent).expect("room");
        runtime.quiet().await;
        let stage = |runtime: &TestRuntime| snapshot(runtime).and_then(|snapshot| snapshot.machine_status);
        assert_eq!(stage(&runtime), Some(event(MachineStage::Booting)));
        let target = Target { address: Ipv6Addr::LOCALHOST, public_key: String::new(), cluster: None };
        let ticket = board.begin("m1", &target).expect("room");
        let mut watched = Observed::default();
        watched.stage = Some(event(MachineStage::Running));
        watched.boot_id = "b1".into();
        board.adopt(&ticket, Reach::Member, watched);
        runtime.quiet().await;
        assert_eq!(stage(&runtime), Some(event(MachineStage::Running)));
        assert_eq!(snapshot(&runtime).map(|snapshot| snapshot.boot_id).as_deref(), Some("b1"));
        board.forget("m1");
        runtime.quiet().await;
        assert_eq!(stage(&runtime), Some(event(MachineStage::Running)), "it said nothing else");
    }

    #[test]
    fn a_machine_that_should_be_on_and_is_not_is_being_switched_on() {
        use InfraPowerState::{Off, On, Unknown};
        assert_eq!(power_stage(Some(Off), Some(PreferredPower::On)), PowerStage::PoweringOn);
        assert_eq!(power_stage(Some(Off), Some(PreferredPower::Off)), PowerStage::PoweredOff);
        assert_eq!(power_stage(Some(Off), None), PowerStage::PoweredOff);
        for state in [Some(On), Some(Unknown), None] {
            assert_eq!(power_stage(state, Some(PreferredPower::On)), PowerStage::None);
        }
    }
}
