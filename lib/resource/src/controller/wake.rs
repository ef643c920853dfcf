//! Waking of controllers: events without content that coalesce, and a count of who is awake.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, watch};

use crate::memory::Listener;
use crate::resource::AnyResource;
use crate::store::Change;

/// How many controllers are awake or about to be; tests wait until it is zero.
#[derive(Debug)]
pub struct Activity(watch::Sender<usize>);

impl Default for Activity {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Activity {
    fn begin(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    fn end(&self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }

    /// Waits until nobody is awake.
    pub async fn quiet(&self) {
        let mut count = self.0.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        let _ = count.wait_for(|count| *count == 0).await;
    }
}

/// The alarm of one controller.
#[derive(Debug, Default)]
pub struct Wake {
    pending: AtomicBool,
    notify: Notify,
    activity: Arc<Activity>,
}

impl Wake {
    pub fn new(activity: Arc<Activity>) -> Self {
        Self { activity, ..Self::default() }
    }

    /// Wakes the controller, now or when it goes to sleep.
    pub fn fire(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.activity.begin();
            self.notify.notify_one();
        }
    }

    /// Sleeps until somebody fires.
    pub async fn fired(&self) {
        while !self.pending.load(Ordering::Acquire) {
            self.notify.notified().await;
        }
    }

    /// Marks the begin of a cycle: what fires from now on asks for another one.
    pub fn begin(&self) {
        if !self.pending.swap(false, Ordering::AcqRel) {
            self.activity.begin();
        }
    }

    /// Marks the end of a cycle.
    pub fn end(&self) {
        self.activity.end();
    }
}

/// Which changes of a type wake a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Each that changes more than who holds it.
    Any,
    /// When a resource is gone or may be destroyed.
    DestroyReady,
    /// When one of its own resources may be destroyed.
    Own(&'static str),
}

/// Whether only the holders of a running resource changed, which concerns nobody who reads it.
fn is_hold(new: &AnyResource, old: &AnyResource) -> bool {
    let (is, was) = (new.metadata(), old.metadata());
    let is_held_otherwise = is.finalizers != was.finalizers && !is.is_tearing_down();
    is_held_otherwise && is.labels == was.labels && is.annotations == was.annotations && new.same_spec(old)
}

/// The store's end of an alarm.
#[derive(Debug)]
pub struct Alarm {
    pub wake: Arc<Wake>,
    pub interest: Interest,
}

impl Interest {
    /// Whether a change is to wake the controller.
    pub fn matches(self, change: &Change) -> bool {
        match (self, change) {
            (Self::Any, Change::Updated { new, old }) => !is_hold(new, old),
            (Self::Any, _) | (Self::DestroyReady, Change::Destroyed(_)) => true,
            (Self::DestroyReady, Change::Updated { new, .. }) => new.metadata().is_destroy_ready(),
            (Self::Own(_), Change::Updated { new, .. }) => {
                self.covers(new) && new.metadata().is_destroy_ready()
            }
            _ => false,
        }
    }

    /// Whether it is about such a resource at all.
    pub fn covers(self, resource: &AnyResource) -> bool {
        match self {
            Self::Own(owner) => resource.metadata().owner == owner,
            _ => true,
        }
    }
}

impl Listener for Alarm {
    fn changed(&self, change: &Change) {
        if self.interest.matches(change) {
            self.wake.fire();
        }
    }

    fn refused(&self, _: &Change) {
        self.wake.fire();
    }
}
