//! Controllers over one item at a time, for types with thousands of resources.
//!
//! An item is named by an id. What concerns it (the resource of that id, others that name it) is all its plan sees, and a
//! change wakes the items that it concerns, nobody else. The runtime holds the strong inputs of an item for as long as
//! the controller works for it, and lets go of one in teardown when the plan wants nothing of the world any more and the
//! outputs that it does not want are gone.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::declare::Declared;
use super::driver::Step;
use super::plan::{Changes, Never, Plan};
use super::view::{Snapshot, View};
use crate::resource::AnyResource;

/// Which items a resource concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concern {
    /// None.
    Nobody,
    /// One.
    Item(String),
    /// Several.
    Items(Vec<String>),
    /// Every item, as a setting does.
    Everybody,
}

impl Concern {
    /// The item with the id of the resource.
    #[must_use]
    pub fn by_id(resource: &AnyResource) -> Self {
        Self::Item(resource.id().to_owned())
    }

    /// The item that a label names, if the resource has it.
    #[must_use]
    pub fn by_label(resource: &AnyResource, key: &str) -> Self {
        let item = resource.metadata().labels.get(key);
        item.map_or(Self::Nobody, |item| Self::Item(item.clone()))
    }
}

/// A controller without effects that plans one item at a time.
pub trait ItemTransform: Declared + Sync + Sized {
    /// Whether ids of items are secrets, which logs and reasons show in part only.
    const HAS_SECRET_IDS: bool = false;

    /// Which items an input or an output concerns; an output concerns the one item that it is put for.
    #[must_use]
    fn concern(resource: &AnyResource) -> Concern;

    /// How long a change of a resource may wait, so that one look takes in many; for inputs of which thousands concern one
    /// item.
    #[must_use]
    fn patience(_: &AnyResource) -> Duration {
        Duration::ZERO
    }

    /// Decides about one item, from what concerns it. Its outputs that are not put again are removed, unless the plan has
    /// a problem or is unfinished.
    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self>;
}

/// A controller with effects that observes, plans and applies one item at a time, several items side by side.
pub trait ItemDriver: Declared + Sync + Sized {
    /// What it sees of the world around an item.
    type Observed: Send + Sync;
    /// What it may do to the world.
    type Op: Send;
    /// Items that are worked on side by side.
    const PARALLEL: usize = 16;
    /// How long the work on one item may take.
    const LIMIT: Duration = Duration::from_secs(300);
    /// Whether ids of items are secrets, which logs and reasons show in part only.
    const HAS_SECRET_IDS: bool = false;

    /// Which items an input or an output concerns; an output concerns the one item that it is put for.
    #[must_use]
    fn concern(resource: &AnyResource) -> Concern;

    /// Looks at the world around an item; changes nothing.
    fn observe(
        &self,
        item: &str,
        view: &View<Self>,
    ) -> impl Future<Output = anyhow::Result<Self::Observed>> + Send;

    /// Decides about one item, from what concerns it and the observation alone.
    fn plan(&self, item: &str, view: &View<Self>, observed: &Self::Observed) -> Plan<Self, Self::Op>;

    /// Does one operation for an item. The first that fails is the last of its plan.
    fn apply(&self, item: &str, op: Self::Op) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// A plan with its operations, which begin when they are awaited.
pub type Planned<'a> = (Changes, Vec<Step<'a, anyhow::Result<()>>>);

/// A controller over items without its types.
pub trait ItemCycle: Send + Sync {
    /// Items that are worked on side by side.
    fn parallel(&self) -> usize;
    /// How long the work on one item may take.
    fn limit(&self) -> Duration;
    /// Whether ids of items are secrets.
    fn has_secret_ids(&self) -> bool;
    /// Observes and plans one item.
    fn plan<'a>(&'a self, item: &'a str, snapshot: Arc<Snapshot>) -> Step<'a, anyhow::Result<Planned<'a>>>;
}

pub struct Transforming<T>(pub T);

impl<T: ItemTransform> ItemCycle for Transforming<T> {
    fn parallel(&self) -> usize {
        // Nothing is waited for but the store, which keeps the changes of many items at once.
        256
    }
    fn limit(&self) -> Duration {
        Duration::from_secs(60)
    }
    fn has_secret_ids(&self) -> bool {
        T::HAS_SECRET_IDS
    }
    fn plan<'a>(&'a self, item: &'a str, snapshot: Arc<Snapshot>) -> Step<'a, anyhow::Result<Planned<'a>>> {
        Box::pin(async move {
            let (changes, _): (Changes, Vec<Never>) = self.0.plan(item, &View::new(snapshot)).into_parts();
            Ok((changes, Vec::new()))
        })
    }
}

pub struct Driving<D>(pub D);

impl<D: ItemDriver> ItemCycle for Driving<D> {
    fn parallel(&self) -> usize {
        D::PARALLEL
    }
    fn limit(&self) -> Duration {
        D::LIMIT
    }
    fn has_secret_ids(&self) -> bool {
        D::HAS_SECRET_IDS
    }
    fn plan<'a>(&'a self, item: &'a str, snapshot: Arc<Snapshot>) -> Step<'a, anyhow::Result<Planned<'a>>> {
        Box::pin(async move {
            let view = View::new(snapshot);
            let observed = self.0.observe(item, &view).await?;
            let (changes, ops) = self.0.plan(item, &view, &observed).into_parts();
            let begun = |op| Box::pin(self.0.apply(item, op)) as Step<'a, anyhow::Result<()>>;
            Ok((changes, ops.into_iter().map(begun).collect()))
        })
    }
}
