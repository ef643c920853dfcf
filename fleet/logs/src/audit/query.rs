//! Reading the audit log: filters, order, and following it.
//!
//! ```text
//! segments in the range of time ─one at a time─▶ columns match? ─▶ by date as they come, or all sorted by a column
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::EventType;
use crate::error::LogError;
use crate::follow::Follower;
use crate::frame::Line;
use crate::intake::Intake;
use crate::read::{Snapshot, contains};
use crate::segment::{Extent, Segment};

/// Most bytes of records that are sorted by something else than their date, because that happens in memory.
const SORTED_BYTES_MAX: usize = 32 << 20;

/// What records are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrderBy {
    /// The order in which they were noted.
    #[default]
    Date,
    /// Name of the event.
    EventType,
    /// Type of the resource.
    ResourceType,
    /// Id of the resource.
    ResourceId,
    /// Id of the cluster.
    Cluster,
    /// Email address of the actor.
    Actor,
}

/// Direction of the sorting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// The least or oldest first.
    #[default]
    Ascending,
    /// The greatest or newest first.
    Descending,
}

/// Which records are wanted; `None` means any. All texts but `search` and `actor` must be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Not before this time, Unix time in milliseconds.
    pub from_ms: Option<u64>,
    /// Before this time, Unix time in milliseconds.
    pub until_ms: Option<u64>,
    /// What happened.
    pub event: Option<EventType>,
    /// Type of the resource.
    pub resource_type: Option<String>,
    /// Id of the resource.
    pub resource_id: Option<String>,
    /// Id of the cluster.
    pub cluster: Option<String>,
    /// Email address of the actor, whatever its case.
    pub actor: Option<String>,
    /// A text that stands somewhere in the line of JSON, whatever its ASCII case.
    pub search: Option<String>,
    /// What they are sorted by.
    pub order: OrderBy,
    /// In which direction; records that are equal in it keep the order of their dates.
    pub direction: Direction,
}

/// A record as it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// Its id; later records have greater ones.
    pub id: u64,
    /// When it was noted, Unix time in milliseconds.
    pub time_ms: u64,
    /// A line of JSON, without the end of the line.
    pub json: Bytes,
}

/// The columns of a record as it is kept.
struct Columns<'a> {
    event: &'a [u8],
    resource_type: &'a [u8],
    resource_id: &'a [u8],
    cluster: &'a [u8],
    actor: &'a [u8],
    json: &'a [u8],
}

impl<'a> Columns<'a> {
    fn of(line: &'a Line) -> Option<Self> {
        let mut parts = line.bytes.splitn(6, |byte| *byte == 0);
        Some(Self {
            event: parts.next()?,
            resource_type: parts.next()?,
            resource_id: parts.next()?,
            cluster: parts.next()?,
            actor: parts.next()?,
            json: parts.next()?,
        })
    }

    fn sorted_by(&self, order: OrderBy) -> &'a [u8] {
        match order {
            OrderBy::Date => &[],
            OrderBy::EventType => self.event,
            OrderBy::ResourceType => self.resource_type,
            OrderBy::ResourceId => self.resource_id,
            OrderBy::Cluster => self.cluster,
            OrderBy::Actor => self.actor,
        }
    }

    /// A copy, lest a record that is kept hold a whole segment in memory.
    fn answer(&self, line: &Line) -> AuditLine {
        AuditLine { id: line.number, time_ms: line.time_ms, json: Bytes::copy_from_slice(self.json) }
    }
}

impl Query {
    /// Whether a segment may have records of the wanted time.
    fn is_in_range(&self, extent: &Extent) -> bool {
        self.from_ms.is_none_or(|from| extent.newest_ms >= from)
            && self.until_ms.is_none_or(|until| extent.oldest_ms < until)
    }

    fn matches(&self, time_ms: u64, columns: &Columns<'_>) -> bool {
        let is = |wanted: &Option<String>, found: &[u8]| {
            wanted.as_ref().is_none_or(|wanted| wanted.as_bytes() == found)
        };
        self.from_ms.is_none_or(|from| time_ms >= from)
            && self.until_ms.is_none_or(|until| time_ms < until)
            && self.event.is_none_or(|event| event.name().as_bytes() == columns.event)
            && is(&self.resource_type, columns.resource_type)
            && self.resource_id.as_ref().is_none_or(|id| is_named(columns, id))
            && is(&self.cluster, columns.cluster)
            && self.actor.as_ref().is_none_or(|actor| columns.actor.eq_ignore_ascii_case(actor.as_bytes()))
            && self.search.as_ref().is_none_or(|text| contains(columns.json, text.as_bytes()))
    }
}

/// Whether the resource has this id, also when a hash of it was noted.
fn is_named(columns: &Columns<'_>, id: &str) -> bool {
    let kind = String::from_utf8_lossy(columns.resource_type);
    id.as_bytes() == columns.resource_id || super::resource_id(&kind, id).as_bytes() == columns.resource_id
}

/// A record that matches, and the column that it is sorted by.
type Found = (Bytes, AuditLine);

/// Reads the records that match a query.
pub struct AuditReader {
    intake: Intake,
    snapshot: Arc<Snapshot>,
    query: Arc<Query>,
    /// Segments that were not read yet, in the order of reading.
    left: VecDeque<Segment>,
}

impl std::fmt::Debug for AuditReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditReader").field("query", &self.query).finish_non_exhaustive()
    }
}

impl AuditReader {
    pub(super) fn new(intake: Intake, snapshot: Snapshot, query: Query) -> Self {
        let in_range = snapshot.segments().iter().filter(|segment| query.is_in_range(&segment.extent));
        let mut left: VecDeque<Segment> = in_range.copied().collect();
        if query.order == OrderBy::Date && query.direction == Direction::Descending {
            left.make_contiguous().reverse();
        }
        Self { intake, snapshot: Arc::new(snapshot), query: Arc::new(query), left }
    }

    /// The next records, never an empty list; nothing when there are no more.
    ///
    /// # Errors
    /// When the log cannot be read, and when too many records match for another order than that of dates.
    pub async fn next(&mut self) -> Result<Option<Vec<AuditLine>>, LogError> {
        let is_by_date = self.query.order == OrderBy::Date;
        let (mut all, mut bytes) = (Vec::<Found>::new(), 0_usize);
        while let Some(segment) = self.left.front().copied() {
            let found = self.matching(segment).await?;
            self.left.pop_front();
            bytes += found.iter().map(|(key, line)| key.len() + line.json.len()).sum::<usize>();
            all.extend(found);
            if is_by_date && !all.is_empty() {
                break;
            }
            if bytes > SORTED_BYTES_MAX {
                return Err(LogError::TooMany(SORTED_BYTES_MAX));
            }
        }
        match self.query.direction {
            Direction::Ascending => all.sort_by(|(a, _), (b, _)| a.cmp(b)),
            Direction::Descending if is_by_date => all.reverse(),
            Direction::Descending => all.sort_by(|(a, _), (b, _)| b.cmp(a)),
        }
        let lines: Vec<AuditLine> = all.into_iter().map(|(_, line)| line).collect();
        Ok((!lines.is_empty()).then_some(lines))
    }

    /// The records of a segment that match, by date.
    async fn matching(&self, segment: Segment) -> Result<Vec<Found>, LogError> {
        let (snapshot, query) = (Arc::clone(&self.snapshot), Arc::clone(&self.query));
        let entry = Arc::clone(&self.intake.entry);
        let reading = self.intake.shared.on(entry, move |_, _| {
            let mut found = Vec::new();
            for line in snapshot.lines(&segment)? {
                let Some(columns) = Columns::of(&line) else { continue };
                if query.matches(line.time_ms, &columns) {
                    let key = Bytes::copy_from_slice(columns.sorted_by(query.order));
                    found.push((key, columns.answer(&line)));
                }
            }
            Ok(found)
        });
        reading.await
    }
}

/// Reads records from some place on, and then those that come.
#[derive(Debug)]
pub struct AuditFollower(Follower);

impl AuditFollower {
    pub(super) fn new(follower: Follower) -> Self {
        Self(follower)
    }

    /// Id of the record that it reads next; all before it were read or are not wanted.
    ///
    /// # Errors
    /// When the log cannot be opened or read.
    pub async fn position(&mut self) -> Result<u64, LogError> {
        self.0.position().await
    }

    /// The next records; waits for them. It may be dropped while it waits. Records that are too old by now are left
    /// out, as their ids tell.
    ///
    /// # Errors
    /// When the log cannot be opened or read; another call tries again.
    pub async fn next(&mut self) -> Result<Vec<AuditLine>, LogError> {
        loop {
            let page = self.0.next().await?;
            let answers = page.lines.iter().filter_map(|line| Some(Columns::of(line)?.answer(line)));
            let lines: Vec<AuditLine> = answers.collect();
            if !lines.is_empty() {
                return Ok(lines);
            }
        }
    }
}
