//! Tables against loss of power, foreign bytes, and other people's programs.

#![allow(clippy::disallowed_methods, reason = "judged by the disk tools of the host")]

use std::cell::RefCell;
use std::fs::File;
use std::process::Command;

use proptest::prelude::*;

use super::place::PlaceError;
use super::*;
use crate::device::WriteAt;

const GEOMETRY: Geometry = Geometry { sector_bytes: 512, sectors: 8192 };
const META: Guid = Guid([7; 16]);

/// A disk that remembers every write by sector, so that a loss of power can be played at each of them.
#[derive(Default)]
struct Recorder {
    bytes: RefCell<Vec<u8>>,
    writes: RefCell<Vec<(u64, Vec<u8>)>>,
}

impl ReadAt for Recorder {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.borrow().as_slice().read_at(buffer, offset)
    }
}

impl WriteAt for Recorder {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        for (sector, part) in (0..).zip(bytes.chunks(512)) {
            self.writes.borrow_mut().push((offset + sector * 512, part.to_vec()));
        }
        let start = offset as usize;
        self.bytes.borrow_mut()[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn table() -> Table {
    let mut table = Table { disk: Guid([1; 16]), entries: Vec::new(), first_usable: 34, entry_count: 128 };
    table.add(&wanted("META", Size::Bytes(1 << 20)), GEOMETRY).expect("room");
    table
}

fn wanted(label: &str, size: Size) -> Wanted<'_> {
    Wanted { label, kind: LINUX_DATA, id: META, size }
}

fn disk_with(table: &Table, geometry: Geometry, bytes: u64) -> Recorder {
    let disk = Recorder { bytes: RefCell::new(vec![0; bytes as usize]), ..Recorder::default() };
    write(&disk, table, geometry).expect("write");
    disk.writes.borrow_mut().clear();
    disk
}

#[test]
fn what_is_written_is_read_and_a_lost_copy_is_made_good_by_the_other() {
    let disk = disk_with(&table(), GEOMETRY, 4 << 20);
    let sound = Reading { table: table(), health: Health::Sound };
    assert_eq!(read(&disk, GEOMETRY).expect("read"), Some(sound.clone()));
    for (broken, health) in
        [(512, Health::PrimaryDamaged), (1024, Health::PrimaryDamaged), (8191 * 512, Health::BackupAstray)]
    {
        disk.bytes.borrow_mut()[broken] ^= 1;
        let reading = read(&disk, GEOMETRY).expect("read").expect("the other copy");
        assert_eq!(reading, Reading { table: table(), health });
        write(&disk, &reading.table, GEOMETRY).expect("repair");
        assert_eq!(read(&disk, GEOMETRY).expect("read"), Some(sound.clone()));
    }
}

#[test]
fn a_first_table_is_finished_or_begun_again_whenever_power_goes() {
    let mut table = Table::empty(Guid([3; 16]), GEOMETRY);
    table.add(&wanted("u-data", Size::Bytes(1 << 20)), GEOMETRY).expect("room");
    let disk = Recorder { bytes: RefCell::new(vec![0; 4 << 20]), ..Recorder::default() };
    write(&disk, &table, GEOMETRY).expect("write");
    let mut bytes = vec![0; 4 << 20];
    for (at, sector) in disk.writes.borrow().iter() {
        let is_ours =
            crate::volumes::seen::table_of(bytes.as_slice(), GEOMETRY, false).expect("read").is_some();
        let is_blank = crate::probe::is_blank(bytes.as_slice(), 4 << 20).expect("read");
        assert!(is_ours || is_blank, "before the sector at {at}");
        bytes[*at as usize..][..sector.len()].copy_from_slice(sector);
    }
}

#[test]
fn a_backup_is_not_written_over_what_is_behind_a_table() {
    let large = Geometry { sectors: 16384, ..GEOMETRY };
    let end = large.sectors * 512;
    let has_room = |at: Option<u64>| {
        let disk = disk_with(&table(), GEOMETRY, 8 << 20);
        at.into_iter().for_each(|at| disk.bytes.borrow_mut()[at as usize] = 1);
        has_room(&disk, &table(), large).expect("read")
    };
    assert!(has_room(None));
    assert!(!has_room(Some(end - 512)) && !has_room(Some(end - 1024)) && !has_room(Some(end - 33 * 512)));
    let torn = disk_with(&table(), GEOMETRY, 8 << 20);
    write(&torn, &table(), large).expect("write");
    torn.bytes.borrow_mut()[end as usize - 512..].fill(0);
    assert!(super::has_room(&torn, &table(), large).expect("read"), "it was begun before");
}

#[test]
fn a_disk_larger_than_its_image_gets_its_backup_at_the_real_end() {
    let large = Geometry { sectors: 16384, ..GEOMETRY };
    let disk = disk_with(&table(), GEOMETRY, 8 << 20);
    let mut reading = read(&disk, large).expect("read").expect("the primary");
    assert_eq!(reading.health, Health::BackupAstray);
    reading.table.add(&wanted("STATE", Size::Rest { bytes_min: 1 }), large).expect("room");
    write(&disk, &reading.table, large).expect("write");
    let after = read(&disk, large).expect("read").expect("a table");
    assert_eq!(after, Reading { table: reading.table, health: Health::Sound });
    let state = after.table.labelled("STATE").expect("state");
    assert_eq!((state.first * 512 % (1 << 20), (state.last + 1) * 512), (0, 7 << 20));
}

#[test]
fn a_partition_goes_where_one_was_taken_away_and_takes_what_it_may() {
    let large = Geometry { sectors: 65536, ..GEOMETRY };
    let mut table = table();
    for label in ["A", "B"] {
        table.add(&wanted(label, Size::Bytes(8 << 20)), large).expect("room");
    }
    let range = Size::Range { bytes_min: 2 << 20, bytes_max: 6 << 20 };
    let number = table.add(&wanted("C", range), large).expect("room");
    let size = |table: &Table, number| {
        let entry = table.entries.iter().find(|entry| entry.number == number).expect("an entry");
        entry.size_bytes(large)
    };
    assert_eq!(size(&table, number), 6 << 20);
    assert_eq!(table.growth_bytes(number, 7 << 20, large), 1 << 20);
    table.grow(number, 7 << 20, large);
    assert_eq!(size(&table, number), 7 << 20);
    let gap = table.labelled("A").expect("a partition").first;
    table.entries.retain(|entry| entry.label() != "A");
    table.add(&wanted("D", Size::Bytes(8 << 20)), large).expect("the gap");
    assert_eq!(table.labelled("D").expect("a partition").first, gap);
    let full = table.add(&wanted("E", Size::Bytes(64 << 20)), large).expect_err("no room");
    assert!(matches!(full, PlaceError::NoRoom { needed_bytes: 67_108_864, .. }));
}

#[test]
fn an_empty_disk_gets_a_table_that_other_programs_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("disk");
    let disk = File::options().read(true).write(true).create_new(true).open(&path).expect("a file");
    disk.set_len(64 << 20).expect("a size");
    let geometry = Geometry::of(64 << 20, 512);
    let mut table = Table::empty(Guid::random([3; 16]), geometry);
    table.add(&wanted("u-data", Size::Rest { bytes_min: 1 << 20 }), geometry).expect("room");
    write(&disk, &table, geometry).expect("write");
    let theirs = gptman::GPT::find_from(&mut &disk).expect("a table that others read");
    assert_eq!(theirs[1].partition_name.as_str(), "u-data");
    let mut record = [0; 512];
    disk.read_at(&mut record, 0).expect("the record");
    assert_eq!((record[450], &record[510..]), (0xee, [0x55, 0xaa].as_slice()));
    if let Some(verdict) = judge("sgdisk", &["--verify", &path.to_string_lossy()]) {
        assert!(verdict.contains("No problems found"), "{verdict}");
    }
}

#[test]
fn a_loss_of_power_leaves_the_old_table_or_the_new_one() {
    let old = table();
    let mut new = old.clone();
    new.add(&wanted("STATE", Size::Bytes(1 << 20)), GEOMETRY).expect("room");
    let before = disk_with(&old, GEOMETRY, 4 << 20).bytes.into_inner();
    let disk = Recorder { bytes: RefCell::new(before.clone()), ..Recorder::default() };
    write(&disk, &new, GEOMETRY).expect("write");
    let writes = disk.writes.into_inner();
    for kept in 0..=writes.len() {
        let mut bytes = before.clone();
        for (offset, part) in &writes[..kept] {
            bytes[*offset as usize..*offset as usize + part.len()].copy_from_slice(part);
        }
        let reading = read(bytes.as_slice(), GEOMETRY).expect("read").expect("a whole copy");
        assert!(reading.table == old || reading.table == new, "after {kept} of {} sectors", writes.len());
    }
}

#[test]
fn a_full_disk_says_what_is_missing() {
    let mut table = table();
    let error = table.add(&wanted("BIG", Size::Bytes(8 << 20)), GEOMETRY).expect_err("no room");
    assert_eq!(error, PlaceError::NoRoom { needed_bytes: 8 << 20, free_bytes: 1 << 20 });
    assert_eq!(table.growth_bytes(1, u64::MAX, GEOMETRY), 1 << 20);
    table.grow(1, u64::MAX, GEOMETRY);
    assert_eq!(table.growth_bytes(1, u64::MAX, GEOMETRY), 0);
}

proptest! {
    #[test]
    fn partitions_never_overlap_and_are_aligned(sizes in proptest::collection::vec(1_u64..1 << 30, 1..20), large in any::<bool>()) {
        let geometry = Geometry { sector_bytes: if large { 4096 } else { 512 }, sectors: 1 << 22 };
        let mut table = Table { disk: META, entries: Vec::new(), first_usable: 34, entry_count: 128 };
        for size in sizes {
            if let Err(error) = table.add(&wanted("P", Size::Bytes(size)), geometry) {
                let is_room = matches!(error, PlaceError::NoRoom { .. });
                prop_assert!(is_room);
            }
        }
        for pair in table.entries.windows(2) {
            prop_assert!(pair[0].last < pair[1].first);
        }
        for entry in &table.entries {
            prop_assert_eq!(entry.start_bytes(geometry) % (1 << 20), 0);
            prop_assert!(entry.last <= table.last_usable(geometry));
        }
    }
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let whole = disk_with(&table(), GEOMETRY, 4 << 20).bytes.into_inner();
    bolero::check!().with_type::<(Vec<u8>, u16)>().for_each(|(bytes, at)| {
        let mut disk = whole.clone();
        let start = usize::from(*at) % (40 * 512);
        for (place, byte) in disk[start..].iter_mut().zip(bytes) {
            *place = *byte;
        }
        let _ = read(disk.as_slice(), GEOMETRY);
        let _ = read(bytes.as_slice(), Geometry::of(bytes.len() as u64, 512));
    });
}

/// Runs a judge if the workshop has it; a judge that is missing is named in the output.
fn judge(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&output.stderr));
            Some(text)
        }
        Err(_) => {
            eprintln!("SKIPPED: {program} is not installed");
            None
        }
    }
}

#[test]
fn other_programs_agree() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path");
    file.as_file().set_len(64 << 20).expect("a disk");
    let made = judge("sgdisk", &["--clear", "--new=1:0:+1M", "--change-name=1:META", path]);
    if made.is_none() {
        return;
    }
    file.as_file().set_len(4 << 30).expect("a larger disk");
    let geometry = Geometry::of(4 << 30, 512);
    let disk = File::options().read(true).write(true).open(path).expect("open");
    let mut reading = read(&disk, geometry).expect("read").expect("sgdisk's table");
    assert_eq!(reading.health, Health::BackupAstray);
    reading.table.add(&wanted("STATE", Size::Bytes(100 << 20)), geometry).expect("room");
    reading.table.add(&wanted("EPHEMERAL", Size::Rest { bytes_min: 1 << 30 }), geometry).expect("room");
    write(&disk, &reading.table, geometry).expect("write");
    let verdict = judge("sgdisk", &["--verify", path]).expect("sgdisk is there");
    assert!(verdict.contains("No problems found"), "{verdict}");
    let listed = judge("sgdisk", &["--info=2", path]).expect("sgdisk is there");
    assert!(
        listed.contains("0FC63DAF-8483-4772-8E79-3D69D8477DE4") && listed.contains("'STATE'"),
        "{listed}"
    );
    if let Some(dump) = judge("sfdisk", &["--dump", path]) {
        assert!(dump.contains("name=\"EPHEMERAL\""), "{dump}");
    }
}
