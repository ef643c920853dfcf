//! Corten Fleet under test: the manager as a process of its own, in a folder of its own, on ports of its own.
//!
//! ```text
//! this program ─▶ launcher ─▶ corten-fleet serve --config-path FOLDER/fleet.yaml     everything it writes is in FOLDER
//!                    │            alone: on ports of the loopback
//!                    │            in a lab: on ports there, where machines reach it at the gateway's address
//!                    └─ forwarder: the same ports of the host's loopback, for clients
//! ```
//!
//! It can be killed and started again any number of times; its folder stays. It writes a file there when it serves.

mod launch;
mod spec;

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use corten_sys::signal::{self, number};

use crate::launcher::{Launcher, Lifetime};
use crate::preflight;
use crate::process;
use crate::registry::{Entry, Kind, Registry};
use crate::status::{Phase, Status};
use crate::wait::{tail, wait_for};

pub(crate) use launch::launcher_main;
pub use spec::{FleetPorts, FleetSpec, TlsPair};

/// File of a manager's folder that its launcher reads.
const SPEC_FILE: &str = "fleet.json";
/// File with the settings of the manager.
const CONFIG_FILE: &str = "fleet.yaml";
/// File with everything that the manager says, over all its starts.
const LOG_FILE: &str = "fleet.log";
/// File that the manager writes when everything of it serves.
const READY_FILE: &str = "ready.json";
/// How long a manager may take until it answers.
const READY_MAX: Duration = Duration::from_secs(90);
/// How long the launcher may take after its manager was killed.
const GONE_MAX: Duration = Duration::from_secs(20);

/// A manager. Dropping one that is owned ends it at once.
#[derive(Debug)]
pub struct Fleet {
    spec: FleetSpec,
    launcher: Option<Launcher>,
}

impl Fleet {
    /// Starts a manager and returns when it answers.
    pub fn start(spec: FleetSpec) -> Result<Self> {
        let misses = preflight::ports(&spec.ports.tcp());
        if let Some(miss) = misses.first() {
            bail!("{miss}");
        }
        let mut fleet = Self::prepare(spec)?;
        fleet.launch()?;
        Ok(fleet)
    }

    /// Starts a manager that must refuse to serve, and gives what it says.
    pub fn refuse(spec: FleetSpec) -> Result<String> {
        let mut fleet = Self::prepare(spec)?;
        let log = fleet.log();
        let before = fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let served = fleet.launch();
        ensure!(served.is_err(), "the manager serves, and it must refuse");
        let said = fs::read(&log).unwrap_or_default();
        let new = said.get(usize::try_from(before)?..).unwrap_or_default();
        ensure!(!fleet.is_running(), "the manager neither serves nor ends:\n{}", fleet.evidence());
        Ok(String::from_utf8_lossy(new).into_owned())
    }

    /// Writes what the manager and its launcher read.
    fn prepare(spec: FleetSpec) -> Result<Self> {
        let mut spec = spec;
        ensure!(
            spec.program.is_file(),
            "there is no {}: run `cargo build --package corten-fleet`",
            spec.program.display()
        );
        fs::create_dir_all(&spec.folder).with_context(|| format!("cannot make {}", spec.folder.display()))?;
        spec.folder = spec.folder.canonicalize().context("cannot find the manager's folder")?;
        // JSON is YAML.
        for (name, text) in [
            (CONFIG_FILE, serde_json::to_vec_pretty(&spec.configuration())?),
            (SPEC_FILE, serde_json::to_vec_pretty(&spec)?),
        ] {
            let path = spec.folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(Self { spec, launcher: None })
    }

    fn launch(&mut self) -> Result<()> {
        let ready = self.spec.folder.join(READY_FILE);
        match fs::remove_file(&ready) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", ready.display()));
            }
            _ => {}
        }
        let launcher = Launcher::start(self.spec.launcher.as_deref(), "fleet", &self.spec.folder)?;
        let entry = self.entry(&launcher);
        self.launcher = Some(launcher);
        if let Some(folder) = &self.spec.registry {
            Registry::new(folder).add(&entry)?;
        }
        self.wait_ready()
    }

    /// Waits until it says that it serves.
    fn wait_ready(&self) -> Result<()> {
        let file = self.spec.folder.join(READY_FILE);
        let ready = || {
            if file.exists() {
                return Some(true);
            }
            (!self.is_running()).then_some(false)
        };
        let is_ready = wait_for("Corten Fleet to serve", READY_MAX, || self.evidence(), ready)?;
        ensure!(is_ready, "Corten Fleet has ended:\n{}", self.evidence());
        Ok(())
    }

    /// What it was started from.
    pub const fn spec(&self) -> &FleetSpec {
        &self.spec
    }

    /// Process id of the manager itself.
    pub fn pid(&self) -> Result<u32> {
        let status = Status::read(&self.spec.folder).context("the manager has no status")?;
        status.pid.filter(|_| status.phase == Phase::Running).context("the manager does not run")
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.launcher.is_some() && self.pid().is_ok()
    }

    /// The manager and everything that it has started.
    pub fn processes(&self) -> Result<Vec<u32>> {
        process::with_descendants(self.pid()?)
    }

    /// Ends it as a crash does: it learns nothing of it. Returns when it is gone.
    pub fn kill(&mut self) -> Result<()> {
        signal::send(self.pid()?, number::KILL)?;
        self.end(GONE_MAX)
    }

    /// Asks it to end, and takes it away after `grace` in any case.
    pub fn stop(&mut self, grace: Duration) -> Result<()> {
        self.end(grace)
    }

    fn end(&mut self, grace: Duration) -> Result<()> {
        let Some(mut launcher) = self.launcher.take() else { return Ok(()) };
        launcher.stop(grace)
    }

    /// Starts it again, after it was killed or stopped; gives how long it took until it answered.
    pub fn start_again(&mut self) -> Result<Duration> {
        ensure!(self.launcher.is_none(), "the manager runs already");
        let began = Instant::now();
        self.launch()?;
        Ok(began.elapsed())
    }

    /// Takes its place with other settings, after it was killed or stopped.
    pub fn change(&mut self, change: impl FnOnce(&mut FleetSpec)) -> Result<()> {
        ensure!(self.launcher.is_none(), "the settings of a manager that runs cannot change");
        let mut spec = self.spec.clone();
        change(&mut spec);
        self.spec = Self::prepare(spec)?.spec.clone();
        Ok(())
    }

    /// The key of the first service account, an administrator's.
    pub fn administrator(&self) -> Result<String> {
        let path = self.spec.administrator_key();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// File with everything that it has said.
    pub fn log(&self) -> PathBuf {
        self.spec.folder.join(LOG_FILE)
    }

    /// The logs that tell what happened, for a failed test.
    pub fn evidence(&self) -> String {
        tail(&self.spec.folder.join("launcher.log"), 10) + &tail(&self.log(), 60)
    }

    /// Leaves a detached one running.
    pub fn detach(mut self) -> Result<Entry> {
        if self.spec.lifetime != Lifetime::Detached {
            bail!("`{}` is owned by this program and ends with it", self.spec.name);
        }
        let mut launcher = self.launcher.take().context("the manager does not run")?;
        let entry = self.entry(&launcher);
        launcher.release()?;
        Ok(entry)
    }

    fn entry(&self, launcher: &Launcher) -> Entry {
        Entry {
            name: self.spec.name.clone(),
            kind: Kind::Fleet,
            folder: self.spec.folder.clone(),
            launcher_pid: launcher.pid(),
            launcher_start_ticks: launcher.start_ticks(),
            address: self.spec.lab.as_ref().map(|lab| lab.gateway),
            forwards: self.spec.forwards(),
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Err(error) = self.end(Duration::ZERO) {
            eprintln!("cannot end the manager {}: {error:#}", self.spec.name);
        }
    }
}
