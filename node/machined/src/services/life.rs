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
/// Tries to stop a service before it counts as failed.
const STOP_TRIES: u32 = 5;

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
                Some(Obstacle::Unused) => {
                    self.stop_leftover(&wish).await;
                    self.enter(ServiceState::Finished, "Not in use; it starts when it is needed");
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

    /// A predecessor of this machined may have left the service running although it should not, and a
    /// service that failed may have failed to stop.
    async fn stop_leftover(&self, wish: &Wish) {
        let state = self.record.lock().state;
        if !matches!(state, ServiceState::Initialized | ServiceState::Failed) {
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
        let (id, revision) = (self.id.clone(), revision(spec));
        let mut instance = tokio::select! {
            // What a cancelled start left half-done is removed by the stop that follows.
            instance = backend.ensure(&id, spec, &revision) => instance?,
            why = self.until_unwanted(spec, wish) => {
                self.stop(backend, why).await;
                return Ok(());
            }
        };
        self.enter(ServiceState::Running, &instance.describe());
        record::publish_pid(&self.context, &self.id, instance.pid());
        let ended = self.watch(&mut instance, spec, wish).await;
        record::publish_pid(&self.context, &self.id, None);
        match ended {
            Ended::Exited(how, restarts_itself) => self.after_exit(spec, &how, restarts_itself).await,
            Ended::Unwanted(why) => self.stop(backend, why).await,
        }
        Ok(())
    }

    /// Ends the service. It is not called finished before it is.
    async fn stop(&mut self, backend: &Backend, why: &str) {
        self.enter(ServiceState::Stopping, why);
        let mut tries = Backoff::new(RESTART_FIRST, RESTART_MAX);
        for _ in 0..STOP_TRIES {
            match backend.stop(&self.id, STOP_GRACE).await {
                Ok(()) => {
                    self.enter(ServiceState::Finished, "Service finished successfully");
                    self.backoff.reset();
                    return;
                }
                Err(error) => {
                    let text = format!("Failed to stop, trying again: {}", chain(error.as_ref()));
                    self.enter(ServiceState::Stopping, &text);
                    tokio::time::sleep(tries.next_delay(&self.context.rng)).await;
                }
            }
        }
        self.enter(ServiceState::Failed, "Failed to stop");
    }

    async fn until_unwanted(&mut self, spec: &ServiceSpec, wish: &Wish) -> &'static str {
        loop {
            tokio::select! {
                // Level-triggered, nothing is lost by cancellation.
                _ = self.wishes.changed() => {}
                _ = self.gate.changed() => {}
            }
            if let Some(why) = self.unwanted(spec, wish) {
                return why;
            }
        }
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
            // What is probed may move while the service runs on.
            if let Some(now) = &self.wishes.borrow().spec {
                checks.follow(&now.health);
            }
        }
    }

    fn unwanted(&mut self, running: &ServiceSpec, wish: &Wish) -> Option<&'static str> {
        let now = self.wishes.borrow_and_update().clone();
        // The gate keeps services from starting; the sequences stop those that run, in order.
        self.gate.mark_unchanged();
        if now.restarts != wish.restarts {
            return Some("Restart requested via API");
        }
        match obstacle(&self.id, &now, gate::Openness::All) {
            // What a service waited for before its start may come and go; it runs on.
            None | Some(Obstacle::Waits(_)) => {}
            Some(Obstacle::Unused) => return Some("Not in use any more"),
            Some(_) => return Some("Stopping service"),
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
    /// It runs on demand, and there is none.
    Unused,
    /// No specification.
    Nobody,
}

fn obstacle(id: &str, wish: &Wish, openness: gate::Openness) -> Option<Obstacle> {
    let Some(spec) = &wish.spec else { return Some(Obstacle::Nobody) };
    if wish.held {
        return Some(Obstacle::Stopped);
    }
    if spec.on_demand.is_some() && !wish.demanded {
        return Some(Obstacle::Unused);
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
        on_demand: None,
        ..spec.clone()
    };
    hex::encode(&Sha256::digest(AnyResource::from(Resource::new("", what_runs)).to_proto())[..16])
}

#[cfg(test)]
mod tests;
