//! Expressions by which people select disks and volumes.
//!
//! ```text
//! "disk.transport == 'nvme' && disk.size > 100u * GiB" ─parse─▶ DiskSelector ─matches─▶ true | false | why not
//!                                    Disk, system disk or not ──────────────────▲
//! ```
//!
//! The language is that of `corten_cel`. For installation (`UnattendedInstallConfig`, the manager's wishes) and new
//! volumes (`provisioning.diskSelector.match`) an expression sees `disk` with the fields of the resource
//! `Disks.block.talos.dev` (node.md 3.5) and `system_disk`; for what is there already
//! (`discovery.volumeSelector.match`) it also sees `volume` with the fields of `DiscoveredVolumes.block.talos.dev`.
//! What is not known has the value of its type that means so.

use corten_cel::{Dialect, Error, ErrorKind, Expression, Scope, Value};

const DISK_DIALECT: Dialect = Dialect { variables: &["disk", "system_disk"], functions: &[] };
const VOLUME_DIALECT: Dialect = Dialect { variables: &["volume", "disk", "system_disk"], functions: &[] };

/// A disk, as expressions see it. What is not known is empty, zero or false.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk<'a> {
    /// Path of the device, such as `/dev/sda`.
    pub dev_path: &'a str,
    /// Size, bytes.
    pub size: u64,
    /// Size for people.
    pub pretty_size: &'a str,
    /// Best size of a request, bytes.
    pub io_size: u64,
    /// Size of a sector, bytes.
    pub sector_size: u64,
    /// It cannot be written.
    pub readonly: bool,
    /// It is an optical drive.
    pub cdrom: bool,
    /// It has spinning platters.
    pub rotational: bool,
    /// Model.
    pub model: &'a str,
    /// Serial number.
    pub serial: &'a str,
    /// What the kernel chooses its driver by.
    pub modalias: &'a str,
    /// World wide identifier.
    pub wwid: &'a str,
    /// UUID of the device itself.
    pub uuid: &'a str,
    /// Where it is attached, a path in sysfs.
    pub bus_path: &'a str,
    /// Subsystem in sysfs.
    pub sub_system: &'a str,
    /// `sata`, `nvme`, `usb`, `virtio` and so on.
    pub transport: &'a str,
    /// Version of its firmware.
    pub firmware_version: &'a str,
    /// Names of the disks it is composed of.
    pub secondary_disks: &'a [String],
    /// Stable paths that lead to it.
    pub symlinks: &'a [String],
    /// The operating system is on it.
    pub is_system_disk: bool,
}

impl Disk<'_> {
    /// Every field is there, as it is in a message of protobuf.
    fn value(&self) -> Value {
        let texts = [
            ("dev_path", self.dev_path),
            ("pretty_size", self.pretty_size),
            ("model", self.model),
            ("serial", self.serial),
            ("modalias", self.modalias),
            ("wwid", self.wwid),
            ("uuid", self.uuid),
            ("bus_path", self.bus_path),
            ("sub_system", self.sub_system),
            ("transport", self.transport),
            ("firmware_version", self.firmware_version),
        ];
        let numbers = [("size", self.size), ("io_size", self.io_size), ("sector_size", self.sector_size)];
        let flags = [("readonly", self.readonly), ("cdrom", self.cdrom), ("rotational", self.rotational)];
        let lists = [("secondary_disks", self.secondary_disks), ("symlinks", self.symlinks)];
        let fields = texts.map(|(name, text)| (name, Value::from(text))).into_iter();
        let fields = fields.chain(numbers.map(|(name, number)| (name, Value::Uint(number))));
        let fields = fields.chain(flags.map(|(name, flag)| (name, Value::Bool(flag))));
        Value::message(fields.chain(lists.map(|(name, texts)| (name, Value::from(texts)))))
    }
}

/// What was found on a disk or partition, as expressions see it. What is not known is empty or zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Volume<'a> {
    /// `disk` or `partition`.
    pub kind: &'a str,
    /// Path of the device, such as `/dev/sda1`.
    pub dev_path: &'a str,
    /// Path in sysfs.
    pub device_path: &'a str,
    /// Kernel name of the disk.
    pub parent: &'a str,
    /// Path of the device of the disk.
    pub parent_dev_path: &'a str,
    /// Start on the disk, bytes.
    pub offset: u64,
    /// Size, bytes.
    pub size: u64,
    /// Size for people.
    pub pretty_size: &'a str,
    /// Size of a sector, bytes.
    pub sector_size: u64,
    /// Best size of a request, bytes.
    pub io_size: u64,
    /// File system or partition table, such as `xfs`.
    pub name: &'a str,
    /// UUID of the file system.
    pub uuid: &'a str,
    /// Label of the file system.
    pub label: &'a str,
    /// Block size of the file system, bytes.
    pub block_size: u32,
    /// Block size that the file system addresses in, bytes.
    pub filesystem_block_size: u32,
    /// Size that the file system claims, bytes.
    pub probed_size: u64,
    /// UUID of the partition.
    pub partition_uuid: &'a str,
    /// UUID of the partition's type.
    pub partition_type: &'a str,
    /// Label of the partition.
    pub partition_label: &'a str,
    /// Number of the partition, from 1.
    pub partition_index: u32,
}

impl Volume<'_> {
    fn value(&self) -> Value {
        let texts = [
            ("type", self.kind),
            ("dev_path", self.dev_path),
            ("device_path", self.device_path),
            ("parent", self.parent),
            ("parent_dev_path", self.parent_dev_path),
            ("pretty_size", self.pretty_size),
            ("name", self.name),
            ("uuid", self.uuid),
            ("label", self.label),
            ("partition_uuid", self.partition_uuid),
            ("partition_type", self.partition_type),
            ("partition_label", self.partition_label),
        ];
        let numbers = [
            ("offset", self.offset),
            ("size", self.size),
            ("sector_size", self.sector_size),
            ("io_size", self.io_size),
            ("block_size", self.block_size.into()),
            ("filesystem_block_size", self.filesystem_block_size.into()),
            ("probed_size", self.probed_size),
            ("partition_index", self.partition_index.into()),
        ];
        let fields = texts.map(|(name, text)| (name, Value::from(text))).into_iter();
        Value::message(fields.chain(numbers.map(|(name, number)| (name, Value::Uint(number)))))
    }
}

/// What an expression sees; each value is made when it is asked for.
struct Seen<'a> {
    disk: &'a Disk<'a>,
    volume: Option<&'a Volume<'a>>,
}

impl Scope for Seen<'_> {
    fn variable(&self, name: &str) -> Option<Value> {
        match name {
            "disk" => Some(self.disk.value()),
            "system_disk" => Some(Value::Bool(self.disk.is_system_disk)),
            "volume" => self.volume.map(Volume::value),
            _ => None,
        }
    }
}

/// An expression that selects disks.
#[derive(Clone, Debug)]
pub struct DiskSelector(Expression);

impl DiskSelector {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it is none, is too large, or asks for something that disks do not have.
    pub fn parse(expression: &str) -> Result<Self, Error> {
        let selector = Self(Expression::parse(expression, DISK_DIALECT)?);
        unless_mistaken(selector.matches(&Disk::default()))?;
        Ok(selector)
    }

    /// Whether the expression is true for a disk.
    ///
    /// # Errors
    /// When it cannot tell.
    pub fn matches(&self, disk: &Disk<'_>) -> Result<bool, Error> {
        self.0.is_true(&Seen { disk, volume: None })
    }
}

/// An expression that selects volumes that are there.
#[derive(Clone, Debug)]
pub struct VolumeSelector(Expression);

impl VolumeSelector {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it is none, is too large, or asks for something that volumes do not have.
    pub fn parse(expression: &str) -> Result<Self, Error> {
        let selector = Self(Expression::parse(expression, VOLUME_DIALECT)?);
        unless_mistaken(selector.matches(&Volume::default(), &Disk::default()))?;
        Ok(selector)
    }

    /// Whether the expression is true for a volume on a disk.
    ///
    /// # Errors
    /// When it cannot tell.
    pub fn matches(&self, volume: &Volume<'_>, disk: &Disk<'_>) -> Result<bool, Error> {
        self.0.is_true(&Seen { disk, volume: Some(volume) })
    }
}

/// With values that mean nothing an expression may fail where it would not with others, unless it is wrong anyway.
fn unless_mistaken(result: Result<bool, Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.kind == ErrorKind::Mistake => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn matches(expression: &str, disk: &Disk<'_>) -> Result<bool, Error> {
        DiskSelector::parse(expression)?.matches(disk)
    }

    #[test]
    fn expressions_of_the_documentation_and_of_generated_configurations_select() {
        let links = ["/dev/disk/by-id/nvme-a".to_owned()];
        let disk = Disk {
            dev_path: "/dev/nvme0n1",
            size: 200 * GIB,
            transport: "nvme",
            model: "QEMU NVMe Ctrl",
            symlinks: &links,
            ..Disk::default()
        };
        for (expression, expected) in [
            ("disk.dev_path == \"/dev/nvme0n1\"", true),
            ("disk.transport == 'nvme' && !system_disk", true),
            ("disk.size > 100u * GiB && disk.size < 1u * TB", true),
            ("disk.size > 10 * GiB", true),
            ("disk.size > 300u * GiB", false),
            ("disk.model.startsWith('QEMU')", true),
            ("disk.model.matches('^QEMU .*')", true),
            ("'/dev/disk/by-id/nvme-a' in disk.symlinks", true),
            ("disk.symlinks.exists(link, link.endsWith('-b'))", false),
            ("disk.symlinks[0].size() > 0", true),
            ("disk.rotational || disk.serial == 'x' || disk.readonly || disk.cdrom", false),
            ("system_disk", false),
        ] {
            assert_eq!(matches(expression, &disk), Ok(expected), "{expression}");
        }
        assert_eq!(matches("system_disk", &Disk { is_system_disk: true, ..disk }), Ok(true));
    }

    #[test]
    fn volumes_are_selected_by_what_is_in_them_and_where_they_are() {
        let volume = Volume { name: "xfs", label: "data", partition_index: 2, ..Volume::default() };
        let disk = Disk { serial: "S1", ..Disk::default() };
        for (expression, expected) in [
            ("volume.label == 'data' && disk.serial == 'S1'", true),
            ("volume.partition_index == 2u && volume.name != 'ext4'", true),
            ("volume.partition_label == 'data' || system_disk", false),
        ] {
            let selector = VolumeSelector::parse(expression).expect(expression);
            assert_eq!(selector.matches(&volume, &disk), Ok(expected), "{expression}");
        }
        assert!(DiskSelector::parse("volume.label == 'data'").is_err());
        assert!(VolumeSelector::parse("volume.colour == 'red'").is_err());
    }

    #[test]
    fn what_can_never_select_is_refused_when_it_is_read() {
        for (expression, word) in [
            ("disk.size >", "the end"),
            ("disk.colour == 'red'", "colour"),
            ("disc.size > 1u", "disc"),
            ("disk.size", "neither true nor false"),
        ] {
            let error = DiskSelector::parse(expression).expect_err(expression).to_string();
            assert!(error.contains(word) && error.contains("at character"), "{expression}: {error}");
        }
    }

    #[test]
    fn no_expression_makes_it_panic() {
        bolero::check!().with_type::<String>().for_each(|expression| {
            let _ = matches(expression, &Disk::default());
        });
    }
}
