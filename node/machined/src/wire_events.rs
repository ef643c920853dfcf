//! Which messages travel as events, and the one that follows the machine's status.

use corten_api::machine::{
    self, MachineStatusEvent, PhaseEvent, RestartEvent, SequenceEvent, ServiceStateEvent, TaskEvent,
};
use corten_resource::State;
use corten_resources::runtime::{MachineStage, MachineStatus};

use crate::events::{EventMessage, Events};

macro_rules! event_messages {
    ($($message:ty => $name:literal),* $(,)?) => { $(impl EventMessage for $message { const NAME: &'static str = $name; })* };
}

event_messages! {
    SequenceEvent => "machine.SequenceEvent",
    PhaseEvent => "machine.PhaseEvent",
    TaskEvent => "machine.TaskEvent",
    ServiceStateEvent => "machine.ServiceStateEvent",
    RestartEvent => "machine.RestartEvent",
    MachineStatusEvent => "machine.MachineStatusEvent",
}

/// Publishes each change of the machine's status as an event, for ever.
pub async fn follow_machine_status(state: State, events: Events) {
    let mut watch = state.watch::<MachineStatus>();
    let mut last = None;
    loop {
        if let Some(status) = state.get::<MachineStatus>("machine") {
            let event = to_event(&status.spec);
            if last.as_ref() != Some(&event) {
                events.publish("", &event);
                last = Some(event);
            }
        }
        if watch.next_batch().await.is_none() {
            watch = state.watch::<MachineStatus>();
        }
    }
}

fn to_event(status: &MachineStatus) -> MachineStatusEvent {
    use machine::machine_status_event::machine_status::UnmetCondition;
    use machine::machine_status_event::{MachineStage as Stage, MachineStatus as Status};
    let stage = match status.stage {
        MachineStage::Unknown => Stage::Unknown,
        MachineStage::Booting => Stage::Booting,
        MachineStage::Installing => Stage::Installing,
        MachineStage::Maintenance => Stage::Maintenance,
        MachineStage::Running => Stage::Running,
        MachineStage::Rebooting => Stage::Rebooting,
        MachineStage::ShuttingDown => Stage::ShuttingDown,
        MachineStage::Resetting => Stage::Resetting,
        MachineStage::Upgrading => Stage::Upgrading,
    };
    let unmet = status.status.unmet_conditions.iter();
    let unmet_conditions = unmet
        .map(|unmet| UnmetCondition { name: unmet.name.clone(), reason: unmet.reason.clone() })
        .collect();
    MachineStatusEvent {
        stage: stage.into(),
        status: Some(Status { ready: status.status.ready, unmet_conditions }),
    }
}
