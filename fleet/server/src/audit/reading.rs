//! Answers to ReadAuditLog (fleet.md 2.4, 2.11).
//!
//! ```text
//! request ─┬─▶ Query (days, filters, order) ─▶ AuditReader   ─▶ lines
//!          └─▶ Start (id, time, now)        ─▶ AuditFollower ─▶ where it begins, then lines, for an hour
//! ```

use std::time::Duration;

use corten_api::management::{
    AuditLogEventType, AuditLogOrderByDir, AuditLogOrderByField, ReadAuditLogRequest, ReadAuditLogResponse,
};
use corten_base::chain;
use corten_fleet_api::management::{Answering, AuditLog, Messages};
use corten_fleet_logs::audit::{
    Audit, AuditFollower, AuditLine, AuditReader, Direction, EventType, OrderBy, Query,
};
use corten_fleet_logs::{LogError, Start};
use futures::stream::{self, StreamExt as _};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

/// How long a stream is that is followed; clients begin another one then (fleet.md 2.4).
const LEASE: Duration = Duration::from_secs(3600);

/// Reads the audit log for the API.
pub struct Log(Audit);

/// A page of lines, or why there is none.
type Page = Result<Vec<AuditLine>, Status>;

impl Log {
    /// A reader of an audit log.
    pub const fn new(audit: Audit) -> Self {
        Self(audit)
    }

    async fn chosen(&self, request: &ReadAuditLogRequest) -> Result<Messages<ReadAuditLogResponse>, Status> {
        let from_id = number(request.from_id);
        let reader = self.0.read(query(request)?).await.map_err(|error| status(&error))?;
        let pages = stream::unfold(Some(reader), page);
        let wanted = move |line: &AuditLine| line.id >= from_id;
        Ok(Box::pin(pages.flat_map(move |page| stream::iter(messages(page, wanted, |_| 0)))))
    }

    async fn followed(
        &self,
        request: &ReadAuditLogRequest,
    ) -> Result<Messages<ReadAuditLogResponse>, Status> {
        if *request != only_followed(request) {
            let text = "with follow only start_ts_ms and from_id count; read the days, or follow all";
            return Err(Status::invalid_argument(text));
        }
        let start = match (number(request.from_id), number(request.start_ts_ms)) {
            (0, 0) => Start::New,
            (0, time_ms) => Start::Time(time_ms),
            (id, _) => Start::Number(id),
        };
        let mut follower = self.0.follow(start).map_err(|error| status(&error))?;
        let position = follower.position().await.map_err(|error| status(&error))?;
        let begin = ReadAuditLogResponse { audit_log: Vec::new(), id: id(position.saturating_sub(1)) };
        let end = Instant::now() + LEASE;
        let pages = stream::unfold(Some(follower), move |follower| next(follower, end));
        let lines = pages.flat_map(|page| stream::iter(messages(page, |_| true, |line| id(line.id))));
        Ok(Box::pin(stream::iter([Ok(begin)]).chain(lines)))
    }
}

impl AuditLog for Log {
    fn read(&self, request: ReadAuditLogRequest) -> Answering<'_, Messages<ReadAuditLogResponse>> {
        Box::pin(async move {
            if request.follow { self.followed(&request).await } else { self.chosen(&request).await }
        })
    }
}

/// The next page of what was chosen; nothing follows an error.
async fn page(reader: Option<AuditReader>) -> Option<(Page, Option<AuditReader>)> {
    let mut reader = reader?;
    match reader.next().await {
        Ok(page) => page.map(|lines| (Ok(lines), Some(reader))),
        Err(error) => Some((Err(status(&error)), None)),
    }
}

/// The next page of what is followed, until the end.
async fn next(follower: Option<AuditFollower>, end: Instant) -> Option<(Page, Option<AuditFollower>)> {
    let mut follower = follower?;
    match timeout_at(end, follower.next()).await.ok()? {
        Ok(lines) => Some((Ok(lines), Some(follower))),
        Err(error) => Some((Err(status(&error)), None)),
    }
}

/// The lines of a page that are wanted, as the client reads them.
fn messages(
    page: Page,
    is_wanted: impl Fn(&AuditLine) -> bool,
    id: impl Fn(&AuditLine) -> i64,
) -> Vec<Result<ReadAuditLogResponse, Status>> {
    match page {
        Ok(lines) => {
            let wanted = lines.iter().filter(|line| is_wanted(line));
            let message = |line: &AuditLine| ReadAuditLogResponse {
                audit_log: [line.json.as_ref(), b"\n"].concat(),
                id: id(line),
            };
            wanted.map(|line| Ok(message(line))).collect()
        }
        Err(status) => vec![Err(status)],
    }
}

/// A request with nothing but what goes with following.
fn only_followed(request: &ReadAuditLogRequest) -> ReadAuditLogRequest {
    ReadAuditLogRequest {
        follow: request.follow,
        start_ts_ms: request.start_ts_ms,
        from_id: request.from_id,
        ..ReadAuditLogRequest::default()
    }
}

/// What is asked for.
fn query(request: &ReadAuditLogRequest) -> Result<Query, Status> {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let given = Some(number(request.start_ts_ms)).filter(|time_ms| *time_ms > 0);
    let until = day("end_time", &request.end_time)?.and_then(|day| day.tomorrow().ok());
    Ok(Query {
        from_ms: given.or(day("start_time", &request.start_time)?.and_then(begin)),
        until_ms: until.and_then(begin),
        event: event(request.event_type)?,
        resource_type: text(&request.resource_type),
        resource_id: text(&request.resource_id),
        cluster: text(&request.cluster_id),
        actor: text(&request.actor),
        search: text(&request.search),
        order: order(request.order_by_field)?,
        direction: match AuditLogOrderByDir::try_from(request.order_by_dir) {
            Ok(AuditLogOrderByDir::Unspecified | AuditLogOrderByDir::Asc) => Direction::Ascending,
            Ok(AuditLogOrderByDir::Desc) => Direction::Descending,
            Err(_) => return Err(unknown("order_by_dir", request.order_by_dir)),
        },
    })
}

/// A day; nothing for an empty text.
fn day(field: &str, text: &str) -> Result<Option<Date>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong =
        |_| Status::invalid_argument(format!("{field}: {text:?} is no day; write it like 2026-01-31"));
    text.parse::<Date>().map(Some).map_err(wrong)
}

/// Begin of a day in UTC, Unix time in milliseconds; that of days before 1970 is nothing.
fn begin(day: Date) -> Option<u64> {
    let midnight = day.to_zoned(TimeZone::UTC).ok()?;
    u64::try_from(midnight.timestamp().as_millisecond()).ok()
}

fn event(wire: i32) -> Result<Option<EventType>, Status> {
    match AuditLogEventType::try_from(wire) {
        Ok(AuditLogEventType::Unspecified) => Ok(None),
        Ok(AuditLogEventType::Create) => Ok(Some(EventType::Create)),
        Ok(AuditLogEventType::Update) => Ok(Some(EventType::Update)),
        Ok(AuditLogEventType::UpdateWithConflicts) => Ok(Some(EventType::UpdateWithConflicts)),
        Ok(AuditLogEventType::Destroy) => Ok(Some(EventType::Destroy)),
        Ok(AuditLogEventType::Teardown) => Ok(Some(EventType::Teardown)),
        Ok(AuditLogEventType::TalosAccess) => Ok(Some(EventType::TalosAccess)),
        Ok(AuditLogEventType::K8sAccess) => Ok(Some(EventType::K8sAccess)),
        Ok(AuditLogEventType::AuditLogAccess) => Ok(Some(EventType::AuditLogAccess)),
        Err(_) => Err(unknown("event_type", wire)),
    }
}

fn order(wire: i32) -> Result<OrderBy, Status> {
    match AuditLogOrderByField::try_from(wire) {
        Ok(AuditLogOrderByField::Unspecified | AuditLogOrderByField::Date) => Ok(OrderBy::Date),
        Ok(AuditLogOrderByField::EventType) => Ok(OrderBy::EventType),
        Ok(AuditLogOrderByField::ResourceType) => Ok(OrderBy::ResourceType),
        Ok(AuditLogOrderByField::ResourceId) => Ok(OrderBy::ResourceId),
        Ok(AuditLogOrderByField::ClusterId) => Ok(OrderBy::Cluster),
        Ok(AuditLogOrderByField::Actor) => Ok(OrderBy::Actor),
        Err(_) => Err(unknown("order_by_field", wire)),
    }
}

fn unknown(field: &str, value: i32) -> Status {
    Status::invalid_argument(format!("{field}: {value} is none of the values that the API has"))
}

/// A number of the wire; what is negative counts as unset.
fn number(wire: i64) -> u64 {
    u64::try_from(wire).unwrap_or_default()
}

/// An id as it goes.
fn id(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

fn status(error: &LogError) -> Status {
    let text = chain(error);
    match error {
        LogError::TooMany(_) => Status::invalid_argument(text),
        LogError::Unfinished(_) | LogError::Closed => Status::unavailable(text),
        _ => Status::internal(text),
    }
}

#[cfg(test)]
mod tests {
    use corten_base::{Clock, Rng, Secret, Task, spawn};
    use corten_fleet_logs::audit::{Record, Retention, Session};
    use serde_json::Map;
    use tonic::Code;

    use super::*;

    /// 2023-11-14, some time of the day.
    const NOW: u64 = 1_700_000_000;

    async fn filled(folder: &tempfile::TempDir) -> (Audit, Log, Task) {
        let (clock, master) = (Clock::fixed(NOW), Secret::new([1; 32]));
        let opened = Audit::open(folder.path(), &master, Retention::default(), clock, Rng::seeded(1));
        let (audit, writer) = opened.expect("opened");
        let task = spawn("writer", writer.run());
        for cluster in ["a", "b", "c"] {
            audit.append(&record(cluster)).await.expect("noted");
        }
        (audit.clone(), Log::new(audit), task)
    }

    fn record(cluster: &str) -> Record {
        Record {
            event: EventType::Update,
            resource_type: "Clusters.omni.sidero.dev".to_owned(),
            resource_id: cluster.to_owned(),
            cluster: cluster.to_owned(),
            details: Map::new(),
            session: Session::default(),
        }
    }

    async fn count(log: &Log, request: ReadAuditLogRequest) -> Result<usize, Status> {
        let messages = log.read(request).await?;
        Ok(messages.map(|message| message.expect("a line")).count().await)
    }

    fn days(start: &str, end: &str) -> ReadAuditLogRequest {
        let (start_time, end_time) = (start.to_owned(), end.to_owned());
        ReadAuditLogRequest { start_time, end_time, ..ReadAuditLogRequest::default() }
    }

    #[tokio::test]
    async fn the_last_day_is_part_of_the_range_and_filters_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_, log, _task) = filled(&folder).await;
        assert_eq!(count(&log, days("", "")).await.expect("read"), 3);
        assert_eq!(count(&log, days("2023-11-14", "2023-11-14")).await.expect("read"), 3);
        assert_eq!(count(&log, days("2023-11-15", "")).await.expect("read"), 0);
        assert_eq!(count(&log, days("", "2023-11-13")).await.expect("read"), 0);
        let one = ReadAuditLogRequest { cluster_id: "b".to_owned(), ..days("", "") };
        assert_eq!(count(&log, one).await.expect("read"), 1);
        let from = ReadAuditLogRequest { from_id: 2, ..days("", "") };
        assert_eq!(count(&log, from).await.expect("read"), 2);
    }

    #[tokio::test]
    async fn what_is_no_day_or_no_choice_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_, log, _task) = filled(&folder).await;
        let sorted = ReadAuditLogRequest { follow: true, order_by_dir: 2, ..days("", "") };
        let unheard = ReadAuditLogRequest { event_type: 99, ..days("", "") };
        for request in [days("yesterday", ""), days("", "31.1.2026"), sorted, unheard] {
            let status = count(&log, request).await.expect_err("refused");
            assert_eq!(status.code(), Code::InvalidArgument, "{}", status.message());
        }
    }

    #[tokio::test]
    async fn who_follows_is_told_where_it_begins_and_then_everything() {
        let folder = tempfile::tempdir().expect("a folder");
        let (audit, log, _task) = filled(&folder).await;
        let follow = |from_id| ReadAuditLogRequest { follow: true, from_id, ..days("", "") };
        let mut old = log.read(follow(2)).await.expect("followed");
        let mut new = log.read(follow(0)).await.expect("followed");
        audit.append(&record("d")).await.expect("noted");
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(old.next().await.expect("a message").expect("a message").id);
        }
        assert_eq!(ids, [1, 2, 3, 4]);
        let begin = new.next().await.expect("a message").expect("a message");
        assert_eq!((begin.id, begin.audit_log.is_empty()), (3, true));
        let line = new.next().await.expect("a message").expect("a message");
        assert!(line.id == 4 && line.audit_log.ends_with(b"}\n"));
    }
}
