//! Constants for sizes.

use crate::Value;

const UNITS: [&str; 12] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "kB", "MB", "GB", "TB", "PB", "EB"];

/// The bytes of a unit.
pub fn unit(name: &str) -> Option<Value> {
    let index = UNITS.iter().position(|unit| *unit == name)?;
    let power = u32::try_from(index % 6 + 1).ok()?;
    let base: u64 = if index < 6 { 1024 } else { 1000 };
    Some(Value::Uint(base.pow(power)))
}
