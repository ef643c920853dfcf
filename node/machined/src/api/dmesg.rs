//! The kernel log as a stream.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use corten_api::common::Data;
use corten_base::Clock;
use corten_sys::kmsg::{Next, Reader, Record, Start};
use tokio::io::unix::AsyncFd;
use tonic::Status;

use super::stream::{Sender, data};

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "security", "console", "cron2", "local0", "local1", "local2", "local3", "local4", "local5",
    "local6", "local7",
];
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// Sends the kernel log; with `follow` for as long as the client stays, with `tail` only what is new.
///
/// # Errors
/// When the kernel log cannot be read.
pub async fn send(sender: Sender<Data>, clock: Clock, follow: bool, tail: bool) -> Result<(), Status> {
    let unreadable = |error: corten_sys::Error| Status::internal(corten_base::chain(&error));
    let start = if tail { Start::Now } else { Start::Oldest };
    let booted = clock.now().checked_sub(corten_sys::clock::since_boot()).unwrap_or(SystemTime::UNIX_EPOCH);
    let reader = Reader::open(start).map_err(unreadable)?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe; the reader owns its descriptor and closes it last"
    )]
    let mut reader = AsyncFd::with_interest(reader, tokio::io::Interest::READABLE)
        .map_err(|error| Status::internal(error.to_string()))?;
    loop {
        match reader.get_mut().next_record().map_err(unreadable)? {
            Next::Record(record) => {
                let line = Bytes::from(format(&record, booted));
                if sender.send(Ok(data(line))).await.is_err() {
                    return Ok(());
                }
            }
            Next::Lost => {}
            Next::End if !follow => return Ok(()),
            Next::End => {
                let mut ready =
                    reader.readable_mut().await.map_err(|error| Status::internal(error.to_string()))?;
                ready.clear_ready();
            }
        }
    }
}

/// `facility: priority: [time]: message`, the priority seven characters wide, with its line end.
pub fn format(record: &Record, booted: SystemTime) -> String {
    let facility = usize::try_from(record.facility)
        .ok()
        .and_then(|index| FACILITIES.get(index))
        .copied()
        .unwrap_or("unknown");
    let severity = SEVERITIES.get(usize::from(record.severity)).copied().unwrap_or("debug");
    let at = booted + Duration::from_micros(record.since_boot_us);
    let time = corten_resource::yaml::time(at);
    format!("{facility}: {severity:>7}: [{time}]: {}\n", record.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_form_that_clients_print() {
        let record = Record {
            severity: 6,
            facility: 0,
            sequence: 1,
            since_boot_us: 1_500_000,
            message: "Linux version".to_owned(),
        };
        let line = format(&record, SystemTime::UNIX_EPOCH);
        assert_eq!(line, "kern:    info: [1970-01-01T00:00:01.5Z]: Linux version\n");
    }
}
