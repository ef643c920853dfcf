//! A record of the kernel log as a line of JSON (fleet.md 1.9).

use std::time::{Duration, SystemTime};

use corten_sys::kmsg::Record;
use serde_json::{Value, json};

/// Longest line, its end included: managers read into a buffer of 4096 bytes, and take a longer line for an error.
pub const LINE_BYTES_MAX: usize = 4096;

/// Names of the syslog facilities, by number.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "security", "console", "cron2", "local0", "local1", "local2", "local3", "local4", "local5",
    "local6", "local7",
];
/// Names of the syslog severities by number, each with the level that it is for people.
const SEVERITIES: [(&str, &str); 8] = [
    ("emerg", "error"),
    ("alert", "error"),
    ("crit", "error"),
    ("err", "error"),
    ("warning", "warn"),
    ("notice", "info"),
    ("info", "info"),
    ("debug", "debug"),
];

/// The record with its line end; `booted` is when the machine came up. A message that makes the line too long is cut.
#[must_use]
pub fn line(record: &Record, booted: SystemTime) -> Vec<u8> {
    let at = booted + Duration::from_micros(record.since_boot_us);
    let time = corten_resource::yaml::time(at);
    let mut message = record.message.as_str();
    loop {
        let mut line = object(record, message, &time).to_string().into_bytes();
        line.push(b'\n');
        if line.len() <= LINE_BYTES_MAX || message.is_empty() {
            return line;
        }
        // Each byte of the message is at least one of the line, and at most six when it has to be escaped.
        let kept = message.len().saturating_sub((line.len() - LINE_BYTES_MAX).div_ceil(6));
        message = message.get(..message.floor_char_boundary(kept)).unwrap_or_default();
    }
}

fn object(record: &Record, message: &str, time: &str) -> Value {
    let facility = usize::try_from(record.facility).ok().and_then(|number| FACILITIES.get(number));
    let (priority, level) =
        SEVERITIES.get(usize::from(record.severity)).copied().unwrap_or(("debug", "debug"));
    json!({
        "clock": record.since_boot_us,
        "facility": facility.copied().unwrap_or("unknown"),
        "msg": message,
        "priority": priority,
        "seq": record.sequence,
        "talos-level": level,
        "talos-time": time,
    })
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn record(message: &str) -> Record {
        Record {
            severity: 4,
            facility: 1,
            sequence: 711,
            since_boot_us: 1_500_000,
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_line_has_the_keys_that_managers_read() {
        let line = String::from_utf8(line(&record("a \"b\""), UNIX_EPOCH)).expect("text");
        let expected = concat!(
            r#"{"clock":1500000,"facility":"user","msg":"a \"b\"","priority":"warning","seq":711,"#,
            r#""talos-level":"warn","talos-time":"1970-01-01T00:00:01.5Z"}"#,
            "\n"
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn a_long_message_is_cut_so_that_the_line_fits() {
        for letter in ["x", "é", "\u{1}", "\""] {
            let line = line(&record(&letter.repeat(8192)), UNIX_EPOCH);
            assert!(line.len() <= LINE_BYTES_MAX && line.len() > LINE_BYTES_MAX - 64, "{}", line.len());
            let read: Value = serde_json::from_slice(&line).expect("JSON");
            assert!(read["msg"].as_str().expect("text").starts_with(letter));
        }
    }
}
