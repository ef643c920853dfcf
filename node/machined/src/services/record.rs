//! What is known of a service: state, health and the last changes, and how that is published.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use corten_api::machine::{ServiceHealth, ServiceStateEvent, service_state_event::Action};
use corten_resources::runtime::ServicePid;
use corten_resources::service::Service;
use parking_lot::Mutex;

use super::Context;

/// Changes kept per service.
const HISTORY_MAX: usize = 64;
const OWNER: &str = "services";

/// Where a service is in life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// Known.
    Initialized,
    /// Waits for a condition.
    Waiting,
    /// Its surroundings are being made.
    Preparing,
    /// Runs.
    Running,
    /// Being stopped.
    Stopping,
    /// Ended as wished.
    Finished,
    /// Ended on its own.
    Failed,
}

impl ServiceState {
    /// The word clients show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initialized => "Initialized",
            Self::Waiting => "Waiting",
            Self::Preparing => "Preparing",
            Self::Running => "Running",
            Self::Stopping => "Stopping",
            Self::Finished => "Finished",
            Self::Failed => "Failed",
        }
    }

    /// Whether processes of it may exist.
    #[must_use]
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Preparing | Self::Running | Self::Stopping)
    }

    const fn action(self) -> Action {
        match self {
            Self::Initialized => Action::Initialized,
            Self::Waiting => Action::Waiting,
            Self::Preparing => Action::Preparing,
            Self::Running => Action::Running,
            Self::Stopping => Action::Stopping,
            Self::Finished => Action::Finished,
            Self::Failed => Action::Failed,
        }
    }
}

/// One change.
#[derive(Clone, Debug)]
pub struct Change {
    /// State that was entered.
    pub state: ServiceState,
    /// Why.
    pub message: String,
    /// When.
    pub at: SystemTime,
}

/// Everything known of a service.
#[derive(Clone, Debug)]
pub struct Record {
    /// State.
    pub state: ServiceState,
    /// Result of the last check; `None` before the first one or without checks.
    pub healthy: Option<bool>,
    /// What the last check said.
    pub health_message: String,
    /// When health last changed.
    pub health_changed: SystemTime,
    /// Last changes, oldest first.
    pub history: VecDeque<Change>,
}

impl Record {
    pub(super) fn new(now: SystemTime) -> Self {
        Self {
            state: ServiceState::Initialized,
            healthy: None,
            health_message: String::new(),
            health_changed: now,
            history: VecDeque::new(),
        }
    }

    /// The last message.
    #[must_use]
    pub fn last_message(&self) -> &str {
        self.history.back().map_or("", |change| &change.message)
    }

    fn health(&self) -> ServiceHealth {
        ServiceHealth {
            unknown: self.healthy.is_none(),
            healthy: self.healthy.unwrap_or(false),
            last_message: self.health_message.clone(),
            last_change: Some(self.health_changed.into()),
        }
    }
}

/// Enters a state: history, event, resource.
pub(super) fn publish(
    context: &Context,
    id: &str,
    record: &Arc<Mutex<Record>>,
    state: ServiceState,
    message: &str,
) {
    let mut record = record.lock();
    if record.state == state && record.last_message() == message {
        return;
    }
    let at = context.clock.now();
    if record.state != state {
        record.healthy = None;
        record.health_message.clear();
        record.health_changed = at;
    }
    record.state = state;
    tell(context, id, &mut record, Change { state, message: message.to_owned(), at });
}

/// Records the result of a health check; one that differs from the last one is a change like any other.
pub(super) fn publish_health(
    context: &Context,
    id: &str,
    record: &Arc<Mutex<Record>>,
    healthy: Option<bool>,
    message: &str,
) {
    let mut record = record.lock();
    if record.healthy == healthy {
        message.clone_into(&mut record.health_message);
        return;
    }
    record.healthy = healthy;
    message.clone_into(&mut record.health_message);
    let at = context.clock.now();
    record.health_changed = at;
    // Texts that users of talosctl know.
    let message = match healthy {
        Some(true) => "Health check successful".to_owned(),
        _ => format!("Health check failed: {message}"),
    };
    let state = record.state;
    tell(context, id, &mut record, Change { state, message, at });
}

/// Tells the world of a change: history, log, event, resource.
fn tell(context: &Context, id: &str, record: &mut Record, change: Change) {
    tracing::info!(service = id, state = change.state.as_str(), "{}", change.message);
    let event = ServiceStateEvent {
        service: id.to_owned(),
        action: change.state.action().into(),
        message: change.message.clone(),
        health: Some(record.health()),
    };
    record.history.push_back(change);
    if record.history.len() > HISTORY_MAX {
        record.history.pop_front();
    }
    context.events.publish("", &event);
    publish_resource(context, id, record);
}

/// Says which process a service is, or that it is none.
pub(super) fn publish_pid(context: &Context, id: &str, pid: Option<u32>) {
    let result = match pid {
        Some(pid) => {
            // Another user's namespaces can be read by root alone; a process that has just ended has none.
            let namespace = std::fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap_or_default();
            let mount_namespace = namespace.to_string_lossy().into_owned();
            let pid = i32::try_from(pid).unwrap_or_default();
            context.state.put(OWNER, id, ServicePid { pid, mount_namespace }).map(|_| ())
        }
        None => context.state.remove::<ServicePid>(OWNER, id),
    };
    if let Err(error) = result {
        tracing::debug!(
            service = id,
            error = &error as &dyn std::error::Error,
            "process of a service not told"
        );
    }
}

fn publish_resource(context: &Context, id: &str, record: &Record) {
    let result = match record.state {
        ServiceState::Running => {
            let spec = Service {
                running: true,
                healthy: record.healthy.unwrap_or(false),
                unknown: record.healthy.is_none(),
            };
            context.state.put(OWNER, id, spec).map(|_| ())
        }
        // Before the first look at the backend nothing is known: an adopted service keeps its resource.
        ServiceState::Initialized | ServiceState::Preparing => Ok(()),
        _ => context.state.remove::<Service>(OWNER, id),
    };
    if let Err(error) = result {
        tracing::debug!(service = id, error = &error as &dyn std::error::Error, "service resource unchanged");
    }
}
