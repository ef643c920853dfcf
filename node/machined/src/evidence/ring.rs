//! Boots on disk: a folder for each, the oldest forgotten first.
//!
//!     /var/log/boots/000012/boot.yaml      its record, as the resource shows it
//!                          /kernel.log …   its logs

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use corten_base::fs::{Durability, write_atomic};
use corten_resource::{AnyResource, Metadata};
use corten_resources::runtime::BootRecord;

use crate::logs;

/// Boots that are kept, the one that runs among them.
pub const BOOTS_MAX: usize = 8;
/// Bytes of all boots together; the last two are kept whatever they take, and each of their logs has a bound.
const BYTES_MAX: u64 = 64 << 20;
/// Bytes of one log of a boot.
pub const LOG_BYTES_MAX: u64 = 2 << 20;
const RECORD: &str = "boot.yaml";

/// The boots below a folder.
#[derive(Clone, Debug)]
pub struct Ring {
    folder: PathBuf,
}

impl Ring {
    /// The boots of a folder of logs.
    pub fn below(log: &Path) -> Self {
        Self { folder: log.join("boots") }
    }

    /// Numbers of the boots that are kept, the latest last.
    pub fn boots(&self) -> Vec<u64> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut numbers: Vec<u64> =
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Folder of a boot.
    pub fn folder(&self, boot: u64) -> PathBuf {
        self.folder.join(id(boot))
    }

    /// What is recorded of a boot; nothing when its record cannot be read.
    pub fn record(&self, boot: u64) -> Option<BootRecord> {
        let text = fs::read_to_string(self.folder(boot).join(RECORD)).ok()?;
        let metadata = Metadata::new("runtime", "BootRecords.corten.dev", id(boot));
        let resource = AnyResource::from_yaml::<BootRecord>(metadata, &text).ok()?;
        let mut record = resource.spec::<BootRecord>()?.clone();
        record.folder = self.folder(boot).display().to_string();
        record.logs = self.logs(boot);
        Some(record)
    }

    /// Records a boot so that the record survives a loss of power.
    pub fn keep(&self, boot: u64, record: &BootRecord) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.folder(boot))?;
        let text = AnyResource::new("runtime", id(boot), record.clone()).to_yaml();
        write_atomic(&self.folder(boot).join(RECORD), text.as_bytes(), 0o600, Durability::Durable)
    }

    /// Names of the logs of a boot.
    pub fn logs(&self, boot: u64) -> Vec<String> {
        let entries = fs::read_dir(self.folder(boot)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log").map(str::to_owned))
            .collect();
        names.sort();
        names
    }

    /// The file of a log.
    pub fn log(&self, boot: u64, name: &str) -> PathBuf {
        self.folder(boot).join(format!("{name}.log"))
    }

    /// The boot that runs, if it has begun on disk, and those before it.
    fn around(&self, running: &str) -> (Option<u64>, Vec<u64>) {
        let mut boots = self.boots();
        let last = boots.last().and_then(|last| self.record(*last));
        let has_begun = last.is_some_and(|last| last.boot_id == running);
        (if has_begun { boots.pop() } else { None }, boots)
    }

    /// A log of a boot by number; zero is the boot that runs, -1 the one before it, and so on.
    pub fn find(&self, name: &str, boot: i64, running: &str) -> Option<PathBuf> {
        let (current, earlier) = self.around(running);
        let boot = match u64::try_from(boot) {
            Ok(0) => current?,
            Ok(number) => number,
            Err(_) => {
                let back = usize::try_from(boot.unsigned_abs()).ok()?;
                *earlier.get(earlier.len().checked_sub(back)?)?
            }
        };
        Some(self.log(boot, name)).filter(|path| path.is_file())
    }

    /// Names of the logs of the boot before the one that runs.
    pub fn before(&self, running: &str) -> Vec<String> {
        let (_, earlier) = self.around(running);
        earlier.last().map(|boot| self.logs(*boot)).unwrap_or_default()
    }

    /// When something was last written to a boot.
    pub fn last_seen(&self, boot: u64) -> Option<SystemTime> {
        let entries = fs::read_dir(self.folder(boot)).ok()?.flatten();
        entries.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max()
    }

    /// Adds to a log, so that it survives a loss of power.
    pub fn append(&self, boot: u64, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.log(boot, name);
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        drop(file);
        logs::bound_file(&path, LOG_BYTES_MAX)
    }

    /// Moves what logs a folder holds to a boot, which has written them.
    pub fn take(&self, boot: u64, from: &Path) -> io::Result<()> {
        for entry in fs::read_dir(from)?.flatten() {
            let name = entry.file_name();
            let is_log = Path::new(&name).extension().is_some_and(|extension| extension == "log");
            if is_log && entry.file_type()?.is_file() {
                fs::rename(entry.path(), self.folder(boot).join(name))?;
            }
        }
        Ok(())
    }

    /// Forgets the oldest boots until the rest is within its bounds. The last two stay.
    pub fn prune(&self) {
        let boots = self.boots();
        let mut bytes: u64 = boots.iter().map(|boot| self.bytes(*boot)).sum();
        for (index, boot) in boots.iter().enumerate().take(boots.len().saturating_sub(2)) {
            let left = boots.len() - index;
            if left <= BOOTS_MAX && bytes <= BYTES_MAX {
                break;
            }
            bytes = bytes.saturating_sub(self.bytes(*boot));
            self.forget(*boot);
        }
    }

    /// Makes room on a full disk: forgets the oldest boot but the last two. Whether there was one.
    pub fn make_room(&self) -> bool {
        let boots = self.boots();
        let oldest = boots.first().filter(|_| boots.len() > 2);
        oldest.inspect(|boot| self.forget(**boot)).is_some()
    }

    /// Forgets a boot.
    pub fn forget(&self, boot: u64) {
        if let Err(error) = fs::remove_dir_all(self.folder(boot)) {
            tracing::warn!(boot, error = &error as &dyn std::error::Error, "an old boot was not forgotten");
        }
    }

    /// Bytes on the disk; what was punched out of a log takes none.
    fn bytes(&self, boot: u64) -> u64 {
        let entries = fs::read_dir(self.folder(boot)).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some(entry.metadata().ok()?.blocks() * 512)).sum()
    }
}

/// Id of a boot.
pub fn id(boot: u64) -> String {
    format!("{boot:06}")
}

#[cfg(test)]
mod tests {
    use corten_resources::runtime::BootEnd;

    use super::*;

    fn ring(boots: std::ops::RangeInclusive<u64>) -> (tempfile::TempDir, Ring) {
        let folder = tempfile::tempdir().expect("a folder");
        let ring = Ring::below(folder.path());
        for boot in boots {
            ring.keep(boot, &BootRecord { boot_id: format!("boot {boot}"), ..BootRecord::default() })
                .expect("kept");
        }
        (folder, ring)
    }

    #[test]
    fn a_record_is_read_as_it_was_kept_with_the_logs_that_are_there() {
        let (_folder, ring) = ring(1..=1);
        let end = BootRecord { end: BootEnd::Panic, reason: "no: init".into(), ..BootRecord::default() };
        ring.keep(7, &end).expect("kept");
        ring.append(7, "kernel", b"one\n").expect("added");
        ring.append(7, "kernel", b"two\n").expect("added");
        let record = ring.record(7).expect("a record");
        assert_eq!((record.end, record.reason.as_str()), (BootEnd::Panic, "no: init"));
        assert_eq!(record.logs, ["kernel"]);
        assert_eq!(fs::read(ring.log(7, "kernel")).expect("a log"), b"one\ntwo\n");
        fs::write(ring.folder(1).join(RECORD), "nonsense: [").expect("a torn record");
        assert_eq!(ring.record(1), None);
        assert_eq!(ring.boots(), [1, 7]);
    }

    #[test]
    fn the_oldest_are_forgotten_and_the_last_two_stay_whatever_they_take() {
        let (_folder, ring) = ring(1..=12);
        ring.prune();
        assert_eq!(ring.boots(), (5..=12).collect::<Vec<_>>());
        for boot in [6, 11, 12] {
            ring.append(boot, "kernel", &vec![1; (BYTES_MAX / 2) as usize]).expect("added");
        }
        // The bound of a log is not what is tested here.
        fs::write(ring.folder(11).join("x"), vec![1; (BYTES_MAX + 1) as usize]).expect("much");
        ring.prune();
        assert_eq!(ring.boots(), [11, 12]);
        assert!(!ring.make_room(), "a full disk does not take them either");
    }

    #[test]
    fn a_log_is_found_by_number_or_counted_back_from_the_boot_that_runs() {
        let (_folder, ring) = ring(4..=6);
        for boot in [4, 5, 6] {
            ring.append(boot, "kernel", b"x").expect("added");
        }
        let found = |boot, running| ring.find("kernel", boot, running);
        assert_eq!(found(-1, "boot 6"), Some(ring.log(5, "kernel")));
        assert_eq!(found(-2, "boot 6"), Some(ring.log(4, "kernel")));
        assert_eq!(found(0, "boot 6"), Some(ring.log(6, "kernel")));
        assert_eq!(found(4, "boot 6"), Some(ring.log(4, "kernel")));
        // The boot that runs has not begun on disk.
        assert_eq!(found(-1, "boot 7"), Some(ring.log(6, "kernel")));
        assert_eq!(found(0, "boot 7"), None);
        for nothing in [-3, 3, i64::MIN, i64::MAX] {
            assert_eq!(found(nothing, "boot 6"), None, "{nothing}");
        }
    }

    #[test]
    fn logs_of_the_boot_before_are_moved_and_folders_stay() {
        let (folder, ring) = ring(3..=3);
        fs::write(folder.path().join("etcd.log"), "x").expect("a log");
        fs::write(folder.path().join("other"), "x").expect("a file");
        fs::create_dir(folder.path().join("pods.log")).expect("a folder");
        ring.take(3, folder.path()).expect("moved");
        assert_eq!(ring.logs(3), ["etcd"]);
        assert!(folder.path().join("other").exists() && folder.path().join("pods.log").exists());
    }
}
