//! A disk of a container machine: a file behind a loop device. The machine sees this disk of the host's kernel and no
//! other.
//!
//! On hardware the kernel reads the partition table when it finds the disk, and makes a node for each partition there
//! or made later. Kernels of hosts may be built without this table, and the machine's `/dev` is its own, so both is
//! done here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::wait::wait_for;
use anyhow::{Context, Result};
use corten_sys::block::{Partition, add_partition, delete_partition};
use corten_sys::loopdev::{LoopDevice, LoopOptions};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

/// Bytes of a sector of a loop device.
const SECTOR_BYTES: u64 = 512;
/// How long unmounting may take after the last process is gone.
const DETACH_MAX: Duration = Duration::from_secs(60);
/// How late a node of a new partition may be.
const POLL: Duration = Duration::from_millis(20);

/// A disk whose partitions the kernel knows.
#[derive(Debug)]
pub struct LoopDisk {
    device: LoopDevice,
    /// Devices of the partitions that were on it, by their labels.
    pub partitions: BTreeMap<String, PathBuf>,
}

impl LoopDisk {
    /// Makes a disk of a file. A file without a readable partition table is a blank disk.
    pub fn attach(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        let device = LoopDevice::attach(file.as_fd(), LoopOptions::default())?;
        let mut partitions = BTreeMap::new();
        let disk = File::open(device.path()).context("cannot open the loop device")?;
        forget_partitions(&disk, device.path())?;
        if let Ok(table) = gptman::GPT::read_from(&mut &file, SECTOR_BYTES) {
            for (number, entry) in table.iter().filter(|(_, entry)| entry.is_used()) {
                let sectors = entry.size().context("a partition has no size")?;
                let partition = Partition {
                    number: i32::try_from(number)?,
                    start_bytes: entry.starting_lba * SECTOR_BYTES,
                    size_bytes: sectors * SECTOR_BYTES,
                };
                add_partition(&disk, partition)?;
                let path = PathBuf::from(format!("{}p{number}", device.path().display()));
                partitions.insert(entry.partition_name.to_string(), path);
            }
        }
        Ok(Self { device, partitions })
    }

    /// The kernel's name of the disk.
    #[must_use]
    pub fn name(&self) -> String {
        self.device.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Takes the disk away, once the kernel has written what was mounted from it.
    pub fn detach(self) -> Result<()> {
        let file = Path::new("/sys/block").join(self.name()).join("loop/backing_file");
        self.device.detach()?;
        wait_for("the end of a loop device", DETACH_MAX, String::new, || (!file.exists()).then_some(()))
    }
}

/// A loop device keeps what it was told of partitions when it gets another file.
fn forget_partitions(disk: &File, device: &Path) -> Result<()> {
    let name = device.file_name().unwrap_or_default();
    for partition in fs::read_dir(Path::new("/sys/block").join(name)).into_iter().flatten().flatten() {
        let number = fs::read_to_string(partition.path().join("partition"));
        if let Some(number) = number.ok().and_then(|number| number.trim().parse().ok()) {
            delete_partition(disk, number)?;
        }
    }
    Ok(())
}

/// Keeps the nodes of a disk in the `/dev` of a machine up, until it is dropped.
#[derive(Debug)]
pub struct Nodes {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Nodes {
    /// Nodes of this disk for the machine with this process 1.
    pub fn keep(disk: String, pid: u32) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&end);
        let thread = std::thread::spawn(move || {
            let folder = PathBuf::from(format!("/proc/{pid}/root/dev"));
            while !is_over.load(Ordering::SeqCst) {
                for (name, (major, minor)) in devices(&disk) {
                    // It is there already, or the machine is just ending.
                    let _ = mknodat(
                        CWD,
                        folder.join(name),
                        FileType::BlockDevice,
                        Mode::RUSR | Mode::WUSR,
                        makedev(major, minor),
                    );
                }
                std::thread::sleep(POLL);
            }
        });
        Self { end, thread: Some(thread) }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

/// A disk and its partitions, with their numbers.
fn devices(disk: &str) -> Vec<(String, (u32, u32))> {
    let folder = Path::new("/sys/block").join(disk);
    let number = |folder: &Path| {
        let text = fs::read_to_string(folder.join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let partitions = fs::read_dir(&folder).into_iter().flatten().flatten();
    let partitions = partitions.map(|entry| entry.path()).filter(|path| path.join("partition").exists());
    let named = |path: PathBuf| Some((path.file_name()?.to_string_lossy().into_owned(), number(&path)?));
    std::iter::once(folder.clone()).chain(partitions).filter_map(named).collect()
}
