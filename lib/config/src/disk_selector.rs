//! Expressions by which people select disks: for installation (`UnattendedInstallConfig`, the manager's wishes) and for
//! volumes (`provisioning.diskSelector.match`).
//!
//! ```text
//! "disk.transport == 'nvme' && disk.size > 100u * GiB" ─parse─▶ DiskSelector ─matches─▶ true | false | why not
//!                                    Disk, system disk or not ──────────────────▲
//! ```
//!
//! The language is CEL (<https://cel.dev>). An expression sees `disk` with the fields of the resource
//! `Disks.block.talos.dev` (node.md 3.5), `system_disk`, and the constants `KiB` to `EiB` and `kB` to `EB`. Sizes are
//! unsigned: Talos wants `100u`, and this library takes `100` too. Names that are not there are found when the
//! expression is evaluated, not before.
//!
//! This is the one file that knows the CEL library. Expressions come from users, so their work is bounded: by length,
//! and by the number of macros that walk lists, which could otherwise be nested without end.

use std::collections::HashMap;

use cel::{Context, Program, Value};

/// Longest expression, bytes.
pub const EXPRESSION_BYTES_MAX: usize = 1024;
/// Macros that walk lists, at most so many in an expression. Two nested ones over literals visit 65,000 elements.
pub const LOOPS_MAX: usize = 2;
/// Macros that walk lists.
const LOOPS: [&str; 9] = [
    "all",
    "exists",
    "existsOne",
    "exists_one",
    "filter",
    "map",
    "transformList",
    "transformMap",
    "transformMapEntry",
];
/// Constants for sizes.
const UNITS: [(&str, u64); 12] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("EiB", 1 << 60),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
    ("EB", 1_000_000_000_000_000_000),
];
/// Longest explanation of the library that is passed on, characters.
const EXPLANATION_MAX: usize = 200;

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

/// An expression that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// It is too long.
    #[error("the expression has {0} bytes; at most {most} are evaluated", most = EXPRESSION_BYTES_MAX)]
    Long(usize),
    /// It walks too many lists.
    #[error("the expression walks {0} lists by macros; at most {most} may be walked", most = LOOPS_MAX)]
    Loops(usize),
    /// It is no expression of CEL.
    #[error("it is no CEL expression: {0}")]
    Syntax(String),
    /// It asks for something that is not there, or compares what cannot be compared.
    #[error("it cannot be evaluated: {0}")]
    Evaluation(String),
    /// It gives something else than true or false.
    #[error("it gives neither true nor false; compare something, as in `disk.size > 100u * GB`")]
    NoCondition,
}

/// An expression that selects disks.
#[derive(Debug)]
pub struct DiskSelector {
    program: Program,
}

impl DiskSelector {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it is none, or too large to be evaluated for everybody.
    pub fn parse(expression: &str) -> Result<Self, SelectorError> {
        if expression.len() > EXPRESSION_BYTES_MAX {
            return Err(SelectorError::Long(expression.len()));
        }
        let loops = loops(expression);
        if loops > LOOPS_MAX {
            return Err(SelectorError::Loops(loops));
        }
        let program = Program::compile(expression);
        let program = program.map_err(|errors| SelectorError::Syntax(explanation(&errors.to_string())))?;
        Ok(Self { program })
    }

    /// Whether the expression is true for a disk.
    ///
    /// # Errors
    /// When it cannot tell.
    pub fn matches(&self, disk: &Disk<'_>) -> Result<bool, SelectorError> {
        let mut context = Context::default();
        for (name, bytes) in UNITS {
            context.add_variable_from_value(name, Value::UInt(bytes));
        }
        context.add_variable_from_value("system_disk", Value::Bool(disk.is_system_disk));
        context.add_variable_from_value("disk", value(disk));
        match self.program.execute(&context) {
            Ok(Value::Bool(is_true)) => Ok(is_true),
            Ok(_) => Err(SelectorError::NoCondition),
            Err(error) => Err(SelectorError::Evaluation(explanation(&error.to_string()))),
        }
    }
}

/// How many lists an expression walks; a name that only looks like a macro counts too.
fn loops(expression: &str) -> usize {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| LOOPS.contains(word)).count()
}

/// What the library says, in one line of bounded length.
fn explanation(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().chars().take(EXPLANATION_MAX).collect()
}

fn list(texts: &[String]) -> Value {
    let values: Vec<Value> = texts.iter().map(|text| Value::from(text.as_str())).collect();
    Value::from(values)
}

/// Every field is there, as it is in a message of protobuf: what is not known has the value of its type that means so.
fn value(disk: &Disk<'_>) -> Value {
    let texts = [
        ("dev_path", disk.dev_path),
        ("pretty_size", disk.pretty_size),
        ("model", disk.model),
        ("serial", disk.serial),
        ("modalias", disk.modalias),
        ("wwid", disk.wwid),
        ("uuid", disk.uuid),
        ("bus_path", disk.bus_path),
        ("sub_system", disk.sub_system),
        ("transport", disk.transport),
        ("firmware_version", disk.firmware_version),
    ];
    let numbers = [("size", disk.size), ("io_size", disk.io_size), ("sector_size", disk.sector_size)];
    let flags = [("readonly", disk.readonly), ("cdrom", disk.cdrom), ("rotational", disk.rotational)];
    let lists = [("secondary_disks", disk.secondary_disks), ("symlinks", disk.symlinks)];
    let mut fields: HashMap<&str, Value> = HashMap::new();
    fields.extend(texts.map(|(name, text)| (name, Value::from(text))));
    fields.extend(numbers.map(|(name, number)| (name, Value::UInt(number))));
    fields.extend(flags.map(|(name, flag)| (name, Value::Bool(flag))));
    fields.extend(lists.map(|(name, texts)| (name, list(texts))));
    Value::from(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn matches(expression: &str, disk: &Disk<'_>) -> Result<bool, SelectorError> {
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
            ("disk.size > 300u * GiB", false),
            ("disk.model.startsWith('QEMU')", true),
            ("'/dev/disk/by-id/nvme-a' in disk.symlinks", true),
            ("disk.symlinks.exists(link, link.endsWith('-b'))", false),
            ("disk.rotational || disk.serial == 'x' || disk.readonly || disk.cdrom", false),
            ("system_disk", false),
        ] {
            assert_eq!(matches(expression, &disk), Ok(expected), "{expression}");
        }
        assert_eq!(matches("system_disk", &Disk { is_system_disk: true, ..disk }), Ok(true));
    }

    #[test]
    fn what_cannot_be_evaluated_says_why() {
        let disk = Disk::default();
        assert!(matches!(matches("disk.size >", &disk), Err(SelectorError::Syntax(_))));
        let unknown = matches("disk.colour == 'red'", &disk).expect_err("no such field");
        assert!(unknown.to_string().contains("colour"), "{unknown}");
        let undeclared = matches("disc.size > 1u", &disk).expect_err("no such variable");
        assert!(undeclared.to_string().contains("disc"), "{undeclared}");
        assert_eq!(matches("disk.size", &disk), Err(SelectorError::NoCondition));
    }

    #[test]
    fn work_is_bounded_before_it_begins() {
        let long = format!("disk.model == '{}'", "x".repeat(EXPRESSION_BYTES_MAX));
        assert!(matches!(DiskSelector::parse(&long), Err(SelectorError::Long(_))));
        let nested = "[1].all(a, [1].all(b, [1].all(c, true)))";
        assert_eq!(DiskSelector::parse(nested).err(), Some(SelectorError::Loops(3)));
        assert!(DiskSelector::parse("[1].all(a, [1].exists(b, a == b))").is_ok());
    }

    #[test]
    fn fuzz_any_expression_ends() {
        bolero::check!().with_type::<String>().for_each(|expression| {
            let _ = matches(expression, &Disk::default());
        });
    }
}
