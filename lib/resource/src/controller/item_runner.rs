//! The loop of a controller over items.
//!
//! ```text
//! dirty items ──a few at a time──▶ observe, plan, apply …, publish, kept ──▶ asleep until a change or its time
//! ```
//!
//! An item that fails or waits stands in a status of its own (`CONTROLLER/ITEM`) and holds no other item back.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corten_base::{Backoff, Clock, Rng};
use futures::future::{Either, select};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::declare::Input;
use super::index::Index;
use super::keyed::ItemCycle;
use super::outputs::Publisher;
use super::plan::Outcome;
use super::reasons::Reasons;
use super::runner::{BACKOFF, OWNER, ROUNDS_MAX, message, report};
use super::status::{ControllerState, ControllerStatus};
use super::view::Snapshot;
use super::wake::Wake;
use crate::memory::Listener;
use crate::metadata::Pointer;

/// A controller over items and all it needs to run.
pub struct ItemRunner {
    pub cycle: Box<dyn ItemCycle>,
    pub inputs: &'static [Input],
    pub publisher: Mutex<Publisher>,
    pub index: Arc<Mutex<Index>>,
    pub wake: Arc<Wake>,
    /// Keeps the store's end of the index alive.
    pub _feeds: Vec<Arc<dyn Listener>>,
    pub clock: Clock,
    pub rng: Rng,
    pub stopping: Arc<AtomicBool>,
}

/// How the cycle of an item ended.
struct Ended {
    item: String,
    result: anyhow::Result<(Outcome, Option<Duration>)>,
}

type Running<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Ended> + Send + 'a>>>;

/// Items between two cycles.
#[derive(Default)]
struct Agenda {
    dirty: BTreeSet<String>,
    busy: BTreeSet<String>,
    /// When items are looked at again by themselves.
    timers: BTreeMap<String, Instant>,
    backoffs: BTreeMap<String, Backoff>,
    /// Items with a status.
    told: BTreeSet<String>,
}

impl Agenda {
    /// Moves items whose time has come to the dirty ones; the next time that comes is left.
    fn ring(&mut self, now: Instant) -> Option<Instant> {
        let due: Vec<String> =
            self.timers.iter().filter(|(_, at)| **at <= now).map(|(item, _)| item.clone()).collect();
        for item in due {
            self.timers.remove(&item);
            self.dirty.insert(item);
        }
        self.timers.values().min().copied()
    }

    /// The next item that is dirty and not being worked on.
    fn next(&mut self) -> Option<String> {
        let item = self.dirty.iter().find(|item| !self.busy.contains(*item)).cloned()?;
        self.dirty.remove(&item);
        self.timers.remove(&item);
        self.busy.insert(item.clone());
        Some(item)
    }
}

impl ItemRunner {
    /// Runs until told to stop.
    pub async fn run(self) {
        let mut agenda = Agenda::default();
        let mut running: Running<'_> = FuturesUnordered::new();
        self.wake.begin();
        while !self.stopping.load(Ordering::Acquire) {
            agenda.dirty.append(&mut self.index.lock().take_dirty());
            let next_timer = agenda.ring(Instant::now());
            while running.len() < self.cycle.parallel() {
                let Some(item) = agenda.next() else { break };
                running.push(Box::pin(self.work(item)));
            }
            if running.is_empty() {
                self.wake.end();
                sleep_until(&self.wake, next_timer).await;
                self.wake.begin();
                continue;
            }
            let woken = std::pin::pin!(self.wake.fired());
            let ended = match select(running.next(), woken).await {
                Either::Left((ended, _)) => ended,
                Either::Right(_) => {
                    // Counted once more by whoever fired; this runner is awake already.
                    self.wake.begin();
                    self.wake.end();
                    continue;
                }
            };
            if let Some(Ended { item, result }) = ended {
                self.finish(&mut agenda, item, result);
            }
        }
        self.wake.end();
    }

    async fn work(&self, item: String) -> Ended {
        let result = match AssertUnwindSafe(self.cycle(&item)).catch_unwind().await {
            Ok(result) => result,
            Err(panic) => Err(anyhow::anyhow!("panicked: {}", message(panic.as_ref()))),
        };
        Ended { item, result }
    }

    async fn cycle(&self, item: &str) -> anyhow::Result<(Outcome, Option<Duration>)> {
        let mut failure = None;
        for round in 1..=ROUNDS_MAX {
            let (changes, ops) = self.cycle.plan(item, self.snapshot(item)).await?;
            let count = ops.len();
            // Without its inputs in hand nothing is done to the world: nobody would undo it.
            let is_held = self.publisher.lock().hold(&changes)?;
            if !is_held && round < ROUNDS_MAX {
                self.settled().await;
                continue;
            }
            if count > 0 && failure.is_none() && round < ROUNDS_MAX {
                self.settled().await;
                failure = self.cycle.apply(item, ops).await.into_iter().collect::<Reasons>().into_error();
                continue;
            }
            let waiting = self.publish(item, &changes)?;
            self.settled().await;
            if let Some(failure) = failure {
                return Err(failure);
            }
            anyhow::ensure!(count == 0, "{count} operations are still wanted after {ROUNDS_MAX} rounds");
            let outcome = match changes.outcome() {
                Outcome::Done if !waiting.is_empty() => Outcome::Waiting(waiting.to_string()),
                outcome => outcome,
            };
            return Ok((outcome, changes.again_in));
        }
        anyhow::bail!("its inputs change faster than it can plan")
    }

    fn publish(&self, item: &str, changes: &super::plan::Changes) -> anyhow::Result<Reasons> {
        let mut publisher = self.publisher.lock();
        let kinds = publisher.outputs().iter();
        let kinds = kinds.map(|output| Pointer::to_kind(output.namespace, output.definition.kind));
        let index = self.index.lock();
        let ids = |kind: Pointer| {
            let ids = index.ids(&kind, item);
            ids.into_iter().map(move |id| Pointer::new(&kind.namespace, &kind.kind, id))
        };
        let owned: Vec<Pointer> = kinds.flat_map(ids).collect();
        drop(index);
        let waiting = publisher.publish_among(changes, &owned)?;
        publisher.release(changes)?;
        Ok(waiting)
    }

    fn snapshot(&self, item: &str) -> Arc<Snapshot> {
        let index = self.index.lock();
        let rows = self.inputs.iter().map(|input| {
            let kind = Pointer::to_kind(input.namespace, input.definition.kind);
            let ids = index.ids(&kind, item);
            (kind, ids)
        });
        let rows = rows.collect();
        drop(index);
        let state = self.publisher.lock().state().clone();
        Arc::new(Snapshot::of_item(rows, &state, self.clock.now()))
    }

    async fn settled(&self) {
        let state = self.publisher.lock().state().clone();
        state.store().settled().await;
    }

    /// Notes how an item is and when it is looked at again.
    fn finish(&self, agenda: &mut Agenda, item: String, result: anyhow::Result<(Outcome, Option<Duration>)>) {
        agenda.busy.remove(&item);
        let (state, reason, again_in) = match result {
            Ok((Outcome::Done, again_in)) => (ControllerState::Running, String::new(), again_in),
            Ok((Outcome::Waiting(what), again_in)) => (ControllerState::Waiting, what, again_in),
            Ok((Outcome::Failed(why), _)) => (ControllerState::Failed, why, None),
            Err(error) => (ControllerState::Failed, format!("{error:#}"), None),
        };
        let (again_in, failures) = if state == ControllerState::Failed {
            let backoff =
                agenda.backoffs.entry(item.clone()).or_insert_with(|| Backoff::new(BACKOFF.0, BACKOFF.1));
            (Some(backoff.next_delay(&self.rng)), backoff.attempts())
        } else {
            agenda.backoffs.remove(&item);
            (again_in, 0)
        };
        self.tell(agenda, &item, ControllerStatus { state, reason, failures });
        if let Some(delay) = again_in {
            agenda.timers.insert(item, Instant::now() + delay);
        }
    }

    /// Publishes the status of an item that waits or failed, and removes that of one that does no more.
    fn tell(&self, agenda: &mut Agenda, item: &str, status: ControllerStatus) {
        let publisher = self.publisher.lock();
        let (state, owner) = (publisher.state(), publisher.owner());
        let id = format!("{owner}/{item}");
        if status.state != ControllerState::Running {
            if status.state == ControllerState::Failed {
                let (reason, failures) = (&status.reason, status.failures);
                tracing::warn!(controller = owner, item, reason, failures, "an item failed");
            }
            agenda.told.insert(item.to_owned());
            report(state, &id, status);
        } else if agenda.told.remove(item) {
            // It stays as a leftover if somebody holds it, which nobody does.
            let _ = state.remove::<ControllerStatus>(OWNER, &id);
        }
    }
}

/// Sleeps until woken or until the time comes.
async fn sleep_until(wake: &Wake, at: Option<Instant>) {
    let fired = std::pin::pin!(wake.fired());
    match at {
        None => fired.await,
        Some(at) => match select(fired, std::pin::pin!(tokio::time::sleep_until(at))).await {
            Either::Left(_) | Either::Right(_) => {}
        },
    }
}
