//! The launcher of a manager: moves into the lab if there is one, holds the manager and ends it with its owner.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use corten_sys::signal::{number, send_to_pidfd};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{CONFIG_FILE, FleetSpec, LOG_FILE, READY_FILE, SPEC_FILE};
use crate::forward;
use crate::lab::Membership;
use crate::launcher::{Ears, Wake, bound, bound_on};
use crate::registry::Registry;
use crate::status::{Phase, Status};

/// A manager that was asked to end may take this long.
const STOP_MAX: Duration = Duration::from_secs(120);

/// The launcher role: the only argument is the manager's folder.
pub(crate) fn launcher_main(arguments: &[OsString]) -> Result<()> {
    let [folder] = arguments else { bail!("usage: FOLDER") };
    let folder = Path::new(folder);
    let text = fs::read(folder.join(SPEC_FILE)).context("cannot read the manager's specification")?;
    let spec: FleetSpec = serde_json::from_slice(&text).context("cannot understand the specification")?;
    let mut status = Status::starting();
    let result = launch(&spec, &mut status);
    if let Some(registry) = &spec.registry {
        // Whoever ended the manager may have removed it first.
        let _ = fs::remove_file(Registry::new(registry).path(&spec.name));
    }
    status.pid = None;
    match &result {
        Ok(message) => (status.phase, status.message) = (Phase::Ended, message.clone()),
        Err(error) => (status.phase, status.message) = (Phase::Failed, format!("{error:#}")),
    }
    status.write(folder)?;
    result.map(drop)
}

/// Makes what is around the manager, runs it, and takes everything away again. The result tells how it ended.
fn launch(spec: &FleetSpec, status: &mut Status) -> Result<String> {
    // Ctrl-C is the owner's, also before we listen to signals.
    let _ = rustix::process::setsid();
    let Some(lab) = &spec.lab else { return run(spec, status) };
    // Started before we move into the lab, because it listens on the host.
    let mut forwarder = forward::start(&lab.namespace(), Ipv4Addr::LOCALHOST, &spec.forwards())?;
    let membership = Membership::join(lab, &spec.name)?;
    let result = run(spec, status);
    if let Some(forwarder) = &mut forwarder {
        drop(forwarder.stdin.take());
        forwarder.wait().context("cannot wait for the port forwarder")?;
    }
    let left = membership.leave();
    let ended = result?;
    left?;
    Ok(ended)
}

/// Runs the manager to its end.
fn run(spec: &FleetSpec, status: &mut Status) -> Result<String> {
    let mut child = spawn(spec)?;
    // Only now: signals that we listen to are blocked in what is started after that, and the manager must get its own.
    let mut ears = Ears::open()?;
    (status.phase, status.boots, status.pid) = (Phase::Running, status.boots + 1, Some(child.id()));
    let result = status.write(&spec.folder).and_then(|()| hold(&child, &mut ears));
    // It may be gone already; then there is only its exit to take.
    let _ = child.kill();
    let end = child.wait().context("cannot wait for the manager")?;
    result.map(|()| format!("the manager ended with {end}"))
}

fn spawn(spec: &FleetSpec) -> Result<Child> {
    let mut command = Command::new(&spec.program);
    command.args(["serve", "--config-path"]).arg(spec.folder.join(CONFIG_FILE));
    command.arg("--ready-file").arg(spec.folder.join(READY_FILE)).envs(&spec.environment);
    let mut command = match spec.processor {
        Some(processor) => bound_on(&command, processor)?,
        None => bound(&command)?,
    };
    let log = File::options().append(true).create(true).open(spec.folder.join(LOG_FILE));
    let log = log.context("cannot open the manager's log")?;
    let errors = log.try_clone().context("cannot open the manager's log twice")?;
    command.current_dir(&spec.folder).stdin(Stdio::null()).stdout(log).stderr(errors);
    command.spawn().with_context(|| format!("cannot start {}", spec.program.display()))
}

/// Returns when the manager ended or has to be killed.
fn hold(child: &Child, ears: &mut Ears) -> Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.context("the manager has no process id")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("cannot watch the manager")?;
    let mut deadline = None;
    loop {
        match ears.wait(pidfd.as_fd(), deadline)? {
            Wake::Stop => {
                deadline.get_or_insert(Instant::now() + STOP_MAX);
                // It may have ended in this very moment; the next look tells.
                let _ = send_to_pidfd(pidfd.as_fd(), number::TERMINATE);
            }
            Wake::Ended | Wake::Cut | Wake::Deadline => return Ok(()),
        }
    }
}
