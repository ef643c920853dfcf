//! The folder of a machine that is gone, with everything that is still mounted in it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use corten_sys::Kernel;
use corten_sys::mount::{Mounts, Unmount};
use corten_sys::mountinfo::MountEntry;

/// Removes a folder. What is mounted in it is detached before, so that nothing of it is deleted; the mount points are
/// returned.
///
/// # Errors
/// When a mount or a file does not go; the call can be repeated.
pub fn remove(folder: &Path) -> Result<Vec<PathBuf>> {
    let folder = fs::canonicalize(folder).with_context(|| format!("cannot find {}", folder.display()))?;
    let mounts = inside(&Kernel.table()?, &folder);
    for mount in &mounts {
        Kernel.unmount(mount, Unmount::Lazy)?;
    }
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(mounts)
}

/// What is mounted on a folder or in it, the last one first.
fn inside(table: &[MountEntry], folder: &Path) -> Vec<PathBuf> {
    let targets = table.iter().rev().map(|entry| &entry.target);
    targets.filter(|target| target.starts_with(folder)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use corten_sys::mountinfo;

    use super::*;

    #[test]
    fn mounts_in_the_folder_go_before_those_that_they_lie_on_and_no_others() {
        let table = mountinfo::parse(
            "1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /m/a rw - tmpfs a rw\n3 2 0:3 / /m/a/b rw - tmpfs a rw\n4 1 0:4 / /m/ab rw - tmpfs a rw\n",
        );
        assert_eq!(inside(&table, Path::new("/m/a")), [Path::new("/m/a/b"), Path::new("/m/a")]);
    }

    #[test]
    fn files_of_a_machine_go_when_nothing_is_mounted() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("machine");
        fs::create_dir_all(folder.join("state")).unwrap();
        fs::write(folder.join("kubeconfig"), "secret").unwrap();
        assert_eq!(remove(&folder).unwrap(), Vec::<PathBuf>::new());
        assert!(!folder.exists());
    }
}
