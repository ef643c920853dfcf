//! What the machine is made of.

use corten_resources::block::{
    DiscoveredVolume, DiscoveredVolumesStatus, Disk, Filesystem, SystemDisk, VolumeKind, VolumePhase,
    VolumeStatus,
};
use corten_resources::hardware::{MemoryModule, Processor, SystemInformation};

use super::{Facts, Out};
use crate::spec::DiskSpec;

/// Bytes of a sector.
const SECTOR: u64 = 512;
/// Speed of the processor, MHz.
const SPEED_MHZ: u32 = 2000;

pub fn put(out: &Out<'_>, facts: &Facts<'_>) {
    out.put("systeminformation", system_information(facts));
    let model = &facts.spec.model;
    out.put(
        "CPU-0",
        Processor {
            socket: "CPU 0".to_owned(),
            manufacturer: "Corten".to_owned(),
            product_name: "Emulated".to_owned(),
            max_speed_mhz: SPEED_MHZ,
            boot_speed_mhz: SPEED_MHZ,
            core_count: model.cores,
            core_enabled: model.cores,
            thread_count: model.cores,
            ..Processor::default()
        },
    );
    out.put(
        "DIMM-0",
        MemoryModule {
            size_mib: model.memory_mib,
            device_locator: "DIMM 0".to_owned(),
            manufacturer: "Corten".to_owned(),
            ..MemoryModule::default()
        },
    );
    for (index, spec) in model.disks.iter().enumerate() {
        out.put(&spec.name, disk(facts, index, spec));
        out.put(&spec.name, discovered(spec, index == 0 && facts.installed));
    }
    out.put("ready", DiscoveredVolumesStatus { ready: true });
    let system = model.disks.first().filter(|_| facts.installed);
    out.when(
        SystemDisk::ID,
        system.map(|disk| SystemDisk { disk_id: disk.name.clone(), dev_path: disk.path() }),
    );
    volumes(out, facts, system);
}

fn system_information(facts: &Facts<'_>) -> SystemInformation {
    SystemInformation {
        manufacturer: "Corten".to_owned(),
        product_name: "Emulated Machine".to_owned(),
        serial_number: facts.spec.serial(),
        uuid: facts.uuid.clone(),
        wake_up_type: "Power Switch".to_owned(),
        ..SystemInformation::default()
    }
}

fn disk(facts: &Facts<'_>, index: usize, spec: &DiskSpec) -> Disk {
    Disk {
        size: spec.size,
        io_size: SECTOR,
        sector_size: SECTOR,
        serial: format!("{}-{index}", facts.spec.serial()),
        modalias: "virtio:d00000002v00001AF4".to_owned(),
        bus_path: format!("/pci0000:00/0000:00:0{index}.0/virtio{index}"),
        sub_system: "/sys/class/block".to_owned(),
        transport: "virtio".to_owned(),
        dev_path: spec.path(),
        pretty_size: pretty(spec.size),
        ..Disk::default()
    }
}

fn discovered(spec: &DiskSpec, has_system: bool) -> DiscoveredVolume {
    DiscoveredVolume {
        size: spec.size,
        sector_size: SECTOR,
        io_size: SECTOR,
        name: if has_system { "gpt".to_owned() } else { String::new() },
        kind: "disk".to_owned(),
        device_path: format!("/sys/block/{}", spec.name),
        dev_path: spec.path(),
        pretty_size: pretty(spec.size),
        ..DiscoveredVolume::default()
    }
}

/// META comes with the system, the other two with the configuration.
fn volumes(out: &Out<'_>, facts: &Facts<'_>, system: Option<&DiskSpec>) {
    let volumes = [
        (VolumeStatus::META, 2_u8, facts.installed, Filesystem::None, 1 << 20),
        (VolumeStatus::STATE, 3, facts.installed && facts.configured, Filesystem::Xfs, 100 << 20),
        (VolumeStatus::EPHEMERAL, 4, facts.installed && facts.configured, Filesystem::Xfs, 40_u64 << 30),
    ];
    for (id, number, is_ready, filesystem, size) in volumes {
        let ready = system.filter(|_| is_ready).map(|disk| VolumeStatus {
            phase: VolumePhase::Ready,
            location: format!("{}{number}", disk.path()),
            parent_location: disk.path(),
            partition_index: i64::from(number),
            size,
            filesystem,
            pretty_size: pretty(size),
            kind: VolumeKind::Partition,
            ..VolumeStatus::default()
        });
        let missing = VolumeStatus { phase: VolumePhase::Missing, ..VolumeStatus::default() };
        out.put(id, ready.unwrap_or(missing));
    }
}

/// A size for people, in decimal units as other tools write it.
fn pretty(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}
