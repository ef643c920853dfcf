//! Waiting for children without losing any.
//!
//! PID 1 looks first ([`next_exited`]) and reaps afterwards ([`reap`]): between the two the process id still belongs to
//! the dead child, so what is known about it can be looked up, and a signal to it goes nowhere else.

use std::io;
use std::mem::MaybeUninit;

use crate::error::failed;
use crate::ffi::check;
use crate::{Error, Result};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStatus {
    /// By exit with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// A child that ended and has not been reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exited {
    /// Its process id, still taken.
    pub pid: u32,
    /// How it ended.
    pub status: WaitStatus,
}

/// A child of this process that has ended, without reaping it. `None` if there is no such child now; whether there are
/// other children makes no difference.
pub fn next_exited() -> Result<Option<Exited>> {
    match waitid(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) {
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        result => result.map_err(failed("look for", "ended children")),
    }
}

/// Reaps an ended child, waiting for its end if need be.
pub fn reap(pid: u32) -> Result<WaitStatus> {
    wait(pid, libc::WEXITED)?
        .map(|exited| exited.status)
        .ok_or_else(|| Error::new("reap", format!("process {pid}"), io::ErrorKind::WouldBlock))
}

/// Reaps the child if it has ended.
pub fn wait_for(pid: u32) -> Result<Option<WaitStatus>> {
    Ok(wait(pid, libc::WEXITED | libc::WNOHANG)?.map(|exited| exited.status))
}

fn wait(pid: u32, options: i32) -> Result<Option<Exited>> {
    loop {
        match waitid(libc::P_PID, pid, options) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map_err(failed("reap", format_args!("process {pid}"))),
        }
    }
}

fn waitid(kind: libc::idtype_t, id: u32, options: i32) -> io::Result<Option<Exited>> {
    // SAFETY: siginfo_t is a plain C structure for which all zeros is valid.
    let mut info: libc::siginfo_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the structure lives through the call.
    check(unsafe { libc::waitid(kind, id, &raw mut info, options) })?;
    // SAFETY: after waitid the kernel has filled the fields for SIGCHLD, or left the zeros.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let Some(pid) = u32::try_from(pid).ok().filter(|pid| *pid != 0) else { return Ok(None) };
    let status = match info.si_code {
        libc::CLD_EXITED => WaitStatus::Code(status),
        _ => WaitStatus::Signal(status),
    };
    Ok(Some(Exited { pid, status }))
}
