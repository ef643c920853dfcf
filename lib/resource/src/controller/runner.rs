//! The loop of one controller.
//!
//! ```text
//! asleep ──input changed, source fired, time came──▶ observe, plan, apply … publish ──▶ asleep
//! ```
//!
//! A failure or a panic leads to sleep with back-off; nothing a controller does reaches another one.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corten_base::{Backoff, Clock, Rng, Task};
use futures::FutureExt as _;
use futures::future::{Either, select};

use super::declare::Input;
use super::driver::Cycle;
use super::graph::Graph;
use super::outputs::Publisher;
use super::plan::Outcome;
use super::reasons::Reasons;
use super::source::Trigger;
use super::status::{ControllerState, ControllerStatus};
use super::view::Snapshot;
use super::wake::{Alarm, Wake};
use crate::state::State;

/// Rounds of observe, plan and apply in which a plan must come to have no operation.
pub const ROUNDS_MAX: usize = 8;
/// Delay after the first failure, and the longest.
pub const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// What a failed controller sleeps at least, whatever changes.
pub const SETTLE: Duration = Duration::from_millis(100);
/// Owner of the statuses.
pub const OWNER: &str = "controller-runtime";

/// One controller and all it needs to run.
pub struct Runner {
    pub cycle: Box<dyn Cycle>,
    pub inputs: &'static [Input],
    pub publisher: Publisher,
    pub wake: Arc<Wake>,
    /// Keeps the store's end of the alarm alive.
    pub _alarms: Vec<Arc<Alarm>>,
    pub clock: Clock,
    pub rng: Rng,
    pub stopping: Arc<AtomicBool>,
}

/// How a cycle ended well.
struct Settled {
    outcome: Outcome,
    again_in: Option<Duration>,
}

impl Runner {
    /// Runs until told to stop.
    pub async fn run(mut self) {
        let _sources = self.start_sources();
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        while !self.stopping.load(Ordering::Acquire) {
            self.wake.begin();
            let settled = self.contained_cycle().await;
            let (status, delay) = match settled {
                Ok(Settled { outcome: Outcome::Failed(why), .. }) => self.failed(why, &mut backoff),
                Err(error) => self.failed(format!("{error:#}"), &mut backoff),
                Ok(Settled { outcome: Outcome::Waiting(what), again_in }) => {
                    backoff.reset();
                    (
                        ControllerStatus { state: ControllerState::Waiting, reason: what, failures: 0 },
                        again_in,
                    )
                }
                Ok(Settled { outcome: Outcome::Done, again_in }) => {
                    backoff.reset();
                    (ControllerStatus::default(), again_in)
                }
            };
            let is_failed = status.state == ControllerState::Failed;
            self.report(status);
            self.wake.end();
            let rest = if is_failed { SETTLE } else { self.cycle.pace() };
            if !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
            sleep(&self.wake, delay).await;
        }
    }

    fn start_sources(&mut self) -> Vec<Task> {
        let sources = self.cycle.sources();
        let start = |source: super::source::Source| {
            corten_base::spawn(source.name(), source.run(Trigger(Arc::clone(&self.wake)), self.rng.clone()))
        };
        sources.into_iter().map(start).collect()
    }

    async fn contained_cycle(&mut self) -> anyhow::Result<Settled> {
        match AssertUnwindSafe(self.cycle()).catch_unwind().await {
            Ok(settled) => settled,
            Err(panic) => Err(anyhow::anyhow!("panicked: {}", message(panic.as_ref()))),
        }
    }

    async fn cycle(&mut self) -> anyhow::Result<Settled> {
        let mut failure = None;
        for round in 1.. {
            let state = self.publisher.state();
            let snapshot = Arc::new(Snapshot::of(self.inputs, state, self.clock.now()));
            let (changes, ops) = self.cycle.plan(snapshot).await?;
            // Without its inputs in hand nothing is done to the world: nobody would undo it.
            let is_held = self.publisher.hold(&changes)?;
            if !is_held && round <= ROUNDS_MAX {
                continue;
            }
            if ops > 0 && failure.is_none() && round <= ROUNDS_MAX {
                // What it holds is kept before the world changes, so that a loss of power cannot make it forget.
                self.publisher.state().store().settled().await;
                failure = self.cycle.apply().await.into_iter().collect::<Reasons>().into_error();
                continue;
            }
            let waiting = self.publisher.publish(&changes)?.waiting;
            self.publisher.release(&changes)?;
            if let Some(failure) = failure {
                return Err(failure);
            }
            anyhow::ensure!(ops == 0, "{ops} operations are still wanted after {ROUNDS_MAX} rounds");
            let outcome = match changes.outcome() {
                Outcome::Done if !waiting.is_empty() => Outcome::Waiting(waiting.to_string()),
                outcome => outcome,
            };
            return Ok(Settled { outcome, again_in: changes.again_in });
        }
        anyhow::bail!("the rounds of a controller are bounded")
    }

    fn failed(&self, reason: String, backoff: &mut Backoff) -> (ControllerStatus, Option<Duration>) {
        let delay = backoff.next_delay(&self.rng);
        let failures = backoff.attempts();
        tracing::warn!(controller = self.publisher.owner(), reason, failures, "controller failed");
        (ControllerStatus { state: ControllerState::Failed, reason, failures }, Some(delay))
    }

    fn report(&self, status: ControllerStatus) {
        report(self.publisher.state(), self.publisher.owner(), status);
    }
}

/// Sleeps until woken or until the delay is over.
async fn sleep(wake: &Wake, delay: Option<Duration>) {
    let fired = std::pin::pin!(wake.fired());
    match delay {
        None => fired.await,
        Some(delay) => match select(fired, std::pin::pin!(tokio::time::sleep(delay))).await {
            Either::Left(_) | Either::Right(_) => {}
        },
    }
}

/// Publishes a status; only a store without room refuses that, and then there is nobody to tell.
pub fn report(state: &State, controller: &str, status: ControllerStatus) {
    if let Err(error) = state.put(OWNER, controller, status) {
        tracing::warn!(
            controller,
            error = corten_base::chain(&error),
            "cannot publish the status of a controller"
        );
    }
}

/// Removes the statuses of controllers that an earlier program had and this one has not.
pub fn forget_others(state: &State, graph: &Graph) {
    for status in state.list::<ControllerStatus>() {
        let controller = status.id().split('/').next().unwrap_or_default();
        if !graph.has(controller) {
            // It stays as a leftover if somebody holds it, which nobody does.
            let _ = state.remove::<ControllerStatus>(OWNER, status.id());
        }
    }
}

pub fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
