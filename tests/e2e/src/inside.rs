//! Looking into a container machine from the host: its processes, its network.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use corten_harness::ContainerMachine;
use corten_sys::namespace::enter_network;
use corten_sys::{procfs, signal};

/// A process of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id on the host.
    pub pid: u32,
    /// Name, as the kernel keeps it.
    pub name: String,
    /// Arguments, joined by spaces.
    pub arguments: String,
    /// Start in ticks since boot: with the id it identifies the process for good.
    pub start_ticks: u64,
}

/// Processes in the machine's own network: its services and what shares their network, but no ordinary pods.
pub fn processes(machine: &ContainerMachine) -> Result<Vec<Process>> {
    let init = machine.status()?.pid.context("the machine does not run")?;
    let network = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net"));
    let own = network(init).context("cannot see the machine's network")?;
    let mut found = Vec::new();
    for pid in procfs::process_ids()? {
        // A process may end while we look.
        if network(pid).is_ok_and(|other| other == own)
            && let Some(process) = process(pid)
        {
            found.push(process);
        }
    }
    Ok(found)
}

fn process(pid: u32) -> Option<Process> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let name = fs::read_to_string(folder.join("comm")).ok()?.trim().to_owned();
    let arguments = fs::read(folder.join("cmdline")).ok()?;
    let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ").trim().to_owned();
    let start_ticks = procfs::process_stat(pid).ok()?.start_ticks;
    Some(Process { pid, name, arguments, start_ticks })
}

/// The machine's processes of that name.
pub fn named(machine: &ContainerMachine, name: &str) -> Result<Vec<Process>> {
    let mut found = processes(machine)?;
    found.retain(|process| process.name == name);
    Ok(found)
}

/// The only process of that name.
pub fn only(machine: &ContainerMachine, name: &str) -> Result<Process> {
    let found = named(machine, name)?;
    match <[Process; 1]>::try_from(found) {
        Ok([process]) => Ok(process),
        Err(found) => Err(anyhow!("there are {} processes named {name}", found.len())),
    }
}

/// Kills it.
pub fn kill(process: &Process) -> Result<()> {
    Ok(signal::send(process.pid, signal::number::KILL)?)
}

/// Runs work on a thread inside the machine's network; sockets opened and programs started there are inside too.
pub fn spawn_inside<T: Send + 'static>(
    machine: &ContainerMachine,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<std::thread::JoinHandle<Result<T>>> {
    let pid = machine.status()?.pid.context("the machine does not run")?;
    let network = File::open(format!("/proc/{pid}/ns/net")).context("cannot open the machine's network")?;
    Ok(std::thread::spawn(move || {
        enter_network(network)?;
        Ok(work())
    }))
}
