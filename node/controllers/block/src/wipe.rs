//! Takes everything out of a volume, so that the machine starts as if it never had it.
//!
//! ```text
//! VolumeStatus ──▶ partition ──▶ zeros; a large one is discarded, with zeros at both ends
//!             ╰──▶ folder or file of the host ──▶ emptied, deleted
//! ```
//! A partition stays where it is and is formatted again when a configuration is there. META of a machine of a host is a
//! file in the folder of STATE; it outlives STATE, as it does on a disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use corten_base::{blocking, paths};
use corten_resource::State;
use corten_resources::block::{VolumeKind, VolumePhase, VolumeStatus};
use corten_sys::mount::{Mounts, Unmount};
use corten_sys::{Kernel, block};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Time for a folder with all that a machine ever stored, or a slow disk.
const DEADLINE: Duration = Duration::from_secs(30 * 60);
/// A partition of at most this size is filled with zeros, bytes.
const WHOLE_BYTES_MAX: u64 = 512 << 20;
/// What is filled with zeros at both ends of a larger one, bytes.
const END_BYTES: u64 = 4 << 20;
/// How long those who use a volume may take to let go of it.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(250);

/// Wipes a volume that is not mounted any more; one that does not exist is fine.
///
/// # Errors
/// When it is still in use, when it is not known whether it exists, and when the device or the host refuses.
pub async fn wipe(state: &State, volume: &str) -> anyhow::Result<()> {
    let status = state.get::<VolumeStatus>(volume);
    let status = status.with_context(|| format!("{volume} is no volume of this machine"))?.spec;
    let place = PathBuf::from(&status.location);
    match (status.phase, status.kind) {
        (VolumePhase::Waiting, _) => {
            bail!("disks are being looked at, and {volume} may be on one; try again in a moment")
        }
        (VolumePhase::Missing, _) => Ok(()),
        _ if status.location.is_empty() => Ok(()),
        (_, VolumeKind::Directory) => folder(&place).await.with_context(|| format!("cannot wipe {volume}")),
        _ => partition(&place).await.with_context(|| format!("cannot wipe {volume}")),
    }
}

async fn partition(device: &Path) -> anyhow::Result<()> {
    let begun = tokio::time::Instant::now();
    let file = loop {
        // Exclusive: refused while somebody has it mounted, in whichever namespace.
        let opened = rustix::fs::open(device, OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC, Mode::empty());
        match opened {
            Err(Errno::BUSY) if begun.elapsed() < PATIENCE => tokio::time::sleep(POLL).await,
            Err(Errno::BUSY) => {
                bail!("{} is still in use; restart the machine and try again", device.display())
            }
            opened => break File::from(opened.with_context(|| format!("cannot open {}", device.display()))?),
        }
    };
    blocking(DEADLINE, move || blank(&file)).await?.with_context(|| device.display().to_string())
}

/// Makes a device hold nothing.
fn blank(device: &File) -> anyhow::Result<()> {
    let size = block::size_bytes(device)?;
    if size <= WHOLE_BYTES_MAX {
        block::zero_out(device, 0, size)?;
    } else {
        if let Err(error) = block::discard(device, 0, size) {
            tracing::info!(
                "the disk cannot forget; between its ends the volume stays until it is overwritten: {}",
                corten_base::chain(&error)
            );
        }
        block::zero_out(device, 0, END_BYTES)?;
        block::zero_out(device, size - END_BYTES, END_BYTES)?;
    }
    Ok(device.sync_all()?)
}

/// Empties a folder, or deletes a file. Who is about to end may still write there, so that it takes several attempts.
async fn folder(place: &Path) -> anyhow::Result<()> {
    let begun = tokio::time::Instant::now();
    loop {
        let place = place.to_owned();
        match blocking(DEADLINE, move || empty(&place, Path::new(paths::META_FILE))).await? {
            Err(_) if begun.elapsed() < PATIENCE => tokio::time::sleep(POLL).await,
            emptied => return emptied,
        }
    }
}

/// Deletes what is in a folder but for one file, or the file that is there instead. Mounts below it are let go of.
fn empty(place: &Path, kept: &Path) -> anyhow::Result<()> {
    let delete = |path: &Path, is_folder: bool| {
        let deleted = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match deleted {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            deleted => deleted.with_context(|| format!("cannot delete {}", path.display())),
        }
    };
    if !place.is_dir() {
        return delete(place, false);
    }
    for mount in Kernel.table()?.iter().rev() {
        if mount.target != place && mount.target.starts_with(place) {
            Kernel.unmount(&mount.target, Unmount::Lazy)?;
        }
    }
    let entries = fs::read_dir(place).with_context(|| format!("cannot list {}", place.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", place.display()))?;
        let (path, is_folder) = (entry.path(), entry.file_type()?.is_dir());
        if path != kept {
            delete(&path, is_folder)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use corten_resource::testing;

    use super::*;

    #[test]
    fn a_folder_is_emptied_but_for_what_outlives_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let meta = folder.path().join("meta");
        fs::create_dir_all(folder.path().join("config/generations")).expect("folders");
        fs::write(folder.path().join("config/generations/000001.yaml"), "1").expect("a file");
        fs::write(folder.path().join("userdata.yaml"), "1").expect("a file");
        fs::write(&meta, "token").expect("a file");
        empty(folder.path(), &meta).expect("emptied");
        let left: Vec<PathBuf> =
            fs::read_dir(folder.path()).expect("kept").map(|entry| entry.expect("an entry").path()).collect();
        assert_eq!(left, std::slice::from_ref(&meta));
        empty(&meta, Path::new("/elsewhere")).expect("deleted");
        empty(&meta, Path::new("/elsewhere")).expect("it is gone already");
        assert!(!meta.exists());
    }

    #[tokio::test]
    async fn a_volume_is_wiped_when_it_is_known_where_it_is() {
        let state = testing::state(corten_resources::registry());
        let put = |phase| {
            let status = VolumeStatus { phase, ..VolumeStatus::default() };
            state.put("", VolumeStatus::STATE, status).expect("put");
        };
        assert!(wipe(&state, VolumeStatus::STATE).await.is_err(), "nothing is known of it");
        put(VolumePhase::Waiting);
        assert!(wipe(&state, VolumeStatus::STATE).await.is_err(), "it may be on a disk");
        put(VolumePhase::Missing);
        wipe(&state, VolumeStatus::STATE).await.expect("there is none");
    }
}
