//! Segments as files: their lines come back, a wrong key and damage are seen, any bytes are taken.

use corten_base::{Rng, Secret};

use super::*;

fn folder(root: &Path, master: u8) -> Folder {
    Folder::new(root, "a", &Keys::new(&Secret::new([master; 32]), Rng::kernel()))
}

fn arrivals(texts: &[&'static str]) -> Vec<Arrival> {
    let times = 100..;
    times.zip(texts).map(|(time, text)| Arrival::new(time, Bytes::from_static(text.as_bytes()))).collect()
}

#[test]
fn a_closed_segment_has_the_lines_of_the_open_one_and_tells_their_numbers_and_times() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = folder(root.path(), 1);
    let mut open = folder.create(7).expect("made");
    let mut written = folder.append(&mut open, &arrivals(&["a", "b"])).expect("written");
    written.extend(folder.append(&mut open, &arrivals(&["c"])).expect("written"));
    let closed = folder.close(&open).expect("closed");
    assert_eq!(closed.extent, Extent { first: 7, last: 9, oldest_ms: 100, newest_ms: 101 });
    assert_eq!(folder.closed(7).expect("a head"), closed);
    for open_bytes in [None, Some(open.bytes)] {
        let segment = Segment { extent: closed.extent, open_bytes };
        assert_eq!(folder.lines(&segment).expect("lines"), written);
    }
    std::fs::remove_file(folder.open_path(7)).expect("removed");
    let was_open = Segment { extent: closed.extent, open_bytes: Some(open.bytes) };
    assert_eq!(folder.lines(&was_open).expect("lines of the closed one"), written);
}

#[test]
fn another_key_is_refused_and_nothing_is_changed() {
    let root = tempfile::tempdir().expect("a folder");
    let right = folder(root.path(), 1);
    let mut open = right.create(1).expect("made");
    right.append(&mut open, &arrivals(&["a"])).expect("written");
    let before = std::fs::read(right.open_path(1)).expect("read");
    assert!(matches!(folder(root.path(), 2).recover(1), Err(LogError::Key(_))));
    assert_eq!(std::fs::read(right.open_path(1)).expect("read"), before);
}

#[test]
fn nothing_of_a_line_is_on_the_disk_in_clear() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = folder(root.path(), 1);
    let mut open = folder.create(1).expect("made");
    folder.append(&mut open, &arrivals(&["something that nobody may read"])).expect("written");
    folder.close(&open).expect("closed");
    for path in [folder.open_path(1), folder.closed_path(1)] {
        let bytes = std::fs::read(&path).expect("read");
        assert!(!bytes.windows(9).any(|window| window == b"something"), "{}", path.display());
    }
}

#[test]
fn a_damaged_closed_segment_is_named() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = folder(root.path(), 1);
    let mut open = folder.create(1).expect("made");
    folder.append(&mut open, &arrivals(&["a"])).expect("written");
    let closed = folder.close(&open).expect("closed");
    let path = folder.closed_path(1);
    let mut bytes = std::fs::read(&path).expect("read");
    if let Some(byte) = bytes.last_mut() {
        *byte ^= 1;
    }
    std::fs::write(&path, bytes).expect("written");
    let segment = Segment { extent: closed.extent, open_bytes: None };
    assert!(matches!(folder.lines(&segment), Err(LogError::Damaged(_))));
}

#[test]
fn fuzz_heads_and_frames_take_any_bytes() {
    let keys = Keys::new(&Secret::new([1; 32]), Rng::seeded(1));
    let key = keys.segment("a", &[1; SALT_BYTES]).expect("a key");
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Some(head) = Head::decode(bytes) {
            assert_eq!(Head::decode(&head.encode()), Some(head));
        }
        let (lines, good) = walk(&key, 1, bytes);
        assert!(lines.is_empty() && good == 0, "nobody guesses a seal");
    });
}
