//! META: values that are there before any file system is.
//!
//!     VolumeStatus META ──▶ both copies ──▶ MetaKeys, MetaLoaded

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use corten_base::blocking;
use corten_resource::{Driver, Never, Plan, State, View, controller};
use corten_resources::block::{VolumePhase, VolumeStatus};
use corten_resources::runtime::{MetaChange, MetaKey, MetaLoaded};

use crate::adv::{self, Tags};

const DEADLINE: Duration = Duration::from_secs(30);
const CHANGE: &str = "meta";

/// Why a tag was not written.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// No META volume is known.
    #[error("this machine has no META volume yet")]
    NoVolume,
    /// The tag to be deleted does not exist.
    #[error("META has no key 0x{0:02x}")]
    NoSuchKey(u8),
    /// The values do not fit.
    #[error("META has room for {available} bytes; delete other keys first")]
    Full {
        /// Bytes there are.
        available: usize,
    },
    /// The volume cannot be read or written.
    #[error("cannot access META at {location}")]
    Access {
        /// Device or file.
        location: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The device does not answer.
    #[error(transparent)]
    Stuck(#[from] blocking::BlockingError),
}

/// Publishes what META holds.
pub struct MetaKeys;

controller!(MetaKeys, "runtime.MetaKeys",
    inputs: [strong VolumeStatus, weak MetaChange],
    outputs: [exclusive MetaKey, exclusive MetaLoaded]);

impl Driver for MetaKeys {
    type Observed = Option<Tags>;
    type Op = Never;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Option<Tags>> {
        let Some(location) =
            view.get::<VolumeStatus>(VolumeStatus::META).and_then(|volume| location(&volume.spec))
        else {
            return Ok(None);
        };
        let read = blocking(DEADLINE, move || read(&location)).await?;
        read.map(Some).context("cannot read META")
    }

    fn plan(&self, _: &View<Self>, observed: &Option<Tags>) -> Plan<Self> {
        let Some(tags) = observed else { return Plan::new().waiting("the META volume") };
        let mut plan = Plan::new();
        for (tag, value) in tags {
            plan.put(format!("0x{tag:02x}"), MetaKey { value: String::from_utf8_lossy(value).into_owned() });
        }
        plan.put("meta-loaded", MetaLoaded { done: true });
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}

fn location(volume: &VolumeStatus) -> Option<PathBuf> {
    (volume.phase == VolumePhase::Ready).then(|| PathBuf::from(&volume.location))
}

/// The tags; a volume that never was written has none.
fn read(path: &Path) -> io::Result<Tags> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tags::new()),
        opened => opened?,
    };
    let mut bytes = vec![0; adv::BYTES];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(adv::decode(&bytes).unwrap_or_default())
}

/// Writes one copy, waits until it is on the device, then the other.
fn write_both(path: &Path, copy: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    for offset in [0, adv::COPY_BYTES as u64] {
        file.write_all_at(copy, offset)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Sets a tag, or deletes it when there is no value.
///
/// # Errors
/// When there is no META, no such tag to delete, no room, or the device fails.
pub async fn write(state: &State, key: u8, value: Option<Vec<u8>>) -> Result<(), MetaError> {
    let volume = state.get::<VolumeStatus>(VolumeStatus::META);
    let path = volume.and_then(|volume| location(&volume.spec)).ok_or(MetaError::NoVolume)?;
    blocking(DEADLINE, move || change(&path, key, value)).await??;
    let count = state.get::<MetaChange>(CHANGE).map_or(0, |change| change.spec.count);
    if let Err(error) = state.put("meta", CHANGE, MetaChange { count: count + 1 }) {
        tracing::warn!("META was written but not reloaded: {}", corten_base::chain(&error));
    }
    Ok(())
}

fn change(path: &Path, key: u8, value: Option<Vec<u8>>) -> Result<(), MetaError> {
    let access = |source| MetaError::Access { location: path.display().to_string(), source };
    let mut tags = read(path).map_err(access)?;
    match value {
        Some(value) => {
            tags.insert(key, value);
        }
        None => {
            tags.remove(&key).ok_or(MetaError::NoSuchKey(key))?;
        }
    }
    let copy = adv::encode(&tags).map_err(|error| MetaError::Full { available: error.available })?;
    write_both(path, &copy).map_err(access)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_set_replaced_and_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("meta");
        assert_eq!(read(&path).expect("no file"), Tags::new());
        change(&path, 0x0c, Some(b"one".to_vec())).expect("set");
        change(&path, 0x80, Some(b"two".to_vec())).expect("set");
        change(&path, 0x0c, None).expect("delete");
        assert_eq!(read(&path).expect("read"), Tags::from([(0x80, b"two".to_vec())]));
        assert!(matches!(change(&path, 0x0c, None), Err(MetaError::NoSuchKey(0x0c))));
        let large = change(&path, 1, Some(vec![0; adv::COPY_BYTES]));
        assert!(matches!(large, Err(MetaError::Full { .. })));
    }
}
