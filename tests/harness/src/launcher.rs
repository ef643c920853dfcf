//! What the launchers of all kinds of machines have in common: how they are started, and what they wait for.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use corten_sys::procfs;
use corten_sys::signal::{SignalFd, number};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};

use crate::registry::stop_launcher;
use crate::status::{Phase, Status};
use crate::wait::{tail, wait_for};

/// What an owner sends to a launcher that shall go on without it.
const RELEASE: &[u8] = b"r";

/// How long a machine may live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// As long as the program that started it.
    #[default]
    Owned,
    /// As long as that program, or until someone ends it once the program has left it running.
    Detached,
}

/// A running launcher, from the side of who started it.
#[derive(Debug)]
pub(crate) struct Launcher {
    child: Child,
    start_ticks: u64,
    folder: PathBuf,
}

impl Launcher {
    /// Starts `program` (or this program) in a launcher's role with a specification file, and waits until the machine
    /// runs.
    pub(crate) fn start(program: Option<&Path>, role: &str, folder: &Path) -> Result<Self> {
        const START_MAX: Duration = Duration::from_secs(30);
        Status::starting().write(folder)?;
        let program = match program {
            Some(program) => program.to_owned(),
            None => std::env::current_exe().context("cannot find this program")?,
        };
        let log = File::create(folder.join("launcher.log")).context("cannot make launcher.log")?;
        let mut command = Command::new(&program);
        command.args([crate::ROLE_ARGUMENT, role]).arg(folder);
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let start_ticks = procfs::process_stat(child.id())?.start_ticks;
        let mut launcher = Self { child, start_ticks, folder: folder.to_owned() };
        let evidence = || tail(&folder.join("launcher.log"), 20);
        let outcome =
            wait_for("the machine to be launched", START_MAX, evidence, || launcher.first_outcome())?;
        match outcome.phase {
            Phase::Failed => bail!("cannot launch the machine: {}", outcome.message),
            _ => Ok(launcher),
        }
    }

    /// The status once it says more than "starting". A launcher that died without a word has failed.
    fn first_outcome(&mut self) -> Option<Status> {
        let is_dead = self.child.try_wait().is_ok_and(|status| status.is_some());
        let status = Status::read(&self.folder).unwrap_or_else(Status::starting);
        match status.phase {
            Phase::Starting if is_dead => {
                let message = tail(&self.folder.join("launcher.log"), 20);
                Some(Status { phase: Phase::Failed, message, ..status })
            }
            Phase::Starting => None,
            _ => Some(status),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// Lets the machine outlive this program.
    pub(crate) fn release(&mut self) -> Result<()> {
        let mut owner = self.child.stdin.take().context("the machine was left running already")?;
        owner.write_all(RELEASE).context("the launcher does not listen")
    }

    /// Ends the machine in order, or at once after `grace`.
    pub(crate) fn stop(&mut self, grace: Duration) -> Result<()> {
        stop_launcher(self.child.id(), self.start_ticks, grace)?;
        self.child.wait().context("cannot wait for the launcher")?;
        Ok(())
    }
}

/// The `bound` role: becomes a program that is killed when its parent, a launcher, ends in whatever way.
pub(crate) fn bound_main(arguments: &[OsString]) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot bind the machine to its launcher")?;
    become_program(arguments)
}

/// A command that runs `program` in the `bound` role.
pub(crate) fn bound(program: &Command) -> Result<Command> {
    in_role(program, "bound", &[])
}

/// The `pinned` role: becomes a program that runs on one processor, with everything that it starts.
pub(crate) fn pinned_main(arguments: &[OsString]) -> Result<()> {
    let [processor, program @ ..] = arguments else { bail!("usage: PROCESSOR PROGRAM ARGUMENT…") };
    let number = processor.to_string_lossy().parse::<usize>().ok().filter(|number| *number < CpuSet::MAX_CPU);
    let number = number.with_context(|| format!("{} is no processor", processor.display()))?;
    let mut processors = CpuSet::new();
    processors.set(number);
    sched_setaffinity(None, &processors).with_context(|| format!("cannot stay on processor {number}"))?;
    become_program(program)
}

/// A command that runs `program` in the `bound` role, on one processor only.
pub(crate) fn bound_on(program: &Command, processor: usize) -> Result<Command> {
    bound(&in_role(program, "pinned", &[&processor.to_string()])?)
}

/// A command that runs `program` in this role, which has these arguments before it.
pub(crate) fn in_role(program: &Command, role: &str, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.args([crate::ROLE_ARGUMENT, role]).args(arguments);
    command.arg(program.get_program()).args(program.get_args());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ok(command)
}

/// Becomes a program (with a path, or found in PATH) with this environment.
pub(crate) fn become_program(arguments: &[OsString]) -> Result<()> {
    let [program, ..] = arguments else { bail!("usage: PROGRAM ARGUMENT…") };
    let path =
        find_program(Path::new(program)).with_context(|| format!("no program {}", program.display()))?;
    let c_string = |text: &OsStr| CString::new(text.as_bytes()).context("an argument contains a NUL byte");
    let arguments: Vec<CString> = arguments.iter().map(|text| c_string(text)).collect::<Result<_>>()?;
    let environment = std::env::vars_os().map(|(name, value)| {
        let mut entry = name;
        entry.push("=");
        entry.push(value);
        c_string(&entry)
    });
    let environment: Vec<CString> = environment.collect::<Result<_>>()?;
    let error = corten_sys::process::exec(&c_string(path.as_os_str())?, &arguments, &environment);
    Err(error).with_context(|| format!("cannot execute {}", path.display()))
}

fn find_program(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return Some(program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// What wakes a launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The machine's process ended.
    Ended,
    /// Someone asked the machine to power off.
    Stop,
    /// Someone wants the machine gone at once, or its owner is gone and nobody is there to be patient for.
    Cut,
    /// The deadline has passed.
    Deadline,
}

/// A launcher's ears.
#[derive(Debug)]
pub(crate) struct Ears {
    signals: SignalFd,
    owner: Option<io::Stdin>,
}

impl Ears {
    /// Listens for signals and for the owner: its end, or that it leaves the machine running. Also leaves the terminal,
    /// so that Ctrl-C is the owner's.
    pub(crate) fn open() -> Result<Self> {
        let signals = SignalFd::open(&[number::TERMINATE, number::INTERRUPT, number::HANGUP])?;
        // Fails only for a process that leads a group already, which then has no owner's terminal either.
        let _ = rustix::process::setsid();
        Ok(Self { signals, owner: Some(io::stdin()) })
    }

    /// Waits until something happens.
    pub(crate) fn wait(&mut self, pidfd: BorrowedFd<'_>, deadline: Option<Instant>) -> Result<Wake> {
        loop {
            let mut polled = vec![PollFd::new(&pidfd, PollFlags::IN)];
            let signals = self.signals.as_fd();
            polled.push(PollFd::new(&signals, PollFlags::IN));
            let owner = self.owner.as_ref().map(AsFd::as_fd);
            polled.extend(owner.as_ref().map(|owner| PollFd::new(owner, PollFlags::IN)));
            let timeout =
                deadline.map(|deadline| timespec(deadline.saturating_duration_since(Instant::now())));
            match poll(&mut polled, timeout.as_ref()) {
                Ok(0) => return Ok(Wake::Deadline),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot poll"),
            }
            let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
            match ready.as_slice() {
                [true, ..] => return Ok(Wake::Ended),
                [_, true, ..] => match self.signals.next_signal()? {
                    Some(number::HANGUP) => return Ok(Wake::Cut),
                    Some(_) => return Ok(Wake::Stop),
                    None => {}
                },
                [_, _, true] if self.owner_is_gone() => return Ok(Wake::Cut),
                [_, _, true] => self.owner = None,
                _ => {}
            }
        }
    }

    /// Whether the owner ended without a word.
    fn owner_is_gone(&self) -> bool {
        let mut word = [0; RELEASE.len()];
        let Some(owner) = &self.owner else { return false };
        !rustix::io::read(owner, &mut word).is_ok_and(|length| word.get(..length) == Some(RELEASE))
    }

    /// Waits for the end of a process that is being killed, whatever else happens.
    pub(crate) fn wait_for_end(&mut self, pidfd: BorrowedFd<'_>) -> Result<()> {
        self.owner = None;
        while self.wait(pidfd, None)? != Wake::Ended {}
        Ok(())
    }
}

fn timespec(duration: Duration) -> Timespec {
    let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: duration.subsec_nanos().into() }
}
