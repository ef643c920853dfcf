//! What a log promises: nothing acknowledged is lost, numbers count on, caps hold.

use std::time::Duration;

use bytes::Bytes;
use corten_base::{Rng, Secret};

use super::*;
use crate::caps::Caps;
use crate::key::Keys;
use crate::read::{Limit, Start};

const ANY: Caps = Caps { log_bytes: None, log_lines: None, total_bytes: None, age: None };

fn open(root: &Path, caps: Caps) -> Log {
    let keys = Keys::new(&Secret::new([1; 32]), Rng::kernel());
    Log::open(Folder::new(root, "a", &keys), Limits::of(&caps)).expect("opens")
}

fn append(log: &mut Log, texts: &[String], time_ms: u64) {
    let arrivals: Vec<Arrival> =
        texts.iter().map(|text| Arrival::new(time_ms, Bytes::from(text.clone()))).collect();
    let mut kept = Vec::new();
    log.append(&arrivals, &mut kept).expect("written");
    assert_eq!(kept.len(), texts.len());
}

fn text(number: u64) -> String {
    format!("line {number}")
}

/// Appends the lines with these numbers, each in a frame of its own.
fn grow(log: &mut Log, until: u64) {
    while log.next() <= until {
        let number = log.next();
        append(log, &[text(number)], number);
    }
}

/// The lines that are there, and whether each says its number.
fn numbers(log: &Log) -> Vec<u64> {
    let page = log.snapshot().since(1, Limit { lines: usize::MAX, bytes: usize::MAX }).expect("a page");
    for line in &page.lines {
        assert_eq!(line.bytes, text(line.number));
    }
    page.lines.iter().map(|line| line.number).collect()
}

/// Bytes of all files in the folder of the log.
fn on_disk(root: &Path) -> u64 {
    let entries = std::fs::read_dir(root.join("a")).expect("a folder");
    entries.map(|entry| entry.and_then(|entry| entry.metadata()).expect("a file").len()).sum()
}

#[test]
fn power_that_goes_at_any_byte_of_the_last_segment_costs_the_lines_behind_it_only() {
    let root = tempfile::tempdir().expect("a folder");
    let mut log = open(root.path(), Caps { log_lines: Some(8 * 4), ..ANY });
    grow(&mut log, 7);
    let file = root.path().join("a").join("00000000000000000005.open");
    let whole = std::fs::read(&file).expect("the open segment");
    let mut most = 4;
    for length in 0..=whole.len() {
        std::fs::write(&file, &whole[..length]).expect("cut");
        let mut log = open(root.path(), ANY);
        let there = numbers(&log);
        let last = there.last().copied().expect("closed lines");
        assert!(last >= most, "byte {length} gives lines, it takes none");
        assert_eq!(there, (1..=last).collect::<Vec<_>>(), "the first {length} bytes");
        most = last;
        grow(&mut log, last + 1);
        assert_eq!(numbers(&open(root.path(), ANY)).last(), Some(&(last + 1)), "it goes on after {length}");
    }
    assert_eq!(most, 7, "the whole file has all lines");
}

#[test]
fn what_stands_behind_a_bad_frame_is_cut_off() {
    let root = tempfile::tempdir().expect("a folder");
    grow(&mut open(root.path(), ANY), 3);
    let file = root.path().join("a").join("00000000000000000001.open");
    let whole = std::fs::read(&file).expect("the open segment");
    std::fs::write(&file, [&whole[..], &[0; 4096]].concat()).expect("a tail of zeros");
    assert_eq!(numbers(&open(root.path(), ANY)), [1, 2, 3]);
    assert_eq!(std::fs::read(&file).expect("read"), whole);
}

#[test]
fn a_crash_between_the_steps_of_closing_loses_and_doubles_nothing() {
    let root = tempfile::tempdir().expect("a folder");
    let mut log = open(root.path(), ANY);
    grow(&mut log, 3);
    let path = |name: &str| root.path().join("a").join(name);
    let old = std::fs::read(path("00000000000000000001.open")).expect("read");
    log.roll().expect("closed");
    drop(log);
    std::fs::write(path("00000000000000000001.open"), &old).expect("the open form is back");
    assert_eq!(numbers(&open(root.path(), ANY)), [1, 2, 3]);
    std::fs::write(path("00000000000000000001.open"), &old).expect("the open form is back");
    std::fs::remove_file(path("00000000000000000004.open")).expect("the next one was not begun");
    std::fs::write(path(".00000000000000000004.open.new"), b"half").expect("half of it was");
    let mut log = open(root.path(), ANY);
    assert_eq!((numbers(&log), log.next()), (vec![1, 2, 3], 4));
    grow(&mut log, 5);
    assert_eq!(numbers(&open(root.path(), ANY)), [1, 2, 3, 4, 5]);
    assert!(!path("00000000000000000001.open").exists() && !path(".00000000000000000004.open.new").exists());
}

#[test]
fn the_caps_on_lines_and_bytes_hold_and_only_the_oldest_lines_go() {
    let root = tempfile::tempdir().expect("a folder");
    let mut log = open(root.path(), Caps { log_lines: Some(80), ..ANY });
    for until in 1..=300 {
        grow(&mut log, until);
        log.evict().expect("evicted");
        let there = numbers(&log);
        assert!(there.len() as u64 >= until.min(70) && there.len() <= 80, "{} lines", there.len());
        assert_eq!(there.last(), Some(&until));
    }
    let root = tempfile::tempdir().expect("a folder");
    let caps = Caps { log_bytes: Some(4 << 20), ..ANY };
    let (mut log, rng) = (open(root.path(), caps), Rng::seeded(1));
    for _ in 0..48 {
        let line = Bytes::from(rng.bytes::<{ 200 * 1024 }>().to_vec());
        log.append(&[Arrival::new(1, line)], &mut Vec::new()).expect("written");
        log.evict().expect("evicted");
        assert!(log.bytes() <= 4 << 20, "{} bytes", log.bytes());
        assert_eq!(log.bytes(), on_disk(root.path()));
    }
    assert!(log.bytes() > 3 << 20 && log.first() > 1, "it keeps what it may");
}

#[test]
fn old_lines_go_also_those_of_a_silent_machine_and_numbers_count_on() {
    let root = tempfile::tempdir().expect("a folder");
    let caps = Caps { age: Some(Duration::from_millis(800)), ..ANY };
    let mut log = open(root.path(), caps);
    append(&mut log, &[text(1)], 1000);
    log.evict_aged(1100).expect("young");
    append(&mut log, &[text(2)], 1100);
    log.evict_aged(1101).expect("the segment is long enough");
    append(&mut log, &[text(3)], 1101);
    log.evict_aged(1901).expect("two are old");
    assert_eq!(numbers(&log), [3]);
    log.evict_aged(9999).expect("all are old");
    assert_eq!((numbers(&log), log.next()), (vec![], 4));
    assert_eq!(open(root.path(), caps).next(), 4, "also after a restart");
}

#[test]
fn readers_begin_at_a_number_a_time_or_before_the_end_and_find_words_in_all_segments() {
    let root = tempfile::tempdir().expect("a folder");
    let mut log = open(root.path(), Caps { log_lines: Some(80), ..ANY });
    grow(&mut log, 35);
    let snapshot = log.snapshot();
    let number = |start| snapshot.number_of(start).expect("a number");
    assert_eq!([number(Start::Oldest), number(Start::New), number(Start::Tail(5))], [1, 36, 31]);
    assert_eq!([number(Start::Number(99)), number(Start::Number(0)), number(Start::Tail(99))], [36, 1, 1]);
    assert_eq!([number(Start::Time(17)), number(Start::Time(0)), number(Start::Time(99))], [17, 1, 36]);
    let page = snapshot.since(8, Limit { lines: 5, bytes: 1000 }).expect("a page");
    assert_eq!((page.lines.len(), page.next, page.missed), (5, 13, 0));
    let page = snapshot.search("LINE 3", 1, Limit { lines: 4, bytes: 1000 }).expect("found");
    let found: Vec<u64> = page.lines.iter().map(|line| line.number).collect();
    assert_eq!((found, page.next), (vec![3, 30, 31, 32], 33));
    let page = snapshot.search("line 3", page.next, Limit::default()).expect("found");
    assert_eq!((page.lines.len(), page.next, page.missed), (3, 36, 0));
}

#[test]
fn a_reader_loses_nothing_when_segments_are_closed_and_is_told_when_they_are_given_up() {
    let root = tempfile::tempdir().expect("a folder");
    let mut log = open(root.path(), ANY);
    grow(&mut log, 5);
    let before = log.snapshot();
    log.roll().expect("closed");
    assert_eq!(before.since(1, Limit::default()).expect("a page").lines.len(), 5);
    grow(&mut log, 7);
    let before = log.snapshot();
    assert!(log.shrink().expect("given up"));
    let page = before.since(2, Limit::default()).expect("a page");
    assert_eq!((page.lines.len(), page.missed, page.next), (2, 4, 8));
    log.clear().expect("cleared");
    assert_eq!((log.next(), log.bytes()), (1, 0));
}
