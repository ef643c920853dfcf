//! The loop of process 1: one place that waits, for signals, connections and deadlines.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use corten_supervisor::{CONTROL_SOCKET, ExitStatus, Listener, PowerAction, ProcessSpec, Restart, StdioSpec};
use corten_sys::cgroup::Cgroups;
use corten_sys::process::{WaitStatus, next_exited, reap};
use corten_sys::signal::{self, SignalFd, number};
use corten_sys::{acpi, clock, memory};
use rustix::event::{Timespec, epoll};

use crate::launch::Stored;
use crate::log::{Log, Severity, chain};
use crate::outbox::Peer;
use crate::table::{Due, Now, Table};
use crate::{Place, early, groups};

/// Name of the brain in the process table.
pub const MACHINED: &str = "machined";

/// Connections at once: machined's and a few of whoever debugs it.
const PEERS_MAX: usize = 16;
const SIGNALS_TOKEN: u64 = 0;
const LISTENER_TOKEN: u64 = 1;
const ACPI_TOKEN: u64 = 2;
const FIRST_PEER_TOKEN: u64 = 16;
/// Nothing has happened for so long that nothing goes on.
const QUIET: Duration = Duration::from_secs(30);

/// What is known about the end of the machine.
#[derive(Clone, Copy, Debug)]
pub enum PowerState {
    /// It runs.
    On,
    /// It ends at this time.
    Due {
        /// How.
        action: PowerAction,
        /// When, on the monotonic clock.
        at: Duration,
    },
}

/// Everything that process 1 holds.
pub struct Supervisor {
    pub(crate) log: Log,
    pub(crate) table: Table,
    pub(crate) stored: Stored,
    pub(crate) cgroups: Option<Cgroups>,
    pub(crate) peers: BTreeMap<u64, Peer>,
    pub(crate) power: PowerState,
    epoll: OwnedFd,
    signals: SignalFd,
    listener: Listener,
    /// The machine's buttons, where it has any.
    acpi: Option<acpi::Events>,
    next_token: u64,
    /// Whether nothing has happened since memory was given back.
    is_lean: bool,
}

/// Prepares the machine and supervises until it shall end. An error is a reason to give up.
pub fn run(place: Place) -> Result<PowerAction, String> {
    let mut log = Log::open(place);
    let cgroups = early::prepare(place, &mut log);
    // Only now is there a kernel log to write to on every kind of machine.
    let mut supervisor = Supervisor::new(place, cgroups)?;
    let now = now();
    // A specification written here is valid and the table is empty.
    if let Err(refusal) = supervisor.table.insert(MACHINED, machined(), now) {
        return Err(refusal.message);
    }
    supervisor.run()
}

impl Supervisor {
    fn new(place: Place, cgroups: Option<Cgroups>) -> Result<Self, String> {
        let signals = SignalFd::open(&[
            number::CHILD,
            number::TERMINATE,
            number::INTERRUPT,
            number::POWER,
            number::HANGUP,
        ])
        .map_err(|error| chain(&error))?;
        let listener = Listener::bind(Path::new(CONTROL_SOCKET)).map_err(|error| chain(&error))?;
        let epoll =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| format!("cannot poll: {error}"))?;
        watch(&epoll, &signals, SIGNALS_TOKEN)?;
        watch(&epoll, &listener, LISTENER_TOKEN)?;
        // A container has its launcher for a button, and some machines have none.
        let acpi = if place == Place::OwnKernel { acpi::Events::open().ok() } else { None };
        if let Some(acpi) = &acpi {
            watch(&epoll, acpi, ACPI_TOKEN)?;
        }
        Ok(Self {
            log: Log::open(place),
            table: Table::default(),
            stored: Stored::new(),
            cgroups,
            peers: BTreeMap::new(),
            power: PowerState::On,
            epoll,
            signals,
            listener,
            acpi,
            next_token: FIRST_PEER_TOKEN,
            is_lean: false,
        })
    }

    fn run(&mut self) -> Result<PowerAction, String> {
        loop {
            self.run_due(now());
            self.flush();
            if let PowerState::Due { action, at } = self.power
                && at <= now().monotonic
            {
                return Ok(action);
            }
            let ready = self.wait()?;
            self.keep_small(ready.is_empty());
            for token in ready {
                let now = now();
                match token {
                    SIGNALS_TOKEN => self.take_signals(now)?,
                    LISTENER_TOKEN => self.accept(),
                    ACPI_TOKEN => self.take_buttons(now)?,
                    token => self.take_requests(token, now),
                }
            }
        }
    }

    /// Waits for descriptors or the next deadline and gives the tokens that are ready.
    fn wait(&self) -> Result<Vec<u64>, String> {
        let power_at = match self.power {
            PowerState::On => None,
            PowerState::Due { at, .. } => Some(at),
        };
        let quiet = (!self.is_lean).then(|| clock::monotonic() + QUIET);
        let deadline = [self.table.next_deadline(), power_at, quiet].into_iter().flatten().min();
        let timeout = deadline.map(|at| {
            let left = at.saturating_sub(clock::monotonic());
            let tv_sec = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
            Timespec { tv_sec, tv_nsec: left.subsec_nanos().into() }
        });
        let mut events = Vec::with_capacity(32);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(events.iter().map(|event| event.data.u64()).collect()),
            Err(error) => Err(format!("cannot poll: {error}")),
        }
    }

    /// Gives back, once, what a past that is over has needed.
    fn keep_small(&mut self, is_quiet: bool) {
        if is_quiet && !self.is_lean {
            // Where the kernel refuses there is nothing lost but memory.
            let _ = memory::give_back();
        }
        self.is_lean = is_quiet;
    }

    fn take_signals(&mut self, now: Now) -> Result<(), String> {
        while let Some(signal) = self.signals.next_signal().map_err(|error| chain(&error))? {
            match signal {
                number::TERMINATE | number::POWER => self.request_power(PowerAction::PowerOff, now),
                number::INTERRUPT => self.request_power(PowerAction::Reboot, now),
                _ => {}
            }
        }
        // One SIGCHLD may stand for many exits, and an exit may come with another signal's wakeup.
        self.reap_all(now)
    }

    fn take_buttons(&mut self, now: Now) -> Result<(), String> {
        while let Some(acpi) = &self.acpi
            && let Some(event) = acpi.next_event().map_err(|error| chain(&error))?
        {
            if event.is_power_button() {
                self.request_power(PowerAction::PowerOff, now);
            }
        }
        Ok(())
    }

    /// Reaps children and the orphans that became ours. Each is looked at before its id is given back.
    fn reap_all(&mut self, now: Now) -> Result<(), String> {
        while let Some(exited) = next_exited().map_err(|error| chain(&error))? {
            let status = match exited.status {
                WaitStatus::Code(code) => ExitStatus::Code(code),
                WaitStatus::Signal(signal) => ExitStatus::Signal(signal),
            };
            self.ended(exited.pid, status, now);
            reap(exited.pid).map_err(|error| chain(&error))?;
        }
        Ok(())
    }

    fn run_due(&mut self, now: Now) {
        for due in self.table.due(now) {
            match due {
                // The failure is in the log, the status and the events already.
                Due::Start(name) => drop(self.start(&name, now)),
                Due::Kill(pid) => {
                    if let Err(error) = signal::send(pid, number::KILL) {
                        self.log.failure("killing", &error);
                    }
                }
            }
        }
    }

    fn accept(&mut self) {
        let connection = match self.listener.accept() {
            Ok(connection) => connection,
            Err(error) => {
                if !error.would_block() {
                    self.log.failure("control socket", &error);
                }
                return;
            }
        };
        if self.peers.len() >= PEERS_MAX {
            return self.log.write(Severity::Warning, "too many connections to the control socket");
        }
        let peer = Peer::new(connection);
        match watch(&self.epoll, &peer, self.next_token) {
            Ok(()) => {
                self.peers.insert(self.next_token, peer);
                self.next_token += 1;
            }
            Err(error) => self.log.write(Severity::Error, &error),
        }
    }

    /// Takes at most as many packets as keep other work from waiting; epoll tells again about the rest.
    fn take_requests(&mut self, token: u64, now: Now) {
        const PACKETS_MAX: usize = 32;
        for _ in 0..PACKETS_MAX {
            let Some(received) =
                self.peers.get_mut(&token).filter(|peer| !peer.closing).and_then(Peer::receive)
            else {
                return;
            };
            self.handle(token, received, now);
        }
    }

    /// Sends what is queued, asks to be woken for what did not fit, and forgets connections that are over.
    fn flush(&mut self) {
        for (token, peer) in &mut self.peers {
            peer.flush();
            let mut interest = epoll::EventFlags::IN;
            interest.set(epoll::EventFlags::OUT, peer.has_unsent());
            let data = epoll::EventData::new_u64(*token);
            if epoll::modify(&self.epoll, &*peer, data, interest).is_err() {
                peer.closing = true;
            }
        }
        // Closing a descriptor takes it out of the epoll set.
        self.peers.retain(|_, peer| !peer.is_over());
    }
}

fn watch(epoll: &OwnedFd, source: impl AsFd, token: u64) -> Result<(), String> {
    epoll::add(epoll, source, epoll::EventData::new_u64(token), epoll::EventFlags::IN)
        .map_err(|error| format!("cannot poll: {error}"))
}

fn now() -> Now {
    Now { monotonic: clock::monotonic(), unix_ms: clock::unix_ms() }
}

/// The one process that init knows by itself. It has init's environment, where the launcher of a container machine puts
/// what a kernel command line would say.
fn machined() -> ProcessSpec {
    let mut spec = ProcessSpec::new(["/usr/bin/machined"]);
    spec.env = std::env::vars().collect();
    spec.env.entry("PATH".into()).or_insert_with(|| "/usr/bin:/usr/sbin".into());
    spec.cgroup = Some(groups::INIT.into());
    spec.oom_score_adj = Some(-998);
    spec.stdio = StdioSpec::Log("/run/log/machined.log".into());
    spec.restart = Restart::Always { backoff_ms_min: 100, backoff_ms_max: 5000 };
    spec
}
