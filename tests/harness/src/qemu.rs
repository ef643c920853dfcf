//! QEMU machines: an emulated computer with firmware and a disk, for what a shared kernel cannot show.

mod command;
mod launch;
mod program;
mod qmp;
pub mod storage;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::forward::Forward;
use crate::lab::LabSpec;
use crate::launcher::{Launcher, Lifetime};
use crate::preflight;
use crate::registry::{Entry, Kind, Registry};
use crate::status::{Phase, Status};
use crate::wait::{tail, wait_for};

pub(crate) use launch::launcher_main;
pub use program::Program;
pub use qmp::Qmp;

/// File of a machine's folder that its launcher reads.
const SPEC_FILE: &str = "machine.json";
const CONSOLE: &str = "console.log";
/// Longest name of a link, from linux/if.h.
const LINK_NAME_MAX: usize = 15;
/// For whoever tests the machine.
const QMP_SOCKET: &str = "qmp.sock";
/// For the launcher, because a QMP socket serves one client at a time.
const LAUNCHER_SOCKET: &str = "launcher.sock";

/// A QEMU machine to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QemuSpec {
    /// Name.
    pub name: String,
    /// QEMU itself.
    pub program: Program,
    /// Folder of this machine: console, sockets, firmware variables.
    pub folder: PathBuf,
    /// Raw disk images, written to in place.
    pub disks: Vec<PathBuf>,
    /// An image in the CD drive.
    pub cdrom: Option<PathBuf>,
    /// What starts the machine.
    pub firmware: Firmware,
    /// Memory.
    pub memory_mib: u32,
    /// CPUs.
    pub cpus: u32,
    /// Whether KVM is used; only after [`Program::probe_kvm`] said so.
    pub kvm: bool,
    /// Whether a reboot of the guest ends QEMU, as for tests in which a reboot is a failure.
    pub ends_on_reboot: bool,
    /// Ports of the host's loopback that lead to it.
    pub forwards: Vec<Forward>,
    /// The network that it is on: what is in the lab is behind its gateway, 10.0.2.2. Without a lab it is alone, which
    /// needs no privilege.
    pub lab: Option<LabSpec>,
    /// Its address in the lab, if it is plugged into the lab's bridge as container machines are, instead of being
    /// behind a network of QEMU's own. Nobody there gives it this address: its kernel arguments must say it.
    pub address: Option<Ipv4Addr>,
    /// Further arguments for QEMU.
    pub extra: Vec<String>,
    /// How long it may live.
    pub lifetime: Lifetime,
    /// Where it is registered.
    pub registry: Option<PathBuf>,
    /// Program that calls [`crate::dispatch`]; this program if absent.
    pub launcher: Option<PathBuf>,
}

/// What starts a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Firmware {
    /// UEFI: code, and a template of the variables that is copied once into the machine's folder.
    Uefi {
        /// The firmware's code.
        code: PathBuf,
        /// The template.
        variables: PathBuf,
    },
    /// QEMU loads the kernel itself.
    Kernel {
        /// The kernel.
        kernel: PathBuf,
        /// The initramfs.
        initrd: PathBuf,
        /// The command line.
        append: String,
    },
}

impl QemuSpec {
    /// A machine with 2 CPUs, 2 GiB and nothing special, owned by this program.
    pub fn new(
        name: impl Into<String>,
        program: Program,
        folder: impl Into<PathBuf>,
        firmware: Firmware,
    ) -> Self {
        Self {
            name: name.into(),
            program,
            folder: folder.into(),
            disks: Vec::new(),
            cdrom: None,
            firmware,
            memory_mib: 2048,
            cpus: 2,
            kvm: false,
            ends_on_reboot: false,
            forwards: Vec::new(),
            lab: None,
            address: None,
            extra: Vec::new(),
            lifetime: Lifetime::Owned,
            registry: None,
            launcher: None,
        }
    }
}

impl QemuSpec {
    /// Name of the link by which the machine is plugged into the lab's bridge.
    fn link(&self) -> String {
        format!("m-{}", self.name)
    }

    fn validate(&self) -> Result<()> {
        let is_plugged_in = self.address.is_some();
        ensure!(!is_plugged_in || self.lab.is_some(), "`{}` has an address and no lab", self.name);
        let is_long = self.link().len() > LINK_NAME_MAX;
        ensure!(!(is_plugged_in && is_long), "`{}` is too long for the name of a link", self.name);
        Ok(())
    }
}

/// A running QEMU machine. Dropping an owned one ends it at once.
#[derive(Debug)]
pub struct QemuMachine {
    spec: QemuSpec,
    launcher: Launcher,
}

impl QemuMachine {
    /// Launches a machine and returns when QEMU runs and can be talked to.
    pub fn start(spec: QemuSpec) -> Result<Self> {
        let ports: Vec<u16> = spec.forwards.iter().map(|forward| forward.host_port).collect();
        if let Some(miss) = preflight::ports(&ports).into_iter().next() {
            bail!("{miss}");
        }
        spec.validate()?;
        std::fs::create_dir_all(&spec.folder)
            .with_context(|| format!("cannot make {}", spec.folder.display()))?;
        let file = spec.folder.join(SPEC_FILE);
        std::fs::write(&file, serde_json::to_vec_pretty(&spec)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        let launcher = Launcher::start(spec.launcher.as_deref(), "qemu", &spec.folder)?;
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

    /// The specification, to start it again.
    pub fn spec(&self) -> &QemuSpec {
        &self.spec
    }

    /// What came over the serial console.
    pub fn console(&self) -> PathBuf {
        self.spec.folder.join(CONSOLE)
    }

    /// What the launcher says.
    pub fn status(&self) -> Result<Status> {
        Status::read(&self.spec.folder).with_context(|| format!("`{}` has no status", self.spec.name))
    }

    /// A control connection to QEMU.
    pub fn qmp(&self) -> Result<Qmp> {
        Qmp::connect(&self.spec.folder.join(QMP_SOCKET))
    }

    /// Waits until the console shows a text.
    pub fn wait_for_console(&self, text: &str, deadline: Duration) -> Result<()> {
        let what = format!("`{text}` on the console of {}", self.spec.name);
        wait_for(
            &what,
            deadline,
            || self.evidence(),
            || {
                let shown = std::fs::read(self.console()).unwrap_or_default();
                String::from_utf8_lossy(&shown).contains(text).then_some(())
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

    /// Presses the power button, and takes the machine away after `grace` in any case.
    pub fn stop(mut self, grace: Duration) -> Result<()> {
        self.launcher.stop(grace)
    }

    /// Cuts the power. The disks keep what reached them; start the same specification again to switch it on.
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
        tail(&self.spec.folder.join("launcher.log"), 20) + &tail(&self.console(), 80)
    }

    fn entry(&self) -> Entry {
        Entry {
            name: self.spec.name.clone(),
            kind: Kind::Qemu,
            folder: self.spec.folder.clone(),
            launcher_pid: self.launcher.pid(),
            launcher_start_ticks: self.launcher.start_ticks(),
            address: self.spec.address,
            forwards: self.spec.forwards.clone(),
        }
    }
}

impl Drop for QemuMachine {
    fn drop(&mut self) {
        if let Err(error) = self.launcher.stop(Duration::ZERO) {
            eprintln!("cannot end the machine {}: {error:#}", self.spec.name);
        }
    }
}

/// The OVMF firmware below an unpacked Debian package, or the host's root.
pub fn find_uefi(root: &Path) -> Result<Firmware> {
    let folder = root.join("usr/share/OVMF");
    let (code, variables) = (folder.join("OVMF_CODE_4M.fd"), folder.join("OVMF_VARS_4M.fd"));
    if code.is_file() && variables.is_file() {
        return Ok(Firmware::Uefi { code, variables });
    }
    bail!("there is no UEFI firmware (Debian's package ovmf) in {}", folder.display())
}
