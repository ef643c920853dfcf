//! Sizes for people.

/// Decimal units, one digit behind the point below ten: `512 B`, `1.0 MB`, `105 MB`.
#[expect(clippy::cast_precision_loss, reason = "two digits are printed")]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    let rounded = (value * 10.0 + 0.5).floor() / 10.0;
    let name = UNITS[unit];
    if rounded < 10.0 { format!("{rounded:.1} {name}") } else { format!("{rounded:.0} {name}") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_have_two_or_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (1 << 20, "1.0 MB"),
            (100 << 20, "105 MB"),
            (10 << 30, "11 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(super::size(bytes), text);
        }
    }
}
