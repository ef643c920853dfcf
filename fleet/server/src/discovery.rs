//! The embedded discovery service over restarts: what members told is written once in a while, and at the end.
//!
//! ```text
//! file ─▶ Registry ─▶ Discovery ──(interval, the end)──▶ file
//! ```
//!
//! A file that cannot be read costs little: members that watch again tell everything again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use corten_base::fs::{Durability, write_atomic};
use corten_base::{Clock, blocking, chain};
use corten_fleet_discovery::{Discovery, Registry, snapshot};
use tokio::time::{MissedTickBehavior, interval};

/// How long the disk may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Largest file that is read, bytes: all clusters at all limits have more than any manager holds in memory.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Mode of the file: members' data are encrypted, and still nobody's business.
const MODE: u32 = 0o600;

/// A discovery service that outlives the manager.
#[derive(Clone, Debug)]
pub struct Kept {
    discovery: Discovery,
    /// File of what was known last.
    path: PathBuf,
    /// How often it is written; `None` when it is not to be.
    interval: Option<Duration>,
}

impl Kept {
    /// The service as it was when the manager ended; a new one when there is no file, or none is to be.
    pub async fn open(path: PathBuf, interval: Option<Duration>, clock: &Clock) -> Self {
        let registry = match interval {
            Some(_) => load(&path, clock).await,
            None => Registry::default(),
        };
        Self { discovery: Discovery::new(registry, clock), path, interval }
    }

    /// The service.
    pub const fn service(&self) -> &Discovery {
        &self.discovery
    }

    /// Writes what is known, again and again, for ever.
    pub async fn run(self) {
        let Some(every) = self.interval else { return };
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, when nothing is new.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.save().await;
        }
    }

    /// Writes what is known now.
    pub async fn save(&self) {
        if self.interval.is_none() {
            return;
        }
        let (bytes, path) = (self.discovery.snapshot(), self.path.clone());
        let write = move || write_atomic(&path, &bytes, MODE, Durability::Durable);
        let error = match blocking(DEADLINE, write).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => chain(&error),
            Err(error) => chain(&error),
        };
        let path = self.path.display();
        tracing::error!(%path, error, "what discovery knows cannot be written; members tell it again");
    }
}

async fn load(path: &Path, clock: &Clock) -> Registry {
    let file = path.to_owned();
    let read = blocking(DEADLINE, move || read(&file)).await;
    let bytes = match read {
        Ok(Ok(Some(bytes))) => bytes,
        Ok(Ok(None)) => return Registry::default(),
        Ok(Err(error)) => return without(path, &chain(&error)),
        Err(error) => return without(path, &chain(&error)),
    };
    snapshot::decode(&bytes, clock.now()).unwrap_or_else(|error| without(path, &chain(&error)))
}

/// The bytes of a file; nothing when there is none.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => return Err(io::ErrorKind::FileTooLarge.into()),
        Ok(_) => {}
    }
    std::fs::read(path).map(Some)
}

fn without(path: &Path, error: &str) -> Registry {
    let path = path.display();
    tracing::error!(%path, error, "what discovery knew cannot be read; members tell it again");
    Registry::default()
}

#[cfg(test)]
mod tests {
    use corten_fleet_discovery::registry::Update;

    use super::*;

    const EVERY: Option<Duration> = Some(Duration::from_secs(600));

    fn known(kept: &Kept, clock: &Clock) -> usize {
        let registry = snapshot::decode(&kept.service().snapshot(), clock.now()).expect("a snapshot");
        registry.list("cluster").expect("a name").len()
    }

    fn file(folder: &tempfile::TempDir, clock: &Clock) -> PathBuf {
        let mut registry = Registry::default();
        let update = Update {
            cluster: "cluster".to_owned(),
            affiliate: "member".to_owned(),
            data: Some(vec![1]),
            endpoints: Vec::new(),
            ttl: Duration::from_secs(600),
        };
        registry.update(update, clock.now()).expect("taken");
        let path = folder.path().join("discovery.snapshot");
        std::fs::write(&path, snapshot::encode(&registry, clock.now())).expect("written");
        path
    }

    #[tokio::test]
    async fn what_members_told_is_there_again_unless_nobody_wants_it() {
        let (folder, clock) = (tempfile::tempdir().expect("a folder"), Clock::fixed(1_700_000_000));
        let path = file(&folder, &clock);
        let kept = Kept::open(path.clone(), EVERY, &clock).await;
        assert_eq!(known(&kept, &clock), 1);
        std::fs::remove_file(&path).expect("removed");
        kept.save().await;
        assert_eq!(known(&Kept::open(path.clone(), EVERY, &clock).await, &clock), 1);
        let without = Kept::open(path.clone(), None, &clock).await;
        assert_eq!(known(&without, &clock), 0);
        std::fs::remove_file(&path).expect("removed");
        without.save().await;
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_damaged_is_no_reason_not_to_start() {
        let (folder, clock) = (tempfile::tempdir().expect("a folder"), Clock::fixed(1_700_000_000));
        let path = folder.path().join("discovery.snapshot");
        std::fs::write(&path, b"no snapshot").expect("written");
        let kept = Kept::open(path, EVERY, &clock).await;
        assert_eq!(known(&kept, &clock), 0);
    }
}
