//! The launcher of a QEMU machine: holds QEMU and ends it with its owner.

use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use corten_sys::network::Links;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::command::arguments;
use super::{Firmware, LAUNCHER_SOCKET, QMP_SOCKET, QemuSpec, Qmp, SPEC_FILE};
use crate::forward::{self, Forward};
use crate::lab::Membership;
use crate::launcher::{Ears, Wake, bound};
use crate::registry::Registry;
use crate::status::{Phase, Status};
use crate::wait::wait_for;

const POWER_OFF_MAX: Duration = Duration::from_secs(600);
const SOCKETS_MAX: Duration = Duration::from_secs(20);

/// The launcher role: the only argument is the machine's folder.
pub(crate) fn launcher_main(arguments: &[OsString]) -> Result<()> {
    let [folder] = arguments else { bail!("usage: FOLDER") };
    let folder = Path::new(folder);
    let text = fs::read(folder.join(SPEC_FILE)).context("cannot read the machine's specification")?;
    let spec: QemuSpec = serde_json::from_slice(&text).context("cannot understand the specification")?;
    let mut status = Status::starting();
    let result = launch(&spec, &mut status);
    if let Some(registry) = &spec.registry {
        // Whoever ended the machine may have removed it first.
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

/// Makes what is outside of the machine, runs it, and takes everything away again. The result tells how it ended.
fn launch(spec: &QemuSpec, status: &mut Status) -> Result<String> {
    let mut ears = Ears::open()?;
    let Some(lab) = &spec.lab else { return run(spec, None, &mut ears, status) };
    // The forwarder is started before we move into the lab, because it listens here.
    let (address, ports) = forwarded(spec);
    let mut forwarder = forward::start(&lab.namespace(), address, &ports)?;
    let membership = Membership::join(lab, &spec.name)?;
    let result = run(spec, Some(&membership), &mut ears, status);
    if let Some(forwarder) = &mut forwarder {
        drop(forwarder.stdin.take());
        forwarder.wait().context("cannot wait for the port forwarder")?;
    }
    let left = membership.leave();
    let ended = result?;
    left?;
    Ok(ended)
}

/// Where in the lab the forwarded ports are: at the machine itself, or at QEMU, on the lab's loopback.
fn forwarded(spec: &QemuSpec) -> (Ipv4Addr, Vec<Forward>) {
    let same = |forward: &Forward| Forward { machine_port: forward.host_port, ..*forward };
    match spec.address {
        Some(address) => (address, spec.forwards.clone()),
        None => (Ipv4Addr::LOCALHOST, spec.forwards.iter().map(same).collect()),
    }
}

/// Runs QEMU to its end.
fn run(
    spec: &QemuSpec,
    membership: Option<&Membership>,
    ears: &mut Ears,
    status: &mut Status,
) -> Result<String> {
    let variables = spec.folder.join("variables.fd");
    if let Firmware::Uefi { variables: template, .. } = &spec.firmware
        && !variables.exists()
    {
        fs::copy(template, &variables).context("cannot copy the firmware's variables")?;
    }
    for socket in [QMP_SOCKET, LAUNCHER_SOCKET] {
        // Of a run before, if there was one.
        let _ = fs::remove_file(spec.folder.join(socket));
    }
    let mut command = spec.program.command();
    let mut child = bound(command.args(arguments(spec, &variables)))?
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start QEMU")?;
    let result = wait_for_sockets(spec, &mut child).and_then(|()| plug_in(spec, membership)).and_then(|()| {
        (status.phase, status.boots, status.pid) = (Phase::Running, 1, Some(child.id()));
        status.write(&spec.folder)?;
        hold(spec, &child, ears)
    });
    // It may be gone already; then there is only its exit to take.
    let _ = child.kill();
    let end = child.wait().context("cannot wait for QEMU")?;
    result.map(|()| format!("QEMU ended with {end}"))
}

fn wait_for_sockets(spec: &QemuSpec, child: &mut Child) -> Result<()> {
    let ready = wait_for("QEMU's sockets", SOCKETS_MAX, String::new, || {
        let is_over = child.try_wait().map_or(true, |status| status.is_some());
        let is_ready = spec.folder.join(QMP_SOCKET).exists() && spec.folder.join(LAUNCHER_SOCKET).exists();
        (is_over || is_ready).then_some(!is_over)
    })?;
    anyhow::ensure!(ready, "QEMU ended at once; see launcher.log");
    Ok(())
}

/// Plugs the machine into the lab's bridge, once QEMU has made its end of the cable.
fn plug_in(spec: &QemuSpec, membership: Option<&Membership>) -> Result<()> {
    let Some(membership) = membership.filter(|_| spec.address.is_some()) else { return Ok(()) };
    let link = spec.link();
    let mut links = Links::open()?;
    let is_there = || links.index(&link).is_ok_and(|index| index.is_some()).then_some(());
    wait_for("QEMU's end of the cable", SOCKETS_MAX, String::new, is_there)?;
    membership.plug(&link)
}

/// Returns when QEMU ended or has to be killed.
fn hold(spec: &QemuSpec, child: &Child, ears: &mut Ears) -> Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("QEMU has no process id")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("cannot watch QEMU")?;
    let mut deadline = None;
    loop {
        match ears.wait(pidfd.as_fd(), deadline)? {
            Wake::Stop => {
                deadline.get_or_insert(Instant::now() + POWER_OFF_MAX);
                Qmp::connect(&spec.folder.join(LAUNCHER_SOCKET))?.press_power_button()?;
            }
            Wake::Ended | Wake::Cut | Wake::Deadline => return Ok(()),
        }
    }
}
