//! Logs of machines: lines from the tunnel to the disk, and from the disk to whoever asks.
//!
//! ```text
//! line (nobody may wait) ─▶ room in bytes ─▶ lane of the machine ─▶ Intake (waits for the disk) ─▶ Logs
//!                             └─ none: dropped, counted, told once a minute                         │
//! API ◀── lines ◀── Follower ◀──────────────────────────────────────────────────────────────────────┘
//! Machine destroyed ─▶ its log is removed
//! ```
//!
//! A machine has always the same lane, so that its lines keep their order. A disk that is slow for one log holds back
//! those of its lane.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use corten_base::{Task, chain, spawn};
use corten_fleet_api::management::{Answering, LogLines, MachineLogs};
use corten_fleet_logs::{Caps, Follower, LogError, Logs, Options, Page, Start};
use corten_fleet_resources::machine::Machine;
use corten_fleet_siderolink::LogSink;
use corten_resource::{Change, State};
use futures::stream::{self, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::sleep;
use tonic::Status;

/// Lines that are taken to the disk at the same time.
const LANES: usize = 8;
/// Bytes of lines that wait for that.
const ROOM_BYTES: usize = 16 << 20;
/// What a line costs besides its bytes.
const ITEM_BYTES: usize = 128;
/// Between two words about lines that were dropped.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// How logs are kept, as the settings say. The rate of machines is that of the receiver, which loses nothing.
pub fn options(settings: &corten_fleet_settings::MachineLogs) -> Options {
    let caps = Caps {
        log_lines: settings.max_lines_per_machine.map(u64::from),
        total_bytes: settings.max_size,
        age: Some(settings.cleanup_older_than),
        ..Caps::default()
    };
    Options { caps, sweep_every: settings.cleanup_interval, ..Options::default() }
}

/// A line on its way to the disk.
struct Waiting {
    machine: String,
    line: Bytes,
    /// Given back when the line is with the writer.
    _room: OwnedSemaphorePermit,
}

/// Takes lines and never waits.
pub struct Sink {
    lanes: Vec<mpsc::UnboundedSender<Waiting>>,
    room: Arc<Semaphore>,
    dropped: Arc<AtomicU64>,
}

/// What takes the lines of a [`Sink`] on. The lanes end after the last line when the sink is gone.
pub struct Drains {
    lanes: Vec<Task>,
    _report: Task,
}

/// A sink before logs. Must be called inside a runtime.
pub fn sink(logs: &Logs) -> (Sink, Drains) {
    sink_of(logs, ROOM_BYTES)
}

fn sink_of(logs: &Logs, room: usize) -> (Sink, Drains) {
    let dropped = Arc::<AtomicU64>::default();
    let (mut senders, mut lanes) = (Vec::new(), Vec::new());
    for _ in 0..LANES {
        let (sender, receiver) = mpsc::unbounded_channel();
        senders.push(sender);
        lanes.push(spawn("lines of machines", drain(logs.clone(), receiver, Arc::clone(&dropped))));
    }
    let report = spawn("dropped lines", report(Arc::clone(&dropped)));
    let sink = Sink { lanes: senders, room: Arc::new(Semaphore::new(room)), dropped };
    (sink, Drains { lanes, _report: report })
}

impl LogSink for Sink {
    fn append(&self, machine: &str, line: &[u8]) {
        let cost = u32::try_from(line.len().saturating_add(ITEM_BYTES)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(cost);
        let waiting = room.map(|room| Waiting {
            machine: machine.to_owned(),
            line: Bytes::copy_from_slice(line),
            _room: room,
        });
        let lane = self.lanes.get(lane_of(machine));
        let is_taken = match (waiting, lane) {
            (Ok(waiting), Some(lane)) => lane.send(waiting).is_ok(),
            _ => false,
        };
        if !is_taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The lane of a machine.
fn lane_of(machine: &str) -> usize {
    machine.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % LANES
}

async fn drain(logs: Logs, mut lane: mpsc::UnboundedReceiver<Waiting>, dropped: Arc<AtomicU64>) {
    while let Some(Waiting { machine, line, _room }) = lane.recv().await {
        let taken = match logs.intake(&machine) {
            Ok(intake) => intake.append(&line).await,
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            dropped.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(machine, error = chain(&error), "a line was dropped");
        }
    }
}

/// Tells once in a while that lines were dropped.
async fn report(dropped: Arc<AtomicU64>) {
    let mut told = 0;
    loop {
        sleep(REPORT_INTERVAL).await;
        let lines = dropped.load(Ordering::Relaxed);
        if lines > told {
            let new = lines - told;
            tracing::warn!(new, since_start = lines, "lines of machines were dropped: the disk is too slow");
            told = lines;
        }
    }
}

impl Drains {
    /// Waits until every line is with the writer. The sink must be gone.
    pub async fn finish(self) {
        for lane in self.lanes {
            lane.join().await;
        }
    }
}

/// Reads logs for the API.
pub struct Reader(Logs);

impl Reader {
    /// A reader of logs.
    pub const fn new(logs: Logs) -> Self {
        Self(logs)
    }
}

impl MachineLogs for Reader {
    fn read<'a>(&'a self, machine: &'a str, tail: Option<usize>, follow: bool) -> Answering<'a, LogLines> {
        Box::pin(async move {
            let stats = self.0.log_stats(machine).await.map_err(|error| status(&error))?;
            // The first line of all has the number 1.
            if stats.next <= 1 && !follow {
                let text = format!("machine {machine} has sent no lines yet; follow it to wait for some");
                return Err(Status::not_found(text));
            }
            let tail = tail.map(|lines| Start::Tail(u64::try_from(lines).unwrap_or(u64::MAX)));
            let follower = self.0.follow(machine, tail.unwrap_or(Start::Oldest));
            Ok(lines(follower.map_err(|error| status(&error))?, follow))
        })
    }
}

/// The lines from where a follower is: those that there are, or also those that come.
fn lines(follower: Follower, follow: bool) -> LogLines {
    let pages = stream::unfold(Some(follower), move |follower| async move {
        let mut follower = follower?;
        let page = if follow { follower.next().await.map(Some) } else { follower.try_next().await };
        match page {
            Ok(page) => page.map(|page| (Ok(page), Some(follower))),
            Err(error) => Some((Err(status(&error)), None)),
        }
    });
    Box::pin(pages.flat_map(|page| stream::iter(texts(page))))
}

fn texts(page: Result<Page, Status>) -> Vec<Result<Bytes, Status>> {
    match page {
        Ok(Page { lines, missed, .. }) => {
            gap(missed).into_iter().chain(lines.into_iter().map(|line| line.bytes)).map(Ok).collect()
        }
        Err(status) => vec![Err(status)],
    }
}

/// The line that stands for lines that are gone.
fn gap(missed: u64) -> Option<Bytes> {
    let line = serde_json::json!({
        "msg": format!("{missed} lines are gone: they were older or more than the manager keeps"),
        "talos-level": "warn",
        "facility": "corten-fleet",
    });
    (missed > 0).then(|| Bytes::from(line.to_string()))
}

fn status(error: &LogError) -> Status {
    let text = chain(error);
    match error {
        LogError::Name(_) => Status::invalid_argument(text),
        LogError::Unfinished(_) | LogError::Closed => Status::unavailable(text),
        _ => Status::internal(text),
    }
}

/// Removes the logs of machines that are gone for good, for ever.
pub async fn forget(state: State, logs: Logs) {
    loop {
        let mut machines = state.watch::<Machine>();
        while let Some(event) = machines.next().await {
            if let Change::Destroyed(machine) = event.change
                && let Err(error) = logs.remove(machine.id()).await
            {
                let error = chain(&error);
                tracing::warn!(machine = machine.id(), error, "the log of a removed machine is left");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_base::{Clock, Rng, Secret};
    use corten_fleet_logs::Writer;
    use corten_resource::testing;
    use tokio::time::timeout;

    use super::*;

    fn logs(folder: &tempfile::TempDir) -> (Logs, Writer) {
        let master = Secret::new([1; 32]);
        let (clock, rng) = (Clock::fixed(1_700_000_000), Rng::seeded(1));
        Logs::open(folder.path(), &master, Options::default(), clock, rng).expect("opened")
    }

    async fn read(logs: &Logs, machine: &str, tail: Option<usize>) -> Result<Vec<String>, Status> {
        let lines = Reader::new(logs.clone()).read(machine, tail, false).await?;
        let text = |line: Result<Bytes, Status>| String::from_utf8_lossy(&line.expect("a line")).into_owned();
        Ok(lines.map(text).collect().await)
    }

    #[tokio::test]
    async fn lines_come_back_in_their_order_and_a_machine_without_any_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let (logs, writer) = logs(&folder);
        let _writer = spawn("writer", writer.run());
        let (sink, drains) = sink(&logs);
        for index in 0..100 {
            sink.append("m-1", format!("line {index}").as_bytes());
            sink.append("m-2", b"another");
        }
        drop(sink);
        drains.finish().await;
        logs.flush().await.expect("on the disk");
        assert_eq!(read(&logs, "m-1", Some(2)).await.expect("lines"), ["line 98", "line 99"]);
        assert_eq!(read(&logs, "m-2", None).await.expect("lines").len(), 100);
        let status = read(&logs, "m-3", None).await.expect_err("nothing");
        assert_eq!(status.code(), tonic::Code::NotFound);
    }

    #[tokio::test]
    async fn what_has_no_room_is_dropped_and_counted_and_nobody_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let (logs, _writer) = logs(&folder);
        let (sink, _drains) = sink_of(&logs, 2 * (ITEM_BYTES + 5));
        for _ in 0..5 {
            sink.append("m-1", b"12345");
        }
        assert_eq!(sink.dropped.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn the_log_of_a_removed_machine_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (logs, writer) = logs(&folder);
        let _writer = spawn("writer", writer.run());
        logs.intake("m-1").expect("a name").append(b"a line").await.expect("taken");
        logs.flush().await.expect("on the disk");
        let state = testing::state(corten_fleet_resources::registry());
        state.put("", "m-1", Machine::default()).expect("put");
        let _forgetting = spawn("forget", forget(state.clone(), logs.clone()));
        tokio::task::yield_now().await;
        state.remove::<Machine>("", "m-1").expect("removed");
        let gone = async {
            while logs.log_stats("m-1").await.expect("stats").next > 1 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(30), gone).await.expect("removed");
    }

    #[test]
    fn lines_that_are_gone_are_told() {
        assert_eq!(gap(0), None);
        let line = gap(7).expect("a line");
        let line: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        assert!(line["msg"].as_str().is_some_and(|text| text.starts_with("7 lines are gone")), "{line}");
    }
}
