//! Configurations on a labelled volume: media that somebody attached to the machine.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use corten_base::{blocking, paths};
use corten_resource::State;
use corten_resources::block::DiscoveredVolume;
use corten_sys::Kernel;
use corten_sys::mount::{Mount, MountFlags, Mounts, Unmount};

use super::CONFIG_BYTES_MAX;

/// How long a volume that must be there may take to appear: USB is slow.
const APPEARANCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(250);
const DEADLINE: Duration = Duration::from_secs(30);
/// File systems that such media have.
const FILESYSTEMS: [&str; 2] = ["iso9660", "vfat"];

/// `config.yaml` of the volume `metal-iso`; labels of FAT are written in capital letters.
pub async fn metal_iso(state: &State) -> anyhow::Result<Vec<u8>> {
    let bytes = read(state, &["metal-iso", "METAL-ISO"], "config.yaml").await?;
    bytes.context("the volume metal-iso has no file config.yaml")
}

/// `user-data` of the volume `cidata`; media without it only name the machine.
pub async fn nocloud(state: &State) -> anyhow::Result<Option<Vec<u8>>> {
    read(state, &["cidata", "CIDATA"], "user-data").await
}

async fn read(
    state: &State,
    labels: &'static [&'static str],
    file: &'static str,
) -> anyhow::Result<Option<Vec<u8>>> {
    let found = tokio::time::timeout(APPEARANCE, appears(state, labels)).await;
    let volume = found.with_context(|| format!("no volume is labelled {} (iso9660 or vfat)", labels[0]))?;
    let (device, fstype) = (volume.dev_path.clone(), volume.name);
    let read = blocking(DEADLINE, move || read_from(&device, &fstype, file)).await?;
    read.with_context(|| format!("cannot read {file} of the volume {} ({})", labels[0], volume.dev_path))
}

async fn appears(state: &State, labels: &[&str]) -> DiscoveredVolume {
    loop {
        let volumes = state.list::<DiscoveredVolume>();
        let is_wanted = |volume: &DiscoveredVolume| {
            labels.contains(&volume.label.as_str()) && FILESYSTEMS.contains(&volume.name.as_str())
        };
        if let Some(volume) = volumes.into_iter().map(|volume| volume.spec).find(is_wanted) {
            return volume;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Mounts the volume for as long as it takes to read one file.
fn read_from(device: &str, fstype: &str, file: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let target = PathBuf::from(paths::RUN).join("config-volume");
    std::fs::create_dir_all(&target)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Kernel.mount(&Mount::pseudo(fstype, &target).source(device).flags(flags))?;
    let bytes = bounded(&target.join(file));
    Kernel.unmount(&target, Unmount::Lazy)?;
    bytes
}

fn bounded(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(CONFIG_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() <= CONFIG_BYTES_MAX, "it is larger than {CONFIG_BYTES_MAX} bytes");
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_bounded_and_may_be_absent() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("user-data");
        assert!(bounded(&path).expect("absent").is_none());
        std::fs::write(&path, "a: b").expect("a file");
        assert_eq!(bounded(&path).expect("read").as_deref(), Some(b"a: b".as_slice()));
        File::create(&path).expect("a file").set_len(CONFIG_BYTES_MAX as u64 + 1).expect("a large one");
        assert!(bounded(&path).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_volume_may_appear_late_and_its_absence_is_named() {
        let state = corten_resource::testing::state(corten_resources::registry());
        let error = nocloud(&state).await.expect_err("nothing there");
        assert!(error.to_string().contains("cidata"), "{error}");
        let volume = DiscoveredVolume {
            label: "CIDATA".to_owned(),
            name: "vfat".to_owned(),
            ..DiscoveredVolume::default()
        };
        let late = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            state.put("test", "vdb", volume).expect("a volume");
        };
        let (found, ()) = tokio::join!(appears(&state, &["cidata", "CIDATA"]), late);
        assert_eq!(found.label, "CIDATA");
    }
}
