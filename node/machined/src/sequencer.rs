//! Runs sequences: phase after phase, with events, take-over and the way back after machined was replaced.
//!
//!     request ──▶ may it take over? ──▶ phases (plan.rs) ──▶ tasks (tasks.rs) ──▶ events, SequencerPosition
//!
//! The position is a journalled resource: a machined that is started again in the same boot goes on with
//! the phase its predecessor was in. Tasks are therefore written to be run twice.

mod image_store;
mod load_config;
pub mod plan;
mod position;
mod reset;
pub mod tasks;
mod user_disks;

use std::sync::Arc;
use std::time::Duration;

use corten_api::machine::{PhaseEvent, SequenceEvent, TaskEvent, phase_event, sequence_event, task_event};
use corten_base::{Capabilities, chain};
use corten_resource::State;
use futures::future::try_join_all;
use tokio::sync::{mpsc, oneshot};

use self::plan::{Haste, Phase, Sequence, Task};
pub use self::position::Position;
use crate::events::Events;

/// Requests that may wait; more are refused.
const REQUESTS_MAX: usize = 8;
/// Time in which a person can read the console before a failed machine restarts.
const FAILURE_PAUSE: Duration = Duration::from_secs(10);
/// Code of a request that found the machine busy (`common.Code`).
const LOCKED: i32 = 1;
/// Code of a sequence that failed (`common.Code`).
const FATAL: i32 = 0;

/// What carries the tasks out.
pub trait Execute: Send + Sync + 'static {
    /// A sequence failed, and the machine restarts.
    fn failed(&self, _sequence: &'static str, _why: &str) {}

    /// Runs one task to its end.
    fn execute(
        &self,
        task: Task,
        haste: Haste,
        actor: &str,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// A request for a sequence.
#[derive(Debug)]
struct Request {
    sequence: Sequence,
    haste: Haste,
    actor: String,
    accepted: oneshot::Sender<Result<(), Busy>>,
}

/// The machine is doing something that the request may not interrupt.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the machine is busy with the sequence `{running}`; wait until it ends and try again")]
pub struct Busy {
    /// What runs.
    pub running: &'static str,
}

/// Handle for asking for sequences.
#[derive(Clone, Debug)]
pub struct Sequencer(mpsc::Sender<Request>);

impl Sequencer {
    /// Asks for a sequence and returns once it was accepted.
    ///
    /// # Errors
    /// [`Busy`] when something runs that does not give way.
    pub async fn request(&self, sequence: Sequence, haste: Haste, actor: &str) -> Result<(), Busy> {
        let (accepted, answer) = oneshot::channel();
        let request = Request { sequence, haste, actor: actor.to_owned(), accepted };
        let busy = || Busy { running: sequence.name() };
        self.0.try_send(request).map_err(|_| busy())?;
        answer.await.unwrap_or_else(|_| Err(busy()))
    }
}

/// The engine behind the handle.
pub struct Engine<X> {
    requests: mpsc::Receiver<Request>,
    execute: Arc<X>,
    events: Events,
    position: Position,
    capabilities: Capabilities,
}

/// How a run of a sequence ended.
enum End {
    Finished,
    Failed(String),
    TakenOver(Request),
}

/// A handle and its engine.
#[must_use]
pub fn channel() -> (Sequencer, Requests) {
    let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
    (Sequencer(sender), Requests(receiver))
}

/// The receiving end of a [`Sequencer`].
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<Request>);

impl<X: Execute> Engine<X> {
    /// An engine that has not run yet.
    pub fn new(
        requests: Requests,
        execute: Arc<X>,
        events: Events,
        state: State,
        capabilities: Capabilities,
    ) -> Self {
        Self { requests: requests.0, execute, events, position: Position::new(state), capabilities }
    }

    /// Brings the machine up, or goes on where an earlier machined stopped, then serves requests for ever.
    pub async fn run(mut self) {
        let mut next = self.resume();
        loop {
            let Some((sequence, haste, actor, done)) = next.take() else {
                let Some(request) = self.requests.recv().await else { return };
                next = Some(self.accept(request));
                continue;
            };
            match self.run_sequence(sequence, haste, &actor, done).await {
                End::Finished if sequence == Sequence::Initialize => {
                    next = Some((Sequence::Boot, Haste::Orderly, String::new(), 0));
                }
                End::Finished => {}
                End::Failed(why) => {
                    self.execute.failed(sequence.name(), &why);
                    tokio::time::sleep(FAILURE_PAUSE).await;
                    next = Some((Sequence::Reboot, Haste::Forced, String::new(), 0));
                }
                End::TakenOver(request) => next = Some(self.accept(request)),
            }
        }
    }

    /// What to run first, and how many of its phases are done already.
    fn resume(&self) -> Option<(Sequence, Haste, String, usize)> {
        let Some(last) = self.position.load() else {
            return Some((Sequence::Initialize, Haste::Orderly, String::new(), 0));
        };
        match (last.sequence, last.finished) {
            (Sequence::Initialize, true) => Some((Sequence::Boot, Haste::Orderly, String::new(), 0)),
            (_, true) => None,
            (sequence, false) => Some((sequence, Haste::Orderly, last.actor, last.phases_done)),
        }
    }

    fn accept(&self, request: Request) -> (Sequence, Haste, String, usize) {
        let _ = request.accepted.send(Ok(()));
        (request.sequence, request.haste, request.actor, 0)
    }

    async fn run_sequence(&mut self, sequence: Sequence, haste: Haste, actor: &str, done: usize) -> End {
        if done == 0 {
            self.publish_sequence(sequence, actor, sequence_event::Action::Start, None);
        }
        for (index, phase) in plan::phases(sequence, haste, self.capabilities).iter().enumerate().skip(done) {
            self.position.enter(sequence, actor, index);
            let run = run_phase(&*self.execute, &self.events, phase, haste, actor);
            tokio::pin!(run);
            let result = loop {
                tokio::select! {
                    // Dropping `run` on take-over cancels its tasks at their next await.
                    result = &mut run => break result,
                    request = self.requests.recv() => match request {
                        Some(request) if sequence.gives_way_to(request.sequence) => {
                            return End::TakenOver(request);
                        }
                        Some(request) => refuse(&self.events, request, sequence),
                        None => std::future::pending().await,
                    },
                }
            };
            if let Err(error) = result {
                let text = format!("phase {} failed: {}", phase.name, chain(error.as_ref()));
                tracing::error!(sequence = sequence.name(), "{text}");
                let error = Some((FATAL, text.clone()));
                self.publish_sequence(sequence, actor, sequence_event::Action::Noop, error);
                return End::Failed(text);
            }
        }
        self.position.finish(sequence, actor);
        self.publish_sequence(sequence, actor, sequence_event::Action::Stop, None);
        End::Finished
    }

    fn publish_sequence(
        &self,
        sequence: Sequence,
        actor: &str,
        action: sequence_event::Action,
        error: Option<(i32, String)>,
    ) {
        publish_sequence(&self.events, sequence, actor, action, error);
    }
}

fn publish_sequence(
    events: &Events,
    sequence: Sequence,
    actor: &str,
    action: sequence_event::Action,
    error: Option<(i32, String)>,
) {
    let error = error.map(|(code, message)| corten_api::common::Error { code, message, details: Vec::new() });
    let event = SequenceEvent { sequence: sequence.name().to_owned(), action: action.into(), error };
    events.publish(actor, &event);
}

fn refuse(events: &Events, request: Request, running: Sequence) {
    let busy = Busy { running: running.name() };
    let error = Some((LOCKED, busy.to_string()));
    publish_sequence(events, request.sequence, &request.actor, sequence_event::Action::Noop, error);
    let _ = request.accepted.send(Err(busy));
}

async fn run_phase<X: Execute>(
    execute: &X,
    events: &Events,
    phase: &Phase,
    haste: Haste,
    actor: &str,
) -> anyhow::Result<()> {
    let event =
        |action: phase_event::Action| PhaseEvent { phase: phase.name.to_owned(), action: action.into() };
    events.publish(actor, &event(phase_event::Action::Start));
    try_join_all(phase.tasks.iter().map(|task| run_task(execute, events, *task, haste, actor))).await?;
    events.publish(actor, &event(phase_event::Action::Stop));
    Ok(())
}

async fn run_task<X: Execute>(
    execute: &X,
    events: &Events,
    task: Task,
    haste: Haste,
    actor: &str,
) -> anyhow::Result<()> {
    publish_task(events, actor, task.name(), task_event::Action::Start);
    tracing::info!(task = task.name(), "task starts");
    execute.execute(task, haste, actor).await?;
    publish_task(events, actor, task.name(), task_event::Action::Stop);
    Ok(())
}

/// Publishes a task event; also for what clients watch as a task without it being one (`runningMaintenance`).
pub fn publish_task(events: &Events, actor: &str, task: &str, action: task_event::Action) {
    events.publish(actor, &TaskEvent { task: task.to_owned(), action: action.into() });
}

#[cfg(test)]
mod tests;
