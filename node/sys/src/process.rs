//! Starting processes with everything that distinguishes them, waiting for them, and forking helpers.
//!
//! A child between fork and exec runs only system calls on memory that was prepared before the fork (`child.rs`), so
//! starting is sound from programs with threads too. What fails in the child comes back through a pipe as the step
//! and the kernel's error number.

pub mod capability;
pub mod seccomp;

mod child;
mod fork;
mod wait;

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::namespace::Namespaces;

pub use fork::{Forked, fork_single_threaded};
pub use wait::{Exited, WaitStatus, next_exited, reap, wait_for};

/// A process to start; every field is set by its owner, nothing is inherited but what is named here.
#[derive(Debug)]
pub struct Launch {
    /// Path of the program.
    pub program: CString,
    /// Arguments, the program's name first.
    pub arguments: Vec<CString>,
    /// Environment as `NAME=value`.
    pub environment: Vec<CString>,
    /// Working directory.
    pub working_dir: CString,
    /// Standard input, output and error.
    pub stdio: [OwnedFd; 3],
    /// Further descriptors with their numbers in the process, 3 or above.
    pub descriptors: Vec<(OwnedFd, i32)>,
    /// Open `cgroup.procs` files of the groups to be in.
    pub cgroups: Vec<File>,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Capabilities, or `None` to keep the parent's.
    pub capabilities: Option<capability::Set>,
    /// Whether the capabilities are also ambient, so that an unprivileged user keeps them over exec.
    pub ambient: bool,
    /// Resource limits as `(RLIMIT_*, soft, hard)`.
    pub limits: Vec<(u32, u64, u64)>,
    /// Forbid gaining privileges by exec.
    pub no_new_privs: bool,
    /// `oom_score_adj`; a refusal is not an error.
    pub oom_score_adj: Option<i32>,
    /// Fresh namespaces; [`Namespaces::PID`] is not possible here.
    pub namespaces: Namespaces,
    /// All mounts read-only; needs [`Namespaces::MOUNT`].
    pub read_only_mounts: bool,
    /// System call filter.
    pub seccomp: Option<seccomp::Filter>,
    /// Standard input becomes the controlling terminal.
    pub terminal: bool,
}

/// A started process.
#[derive(Debug)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Descriptor that stands for exactly this process and becomes readable when it ends.
    pub pidfd: OwnedFd,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} for `{program}`")]
pub struct LaunchError {
    step: Step,
    program: String,
    #[source]
    source: io::Error,
}

impl LaunchError {
    /// The step that failed.
    pub fn step(&self) -> Step {
        self.step
    }
}

/// The steps of starting a process, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Before the child exists.
    Fork = 0,
    /// Become a session leader.
    Session,
    /// Enter the control groups.
    Cgroup,
    /// Make namespaces.
    Namespace,
    /// Make mounts read-only.
    ReadOnlyMounts,
    /// Arrange descriptors.
    Descriptors,
    /// Set resource limits.
    Limits,
    /// Take the terminal.
    Terminal,
    /// Change the working directory.
    WorkingDir,
    /// Reduce the capability bounding set.
    BoundingSet,
    /// Change groups and user.
    Identity,
    /// Set capabilities.
    Capabilities,
    /// Set no-new-privs.
    NoNewPrivs,
    /// Install the system call filter.
    Seccomp,
    /// Execute the program.
    Exec,
}

impl Step {
    const ALL: [Self; 15] = [
        Self::Fork,
        Self::Session,
        Self::Cgroup,
        Self::Namespace,
        Self::ReadOnlyMounts,
        Self::Descriptors,
        Self::Limits,
        Self::Terminal,
        Self::WorkingDir,
        Self::BoundingSet,
        Self::Identity,
        Self::Capabilities,
        Self::NoNewPrivs,
        Self::Seccomp,
        Self::Exec,
    ];
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fork => "make a process",
            Self::Session => "start a session",
            Self::Cgroup => "enter the control group",
            Self::Namespace => "make namespaces",
            Self::ReadOnlyMounts => "make mounts read-only",
            Self::Limits => "set resource limits",
            Self::Descriptors => "arrange descriptors",
            Self::Terminal => "take the terminal",
            Self::WorkingDir => "change the working directory",
            Self::BoundingSet => "reduce the bounding set",
            Self::Identity => "change user and groups",
            Self::Capabilities => "set capabilities",
            Self::NoNewPrivs => "forbid new privileges",
            Self::Seccomp => "install the system call filter",
            Self::Exec => "execute the program",
        })
    }
}

impl Launch {
    /// Starts the process and returns once its program runs.
    pub fn start(self) -> Result<Process, LaunchError> {
        let (reader, writer) = io::pipe().map_err(|source| self.error(Step::Fork, source))?;
        // Out of the way of the numbers that the child gives to its descriptors.
        let writer = rustix::io::fcntl_dupfd_cloexec(writer, child::SCRATCH_FD_MIN)
            .map_err(|errno| self.error(Step::Fork, errno.into()))?;
        let prepared = child::Prepared::new(&self, writer.as_raw_fd());
        let process = child::fork_and_exec(&prepared).map_err(|source| self.error(Step::Fork, source))?;
        drop(writer);
        match child::read_failure(reader) {
            Ok(None) => Ok(process),
            Ok(Some((step, errno))) => {
                // The child is about to end or has; whoever reaps sees nothing of it.
                let _ = reap(process.pid);
                Err(self.error(step, io::Error::from_raw_os_error(errno)))
            }
            Err(source) => Err(self.error(Step::Fork, source)),
        }
    }

    fn error(&self, step: Step, source: io::Error) -> LaunchError {
        LaunchError { step, program: self.program.to_string_lossy().into_owned(), source }
    }
}

/// Number of the resource limit with this lower-case name without prefix.
pub fn limit_number(name: &str) -> Option<u32> {
    Some(match name {
        "cpu" => libc::RLIMIT_CPU,
        "fsize" => libc::RLIMIT_FSIZE,
        "data" => libc::RLIMIT_DATA,
        "stack" => libc::RLIMIT_STACK,
        "core" => libc::RLIMIT_CORE,
        "rss" => libc::RLIMIT_RSS,
        "nproc" => libc::RLIMIT_NPROC,
        "nofile" => libc::RLIMIT_NOFILE,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "as" => libc::RLIMIT_AS,
        "locks" => libc::RLIMIT_LOCKS,
        "sigpending" => libc::RLIMIT_SIGPENDING,
        "msgqueue" => libc::RLIMIT_MSGQUEUE,
        "nice" => libc::RLIMIT_NICE,
        "rtprio" => libc::RLIMIT_RTPRIO,
        "rttime" => libc::RLIMIT_RTTIME,
        _ => return None,
    })
}

/// A wish for a limit `(soft, hard)` cut to what this process may give: without `CAP_SYS_RESOURCE` no more than its own.
pub fn grantable_limit(resource: u32, wanted: (u64, u64)) -> crate::Result<(u64, u64)> {
    let raising = capability::Set::from_names(["CAP_SYS_RESOURCE"]).unwrap_or_default();
    if capability::Set::effective()?.contains(raising) {
        return Ok(wanted);
    }
    let mut own = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives through the call.
    crate::ffi::check(unsafe { libc::getrlimit(resource, &raw mut own) })
        .map_err(crate::error::failed("read", "a resource limit"))?;
    let hard = wanted.1.min(own.rlim_max);
    Ok((wanted.0.min(hard), hard))
}

/// Raises this process's limit of open files as far as the host allows, up to `wanted`.
pub fn raise_open_files(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let full = Rlimit { current: Some(wanted), maximum: Some(wanted) };
    if setrlimit(Resource::Nofile, full).is_ok() {
        return wanted;
    }
    let now = getrlimit(Resource::Nofile);
    let reachable = now.maximum.unwrap_or(wanted).min(wanted);
    match setrlimit(Resource::Nofile, Rlimit { current: Some(reachable), maximum: now.maximum }) {
        Ok(()) => reachable,
        Err(_) => now.current.unwrap_or(wanted),
    }
}

/// Replaces this process by a program. Returns only on failure. Signals are back to their defaults.
pub fn exec(program: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    child::exec_now(program, arguments, environment)
}

#[cfg(test)]
mod tests;
