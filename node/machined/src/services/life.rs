//! The life of one service: wait, prepare, start or adopt, watch, stop, start again.

use std::sync::Arc;
use std::time::Duration;

use corten_base::{Backoff, chain};
use corten_resource::{AnyResource, Resource};
use corten_resources::service::{Restart, Runner, ServiceSpec};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::backend::{Backend, Change, Instance};
use super::record::{self, Record, ServiceState};
use super::{Context, STOP_GRACE, Wish, gate, health};

const RESTART_FIRST: Duration = Duration::from_secs(1);
const RESTART_MAX: Duration = Duration::from_secs(30);

pub(super) struct Life {
    id: String,
    context: Context,
    record: Arc<Mutex<Record>>,
    wishes: watch::Receiver<Wish>,
    gate: watch::Receiver<gate::Openness>,
    changed: watch::Sender<u64>,
    backoff: Backoff,
}

/// Why a running service is to end.
enum Ended {
    /// By itself.
    Exited(String, bool),
    /// The wish changed.
    Unwanted(&'static str),
}

impl Life {
    pub(super) fn new(
        id: String,
        context: Context,
        record: Arc<Mutex<Record>>,
        wishes: watch::Receiver<Wish>,
        changed: watch::Sender<u64>,
    ) -> Self {
        let gate = context.gate.subscribe();
        let backoff = Backoff::new(RESTART_FIRST, RESTART_MAX);
        Self { id, context, record, wishes, gate, changed, backoff }
    }

    /// Lives as long as the manager.
    pub(super) async fn run(mut self) {
        loop {
            let wish = self.startable().await;
            let Some(spec) = wish.spec.clone() else { continue };
            let backend = self.context.backends.of(spec.runner);
            if let Err(error) = self.run_once(&backend, &spec, &wish).await {
                self.enter(ServiceState::Failed, &format!("Failed to start: {}", chain(error.as_ref())));
                self.pause().await;
            }
        }
    }

    /// Waits until the service should run, saying what it waits for.
    async fn startable(&mut self) -> Wish {
        loop {
            let wish = self.wishes.borrow_and_update().clone();
            let openness = *self.gate.borrow_and_update();
            match obstacle(&self.id, &wish, openness) {
                None => return wish,
                Some(Obstacle::Waits(reason)) => {
                    self.stop_leftover(&wish).await;
                    self.enter(ServiceState::Waiting, &format!("Waiting for {reason}"));
                }
                Some(Obstacle::Stopped) => {
                    self.stop_leftover(&wish).await;
                    self.enter(ServiceState::Finished, "Service finished successfully");
                }
                Some(Obstacle::Nobody) => {}
            }
            tokio::select! {
                // Level-triggered, nothing is lost by cancellation.
                _ = self.wishes.changed() => {}
                _ = self.gate.changed() => {}
            }
        }
    }

    /// A predecessor of this machined may have left the service running although it should not.
    async fn stop_leftover(&self, wish: &Wish) {
        if self.record.lock().state != ServiceState::Initialized {
            return;
        }
        if let Some(spec) = &wish.spec {
            let _ = self.context.backends.of(spec.runner).stop(&self.id, STOP_GRACE).await;
        }
    }

    async fn run_once(&mut self, backend: &Backend, spec: &ServiceSpec, wish: &Wish) -> anyhow::Result<()> {
        let preparing = match spec.runner {
            Runner::Process => "Creating service runner".to_owned(),
            Runner::Container => format!("Pulling image {}", spec.container.image),
        };
        self.enter(ServiceState::Preparing, &preparing);
        let revision = revision(spec);
        let mut instance = backend.ensure(&self.id, spec, &revision).await?;
        self.enter(ServiceState::Running, &instance.describe());
        match self.watch(&mut instance, spec, wish).await {
            Ended::Exited(how, restarts_itself) => self.after_exit(spec, &how, restarts_itself).await,
            Ended::Unwanted(why) => {
                self.enter(ServiceState::Stopping, why);
                backend.stop(&self.id, STOP_GRACE).await?;
                self.enter(ServiceState::Finished, "Service finished successfully");
                self.backoff.reset();
            }
        }
        Ok(())
    }

    /// Checks health until the service ends or should end.
    async fn watch(&mut self, instance: &mut Instance, spec: &ServiceSpec, wish: &Wish) -> Ended {
        let mut checks = health::Checks::new(spec.health.clone());
        loop {
            tokio::select! {
                // `Checks::next` keeps its timer in itself; a cancelled probe is simply tried again.
                result = checks.next() => {
                    record::publish_health(&self.context, &self.id, &self.record, Some(result.is_ok()),
                        result.as_ref().err().map_or("", String::as_str));
                    if result.is_ok() { self.backoff.reset(); }
                    self.notify();
                }
                change = instance.next() => match change {
                    Change::Exited { how, restarts_itself } => return Ended::Exited(how, restarts_itself),
                },
                _ = self.wishes.changed() => {}
                _ = self.gate.changed() => {}
            }
            if let Some(why) = self.unwanted(spec, wish) {
                return Ended::Unwanted(why);
            }
        }
    }

    fn unwanted(&mut self, running: &ServiceSpec, wish: &Wish) -> Option<&'static str> {
        let now = self.wishes.borrow_and_update().clone();
        let openness = *self.gate.borrow_and_update();
        if now.restarts != wish.restarts {
            return Some("Restart requested via API");
        }
        if obstacle(&self.id, &now, openness).is_some() {
            return Some("Stopping service");
        }
        let wanted = now.spec.as_ref().map(revision);
        (wanted.as_deref() != Some(revision(running).as_str())).then_some("Specification changed")
    }

    async fn after_exit(&mut self, spec: &ServiceSpec, how: &str, restarts_itself: bool) {
        self.enter(ServiceState::Failed, how);
        match spec.restart {
            Restart::Always | Restart::UntilSuccess if restarts_itself => {}
            Restart::Always | Restart::UntilSuccess => self.pause().await,
            Restart::Never => {
                let _ = self.wishes.changed().await;
            }
        }
    }

    /// Waits out the back-off, or less when the wish changes.
    async fn pause(&mut self) {
        let delay = self.backoff.next_delay(&self.context.rng);
        let _ = tokio::time::timeout(delay, self.wishes.changed()).await;
    }

    fn enter(&self, state: ServiceState, message: &str) {
        record::publish(&self.context, &self.id, &self.record, state, message);
        self.notify();
    }

    fn notify(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

/// Why a service does not run now.
#[derive(Debug, PartialEq, Eq)]
enum Obstacle {
    /// Something is missing.
    Waits(String),
    /// The API stopped it.
    Stopped,
    /// No specification.
    Nobody,
}

fn obstacle(id: &str, wish: &Wish, openness: gate::Openness) -> Option<Obstacle> {
    let Some(spec) = &wish.spec else { return Some(Obstacle::Nobody) };
    if wish.held {
        return Some(Obstacle::Stopped);
    }
    if !spec.waiting_for.is_empty() {
        return Some(Obstacle::Waits(spec.waiting_for.join(", ")));
    }
    gate::closed_for(id, openness).map(|reason| Obstacle::Waits(reason.to_owned()))
}

/// What must be equal for a running service to be left alone.
fn revision(spec: &ServiceSpec) -> String {
    let what_runs = ServiceSpec {
        waiting_for: Vec::new(),
        health: corten_resources::service::HealthCheck::default(),
        control: false,
        ..spec.clone()
    };
    hex::encode(&Sha256::digest(AnyResource::from(Resource::new("", what_runs)).to_proto())[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(spec: ServiceSpec) -> Wish {
        Wish { spec: Some(spec), ..Wish::default() }
    }

    #[test]
    fn a_service_runs_when_wanted_allowed_and_not_held() {
        let all = gate::Openness::All;
        assert_eq!(obstacle("kubelet", &Wish::default(), all), Some(Obstacle::Nobody));
        assert_eq!(obstacle("kubelet", &wish(ServiceSpec::default()), all), None);
        let held = Wish { held: true, ..wish(ServiceSpec::default()) };
        assert_eq!(obstacle("kubelet", &held, all), Some(Obstacle::Stopped));
        let waiting = ServiceSpec { waiting_for: vec!["time sync".into()], ..ServiceSpec::default() };
        assert_eq!(obstacle("kubelet", &wish(waiting), all), Some(Obstacle::Waits("time sync".into())));
    }

    #[test]
    fn only_what_runs_counts_for_the_revision() {
        let spec = ServiceSpec::default();
        let waiting = ServiceSpec { waiting_for: vec!["x".into()], control: true, ..spec.clone() };
        assert_eq!(revision(&spec), revision(&waiting));
        let changed = ServiceSpec { revision: "2".into(), ..spec.clone() };
        assert_ne!(revision(&spec), revision(&changed));
    }
}
