//! What is on the disks.
//!
//!     Disk, DevicesStatus, partitions, first bytes of each ──▶ DiscoveredVolume, DiscoveredVolumesStatus
//!     DiscoveryRefreshRequest ──▶ look again ──▶ DiscoveryRefreshStatus
//!
//! This is what people and selectors see. Whoever is about to write looks again himself: see `volumes`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use corten_base::blocking;
use corten_resource::{Driver, Never, Plan, Source, View, controller};
use corten_resources::block::{
    DiscoveredVolume, DiscoveredVolumesStatus, DiscoveryRefreshRequest, DiscoveryRefreshStatus, Disk,
};
use corten_resources::runtime::DevicesStatus;

use crate::device::Geometry;
use crate::gpt::{self, Table};
use crate::probe::{self, Found};
use crate::sysfs::{KernelPartition, Sysfs};
use crate::{devices, pretty, uevent};

/// A disk that sleeps or fails answers late.
const DEADLINE: Duration = Duration::from_secs(120);
/// Id of the only status.
pub const STATUS: &str = "ready";

/// Looks at every disk and partition.
pub struct Discovery {
    sysfs: Sysfs,
}

// A new file system makes no event of its own: who made it asks.
controller!(Discovery, "block.Discovery",
    inputs: [weak Disk, weak DiscoveryRefreshRequest, weak DevicesStatus],
    outputs: [exclusive DiscoveredVolume, exclusive DiscoveredVolumesStatus, exclusive DiscoveryRefreshStatus]);

impl Discovery {
    /// Of the kernel that shows itself there.
    pub const fn new(sysfs: Sysfs) -> Self {
        Self { sysfs }
    }
}

type Volumes = BTreeMap<String, DiscoveredVolume>;

impl Driver for Discovery {
    type Observed = Volumes;
    type Op = Never;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Volumes> {
        let disks: Vec<(String, Disk)> =
            view.list::<Disk>().into_iter().map(|disk| (disk.id().to_owned(), disk.spec.clone())).collect();
        let sysfs = self.sysfs.clone();
        let look = move || disks.iter().flat_map(|(name, disk)| volumes_of(&sysfs, name, disk)).collect();
        Ok(blocking(DEADLINE, look).await?)
    }

    fn plan(&self, view: &View<Self>, observed: &Volumes) -> Plan<Self> {
        let mut plan = Plan::new();
        for (name, volume) in observed {
            plan.put(name, volume.clone());
        }
        // The request is of the same moment as the look.
        if let Some(asked) = view.get::<DiscoveryRefreshRequest>(DiscoveryRefreshRequest::ID) {
            let status = DiscoveryRefreshStatus { request: asked.spec.request };
            plan.put(DiscoveryRefreshRequest::ID, status);
        }
        // Before the drivers are loaded, a disk that is not there may still come.
        if view.get::<DevicesStatus>(devices::STATUS).is_none_or(|status| !status.spec.ready) {
            return plan.waiting("drivers to be loaded");
        }
        plan.put(STATUS, DiscoveredVolumesStatus { ready: true });
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }

    fn sources(&mut self) -> Vec<Source> {
        uevent::block_devices()
    }
}

/// The disk itself and its partitions. What cannot be read is listed without contents.
fn volumes_of(sysfs: &Sysfs, name: &str, disk: &Disk) -> Vec<(String, DiscoveredVolume)> {
    let geometry = Geometry::of(disk.size, disk.sector_size);
    let table = or_nothing(name, table_of(Path::new(&disk.dev_path), geometry));
    let mut whole = bare(name, disk);
    let found = or_nothing(name, contents(Path::new(&disk.dev_path), disk.size));
    if found.as_ref().is_some_and(|found| found.name == probe::MEMBER) {
        // Partitions that it shows are those of its array.
        describe(&mut whole, found);
        return vec![(name.to_owned(), whole)];
    }
    match (&table, found) {
        (Some(table), _) => {
            "gpt".clone_into(&mut whole.name);
            whole.uuid = table.disk.to_string();
        }
        (None, found) => describe(&mut whole, found),
    }
    let mut volumes = vec![(name.to_owned(), whole)];
    for partition in sysfs.partitions(name) {
        let path = sysfs.dev.join(&partition.name);
        let mut volume = of_partition(&partition, name, disk, table.as_ref());
        describe(&mut volume, or_nothing(&partition.name, contents(&path, partition.size_bytes)));
        volume.dev_path = path.to_string_lossy().into_owned();
        volumes.push((partition.name, volume));
    }
    volumes
}

fn table_of(device: &Path, geometry: Geometry) -> io::Result<Option<Table>> {
    Ok(gpt::read(&File::open(device)?, geometry)?.map(|reading| reading.table))
}

fn contents(device: &Path, size_bytes: u64) -> io::Result<Option<Found>> {
    probe::probe(&File::open(device)?, size_bytes)
}

/// A drive without a medium or a broken disk is no reason to leave the others out.
fn or_nothing<T>(device: &str, result: io::Result<Option<T>>) -> Option<T> {
    result.unwrap_or_else(|error| {
        tracing::debug!(device, error = &error as &dyn std::error::Error, "cannot read the device");
        None
    })
}

fn bare(name: &str, disk: &Disk) -> DiscoveredVolume {
    DiscoveredVolume {
        size: disk.size,
        sector_size: disk.sector_size,
        io_size: disk.io_size,
        kind: "disk".to_owned(),
        device_path: format!("/sys/block/{name}"),
        dev_path: disk.dev_path.clone(),
        pretty_size: disk.pretty_size.clone(),
        ..DiscoveredVolume::default()
    }
}

fn of_partition(
    partition: &KernelPartition,
    name: &str,
    disk: &Disk,
    table: Option<&Table>,
) -> DiscoveredVolume {
    let entry = table.and_then(|table| table.entries.iter().find(|entry| entry.number == partition.number));
    DiscoveredVolume {
        size: partition.size_bytes,
        pretty_size: pretty::size(partition.size_bytes),
        kind: "partition".to_owned(),
        device_path: format!("/sys/block/{name}/{}", partition.name),
        parent: name.to_owned(),
        parent_dev_path: disk.dev_path.clone(),
        offset: partition.start_bytes,
        partition_index: partition.number,
        partition_uuid: entry.map(|entry| entry.id.to_string()).unwrap_or_default(),
        partition_type: entry.map(|entry| entry.kind.to_string()).unwrap_or_default(),
        partition_label: entry.map(gpt::Entry::label).unwrap_or_default(),
        ..bare(name, disk)
    }
}

fn describe(volume: &mut DiscoveredVolume, found: Option<Found>) {
    let Some(found) = found else { return };
    found.name.clone_into(&mut volume.name);
    volume.uuid = found.uuid;
    volume.label = found.label;
    volume.block_size = found.block_size;
    volume.filesystem_block_size = found.filesystem_block_size;
    volume.probed_size = found.size;
}
