//! META: values that are there before any file system is.
//!
//!     VolumeStatus META ──▶ both copies ──▶ MetaKeys, MetaLoaded
//!     write ──▶ both copies ──▶ MetaChange
//!       ╰──▶ MetaChange, while no disk has META ──▶ MetaKeys; settle ──▶ both copies of a volume that appears
//!
//! A machine whose disks have no META yet keeps what is written in memory: its manager has to give it a token before it
//! has a disk. That is lost at a restart of the machine, not at one of this program.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use corten_base::blocking;
use corten_resource::{Driver, Never, Plan, State, View, controller};
use corten_resources::block::{VolumePhase, VolumeStatus};
use corten_resources::runtime::{MetaChange, MetaKey, MetaLoaded, MetaValue};
use tokio::sync::Mutex;

use crate::adv::{self, Tags};

const DEADLINE: Duration = Duration::from_secs(30);
/// Owner of [`MetaChange`].
const OWNER: &str = "meta";
/// Until a volume that cannot be written is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// One change at a time: each reads all values and writes them back.
static CHANGING: Mutex<()> = Mutex::const_new(());

/// Why a tag was not written.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// Disks were not looked at yet.
    #[error("it is not known yet whether this machine has a META volume; try again in a moment")]
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
        let volume = view.get::<VolumeStatus>(VolumeStatus::META);
        let Some(location) = volume.and_then(|volume| location(&volume.spec)) else {
            return Ok(None);
        };
        let read = blocking(DEADLINE, move || read(&location)).await?;
        read.map(Some).context("cannot read META")
    }

    fn plan(&self, view: &View<Self>, observed: &Option<Tags>) -> Plan<Self> {
        let mut plan = Plan::new();
        let volume = view.get::<VolumeStatus>(VolumeStatus::META);
        let is_missing = volume.is_some_and(|volume| is_missing(&volume.spec));
        if observed.is_none() && !is_missing {
            return plan.waiting("the META volume");
        }
        let change = view.get::<MetaChange>(MetaChange::ID).map(|change| &change.spec);
        let mut tags = observed.clone().unwrap_or_default();
        tags.extend(pending(change));
        for (tag, value) in &tags {
            plan.put(format!("0x{tag:02x}"), MetaKey { value: String::from_utf8_lossy(value).into_owned() });
        }
        if observed.is_none() {
            return plan.waiting("a disk with META; values are kept in memory");
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

/// Whether every disk was looked at and none has META.
fn is_missing(volume: &VolumeStatus) -> bool {
    volume.phase == VolumePhase::Missing
}

/// What no volume holds yet.
fn pending(change: Option<&MetaChange>) -> Tags {
    let values = change.into_iter().flat_map(|change| &change.pending);
    values.filter_map(|value| Some((u8::try_from(value.key).ok()?, value.value.clone()))).collect()
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
/// When it is not known whether there is META, when there is no such tag to delete, no room, or the device fails.
pub async fn write(state: &State, key: u8, value: Option<Vec<u8>>) -> Result<(), MetaError> {
    let _changing = CHANGING.lock().await;
    let volume = state.get::<VolumeStatus>(VolumeStatus::META).ok_or(MetaError::NoVolume)?.spec;
    let before = state.get::<MetaChange>(MetaChange::ID).map(|change| change.spec);
    let mut tags = pending(before.as_ref());
    match location(&volume) {
        Some(path) => blocking(DEADLINE, move || change(&path, &tags, key, value)).await??,
        None if is_missing(&volume) => {
            set(&mut tags, key, value)?;
            fit(&tags)?;
            note(state, before, tags);
            return Ok(());
        }
        None => return Err(MetaError::NoVolume),
    }
    note(state, before, Tags::new());
    Ok(())
}

/// Writes what was kept in memory to a META volume as soon as there is one, for ever.
pub async fn settle(state: State) {
    loop {
        let ready = |volume: Option<&VolumeStatus>| volume.is_some_and(|volume| location(volume).is_some());
        state.wait_for::<VolumeStatus>(VolumeStatus::META, ready).await;
        let some = |change: Option<&MetaChange>| change.is_some_and(|change| !change.pending.is_empty());
        state.wait_for::<MetaChange>(MetaChange::ID, some).await;
        if let Err(error) = write_pending(&state).await {
            tracing::error!("META values stay in memory: {}", corten_base::chain(&error));
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Writes what was kept in memory, if that is possible at the moment.
async fn write_pending(state: &State) -> Result<(), MetaError> {
    let _changing = CHANGING.lock().await;
    let volume = state.get::<VolumeStatus>(VolumeStatus::META);
    let before = state.get::<MetaChange>(MetaChange::ID).map(|change| change.spec);
    let tags = pending(before.as_ref());
    let Some(path) = volume.and_then(|volume| location(&volume.spec)) else { return Ok(()) };
    blocking(DEADLINE, move || lay_over(&path, &tags)).await??;
    note(state, before, Tags::new());
    Ok(())
}

/// Tells that META has changed, and what of it no volume holds.
fn note(state: &State, before: Option<MetaChange>, pending: Tags) {
    let count = before.map_or(0, |before| before.count) + 1;
    let pending = pending.into_iter().map(|(key, value)| MetaValue { key: key.into(), value }).collect();
    if let Err(error) = state.put(OWNER, MetaChange::ID, MetaChange { count, pending }) {
        tracing::warn!("META was written but not reloaded: {}", corten_base::chain(&error));
    }
}

fn set(tags: &mut Tags, key: u8, value: Option<Vec<u8>>) -> Result<(), MetaError> {
    match value {
        Some(value) => drop(tags.insert(key, value)),
        None => drop(tags.remove(&key).ok_or(MetaError::NoSuchKey(key))?),
    }
    Ok(())
}

/// The copy of these tags.
fn fit(tags: &Tags) -> Result<Vec<u8>, MetaError> {
    adv::encode(tags).map_err(|error| MetaError::Full { available: error.available })
}

fn access(path: &Path) -> impl Fn(io::Error) -> MetaError {
    move |source| MetaError::Access { location: path.display().to_string(), source }
}

/// Writes `pending` and one change to the volume.
fn change(path: &Path, pending: &Tags, key: u8, value: Option<Vec<u8>>) -> Result<(), MetaError> {
    let mut tags = read(path).map_err(access(path))?;
    tags.extend(pending.clone());
    set(&mut tags, key, value)?;
    write_both(path, &fit(&tags)?).map_err(access(path))
}

/// Writes `pending` to the volume.
fn lay_over(path: &Path, pending: &Tags) -> Result<(), MetaError> {
    let mut tags = read(path).map_err(access(path))?;
    tags.extend(pending.clone());
    write_both(path, &fit(&tags)?).map_err(access(path))
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    #[test]
    fn tags_are_set_replaced_and_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("meta");
        let change = |key, value| change(&path, &Tags::new(), key, value);
        assert_eq!(read(&path).expect("no file"), Tags::new());
        change(0x0c, Some(b"one".to_vec())).expect("set");
        change(0x80, Some(b"two".to_vec())).expect("set");
        change(0x0c, None).expect("delete");
        assert_eq!(read(&path).expect("read"), Tags::from([(0x80, b"two".to_vec())]));
        assert!(matches!(change(0x0c, None), Err(MetaError::NoSuchKey(0x0c))));
        let large = change(1, Some(vec![0; adv::COPY_BYTES]));
        assert!(matches!(large, Err(MetaError::Full { .. })));
    }

    fn volume(phase: VolumePhase, location: &Path) -> VolumeStatus {
        let location = location.to_string_lossy().into_owned();
        VolumeStatus { phase, location, ..VolumeStatus::default() }
    }

    #[tokio::test]
    async fn a_machine_without_meta_keeps_values_until_a_volume_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("meta");
        change(&path, &Tags::new(), 0x0c, Some(b"of the disk".to_vec())).expect("set");
        let runtime = TestRuntime::new(corten_resources::registry(), |runtime| {
            runtime.register(MetaKeys);
        });
        let state = runtime.state().clone();
        let key = |key: &str| state.get::<MetaKey>(key).map(|key| key.spec.value);
        let token = || Some(b"token".to_vec());
        assert!(matches!(write(&state, 0x10, token()).await, Err(MetaError::NoVolume)));
        runtime.put(resource(VolumeStatus::META, volume(VolumePhase::Waiting, &path)));
        assert!(matches!(write(&state, 0x10, token()).await, Err(MetaError::NoVolume)));
        runtime.put(resource(VolumeStatus::META, volume(VolumePhase::Missing, &path)));
        write(&state, 0x10, token()).await.expect("kept");
        write(&state, 0x0f, Some(b"gone".to_vec())).await.expect("kept");
        write(&state, 0x0f, None).await.expect("deleted");
        assert!(matches!(write(&state, 0x0f, None).await, Err(MetaError::NoSuchKey(0x0f))));
        runtime.quiet().await;
        assert_eq!((key("0x10").as_deref(), key("0x0f")), (Some("token"), None));
        assert!(state.list::<MetaLoaded>().is_empty(), "nothing was read");

        let settling = corten_base::spawn("settle", settle(state.clone()));
        runtime.put(resource(VolumeStatus::META, volume(VolumePhase::Ready, &path)));
        let written = |change: Option<&MetaChange>| change.is_some_and(|change| change.pending.is_empty());
        state.wait_for::<MetaChange>(MetaChange::ID, written).await;
        let both = Tags::from([(0x0c, b"of the disk".to_vec()), (0x10, b"token".to_vec())]);
        assert_eq!(read(&path).expect("read"), both);
        write(&state, 0x10, Some(b"another".to_vec())).await.expect("written");
        let read_again = |key: Option<&MetaKey>| key.is_some_and(|key| key.value == "another");
        state.wait_for::<MetaKey>("0x10", read_again).await;
        drop(settling);
    }
}
