//! Disks and volumes.
//!
//!     machine with disks:     udevd ─▶ drivers ─▶ kernel ─▶ Disks, DiscoveredVolumes ─▶ SystemDisk ─▶ VolumeStatus ─▶ mounts
//!                             configuration ─▶ VolumeConfigs, VolumeMountRequests ─────────────────────╯  ╰─▶ swap, upkeep
//!     machine of a host:      launcher's folders ─▶ VolumeStatus, VolumeMountStatus
//!     both:                   META volume ─▶ MetaKeys;  a reset ─▶ wipe
//!
//! What is in a volume is nobody's business here, except META, which is a volume and a format at once.

mod adv;
mod block_devices;
mod device;
mod devices;
mod discovery;
mod disks;
mod gpt;
mod host_volumes;
pub mod lvm;
pub mod md;
pub mod meta;
mod pool_members;
mod pool_refresh;
mod pretty;
mod probe;
mod swaps;
mod sysfs;
mod system_disk;
mod uevent;
mod upkeep;
mod volume_configs;
mod volumes;
pub mod wipe;
pub mod wipe_device;
mod zswap;

use std::sync::Arc;

use corten_base::{Capabilities, Rng};
use corten_resource::Runtime;
use corten_supervisor::Client;

use self::sysfs::Sysfs;
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
    runtime.register_transform(volume_configs::VolumeConfigs);
    runtime.register_transform(volume_configs::UserDisks);
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
    if capabilities.power {
        register_pools(runtime, &sysfs, init);
        runtime.register(swaps::Swaps::default());
        runtime.register(zswap::Zswap::new(zswap::Places::default()));
    }
    runtime.register(disks::Disks::new(sysfs.clone()));
    runtime.register(block_devices::BlockDevices::new(sysfs.clone()));
    runtime.register(upkeep::Upkeep::new(upkeep::Mounted));
    runtime.register(discovery::Discovery::new(sysfs.clone()));
    runtime.register_transform(system_disk::FindSystemDisk);
    runtime.register_transform(system_disk::InstallDisk);
    let programs = Arc::new(InitPrograms(init.clone()));
    let places = Places { sysfs, has_kernel: capabilities.power, ..Places::default() };
    runtime.register(Volumes::new(places, programs, rng.clone()));
}

/// What is made of several disks; the kernel must be the machine's own.
fn register_pools(runtime: &mut Runtime, sysfs: &Sysfs, init: &Client) {
    runtime.register(pool_refresh::PoolRefresh::new());
    runtime.register_transform(md::MdArraySpecs);
    runtime.register(md::MdArrays::new(sysfs.clone(), Arc::new(InitPrograms(init.clone()))));
    runtime.register_transform(lvm::LvmSpecs);
    runtime.register(lvm::LvmVolumes::new(Arc::new(InitPrograms(init.clone()))));
}
