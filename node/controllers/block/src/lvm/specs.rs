//! Which physical volumes, groups and logical volumes the configuration wants: pure.
//!
//! ```text
//! LVMVolumeGroupConfig, candidates ─▶ LvmPhysicalVolumeSpec ─▶ LvmVolumeGroupSpec
//! LVMLogicalVolumeConfig ──▶ LvmLogicalVolumeSpec
//! what cannot be had ──▶ LvmValidationError
//! ```

use std::collections::BTreeMap;

use corten_config::values::{SizeMax, size_max};
use corten_config::view::{LogicalVolume, Pools};
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::block::{DiscoveredVolume, Disk, SystemDisk};
use corten_resources::config::MachineConfig;
use corten_resources::storage::{
    LvmLogicalVolumeSpec, LvmLogicalVolumeStatus, LvmLogicalVolumeType, LvmPhysicalVolumeSpec,
    LvmValidationError, LvmVolumeGroupSpec, LvmVolumeGroupStatus,
};

use super::plan::copies;
use super::report::bytes;
use crate::pool_members::{Candidate, candidates, select};

/// What the configuration wants of LVM.
pub struct LvmSpecs;

controller!(LvmSpecs, "storage.LvmSpecs",
    inputs: [weak MachineConfig, weak Disk, weak DiscoveredVolume, weak SystemDisk, weak LvmVolumeGroupStatus,
        weak LvmLogicalVolumeStatus],
    outputs: [exclusive LvmPhysicalVolumeSpec, exclusive LvmVolumeGroupSpec, exclusive LvmLogicalVolumeSpec,
        shared LvmValidationError]);

/// Id of what is about a device.
pub fn device_id(device: &str) -> String {
    device.trim_start_matches("/dev/").replace('/', "-")
}

/// Id of what is wrong with the members of a group. What is wrong with the group itself has the id of the group.
fn selector_id(group: &str) -> String {
    format!("{group}.volumeSelector")
}

/// Id of what is about a logical volume.
pub fn volume_id(group: &str, name: &str) -> String {
    format!("{group}-{name}")
}

impl Transform for LvmSpecs {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let config = view.get::<MachineConfig>(MachineConfig::ACTIVE);
        let config = config.and_then(|config| corten_config::load_cached(&config.spec.yaml).ok());
        let Some(config) = config.filter(|config| config.is_complete()) else { return plan };
        let disks = view.list::<Disk>();
        let disks: Vec<(&str, &Disk)> = disks.iter().map(|disk| (disk.id(), &disk.spec)).collect();
        let volumes = view.list::<DiscoveredVolume>();
        let volumes: Vec<_> = volumes.iter().map(|volume| (volume.id(), &volume.spec)).collect();
        // What another disk is made of belongs to that.
        let is_part =
            |name: &str| disks.iter().any(|(_, disk)| disk.secondary_disks.iter().any(|part| part == name));
        let volumes: Vec<_> = volumes.into_iter().filter(|(name, _)| !is_part(name)).collect();
        let system = view.get::<SystemDisk>(SystemDisk::ID).map(|disk| disk.spec.disk_id.as_str());
        let found = candidates(&disks, &volumes, system);
        let view_of_config = config.view();
        let pools = &view_of_config.pools;
        let (owners, errors) = claims(pools, &found);
        for (group, message) in errors {
            plan.put(selector_id(&group), LvmValidationError { vg_name: group, message });
        }
        for (device, group) in &owners {
            let spec = LvmPhysicalVolumeSpec { device: device.clone(), vg_name: group.clone() };
            plan.put(device_id(device), spec);
        }
        for group in &pools.volume_groups {
            let of_group = owners.iter().filter(|(_, owner)| **owner == group.name);
            let physical_volumes = of_group.map(|(device, _)| device.clone()).collect();
            plan.put(&group.name, LvmVolumeGroupSpec { name: group.name.clone(), physical_volumes });
        }
        for volume in &pools.logical_volumes {
            let id = volume_id(&volume.volume_group, &volume.name);
            let exists = view.get::<LvmLogicalVolumeStatus>(&id).is_some();
            let group = view.get::<LvmVolumeGroupStatus>(&volume.volume_group).map(|group| &group.spec);
            match group.filter(|_| !exists).and_then(|group| too_large(volume, group)) {
                Some(message) => {
                    plan.put(&id, LvmValidationError { vg_name: volume.volume_group.clone(), message });
                }
                None => {
                    plan.put(&id, logical(volume));
                }
            }
        }
        plan
    }
}

/// Devices and the groups that they go to, in order, and what is wrong, by group. The first group that selects a device
/// has it.
fn claims(pools: &Pools, found: &[Candidate<'_>]) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut owners, mut errors) = (BTreeMap::new(), BTreeMap::new());
    for group in &pools.volume_groups {
        match select(&group.volume_selector, found) {
            Err(error) => drop(errors.insert(group.name.clone(), format!("cannot select volumes: {error}"))),
            Ok(members) => {
                for member in members {
                    let device = member.dev_path().to_owned();
                    let owner = owners.entry(device.clone()).or_insert_with(|| group.name.clone());
                    if *owner != group.name {
                        let message = format!("{device} is claimed by the volume group {owner} already");
                        errors.insert(group.name.clone(), message);
                    }
                }
            }
        }
    }
    (owners, errors)
}

fn logical(volume: &LogicalVolume) -> LvmLogicalVolumeSpec {
    let kind = match volume.layout.as_str() {
        "raid0" => LvmLogicalVolumeType::Raid0,
        "raid1" => LvmLogicalVolumeType::Raid1,
        "raid10" => LvmLogicalVolumeType::Raid10,
        _ => LvmLogicalVolumeType::Linear,
    };
    let mirrored = matches!(kind, LvmLogicalVolumeType::Raid1 | LvmLogicalVolumeType::Raid10);
    let (size_bytes, size_percent_vg) = match size_max(&volume.size_max) {
        Some(SizeMax::Bytes(bytes)) => (bytes, 0),
        Some(SizeMax::Percent(percent)) => (0, u32::try_from(percent).unwrap_or(100)),
        Some(SizeMax::Free(_)) | None => (0, 0),
    };
    LvmLogicalVolumeSpec {
        vg_name: volume.volume_group.clone(),
        name: volume.name.clone(),
        kind,
        size_bytes,
        size_percent_vg,
        mirrors: volume.mirrors.unwrap_or(u32::from(mirrored)),
        stripes: volume.stripes.unwrap_or(0),
    }
}

/// Why a volume that does not exist cannot be made as large as it must be.
fn too_large(volume: &LogicalVolume, group: &LvmVolumeGroupStatus) -> Option<String> {
    let spec = logical(volume);
    let least = volume.size_min.unwrap_or(spec.size_bytes);
    let (free, taken) = (bytes(&group.free), least.saturating_mul(copies(&spec)));
    let part = bytes(&group.size).saturating_mul(spec.size_percent_vg.into()) / 100;
    if taken > free {
        return Some(format!("the group has {free} bytes free, and {taken} are needed at least"));
    }
    (spec.size_percent_vg > 0 && part < least)
        .then(|| format!("{}% of the group are {part} bytes, less than minSize", spec.size_percent_vg))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;

    use super::*;

    const CONFIG: &str = "\
version: v1alpha1
machine: {type: worker, token: abc}
cluster: {}
---
apiVersion: v1alpha1
kind: LVMVolumeGroupConfig
name: fast
provisioning: {volumeSelector: {match: \"disk.transport == 'nvme'\"}}
---
apiVersion: v1alpha1
kind: LVMVolumeGroupConfig
name: all
provisioning: {volumeSelector: {match: \"true\"}}
---
apiVersion: v1alpha1
kind: LVMLogicalVolumeConfig
name: data
type: raid1
provisioning: {volumeGroup: fast, minSize: 1GiB, maxSize: 50%}
---
apiVersion: v1alpha1
kind: LVMLogicalVolumeConfig
name: log
type: linear
provisioning: {volumeGroup: all, maxSize: 1GiB}
";

    fn plan(more: Vec<corten_resource::AnyResource>) -> Plan<LvmSpecs> {
        let mut rows =
            vec![resource(MachineConfig::ACTIVE, MachineConfig { yaml: CONFIG.as_bytes().to_vec() })];
        let system = SystemDisk { disk_id: "vda".to_owned(), dev_path: "/dev/vda".to_owned() };
        rows.push(resource(SystemDisk::ID, system));
        for (name, transport) in [("vdb", "virtio"), ("nvme0n1", "nvme")] {
            let dev_path = format!("/dev/{name}");
            let disk =
                Disk { transport: transport.to_owned(), dev_path: dev_path.clone(), ..Disk::default() };
            rows.push(resource(name, disk));
            rows.push(resource(name, DiscoveredVolume { dev_path, ..DiscoveredVolume::default() }));
        }
        rows.extend(more);
        LvmSpecs.plan(&View::of(rows, UNIX_EPOCH))
    }

    #[test]
    fn a_device_goes_to_the_first_group_that_selects_it() {
        let plan = plan(Vec::new());
        let physical = plan.output::<LvmPhysicalVolumeSpec>("nvme0n1").expect("a volume");
        assert_eq!(physical.vg_name, "fast");
        let all = plan.output::<LvmVolumeGroupSpec>("all").expect("a group");
        assert_eq!(all.physical_volumes, ["/dev/vdb"]);
        let error = plan.output::<LvmValidationError>("all.volumeSelector").expect("an error");
        assert_eq!(error.message, "/dev/nvme0n1 is claimed by the volume group fast already");
        let data = plan.output::<LvmLogicalVolumeSpec>("fast-data").expect("a volume");
        assert_eq!((data.kind, data.mirrors, data.size_percent_vg), (LvmLogicalVolumeType::Raid1, 1, 50));
    }

    #[test]
    fn a_volume_that_does_not_fit_is_told_and_not_made() {
        let group = |name: &str, size: u64, free: u64| {
            let status = LvmVolumeGroupStatus {
                name: name.to_owned(),
                size: size.to_string(),
                free: free.to_string(),
                ..LvmVolumeGroupStatus::default()
            };
            resource(name, status)
        };
        let full = plan(vec![group("all", 2 << 30, 1 << 20), group("fast", 1 << 30, 1 << 40)]);
        assert!(full.output::<LvmLogicalVolumeSpec>("all-log").is_none());
        let error = full.output::<LvmValidationError>("all-log").expect("an error");
        assert_eq!(error.message, "the group has 1048576 bytes free, and 1073741824 are needed at least");
        let error = full.output::<LvmValidationError>("fast-data").expect("an error");
        assert!(error.message.ends_with("less than minSize"), "{}", error.message);
        let exists = resource("all-log", LvmLogicalVolumeStatus::default());
        let made = plan(vec![group("all", 2 << 30, 0), exists]);
        assert!(made.output::<LvmLogicalVolumeSpec>("all-log").is_some());
    }

    #[test]
    fn members_of_arrays_are_not_taken() {
        let array = Disk {
            dev_path: "/dev/md127".to_owned(),
            secondary_disks: vec!["vdb".to_owned()],
            ..Disk::default()
        };
        let volume = DiscoveredVolume { dev_path: "/dev/md127".to_owned(), ..DiscoveredVolume::default() };
        let plan = plan(vec![resource("md127", array), resource("md127", volume)]);
        let all = plan.output::<LvmVolumeGroupSpec>("all").expect("a group");
        assert_eq!(all.physical_volumes, ["/dev/md127"]);
    }
}
