//! Events that machines send by themselves, on their way to what the manager knows of machines.
//!
//! ```text
//! event sink ─▶ stage of the machine ─▶ Events of the controllers ─▶ MachineStatusSnapshot
//!            └▶ begin and end of sequences: nobody asks for them yet
//! ```

use corten_api::machine::MachineStatusEvent as Wire;
use corten_api::machine::machine_status_event::machine_status::UnmetCondition;
use corten_api::machine::machine_status_event::{MachineStage as WireStage, MachineStatus};
use corten_fleet_controllers_machine::Events;
use corten_fleet_resources::machine::{MachineStage, MachineStatusEvent};
use corten_fleet_siderolink::{News, NoRoom, Report, Snapshots};

/// Hands events of machines to the controllers.
#[derive(Clone, Debug)]
pub struct Stages(Events);

impl Stages {
    /// What the controllers take.
    pub const fn new(events: Events) -> Self {
        Self(events)
    }
}

impl Snapshots for Stages {
    fn report(&self, Report { machine, news }: Report) -> Result<(), NoRoom> {
        match news {
            News::Stage(stage) => self.0.report(&machine, &wire(&stage)).map_err(|_| NoRoom),
            News::Sequence(sequence) => {
                // Providers of bare metal count installations; until there are some, this is for those who look.
                let shows_installation = sequence.shows_installation();
                tracing::debug!(machine, sequence = sequence.name, shows_installation, "a sequence was told");
                Ok(())
            }
        }
    }
}

/// The event as it came from the machine.
fn wire(event: &MachineStatusEvent) -> Wire {
    let stage = match event.stage {
        MachineStage::Unknown => WireStage::Unknown,
        MachineStage::Booting => WireStage::Booting,
        MachineStage::Installing => WireStage::Installing,
        MachineStage::Maintenance => WireStage::Maintenance,
        MachineStage::Running => WireStage::Running,
        MachineStage::Rebooting => WireStage::Rebooting,
        MachineStage::ShuttingDown => WireStage::ShuttingDown,
        MachineStage::Resetting => WireStage::Resetting,
        MachineStage::Upgrading => WireStage::Upgrading,
    };
    let status = event.status.as_ref().map(|status| {
        let unmet = status.unmet_conditions.iter().map(|condition| UnmetCondition {
            name: condition.name.clone(),
            reason: condition.reason.clone(),
        });
        MachineStatus { ready: status.ready, unmet_conditions: unmet.collect() }
    });
    Wire { stage: stage.into(), status }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::machine::{MachineReadiness, UnmetCondition as Unmet};

    use super::*;

    #[test]
    fn an_event_goes_on_as_the_machine_sent_it() {
        let unmet = Unmet { name: "services".to_owned(), reason: "kubelet".to_owned() };
        let status = MachineReadiness { ready: false, unmet_conditions: vec![unmet] };
        let event = wire(&MachineStatusEvent { stage: MachineStage::Running, status: Some(status) });
        assert_eq!(event.stage(), WireStage::Running);
        let status = event.status.expect("a status");
        assert!(!status.ready);
        assert_eq!(status.unmet_conditions.first().map(|unmet| unmet.reason.as_str()), Some("kubelet"));
    }
}
