//! The logs of machines from outside: lines go in, and come back through tail, search and followers.

use std::num::NonZeroU64;

use corten_base::{Task, spawn};

use super::*;
use crate::intake::SHARE_BYTES;

const DEADLINE: Duration = Duration::from_secs(60);
/// Bytes of a line of a machine that says much.
const LONG_LINE: usize = 60_000;

struct Place {
    folder: tempfile::TempDir,
    clock: Clock,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), clock: Clock::fixed(1_000) }
    }

    fn open(&self, options: Options) -> Result<(Logs, Writer), LogError> {
        let master = Secret::new([1; 32]);
        Logs::open(&self.folder.path().join("logs"), &master, options, self.clock.clone(), Rng::kernel())
    }

    /// Opens the logs when those before have let go of the folder, and writes.
    async fn run(&self, options: Options) -> (Logs, Task) {
        loop {
            match self.open(options) {
                Ok((logs, writer)) => return (logs, spawn("logs", writer.run())),
                Err(LogError::Busy(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

async fn append(logs: &Logs, machine: &str, lines: impl IntoIterator<Item = String>) {
    let intake = logs.intake(machine).expect("a name");
    for line in lines {
        intake.append(line.as_bytes()).await.expect("taken");
    }
}

fn texts(page: &Page) -> Vec<String> {
    page.lines.iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
}

/// Waits until it holds.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect("it holds in time");
}

#[tokio::test]
async fn lines_come_back_after_a_restart_without_their_tokens() {
    let place = Place::new();
    let (logs, task) = place.run(Options::default()).await;
    append(&logs, "a", ["one".to_owned(), "token: abcdefghijkl".to_owned()]).await;
    append(&logs, "b", ["other".to_owned()]).await;
    logs.flush().await.expect("flushed");
    task.abort();
    task.join().await;
    assert!(matches!(logs.intake("a").expect("a name").append(b"x").await, Err(LogError::Closed)));
    drop(logs);
    let (logs, _task) = place.run(Options::default()).await;
    let page = logs.tail("a", 10).await.expect("a page");
    assert_eq!(texts(&page), ["one", "token: REDACTED"]);
    assert_eq!((page.next, page.end, page.lines[0].time_ms), (3, 3, 1_000_000));
    assert_eq!(texts(&logs.search("a", "ONE", 1, Limit::default()).await.expect("found")), ["one"]);
    assert_eq!(logs.stats().logs, 2);
}

#[tokio::test]
async fn one_program_at_a_time_and_no_name_leads_out_of_the_folder() {
    let place = Place::new();
    let (logs, _writer) = place.open(Options::default()).expect("opens");
    assert!(matches!(place.open(Options::default()), Err(LogError::Busy(_))));
    for name in ["", ".", "..", ".lock", "a/b", "a\0", &"x".repeat(129)] {
        assert!(matches!(logs.intake(name), Err(LogError::Name(_))), "{name:?}");
    }
    assert!(logs.intake("4c4c4544-0039-4a10-8043-c4c04f333333").is_ok());
}

#[test]
fn another_key_is_refused_before_anything_is_written() {
    let place = Place::new();
    drop(place.open(Options::default()).expect("opens"));
    let root = place.folder.path().join("logs");
    let another = Secret::new([2; 32]);
    let opened = Logs::open(&root, &another, Options::default(), Clock::fixed(1), Rng::kernel());
    assert!(matches!(opened, Err(LogError::Key(_))));
    drop(opened);
    place.open(Options::default()).expect("the right key still opens them");
}

#[tokio::test]
async fn a_follower_gets_every_line_also_when_it_is_slow() {
    let place = Place::new();
    let (logs, _task) = place.run(Options::default()).await;
    append(&logs, "a", (1..=50).map(|number| number.to_string())).await;
    logs.flush().await.expect("flushed");
    let mut slow = logs.follow("a", Start::Tail(10)).expect("a name");
    assert_eq!(slow.position().await.expect("a number"), 41);
    let writing = async {
        // More than what is kept in memory for followers.
        append(&logs, "a", (51..=10_000).map(|number| number.to_string())).await;
        logs.flush().await.expect("flushed");
    };
    let reading = async {
        let mut fast = logs.follow("a", Start::Oldest).expect("a name");
        let mut expected = 1;
        while expected <= 10_000 {
            let page = fast.next().await.expect("a page");
            assert_eq!(page.missed, 0);
            for text in texts(&page) {
                assert_eq!(text, expected.to_string());
                expected += 1;
            }
        }
    };
    tokio::time::timeout(DEADLINE, async { tokio::join!(writing, reading) }).await.expect("in time");
    let mut seen = Vec::new();
    while let Some(page) = slow.try_next().await.expect("a page") {
        assert_eq!(page.missed, 0);
        seen.extend(texts(&page));
    }
    assert_eq!(seen, (41..=10_000).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_follower_is_told_how_many_lines_were_given_up_and_sees_a_log_begin_anew() {
    let place = Place::new();
    let caps = Caps { log_lines: Some(80), ..Caps::default() };
    let (logs, _task) = place.run(Options { caps, ..Options::default() }).await;
    append(&logs, "a", ["first".to_owned()]).await;
    logs.flush().await.expect("flushed");
    let mut follower = logs.follow("a", Start::Number(1)).expect("a name");
    follower.position().await.expect("a number");
    for round in 0..20 {
        append(&logs, "a", (0..50).map(|line| format!("{round} {line}"))).await;
        logs.flush().await.expect("flushed");
    }
    logs.0.entry("a").expect("a name").live.clear();
    let page = follower.next().await.expect("a page");
    assert!(page.lines.len() >= 70 && page.lines.len() <= 80, "{}", page.lines.len());
    assert_eq!((page.missed + page.lines.len() as u64, page.next), (1001, 1002));
    logs.remove("a").await.expect("removed");
    append(&logs, "a", ["anew".to_owned()]).await;
    let page = tokio::time::timeout(DEADLINE, follower.next()).await.expect("in time").expect("a page");
    assert_eq!((texts(&page), page.lines[0].number), (vec!["anew".to_owned()], 1));
}

#[tokio::test]
async fn a_machine_above_its_rate_is_told_what_it_lost_and_others_lose_nothing() {
    let place = Place::new();
    let bytes_per_second = NonZeroU64::new(1000).expect("a number");
    let rate = Some(Rate { bytes_per_second, burst_bytes: 0 });
    let (logs, _task) = place.run(Options { rate, ..Options::default() }).await;
    append(&logs, "loud", (0..1000).map(|_| "x".repeat(100))).await;
    append(&logs, "calm", ["all is well".to_owned()]).await;
    logs.flush().await.expect("flushed");
    let page = logs.tail("loud", 2000).await.expect("a page");
    let markers: Vec<String> = texts(&page).into_iter().filter(|text| text.contains("dropped")).collect();
    let kept = page.lines.len() - markers.len();
    assert!((10..1000).contains(&kept), "{kept} lines");
    let count = |marker: &String| marker.split("dropped ").nth(1)?.split(' ').next()?.parse::<usize>().ok();
    assert_eq!(kept + markers.iter().filter_map(count).sum::<usize>(), 1000, "{markers:?}");
    assert_eq!(texts(&logs.tail("calm", 9).await.expect("a page")), ["all is well"]);
}

#[tokio::test]
async fn a_machine_waits_while_the_writer_does_not_write_and_others_find_room() {
    let place = Place::new();
    let (logs, writer) = place.open(Options::default()).expect("opens");
    let line = vec![b'x'; LONG_LINE];
    let loud = logs.intake("loud").expect("a name");
    let mut taken = 0;
    while tokio::time::timeout(Duration::from_millis(50), loud.append(&line)).await.is_ok() {
        taken += 1;
    }
    assert_eq!(taken, SHARE_BYTES / (LONG_LINE + 256), "its share and no more");
    append(&logs, "calm", ["all is well".to_owned()]).await;
    let _task = spawn("logs", writer.run());
    loud.append(&line).await.expect("taken, now that there is room");
    logs.flush().await.expect("flushed");
    assert_eq!(logs.log_stats("loud").await.expect("stats").next, taken as u64 + 2, "nothing was lost");
}

#[tokio::test]
async fn all_logs_together_keep_their_cap_and_the_largest_gives_up_lines() {
    let place = Place::new();
    let caps = Caps { total_bytes: Some(2 << 20), ..Caps::default() };
    let (logs, _task) = place.run(Options { caps, ..Options::default() }).await;
    append(&logs, "calm", ["all is well".to_owned()]).await;
    let rng = Rng::seeded(1);
    let noise =
        |_: u32| -> String { rng.bytes::<1024>().iter().map(|byte| char::from(b'a' + byte % 64)).collect() };
    append(&logs, "loud", (0..8192).map(noise)).await;
    logs.flush().await.expect("flushed");
    assert!(logs.stats().bytes <= 2 << 20, "{:?}", logs.stats());
    assert!(logs.log_stats("loud").await.expect("stats").first > 1);
    assert_eq!(texts(&logs.tail("calm", 9).await.expect("a page")), ["all is well"]);
}

#[tokio::test]
async fn a_sweep_removes_what_is_too_old_and_forgets_empty_logs() {
    let place = Place::new();
    let caps = Caps { age: Some(Duration::from_secs(100)), ..Caps::default() };
    let options = Options { caps, sweep_every: Duration::ZERO, ..Options::default() };
    let (logs, _task) = place.run(options).await;
    append(&logs, "a", ["old".to_owned()]).await;
    logs.flush().await.expect("flushed");
    assert_eq!(texts(&logs.tail("a", 9).await.expect("a page")), ["old"]);
    place.clock.advance(Duration::from_secs(101));
    until(async || logs.stats().logs == 0).await;
    append(&logs, "a", ["new".to_owned()]).await;
    logs.flush().await.expect("flushed");
    let page = logs.since("a", 1, Limit::default()).await.expect("a page");
    assert_eq!((texts(&page), page.missed, page.next), (vec!["new".to_owned()], 1, 3));
}
