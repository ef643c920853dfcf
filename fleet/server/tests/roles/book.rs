//! What was written, by whom, and whether the audit log says the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use corten_api::management::ReadAuditLogRequest;
use corten_api::management::management_service_client::ManagementServiceClient;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::manager::PATIENCE;
use crate::world::{PAUSE, World};

/// The method that reads the audit log.
const READ: &str = "/management.ManagementService/ReadAuditLog";
/// Nobody panics while the book is open.
const WHOLE: &str = "not poisoned";
/// Events of changes; others are of what somebody saw.
const CHANGES: [&str; 4] = ["create", "destroy", "teardown", "update"];

/// Who did what to a type of resource: actor, event, type.
type Deed = (String, String, String);

/// How often everybody did what.
type Deeds = BTreeMap<Deed, u64>;

/// The writes that were answered with success.
#[derive(Default)]
pub struct Book(Mutex<Deeds>);

impl Book {
    /// Notes a write.
    pub fn note(&self, actor: &str, event: &str, kind: &str) {
        let deed = (actor.to_owned(), event.to_owned(), kind.to_owned());
        *self.0.lock().expect(WHOLE).entry(deed).or_default() += 1;
    }

    /// How many writes there are.
    pub fn count(&self) -> u64 {
        self.0.lock().expect(WHOLE).values().sum()
    }

    /// Compares with the audit log, which is written after the answers: every write is there once, with its actor, and
    /// there is nothing else.
    pub async fn compare(&self, world: &World) {
        let wanted = self.0.lock().expect(WHOLE).clone();
        let end = Instant::now() + PATIENCE;
        let mut found = read(world).await;
        while found != wanted && Instant::now() < end {
            sleep(PAUSE).await;
            found = read(world).await;
        }
        let deeds: BTreeSet<&Deed> = wanted.keys().chain(found.keys()).collect();
        let differences: Vec<String> = deeds
            .into_iter()
            .filter(|deed| wanted.get(*deed) != found.get(*deed))
            .map(|deed| format!("{deed:?}: {:?} writes, {:?} records", wanted.get(deed), found.get(deed)))
            .collect();
        assert!(differences.is_empty(), "the audit log is not what was written:\n{}", differences.join("\n"));
    }
}

/// The changes in the audit log.
async fn read(world: &World) -> Deeds {
    let mut deeds = Deeds::new();
    for line in lines(world).await {
        let record: Value = serde_json::from_slice(&line).expect("a line of JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let event = text(&record["event_type"]);
        if CHANGES.contains(&event.as_str()) {
            let actor = text(&record["event_data"]["session"]["email"]);
            *deeds.entry((actor, event, text(&record["resource_type"]))).or_default() += 1;
        }
    }
    deeds
}

/// The whole audit log, as an administrator reads it.
pub async fn lines(world: &World) -> Vec<Vec<u8>> {
    let request = world.admin.signed(READ, &[], ReadAuditLogRequest::default());
    let answer = ManagementServiceClient::new(world.channel.clone()).read_audit_log(request).await;
    let (mut messages, mut lines) = (answer.expect("the audit log").into_inner(), Vec::new());
    while let Some(message) = messages.message().await.expect("a line") {
        lines.push(message.audit_log);
    }
    lines
}
