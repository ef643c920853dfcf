//! Changes that are decided and not kept yet.
//!
//! ```text
//! create, update, destroy ──decided on the newest head──▶ queue ──batch──▶ Backing ──kept──▶ items, history, watchers
//! ```
//!
//! Who writes sees the heads, everybody else what is kept. A change that cannot be kept never was: its head goes, and
//! with it every later change of the same resource.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot, watch};

use crate::metadata::Pointer;
use crate::resource::AnyResource;
use crate::store::{Change, StateError};

/// Changes that are handed to the backing at once.
const BATCH_MAX: usize = 1024;
/// Changes that wait; who wants to add one more to them waits until there is room.
pub const QUEUE_MAX: usize = 8192;

/// Told how it went.
pub type Ticket = oneshot::Receiver<Result<(), StateError>>;

/// A decided change.
pub struct Entry {
    number: u64,
    pub change: Change,
    done: oneshot::Sender<Result<(), StateError>>,
}

/// The newest decided state of a resource.
struct Head {
    number: u64,
    /// `None` when it is destroyed.
    resource: Option<AnyResource>,
}

/// The queue and the heads.
pub struct Pending {
    is_kept: fn(&str) -> bool,
    queue: VecDeque<Entry>,
    heads: BTreeMap<Pointer, Head>,
    decided: u64,
    settled: watch::Sender<u64>,
    wake: Arc<Notify>,
}

impl Pending {
    /// Nothing decided yet; `is_kept` says of a namespace whether its resources are to be kept.
    pub fn new(is_kept: fn(&str) -> bool) -> Self {
        Self {
            is_kept,
            queue: VecDeque::new(),
            heads: BTreeMap::new(),
            decided: 0,
            settled: watch::Sender::new(0),
            wake: Arc::default(),
        }
    }

    /// Fires when something was decided.
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Whether resources of the namespace are kept.
    pub fn keeps(&self, namespace: &str) -> bool {
        (self.is_kept)(namespace)
    }

    /// How many changes wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// The newest state of a resource with changes that wait; `None` when it has none.
    pub fn head(&self, pointer: &Pointer) -> Option<Option<&AnyResource>> {
        self.heads.get(pointer).map(|head| head.resource.as_ref())
    }

    /// The newest states of all resources of a type with changes that wait, by id.
    pub fn heads<'a>(
        &'a self,
        kind: &'a Pointer,
    ) -> impl Iterator<Item = (&'a str, Option<&'a AnyResource>)> + 'a {
        let first = Pointer::to_kind(&kind.namespace, &kind.kind);
        let is_same = |at: &&'a Pointer| at.namespace == kind.namespace && at.kind == kind.kind;
        let range = self.heads.range((Bound::Included(first), Bound::Unbounded));
        range
            .take_while(move |(at, _)| is_same(at))
            .map(|(at, head)| (at.id.as_str(), head.resource.as_ref()))
    }

    /// Decides a change.
    pub fn push(&mut self, change: Change) -> Option<Ticket> {
        let (pointer, resource) = outcome(&change)?;
        self.decided += 1;
        let (done, ticket) = oneshot::channel();
        self.heads.insert(pointer, Head { number: self.decided, resource });
        self.queue.push_back(Entry { number: self.decided, change, done });
        self.wake.notify_one();
        Some(ticket)
    }

    /// The next changes to keep, in order.
    pub fn take(&mut self) -> Vec<Entry> {
        let count = self.queue.len().min(BATCH_MAX);
        self.queue.drain(..count).collect()
    }

    /// Notes how a change went and gives it back when it was kept; the caller makes it visible and then tells.
    pub fn settle(&mut self, entry: Entry, result: Result<(), StateError>) -> Settled {
        let Entry { number, change, done } = entry;
        if let (Some((pointer, _)), true) = (outcome(&change), result.is_ok()) {
            if self.heads.get(&pointer).is_some_and(|head| head.number == number) {
                self.heads.remove(&pointer);
            }
        } else if let (Some((pointer, _)), Err(error)) = (outcome(&change), &result) {
            self.heads.remove(&pointer);
            self.refuse_later(&pointer, error);
        }
        Settled { change, result, done }
    }

    /// Refuses what was decided on a change that never was.
    fn refuse_later(&mut self, pointer: &Pointer, error: &StateError) {
        let (later, others) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|entry: &Entry| outcome(&entry.change).is_some_and(|(at, _)| at == *pointer));
        self.queue = others;
        let later: VecDeque<Entry> = later;
        for entry in later {
            let _ = entry.done.send(Err(error.clone()));
        }
    }

    /// Notes that a batch is settled: everything is that does not wait.
    pub fn batch_settled(&self) {
        let number = self.queue.front().map_or(self.decided, |entry| entry.number.saturating_sub(1));
        self.settled.send_modify(|settled| *settled = number);
    }

    /// Number of the newest change, and the numbers that are settled as they grow.
    pub fn progress(&self) -> (u64, watch::Receiver<u64>) {
        (self.decided, self.settled.subscribe())
    }
}

/// A change with its result; whoever waits for it is told when this is finished.
pub struct Settled {
    pub change: Change,
    pub result: Result<(), StateError>,
    done: oneshot::Sender<Result<(), StateError>>,
}

impl Settled {
    /// Tells whoever waits; nobody does where a controller wrote.
    pub fn tell(self) {
        let _ = self.done.send(self.result);
    }
}

/// Which resource a change is about, and what is there after it.
fn outcome(change: &Change) -> Option<(Pointer, Option<AnyResource>)> {
    match change {
        Change::Created(new) | Change::Updated { new, .. } => Some((new.pointer(), Some(new.clone()))),
        Change::Destroyed(old) => Some((old.pointer(), None)),
        Change::Bootstrapped | Change::Errored(_) | Change::Noop => None,
    }
}
