//! The store of containerd between two boots.
//!
//! Images that came with the machine are in it as links to the image cache. When another version of the machine has
//! another image cache, a link may lead nowhere, and a container over such a layer would not start, whatever is pulled.
//! No container runs at that time, so the store is emptied: images come again, from the new cache or from where they
//! came first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Folder of the snapshots in a store, each with its files in `fs`.
const SNAPSHOTS: &str = "io.containerd.snapshotter.v1.overlayfs/snapshots";

/// Empties the store if one of its layers is not there.
///
/// # Errors
/// When the store cannot be read or emptied.
pub fn check(store: &Path) -> anyhow::Result<()> {
    // An interrupted removal is taken up where containerd does not see the rest.
    let doomed = store.with_extension("lost");
    remove(&doomed)?;
    let lost =
        lost_layer(&store.join(SNAPSHOTS)).with_context(|| format!("cannot look at {}", store.display()))?;
    let Some(lost) = lost else { return Ok(()) };
    tracing::warn!(
        layer = %lost.display(),
        "a layer of the image cache is gone; the images are unpacked or pulled again"
    );
    fs::rename(store, &doomed).with_context(|| format!("cannot move {}", store.display()))?;
    remove(&doomed)
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot empty {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Where the first link leads that leads nowhere.
fn lost_layer(snapshots: &Path) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(snapshots) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let files = entry?.path().join("fs");
        if let Ok(target) = fs::read_link(&files)
            && !target.is_dir()
        {
            return Ok(Some(target));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A store with a pulled layer and a link to `target`.
    fn store(folder: &Path, target: &Path) -> PathBuf {
        let store = folder.join("containerd");
        let snapshots = store.join(SNAPSHOTS);
        fs::create_dir_all(snapshots.join("1/fs/usr")).unwrap();
        fs::create_dir_all(snapshots.join("2")).unwrap();
        symlink(target, snapshots.join("2/fs")).unwrap();
        store
    }

    #[test]
    fn a_store_whose_layers_are_there_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), folder.path());
        check(&store).unwrap();
        assert!(store.join(SNAPSHOTS).join("1/fs/usr").is_dir());
        check(&folder.path().join("absent")).unwrap();
    }

    #[test]
    fn a_store_that_misses_a_layer_is_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), &folder.path().join("gone"));
        fs::create_dir_all(folder.path().join("containerd.lost/earlier")).unwrap();
        check(&store).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        check(&store).unwrap();
    }
}
