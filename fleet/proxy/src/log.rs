//! What the audit log is told of those who go through the manager (fleet.md 2.11). Writing it is another crate's
//! business.
//!
//! ```text
//! talos, kubernetes ─▶ Notes ─┬─ what may change something: each time ─▶ AccessLog
//!                             └─ reads: once, then not for a while ────▶ AccessLog
//! ```
//!
//! Programs read the same thing many times a minute; an audit log of that would bury what matters in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use corten_fleet_api::audit::Actor;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::time::Instant;

/// How long a read that was told is not told again.
const AGAIN: Duration = Duration::from_secs(600);
/// Reads that are remembered.
const READS_MAX: usize = 4096;

/// Through which way somebody went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// To the API of machines.
    Talos,
    /// To the Kubernetes of a cluster.
    Kubernetes,
}

impl AccessKind {
    /// The word for it in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Talos => "talos_access",
            Self::Kubernetes => "k8s_access",
        }
    }
}

/// Somebody was let through.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessEvent {
    /// Where to.
    pub kind: AccessKind,
    /// Of which cluster that is; empty for machines in none.
    pub cluster: String,
    /// The method and the machines, or the path; bounded.
    pub details: Map<String, Value>,
    /// Who it was.
    pub actor: Actor,
}

/// Takes events. It must only make a note: callers wait for it.
pub trait AccessLog: Send + Sync {
    /// Somebody was let through.
    fn record(&self, event: AccessEvent);
}

/// Writes nothing down.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAccessLog;

impl AccessLog for NoAccessLog {
    fn record(&self, _: AccessEvent) {}
}

/// Whether a call may change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only reads.
    Read,
    /// It may change something, or it takes over a connection.
    Change,
}

/// Tells the log what it is to know.
pub(crate) struct Notes {
    log: Arc<dyn AccessLog>,
    /// When a read was told last.
    reads: Mutex<HashMap<String, Instant>>,
}

impl Notes {
    pub(crate) fn new(log: Arc<dyn AccessLog>) -> Self {
        Self { log, reads: Mutex::default() }
    }

    /// Tells of somebody who was let through.
    pub(crate) fn note(&self, effect: Effect, event: AccessEvent) {
        if effect == Effect::Change || self.is_news(&event) {
            self.log.record(event);
        }
    }

    fn is_news(&self, event: &AccessEvent) -> bool {
        let AccessEvent { kind, cluster, details, actor } = event;
        let details = Value::Object(details.clone());
        let name = format!("{} {cluster} {} {details}", kind.as_str(), actor.email);
        let mut reads = self.reads.lock();
        if reads.get(&name).is_some_and(|told| told.elapsed() < AGAIN) {
            return false;
        }
        if reads.len() >= READS_MAX {
            reads.retain(|_, told| told.elapsed() < AGAIN);
        }
        // With as many that are fresh, the worst is that some are told again.
        if reads.len() >= READS_MAX {
            reads.clear();
        }
        reads.insert(name, Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Remembered;

    fn event(path: &str) -> AccessEvent {
        let details = Map::from_iter([("path".to_owned(), Value::from(path))]);
        let actor = Actor { email: "kim@example.com".to_owned(), ..Actor::default() };
        AccessEvent { kind: AccessKind::Kubernetes, cluster: "prod".to_owned(), details, actor }
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_told_each_time_and_reads_once_in_a_while() {
        let log = Arc::new(Remembered::default());
        let notes = Notes::new(Arc::clone(&log) as Arc<dyn AccessLog>);
        for (effect, path, told) in [
            (Effect::Read, "/a", 1),
            (Effect::Read, "/a", 1),
            (Effect::Read, "/b", 2),
            (Effect::Change, "/a", 3),
            (Effect::Change, "/a", 4),
        ] {
            notes.note(effect, event(path));
            assert_eq!(log.0.lock().len(), told, "{effect:?} {path}");
        }
        tokio::time::sleep(AGAIN).await;
        notes.note(Effect::Read, event("/a"));
        assert_eq!(log.0.lock().len(), 5);
    }

    #[tokio::test]
    async fn what_is_remembered_of_reads_is_bounded() {
        let notes = Notes::new(Arc::new(NoAccessLog));
        for index in 0..READS_MAX * 2 {
            notes.note(Effect::Read, event(&index.to_string()));
        }
        assert!(notes.reads.lock().len() <= READS_MAX);
    }
}
