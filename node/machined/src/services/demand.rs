//! Demand for services that run only while they are used.
//!
//!     API call ─▶ Lease ─▶ ServiceDemand ─▶ life.rs: wanted
//!     last lease let go ─▶ idle time ─▶ does anything else use it? ─no─▶ ServiceDemand removed ─▶ life.rs: not wanted
//!
//! The resource alone says whether such a service is wanted. It is journalled: a new machined ends what its predecessor
//! started. Leases end with the machined that gave them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use corten_base::chain;
use corten_resource::StateError;
use corten_resources::service::{HealthProbe, OnDemand, ServiceDemand, ServiceSpec, UseProbe};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Services;
use super::record::ServiceState;

const OWNER: &str = "services";
/// How long a service gets to come up.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a service gets to say whether it is used.
const PROBE_MAX: Duration = Duration::from_secs(10);

/// A use of a service, which runs as long as this is held, and its idle time longer.
#[must_use = "the service may stop when the lease is dropped"]
pub struct Lease {
    services: Services,
    id: String,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.services.end_use(&self.id);
    }
}

/// A service that is needed but cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DemandError {
    /// No such service.
    #[error("service \"{0}\" not defined")]
    Unknown(String),
    /// The demand was not taken down.
    #[error("the demand for service \"{service}\" cannot be recorded")]
    Record {
        /// Service.
        service: String,
        /// Why.
        #[source]
        source: StateError,
    },
    /// It did not come up.
    #[error("service \"{service}\" is not up after {limit:?}: {last}; see `logs {service}`")]
    NotUp {
        /// Service.
        service: String,
        /// Time that it had.
        limit: Duration,
        /// Its last message.
        last: String,
    },
}

/// Who uses one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// So many leases.
    By(u32),
    /// No lease any more; the idle time ends then.
    Until(Instant),
}

impl Use {
    const fn begun(before: Option<Self>) -> Self {
        match before {
            Some(Self::By(leases)) => Self::By(leases.saturating_add(1)),
            _ => Self::By(1),
        }
    }

    const fn ended(self, until: Instant) -> Self {
        match self {
            Self::By(leases) if leases > 1 => Self::By(leases - 1),
            _ => Self::Until(until),
        }
    }

    fn is_over(self, now: Instant) -> bool {
        matches!(self, Self::Until(until) if until <= now)
    }
}

/// What is left of the idle time of a service that a predecessor of this machined started.
fn left(idle_time: Duration, idle_since: Option<SystemTime>, now: SystemTime) -> Duration {
    // The clock may have been set back since.
    let passed = idle_since.and_then(|since| now.duration_since(since).ok()).unwrap_or_default();
    idle_time.saturating_sub(passed)
}

/// Uses of all services that run on demand.
#[derive(Debug, Default)]
pub(super) struct Uses {
    by_service: Mutex<BTreeMap<String, Use>>,
    changed: Notify,
}

impl Uses {
    fn set(&self, id: &str, change: impl FnOnce(Option<Use>) -> Use) -> Use {
        let mut uses = self.by_service.lock();
        let next = change(uses.get(id).copied());
        uses.insert(id.to_owned(), next);
        self.changed.notify_one();
        next
    }

    fn of(&self, id: &str) -> Option<Use> {
        self.by_service.lock().get(id).copied()
    }

    fn over(&self, now: Instant) -> Vec<String> {
        let uses = self.by_service.lock();
        uses.iter().filter(|(_, one)| one.is_over(now)).map(|(id, _)| id.clone()).collect()
    }

    fn next_end(&self) -> Option<Instant> {
        let uses = self.by_service.lock();
        uses.values().filter_map(|one| if let Use::Until(until) = one { Some(*until) } else { None }).min()
    }
}

impl Services {
    /// Makes a service run that runs on demand, and waits until it works.
    ///
    /// # Errors
    /// When there is no such service, or it does not come up.
    pub async fn demand(&self, id: &str) -> Result<Lease, DemandError> {
        let spec = self.spec(id).ok_or_else(|| DemandError::Unknown(id.to_owned()))?;
        self.0.uses.set(id, Use::begun);
        let lease = Lease { services: self.clone(), id: id.to_owned() };
        self.record_demand(id, None)
            .map_err(|source| DemandError::Record { service: id.to_owned(), source })?;
        // What is up from here on stays up: the wish has changed before its state is looked at.
        self.take_specs();
        let unchecked = spec.health.probe == HealthProbe::None;
        let up = self.wait_until(|list| {
            list.iter().any(|(name, record)| {
                name == id
                    && record.state == ServiceState::Running
                    && (unchecked || record.healthy == Some(true))
            })
        });
        match tokio::time::timeout(START_MAX, up).await {
            Ok(()) => Ok(lease),
            Err(_) => {
                let last = self.record(id).map(|record| record.last_message().to_owned());
                let last = last.unwrap_or_default();
                Err(DemandError::NotUp { service: id.to_owned(), limit: START_MAX, last })
            }
        }
    }

    /// Follows the uses and lets go of services that nobody uses any more, for ever.
    pub(super) async fn keep_demand(self) {
        loop {
            for id in self.0.uses.over(Instant::now()) {
                self.settle(&id).await;
            }
            let end = self.0.uses.next_end();
            let over = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // A change between two rounds is remembered; the time is read again in the next one.
                () = self.0.uses.changed.notified() => {}
                () = over => {}
            }
        }
    }

    /// Takes over the demand that the last machined of this boot left.
    pub(super) fn adopt_demand(&self) {
        for demand in self.0.context.state.list::<ServiceDemand>() {
            let id = &demand.metadata.id;
            let Some(on_demand) = self.on_demand(id) else { continue };
            if self.0.uses.of(id).is_some() {
                continue;
            }
            let now = self.0.context.clock.now();
            let left = left(on_demand.idle_time, demand.spec.idle_since, now);
            self.0.uses.set(id, |_| Use::Until(Instant::now() + left));
            self.note(id, Some(demand.spec.idle_since.unwrap_or(now)));
        }
    }

    fn end_use(&self, id: &str) {
        let idle_time = self.on_demand(id).map(|on_demand| on_demand.idle_time).unwrap_or_default();
        let until = Instant::now() + idle_time;
        let next = self.0.uses.set(id, |before| before.unwrap_or(Use::By(1)).ended(until));
        if matches!(next, Use::Until(_)) {
            self.note(id, Some(self.0.context.clock.now()));
        }
    }

    /// The idle time has passed: ends the demand unless something else uses the service.
    async fn settle(&self, id: &str) {
        let on_demand = self.on_demand(id);
        let is_running = self.record(id).is_some_and(|record| record.state == ServiceState::Running);
        let is_used = match &on_demand {
            Some(on_demand) if is_running => self.is_used(id, on_demand).await,
            _ => false,
        };
        // Whoever came meanwhile wins.
        if !self.0.uses.of(id).is_some_and(|one| one.is_over(Instant::now())) {
            return;
        }
        if is_used {
            let idle_time = on_demand.map(|on_demand| on_demand.idle_time).unwrap_or_default();
            self.0.uses.set(id, |_| Use::Until(Instant::now() + idle_time));
            self.note(id, Some(self.0.context.clock.now()));
            return;
        }
        self.0.uses.by_service.lock().remove(id);
        if let Err(error) = self.0.context.state.remove::<ServiceDemand>(OWNER, id) {
            tracing::error!(service = id, "its demand cannot be ended: {}", chain(&error));
        }
        self.take_specs();
    }

    /// A service that does not answer counts as used: what may run in it is not to be harmed.
    async fn is_used(&self, id: &str, on_demand: &OnDemand) -> bool {
        match tokio::time::timeout(PROBE_MAX, self.0.context.backends.is_used(on_demand)).await {
            Ok(Ok(is_used)) => is_used,
            Ok(Err(error)) => {
                tracing::warn!(service = id, "whether it is used is not known: {}", chain(error.as_ref()));
                true
            }
            Err(_) => {
                tracing::warn!(service = id, "whether it is used was not said within {PROBE_MAX:?}");
                true
            }
        }
    }

    fn record_demand(&self, id: &str, idle_since: Option<SystemTime>) -> Result<(), StateError> {
        self.0.context.state.put(OWNER, id, ServiceDemand { idle_since }).map(drop)
    }

    /// Journals since when nobody uses it. If that fails, a new machined waits a whole idle time.
    fn note(&self, id: &str, idle_since: Option<SystemTime>) {
        if let Err(error) = self.record_demand(id, idle_since) {
            tracing::error!(service = id, "the end of its use cannot be recorded: {}", chain(&error));
        }
    }

    fn spec(&self, id: &str) -> Option<ServiceSpec> {
        self.0.context.state.get::<ServiceSpec>(id).map(|resource| resource.spec)
    }

    fn on_demand(&self, id: &str) -> Option<OnDemand> {
        self.spec(id)?.on_demand
    }
}

/// Whether something runs in a service that no lease speaks of.
pub(super) async fn probe(on_demand: &OnDemand) -> anyhow::Result<bool> {
    match on_demand.probe {
        UseProbe::None => Ok(false),
        UseProbe::Containerd => {
            let client = corten_containerd::Client::lazy(&on_demand.target);
            let tasks = client.namespace(corten_containerd::SYSTEM)?.list_tasks().await?;
            Ok(tasks.iter().any(|task| task.state != corten_containerd::TaskState::Stopped))
        }
    }
}

#[cfg(test)]
mod tests;
