//! The process table: what runs under which name and what happens next. Pure; the kernel is somebody else's business.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use corten_supervisor::{
    EXIT_HISTORY_MAX, Exit, ExitStatus, PROCESSES_MAX, ProcessSpec, ProcessState, ProcessStatus, Refusal,
    RefusalKind, Restart,
};

/// Status texts are cut here, so that a page of them fits into a message.
const TEXT_BYTES_MAX: usize = 256;

/// The two clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For delays.
    pub monotonic: Duration,
    /// For people, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

/// Who waits for a process to end: a connection and the number of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The connection.
    pub connection: u64,
    /// The request.
    pub request: u64,
}

/// All processes by name.
#[derive(Debug, Default)]
pub struct Table {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    spec: ProcessSpec,
    life: Life,
    restarts: u64,
    /// The last delay before a restart; doubles.
    delay: Duration,
    start_error: Option<String>,
    history: VecDeque<Exit>,
    waiters: Vec<Waiter>,
}

#[derive(Debug)]
enum Life {
    /// To be started at this time: new, or after an exit.
    Waiting {
        at: Duration,
    },
    Running(Run),
    /// Asked to end; killed at this time.
    Stopping {
        run: Run,
        kill_at: Option<Duration>,
    },
    Finished,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    pid: u32,
    started: Now,
}

/// What the clock says must be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// Start this name.
    Start(String),
    /// Kill this process.
    Kill(u32),
}

/// An end as the rest of init learns of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// Name of the process.
    pub name: String,
    /// How it ended.
    pub exit: Exit,
    /// When it is started again.
    pub restart_in: Option<Duration>,
    /// Who waited for it.
    pub waiters: Vec<Waiter>,
}

impl Table {
    /// Takes a name for a specification that starts now. A finished name is replaced, its history kept.
    pub fn insert(&mut self, name: &str, spec: ProcessSpec, now: Now) -> Result<(), Refusal> {
        spec.validate().map_err(|error| refuse(RefusalKind::Invalid, &format!("`{name}`: {error}")))?;
        let is_full = self.entries.len() >= PROCESSES_MAX;
        let history = match self.entries.get_mut(name) {
            Some(entry) if matches!(entry.life, Life::Finished) => std::mem::take(&mut entry.history),
            Some(_) => return Err(refuse(RefusalKind::AlreadyRunning, &format!("`{name}` is running"))),
            None if is_full => {
                return Err(refuse(
                    RefusalKind::Limit,
                    &format!("there are {PROCESSES_MAX} processes already"),
                ));
            }
            None => VecDeque::new(),
        };
        let life = Life::Waiting { at: now.monotonic };
        let (start_error, waiters) = (None, Vec::new());
        let entry = Entry { spec, life, restarts: 0, delay: Duration::ZERO, start_error, history, waiters };
        self.entries.insert(name.to_owned(), entry);
        Ok(())
    }

    /// The specification of a name.
    pub fn spec(&self, name: &str) -> Option<&ProcessSpec> {
        self.entries.get(name).map(|entry| &entry.spec)
    }

    /// Notes a successful start and gives the number of restarts.
    pub fn started(&mut self, name: &str, pid: u32, now: Now) -> u64 {
        let Some(entry) = self.entries.get_mut(name) else { return 0 };
        entry.life = Life::Running(Run { pid, started: now });
        entry.start_error = None;
        entry.restarts
    }

    /// Notes a failed start; gives the delay until the next attempt, if there is one.
    pub fn start_failed(&mut self, name: &str, error: &str, now: Now) -> Option<Duration> {
        let entry = self.entries.get_mut(name)?;
        entry.start_error = Some(cut(error));
        entry.schedule_restart(Duration::ZERO, now)
    }

    /// Notes an exit; `None` if the process is none of ours (an orphan that became our child).
    pub fn exited(&mut self, pid: u32, status: ExitStatus, now: Now) -> Option<Ended> {
        let (name, entry) = self.entries.iter_mut().find(|(_, entry)| entry.pid() == Some(pid))?;
        let (run, is_stopping) = match &entry.life {
            Life::Running(run) => (*run, false),
            Life::Stopping { run, .. } => (*run, true),
            Life::Waiting { .. } | Life::Finished => return None,
        };
        let exit = Exit { pid, started_at_ms: run.started.unix_ms, exited_at_ms: now.unix_ms, status };
        if entry.history.len() == EXIT_HISTORY_MAX {
            entry.history.pop_front();
        }
        entry.history.push_back(exit);
        let restart_in = if is_stopping {
            entry.life = Life::Finished;
            None
        } else {
            entry.schedule_restart(now.monotonic.saturating_sub(run.started.monotonic), now)
        };
        let waiters = std::mem::take(&mut entry.waiters);
        Some(Ended { name: name.clone(), exit, restart_in, waiters })
    }

    /// Begins to stop a process: gives its id and signal, or `None` if it is down already.
    pub fn stop(
        &mut self,
        name: &str,
        grace: Duration,
        waiter: Waiter,
        now: Now,
    ) -> Result<Option<(u32, i32)>, Refusal> {
        let entry = self.entry(name)?;
        let (run, is_first) = match entry.life {
            Life::Running(run) => (run, true),
            Life::Stopping { run, .. } => (run, false),
            Life::Waiting { .. } | Life::Finished => {
                entry.life = Life::Finished;
                return Ok(None);
            }
        };
        let kill_at = Some(now.monotonic.saturating_add(grace));
        let signal = if is_first { entry.spec.stop_signal } else { 0 };
        entry.life = Life::Stopping { run, kill_at };
        entry.waiters.push(waiter);
        Ok((signal != 0).then_some((run.pid, signal)))
    }

    /// Process id of a running name.
    pub fn running(&mut self, name: &str) -> Result<u32, Refusal> {
        self.entry(name)?
            .pid()
            .ok_or_else(|| refuse(RefusalKind::NotRunning, &format!("`{name}` is not running")))
    }

    /// Whether anyone still waits for the name to end.
    pub fn is_down(&self, name: &str) -> bool {
        self.entries.get(name).is_none_or(|entry| matches!(entry.life, Life::Finished))
    }

    /// Forgets a finished name.
    pub fn remove(&mut self, name: &str) -> Result<(), Refusal> {
        if !matches!(self.entry(name)?.life, Life::Finished) {
            return Err(refuse(RefusalKind::AlreadyRunning, &format!("`{name}` is running")));
        }
        self.entries.remove(name);
        Ok(())
    }

    /// Status of one name.
    pub fn status(&self, name: &str) -> Result<ProcessStatus, Refusal> {
        self.entries.get(name).map(|entry| entry.status(name)).ok_or_else(|| not_found(name))
    }

    /// Statuses after a name, at most `count`, and whether there are more.
    pub fn page(&self, after: Option<&str>, count: usize) -> (Vec<ProcessStatus>, bool) {
        let mut rest =
            self.entries.iter().filter(|(name, _)| after.is_none_or(|after| name.as_str() > after));
        let page = rest.by_ref().take(count).map(|(name, entry)| entry.status(name)).collect();
        (page, rest.next().is_some())
    }

    /// Everything whose time has come. Each thing is told once: a start moves on by [`Table::started`] or
    /// [`Table::start_failed`], a kill is noted here.
    pub fn due(&mut self, now: Now) -> Vec<Due> {
        let mut due = Vec::new();
        for (name, entry) in &mut self.entries {
            match &mut entry.life {
                Life::Waiting { at } if *at <= now.monotonic => due.push(Due::Start(name.clone())),
                Life::Stopping { run, kill_at } if kill_at.is_some_and(|at| at <= now.monotonic) => {
                    *kill_at = None;
                    due.push(Due::Kill(run.pid));
                }
                _ => {}
            }
        }
        due
    }

    /// When [`Table::due`] has something next.
    pub fn next_deadline(&self) -> Option<Duration> {
        let deadline = |entry: &Entry| match &entry.life {
            Life::Waiting { at } => Some(*at),
            Life::Stopping { kill_at, .. } => *kill_at,
            Life::Running(_) | Life::Finished => None,
        };
        self.entries.values().filter_map(deadline).min()
    }

    fn entry(&mut self, name: &str) -> Result<&mut Entry, Refusal> {
        self.entries.get_mut(name).ok_or_else(|| not_found(name))
    }
}

impl Entry {
    fn pid(&self) -> Option<u32> {
        match &self.life {
            Life::Running(run) | Life::Stopping { run, .. } => Some(run.pid),
            Life::Waiting { .. } | Life::Finished => None,
        }
    }

    /// After a run of this length: waits for the next start, or is finished.
    fn schedule_restart(&mut self, ran_for: Duration, now: Now) -> Option<Duration> {
        let Restart::Always { backoff_ms_min, backoff_ms_max } = self.spec.restart else {
            self.life = Life::Finished;
            return None;
        };
        let (least, most) = (Duration::from_millis(backoff_ms_min), Duration::from_millis(backoff_ms_max));
        let is_fresh = self.delay.is_zero() || ran_for > most;
        self.delay = if is_fresh { least } else { self.delay.saturating_mul(2).min(most).max(least) };
        self.restarts = self.restarts.saturating_add(1);
        self.life = Life::Waiting { at: now.monotonic.saturating_add(self.delay) };
        Some(self.delay)
    }

    fn status(&self, name: &str) -> ProcessStatus {
        let (state, run) = match &self.life {
            Life::Waiting { .. } => (ProcessState::Waiting, None),
            Life::Running(run) => (ProcessState::Running, Some(run)),
            Life::Stopping { run, .. } => (ProcessState::Stopping, Some(run)),
            Life::Finished => (ProcessState::Finished, None),
        };
        ProcessStatus {
            name: name.to_owned(),
            revision: cut(&self.spec.revision),
            state,
            pid: run.map(|run| run.pid),
            started_at_ms: run.map(|run| run.started.unix_ms),
            restarts: self.restarts,
            start_error: self.start_error.clone(),
            history: self.history.iter().copied().collect(),
        }
    }
}

/// A refusal.
pub fn refuse(kind: RefusalKind, message: &str) -> Refusal {
    Refusal { kind, message: cut(message) }
}

fn not_found(name: &str) -> Refusal {
    refuse(RefusalKind::NotFound, &format!("there is no process `{name}`"))
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
