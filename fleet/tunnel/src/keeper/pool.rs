//! All keepers of a tunnel, started when they are needed, and the count of what the manager has itself.
//!
//! ```text
//! Ticket (one more socket in the manager) ─▶ place ─▶ decide ─┬▶ stays, with its ticket
//!                                                             ├▶ keeper ─▶ ticket goes when the keeper has the socket
//!                                                             └▶ refused
//! ```

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corten_base::{Task, chain, spawn};
use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::link::Link;
use super::local::Local;
use super::policy::{Goes, Limits};
use crate::keeper::KEEPER;
use crate::stream::TunnelStream;

/// Between two starts of keepers, so that one that ends at once does not take the processor.
const START_PAUSE: Duration = Duration::from_secs(1);
/// Between two lines about what was refused.
const TELL_PAUSE: Duration = Duration::from_secs(60);

/// Why a connection has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no room for one more connection of a machine: {own} sockets are in the manager and {kept} in {keepers} \
     keepers; raise the limit of open files (ulimit -n, LimitNOFILE) and start the manager again"
)]
pub struct NoPlace {
    own: usize,
    kept: usize,
    keepers: usize,
}

impl From<NoPlace> for io::Error {
    fn from(error: NoPlace) -> Self {
        Self::new(io::ErrorKind::QuotaExceeded, error)
    }
}

/// Where the sockets of connections are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// In the manager's own process.
    pub own: usize,
    /// In keepers.
    pub kept: usize,
    /// Keepers that run.
    pub keepers: usize,
}

/// One socket in the manager's process, which is counted until this is dropped.
#[derive(Debug)]
pub struct Ticket(Arc<AtomicUsize>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The keepers.
pub struct Pool {
    start: Start,
    limits: Limits,
    own: Arc<AtomicUsize>,
    state: Mutex<State>,
}

/// How a keeper is started.
struct Start {
    program: OsString,
    arguments: Vec<OsString>,
}

#[derive(Default)]
struct State {
    keepers: Vec<Keeper>,
    /// When the last one was started.
    started: Option<Instant>,
    refused: Refused,
}

/// What was refused.
#[derive(Default)]
struct Refused {
    /// Since it was told last.
    count: usize,
    told: Option<Instant>,
}

/// A keeper that was started; it is killed when this is dropped.
struct Keeper {
    link: Arc<Link>,
    process: u32,
    _task: Task,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("limits", &self.limits).field("sockets", &self.sockets()).finish()
    }
}

impl Pool {
    /// Keepers that are `program`, the manager's own, for as many sockets as this process may have open files.
    #[must_use]
    pub fn new(program: &Path) -> Self {
        let open_files = getrlimit(Resource::Nofile).current;
        let open_files = open_files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
        Self::with(program.into(), vec![KEEPER.into()], Limits::of(open_files))
    }

    pub(super) fn with(program: OsString, arguments: Vec<OsString>, limits: Limits) -> Self {
        Self { start: Start { program, arguments }, limits, own: Arc::default(), state: Mutex::default() }
    }

    /// Counts one more socket in this process, before it is made.
    ///
    /// # Errors
    /// When there is no room, neither here nor in a keeper.
    pub fn enter(&self) -> io::Result<Ticket> {
        let mut state = self.state.lock();
        match self.decide(&mut state) {
            Goes::Nowhere => Err(self.refuse(&mut state)),
            Goes::Here | Goes::Keeper(_) | Goes::NewKeeper => Ok(self.ticket()),
        }
    }

    fn ticket(&self) -> Ticket {
        self.own.fetch_add(1, Ordering::Relaxed);
        Ticket(Arc::clone(&self.own))
    }

    /// Finds the place for a connection that was accepted. One that is refused is closed.
    ///
    /// # Errors
    /// When there is no room, or it broke.
    pub fn place_accepted(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<TunnelStream> {
        self.place(stream, peer, None)
    }

    /// Finds the place for a connection that was made with a ticket. One that is refused is closed.
    ///
    /// # Errors
    /// When there is no room, or it broke.
    pub fn place_connected(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        ticket: Ticket,
    ) -> io::Result<TunnelStream> {
        self.place(stream, peer, Some(ticket))
    }

    fn place(&self, stream: TcpStream, peer: SocketAddr, ticket: Option<Ticket>) -> io::Result<TunnelStream> {
        let mut state = self.state.lock();
        // The one that is to be placed is not to count against itself.
        drop(ticket);
        let goes = self.decide(&mut state);
        let link = match goes {
            Goes::Here => return Ok(TunnelStream::counted(stream, self.ticket())),
            Goes::Keeper(place) => state.keepers.get(place).map(|keeper| Arc::clone(&keeper.link)),
            Goes::NewKeeper => self.start(&mut state),
            Goes::Nowhere => None,
        };
        let Some(link) = link else { return Err(self.refuse(&mut state)) };
        let ticket = self.ticket();
        drop(state);
        let socket = OwnedFd::from(stream.into_std()?);
        link.adopt((socket, ticket), peer).map(TunnelStream::from)
    }

    /// Where one more goes; keepers that have ended are forgotten.
    fn decide(&self, state: &mut State) -> Goes {
        state.keepers.retain(|keeper| keeper.link.count().is_some());
        let kept = state.keepers.iter().filter_map(|keeper| keeper.link.count());
        self.limits.decide(self.own.load(Ordering::Relaxed), kept)
    }

    fn start(&self, state: &mut State) -> Option<Arc<Link>> {
        let now = Instant::now();
        if state.started.is_some_and(|last| now.duration_since(last) < START_PAUSE) {
            return None;
        }
        state.started = Some(now);
        match self.start.keeper() {
            Ok(keeper) => {
                let link = Arc::clone(&keeper.link);
                tracing::info!(
                    process = keeper.process,
                    keepers = state.keepers.len() + 1,
                    "started a keeper: connections of machines are more than this process is to have open files for"
                );
                state.keepers.push(keeper);
                Some(link)
            }
            Err(error) => {
                tracing::error!(
                    error = chain(&error),
                    "cannot start a keeper for connections of machines; it is tried again"
                );
                None
            }
        }
    }

    fn refuse(&self, state: &mut State) -> io::Error {
        let Sockets { own, kept, keepers } = self.count(state);
        let error = NoPlace { own, kept, keepers };
        if let Some(refused) = state.refused.tell(Instant::now()) {
            tracing::error!(
                refused,
                cause = chain(&error),
                "connections of machines are refused; they try again by themselves"
            );
        }
        error.into()
    }

    /// Where the sockets are.
    #[must_use]
    pub fn sockets(&self) -> Sockets {
        self.count(&self.state.lock())
    }

    fn count(&self, state: &State) -> Sockets {
        let counts = state.keepers.iter().filter_map(|keeper| keeper.link.count());
        let (keepers, kept) = counts.fold((0, 0), |(keepers, kept), count| (keepers + 1, kept + count));
        Sockets { own: self.own.load(Ordering::Relaxed), kept, keepers }
    }

    /// Processes of the keepers that run.
    #[cfg(test)]
    pub(super) fn processes(&self) -> Vec<u32> {
        let state = self.state.lock();
        let running = state.keepers.iter().filter(|keeper| keeper.link.count().is_some());
        running.map(|keeper| keeper.process).collect()
    }
}

impl Refused {
    /// Counts one more, and says how many there were if it is time to tell.
    fn tell(&mut self, now: Instant) -> Option<usize> {
        self.count += 1;
        if self.told.is_some_and(|told| now.duration_since(told) < TELL_PAUSE) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

impl Start {
    #[expect(
        clippy::disallowed_methods,
        reason = "the manager is no machine; it starts its own program for what one process cannot hold"
    )]
    fn keeper(&self) -> io::Result<Keeper> {
        let (ours, theirs) = Local::pair()?;
        let mut command = Command::new(&self.program);
        // A group of its own: an interrupt from a terminal is for the manager, which may still need its connections.
        command.args(&self.arguments).process_group(0);
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        let child = command.spawn()?;
        let process = child.id();
        let link = Arc::new(Link::default());
        let running = Running { link: Arc::clone(&link), child };
        Ok(Keeper { link, process, _task: spawn("tunnel keeper", run(running, ours)) })
    }
}

/// A keeper's process with its streams: they end together.
struct Running {
    link: Arc<Link>,
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then nothing is lost.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.link.end();
    }
}

async fn run(running: Running, local: Local) {
    let error = running.link.run(local).await;
    tracing::error!(
        process = running.child.id(),
        connections = running.link.count(),
        cause = chain(&error),
        "a keeper has ended, and its connections of machines with it; they connect again by themselves"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refusals_are_told_once_a_minute_with_their_number() {
        let mut refused = Refused::default();
        assert_eq!(refused.tell(Instant::now()), Some(1));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(refused.tell(Instant::now()), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(refused.tell(Instant::now()), Some(2));
    }
}
