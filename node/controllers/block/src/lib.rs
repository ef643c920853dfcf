//! Disks and volumes.
//!
//!     machine with disks:     udevd ─▶ drivers ─▶ kernel ─▶ Disks, DiscoveredVolumes ─▶ SystemDisk ─▶ VolumeStatus ─▶ mounts
//!     machine of a host:      launcher's folders ─▶ VolumeStatus, VolumeMountStatus
//!     both:                   META volume ─▶ MetaKeys;  a reset ─▶ wipe
//!
//! What is in a volume is nobody's business here, except META, which is a volume and a format at once.

mod adv;
mod device;
mod devices;
mod discovery;
mod disks;
mod gpt;
mod host_volumes;
pub mod meta;
mod pretty;
mod probe;
mod sysfs;
mod system_disk;
mod uevent;
mod volumes;
pub mod wipe;

use std::sync::Arc;

use corten_base::{Capabilities, Rng};
use corten_resource::Runtime;
use corten_supervisor::Client;

use self::sysfs::Sysfs;
use self::volumes::layout::LAYOUTS;
use self::volumes::{InitPrograms, Places, Volumes};

/// Registers the controllers of this domain; `init` starts the programs that make file systems. On a machine of a host
/// `disk` is the one disk that is not the host's.
pub fn register(
    runtime: &mut Runtime,
    capabilities: Capabilities,
    disk: Option<String>,
    init: &Client,
    rng: &Rng,
) {
    runtime.register(meta::MetaKeys);
    if !capabilities.disks {
        runtime.register_transform(host_volumes::HostVolumes);
        return;
    }
    let sysfs = Sysfs { only: disk, ..Sysfs::default() };
    if capabilities.udev {
        runtime.register(devices::Devices::new(devices::Places::default()));
    } else {
        runtime.register_transform(devices::HostDevices);
    }
    runtime.register(disks::Disks::new(sysfs.clone()));
    runtime.register(discovery::Discovery::new(sysfs.clone()));
    runtime.register_transform(system_disk::FindSystemDisk);
    runtime.register_transform(system_disk::InstallDisk);
    let programs = Arc::new(InitPrograms(init.clone()));
    runtime.register(Volumes::new(Places { sysfs, ..Places::default() }, &LAYOUTS, programs, rng.clone()));
}
