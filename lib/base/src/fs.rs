//! Files that other programs read while we replace them.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Replaces `path` by a file with `contents`, so that a reader sees the old or the new one, whole;
/// with `durable`, also after a loss of power.
///
/// # Errors
/// Whatever the file system answers; the old file is then still in place.
pub fn write_atomic(path: &Path, contents: &[u8], mode: u32, durability: Durability) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("a file needs a folder"))?;
    std::fs::create_dir_all(folder)?;
    let name = path.file_name().ok_or_else(|| io::Error::other("a file needs a name"))?;
    let temporary = folder.join(format!(".{}.new", name.to_string_lossy()));
    let mut file = File::create(&temporary)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(contents)?;
    if durability == Durability::Durable {
        file.sync_all()?;
    }
    std::fs::rename(&temporary, path)?;
    if durability == Durability::Durable {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Whether a write must survive a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced to the device before the call returns.
    Durable,
    /// As durable as the file system makes it by itself (tmpfs, caches).
    Volatile,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_files_with_the_wanted_mode() {
        let folder = std::env::temp_dir().join(format!("corten-base-fs-{}", std::process::id()));
        let path = folder.join("a/file");
        write_atomic(&path, b"one", 0o600, Durability::Durable).expect("first write");
        write_atomic(&path, b"two", 0o640, Durability::Volatile).expect("second write");
        assert_eq!(std::fs::read(&path).expect("read"), b"two");
        assert_eq!(path.metadata().expect("metadata").permissions().mode() & 0o777, 0o640);
        std::fs::remove_dir_all(folder).expect("clean up");
    }
}
