//! Block devices as the kernel shows them, and the links that lead to them.
//!
//!     kernel ──▶ BlockDevice, BlockSymlink

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use anyhow::Context;
use corten_base::blocking;
use corten_resource::{Driver, Never, Plan, Source, View, controller};
use corten_resources::block::{BlockDevice, BlockSymlink, Disk};

use crate::sysfs::{Sysfs, names, number, text};
use crate::uevent;

const DEADLINE: Duration = Duration::from_secs(30);

/// Lists the block devices.
pub struct BlockDevices {
    sysfs: Sysfs,
    /// What was seen last, and how often it was another.
    last: BTreeMap<String, (Seen, i64)>,
}

// Disks only wake: links to them are made after they are announced.
controller!(BlockDevices, "block.BlockDevices",
    inputs: [weak Disk], outputs: [exclusive BlockDevice, exclusive BlockSymlink]);

impl BlockDevices {
    /// Of the kernel that shows itself there.
    pub const fn new(sysfs: Sysfs) -> Self {
        Self { sysfs, last: BTreeMap::new() }
    }
}

/// A device at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    device: BlockDevice,
    links: Vec<String>,
    /// Bytes in units of sysfs, and the number that the kernel gives a disk that came; either changes with it.
    marks: (u64, u64),
}

impl Driver for BlockDevices {
    type Observed = BTreeMap<String, Seen>;
    type Op = Never;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<BTreeMap<String, Seen>> {
        let sysfs = self.sysfs.clone();
        let mut seen =
            blocking(DEADLINE, move || look(&sysfs)).await?.context("cannot list block devices")?;
        self.last.retain(|name, _| seen.contains_key(name));
        for (name, now) in &mut seen {
            let last = self.last.get(name);
            let generation = match last {
                Some((last, generation)) if *last == *now => *generation,
                Some((_, generation)) => generation + 1,
                None => 1,
            };
            self.last.insert(name.clone(), (now.clone(), generation));
            now.device.generation = generation;
        }
        Ok(seen)
    }

    fn plan(&self, _: &View<Self>, observed: &BTreeMap<String, Seen>) -> Plan<Self> {
        let mut plan = Plan::new();
        for (name, seen) in observed {
            plan.put(name, seen.device.clone());
            if !seen.links.is_empty() {
                plan.put(name, BlockSymlink { paths: seen.links.clone() });
            }
        }
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }

    fn sources(&mut self) -> Vec<Source> {
        uevent::block_devices()
    }
}

/// Every device that the machine's disks, partitions, and what is made of them, are.
fn look(sysfs: &Sysfs) -> io::Result<BTreeMap<String, Seen>> {
    let links = sysfs.links();
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(sysfs.sys.join("block"))? {
        let disk = entry?.file_name().to_string_lossy().into_owned();
        if sysfs.only.as_ref().is_some_and(|only| *only != disk) {
            continue;
        }
        let partitions = sysfs.partitions(&disk).into_iter().map(|partition| partition.name);
        let parents = partitions.map(|name| (name, disk.clone()));
        for (name, parent) in [(disk.clone(), String::new())].into_iter().chain(parents) {
            let seen = device(sysfs, name.clone(), parent, &links);
            // A device without a size is one that is free for others to use.
            if seen.marks.0 > 0 {
                all.insert(name, seen);
            }
        }
    }
    Ok(all)
}

fn device(sysfs: &Sysfs, name: String, parent: String, links: &[(std::path::PathBuf, String)]) -> Seen {
    let block = sysfs.sys.join("block");
    let folder = if parent.is_empty() { block.join(&name) } else { block.join(&parent).join(&name) };
    let numbers = text(&folder.join("dev"));
    let (major, minor) = numbers.split_once(':').unwrap_or_default();
    let event = text(&folder.join("uevent"));
    let label = event.lines().find_map(|line| line.strip_prefix("PARTNAME="));
    let place = fs::canonicalize(&folder).unwrap_or_default();
    let place = place.strip_prefix(&sysfs.sys).unwrap_or(&place).to_string_lossy().into_owned();
    let dev_path = sysfs.dev.join(&name);
    let device = BlockDevice {
        kind: if parent.is_empty() { "disk" } else { "partition" }.to_owned(),
        major: major.parse().unwrap_or_default(),
        minor: minor.parse().unwrap_or_default(),
        partition_name: label.unwrap_or_default().to_owned(),
        partition_number: number(&folder.join("partition")).and_then(|n| n.try_into().ok()).unwrap_or(0),
        device_path: format!("/{}", place.trim_start_matches('/')),
        generation: 0,
        parent,
        secondaries: names(&folder.join("slaves")),
    };
    let marks = (number(&folder.join("size")).unwrap_or(0), number(&folder.join("diskseq")).unwrap_or(0));
    let own = links.iter().filter(|(target, _)| *target == dev_path).map(|(_, link)| link.clone());
    Seen { device, links: own.collect(), marks }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use corten_resource::testing::TestRuntime;

    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text).expect("a file");
    }

    #[tokio::test(start_paused = true)]
    async fn devices_are_listed_and_count_how_often_they_are_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(folder.path()).expect("a path");
        let (sys, dev) = (root.join("sys"), root.join("dev"));
        let disk = sys.join("block/vda");
        for (file, text) in [
            ("size", "2048"),
            ("dev", "254:0"),
            ("diskseq", "3"),
            ("vda1/size", "1024"),
            ("vda1/start", "2"),
            ("vda1/dev", "254:1"),
            ("vda1/partition", "1"),
            ("vda1/uevent", "MAJOR=254\nPARTN=1\nPARTNAME=META\n"),
        ] {
            write(&disk.join(file), text);
        }
        write(&sys.join("block/loop0/size"), "0");
        write(&dev.join("vda1"), "");
        fs::create_dir_all(dev.join("disk/by-partlabel")).expect("folders");
        std::os::unix::fs::symlink(dev.join("vda1"), dev.join("disk/by-partlabel/META")).expect("a link");
        let sysfs = Sysfs { sys, dev, only: None };
        let runtime = TestRuntime::new(corten_resources::registry(), move |runtime| {
            runtime.register(BlockDevices::new(sysfs));
        });
        let device = |name: &str| runtime.state().get::<BlockDevice>(name).map(|device| device.spec);
        while device("vda1").is_none() {
            runtime.advance(Duration::from_millis(100)).await;
        }
        let partition = device("vda1").expect("a partition");
        assert_eq!((partition.major, partition.minor, partition.generation), (254, 1, 1));
        assert_eq!((partition.partition_name.as_str(), partition.parent.as_str()), ("META", "vda"));
        assert_eq!(device("vda").expect("a disk").device_path, "/block/vda");
        assert!(device("loop0").is_none());
        let links = runtime.state().get::<BlockSymlink>("vda1").expect("links").spec.paths;
        assert!(links[0].ends_with("by-partlabel/META"), "{links:?}");
        write(&disk.join("diskseq"), "4");
        while device("vda").is_some_and(|disk| disk.generation == 1) {
            runtime.advance(Duration::from_secs(30)).await;
        }
        assert_eq!(device("vda1").expect("a partition").generation, 1);
    }
}
