//! Where the sequencer is, as a journalled resource, and the machine's stage that follows from it.

use corten_resource::State;
use corten_resources::runtime::{MachineStage, SequencerPosition};

use super::plan::Sequence;

const OWNER: &str = "sequencer";
const ID: &str = "sequencer";

/// The last position of a sequencer.
#[derive(Debug, PartialEq, Eq)]
pub struct Last {
    /// Sequence that ran.
    pub sequence: Sequence,
    /// Phases finished.
    pub phases_done: usize,
    /// All of them.
    pub finished: bool,
    /// Whose request it was.
    pub actor: String,
}

/// Keeper of the position.
#[derive(Clone, Debug)]
pub struct Position(State);

impl Position {
    /// A keeper in `state`.
    #[must_use]
    pub const fn new(state: State) -> Self {
        Self(state)
    }

    /// Where the last sequencer of this boot was.
    #[must_use]
    pub fn load(&self) -> Option<Last> {
        let position = self.0.get::<SequencerPosition>(ID)?;
        Some(Last {
            sequence: Sequence::from_key(&position.spec.sequence)?,
            phases_done: usize::try_from(position.spec.phases_done).unwrap_or(0),
            finished: position.spec.finished,
            actor: position.spec.actor.clone(),
        })
    }

    /// Records that the phase with this index begins.
    pub fn enter(&self, sequence: Sequence, actor: &str, index: usize) {
        self.write(sequence, actor, index, false);
    }

    /// Records that the sequence is over.
    pub fn finish(&self, sequence: Sequence, actor: &str) {
        self.write(sequence, actor, 0, true);
    }

    fn write(&self, sequence: Sequence, actor: &str, phases_done: usize, finished: bool) {
        let spec = SequencerPosition {
            sequence: sequence.key().to_owned(),
            phases_done: u32::try_from(phases_done).unwrap_or(u32::MAX),
            finished,
            actor: actor.to_owned(),
            stage: stage(sequence, finished),
        };
        if let Err(error) = self.0.put(OWNER, ID, spec) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot record the sequencer's position"
            );
        }
    }
}

/// The machine's stage while a sequence runs, or after it.
const fn stage(sequence: Sequence, finished: bool) -> MachineStage {
    match (sequence, finished) {
        (Sequence::Initialize, _) | (Sequence::Boot, false) => MachineStage::Booting,
        (Sequence::Boot, true) => MachineStage::Running,
        (Sequence::Reboot, _) => MachineStage::Rebooting,
        (Sequence::Shutdown, _) => MachineStage::ShuttingDown,
        (Sequence::Reset | Sequence::ResetAndShutdown, _) => MachineStage::Resetting,
    }
}
