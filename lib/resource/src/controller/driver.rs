//! The two kinds of controllers, and what the runtime sees of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::declare::Declared;
use super::plan::{Changes, Never, Plan};
use super::source::Source;
use super::view::{Snapshot, View};

/// A controller without effects: resources in, resources out.
pub trait Transform: Declared + Sized {
    /// Decides, from the view alone.
    fn plan(&self, view: &View<Self>) -> Plan<Self>;
}

/// A controller with effects.
///
/// The runtime observes, plans, applies every operation, then observes and plans again until the plan has no
/// operation. Only then are the outputs published, so that a status says what was observed.
pub trait Driver: Declared + Sized {
    /// What it sees of the world.
    type Observed: Send + Sync;
    /// What it may do to the world.
    type Op: Send;
    /// How long it rests after a look, whatever changes meanwhile; for one whose look takes in all of thousands of
    /// resources, each of which changes.
    const PACE: Duration = Duration::ZERO;

    /// Looks at the world; changes nothing.
    fn observe(&mut self, view: &View<Self>) -> impl Future<Output = anyhow::Result<Self::Observed>> + Send;

    /// Decides, from the view and the observation alone.
    fn plan(&self, view: &View<Self>, observed: &Self::Observed) -> Plan<Self, Self::Op>;

    /// Does one operation.
    fn apply(&mut self, op: Self::Op) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// What listens to the world for as long as the controller is registered.
    fn sources(&mut self) -> Vec<Source> {
        Vec::new()
    }
}

pub type Step<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A controller without its types.
pub trait Cycle: Send {
    /// Observes and plans; the operations stay inside, their number comes out.
    fn plan(&mut self, snapshot: Arc<Snapshot>) -> Step<'_, anyhow::Result<(Changes, usize)>>;
    /// Applies the operations of the last plan, all of them; the errors come out.
    fn apply(&mut self) -> Step<'_, Vec<anyhow::Error>>;
    /// Its listeners.
    fn sources(&mut self) -> Vec<Source>;
    /// How long it rests after a look.
    fn pace(&self) -> Duration;
}

pub struct Transforming<T>(pub T);

impl<T: Transform> Cycle for Transforming<T> {
    fn plan(&mut self, snapshot: Arc<Snapshot>) -> Step<'_, anyhow::Result<(Changes, usize)>> {
        let (changes, _): (Changes, Vec<Never>) = self.0.plan(&View::new(snapshot)).into_parts();
        Box::pin(std::future::ready(Ok((changes, 0))))
    }
    fn apply(&mut self) -> Step<'_, Vec<anyhow::Error>> {
        Box::pin(std::future::ready(Vec::new()))
    }
    fn sources(&mut self) -> Vec<Source> {
        Vec::new()
    }
    fn pace(&self) -> Duration {
        Duration::ZERO
    }
}

pub struct Driving<D: Driver> {
    pub driver: D,
    pub ops: Vec<D::Op>,
}

impl<D: Driver> Cycle for Driving<D> {
    fn plan(&mut self, snapshot: Arc<Snapshot>) -> Step<'_, anyhow::Result<(Changes, usize)>> {
        Box::pin(async move {
            let view = View::new(snapshot);
            let observed = self.driver.observe(&view).await?;
            let (changes, ops) = self.driver.plan(&view, &observed).into_parts();
            self.ops = ops;
            Ok((changes, self.ops.len()))
        })
    }
    fn apply(&mut self) -> Step<'_, Vec<anyhow::Error>> {
        Box::pin(async move {
            let mut errors = Vec::new();
            for op in std::mem::take(&mut self.ops) {
                errors.extend(self.driver.apply(op).await.err());
            }
            errors
        })
    }
    fn sources(&mut self) -> Vec<Source> {
        self.driver.sources()
    }
    fn pace(&self) -> Duration {
        D::PACE
    }
}
