//! A backend that remembers what it was asked and does as it is told.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use corten_resources::service::ServiceSpec;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Change;

/// Remote control of the backend.
#[derive(Clone)]
pub(in crate::services) struct Fake(Arc<Inner>);

struct Inner {
    calls: Mutex<Vec<String>>,
    failing_stops: Mutex<u32>,
    /// Whether starts get stuck.
    stuck: Mutex<bool>,
    /// Whether something is used, or that cannot be said.
    used: Mutex<Option<bool>>,
    exits: watch::Sender<u64>,
}

impl Fake {
    pub(in crate::services) fn new() -> Self {
        let (exits, _) = watch::channel(0);
        Self(Arc::new(Inner {
            calls: Mutex::default(),
            failing_stops: Mutex::default(),
            stuck: Mutex::default(),
            used: Mutex::new(Some(false)),
            exits,
        }))
    }

    /// Calls so far: `start REVISION`, `stop`, `stop failed`.
    pub(in crate::services) fn calls(&self) -> Vec<String> {
        self.0.calls.lock().clone()
    }

    /// Lets the next stops fail.
    pub(in crate::services) fn fail_stops(&self, count: u32) {
        *self.0.failing_stops.lock() = count;
    }

    /// Lets starts never end.
    pub(in crate::services) fn get_stuck(&self) {
        *self.0.stuck.lock() = true;
    }

    /// Lets something use the service; `None` lets the question fail.
    pub(in crate::services) fn be_used(&self, used: Option<bool>) {
        *self.0.used.lock() = used;
    }

    pub(super) fn is_used(&self) -> anyhow::Result<bool> {
        self.0.calls.lock().push("used?".to_owned());
        self.0.used.lock().context("it does not say")
    }

    /// Ends what runs.
    pub(in crate::services) fn exit(&self) {
        self.0.exits.send_modify(|count| *count += 1);
    }

    pub(super) async fn ensure(&self, spec: &ServiceSpec) -> anyhow::Result<Instance> {
        self.0.calls.lock().push(format!("start {}", spec.revision));
        if *self.0.stuck.lock() {
            std::future::pending::<()>().await;
        }
        Ok(Instance(self.0.exits.subscribe()))
    }

    pub(super) fn stop(&self) -> anyhow::Result<()> {
        let mut failing = self.0.failing_stops.lock();
        if *failing > 0 {
            *failing -= 1;
            self.0.calls.lock().push("stop failed".to_owned());
            bail!("it does not want to");
        }
        self.0.calls.lock().push("stop".to_owned());
        Ok(())
    }
}

/// What runs.
pub(in crate::services) struct Instance(watch::Receiver<u64>);

impl Instance {
    pub(super) async fn next(&mut self) -> Change {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        Change::Exited { how: "Ended".to_owned(), restarts_itself: false }
    }
}
