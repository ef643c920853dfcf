use super::*;

const WAITER: Waiter = Waiter { connection: 1, request: 2 };

fn at(ms: u64) -> Now {
    Now { monotonic: Duration::from_millis(ms), unix_ms: 1_000_000 + ms }
}

fn spec(restart: Restart) -> ProcessSpec {
    let mut spec = ProcessSpec::new(["/usr/bin/true"]);
    spec.restart = restart;
    spec
}

fn always() -> ProcessSpec {
    spec(Restart::Always { backoff_ms_min: 100, backoff_ms_max: 1000 })
}

fn running(spec: ProcessSpec) -> Table {
    let mut table = Table::default();
    table.insert("x", spec, at(0)).unwrap();
    assert_eq!(table.due(at(0)), [Due::Start("x".into())]);
    table.started("x", 7, at(0));
    table
}

#[test]
fn a_process_that_is_not_restarted_finishes_with_its_history() {
    let mut table = running(spec(Restart::Never));
    let ended = table.exited(7, ExitStatus::Code(3), at(50)).unwrap();
    assert_eq!((ended.restart_in, ended.exit.exited_at_ms), (None, 1_000_050));
    let status = table.status("x").unwrap();
    assert_eq!((status.state, status.pid, status.history.len()), (ProcessState::Finished, None, 1));
    assert_eq!(table.next_deadline(), None);
    table.insert("x", spec(Restart::Never), at(60)).unwrap();
    assert_eq!(table.status("x").unwrap().history.len(), 1);
}

#[test]
fn restarts_back_off_and_recover_after_a_long_run() {
    let mut table = running(always());
    let mut now = 0;
    let mut delays = Vec::new();
    for _ in 0..6 {
        let delay = table.exited(7, ExitStatus::Signal(9), at(now)).unwrap().restart_in.unwrap();
        delays.push(delay.as_millis());
        assert_eq!(table.next_deadline(), Some(at(now).monotonic + delay));
        assert_eq!(table.due(at(now)), []);
        now += u64::try_from(delay.as_millis()).unwrap();
        assert_eq!(table.due(at(now)), [Due::Start("x".into())]);
        table.started("x", 7, at(now));
    }
    assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
    let recovered = table.exited(7, ExitStatus::Code(0), at(now + 1001)).unwrap();
    assert_eq!(recovered.restart_in, Some(Duration::from_millis(100)));
    assert_eq!(table.status("x").unwrap().restarts, 7);
}

#[test]
fn stopping_signals_once_then_kills_and_tells_all_who_wait() {
    let mut table = running(always());
    let grace = Duration::from_millis(500);
    assert_eq!(table.stop("x", grace, WAITER, at(10)), Ok(Some((7, 15))));
    let other = Waiter { connection: 3, request: 4 };
    assert_eq!(table.stop("x", grace, other, at(20)), Ok(None));
    assert!(!table.is_down("x"));
    assert_eq!(table.due(at(519)), []);
    assert_eq!(table.due(at(520)), [Due::Kill(7)]);
    assert_eq!(table.due(at(521)), []);
    let ended = table.exited(7, ExitStatus::Signal(9), at(530)).unwrap();
    assert_eq!((ended.restart_in, ended.waiters), (None, vec![WAITER, other]));
    assert!(table.is_down("x"));
}

#[test]
fn stopping_what_waits_for_a_restart_ends_the_waiting() {
    let mut table = running(always());
    table.exited(7, ExitStatus::Code(1), at(1)).unwrap();
    assert_eq!(table.stop("x", Duration::ZERO, WAITER, at(2)), Ok(None));
    assert!(table.is_down("x") && table.due(at(5000)).is_empty());
}

#[test]
fn a_failed_start_is_tried_again_only_if_asked_for() {
    let mut table = Table::default();
    table.insert("x", always(), at(0)).unwrap();
    assert_eq!(table.start_failed("x", "no such file", at(0)), Some(Duration::from_millis(100)));
    assert_eq!(table.status("x").unwrap().start_error.as_deref(), Some("no such file"));
    table.insert("y", spec(Restart::Never), at(0)).unwrap();
    assert_eq!(table.start_failed("y", "no", at(0)), None);
    assert_eq!(table.status("y").unwrap().state, ProcessState::Finished);
}

#[test]
fn refusals() {
    let kind = |result: Result<(), Refusal>| result.unwrap_err().kind;
    let mut table = running(always());
    assert_eq!(kind(table.insert("x", always(), at(0))), RefusalKind::AlreadyRunning);
    assert_eq!(kind(table.insert("y", ProcessSpec::new(["relative"]), at(0))), RefusalKind::Invalid);
    assert_eq!(kind(table.remove("x")), RefusalKind::AlreadyRunning);
    assert_eq!(kind(table.remove("y")), RefusalKind::NotFound);
    assert_eq!(table.exited(99, ExitStatus::Code(0), at(0)), None);
    for number in 1..PROCESSES_MAX {
        table.insert(&format!("p{number}"), always(), at(0)).unwrap();
    }
    assert_eq!(kind(table.insert("more", always(), at(0))), RefusalKind::Limit);
}

#[test]
fn pages_cover_everything_once() {
    let mut table = Table::default();
    for number in 0..10 {
        table.insert(&format!("p{number}"), always(), at(0)).unwrap();
    }
    let (first, more) = table.page(None, 4);
    assert!(more && first.len() == 4);
    let (last, more) = table.page(Some("p7"), 4);
    assert!(!more && last.len() == 2);
}
