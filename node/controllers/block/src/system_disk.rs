//! The disk that the machine lives on, and a warning when the configuration means another one.
//!
//!     DiscoveredVolume with the label META ──▶ SystemDisk
//!     SystemDisk, MachineConfig, Disk ──▶ Diagnostic

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::block::{DiscoveredVolume, DiscoveredVolumesStatus, Disk, SystemDisk, VolumeStatus};
use corten_resources::config::MachineConfig;
use corten_resources::runtime::Diagnostic;

/// Id of the warning.
const INSTALL_DISK: &str = "install-disk";

/// Finds the system disk.
pub struct FindSystemDisk;

controller!(FindSystemDisk, "block.SystemDisk",
    inputs: [weak DiscoveredVolume, weak DiscoveredVolumesStatus],
    outputs: [exclusive SystemDisk]);

impl Transform for FindSystemDisk {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let volumes = view.list::<DiscoveredVolume>();
        let meta = volumes.iter().find(|volume| volume.spec.partition_label == VolumeStatus::META);
        let Some(meta) = meta else {
            return plan.waiting("a disk with a partition labelled META");
        };
        let disk =
            SystemDisk { disk_id: meta.spec.parent.clone(), dev_path: meta.spec.parent_dev_path.clone() };
        plan.put(SystemDisk::ID, disk);
        plan
    }
}

/// Compares `machine.install.disk` with the system disk.
pub struct InstallDisk;

controller!(InstallDisk, "block.InstallDisk",
    inputs: [weak SystemDisk, weak MachineConfig, weak Disk],
    outputs: [shared Diagnostic]);

impl Transform for InstallDisk {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(system) = view.get::<SystemDisk>(SystemDisk::ID) else { return plan };
        let config = view.get::<MachineConfig>(MachineConfig::ACTIVE);
        let config = config.and_then(|config| corten_config::load_cached(&config.spec.yaml).ok());
        let wanted = config
            .and_then(|config| config.view().machine.install.as_ref().map(|install| install.disk.clone()));
        let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return plan };
        let actual = &system.spec.dev_path;
        let links = view
            .get::<Disk>(&system.spec.disk_id)
            .map(|disk| disk.spec.symlinks.as_slice())
            .unwrap_or_default();
        if wanted != *actual && !links.contains(&wanted) {
            plan.put(INSTALL_DISK, warning(&wanted, actual));
        }
        plan
    }
}

fn warning(wanted: &str, actual: &str) -> Diagnostic {
    Diagnostic {
        message: format!(
            "machine.install.disk is {wanted}, but the machine runs from {actual} and stays there"
        ),
        details: vec![
            format!("volumes are on {actual}; {wanted} is not touched"),
            format!("set machine.install.disk to {actual}, or write the image to {wanted} and boot from it"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;

    use super::*;

    fn disk(path: &str) -> SystemDisk {
        SystemDisk { disk_id: "vda".to_owned(), dev_path: path.to_owned() }
    }

    #[test]
    fn the_disk_with_meta_is_the_system_disk() {
        let volume = |label: &str, parent: &str| DiscoveredVolume {
            partition_label: label.to_owned(),
            parent: parent.to_owned(),
            parent_dev_path: format!("/dev/{parent}"),
            ..DiscoveredVolume::default()
        };
        let rows = [resource("sda1", volume("META2", "sda")), resource("vda2", volume("META", "vda"))];
        let plan = FindSystemDisk.plan(&View::of(rows, UNIX_EPOCH));
        assert_eq!(plan.output::<SystemDisk>(SystemDisk::ID), Some(&disk("/dev/vda")));
        assert!(FindSystemDisk.plan(&View::of([], UNIX_EPOCH)).outputs::<SystemDisk>().is_empty());
    }

    #[test]
    fn another_install_disk_is_a_warning_unless_it_is_a_name_of_the_same() {
        let warns = |wanted: &str| {
            let yaml = format!(
                "version: v1alpha1\nmachine:\n  type: worker\n  token: abc\n  install:\n    disk: {wanted}\ncluster: {{}}\n"
            );
            assert!(
                corten_config::load_cached(yaml.as_bytes()).is_ok(),
                "{:?}",
                corten_config::load_cached(yaml.as_bytes()).err()
            );
            let rows = [
                resource(SystemDisk::ID, disk("/dev/vda")),
                resource("vda", Disk { symlinks: vec!["/dev/disk/by-id/x".to_owned()], ..Disk::default() }),
                resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.into_bytes() }),
            ];
            !InstallDisk.plan(&View::of(rows, UNIX_EPOCH)).outputs::<Diagnostic>().is_empty()
        };
        assert!(warns("/dev/sda"));
        assert!(!warns("/dev/vda"));
        assert!(!warns("/dev/disk/by-id/x"));
    }
}
