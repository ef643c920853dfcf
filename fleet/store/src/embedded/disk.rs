//! What is said of a disk that does not take what it is given.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

/// Bytes of a mebibyte.
const MIB: u64 = 1 << 20;

/// What is wrong with a store that was open and keeps nothing now, and what helps.
pub fn trouble(path: &Path, error: &redb::Error) -> String {
    let (file, disk, why) = (path.display(), disk(path), corten_base::chain(error));
    let what = match error {
        redb::Error::Io(error) => match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                "has no room; make some"
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "does not let it be written; mend its mode, or the mount"
            }
            _ => "fails; look after it",
        },
        redb::Error::Corrupted(_) => {
            "gave back other bytes than were written; look after it, and have a backup at hand"
        }
        _ => "or the file on it needs a look",
    };
    format!(
        "the store in {file} keeps nothing now: {disk} {what}; the manager tries again by itself, and what \
         was acknowledged is kept: {why}"
    )
}

/// The disk of a file: where it is mounted, and what is free.
fn disk(path: &Path) -> String {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mounted = mount_point(folder).unwrap_or_else(|| folder.to_owned());
    match statvfs(folder) {
        Ok(space) => {
            let mebibytes = |blocks: u64| blocks.saturating_mul(space.f_frsize) / MIB;
            let (free, all) = (mebibytes(space.f_bavail), mebibytes(space.f_blocks));
            format!("the disk at {} ({free} MiB free of {all} MiB)", mounted.display())
        }
        Err(_) => format!("the disk at {}", mounted.display()),
    }
}

/// The topmost folder on the same disk.
fn mount_point(folder: &Path) -> Option<PathBuf> {
    let device = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.dev());
    let own = device(folder)?;
    let same = folder.ancestors().take_while(|above| device(above) == Some(own));
    same.last().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_full_disk_is_named_with_the_file_and_with_what_helps() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("fleet.redb");
        let full = redb::Error::Io(io::Error::from(ErrorKind::StorageFull));
        let text = trouble(&path, &full);
        let start = format!("the store in {} keeps nothing now: the disk at /", path.display());
        assert!(text.starts_with(&start), "{text}");
        assert!(text.contains("MiB free of") && text.contains("has no room; make some"), "{text}");
    }

    #[test]
    fn a_disk_is_known_by_where_it_is_mounted() {
        assert_eq!(mount_point(Path::new("/")), Some(PathBuf::from("/")));
        assert_eq!(mount_point(Path::new("/proc/self")), Some(PathBuf::from("/proc")));
    }
}
