//! Controllers over one item at a time, for types with thousands of resources.
//!
//! An item is named by an id. What concerns it (the resource of that id, others that name it) is all its plan sees, and a
//! change wakes the items that it concerns, nobody else.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use super::declare::{Declared, Reads};
use super::driver::Step;
use super::plan::{Changes, Never, Plan};
use super::view::{Snapshot, View};
use crate::resource::{AnyResource, Spec};

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
    /// The item that a label names, if the resource has it.
    #[must_use]
    pub fn label(resource: &AnyResource, key: &str) -> Self {
        let item = resource.metadata().labels.get(key);
        item.map_or(Self::Nobody, |item| Self::Item(item.clone()))
    }
}

/// A controller without effects that plans one item at a time.
pub trait Map: Declared + Sync + Sized {
    /// The items.
    type Item: Spec;

    /// Which items an input or an output concerns: the one with its id, unless said otherwise.
    #[must_use]
    fn concern(resource: &AnyResource) -> Concern {
        Concern::Item(resource.id().to_owned())
    }

    /// Decides about one item, from what concerns it. Its outputs that are not put again are removed; of an item that is
    /// gone nothing is put.
    fn plan(&self, id: &str, view: &View<Self>) -> Plan<Self>
    where
        Self: Reads<Self::Item>;
}

/// A controller with effects that observes, plans and applies one item at a time, several items side by side.
pub trait Keyed: Declared + Sync + Sized {
    /// The items.
    type Item: Spec;
    /// What it sees of the world around an item.
    type Observed: Send + Sync;
    /// What it may do to the world.
    type Op: Send + 'static;
    /// Items that are worked on side by side.
    const PARALLEL: usize = 16;

    /// Which items an input or an output concerns: the one with its id, unless said otherwise.
    #[must_use]
    fn concern(resource: &AnyResource) -> Concern {
        Concern::Item(resource.id().to_owned())
    }

    /// Looks at the world around an item; changes nothing.
    fn observe(
        &self,
        id: &str,
        view: &View<Self>,
    ) -> impl Future<Output = anyhow::Result<Self::Observed>> + Send;

    /// Decides about one item, from what concerns it and the observation alone.
    fn plan(&self, id: &str, view: &View<Self>, observed: &Self::Observed) -> Plan<Self, Self::Op>
    where
        Self: Reads<Self::Item>;

    /// Does one operation for an item.
    fn apply(&self, id: &str, op: Self::Op) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Operations of one item between plan and apply.
pub type Ops = Vec<Box<dyn Any + Send>>;

/// A controller over items without its types.
pub trait ItemCycle: Send + Sync {
    /// Items that are worked on side by side.
    fn parallel(&self) -> usize;
    /// Observes and plans one item.
    fn plan<'a>(&'a self, id: &'a str, snapshot: Arc<Snapshot>) -> Step<'a, anyhow::Result<(Changes, Ops)>>;
    /// Applies the operations of a plan, all of them; the errors come out.
    fn apply<'a>(&'a self, id: &'a str, ops: Ops) -> Step<'a, Vec<anyhow::Error>>;
}

pub struct Mapping<M>(pub M);

impl<M: Map + Reads<M::Item>> ItemCycle for Mapping<M> {
    fn parallel(&self) -> usize {
        1
    }
    fn plan<'a>(&'a self, id: &'a str, snapshot: Arc<Snapshot>) -> Step<'a, anyhow::Result<(Changes, Ops)>> {
        Box::pin(async move {
            let (changes, _): (Changes, Vec<Never>) = self.0.plan(id, &View::new(snapshot)).into_parts();
            Ok((changes, Ops::new()))
        })
    }
    fn apply<'a>(&'a self, _: &'a str, _: Ops) -> Step<'a, Vec<anyhow::Error>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

pub struct Keying<K>(pub K);

impl<K: Keyed + Reads<K::Item>> ItemCycle for Keying<K> {
    fn parallel(&self) -> usize {
        K::PARALLEL
    }
    fn plan<'a>(&'a self, id: &'a str, snapshot: Arc<Snapshot>) -> Step<'a, anyhow::Result<(Changes, Ops)>> {
        Box::pin(async move {
            let view = View::new(snapshot);
            let observed = self.0.observe(id, &view).await?;
            let (changes, ops) = self.0.plan(id, &view, &observed).into_parts();
            Ok((changes, ops.into_iter().map(|op| Box::new(op) as Box<dyn Any + Send>).collect()))
        })
    }
    fn apply<'a>(&'a self, id: &'a str, ops: Ops) -> Step<'a, Vec<anyhow::Error>> {
        Box::pin(async move {
            let mut errors = Vec::new();
            for op in ops.into_iter().filter_map(|op| op.downcast::<K::Op>().ok()) {
                errors.extend(self.0.apply(id, *op).await.err());
            }
            errors
        })
    }
}
