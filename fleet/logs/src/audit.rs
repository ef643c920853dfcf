//! The audit log: who changed and saw what.
//!
//! ```text
//! Record ─▶ columns ‖ line of JSON, redacted ─▶ a log like those of machines ─▶ Query, follow
//!           (type, resource, cluster, actor: what is filtered and sorted by)
//! ```
//!
//! It has a folder and a writer of its own, so that no machine delays it; a record is acknowledged when it is on the
//! disk. The line is what the API answers (fleet.md 2.11). A resource whose id is a token is named by a hash of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use corten_base::{Clock, Rng, Secret, redact};
use serde_json::{Map, Value, json};

use crate::caps::Caps;
use crate::error::LogError;
use crate::frame::{Arrival, LINE_MAX};
use crate::intake::Intake;
use crate::read::Start;
use crate::store::{Logs, Options};
use crate::writer::Writer;

mod query;

pub use query::{AuditFollower, AuditLine, AuditReader, Direction, OrderBy, Query};

/// Name of the log, below the folder of the audit log.
const NAME: &str = "audit";
/// Between the columns and in front of the line of JSON, none of which has it.
const SEPARATOR: char = '\0';
/// Resources whose id is a join token.
const TOKENS: [&str; 2] = ["JoinTokens.omni.sidero.dev", "JoinTokenStatuses.omni.sidero.dev"];
/// Longest record, bytes: what it has more of is left out. Redaction may make it a third longer.
const RECORD_MAX: usize = LINE_MAX / 2;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// A resource was created.
    Create,
    /// A resource was changed.
    Update,
    /// A resource was changed, after others had changed it meanwhile.
    UpdateWithConflicts,
    /// A resource was removed.
    Destroy,
    /// The removal of a resource began.
    Teardown,
    /// The API of a machine was called.
    TalosAccess,
    /// The API of a cluster was called.
    K8sAccess,
    /// The audit log was read.
    AuditLogAccess,
}

impl EventType {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Update,
        Self::UpdateWithConflicts,
        Self::Destroy,
        Self::Teardown,
        Self::TalosAccess,
        Self::K8sAccess,
        Self::AuditLogAccess,
    ];

    /// Its name in a record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::UpdateWithConflicts => "update_with_conflicts",
            Self::Destroy => "destroy",
            Self::Teardown => "teardown",
            Self::TalosAccess => "talos_access",
            Self::K8sAccess => "k8s_access",
            Self::AuditLogAccess => "audit_log_access",
        }
    }
}

/// Who did it, and how it was known. Empty texts are left out of the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Program of the caller.
    pub user_agent: String,
    /// Id of the user.
    pub user_id: String,
    /// Role that the caller had.
    pub role: String,
    /// Email address of the user, or name of the service account: the actor.
    pub email: String,
    /// Fingerprint of the key that signed the call.
    pub fingerprint: String,
    /// How the key was confirmed.
    pub confirmation_type: String,
    /// When the key expires, Unix time in seconds.
    pub public_key_expiration: Option<i64>,
}

/// Something that is noted.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What happened.
    pub event: EventType,
    /// Type of the resource, such as `Clusters.omni.sidero.dev`; empty when there is none.
    pub resource_type: String,
    /// Its id; empty when there is none.
    pub resource_id: String,
    /// Cluster that it belongs to; empty when there is none.
    pub cluster: String,
    /// What belongs to the event, by key, as it stands in `event_data`. Of a record of more than 128 KiB only the size
    /// is noted.
    pub details: Map<String, Value>,
    /// Who did it.
    pub session: Session,
}

/// How long the audit log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Age of records; any if `None`.
    pub age: Option<Duration>,
    /// Bytes on the disk, at least 4 MiB; any number if `None`.
    pub bytes: Option<u64>,
}

impl Default for Retention {
    /// 30 days, whatever they need.
    fn default() -> Self {
        Self { age: Caps::default().age, bytes: None }
    }
}

/// The audit log. Clones are the same.
#[derive(Clone, Debug)]
pub struct Audit {
    logs: Logs,
    intake: Intake,
}

impl Audit {
    /// Opens the audit log in a folder of its own, which is made if it is missing. Its keys come from `master`. Nothing
    /// is written before [`Writer::run`] runs.
    ///
    /// # Errors
    /// When the folder cannot be made or listed, another program has it open, or the log was made with another key.
    pub fn open(
        root: &Path,
        master: &Secret<[u8; 32]>,
        retention: Retention,
        clock: Clock,
        rng: Rng,
    ) -> Result<(Self, Writer), LogError> {
        let Retention { age, bytes } = retention;
        let caps = Caps { log_bytes: bytes, log_lines: None, total_bytes: None, age };
        let options = Options { caps, flush_every: Duration::ZERO, ..Options::default() };
        let (logs, writer) = Logs::open(root, master, options, clock, rng)?;
        let intake = logs.intake(NAME)?;
        Ok((Self { logs, intake }, writer))
    }

    /// Notes a record, with the time that it is now; its id. It is on the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written: what was to be noted must not happen then.
    pub async fn append(&self, record: &Record) -> Result<u64, LogError> {
        let time_ms = self.intake.shared.now_ms();
        self.intake.keep(Arrival::new(time_ms, line(record, time_ms))).await
    }

    /// Reads the records that match, in the order that is asked for.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub async fn read(&self, query: Query) -> Result<AuditReader, LogError> {
        let snapshot = self.intake.shared.read(Arc::clone(&self.intake.entry), Ok).await?;
        Ok(AuditReader::new(self.intake.clone(), snapshot, query))
    }

    /// Reads the records from some place on, and then those that come.
    ///
    /// # Errors
    /// Never, as the log has a good name.
    pub fn follow(&self, start: Start) -> Result<AuditFollower, LogError> {
        Ok(AuditFollower::new(self.logs.follow(NAME, start)?))
    }
}

/// How a resource is named in the audit log: by its id, or by a hash of it when the id is a token.
fn resource_id(kind: &str, id: &str) -> String {
    if !TOKENS.contains(&kind) || id.is_empty() {
        return id.to_owned();
    }
    let hash = digest(&SHA256, id.as_bytes());
    format!("sha256:{}", hex::encode(hash.as_ref().get(..8).unwrap_or_default()))
}

/// A record as it is kept: the columns, then the line of JSON.
fn line(record: &Record, time_ms: u64) -> Bytes {
    let mut json = json_line(record, time_ms, &record.details);
    let id = resource_id(&record.resource_type, &record.resource_id);
    let columns = [record.event.name(), &record.resource_type, &id, &record.cluster, &record.session.email];
    let mut text: String =
        columns.iter().flat_map(|column| [column.replace(SEPARATOR, "\u{fffd}"), SEPARATOR.into()]).collect();
    if text.len() + json.len() > RECORD_MAX {
        let omitted = Map::from_iter([("omitted_bytes".to_owned(), json!(json.len()))]);
        json = json_line(record, time_ms, &omitted);
    }
    text.push_str(&json);
    Bytes::from(redact(text.as_bytes()).into_owned())
}

fn json_line(record: &Record, time_ms: u64, details: &Map<String, Value>) -> String {
    let id = resource_id(&record.resource_type, &record.resource_id);
    let mut data = details.clone();
    data.insert("session".to_owned(), session(&record.session));
    let mut line = Map::new();
    line.insert("event_type".to_owned(), json!(record.event.name()));
    insert_text(&mut line, "resource_type", &record.resource_type);
    insert_text(&mut line, "resource_id", &id);
    line.insert("event_ts".to_owned(), json!(time_ms));
    line.insert("event_data".to_owned(), Value::Object(data));
    Value::Object(line).to_string()
}

fn session(session: &Session) -> Value {
    let mut object = Map::new();
    insert_text(&mut object, "user_agent", &session.user_agent);
    insert_text(&mut object, "user_id", &session.user_id);
    insert_text(&mut object, "role", &session.role);
    insert_text(&mut object, "email", &session.email);
    insert_text(&mut object, "fingerprint", &session.fingerprint);
    insert_text(&mut object, "confirmation_type", &session.confirmation_type);
    if let Some(expiration) = session.public_key_expiration {
        object.insert("public_key_expiration".to_owned(), json!(expiration));
    }
    Value::Object(object)
}

fn insert_text(object: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        object.insert(key.to_owned(), json!(text));
    }
}

#[cfg(test)]
mod tests;
