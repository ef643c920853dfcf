//! `wipe`: what is on disks, in volume groups and in arrays.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};
use corten_api::machine::{
    LvmServiceLogicalVolumeRemoveRequest, LvmServicePhysicalVolumeRemoveRequest,
    LvmServiceVolumeGroupRemoveRequest, MdDestroyRequest,
};
use corten_api::storage::block_device_wipe_descriptor::Method as WireMethod;
use corten_api::storage::{BlockDeviceWipeDescriptor, BlockDeviceWipeRequest};

use crate::command::Command;
use crate::connect::{Maintenance, Node};
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::PerNode;

/// Wipe disks, partitions, volume groups and arrays; what was on them is lost.
#[derive(Args, Debug)]
pub struct Wipe {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Wipe disks or partitions that no volume uses.
    Disk(Disk),
    /// Remove a logical volume of LVM.
    Lv {
        /// The volume, as GROUP/VOLUME.
        #[arg(value_name = "GROUP/VOLUME", value_parser = parse_volume)]
        volume: LogicalVolume,
        #[command(flatten)]
        maintenance: Maintenance,
    },
    /// Stop an array and erase what its members say of it.
    Md {
        /// Its device, such as /dev/md/data.
        #[arg(value_parser = parse_device)]
        device: String,
        #[command(flatten)]
        maintenance: Maintenance,
    },
    /// Remove the label of a physical volume of LVM, which no group may use any more.
    Pv {
        /// Its device, such as /dev/sda1.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        device: String,
        #[command(flatten)]
        maintenance: Maintenance,
    },
    /// Remove a volume group of LVM with all of its logical volumes.
    Vg {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        group: String,
        #[command(flatten)]
        maintenance: Maintenance,
    },
}

#[derive(Args, Debug)]
struct Disk {
    /// Names of the devices, such as vda or sda5.
    #[arg(required = true, value_name = "DEVICE")]
    devices: Vec<String>,
    /// What is overwritten: what is recognized of partitions and file systems, or every byte.
    #[arg(long, value_enum, default_value_t, ignore_case = true)]
    method: Method,
    /// Remove wiped partitions from the tables of their disks as well.
    #[arg(long)]
    drop_partition: bool,
    /// Wipe volumes that are not mounted as well.
    #[arg(long, hide = true)]
    skip_volume_check: bool,
    /// Wipe what volume groups and arrays are made of as well.
    #[arg(long, hide = true)]
    skip_secondary_check: bool,
    #[command(flatten)]
    maintenance: Maintenance,
}

/// How thoroughly a device is wiped, in the words of the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Method {
    /// Both ends of the device and of its partitions.
    #[default]
    Fast,
    /// Every byte.
    Zeroes,
}

/// A logical volume in its group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LogicalVolume {
    group: String,
    name: String,
}

fn parse_volume(text: &str) -> Result<LogicalVolume, String> {
    match text.split_once('/') {
        Some((group, name)) if !group.is_empty() && !name.is_empty() => {
            Ok(LogicalVolume { group: group.to_owned(), name: name.to_owned() })
        }
        _ => Err("it is GROUP/VOLUME, such as vg0/lv0".to_owned()),
    }
}

fn parse_device(text: &str) -> Result<String, String> {
    if text.starts_with("/dev/") {
        Ok(text.to_owned())
    } else {
        Err("it is a path below /dev, such as /dev/md/data".to_owned())
    }
}

impl Disk {
    fn request(&self) -> BlockDeviceWipeRequest {
        let method = match self.method {
            Method::Fast => WireMethod::Fast,
            Method::Zeroes => WireMethod::Zeroes,
        };
        let descriptor = |device: &String| BlockDeviceWipeDescriptor {
            device: device.clone(),
            method: method.into(),
            skip_volume_check: self.skip_volume_check,
            skip_secondary_check: self.skip_secondary_check,
            drop_partition: self.drop_partition,
        };
        BlockDeviceWipeRequest { devices: self.devices.iter().map(descriptor).collect() }
    }
}

impl Command for Wipe {
    type Report = PerNode<()>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        match self.verb {
            Verb::Disk(disk) => {
                let request = &disk.request();
                let wipe = |node: Node| async move {
                    Ok(node.client.storage().block_device_wipe(request.clone()).await.map(drop)?)
                };
                Ok(cx.targets_in(&disk.maintenance)?.each("wipe devices of", wipe).await)
            }
            Verb::Lv { volume, maintenance } => {
                let LogicalVolume { group, name } = volume;
                let request =
                    LvmServiceLogicalVolumeRemoveRequest { volume_group: group, logical_volume: name };
                let request = &request;
                let remove = |node: Node| async move {
                    Ok(node.client.lvm().logical_volume_remove(request.clone()).await.map(drop)?)
                };
                Ok(cx.targets_in(&maintenance)?.each("remove the logical volume of", remove).await)
            }
            Verb::Md { device, maintenance } => {
                let request = &MdDestroyRequest { device };
                let destroy = |node: Node| async move {
                    Ok(node.client.md().destroy(request.clone()).await.map(drop)?)
                };
                Ok(cx.targets_in(&maintenance)?.each("destroy the array of", destroy).await)
            }
            Verb::Pv { device, maintenance } => {
                let request = &LvmServicePhysicalVolumeRemoveRequest { device };
                let remove = |node: Node| async move {
                    Ok(node.client.lvm().physical_volume_remove(request.clone()).await.map(drop)?)
                };
                Ok(cx.targets_in(&maintenance)?.each("remove the physical volume of", remove).await)
            }
            Verb::Vg { group, maintenance } => {
                let request = &LvmServiceVolumeGroupRemoveRequest { volume_group: group };
                let remove = |node: Node| async move {
                    Ok(node.client.lvm().volume_group_remove(request.clone()).await.map(drop)?)
                };
                Ok(cx.targets_in(&maintenance)?.each("remove the volume group of", remove).await)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        wipe: Wipe,
    }

    fn parse(line: &str) -> Result<Verb, clap::Error> {
        Line::try_parse_from(format!("corten {line}").split(' ')).map(|line| line.wipe.verb)
    }

    #[test]
    fn a_disk_is_wiped_as_its_flags_say() {
        let line =
            "disk vda sda5 --method ZEROES --drop-partition --skip-volume-check --skip-secondary-check -i";
        let Ok(Verb::Disk(disk)) = parse(line) else { panic!("{line}") };
        let request = disk.request();
        assert_eq!(request.devices.len(), 2);
        let expected = BlockDeviceWipeDescriptor {
            device: "sda5".to_owned(),
            method: WireMethod::Zeroes.into(),
            skip_volume_check: true,
            skip_secondary_check: true,
            drop_partition: true,
        };
        assert_eq!(request.devices[1], expected);
        let Ok(Verb::Disk(disk)) = parse("disk vda") else { panic!("no flags") };
        assert_eq!(
            (disk.request().devices[0].method(), disk.maintenance.insecure),
            (WireMethod::Fast, false)
        );
        assert!(parse("disk").is_err() && parse("disk vda --method SLOW").is_err());
    }

    #[test]
    fn volumes_groups_and_arrays_are_named_in_full() {
        assert!(matches!(parse("lv vg0/lv0"), Ok(Verb::Lv { .. })));
        assert!(matches!(parse("md /dev/md/data"), Ok(Verb::Md { .. })));
        assert!(matches!(parse("pv /dev/sda1"), Ok(Verb::Pv { .. })));
        assert!(matches!(parse("vg vg0 --insecure"), Ok(Verb::Vg { .. })));
        for line in ["lv lv0", "lv /lv0", "lv vg0/", "md md0", "pv", "vg"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
