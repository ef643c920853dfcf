//! Sizes, times and durations as people and Go's flags write them.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// Parses a duration as Go writes it: `1h30m`, `1.5s`, `0`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid duration {text:?}; write it like 30s, 5m or 1h30m");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let tail = &rest[digits..];
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        seconds += number * unit_seconds(&tail[..unit]).ok_or_else(wrong)?;
        rest = &tail[unit..];
    }
    (!text.is_empty()).then_some(()).ok_or_else(wrong)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

fn unit_seconds(unit: &str) -> Option<f64> {
    let seconds = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Some(seconds)
}

/// A duration as protobuf carries it.
pub fn wire_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

/// A time as protobuf carries it; nothing for one that is not representable.
pub fn time_of(stamp: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    SystemTime::try_from(stamp?).ok()
}

/// UTC in RFC 3339, whole seconds.
pub fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time)
        .ok()
        .and_then(|stamp| Timestamp::from_second(stamp.as_second()).ok())
        .map_or_else(|| "?".to_owned(), |stamp| stamp.to_string())
}

/// The day of a time.
pub fn date(time: SystemTime) -> String {
    rfc3339(time).chars().take(10).collect()
}

/// UTC in RFC 3339 with nanoseconds.
pub fn rfc3339_nano(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "?".to_owned(), |stamp| stamp.to_string())
}

/// A file's time as `ls -l` writes it.
pub fn listed(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| "?".to_owned(), |s| s.strftime("%b %e %Y %H:%M:%S").to_string())
}

const STEPS: &[(u64, u64, &str)] = &[
    (60, 1, "second"),
    (3600, 60, "minute"),
    (86400, 3600, "hour"),
    (7 * 86400, 86400, "day"),
    (30 * 86400, 7 * 86400, "week"),
    (350 * 86400, 30 * 86400, "month"),
    (u64::MAX, 365 * 86400, "year"),
];

/// A duration in its largest unit: `3 hours`.
pub fn coarse(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (_, size, unit) =
        STEPS.iter().find(|(below, ..)| seconds < *below).copied().unwrap_or((0, 365 * 86400, "year"));
    // A year that lacks a few seconds is a year.
    let count = (seconds / size).max(u64::from(size > 1));
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A time relative to another: `3 hours ago`, `1 year from now`.
pub fn relative(time: SystemTime, now: SystemTime) -> String {
    match now.duration_since(time) {
        Ok(past) => format!("{} ago", coarse(past)),
        Err(future) => format!("{} from now", coarse(future.duration())),
    }
}

/// Elapsed time as tables show it: `1h2m3s`.
pub fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

/// Bytes in decimal units: `1.2 MB`.
pub fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mut value = count as f64;
    if count < 1000 {
        return format!("{count} B");
    }
    for unit in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        value /= 1000.0;
        if value < 999.5 {
            return if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") };
        }
    }
    format!("{value:.0} EB")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let millis = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("1h30m"), Ok(5_400_000));
        assert_eq!(millis("1.5s"), Ok(1500));
        assert_eq!(millis("250ms"), Ok(250));
        assert_eq!(millis("8760h0m0s"), Ok(8760 * 3_600_000));
        assert_eq!(millis("0"), Ok(0));
        for bad in ["", "1", "s", "1x", "-1s", "1h 2m", "1..2s", "99999999999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn people_read_one_unit() {
        assert_eq!(
            [bytes(999), bytes(1234), bytes(12_345_678), bytes(u64::MAX)],
            ["999 B", "1.2 kB", "12 MB", "18 EB"]
        );
        assert_eq!(coarse(Duration::from_secs(1)), "1 second");
        assert_eq!(coarse(Duration::from_secs(3 * 86400)), "3 days");
        assert_eq!(coarse(Duration::from_secs(365 * 86400)), "1 year");
        assert_eq!(coarse(Duration::from_secs(365 * 86400 - 9)), "1 year");
        assert_eq!(coarse(Duration::ZERO), "0 seconds");
        assert_eq!(short(Duration::from_secs(3661)), "1h1m1s");
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00Z");
    }

    proptest! {
        #[test]
        fn never_panics(text in "[0-9.hmsnuµ-]{0,12}", count: u64) {
            let _ = parse_duration(&text);
            prop_assert!(bytes(count).len() <= 8);
        }
    }
}
