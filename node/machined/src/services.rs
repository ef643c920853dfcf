//! The service manager: runs what `ServiceSpec` resources say and tells the world how it goes.
//!
//!     ServiceSpec + Environment + gate + API holds + demand ──▶ one loop per service (life.rs) ──▶ backend
//!                                                │
//!                                                └──▶ history, Services.v1alpha1, ServicePIDs, ServiceStateEvent
//!
//! A service that runs already with the wanted revision is adopted, so that a new machined changes nothing.

pub mod backend;
mod demand;
mod environment;
pub mod gate;
mod health;
mod life;
mod record;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Clock, Rng, Task, spawn};
use corten_resource::State;
use corten_resources::runtime::Environment;
use corten_resources::service::{ServiceDemand, ServiceSpec};
use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::backend::Backends;
pub use self::demand::{DemandError, Lease};
use self::gate::{Gate, Openness};
pub use self::record::{Record, ServiceState};
use crate::events::Events;

/// Time a service gets between its stop signal and the end.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// Handle to all services of the machine.
#[derive(Clone)]
pub struct Services(Arc<Inner>);

struct Inner {
    entries: Mutex<BTreeMap<String, Entry>>,
    context: Context,
    changed: watch::Sender<u64>,
    uses: demand::Uses,
}

/// What every service loop works with.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) state: State,
    pub(crate) events: Events,
    pub(crate) backends: Backends,
    pub(crate) gate: Gate,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
}

struct Entry {
    record: Arc<Mutex<Record>>,
    wish: watch::Sender<Wish>,
    _life: Option<Task>,
}

/// What should be true of one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wish {
    /// What to run; `None` when nobody wants the service any more.
    pub(crate) spec: Option<ServiceSpec>,
    /// Somebody needs it, which matters for a service that runs on demand.
    pub(crate) demanded: bool,
    /// The API stopped it.
    pub(crate) held: bool,
    /// Grows with each restart that the API asks for.
    pub(crate) restarts: u64,
}

/// An API call that the service does not take.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ControlError {
    /// No such service.
    #[error("service \"{0}\" not defined")]
    Unknown(String),
    /// The service belongs to the machine.
    #[error("service \"{service}\" doesn't support {operation} operation via API")]
    NotSupported {
        /// Service.
        service: String,
        /// `start`, `stop` or `restart`.
        operation: &'static str,
    },
}

impl Services {
    /// A manager over these parts, with no services yet.
    #[must_use]
    pub fn new(state: State, events: Events, backends: Backends, clock: Clock, rng: Rng) -> Self {
        let gate = Gate::new(state.clone());
        let context = Context { state, events, backends, gate, clock, rng };
        let (changed, _) = watch::channel(0);
        Self(Arc::new(Inner { entries: Mutex::default(), context, changed, uses: demand::Uses::default() }))
    }

    /// Follows the specifications for ever.
    pub async fn run(self) {
        let _demand = spawn("service demand", self.clone().keep_demand());
        let mut specs = self.0.context.state.watch::<ServiceSpec>();
        let mut environment = self.0.context.state.watch::<Environment>();
        let mut gate = self.0.context.gate.subscribe();
        loop {
            self.take_specs();
            tokio::select! {
                // All are level-triggered: a cancelled wait loses nothing, the next round reads all again.
                _ = specs.next_batch() => {}
                _ = environment.next_batch() => {}
                _ = gate.changed() => {}
            }
        }
    }

    /// Tells every service what is wished of it now.
    fn take_specs(&self) {
        self.adopt_demand();
        let state = &self.0.context.state;
        let environment =
            state.get::<Environment>(Environment::ID).map(|environment| environment.spec.variables);
        let variables = environment.unwrap_or_default();
        let specs: BTreeMap<String, ServiceSpec> = state
            .list::<ServiceSpec>()
            .into_iter()
            .map(|resource| (resource.metadata.id.clone(), environment::with(resource.spec, &variables)))
            .collect();
        let demands = self.0.context.state.list::<ServiceDemand>();
        let mut entries = self.0.entries.lock();
        for id in specs.keys() {
            if !entries.contains_key(id) {
                entries.insert(id.clone(), self.begin(id));
            }
        }
        for (id, entry) in entries.iter() {
            let spec = specs.get(id).cloned();
            let demanded = demands.iter().any(|demand| demand.metadata.id == *id);
            entry.wish.send_if_modified(|wish| {
                let modified = wish.spec != spec || wish.demanded != demanded;
                (wish.spec, wish.demanded) = (spec, demanded);
                modified
            });
        }
    }

    fn begin(&self, id: &str) -> Entry {
        let record = Arc::new(Mutex::new(Record::new(self.0.context.clock.now())));
        let (wish, wishes) = watch::channel(Wish::default());
        let life = life::Life::new(
            id.to_owned(),
            self.0.context.clone(),
            record.clone(),
            wishes,
            self.0.changed.clone(),
        );
        Entry { record, wish, _life: Some(spawn("service", life.run())) }
    }

    /// A service that is part of machined itself: it runs as long as we do.
    pub fn builtin(&self, id: &str) {
        let record = Arc::new(Mutex::new(Record::new(self.0.context.clock.now())));
        let context = &self.0.context;
        record::publish(context, id, &record, ServiceState::Running, "Service started as goroutine");
        record::publish_health(context, id, &record, Some(true), "");
        record::publish_pid(context, id, Some(std::process::id()));
        let (wish, _) = watch::channel(Wish::default());
        self.0.entries.lock().insert(id.to_owned(), Entry { record, wish, _life: None });
        self.0.changed.send_modify(|count| *count += 1);
    }

    fn record(&self, id: &str) -> Option<Record> {
        self.0.entries.lock().get(id).map(|entry| entry.record.lock().clone())
    }

    /// All services and how they are.
    #[must_use]
    pub fn list(&self) -> Vec<(String, Record)> {
        self.0.entries.lock().iter().map(|(id, entry)| (id.clone(), entry.record.lock().clone())).collect()
    }

    /// Opens or closes the gate for services of the boot sequence.
    pub fn set_gate(&self, openness: Openness) {
        self.0.context.gate.set(openness);
    }

    /// Waits until `done` says so of all services.
    pub async fn wait_until(&self, mut done: impl FnMut(&[(String, Record)]) -> bool) {
        let mut changed = self.0.changed.subscribe();
        while !done(&self.list()) {
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Stops one service, whoever owns it, and waits until it is down.
    pub async fn stop(&self, id: &str) {
        if let Some(entry) = self.0.entries.lock().get(id) {
            entry.wish.send_modify(|wish| wish.held = true);
        }
        self.wait_until(|list| list.iter().all(|(name, record)| name != id || !record.state.is_up())).await;
    }

    /// Starts a service through the API.
    ///
    /// # Errors
    /// When it is unknown or not to be controlled through the API.
    pub fn api_start(&self, id: &str) -> Result<String, ControlError> {
        self.control(id, "start", |wish| wish.held = false)?;
        Ok(format!("Service {id} started"))
    }

    /// Restarts a service through the API; a stopped one is started.
    ///
    /// # Errors
    /// When it is unknown or not to be controlled through the API.
    pub fn api_restart(&self, id: &str) -> Result<String, ControlError> {
        self.control(id, "restart", |wish| {
            wish.held = false;
            wish.restarts += 1;
        })?;
        Ok(format!("Service {id} restarted"))
    }

    /// Stops a service through the API: extension services alone allow it.
    ///
    /// # Errors
    /// When it is unknown or not to be controlled through the API.
    pub fn api_stop(&self, id: &str) -> Result<String, ControlError> {
        if !id.starts_with("ext-") {
            self.control(id, "stop", |_| {})?;
            return Err(ControlError::NotSupported { service: id.to_owned(), operation: "stop" });
        }
        self.control(id, "stop", |wish| wish.held = true)?;
        Ok(format!("Service {id} stopped"))
    }

    fn control(
        &self,
        id: &str,
        operation: &'static str,
        change: impl FnOnce(&mut Wish),
    ) -> Result<(), ControlError> {
        let entries = self.0.entries.lock();
        let entry = entries.get(id).ok_or_else(|| ControlError::Unknown(id.to_owned()))?;
        let allowed = entry.wish.borrow().spec.as_ref().is_some_and(|spec| spec.control);
        if !allowed {
            return Err(ControlError::NotSupported { service: id.to_owned(), operation });
        }
        entry.wish.send_modify(change);
        Ok(())
    }
}
