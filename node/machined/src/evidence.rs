//! What is left of a boot when it has ended: its logs, and why it ended.
//!
//!     kernel log, logs of processes (tmpfs) ─▶ keeper, every five seconds ─▶ /var/log/boots/N ─▶ BootRecord
//!     logs of containers (on disk already) ─▶ moved there when the next boot begins ─┘     └▶ `logs NAME@N`
//!     sequencer, API, power button ─▶ why it ends ─▶ its record
//!
//! What is written is synced, so that a loss of power costs the last five seconds at most; a panic costs less where the
//! firmware or reserved memory keeps the kernel's last words (pstore). Nothing here is ever waited for long: a disk that
//! is full or does not answer costs evidence, not the boot.

mod keeper;
mod pstore;
mod ring;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use corten_base::{Clock, blocking, paths, version};
use corten_resource::State;
use corten_resources::block::{VolumeMountStatus, VolumeStatus};
use corten_resources::runtime::{BootEnd, BootRecord};
use corten_sys::kmsg::{Reader, Start};
use parking_lot::Mutex;

use keeper::{Boot, Keeper, Places};
pub use ring::Ring;

const OWNER: &str = "evidence";
/// How often what is new is written and synced.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// A disk that takes longer is not waited for.
const DEADLINE: Duration = Duration::from_secs(10);
/// Time for what is done with the disk already.
const PATIENCE: Duration = Duration::from_secs(3);
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The evidence of this machine.
#[derive(Clone)]
pub struct Evidence(Arc<Inner>);

struct Inner {
    state: State,
    clock: Clock,
    places: Places,
    /// Whether the kernel's log is that of this machine alone.
    owns_kernel: bool,
    keeper: Mutex<Slot>,
    /// The keeper has begun, or will not any more.
    has_begun: AtomicBool,
    /// Why the boot will have ended, once somebody has said so.
    why: Mutex<Option<(BootEnd, String)>>,
    /// The last failure, told once.
    told: Mutex<String>,
}

/// Where the keeper is.
enum Slot {
    /// The volume is not there yet.
    Empty,
    /// It writes.
    Open(Box<Keeper>),
    /// The end is recorded; the volume goes.
    Closed,
}

impl Evidence {
    /// Evidence that waits for the volume of logs.
    #[must_use]
    pub fn new(state: State, clock: Clock, owns_kernel: bool) -> Self {
        let places = Places {
            log: paths::LOG.into(),
            early_log: paths::EARLY_LOG.into(),
            pstore: "/sys/fs/pstore".into(),
            notes: Path::new(paths::RUN).join("machined/evidence"),
        };
        Self(Arc::new(Inner {
            state,
            clock,
            places,
            owns_kernel,
            keeper: Mutex::new(Slot::Empty),
            has_begun: AtomicBool::new(false),
            why: Mutex::new(None),
            told: Mutex::default(),
        }))
    }

    /// Writes what is new, for ever.
    pub async fn run(self) {
        loop {
            tokio::time::sleep(FLUSH_EVERY).await;
            if self.has_volume() {
                self.open().await;
            }
            self.work("the logs of this boot were not kept", |inner, slot| match slot {
                Slot::Open(keeper) => keeper.flush(inner.booted()),
                Slot::Empty | Slot::Closed => Ok(()),
            })
            .await;
        }
    }

    /// Begins the boot on disk, before any service writes a log there. Does nothing when that was done.
    pub async fn open(&self) {
        if self.0.has_begun.load(Ordering::Relaxed) {
            return;
        }
        self.work("this boot is not recorded", |inner, slot| {
            if !matches!(slot, Slot::Empty) {
                return Ok(());
            }
            let id = std::fs::read_to_string(BOOT_ID)?.trim().to_owned();
            let boot = Boot { id, version: version::TAG.to_owned(), at: inner.clock.now() };
            let kernel = inner.owns_kernel.then(|| Reader::open(Start::Oldest).ok()).flatten();
            let keeper = Keeper::begin(inner.places.clone(), &boot, kernel)?;
            inner.publish(keeper.ring());
            *slot = Slot::Open(Box::new(keeper));
            inner.has_begun.store(true, Ordering::Relaxed);
            Ok(())
        })
        .await;
    }

    /// Somebody has asked for the end of the boot, or it ends by itself. The last word counts.
    pub fn because(&self, end: BootEnd, reason: impl Into<String>) {
        *self.0.why.lock() = Some((end, reason.into()));
    }

    /// Records the end and lets go of the volume. `otherwise` counts when nobody has said why.
    pub async fn end(&self, otherwise: &str) {
        let why = self.0.why.lock().clone();
        let (end, reason) = why.unwrap_or_else(|| (BootEnd::Requested, otherwise.to_owned()));
        self.work("the end of this boot is not recorded", move |inner, slot| {
            inner.has_begun.store(true, Ordering::Relaxed);
            match std::mem::replace(slot, Slot::Closed) {
                Slot::Open(keeper) => keeper.end(end, reason, inner.booted(), inner.clock.now()),
                Slot::Empty | Slot::Closed => Ok(()),
            }
        })
        .await;
    }

    /// The volume of logs is mounted: EPHEMERAL, or one of its own where the machine has that.
    fn has_volume(&self) -> bool {
        let is_mounted = |volume: &str| self.0.state.get::<VolumeMountStatus>(volume).is_some();
        let has_own = self.0.state.get::<VolumeStatus>("LOG").is_some();
        is_mounted(VolumeStatus::EPHEMERAL) && (!has_own || is_mounted("LOG"))
    }

    /// Does something with the disk, one thing at a time: a disk that does not answer takes one thread, not all. A failure
    /// is told once, and again when it is another one.
    async fn work(
        &self,
        what: &'static str,
        work: impl FnOnce(&Inner, &mut Slot) -> io::Result<()> + Send + 'static,
    ) {
        let inner = Arc::clone(&self.0);
        let work = move || {
            let slot = inner.keeper.try_lock_for(PATIENCE);
            work(&inner, &mut *slot.ok_or_else(|| io::Error::other("the disk does not answer"))?)
        };
        let failure = match blocking(DEADLINE, work).await {
            Ok(Ok(())) => String::new(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => corten_base::chain(&error),
        };
        let mut told = self.0.told.lock();
        if !failure.is_empty() && *told != failure {
            tracing::warn!(error = failure, "{what}");
        }
        *told = failure;
    }
}

impl Inner {
    /// When the kernel started, by the clock as it is now.
    fn booted(&self) -> SystemTime {
        let since = corten_sys::clock::since_boot();
        self.clock.now().checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Shows the boots that are on disk.
    fn publish(&self, ring: &Ring) {
        let boots = ring.boots();
        for known in self.state.list::<BootRecord>() {
            if !boots.iter().any(|boot| ring::id(*boot) == known.metadata.id) {
                let _ = self.state.remove::<BootRecord>(OWNER, &known.metadata.id);
            }
        }
        for boot in boots {
            let Some(record) = ring.record(boot) else { continue };
            if let Err(error) = self.state.put(OWNER, &ring::id(boot), record) {
                tracing::warn!(boot, error = &error as &dyn std::error::Error, "a boot is not shown");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_without_the_volume_records_nothing_and_waits_for_nobody() {
        let state = State::new(corten_resources::registry());
        let evidence = Evidence::new(state.clone(), Clock::system(), false);
        assert!(!evidence.has_volume());
        evidence.because(BootEnd::Failure, "a sequence failed");
        evidence.end("reboot").await;
        assert!(state.list::<BootRecord>().is_empty());
        assert!(matches!(*evidence.0.keeper.lock(), Slot::Closed), "what comes later opens nothing");
        evidence.open().await;
        assert!(matches!(*evidence.0.keeper.lock(), Slot::Closed));
    }
}
