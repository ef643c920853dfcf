//! On loop devices: needs root.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use corten_resource::testing;
use corten_resources::block::VolumePhase;
use corten_sys::block;
use corten_sys::loopdev::{LoopDevice, LoopOptions};
use rustix::fs::{Mode, OFlags};

use super::*;
use crate::device::Geometry;
use crate::gpt;

const SIZE: u64 = 64 << 20;
const PARTITION_SECTORS: u64 = (16 << 20) / 512;

/// A disk full of ones with two partitions, and the state of a machine that has this disk.
struct Bench {
    device: LoopDevice,
    state: State,
    lane: Lane,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
            eprintln!("SKIPPED: root and loop devices are needed");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        let file = File::options().read(true).write(true).create_new(true).open(path).expect("a file");
        let ones = vec![1; 1 << 20];
        (0..SIZE >> 20).for_each(|mib| file.write_all_at(&ones, mib << 20).expect("ones"));
        let options = LoopOptions { scan_partitions: true, ..LoopOptions::default() };
        let device = LoopDevice::attach(file.as_fd(), options).expect("a loop device");
        let bench = Self {
            state: testing::state(corten_resources::registry()),
            lane: Lane::new(2),
            device,
            _folder: folder,
        };
        bench.partition();
        let disk = Disk { size: SIZE, dev_path: bench.node(""), ..Disk::default() };
        bench.state.put("", &bench.name(""), disk).expect("a disk");
        Some(bench)
    }

    /// Two partitions of 16 MiB, in the table and in the kernel.
    fn partition(&self) {
        let mut disk = File::options().read(true).write(true).open(self.device.path()).expect("the disk");
        let mut table = gptman::GPT::new_from(&mut disk, 512, [9; 16]).expect("a table");
        for (number, name) in [(1_u32, "one"), (2, "two")] {
            let first = 2048 + u64::from(number - 1) * PARTITION_SECTORS;
            table[number] = gptman::GPTPartitionEntry {
                partition_type_guid: gpt::LINUX_DATA.0,
                unique_partition_guid: [u8::try_from(number).expect("a small number"); 16],
                starting_lba: first,
                ending_lba: first + PARTITION_SECTORS - 1,
                attribute_bits: 0,
                partition_name: name.into(),
            };
        }
        gptman::GPT::write_protective_mbr_into(&mut disk, 512).expect("a record");
        table.write_into(&mut disk).expect("written");
        disk.sync_all().expect("on the disk");
        for number in [1, 2] {
            let start_bytes = (1 << 20) + (number - 1) * PARTITION_SECTORS * 512;
            let number = number.try_into().expect("a small number");
            let partition = block::Partition { number, start_bytes, size_bytes: PARTITION_SECTORS * 512 };
            block::add_partition(&disk, partition).expect("the kernel takes it");
        }
    }

    fn name(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.device.path().file_name().expect("a name").to_string_lossy())
    }

    fn node(&self, suffix: &str) -> String {
        format!("/dev/{}", self.name(suffix))
    }

    fn wish(&self, suffix: &str) -> Wish {
        Wish {
            device: self.name(suffix),
            method: Method::Ends,
            drop_partition: false,
            ignore_volumes: false,
            ignore_holders: false,
        }
    }

    async fn wipe(&self, wish: Wish) -> Result<(), WipeError> {
        wipe(&self.state, &[wish], &self.lane).await
    }

    /// Whether all bytes of a range are this.
    fn is_all(&self, byte: u8, start: u64, size: usize) -> bool {
        let mut bytes = vec![!byte; size];
        File::open(self.device.path()).expect("the disk").read_exact_at(&mut bytes, start).expect("read");
        bytes.iter().all(|read| *read == byte)
    }

    fn partitions(&self) -> Vec<String> {
        let partitions = Sysfs::default().partitions(&self.name(""));
        partitions.into_iter().map(|partition| partition.name).collect()
    }
}

#[tokio::test]
async fn a_disk_is_wiped_at_its_ends_and_those_of_its_partitions_or_whole() {
    let Some(bench) = Bench::new() else { return };
    bench.wipe(bench.wish("")).await.expect("wiped");
    assert!(bench.is_all(0, 0, 4 << 20) && bench.is_all(0, SIZE - (4 << 20), 4 << 20));
    assert!(bench.is_all(0, 17 << 20, 4 << 20), "the second partition began here");
    assert!(bench.is_all(1, 8 << 20, 1 << 20) && bench.is_all(1, 40 << 20, 1 << 20));
    assert_eq!(bench.partitions(), Vec::<String>::new());
    bench.wipe(Wish { method: Method::Zeros, ..bench.wish("") }).await.expect("wiped");
    assert!(bench.is_all(0, 0, SIZE as usize));
}

#[tokio::test]
async fn a_partition_is_wiped_and_dropped_and_its_neighbour_stays() {
    let Some(bench) = Bench::new() else { return };
    let wish = Wish { method: Method::Zeros, ..bench.wish("p1") };
    bench.wipe(wish.clone()).await.expect("wiped");
    assert!(bench.is_all(0, 1 << 20, 16 << 20) && bench.is_all(1, 17 << 20, 1 << 20));
    assert_eq!(bench.partitions(), [bench.name("p1"), bench.name("p2")]);
    bench.wipe(Wish { drop_partition: true, ..wish }).await.expect("dropped");
    assert_eq!(bench.partitions(), [bench.name("p2")]);
    let disk = File::open(bench.device.path()).expect("the disk");
    let table = gpt::read(&disk, Geometry::of(SIZE, 512)).expect("read").expect("a table").table;
    assert_eq!(table.entries.iter().map(gpt::Entry::label).collect::<Vec<_>>(), ["two"]);
}

#[test]
fn a_physical_volume_belongs_to_its_group_also_while_that_is_not_active() {
    let state = testing::state(corten_resources::registry());
    state.put("", "vdb", Disk::default()).expect("a disk");
    let part = look::Part { name: "vdb".to_owned(), numbers: "254:16".to_owned(), number: 0 };
    let seen = Seen { parts: vec![part], ..Seen::default() };
    let wish = Wish {
        device: "vdb".to_owned(),
        method: Method::Ends,
        drop_partition: false,
        ignore_volumes: false,
        ignore_holders: false,
    };
    let put = |vg_name: &str| {
        let (device, vg_name) = ("/dev/vdb".to_owned(), vg_name.to_owned());
        let volume = LvmPhysicalVolumeStatus { device, vg_name, ..LvmPhysicalVolumeStatus::default() };
        state.put("", "vdb", volume).expect("a volume");
    };
    put("");
    check(&wish, &seen, &state).expect("it is in no group");
    put("vg0");
    let refused = check(&wish, &seen, &state).expect_err("it is in a group");
    assert_eq!(refused.to_string(), "blockdevice \"vdb\" is in use by volume group \"vg0\"");
    check(&Wish { ignore_holders: true, ..wish }, &seen, &state).expect("the caller knows");
}

#[tokio::test]
async fn what_is_no_disk_of_the_machine_is_out_of_reach() {
    let Some(bench) = Bench::new() else { return };
    for name in ["nonexistent", "", "../loop0", "/dev/loop0"] {
        let result = bench.wipe(Wish { device: name.to_owned(), ..bench.wish("") }).await;
        assert!(matches!(result, Err(WipeError::NotFound(_))), "{name}");
    }
    let foreign = testing::state(corten_resources::registry());
    let result = wipe(&foreign, &[bench.wish(""), bench.wish("p1")], &bench.lane).await;
    assert!(matches!(result, Err(WipeError::NoDisk(_))));
    let disk = Disk { readonly: true, ..Disk::default() };
    bench.state.put("", &bench.name(""), disk).expect("a disk");
    assert!(matches!(
        bench.wipe(bench.wish("p1")).await,
        Err(WipeError::Unwritable { what: "read-only", .. })
    ));
}

#[tokio::test]
async fn what_is_used_is_named_and_nothing_is_wiped() {
    let Some(bench) = Bench::new() else { return };
    let other = Bench::new().expect("another disk");
    let volume = VolumeStatus {
        phase: VolumePhase::Ready,
        location: bench.node("p1"),
        parent_location: bench.node(""),
        ..VolumeStatus::default()
    };
    bench.state.put("", "u-data", volume).expect("a volume");
    bench.state.put("", &other.name(""), Disk::default()).expect("a disk");
    for suffix in ["", "p1"] {
        let wishes = [other.wish(""), bench.wish(suffix)];
        let refused = wipe(&bench.state, &wishes, &bench.lane).await.expect_err("it is used");
        assert_eq!(
            refused.to_string(),
            format!("blockdevice {:?} is in use by volume \"u-data\"", bench.name("p1"))
        );
        assert!(other.is_all(1, 8 << 20, 1 << 20) && other.partitions().len() == 2, "nothing was wiped");
    }
    bench.wipe(bench.wish("p2")).await.expect("its neighbour is free");
    // Whoever holds it for himself, a mount in another namespace or an array, keeps it.
    let held = PathBuf::from(bench.node("p1"));
    let held = rustix::fs::open(held, OFlags::RDWR | OFlags::EXCL, Mode::empty()).expect("it is free");
    let wish = Wish { ignore_volumes: true, ..bench.wish("p1") };
    assert!(matches!(bench.wipe(wish.clone()).await, Err(WipeError::InUse { .. })));
    drop(held);
    bench.wipe(wish).await.expect("it is free again");
    assert!(bench.is_all(0, 1 << 20, 4 << 20));
    assert!(fs::metadata(bench.node("p1")).is_ok(), "it was not to be dropped");
}
