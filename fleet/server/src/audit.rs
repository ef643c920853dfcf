//! Who did what: from the door to the audit log, and from the audit log to auditors.
//!
//! ```text
//! AuditEvent, AccessEvent (nobody may wait) ─▶ queue ─▶ record ─▶ Audit (on the disk)
//!                                               └─ full: told in the manager's own log, with what is missing
//! ReadAuditLog ─▶ reading ─▶ Audit
//! ```

mod reading;

use std::time::UNIX_EPOCH;

use corten_base::{Task, chain, spawn};
use corten_fleet_api::audit::{Actor, AuditEvent, AuditKind};
use corten_fleet_logs::audit::{Audit, EventType, Record, Retention, Session};
use corten_fleet_proxy::{AccessEvent, AccessKind, AccessLog};
use corten_resource::AnyResource;
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::unconstrained;

pub use reading::Log;

/// Events that wait for the disk; each holds its resource, which the store mostly holds as well.
const QUEUE_MAX: usize = 8192;
/// Records that are written together: the disk is asked once for all of them.
const TOGETHER: usize = 64;

/// How long the log is kept, as the settings say.
pub fn retention(settings: &corten_fleet_settings::Audit) -> Retention {
    Retention { age: Some(settings.retention_period), bytes: settings.max_size }
}

/// Something that is to be written down.
enum Event {
    /// A change of a resource.
    Change(AuditEvent),
    /// Somebody was let through to what is behind the manager.
    Access(AccessEvent),
}

/// Takes events and never waits.
pub struct Notes(mpsc::Sender<Event>);

/// The way into an audit log, and what writes; that ends after the last event when the way in is gone. Must be called
/// inside a runtime.
pub fn notes(audit: Audit) -> (Notes, Task) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    (Notes(sender), spawn("audit log", write(audit, receiver)))
}

impl Notes {
    fn take(&self, event: Event) {
        if let Err(refused) = self.0.try_send(event) {
            refused.into_inner().lost("too many events wait for the disk");
        }
    }
}

impl corten_fleet_api::audit::Audit for Notes {
    fn record(&self, event: AuditEvent) {
        self.take(Event::Change(event));
    }
}

impl AccessLog for Notes {
    fn record(&self, event: AccessEvent) {
        self.take(Event::Access(event));
    }
}

/// Writes events in their order, some together, so that they share what the disk takes its time for.
async fn write(audit: Audit, mut queue: mpsc::Receiver<Event>) {
    let mut running = FuturesOrdered::new();
    loop {
        tokio::select! {
            // What is left in the queue by the other arm comes out later.
            Some(()) = running.next() => {}
            event = queue.recv(), if running.len() < TOGETHER => {
                let Some(event) = event else { break };
                let mut appended = Box::pin(unconstrained(append(audit.clone(), event)));
                // Its place in the log is that of its first step.
                if futures::poll!(&mut appended).is_pending() {
                    running.push_back(appended);
                }
            }
        }
    }
    running.for_each(|()| std::future::ready(())).await;
}

async fn append(audit: Audit, event: Event) {
    if let Err(error) = audit.append(&event.record()).await {
        event.lost(&chain(&error));
    }
}

impl Event {
    fn record(&self) -> Record {
        match self {
            Self::Change(event) => change(event),
            Self::Access(event) => access(event),
        }
    }

    /// The last place where an event is told that the audit log does not have.
    fn lost(&self, why: &str) {
        let Record { event, resource_type, cluster, session, .. } = self.record();
        let (action, email) = (event.name(), session.email);
        tracing::error!(action, resource_type, cluster, email, why, "an event is missing in the audit log");
    }
}

fn change(event: &AuditEvent) -> Record {
    let AuditEvent { kind, resource, cluster, actor, old, new } = event;
    let mut details = Map::new();
    details.insert("namespace".to_owned(), json!(resource.namespace));
    for (key, resource) in [("old", old), ("new", new)] {
        if let Some(resource) = resource {
            details.insert(key.to_owned(), shown(resource));
        }
    }
    Record {
        event: match kind {
            AuditKind::Create => EventType::Create,
            AuditKind::Update => EventType::Update,
            AuditKind::Destroy => EventType::Destroy,
            AuditKind::Teardown => EventType::Teardown,
        },
        resource_type: resource.kind.clone(),
        resource_id: resource.id.clone(),
        cluster: cluster.clone(),
        details,
        session: session(actor),
    }
}

fn access(event: &AccessEvent) -> Record {
    Record {
        event: match event.kind {
            AccessKind::Talos => EventType::TalosAccess,
            AccessKind::Kubernetes => EventType::K8sAccess,
        },
        resource_type: String::new(),
        resource_id: String::new(),
        cluster: event.cluster.clone(),
        details: event.details.clone(),
        session: session(&event.actor),
    }
}

/// What is noted of a resource: its tags, and its specification unless that is secret.
fn shown(resource: &AnyResource) -> Value {
    let metadata = resource.metadata();
    let is_sensitive = resource.definition().is_none_or(|definition| definition.sensitive);
    let spec = if is_sensitive { json!("not shown, it may hold secrets") } else { json!(resource.to_yaml()) };
    json!({
        "version": metadata.version,
        "labels": metadata.labels,
        "annotations": metadata.annotations,
        "spec": spec,
    })
}

fn session(actor: &Actor) -> Session {
    let expiration = actor.key_expiration.and_then(|end| end.duration_since(UNIX_EPOCH).ok());
    Session {
        user_agent: actor.user_agent.clone(),
        user_id: actor.user_id.clone(),
        role: actor.role.clone(),
        email: actor.email.clone(),
        fingerprint: actor.fingerprint.clone(),
        public_key_expiration: expiration.and_then(|since| i64::try_from(since.as_secs()).ok()),
        ..Session::default()
    }
}

#[cfg(test)]
mod tests {
    use corten_base::{Clock, Rng, Secret};
    use corten_fleet_logs::audit::Query;
    use corten_fleet_resources::cluster::Cluster;
    use corten_fleet_resources::secrets::ClusterSecrets;
    use corten_resource::Resource;

    use super::*;

    fn event(kind: AuditKind, resource: AnyResource) -> AuditEvent {
        let actor = Actor { email: "kim@example.com".to_owned(), ..Actor::default() };
        let (pointer, cluster) = (resource.pointer(), "prod".to_owned());
        AuditEvent { kind, resource: pointer, cluster, actor, old: None, new: Some(resource) }
    }

    #[tokio::test]
    async fn events_are_on_the_disk_in_their_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let (clock, master) = (Clock::fixed(1_700_000_000), Secret::new([1; 32]));
        let opened = Audit::open(folder.path(), &master, Retention::default(), clock, Rng::seeded(1));
        let (audit, writer) = opened.expect("opened");
        let _writer = spawn("writer", writer.run());
        let (notes, writing) = notes(audit.clone());
        for index in 0..200 {
            let cluster = Resource::new(format!("c-{index}"), Cluster::default());
            corten_fleet_api::audit::Audit::record(&notes, event(AuditKind::Create, cluster.into()));
        }
        drop(notes);
        writing.join().await;
        let mut reader = audit.read(Query::default()).await.expect("a reader");
        let mut ids = Vec::new();
        while let Some(lines) = reader.next().await.expect("records") {
            for line in lines {
                let json: Value = serde_json::from_slice(&line.json).expect("JSON");
                ids.push(json["resource_id"].as_str().expect("an id").to_owned());
            }
        }
        let expected: Vec<String> = (0..200).map(|index| format!("c-{index}")).collect();
        assert_eq!(ids, expected);
    }

    #[test]
    fn a_record_says_who_did_what_and_no_secret() {
        let secret = ClusterSecrets { data: b"hush".to_vec(), ..ClusterSecrets::default() };
        let record = change(&event(AuditKind::Update, Resource::new("prod", secret).into()));
        assert_eq!((record.event, record.session.email.as_str()), (EventType::Update, "kim@example.com"));
        let text = Value::Object(record.details).to_string();
        assert!(!text.contains("hush") && text.contains("not shown"), "{text}");
        let (cluster, details) = ("prod".to_owned(), Map::from_iter([("path".to_owned(), json!("/api"))]));
        let seen = AccessEvent { kind: AccessKind::Kubernetes, cluster, details, actor: Actor::default() };
        let record = access(&seen);
        assert_eq!((record.event, record.details["path"].as_str()), (EventType::K8sAccess, Some("/api")));
    }
}
