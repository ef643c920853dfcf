//! The loop of a controller over items.
//!
//! ```text
//! dirty items ──a few at a time──▶ hold, observe, plan, apply …, publish, release ──▶ asleep until a change or its time
//! ```
//!
//! An item that fails or waits stands in a status of its own (`CONTROLLER/ITEM`) and holds no other item back. Nothing is
//! done to the world before what the item holds is durable, and nothing is let go of while an operation or an output that
//! is not wanted any more is left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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

use super::declare::{Input, Strength};
use super::index::Index;
use super::item::{Concern, ItemCycle};
use super::outputs::{Published, Publisher};
use super::plan::{Changes, Outcome};
use super::reasons::Reasons;
use super::runner::{BACKOFF, OWNER, ROUNDS_MAX, SETTLE, message, report};
use super::status::{ControllerState, ControllerStatus};
use super::view::Snapshot;
use super::wake::Wake;
use crate::memory::Listener;
use crate::metadata::Pointer;
use crate::resource::AnyResource;
use crate::state::State;
use crate::store::StateError;

/// Longest time until an item is looked at again by itself; the clock may have been set meanwhile.
const AGAIN_MAX: Duration = Duration::from_secs(3600);

/// A controller over items and all it needs to run.
pub struct ItemRunner {
    pub cycle: Box<dyn ItemCycle>,
    pub concern: fn(&AnyResource) -> Concern,
    pub inputs: &'static [Input],
    pub state: State,
    pub publisher: Mutex<Publisher>,
    pub index: Arc<Mutex<Index>>,
    pub wake: Arc<Wake>,
    /// Keeps the store's end of the index alive.
    pub _feeds: Vec<Arc<dyn Listener>>,
    pub clock: Clock,
    pub rng: Rng,
    pub stopping: Arc<AtomicBool>,
}

/// How a cycle ended: its outcome, and when the item is looked at again by itself.
type Settled = (Outcome, Option<Duration>);

/// How the cycle of an item ended.
struct Ended {
    item: String,
    result: anyhow::Result<Settled>,
}

type Running<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Ended> + Send + 'a>>>;

/// Items between two cycles. Who became dirty first is first.
#[derive(Default)]
struct Agenda {
    queue: VecDeque<String>,
    queued: BTreeSet<String>,
    busy: BTreeSet<String>,
    /// Items that became dirty while they were worked on.
    again: BTreeSet<String>,
    /// When items are looked at again by themselves, and the same by item.
    timers: BTreeSet<(Instant, String)>,
    timer_of: BTreeMap<String, Instant>,
    /// Items that failed, and are not looked at before, whatever changes.
    not_before: BTreeMap<String, Instant>,
    backoffs: BTreeMap<String, Backoff>,
    /// Items with a status, and its reason.
    reported: BTreeMap<String, String>,
}

impl Agenda {
    fn push(&mut self, item: String, now: Instant) {
        if self.busy.contains(&item) {
            self.again.insert(item);
        } else if let Some(at) = self.not_before.get(&item).copied().filter(|at| *at > now) {
            self.set_timer(item, at);
        } else {
            self.not_before.remove(&item);
            if self.queued.insert(item.clone()) {
                self.queue.push_back(item);
            }
        }
    }

    /// Has an item looked at now or, when what changed can wait, at the latest when its patience ends.
    fn push_within(&mut self, item: String, patience: Duration, now: Instant) {
        if patience.is_zero() {
            self.push(item, now);
        } else {
            self.set_timer(item, now + patience);
        }
    }

    fn set_timer(&mut self, item: String, at: Instant) {
        if self.timer_of.get(&item).is_some_and(|earlier| *earlier <= at) {
            return;
        }
        self.clear_timer(&item);
        self.timers.insert((at, item.clone()));
        self.timer_of.insert(item, at);
    }

    fn clear_timer(&mut self, item: &str) {
        if let Some(at) = self.timer_of.remove(item) {
            self.timers.remove(&(at, item.to_owned()));
        }
    }

    /// Queues items whose time has come; the next time that comes is left.
    fn ring(&mut self, now: Instant) -> Option<Instant> {
        while let Some((at, item)) = self.timers.first().cloned() {
            if at > now {
                return Some(at);
            }
            self.clear_timer(&item);
            self.push(item, now);
        }
        None
    }

    /// The next item to work on.
    fn next(&mut self) -> Option<String> {
        let item = self.queue.pop_front()?;
        self.queued.remove(&item);
        self.clear_timer(&item);
        self.busy.insert(item.clone());
        Some(item)
    }
}

impl ItemRunner {
    /// Runs until told to stop; what is being worked on then is finished.
    pub async fn run(self) {
        let mut agenda = self.seeded();
        let mut running: Running<'_> = FuturesUnordered::new();
        self.wake.begin();
        while !self.stopping.load(Ordering::Acquire) {
            let now = Instant::now();
            for (item, patience) in self.index.lock().take_dirty() {
                agenda.push_within(item, patience, now);
            }
            let next_timer = agenda.ring(now);
            while running.len() < self.cycle.parallel() {
                let Some(item) = agenda.next() else { break };
                running.push(Box::pin(self.work(item)));
            }
            if running.is_empty() {
                self.wake.end();
                until(&self.wake, next_timer).await;
                self.wake.begin();
                continue;
            }
            let ended = match select(running.next(), std::pin::pin!(until(&self.wake, next_timer))).await {
                Either::Left((ended, _)) => ended,
                Either::Right(_) => {
                    // If somebody fired, it was counted once more; this runner is awake already.
                    self.wake.begin();
                    self.wake.end();
                    None
                }
            };
            if let Some(Ended { item, result }) = ended {
                self.finish(&mut agenda, item, result);
            }
        }
        while let Some(Ended { item, result }) = running.next().await {
            self.finish(&mut agenda, item, result);
        }
        self.wake.end();
    }

    /// An agenda with the items that have a status of an earlier program: it may be true no more.
    fn seeded(&self) -> Agenda {
        let mut agenda = Agenda::default();
        let prefix = format!("{}/", self.publisher.lock().owner());
        for status in self.state.list::<ControllerStatus>() {
            if let Some(item) = status.id().strip_prefix(&prefix) {
                agenda.reported.insert(item.to_owned(), String::new());
                agenda.push(item.to_owned(), Instant::now());
            }
        }
        agenda
    }

    async fn work(&self, item: String) -> Ended {
        let limit = self.cycle.limit();
        let cycle = AssertUnwindSafe(self.cycle(&item)).catch_unwind();
        let result = match tokio::time::timeout(limit, cycle).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(anyhow::anyhow!("panicked: {}", message(panic.as_ref()))),
            Err(_) => Err(anyhow::anyhow!("was not done after {} s and was given up", limit.as_secs())),
        };
        Ended { item, result }
    }

    async fn cycle(&self, item: &str) -> anyhow::Result<Settled> {
        let mut has_applied = false;
        for _ in 0..ROUNDS_MAX {
            let snapshot = self.snapshot(item);
            let held = self.hold(&snapshot)?;
            let (changes, ops) = self.cycle.plan(item, Arc::clone(&snapshot)).await?;
            anyhow::ensure!(
                changes.holds.is_empty() && changes.releases.is_empty(),
                "the runtime holds what an item is made of and lets go of it; its plan does neither"
            );
            // Without its inputs in hand nothing is done to the world: nobody would undo it.
            self.state.store().settled().await;
            if !held.iter().all(|pointer| self.is_held(pointer)) {
                continue;
            }
            if !ops.is_empty() {
                for op in ops {
                    if let Err(error) = op.await {
                        // What it does not want any more stays, and so do its inputs: they are still needed.
                        self.publish(item, &changes, false).await?;
                        return Err(error);
                    }
                }
                has_applied = true;
                continue;
            }
            let is_over = changes.problems.is_empty() && !changes.is_unfinished;
            let waiting = self.publish(item, &changes, is_over).await?;
            if waiting.is_empty() && is_over {
                self.release(&snapshot)?;
            }
            return Ok((outcome(&changes, &waiting), changes.again_in));
        }
        let what = if has_applied { "operations are still wanted" } else { "its inputs changed faster" };
        anyhow::bail!("{what} after {ROUNDS_MAX} rounds")
    }

    fn snapshot(&self, item: &str) -> Arc<Snapshot> {
        let rows = || {
            let index = self.index.lock();
            let row = |input: &Input| {
                let kind = Pointer::to_kind(input.namespace, input.definition.kind);
                let ids = index.inputs(&kind, item);
                (kind, ids)
            };
            self.inputs.iter().map(row).collect()
        };
        Arc::new(Snapshot::of_item(rows, &self.state, self.clock.now()))
    }

    /// Strong inputs that concern this item and no other.
    fn strong<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a AnyResource> + 'a {
        let strong = self.inputs.iter().filter(|input| input.strength == Strength::Strong);
        let rows = strong.filter_map(|input| snapshot.all(input.namespace, input.definition.kind));
        rows.flatten().filter(|resource| matches!((self.concern)(resource), Concern::Item(_)))
    }

    /// Holds the running strong inputs; which they are comes out.
    fn hold(&self, snapshot: &Snapshot) -> anyhow::Result<Vec<Pointer>> {
        let owner = self.publisher.lock().owner();
        let mut held = Vec::new();
        for resource in self.strong(snapshot).filter(|resource| !resource.metadata().is_tearing_down()) {
            let pointer = resource.pointer();
            match self.state.add_finalizer(&pointer, owner) {
                // One that is gone or going is not held, and the next snapshot shows it.
                Ok(()) | Err(StateError::NotFound(_) | StateError::Phase { .. }) => held.push(pointer),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(held)
    }

    /// Whether a resource is running and held, durably.
    fn is_held(&self, pointer: &Pointer) -> bool {
        let owner = self.publisher.lock().owner();
        self.state.get_any(pointer).is_some_and(|resource| {
            let metadata = resource.metadata();
            !metadata.is_tearing_down() && metadata.finalizers.iter().any(|holder| holder == owner)
        })
    }

    /// Lets go of strong inputs in teardown.
    fn release(&self, snapshot: &Snapshot) -> anyhow::Result<()> {
        let owner = self.publisher.lock().owner();
        for resource in self.strong(snapshot).filter(|resource| resource.metadata().is_tearing_down()) {
            self.state.remove_finalizer(&resource.pointer(), owner)?;
        }
        Ok(())
    }

    /// Makes the outputs durable and, if it may, removes the rest. What is not as wanted yet comes out.
    async fn publish(&self, item: &str, changes: &Changes, may_remove: bool) -> anyhow::Result<Reasons> {
        for output in &changes.puts {
            let concern = (self.concern)(output);
            anyhow::ensure!(
                concern == Concern::Item(item.to_owned()),
                "{} was put for {item} and concerns {concern:?}: give it the id or the label of its item",
                output.pointer()
            );
        }
        let Published { mut waiting, held } = {
            let mut publisher = self.publisher.lock();
            let kinds = publisher.outputs().iter();
            let kinds = kinds.map(|output| Pointer::to_kind(output.namespace, output.definition.kind));
            let owned: Vec<Pointer> = match may_remove {
                true => kinds.flat_map(|kind| self.index.lock().outputs(&kind, item)).collect(),
                false => Vec::new(),
            };
            publisher.publish_among(changes, &owned)?
        };
        self.state.store().settled().await;
        for output in &changes.puts {
            let found = self.state.get_any(&output.pointer());
            anyhow::ensure!(
                !waiting.is_empty() || found.is_some_and(|found| found.same_spec(output)),
                "{} could not be kept",
                output.pointer()
            );
        }
        if !held.is_empty() {
            waiting.push(held.to_string());
        }
        Ok(waiting)
    }

    /// Notes how an item is and when it is looked at again.
    fn finish(&self, agenda: &mut Agenda, item: String, result: anyhow::Result<Settled>) {
        let now = Instant::now();
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
            let delay = backoff.next_delay(&self.rng);
            agenda.not_before.insert(item.clone(), now + SETTLE);
            (Some(delay), backoff.attempts())
        } else {
            agenda.backoffs.remove(&item);
            agenda.not_before.remove(&item);
            (again_in, 0)
        };
        self.tell(agenda, &item, ControllerStatus { state, reason, failures });
        if let Some(delay) = again_in {
            agenda.set_timer(item.clone(), now + delay.min(AGAIN_MAX));
        }
        if agenda.again.remove(&item) {
            agenda.push(item, now);
        }
    }

    /// Publishes the status of an item that waits or failed, and removes that of one that does no more.
    fn tell(&self, agenda: &mut Agenda, item: &str, status: ControllerStatus) {
        let owner = self.publisher.lock().owner();
        let (item, status) = match self.cycle.has_secret_ids() {
            true => {
                let shown = shown(item);
                let reason = status.reason.replace(item, &shown);
                (shown, ControllerStatus { reason, ..status })
            }
            false => (item.to_owned(), status),
        };
        let id = format!("{owner}/{item}");
        if status.state == ControllerState::Running {
            if agenda.reported.remove(&item).is_some() {
                // It stays as a leftover if somebody holds it, which nobody does.
                let _ = self.state.remove::<ControllerStatus>(OWNER, &id);
            }
            return;
        }
        let before = agenda.reported.insert(item.clone(), status.reason.clone());
        if status.state == ControllerState::Failed && before.as_ref() != Some(&status.reason) {
            tracing::warn!(controller = owner, item, reason = status.reason, "an item failed");
        }
        report(&self.state, &id, status);
    }
}

/// A secret id as people may see it: enough to tell it from others, too little to use it.
fn shown(item: &str) -> String {
    const SHOWN: usize = 8;
    item.chars().take(SHOWN).chain(['…']).collect()
}

/// How a plan ends, together with what publishing waits for.
fn outcome(changes: &Changes, waiting: &Reasons) -> Outcome {
    match changes.outcome() {
        Outcome::Failed(why) => Outcome::Failed(why),
        Outcome::Done if waiting.is_empty() => Outcome::Done,
        Outcome::Done => Outcome::Waiting(waiting.to_string()),
        Outcome::Waiting(what) if waiting.is_empty() => Outcome::Waiting(what),
        Outcome::Waiting(what) => Outcome::Waiting(format!("{what}; {waiting}")),
    }
}

/// Waits until woken or until the time comes.
async fn until(wake: &Wake, at: Option<Instant>) {
    let fired = std::pin::pin!(wake.fired());
    match at {
        None => fired.await,
        Some(at) => match select(fired, std::pin::pin!(tokio::time::sleep_until(at))).await {
            Either::Left(_) | Either::Right(_) => {}
        },
    }
}
