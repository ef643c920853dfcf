//! Container machines: the real init, machined and services of a whole machine in namespaces on this kernel.

mod child;
pub mod disk;
mod groups;
mod launch;
mod tree;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::forward::Forward;
use crate::lab::{Lab, LabSpec};
use crate::launcher::{Launcher, Lifetime};
use crate::qemu::storage::Recording;
use crate::registry::{Entry, Kind, Registry};
use crate::status::{Phase, Status};
use crate::wait::{tail, wait_for};

pub(crate) use launch::launcher_main;

/// File of a machine's folder that its launcher reads.
const SPEC_FILE: &str = "machine.json";
/// Interface names have 15 letters, and the host's end of a machine's cable is `m-NAME`.
const NAME_MAX: usize = 13;

/// A container machine to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Name: lower-case letters, digits and dashes, at most 13.
    pub name: String,
    /// Folder with the root, the same for all machines; it is mounted read-only.
    pub rootfs: PathBuf,
    /// Folder of this machine: `var`, `state`, `console.log`. It outlives reboots and is never deleted here.
    pub folder: PathBuf,
    /// The network that it is plugged into.
    pub lab: LabSpec,
    /// Its address there.
    pub address: Ipv4Addr,
    /// Environment of process 1. `CORTEN_CMDLINE` stands for the kernel command line of another machine: with it a
    /// machine may be told of its manager (`siderolink.api=…`).
    pub env: BTreeMap<String, String>,
    /// Ports of the host's loopback that lead to it.
    pub forwards: Vec<Forward>,
    /// Further folders or files of the host that it sees.
    pub binds: Vec<Bind>,
    /// A file that is its disk. Without one it has folders of the host where another machine has volumes.
    pub disk: Option<PathBuf>,
    /// How everything that it writes to its disk is logged.
    pub record: Option<Recording>,
    /// How long it may live.
    pub lifetime: Lifetime,
    /// Where it is registered.
    pub registry: Option<PathBuf>,
    /// Program that calls [`crate::dispatch`]; this program if absent.
    pub launcher: Option<PathBuf>,
}

/// A folder or file of the host in the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Path on the host.
    pub host: PathBuf,
    /// Absolute path in the machine; it must exist in the root or on what is mounted there.
    pub machine: PathBuf,
    /// Whether the machine may write.
    pub read_only: bool,
}

impl ContainerSpec {
    /// A machine with nothing special, owned by this program.
    pub fn new(
        name: impl Into<String>,
        rootfs: impl Into<PathBuf>,
        folder: impl Into<PathBuf>,
        lab: LabSpec,
    ) -> Self {
        let address = lab.address(2);
        Self {
            name: name.into(),
            rootfs: rootfs.into(),
            folder: folder.into(),
            lab,
            address,
            env: BTreeMap::new(),
            forwards: Vec::new(),
            binds: Vec::new(),
            disk: None,
            record: None,
            lifetime: Lifetime::Owned,
            registry: None,
            launcher: None,
        }
    }

    fn validate(&self) -> Result<()> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = (1..=NAME_MAX).contains(&self.name.len()) && self.name.bytes().all(is_plain);
        ensure!(
            is_name,
            "`{}` is not a name of at most {NAME_MAX} lower-case letters, digits and dashes",
            self.name
        );
        for path in ["sbin/init", "proc", "sys", "dev", "run", "tmp", "var", "system"] {
            let path = self.rootfs.join(path);
            ensure!(path.symlink_metadata().is_ok(), "the root has no {}", path.display());
        }
        for forward in &self.forwards {
            let port = forward.host_port;
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .with_context(|| format!("port {port} of 127.0.0.1 is taken"))?;
        }
        Ok(())
    }
}

/// A running container machine. Dropping an owned one ends it at once.
#[derive(Debug)]
pub struct ContainerMachine {
    spec: ContainerSpec,
    launcher: Launcher,
}

impl ContainerMachine {
    /// Launches a machine and returns when its init runs.
    pub fn start(spec: ContainerSpec) -> Result<Self> {
        spec.validate()?;
        let mut spec = spec;
        spec.rootfs = absolute(&spec.rootfs)?;
        std::fs::create_dir_all(&spec.folder)
            .with_context(|| format!("cannot make {}", spec.folder.display()))?;
        spec.folder = absolute(&spec.folder)?;
        let file = spec.folder.join(SPEC_FILE);
        std::fs::write(&file, serde_json::to_vec_pretty(&spec)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        let launcher = Launcher::start(spec.launcher.as_deref(), "container", &spec.folder)?;
        let machine = Self { spec, launcher };
        if let Some(folder) = &machine.spec.registry {
            Registry::new(folder).add(&machine.entry())?;
        }
        Ok(machine)
    }

    /// Name of the machine.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Address in the lab.
    pub fn address(&self) -> Ipv4Addr {
        self.spec.address
    }

    /// The machine's specification, to start it again.
    pub fn spec(&self) -> &ContainerSpec {
        &self.spec
    }

    /// The network that it is in.
    pub fn lab(&self) -> Result<Lab> {
        Lab::open(&self.spec.lab)
    }

    /// What the launcher says.
    pub fn status(&self) -> Result<Status> {
        Status::read(&self.spec.folder).with_context(|| format!("`{}` has no status", self.spec.name))
    }

    /// Everything that process 1 and what it started wrote to the console, all boots in one file.
    pub fn console(&self) -> PathBuf {
        self.spec.folder.join("console.log")
    }

    /// The machine's root as the host sees it, for reading files of a running machine.
    pub fn root(&self) -> Result<PathBuf> {
        let pid = self.status()?.pid.context("the machine is not running")?;
        Ok(PathBuf::from(format!("/proc/{pid}/root")))
    }

    /// Waits until the machine has been started that often.
    pub fn wait_for_boot(&self, boots: u32, deadline: Duration) -> Result<()> {
        let what = format!("boot {boots} of {}", self.spec.name);
        wait_for(
            &what,
            deadline,
            || self.evidence(),
            || {
                let status = self.status().ok()?;
                (status.phase == Phase::Running && status.boots >= boots).then_some(())
            },
        )
    }

    /// Waits until the machine has ended by itself and gives the last status.
    pub fn wait_for_end(&self, deadline: Duration) -> Result<Status> {
        let what = format!("the end of {}", self.spec.name);
        wait_for(
            &what,
            deadline,
            || self.evidence(),
            || self.status().ok().filter(|status| matches!(status.phase, Phase::Ended | Phase::Failed)),
        )
    }

    /// Asks the machine to power off, as by its button, and takes it away after `grace` in any case.
    pub fn stop(mut self, grace: Duration) -> Result<()> {
        self.launcher.stop(grace)
    }

    /// Cuts the power: nothing in the machine gets to know. Its folder stays; start the same specification again to
    /// switch it on.
    pub fn cut_power(mut self) -> Result<()> {
        self.launcher.stop(Duration::ZERO)
    }

    /// Leaves a detached machine running.
    pub fn detach(mut self) -> Result<Entry> {
        if self.spec.lifetime != Lifetime::Detached {
            bail!("`{}` is owned by this program and ends with it", self.spec.name);
        }
        self.launcher.release()?;
        let entry = self.entry();
        std::mem::forget(self);
        Ok(entry)
    }

    /// The logs that tell what happened, for a failed test.
    pub fn evidence(&self) -> String {
        let mut text = tail(&self.spec.folder.join("launcher.log"), 20) + &tail(&self.console(), 40);
        // Of a machine that has ended only the folders of this host are left.
        let folders = self.root().map_or_else(
            |_| vec![self.spec.folder.join("var/log")],
            |root| vec![root.join("run/log"), root.join("var/log")],
        );
        for folder in folders {
            for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
                if path.extension().is_some_and(|extension| extension == "log") {
                    text += &tail(&path, 20);
                }
            }
        }
        text
    }

    fn entry(&self) -> Entry {
        Entry {
            name: self.spec.name.clone(),
            kind: Kind::Container,
            folder: self.spec.folder.clone(),
            launcher_pid: self.launcher.pid(),
            launcher_start_ticks: self.launcher.start_ticks(),
            address: Some(self.spec.address),
            forwards: self.spec.forwards.clone(),
        }
    }
}

impl Drop for ContainerMachine {
    fn drop(&mut self) {
        if let Err(error) = self.launcher.stop(Duration::ZERO) {
            eprintln!("cannot end the machine {}: {error:#}", self.spec.name);
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("cannot find {}", path.display()))
}
