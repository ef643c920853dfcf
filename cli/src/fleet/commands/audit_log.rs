//! `fleet audit-log`: who did what.

use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use corten_api::management::{
    AuditLogEventType, AuditLogOrderByDir, AuditLogOrderByField, ReadAuditLogRequest,
};
use tokio::time::sleep;

use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::fleet::answer::{Answered as _, refused};
use crate::fleet::connect::Management;
use crate::units;

/// Time between a stream that ended and the next one.
const PAUSE: Duration = Duration::from_secs(1);

/// Print who did what, one line of JSON for each event.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet audit-log 2026-09-01 2026-09-21 --event-type destroy\n  corten fleet audit-log --since 1h --actor a@example.org\n  corten fleet audit-log -f"
)]
pub struct AuditLog {
    /// First day, such as 2026-09-01.
    start: Option<String>,
    /// Last day.
    end: Option<String>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    order: Order,
    /// Go on with what happens; nothing else is chosen by then.
    #[arg(short, long, conflicts_with_all = ["start", "end", "Filter", "Order"])]
    follow: bool,
    /// Only what happened so long ago or later.
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION", conflicts_with = "start")]
    since: Option<Duration>,
}

/// Which events are wanted.
#[derive(Args, Debug)]
struct Filter {
    /// Text in the event.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// What was done.
    #[arg(long, value_enum, value_name = "TYPE")]
    event_type: Option<EventType>,
    /// Type of the resource.
    #[arg(long, value_name = "TYPE")]
    resource_type: Option<String>,
    /// Id of the resource.
    #[arg(long, value_name = "ID")]
    resource_id: Option<String>,
    /// Name of the cluster.
    #[arg(long, value_name = "NAME")]
    cluster_id: Option<String>,
    /// E-mail address of who did it.
    #[arg(long, value_name = "EMAIL")]
    actor: Option<String>,
}

/// In which order events come.
#[derive(Args, Debug)]
struct Order {
    /// What they are sorted by.
    #[arg(long, value_enum, value_name = "FIELD")]
    order_by_field: Option<Field>,
    /// Direction of the sorting.
    #[arg(long, value_enum, value_name = "DIRECTION")]
    order_by_dir: Option<Direction>,
}

/// What was done, in the words of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum EventType {
    /// Something was created.
    Create,
    /// It was changed.
    Update,
    /// It was changed, more than once at the same time.
    UpdateWithConflicts,
    /// It was removed.
    Destroy,
    /// Its removal began.
    Teardown,
    /// Somebody used the API of a machine.
    TalosAccess,
    /// Somebody used Kubernetes.
    K8sAccess,
    /// Somebody read this log.
    AuditLogAccess,
}

impl EventType {
    const fn wire(self) -> AuditLogEventType {
        match self {
            Self::Create => AuditLogEventType::Create,
            Self::Update => AuditLogEventType::Update,
            Self::UpdateWithConflicts => AuditLogEventType::UpdateWithConflicts,
            Self::Destroy => AuditLogEventType::Destroy,
            Self::Teardown => AuditLogEventType::Teardown,
            Self::TalosAccess => AuditLogEventType::TalosAccess,
            Self::K8sAccess => AuditLogEventType::K8sAccess,
            Self::AuditLogAccess => AuditLogEventType::AuditLogAccess,
        }
    }
}

/// What events are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Field {
    /// When it was.
    Date,
    /// What was done.
    EventType,
    /// To what type.
    ResourceType,
    /// To which resource.
    ResourceId,
    /// In which cluster.
    ClusterId,
    /// By whom.
    Actor,
}

impl Field {
    const fn wire(self) -> AuditLogOrderByField {
        match self {
            Self::Date => AuditLogOrderByField::Date,
            Self::EventType => AuditLogOrderByField::EventType,
            Self::ResourceType => AuditLogOrderByField::ResourceType,
            Self::ResourceId => AuditLogOrderByField::ResourceId,
            Self::ClusterId => AuditLogOrderByField::ClusterId,
            Self::Actor => AuditLogOrderByField::Actor,
        }
    }
}

/// Direction of a sorting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// The least first.
    Asc,
    /// The greatest first.
    Desc,
}

impl Direction {
    const fn wire(self) -> AuditLogOrderByDir {
        match self {
            Self::Asc => AuditLogOrderByDir::Asc,
            Self::Desc => AuditLogOrderByDir::Desc,
        }
    }
}

impl Command for AuditLog {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        let mut management = manager.management();
        let mut request = self.request(cx);
        loop {
            let last = read(cx, &mut management, &request).await?;
            if !request.follow {
                return Ok(());
            }
            // The manager ends the stream after an hour; it goes on after the last event.
            sleep(PAUSE).await;
            request =
                ReadAuditLogRequest { follow: true, from_id: last + 1, ..ReadAuditLogRequest::default() };
        }
    }
}

/// Prints events until the stream ends. Returns the id of the last one.
async fn read(cx: &Cx, management: &mut Management, request: &ReadAuditLogRequest) -> Result<i64, Failure> {
    let object = "cannot read the audit log";
    let mut last = request.from_id.saturating_sub(1).max(0);
    let mut stream = management.read_audit_log(request.clone()).await.answered(object)?;
    while let Some(event) = stream.message().await.map_err(refused).or_fail(object)? {
        last = last.max(event.id);
        // The first message of a stream that is followed only tells where it begins.
        if !event.audit_log.is_empty() {
            let line = event.audit_log.trim_ascii_end();
            cx.print([line, b"\n"].concat())?;
        }
    }
    Ok(last)
}

impl AuditLog {
    fn request(self, cx: &Cx) -> ReadAuditLogRequest {
        let Self { start, end, filter, order, follow, since } = self;
        let start_ts_ms = since.and_then(|since| {
            let start = cx.clock.now().checked_sub(since)?.duration_since(UNIX_EPOCH).ok()?;
            i64::try_from(start.as_millis()).ok()
        });
        ReadAuditLogRequest {
            start_time: start.unwrap_or_default(),
            end_time: end.unwrap_or_default(),
            order_by_field: order.order_by_field.map(Field::wire).unwrap_or_default().into(),
            order_by_dir: order.order_by_dir.map(Direction::wire).unwrap_or_default().into(),
            search: filter.search.unwrap_or_default(),
            event_type: filter.event_type.map(EventType::wire).unwrap_or_default().into(),
            resource_type: filter.resource_type.unwrap_or_default(),
            resource_id: filter.resource_id.unwrap_or_default(),
            cluster_id: filter.cluster_id.unwrap_or_default(),
            actor: filter.actor.unwrap_or_default(),
            follow,
            start_ts_ms: start_ts_ms.unwrap_or_default(),
            from_id: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use corten_base::{Clock, Rng};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        log: AuditLog,
    }

    fn request(arguments: &str) -> ReadAuditLogRequest {
        let words = std::iter::once("x").chain(arguments.split_whitespace());
        let cx = Cx {
            globals: Default::default(),
            fleet: Default::default(),
            clock: Clock::fixed(1_790_000_000),
            rng: Rng::seeded(1),
        };
        Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).log.request(&cx)
    }

    #[test]
    fn arguments_become_the_request() {
        let days = request("2026-09-01 2026-09-21 --event-type k8s_access --order-by-field resource_id");
        assert_eq!((days.start_time.as_str(), days.end_time.as_str()), ("2026-09-01", "2026-09-21"));
        assert_eq!(days.event_type(), AuditLogEventType::K8sAccess);
        assert_eq!(days.order_by_field(), AuditLogOrderByField::ResourceId);
        assert_eq!(request("--since 1h").start_ts_ms, 1_789_996_400_000);
        assert!(request("-f --since 1h").follow);
        assert_eq!(request(""), ReadAuditLogRequest::default());
    }

    #[test]
    fn what_is_followed_is_not_sorted() {
        let words = ["x", "-f", "--order-by-dir", "asc"];
        assert!(Line::try_parse_from(words).is_err());
    }
}
