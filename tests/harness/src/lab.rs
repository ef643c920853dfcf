//! A lab: a network namespace with a bridge, in which container machines see each other and nothing else.
//!
//! A lab is made by the launcher of its first machine and removed by that of its last. Who is in it stands in a folder,
//! one file a launcher, under a lock; a launcher that died without leaving is recognized as dead.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use corten_sys::namespace::{NamedNetwork, enter_network};
use corten_sys::network::Links;
use corten_sys::procfs;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::launcher::become_program;

const BRIDGE: &str = "br0";
const FOLDER: &str = "/run/corten-labs";

/// A lab's name and addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabSpec {
    /// Name; the namespace is `corten-NAME` for `ip netns`.
    pub name: String,
    /// Address of the bridge, the machines' gateway.
    pub gateway: Ipv4Addr,
    /// Length of the network prefix.
    pub prefix_length: u8,
}

impl LabSpec {
    /// A lab with the network 10.5.0.0/24.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), gateway: Ipv4Addr::new(10, 5, 0, 1), prefix_length: 24 }
    }

    /// The address of the machine with that number, from 2 on.
    pub fn address(&self, number: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.gateway.octets();
        Ipv4Addr::new(a, b, c, number)
    }

    /// Name of the network namespace.
    pub fn namespace(&self) -> String {
        format!("corten-{}", self.name)
    }
}

/// A lab that has machines in it, as seen by tests and clients.
#[derive(Debug)]
pub struct Lab {
    network: NamedNetwork,
    name: String,
}

impl Lab {
    /// Opens the lab of that specification; it exists while a machine is in it.
    pub fn open(spec: &LabSpec) -> Result<Self> {
        let name = spec.namespace();
        let network = NamedNetwork::open(&name).context("the lab has no machine in it")?;
        Ok(Self { network, name })
    }

    /// Runs `work` on a thread inside the lab's network, so that sockets that it opens are there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        Ok(self.network.run(work)?)
    }

    /// A command that runs inside the lab's network. `launcher` is a program that calls [`crate::dispatch`].
    pub fn command(&self, launcher: &Path, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(launcher);
        command.args([crate::ROLE_ARGUMENT, "enter", &self.name]).arg(program);
        command
    }
}

/// The `enter` role: moves into a network namespace and becomes a program.
pub(crate) fn enter_main(arguments: &[OsString]) -> Result<()> {
    let [network, program @ ..] = arguments else { bail!("usage: NETWORK PROGRAM ARGUMENT…") };
    enter_network(NamedNetwork::open(&network.to_string_lossy())?)?;
    become_program(program)
}

/// A launcher's place in a lab. This process is inside the lab's network from [`Membership::join`] on.
#[derive(Debug)]
pub(crate) struct Membership {
    spec: LabSpec,
    file: PathBuf,
}

impl Membership {
    /// Moves this (single-threaded) process into the lab, which is made if need be.
    pub(crate) fn join(spec: &LabSpec, machine: &str) -> Result<Self> {
        let folder = Path::new(FOLDER).join(&spec.name);
        fs::create_dir_all(FOLDER).with_context(|| format!("cannot make {FOLDER}"))?;
        let _lock = lock()?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let pid = std::process::id();
        let file = folder.join(machine);
        let start_ticks = procfs::process_stat(pid)?.start_ticks;
        fs::write(&file, format!("{pid} {start_ticks}")).context("cannot note this machine in the lab")?;
        NamedNetwork::enter_or_create(&spec.namespace())?;
        let mut links = Links::open()?;
        if links.index(BRIDGE)?.is_none() {
            links.add_bridge(BRIDGE)?;
        }
        links.add_address(BRIDGE, spec.gateway, spec.prefix_length)?;
        links.set_up(BRIDGE)?;
        links.set_up("lo")?;
        Ok(Self { spec: spec.clone(), file })
    }

    /// Plugs the host's end of a machine's cable into the bridge.
    pub(crate) fn plug(&self, link: &str) -> Result<()> {
        let mut links = Links::open()?;
        links.set_bridge(link, BRIDGE)?;
        links.set_up(link)?;
        Ok(())
    }

    /// Leaves; the last one removes the lab.
    pub(crate) fn leave(self) -> Result<()> {
        let _lock = lock()?;
        fs::remove_file(&self.file).context("cannot take this machine out of the lab")?;
        let folder = Path::new(FOLDER).join(&self.spec.name);
        let members = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        if members.flatten().any(|member| is_alive(&member.path())) {
            return Ok(());
        }
        NamedNetwork::open(&self.spec.namespace())?.delete()?;
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
    }
}

fn is_alive(member: &Path) -> bool {
    let read = || {
        let text = fs::read_to_string(member).ok()?;
        let (pid, start_ticks) = text.split_once(' ')?;
        Some(procfs::is_same_process(pid.parse().ok()?, start_ticks.parse().ok()?))
    };
    read().unwrap_or(false)
}

/// One lock for all labs, held until the folder is closed.
fn lock() -> Result<File> {
    let folder = File::open(FOLDER).with_context(|| format!("cannot open {FOLDER}"))?;
    flock(&folder, FlockOperation::LockExclusive).with_context(|| format!("cannot lock {FOLDER}"))?;
    Ok(folder)
}
