//! The power button, ctrl-alt-del and a launcher's signal become sequences.

use corten_resources::runtime::BootEnd;
use corten_supervisor::{Client, Event, Notice, PowerAction};
use tokio::sync::broadcast;

use crate::evidence::Evidence;
use crate::sequencer::Sequencer;
use crate::sequencer::plan::{Haste, Sequence};

/// Answers init's power requests for ever.
pub async fn follow(
    init: Client,
    mut notices: broadcast::Receiver<Notice>,
    sequencer: Sequencer,
    evidence: Evidence,
) {
    loop {
        let action = match notices.recv().await {
            Ok(Notice::Event(Event::PowerRequested { action })) => action,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let sequence = match action {
            PowerAction::Reboot => Sequence::Reboot,
            PowerAction::PowerOff | PowerAction::Halt => Sequence::Shutdown,
        };
        let why =
            format!("{}, asked for at the machine: power button, ctrl-alt-del or launcher", sequence.name());
        let is_busy = sequencer.request(sequence, Haste::Orderly, "").await.is_err();
        evidence.because(BootEnd::Requested, why.as_str());
        if is_busy {
            // It is left to init, which goes on by itself, and soon.
            evidence.end(&why).await;
        } else if let Err(error) = init.accept_power().await {
            tracing::warn!("init was not told: {}", corten_base::chain(&error));
        }
    }
}
