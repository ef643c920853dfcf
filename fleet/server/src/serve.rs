//! A manager from its first moment to its last.
//!
//! ```text
//! wire ─▶ start: controllers and services in the tunnel (on the leader), doors ─▶ ready ─▶ SIGTERM, SIGINT, lead lost
//!   ─▶ doors end what is under way ─▶ services and controllers stop ─▶ logs are written ─▶ the store has kept all
//! ```
//!
//! Every wait at the end has a bound: a manager that is told to stop stops. What was acknowledged was kept before.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use corten_base::Task;
use corten_fleet_api::caller::Directory;
use corten_resource::State;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::discovery::Kept;
use crate::failure::Failure;
use crate::leader::{Duties, Leader};
use crate::ready::Ready;
use crate::records::Closing;
use crate::storage::{self, Keeping};
use crate::wire::{Base, Manager, wire};

/// For controllers that are at work on something.
const CONTROLLERS_MAX: Duration = Duration::from_secs(10);
/// For the last lines of logs.
const LOGS_MAX: Duration = Duration::from_secs(10);
/// For what was decided and is not on the disk yet.
const STORE_MAX: Duration = Duration::from_secs(30);

/// Runs a manager until it is told to stop. `ready_file` is written when it serves, and removed when it ends.
///
/// # Errors
/// When it cannot start, the store keeps nothing any more, or another manager is to lead.
pub async fn serve(base: &Base, ready_file: Option<&Path>) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let (mut running, ready, announced) = tokio::select! {
        started = start(base, ready_file) => started?,
        () = signals.next() => return Ok(()),
    };
    // Whoever started it may not listen.
    let _ = std::io::stdout().write_all(ready.text().as_bytes());
    announced.write(&ready)?;
    let ended = tokio::select! {
        () = signals.next() => Ok(()),
        () = &mut running.keeping => Err(Failure::Keeper),
        () = running.leader.lost() => Err(Failure::Lead),
    };
    tracing::info!("stopping");
    tokio::select! {
        () = running.stop() => tracing::info!("stopped"),
        () = signals.next() => tracing::warn!("stopped without waiting"),
    }
    drop(announced);
    ended
}

/// What tells the manager to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|source| Failure::Host { what: "take signals", source });
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The file that says that the manager serves; it goes with the manager.
struct Announced(Option<PathBuf>);

impl Announced {
    /// The file of a manager that has the store; one of an earlier manager would mislead whoever waits for this one.
    fn new(path: Option<&Path>) -> Self {
        let announced = Self(path.map(Path::to_owned));
        announced.remove();
        announced
    }

    fn write(&self, ready: &Ready) -> Result<(), Failure> {
        let Some(path) = &self.0 else { return Ok(()) };
        ready.write(path).map_err(|source| Failure::Ready { path: path.clone(), source })
    }

    fn remove(&self) {
        if let Some(path) = &self.0 {
            // Mostly there is none; one that cannot be removed cannot be written either.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A manager that serves.
struct Running {
    stop: watch::Sender<bool>,
    doors: Vec<Task>,
    /// What runs beside.
    background: Vec<Task>,
    /// Controllers, and services in the tunnel.
    leader: Leader,
    discovery: Option<Kept>,
    closing: Closing,
    state: State,
    keeping: Keeping,
}

async fn start(base: &Base, ready_file: Option<&Path>) -> Result<(Running, Ready, Announced), Failure> {
    let mut stored = storage::open(&base.settings, &base.paths, &base.clock, &base.rng).await?;
    let (candidate, starting) = stored.shared.take().map(|it| (it.candidate, it.starting)).unzip();
    // Not earlier: another manager may have the store, and goes on.
    let announced = Announced::new(ready_file);
    let Manager { ready, doors, runtime, services, outlets, background, discovery, closing, state, keeping } =
        wire(base, stored).await?;
    if let Some(starting) = starting {
        // What every store has once is there: the next manager at it may start.
        starting.done().await;
    }
    let duties = Duties { runtime, services, outlets, state: state.clone() };
    let leader = Leader::begin(duties, candidate)?;
    Directory::new(state.clone()).new_second(base.clock.now()).await;
    let (stop, stopped) = watch::channel(false);
    let doors = doors.into_iter().map(|door| door.serve(stopped.clone())).collect();
    let running = Running { stop, doors, background, leader, discovery, closing, state, keeping };
    Ok((running, ready, announced))
}

impl Running {
    /// Ends everything, in the order in which it depends on each other.
    async fn stop(self) {
        let Self { stop, doors, background, leader, discovery, closing, state, keeping } = self;
        // Without doors nobody listens, which is fine.
        let _ = stop.send(true);
        // Each ends within `corten_fleet_api::serve::GOODBYE_MAX`, and tells what it has cut.
        for door in doors {
            door.join().await;
        }
        drop(background);
        within("controllers that were still at work are cut off", CONTROLLERS_MAX, leader.stop()).await;
        if let Some(discovery) = discovery {
            discovery.save().await;
        }
        within("the last lines of logs may be lost", LOGS_MAX, closing.finish()).await;
        within("the store does not answer", STORE_MAX, state.store().settled()).await;
        drop(keeping);
    }
}

/// Waits so long and no longer.
async fn within(otherwise: &'static str, limit: Duration, work: impl Future<Output = ()>) {
    if timeout(limit, work).await.is_err() {
        tracing::warn!(seconds = limit.as_secs(), "{otherwise}");
    }
}
