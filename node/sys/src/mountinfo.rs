//! Parser of `/proc/PID/mountinfo`.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::error::failed;

/// One line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Id of the mount.
    pub id: u32,
    /// Id of the mount it is attached to.
    pub parent: u32,
    /// Device as `major:minor`.
    pub device: String,
    /// Path inside the filesystem that is the mount's root.
    pub root: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
    /// Options of this mount, comma-separated.
    pub options: String,
    /// Peer group if the mount is shared.
    pub shared: bool,
    /// Filesystem type.
    pub fstype: String,
    /// Source.
    pub source: String,
    /// Options of the filesystem, comma-separated.
    pub super_options: String,
}

/// Reads a table such as `/proc/self/mountinfo`.
pub fn read(path: &Path) -> Result<Vec<MountEntry>> {
    let text = std::fs::read(path).map_err(failed("read the mount table", path.display()))?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// Parses a table; lines that are not of the documented shape are left out.
pub fn parse(text: &str) -> Vec<MountEntry> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<MountEntry> {
    let (fixed, tail) = line.split_once(" - ")?;
    let mut fields = fixed.split(' ');
    let mut next = || fields.next();
    let (id, parent, device) = (next()?.parse().ok()?, next()?.parse().ok()?, next()?.to_owned());
    let (root, target, options) = (unescape(next()?), unescape(next()?), next()?.to_owned());
    let shared = fields.any(|tag| tag.starts_with("shared:"));
    let mut tail = tail.splitn(3, ' ');
    let (fstype, source) = (tail.next()?.to_owned(), unescape(tail.next()?));
    let super_options = tail.next().unwrap_or_default().to_owned();
    let (root, target) = (root.into(), target.into());
    Some(MountEntry { id, parent, device, root, target, options, shared, fstype, source, super_options })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        match (first, octal(after)) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn octal(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..3)?).ok()?;
    u8::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_kernel_documents() {
        let text = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n\
                    37 35 0:5 / /with\\040space rw - tmpfs a\\134b rw\nnot a line\n";
        let table = parse(text);
        assert_eq!(table.len(), 2);
        assert_eq!((table[0].id, table[0].parent, table[0].device.as_str()), (36, 35, "98:0"));
        assert_eq!(table[0].target, Path::new("/mnt2"));
        assert!(table[0].shared && !table[1].shared);
        assert_eq!(table[0].super_options, "rw,errors=continue");
        assert_eq!(table[1].target, Path::new("/with space"));
        assert_eq!(table[1].source, "a\\b");
    }

    #[test]
    fn reads_the_table_of_this_process() {
        assert!(
            read(Path::new("/proc/self/mountinfo"))
                .unwrap()
                .iter()
                .any(|entry| entry.target == Path::new("/"))
        );
    }

    #[test]
    fn nothing_makes_the_parser_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            parse(&String::from_utf8_lossy(bytes));
        });
    }
}
