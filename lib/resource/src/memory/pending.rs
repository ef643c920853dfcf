//! Changes that are decided and not kept yet.
//!
//! ```text
//! create, update, destroy ──decided on the newest head──▶ queue ──batch──▶ Backing ──kept──▶ items, history, watchers
//! ```
//!
//! Who writes sees the heads, everybody else what is kept. A change that cannot be kept never was: its head goes, and
//! with it every later change of the same resource.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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

/// What a store without a keeper answers.
pub const CLOSED: &str = "the store is closed: the program ends, or its writer has failed";

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
    is_closed: bool,
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
            is_closed: false,
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
    pub fn push(&mut self, change: Change) -> Result<Ticket, StateError> {
        if self.is_closed {
            return Err(StateError::Unavailable(CLOSED.to_owned()));
        }
        self.decided += 1;
        let (done, ticket) = oneshot::channel();
        if let Some((pointer, resource)) = outcome(&change) {
            self.heads.insert(pointer, Head { number: self.decided, resource });
        }
        self.queue.push_back(Entry { number: self.decided, change, done });
        self.wake.notify_one();
        Ok(ticket)
    }

    /// The next changes to keep, in order.
    pub fn take(&mut self) -> Vec<Entry> {
        let count = self.queue.len().min(BATCH_MAX);
        self.queue.drain(..count).collect()
    }

    /// Notes that a change is kept.
    pub fn kept(&mut self, entry: &Entry) {
        if let Some((pointer, _)) = outcome(&entry.change)
            && self.heads.get(&pointer).is_some_and(|head| head.number == entry.number)
        {
            self.heads.remove(&pointer);
        }
    }

    /// Forgets what was decided on changes that never were; it comes out.
    pub fn refuse(&mut self, refused: &BTreeSet<Pointer>) -> Vec<Entry> {
        for pointer in refused {
            self.heads.remove(pointer);
        }
        let is_refused = |entry: &Entry| {
            entry.change.resource().is_some_and(|resource| refused.contains(&resource.pointer()))
        };
        let (later, others): (Vec<Entry>, Vec<Entry>) =
            std::mem::take(&mut self.queue).into_iter().partition(is_refused);
        self.queue = others.into();
        later
    }

    /// Takes nothing any more and gives back what waits.
    pub fn close(&mut self) -> Vec<Entry> {
        self.is_closed = true;
        self.heads.clear();
        self.queue.drain(..).collect()
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

impl Entry {
    /// Tells whoever waits; nobody does where a controller wrote.
    pub fn tell(self, result: Result<(), StateError>) {
        let _ = self.done.send(result);
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
