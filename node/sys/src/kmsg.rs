//! The kernel log: records of `/dev/kmsg` and writing into it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::Result;
use crate::error::failed;

/// The kernel cuts records at this size.
const RECORD_BYTES_MAX: usize = 8192;

/// One record of the kernel log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Syslog severity, 0 (emergency) to 7 (debug).
    pub severity: u8,
    /// Syslog facility; 0 is the kernel.
    pub facility: u32,
    /// Sequence number.
    pub sequence: u64,
    /// Microseconds since boot.
    pub since_boot_us: u64,
    /// The message.
    pub message: String,
}

/// What a read of the log gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A record.
    Record(Record),
    /// Records were overwritten before they were read; reading goes on with the oldest that is left.
    Lost,
    /// Nothing more at the moment; poll the descriptor.
    End,
}

/// Reader of the kernel log; never blocks, poll its descriptor to follow.
#[derive(Debug)]
pub struct Reader {
    file: File,
}

/// Where a reader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest record that is kept.
    Oldest,
    /// Only what comes from now on.
    Now,
}

impl Reader {
    /// Opens the log.
    pub fn open(start: Start) -> Result<Self> {
        let open = || {
            let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
            if start == Start::Now {
                file.seek(SeekFrom::End(0))?;
            }
            Ok(Self { file })
        };
        open().map_err(failed::<io::Error>("open", "the kernel log"))
    }

    /// Reads the next record; what is not a record is passed over.
    pub fn next_record(&mut self) -> Result<Next> {
        let mut buffer = [0; RECORD_BYTES_MAX];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok(Next::End),
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    if let Some(record) = parse(&String::from_utf8_lossy(bytes)) {
                        return Ok(Next::Record(record));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::End),
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => return Ok(Next::Lost),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", "the kernel log")(error)),
            }
        }
    }
}

impl std::os::fd::AsRawFd for Reader {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.file.as_raw_fd()
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Parses one record as `/dev/kmsg` gives it: `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,…];MESSAGE` and dictionary lines
/// that begin with a space.
pub fn parse(text: &str) -> Option<Record> {
    let (head, body) = text.split_once(';')?;
    let mut fields = head.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let sequence = fields.next()?.parse().ok()?;
    let since_boot_us = fields.next()?.parse().ok()?;
    let message = unescape(body.lines().next().unwrap_or_default());
    let severity = u8::try_from(priority & 7).ok()?;
    Some(Record { severity, facility: priority >> 3, sequence, since_boot_us, message })
}

/// The kernel writes unprintable bytes as `\xNN`.
fn unescape(message: &str) -> String {
    let mut bytes = Vec::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find("\\x") {
        let (before, escape) = rest.split_at(at);
        bytes.extend_from_slice(before.as_bytes());
        match escape.get(2..4).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = escape.get(4..).unwrap_or_default();
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = escape.get(2..).unwrap_or_default();
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writer into the kernel log.
#[derive(Debug)]
pub struct Writer {
    file: File,
}

impl Writer {
    /// Opens the log for writing.
    pub fn open() -> Result<Self> {
        let file =
            OpenOptions::new().write(true).open("/dev/kmsg").map_err(failed("open", "the kernel log"))?;
        Ok(Self { file })
    }

    /// Writes one record with a syslog severity; longer text is cut.
    pub fn write(&mut self, severity: u8, text: &str) -> Result<()> {
        const TEXT_BYTES_MAX: usize = 900;
        let cut = text.floor_char_boundary(TEXT_BYTES_MAX);
        // Facility 3 is "system daemons": the kernel keeps 0 for itself.
        let record =
            format!("<{}>{}", (3 << 3) | u32::from(severity.min(7)), text.get(..cut).unwrap_or_default());
        self.file.write_all(record.as_bytes()).map_err(failed("write", "the kernel log"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_a_record_with_dictionary() {
        let record =
            parse("6,339,5140900,-;NET: Registered \\xe2\\x9c\\x93 protocol\n SUBSYSTEM=net\n").unwrap();
        assert_eq!((record.severity, record.facility, record.sequence), (6, 0, 339));
        assert_eq!(record.since_boot_us, 5_140_900);
        assert_eq!(record.message, "NET: Registered ✓ protocol");
        assert_eq!(parse("30,1,2,-,caller=T1;a").unwrap().facility, 3);
        assert_eq!(parse("nonsense"), None);
        assert_eq!(parse("6,1,2,-;bad \\xzz").unwrap().message, "bad \\xzz");
    }

    #[test]
    fn nothing_makes_the_parser_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            parse(&String::from_utf8_lossy(bytes));
        });
    }
}
