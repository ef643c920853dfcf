//! Disks and partitions as the kernel lists them below `/sys/block`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use corten_resources::block::Disk;

use crate::pretty;

/// The unit of sizes in sysfs, whatever the sector of the disk.
const UNIT_BYTES: u64 = 512;
/// Names of devices that are no disks: memory, files, and what is made of other disks.
const NO_DISKS: [&str; 6] = ["loop", "ram", "zram", "dm-", "nbd", "fd"];

/// The two file systems in which the kernel shows devices.
#[derive(Clone, Debug)]
pub struct Sysfs {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
    /// The only disk that is the machine's, whatever it is made of; without a name all disks are.
    pub only: Option<String>,
}

impl Default for Sysfs {
    fn default() -> Self {
        Self { sys: "/sys".into(), dev: "/dev".into(), only: None }
    }
}

/// A partition as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelPartition {
    /// Kernel name.
    pub name: String,
    /// Number, from 1.
    pub number: u32,
    /// First byte.
    pub start_bytes: u64,
    /// Size.
    pub size_bytes: u64,
    /// Device as `major:minor`.
    pub device: String,
    /// Its node exists.
    pub has_node: bool,
}

impl Sysfs {
    /// All disks by kernel name.
    pub fn disks(&self) -> io::Result<BTreeMap<String, Disk>> {
        let links = self.links();
        let mut disks = BTreeMap::new();
        for entry in fs::read_dir(self.sys.join("block"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let is_ours = match &self.only {
                Some(only) => *only == name,
                None => !NO_DISKS.iter().any(|prefix| name.starts_with(prefix)),
            };
            if !is_ours {
                continue;
            }
            let disk = self.disk(&name, &links);
            if disk.size > 0 || disk.cdrom {
                disks.insert(name, disk);
            }
        }
        Ok(disks)
    }

    /// The partitions of a disk, by number.
    pub fn partitions(&self, disk: &str) -> Vec<KernelPartition> {
        let folder = self.sys.join("block").join(disk);
        let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
        let mut partitions: Vec<KernelPartition> = entries
            .flatten()
            .filter_map(|entry| {
                let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
                Some(KernelPartition {
                    number: number(&path.join("partition"))?.try_into().ok()?,
                    start_bytes: number(&path.join("start"))?.checked_mul(UNIT_BYTES)?,
                    size_bytes: number(&path.join("size"))?.checked_mul(UNIT_BYTES)?,
                    device: text(&path.join("dev")),
                    has_node: self.dev.join(&name).exists(),
                    name,
                })
            })
            .collect();
        partitions.sort_by_key(|partition| partition.number);
        partitions
    }

    fn disk(&self, name: &str, links: &[(PathBuf, String)]) -> Disk {
        let folder = self.sys.join("block").join(name);
        let device = folder.join("device");
        let queue = |file: &str| number(&folder.join("queue").join(file)).unwrap_or(0);
        let place = fs::canonicalize(&folder).unwrap_or_default().to_string_lossy().into_owned();
        let size = number(&folder.join("size")).unwrap_or(0).saturating_mul(UNIT_BYTES);
        let dev_path = self.dev.join(name);
        let symlinks = links.iter().filter(|(target, _)| *target == dev_path).map(|(_, link)| link.clone());
        let cdrom = name.starts_with("sr");
        Disk {
            size,
            io_size: Some(queue("optimal_io_size"))
                .filter(|size| *size > 0)
                .unwrap_or_else(|| queue("minimum_io_size")),
            sector_size: queue("logical_block_size"),
            readonly: text(&folder.join("ro")) == "1",
            model: text(&device.join("model")),
            serial: first_text(&[folder.join("serial"), device.join("serial")])
                .unwrap_or_else(|| unit_serial(&device.join("vpd_pg80"))),
            modalias: text(&device.join("modalias")),
            wwid: first_text(&[folder.join("wwid"), device.join("wwid")]).unwrap_or_default(),
            bus_path: bus_path(&place).to_owned(),
            sub_system: "/sys/class/block".to_owned(),
            transport: transport(&place, name).to_owned(),
            rotational: text(&folder.join("queue/rotational")) == "1" && !cdrom,
            cdrom,
            dev_path: dev_path.to_string_lossy().into_owned(),
            pretty_size: pretty::size(size),
            secondary_disks: names(&folder.join("slaves")),
            uuid: text(&folder.join("uuid")),
            symlinks: symlinks.collect(),
            firmware_version: first_text(&[device.join("firmware_rev"), device.join("rev")])
                .unwrap_or_default(),
        }
    }

    /// Links below `/dev/disk` with what they point to.
    pub fn links(&self) -> Vec<(PathBuf, String)> {
        let mut links = Vec::new();
        for folder in names(&self.dev.join("disk")) {
            let folder = self.dev.join("disk").join(folder);
            for name in names(&folder) {
                let link = folder.join(name);
                if let Ok(target) = fs::canonicalize(&link) {
                    links.push((target, link.to_string_lossy().into_owned()));
                }
            }
        }
        links.sort();
        links
    }
}

/// How the disk is attached, by its place among the devices.
fn transport(place: &str, name: &str) -> &'static str {
    const MARKS: [(&str, &str); 6] = [
        ("/nvme", "nvme"),
        ("/usb", "usb"),
        ("/virtio", "virtio"),
        ("/ata", "sata"),
        ("/mmc", "mmc"),
        ("/end_device-", "sas"),
    ];
    if name.starts_with("nvme") {
        return "nvme";
    }
    MARKS.iter().find(|(mark, _)| place.contains(mark)).map_or("", |(_, transport)| transport)
}

/// The place among the devices without the disk itself.
fn bus_path(place: &str) -> &str {
    let below = place.split_once("/devices").map_or("", |(_, below)| below);
    below.split("/block/").next().filter(|path| *path != below).unwrap_or_default()
}

/// The serial number page of SCSI: four bytes of header, then text.
fn unit_serial(path: &Path) -> String {
    let page = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(page.get(4..).unwrap_or_default()).trim_matches(['\0', ' ', '\n']).to_owned()
}

fn first_text(paths: &[PathBuf]) -> Option<String> {
    paths.iter().map(|path| text(path)).find(|text| !text.is_empty())
}

/// A file's text without blanks around it; empty when there is none.
pub fn text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// A file's number.
pub fn number(path: &Path) -> Option<u64> {
    text(path).parse().ok()
}

/// What is in a folder, in order.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text).expect("a file");
    }

    #[test]
    fn a_virtio_disk_with_a_partition_is_described() {
        let folder = tempfile::tempdir().expect("a folder");
        let (sys, dev) = (folder.path().join("sys"), folder.path().join("dev"));
        let place = sys.join("devices/pci0000:00/0000:00:03.0/virtio0/block/vda");
        for (file, text) in [
            ("size", "20971520\n"),
            ("ro", "0\n"),
            ("serial", "disk-1"),
            ("queue/logical_block_size", "512\n"),
            ("queue/optimal_io_size", "0\n"),
            ("queue/minimum_io_size", "4096\n"),
            ("queue/rotational", "1\n"),
            ("vda1/partition", "1\n"),
            ("vda1/start", "2048\n"),
            ("vda1/size", "4096\n"),
            ("vda1/dev", "254:1\n"),
        ] {
            write(&place.join(file), text);
        }
        write(&sys.join("devices/virtual/block/loop0/size"), "8\n");
        fs::create_dir_all(sys.join("block")).expect("folders");
        for name in ["pci0000:00/0000:00:03.0/virtio0/block/vda", "virtual/block/loop0"] {
            let link = sys.join("block").join(name.rsplit('/').next().expect("a name"));
            symlink(sys.join("devices").join(name), link).expect("a link");
        }
        fs::create_dir_all(dev.join("disk/by-id")).expect("folders");
        fs::write(dev.join("vda"), "").expect("a node");
        symlink(dev.join("vda"), dev.join("disk/by-id/virtio-disk-1")).expect("a link");
        let sysfs = Sysfs { sys, dev: fs::canonicalize(&dev).expect("a folder"), only: None };

        let disks = sysfs.disks().expect("a list");
        assert_eq!(disks.keys().collect::<Vec<_>>(), ["vda"]);
        let disk = &disks["vda"];
        assert_eq!((disk.size, disk.pretty_size.as_str(), disk.io_size), (10 << 30, "11 GB", 4096));
        assert_eq!(
            (disk.transport.as_str(), disk.serial.as_str(), disk.rotational),
            ("virtio", "disk-1", true)
        );
        assert_eq!(disk.bus_path, "/pci0000:00/0000:00:03.0/virtio0");
        assert!(disk.symlinks[0].ends_with("/dev/disk/by-id/virtio-disk-1"));
        let partition = &sysfs.partitions("vda")[0];
        assert_eq!((partition.number, partition.start_bytes, partition.size_bytes), (1, 1 << 20, 2 << 20));
        assert!(!partition.has_node);
    }

    #[test]
    fn transports_are_told_by_the_place() {
        for (place, name, expected) in [
            ("/sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda", "sda", "sata"),
            (
                "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host6/target6:0:0/block/sdb",
                "sdb",
                "usb",
            ),
            ("/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "nvme0n1", "nvme"),
            ("/sys/devices/pci0000:00/0000:00:05.0/virtio1/host2/target2:0:0/block/sda", "sda", "virtio"),
            ("/sys/devices/virtual/block/md0", "md0", ""),
        ] {
            assert_eq!(transport(place, name), expected, "{place}");
        }
    }
}
