//! Tests of file systems: a library and, where it is there, a program of others read them.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use hadris_fat::FatVolume;

use super::*;
use crate::media::piece::tests::bytes;

fn volume(size: u64) -> Volume {
    Volume { size, id: 0x1234_5678, label: "EFI", hidden_sectors: 2048 }
}

fn files() -> Vec<Entry> {
    let file = |path: &str, contents: &[u8]| Entry {
        path: path.to_owned(),
        contents: vec![Piece::Bytes(contents.to_vec())],
    };
    vec![
        file("EFI/BOOT/BOOTX64.EFI", &[b'b'; 1000]),
        file("EFI/systemd/systemd-bootx64.efi", &[b'b'; 1000]),
        file("EFI/Linux/Corten-0.1.0.efi", &[b'u'; 300_000]),
        file("loader/loader.conf", b"timeout 0\n"),
        file("EMPTY", b""),
    ]
}

/// Writes a file system; what is zero in it takes no room.
fn written(size: u64, path: &Path) {
    let all = pieces(&volume(size), files()).expect("it fits");
    let file = std::fs::File::create(path).expect("made");
    let mut at = 0;
    for piece in &all {
        if let Piece::Bytes(bytes) = piece {
            file.write_all_at(bytes, at).expect("written");
        }
        at += piece.length();
    }
    assert_eq!(at, size);
    file.set_len(size).expect("as long as planned");
}

#[test]
fn a_library_finds_every_file_and_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    for size in [40 << 20, 300 << 20] {
        let path = folder.path().join("fat");
        written(size, &path);
        let file = std::fs::File::open(&path).expect("opened");
        let volume = FatVolume::open(&file).expect("a file system");
        let root = volume.root_dir();
        for (name, is_folder) in [("EFI", true), ("loader", true), ("EMPTY", false)] {
            let found = root.find(name).expect("read").unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(found.is_directory(), is_folder, "{name}");
        }
        let efi = root.open_entry(&root.find("EFI").expect("read").expect("there")).expect("opened");
        for name in ["BOOT", "systemd", "Linux"] {
            let found = efi.find(name).expect("read").unwrap_or_else(|| panic!("{name} is missing"));
            assert!(found.is_directory(), "{name}");
        }
    }
}

#[test]
fn files_lie_where_the_table_says_and_nothing_else_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fat");
    written(40 << 20, &path);
    let image = std::fs::read(&path).expect("read");
    let geometry = Geometry::of(40 << 20).expect("a geometry");
    let files = files();
    let layout = Layout::of(geometry, &files).expect("a layout");
    let data = (u64::from(RESERVED) + 2 * u64::from(geometry.table_sectors)) * SECTOR;
    for (file, run) in files.iter().zip(&layout.files) {
        let at = data + u64::from(run.first.saturating_sub(FIRST)) * geometry.cluster_bytes();
        let at = usize::try_from(at).expect("small");
        assert!(image[at..].starts_with(&bytes(&file.contents)), "{}", file.path);
        // Each number of the table leads to the next cluster, and the last one ends.
        let table = RESERVED as usize * SECTOR as usize;
        for cluster in run.first..run.first + run.clusters {
            let place = table + cluster as usize * 4;
            let next = if cluster + 1 == run.first + run.clusters { END } else { cluster + 1 };
            assert_eq!(image[place..place + 4], next.to_le_bytes(), "{} at {cluster}", file.path);
        }
    }
}

#[test]
fn fsck_finds_nothing_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fat");
    written(40 << 20, &path);
    #[expect(clippy::disallowed_methods, reason = "a test asks a program of the host")]
    let mut command = Command::new("fsck.fat");
    let Ok(output) = command.args(["-n", "-v"]).arg(&path).output() else {
        eprintln!("skipped: fsck_finds_nothing_wrong: there is no fsck.fat (Debian's dosfstools)");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("11 files"), "{said}");
}

#[test]
fn what_is_too_small_or_too_full_is_refused() {
    assert!(matches!(pieces(&volume(20 << 20), Vec::new()), Err(MediaError::Room { .. })));
    let large = |length| {
        let contents = vec![Piece::Zeros(length)];
        pieces(&volume(40 << 20), vec![Entry { path: "A".to_owned(), contents }])
    };
    assert!(large(39 << 20).is_ok());
    assert!(matches!(large(40 << 20), Err(MediaError::Room { .. })));
    assert!(matches!(large(u64::from(u32::MAX) + 1), Err(MediaError::Room { .. })));
    for bytes in [0, 1 << 20, 100 << 20, 259 << 20, 400 << 20] {
        let contents = vec![Piece::Zeros(bytes)];
        let file = Entry { path: "A".to_owned(), contents };
        assert!(pieces(&volume(size_for(bytes)), vec![file]).is_ok(), "{bytes}");
    }
}
