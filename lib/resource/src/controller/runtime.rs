//! Registration of controllers, and the runtime that runs them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corten_base::{Clock, Rng, Task};
use parking_lot::Mutex;

use super::declare::{Declared, Strength};
use super::driver::{Cycle, Driver, Driving, Transform, Transforming};
use super::graph::{Graph, RegistrationError, RegistrationErrors};
use super::index::{Feed, Index};
use super::item::{self, Concern, ItemCycle, ItemDriver, ItemTransform};
use super::item_runner::ItemRunner;
use super::outputs::Publisher;
use super::runner::{Runner, forget_others};
use super::wake::{Activity, Alarm, Interest, Wake};
use crate::memory::Listener;
use crate::metadata::Pointer;
use crate::resource::AnyResource;
use crate::state::State;

/// Controllers over a state. Register all, then start.
pub struct Runtime {
    state: State,
    clock: Clock,
    rng: Rng,
    graph: Graph,
    errors: Vec<RegistrationError>,
    runners: Vec<Prepared>,
    activity: Arc<Activity>,
    stopping: Arc<AtomicBool>,
}

/// A controller that is ready to run.
struct Prepared {
    name: &'static str,
    wake: Arc<Wake>,
    run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("controllers", &self.runners.len()).finish_non_exhaustive()
    }
}

impl Runtime {
    /// A runtime without controllers, on the clock of the state and the kernel's randomness.
    #[must_use]
    pub fn new(state: State) -> Self {
        let clock = state.store().clock().clone();
        Self::with_rng(state, clock, Rng::kernel())
    }

    /// A runtime without controllers on a given clock and randomness.
    #[must_use]
    pub fn with_rng(state: State, clock: Clock, rng: Rng) -> Self {
        Self {
            state,
            clock,
            rng,
            graph: Graph::default(),
            errors: Vec::new(),
            runners: Vec::new(),
            activity: Arc::default(),
            stopping: Arc::default(),
        }
    }

    /// The state that the controllers work on.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Registers a controller with effects. Conflicts come out at the start.
    pub fn register<D: Driver>(&mut self, driver: D) -> &mut Self {
        self.add::<D>(Box::new(Driving { driver, ops: Vec::new() }))
    }

    /// Registers a controller without effects. Conflicts come out at the start.
    pub fn register_transform<T: Transform>(&mut self, transform: T) -> &mut Self {
        self.add::<T>(Box::new(Transforming(transform)))
    }

    /// Registers a controller with effects over items. Conflicts come out at the start.
    pub fn register_items<D: ItemDriver>(&mut self, driver: D) -> &mut Self {
        self.add_items::<D>(Box::new(item::Driving(driver)), D::concern, |_| Duration::ZERO)
    }

    /// Registers a controller without effects over items. Conflicts come out at the start.
    pub fn register_item_transform<T: ItemTransform>(&mut self, transform: T) -> &mut Self {
        self.add_items::<T>(Box::new(item::Transforming(transform)), T::concern, T::patience)
    }

    /// Notes what a controller declares, and what it must be woken for.
    fn declare<C: Declared>(&mut self) -> Vec<(Pointer, Interest)> {
        self.errors.extend(self.graph.add(C::NAME, C::INPUTS, C::OUTPUTS));
        let inputs = C::INPUTS.iter().map(|input| input.definition.kind);
        for resource_type in inputs.chain(C::OUTPUTS.iter().map(|output| output.definition.kind)) {
            if self.state.registry().get(resource_type).is_none() {
                self.errors.push(RegistrationError::Unknown { controller: C::NAME, resource_type });
            }
        }
        let inputs = C::INPUTS.iter().map(|input| {
            let is_end = input.strength == Strength::DestroyReady;
            let interest = if is_end { Interest::DestroyReady } else { Interest::Any };
            (Pointer::to_kind(input.namespace, input.definition.kind), interest)
        });
        let outputs = C::OUTPUTS.iter().map(|output| {
            (Pointer::to_kind(output.namespace, output.definition.kind), Interest::Own(C::NAME))
        });
        inputs.chain(outputs).collect()
    }

    fn add<C: Declared>(&mut self, cycle: Box<dyn Cycle>) -> &mut Self {
        let wake = Arc::new(Wake::new(Arc::clone(&self.activity)));
        let interests = self.declare::<C>();
        let alarms =
            interests.into_iter().map(|(kind, interest)| self.alarm(&kind, interest, &wake)).collect();
        let runner = Runner {
            cycle,
            inputs: C::INPUTS,
            publisher: Publisher::new(self.state.clone(), C::NAME, C::OUTPUTS),
            wake: Arc::clone(&wake),
            _alarms: alarms,
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            stopping: Arc::clone(&self.stopping),
        };
        self.runners.push(Prepared { name: C::NAME, wake, run: Box::pin(runner.run()) });
        self
    }

    fn add_items<C: Declared>(
        &mut self,
        cycle: Box<dyn ItemCycle>,
        concern: fn(&AnyResource) -> Concern,
        patience: fn(&AnyResource) -> Duration,
    ) -> &mut Self {
        let wake = Arc::new(Wake::new(Arc::clone(&self.activity)));
        let index = Arc::new(Mutex::new(Index::new()));
        let interests = self.declare::<C>();
        let feed = |(kind, interest): (Pointer, Interest)| {
            let (index, wake) = (Arc::clone(&index), Arc::clone(&wake));
            let feed: Arc<dyn Listener> =
                Arc::new(Feed { index, wake, kind: kind.clone(), interest, concern, patience });
            self.state.store().listen_from_now(&kind, &feed);
            feed
        };
        let feeds = interests.into_iter().map(feed).collect();
        let runner = ItemRunner {
            cycle,
            concern,
            inputs: C::INPUTS,
            state: self.state.clone(),
            publisher: Mutex::new(Publisher::new(self.state.clone(), C::NAME, C::OUTPUTS)),
            index,
            wake: Arc::clone(&wake),
            _feeds: feeds,
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            stopping: Arc::clone(&self.stopping),
        };
        self.runners.push(Prepared { name: C::NAME, wake, run: Box::pin(runner.run()) });
        self
    }

    fn alarm(&self, kind: &Pointer, interest: Interest, wake: &Arc<Wake>) -> Arc<Alarm> {
        let alarm = Arc::new(Alarm { wake: Arc::clone(wake), interest });
        let weak = Arc::downgrade(&alarm);
        self.state.store().listen(kind, weak as std::sync::Weak<dyn Listener>);
        alarm
    }

    /// Who reads and writes what.
    #[must_use]
    pub const fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Whether the registered controllers go together.
    ///
    /// # Errors
    /// All conflicts, none left out.
    pub fn check(&self) -> Result<(), RegistrationErrors> {
        if self.errors.is_empty() { Ok(()) } else { Err(RegistrationErrors(self.errors.clone())) }
    }

    /// Starts all controllers, each as a task of the current Tokio runtime.
    ///
    /// # Errors
    /// When the registered controllers do not go together.
    pub fn start(self) -> Result<RunningRuntime, RegistrationErrors> {
        self.check()?;
        forget_others(&self.state, &self.graph);
        let wakes: Vec<Arc<Wake>> = self.runners.iter().map(|runner| Arc::clone(&runner.wake)).collect();
        for wake in &wakes {
            wake.fire();
        }
        let tasks =
            self.runners.into_iter().map(|runner| corten_base::spawn(runner.name, runner.run)).collect();
        Ok(RunningRuntime {
            tasks,
            wakes,
            graph: self.graph,
            activity: self.activity,
            stopping: self.stopping,
        })
    }
}

/// Controllers at work; dropping it aborts them.
#[must_use = "dropping a running runtime aborts its controllers"]
pub struct RunningRuntime {
    tasks: Vec<Task>,
    wakes: Vec<Arc<Wake>>,
    graph: Graph,
    activity: Arc<Activity>,
    stopping: Arc<AtomicBool>,
}

impl std::fmt::Debug for RunningRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningRuntime").field("controllers", &self.tasks.len()).finish_non_exhaustive()
    }
}

impl RunningRuntime {
    /// Who reads and writes what.
    #[must_use]
    pub const fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Waits until no controller has anything to do; those that wait for a time to come do not count.
    pub async fn quiet(&self) {
        self.activity.quiet().await;
    }

    /// Lets every controller finish what it is doing, then stops it.
    pub async fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        for wake in &self.wakes {
            wake.fire();
        }
        for task in self.tasks {
            task.join().await;
        }
    }
}
