use corten_base::{Clock, Platform, Rng, Task as Running};
use prost::Message;
use tokio::sync::Notify;

use super::*;
use crate::events::{Subscription, Tail};

/// Carries out nothing: reports each task, gets stuck or fails where it is told to.
struct Fake {
    reports: mpsc::UnboundedSender<(Task, Haste)>,
    stuck: Option<Task>,
    failing: Option<Task>,
    never: Notify,
}

impl Execute for Fake {
    async fn execute(&self, task: Task, haste: Haste, _: &str) -> anyhow::Result<()> {
        let _ = self.reports.send((task, haste));
        if self.stuck == Some(task) {
            self.never.notified().await;
        }
        anyhow::ensure!(self.failing != Some(task), "the disk is gone");
        Ok(())
    }
}

struct Machine {
    state: State,
    sequencer: Sequencer,
    tasks: mpsc::UnboundedReceiver<(Task, Haste)>,
    events: Subscription,
    _engine: Running,
}

fn machine(state: State, stuck: Option<Task>, failing: Option<Task>) -> Machine {
    let events = Events::new(Clock::fixed(1_700_000_000), &Rng::seeded(1));
    let (reports, tasks) = mpsc::unbounded_channel();
    let (sequencer, requests) = channel();
    let fake = Fake { reports, stuck, failing, never: Notify::new() };
    let capabilities = Platform::Container.capabilities();
    let engine = Engine::new(requests, Arc::new(fake), events.clone(), state.clone(), capabilities);
    let events = events.subscribe(&Tail::Nothing, None);
    Machine { state, sequencer, tasks, events, _engine: corten_base::spawn("engine", engine.run()) }
}

fn empty() -> State {
    State::new(corten_resources::registry())
}

/// As a machined before this one left it.
fn left_at(sequence: Sequence, phases_done: usize) -> State {
    let state = empty();
    Position::new(state.clone()).enter(sequence, "before", phases_done);
    state
}

impl Machine {
    async fn next_task(&mut self) -> Task {
        self.tasks.recv().await.expect("the engine runs").0
    }

    async fn reaches(&mut self, wanted: Task) {
        while self.next_task().await != wanted {}
    }

    /// The next sequence event with an error: sequence, actor, code, text.
    async fn refusal(&mut self) -> (String, String, i32, String) {
        loop {
            let event = self.events.next().await.expect("no overrun");
            if event.message != "machine.SequenceEvent" {
                continue;
            }
            let message = SequenceEvent::decode(event.payload.as_slice()).expect("an event");
            if let Some(error) = message.error {
                return (message.sequence, event.actor, error.code, error.message);
            }
        }
    }

    async fn finished(&self) -> Sequence {
        let position = Position::new(self.state.clone());
        let id = "sequencer";
        self.state
            .wait_for::<corten_resources::runtime::SequencerPosition>(id, |it| {
                it.is_some_and(|it| it.finished)
            })
            .await;
        position.load().expect("a position").sequence
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_initializes_and_boots() {
    let mut machine = machine(empty(), None, None);
    assert_eq!(machine.next_task().await, Task::StartMachined);
    machine.reaches(Task::LoadConfig).await;
    machine.reaches(Task::StartAllServices).await;
    while machine.finished().await != Sequence::Boot {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reboot_takes_over_from_a_boot_that_hangs() {
    let mut machine = machine(empty(), Some(Task::LoadConfig), None);
    machine.reaches(Task::LoadConfig).await;
    machine.sequencer.request(Sequence::Reboot, Haste::Forced, "me").await.expect("taken over");
    assert_eq!(machine.tasks.recv().await, Some((Task::Reboot, Haste::Forced)));
    assert_eq!(machine.finished().await, Sequence::Reboot);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_refuses_everything_else_and_says_so() {
    let mut machine = machine(left_at(Sequence::Shutdown, 0), Some(Task::StopAllPods), None);
    machine.reaches(Task::StopAllPods).await;
    let refused = machine.sequencer.request(Sequence::Reboot, Haste::Orderly, "me").await;
    assert_eq!(refused, Err(Busy { running: "shutdown" }));
    let text = Busy { running: "shutdown" }.to_string();
    assert_eq!(machine.refusal().await, ("reboot".into(), "me".into(), LOCKED, text));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_and_the_machine_starts_again() {
    let mut machine = machine(left_at(Sequence::Boot, 0), None, Some(Task::WriteUserFiles));
    let text = "phase userSetup failed: the disk is gone".to_owned();
    assert_eq!(machine.refusal().await, ("boot".into(), "before".into(), FATAL, text));
    machine.reaches(Task::WriteUserFiles).await;
    assert_eq!(machine.tasks.recv().await, Some((Task::Reboot, Haste::Forced)));
}

#[tokio::test(start_paused = true)]
async fn a_new_machined_goes_on_with_the_phase_of_the_last_one() {
    let phases = plan::phases(Sequence::Boot, Haste::Orderly, Platform::Container.capabilities());
    let index = phases.iter().position(|phase| phase.name == "userSetup").expect("a phase of every boot");
    let mut machine = machine(left_at(Sequence::Boot, index), None, None);
    assert_eq!(machine.next_task().await, Task::WriteUserFiles);
    assert_eq!(machine.finished().await, Sequence::Boot);
    let first = machine.events.next().await.expect("no overrun");
    assert_eq!((first.message, first.actor.as_str()), ("machine.PhaseEvent", "before"));
}

#[tokio::test(start_paused = true)]
async fn a_new_machined_on_a_running_machine_waits_for_requests() {
    let state = empty();
    Position::new(state.clone()).finish(Sequence::Boot, "before");
    let mut machine = machine(state, None, None);
    machine.sequencer.request(Sequence::Reboot, Haste::Forced, "me").await.expect("accepted");
    assert_eq!(machine.tasks.recv().await, Some((Task::Reboot, Haste::Forced)));
}

#[tokio::test(start_paused = true)]
async fn a_machine_in_maintenance_is_reset_to_its_end() {
    let mut machine = machine(empty(), Some(Task::LoadConfig), None);
    machine.reaches(Task::LoadConfig).await;
    machine.sequencer.request(Sequence::ResetAndShutdown, Haste::Orderly, "me").await.expect("taken over");
    machine.reaches(Task::WipeVolumes).await;
    assert_eq!(machine.next_task().await, Task::Shutdown);
    assert_eq!(machine.finished().await, Sequence::ResetAndShutdown);
}
