//! Disks and volumes.
//!
//!     machine with disks:     kernel ─▶ Disks, DiscoveredVolumes ─▶ SystemDisk ─▶ VolumeStatus ─▶ mounts
//!     machine of a host:      launcher's folders ─▶ VolumeStatus, VolumeMountStatus
//!     both:                   META volume ─▶ MetaKeys
//!
//! What is in a volume is nobody's business here, except META, which is a volume and a format at once.

mod adv;
mod host_volumes;
pub mod meta;

use corten_base::Capabilities;
use corten_resource::Runtime;

/// Registers the controllers of this domain.
pub fn register(runtime: &mut Runtime, capabilities: Capabilities) {
    runtime.register(meta::MetaKeys);
    if !capabilities.disks {
        runtime.register_transform(host_volumes::HostVolumes);
    }
}
