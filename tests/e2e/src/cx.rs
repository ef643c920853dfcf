//! What a scenario has at hand: the image, the clients, a folder, figures and counted cases.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use corten_base::Arch;
use corten_harness::{EmulatorSpec, FleetPorts, FleetSpec, LabSpec};
use corten_image_kit::{Kit, recipes};
use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, ClusterPlan, Files};
use crate::machine::{Machine, MachineOptions, Mode};
use crate::tool::Tool;

/// The component of what omnictl compresses long texts with.
pub const DICTIONARY: &str = "clients/dictionary";
/// Its file.
pub const DICTIONARY_FILE: &str = "share/config.1.zdict";

/// Which program drives the machine API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Client {
    /// The unmodified client of Talos.
    #[default]
    Talosctl,
    /// Our own.
    Corten,
}

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Root of the repository.
    pub repository: PathBuf,
    /// Kind of machine.
    pub mode: Mode,
    /// Folder of the image; the one that `cargo xtask image` writes if absent.
    pub image: Option<PathBuf>,
    /// Which program drives the machine.
    pub client: Client,
    /// First of the ports that may be used on the loopback.
    pub first_port: u16,
    /// Seed of everything that is random in a scenario.
    pub seed: u64,
    /// How often a scenario repeats what it repeats; its own number if absent.
    pub rounds: Option<u32>,
}

/// One run of one scenario.
#[derive(Debug)]
pub struct Cx {
    options: Options,
    scenario: &'static str,
    kit: Kit,
    folder: PathBuf,
    began: Instant,
    figures: Map<String, Value>,
    cases: u32,
    failures: Vec<String>,
}

impl Cx {
    /// A run with an empty folder.
    pub fn new(options: Options, scenario: &'static str) -> Result<Self> {
        let kit = Kit::open(&recipes(&options.repository), Arch::current())?;
        let folder = options.repository.join("target/e2e").join(scenario).join(options.mode.name());
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let began = Instant::now();
        let (figures, failures) = (Map::new(), Vec::new());
        Ok(Self { options, scenario, kit, folder, began, figures, cases: 0, failures })
    }

    /// What the command line says.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Kind of machine.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.options.mode
    }

    /// Folder of this run.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Folder with the image of this kind of machine.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        let usual = || self.options.repository.join("target/image").join(self.options.mode.flavour());
        self.options.image.clone().unwrap_or_else(usual)
    }

    /// A machine of this run; `number` tells machines of one scenario apart.
    pub fn machine(&self, number: u8) -> Result<MachineOptions> {
        let name = format!("e2e-{}{number}", short(self.scenario));
        let folder = self.folder.join(&name);
        let mut options = MachineOptions::new(self.options.mode, &name, self.image(), folder);
        options.api_port = self.options.first_port + u16::from(number) * 10;
        options.kubernetes_port = options.api_port + 1;
        options.subnet = 40 + (self.options.first_port / 100 % 20) as u8 + number;
        let is_on_disk = crate::find(self.scenario).is_ok_and(|scenario| scenario.on_disks);
        if is_on_disk && self.options.mode == Mode::Container {
            let images = self.options.repository.join("target/image");
            options.disk_image = Some(images.join(Mode::Qemu.flavour()).join("disk.raw"));
        }
        if (is_on_disk || self.options.mode == Mode::Qemu)
            && let Some(made) = self.kit.find("debian/qemu")?
        {
            options.qemu.push(made.tree());
        }
        Ok(options)
    }

    /// The client of Talos, unmodified.
    pub fn talosctl(&self) -> Result<Tool> {
        if let Some(path) = std::env::var_os("CORTEN_TALOSCTL") {
            return Ok(Tool::new(path, "talosctl"));
        }
        Ok(Tool::new(self.component("clients/talosctl")?.join("bin/talosctl"), "talosctl"))
    }

    /// kubectl, unmodified.
    pub fn kubectl(&self) -> Result<Tool> {
        Ok(Tool::new(self.component("kubernetes")?.join("bin/kubernetes"), "kubectl"))
    }

    /// Folder of a component of the kit, which is made if it is not there.
    pub fn component(&self, name: &str) -> Result<PathBuf> {
        let mut made = self.kit.make(&[name])?;
        Ok(made.remove(name).with_context(|| format!("the kit did not make `{name}`"))?.folder)
    }

    /// The client that this run drives the machine with, not to leave marks in the user's home.
    pub fn client(&self) -> Result<Tool> {
        let tool = match self.options.client {
            Client::Talosctl => self.talosctl()?,
            Client::Corten => self.corten()?,
        };
        Ok(tool.env("HOME", &self.folder).env("KUBECONFIG", self.folder.join("no-kubeconfig")))
    }

    fn corten(&self) -> Result<Tool> {
        Ok(Tool::new(self.program("corten")?, "corten"))
    }

    /// A program of this repository, which xtask has built.
    pub fn program(&self, package: &str) -> Result<PathBuf> {
        let path = self.options.repository.join("target/debug").join(package);
        if !path.is_file() {
            bail!("there is no {}: run `cargo build --package {package}`", path.display());
        }
        Ok(path)
    }

    /// The program that this run drives a manager with, without access, not to leave marks in the user's home.
    pub fn fleet_client(&self) -> Result<Tool> {
        let tool = match self.options.client {
            Client::Talosctl => {
                let folder = self.component("clients/omnictl")?;
                Tool::new(folder.join("bin/omnictl"), "omnictl")
            }
            Client::Corten => return self.own_fleet_client(),
        };
        Ok(self.without_access(tool))
    }

    /// Our own client of a manager, without access, for what the client of Omni does not do alike.
    pub fn own_fleet_client(&self) -> Result<Tool> {
        Ok(self.without_access(self.corten()?.with(["fleet"])))
    }

    /// The program with a home of its own.
    fn without_access(&self, tool: Tool) -> Tool {
        tool.env("HOME", &self.folder).env("OMNICONFIG", self.folder.join("omniconfig"))
    }

    /// The network that machines of this run share with their manager.
    #[must_use]
    pub fn shared_lab(&self) -> LabSpec {
        let mut lab = LabSpec::new(format!("e2e-{}", short(self.scenario)));
        lab.gateway = std::net::Ipv4Addr::new(10, 5, 60 + (self.options.first_port / 100 % 20) as u8, 1);
        lab
    }

    /// A manager of this run, which is not started: on ports behind those of machines, in the network of machines if
    /// there is one.
    pub fn manager(&self, lab: Option<LabSpec>) -> Result<FleetSpec> {
        let ports = FleetPorts(self.options.first_port + 200);
        let mut spec =
            FleetSpec::new("fleet", self.program("corten-fleet")?, self.folder.join("fleet"), ports);
        spec.lab = lab;
        spec.dictionaries.push(self.component(DICTIONARY)?.join(DICTIONARY_FILE));
        Ok(spec)
    }

    /// A machine of our image that joins a manager, in the network that they share.
    pub fn member(&self, number: u8, kernel_arguments: &str) -> Result<MachineOptions> {
        let mut options = self.machine(number)?;
        options.shared_lab = Some(self.shared_lab());
        options.number = 2 + number;
        options.kernel_arguments = kernel_arguments.split_whitespace().map(str::to_owned).collect();
        Ok(options)
    }

    /// Emulated machines that join a manager.
    pub fn emulator(&self, name: &str, kernel_arguments: &str) -> Result<EmulatorSpec> {
        let (program, folder) = (self.program("corten-emulator")?, self.folder.join("emulated"));
        Ok(EmulatorSpec::new(name, program, folder, kernel_arguments))
    }

    /// A cluster of one machine, with its clients.
    pub fn cluster<'a>(
        &self,
        plan: ClusterPlan,
        files: Files,
        machine: &'a Machine,
        started: Instant,
    ) -> Result<Cluster<'a>> {
        let (client, kubectl) = (self.client()?, self.kubectl()?.env("HOME", &self.folder));
        Ok(Cluster { plan, files, machine, client, kubectl, started, progress: &say })
    }

    /// Notes a figure for the report.
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        say(&format!("{name}: {value}"));
        self.figures.insert(name.to_owned(), value);
    }

    /// Notes seconds, rounded to a hundredth.
    pub fn seconds(&mut self, name: &str, seconds: f64) {
        self.figure(name, (seconds * 100.0).round() / 100.0);
    }

    /// Proves one sentence. A failure is kept, and the scenario goes on.
    pub fn case(&mut self, sentence: &str, proof: impl FnOnce() -> Result<()>) {
        self.cases += 1;
        match proof() {
            Ok(()) => say(&format!("ok {}: {sentence}", self.cases)),
            Err(error) => {
                say(&format!("FAILED {}: {sentence}: {error:#}", self.cases));
                self.failures.push(format!("{sentence}: {error:#}"));
            }
        }
    }

    /// The end of the run: its figures, and whether everything held.
    #[must_use]
    pub fn finish(mut self, result: Result<()>) -> Report {
        if let Err(error) = result {
            self.failures.push(format!("{error:#}"));
        }
        let ok = self.failures.is_empty();
        if ok {
            // A failure leaves its folder for whoever looks into it; a machine's disks are large.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
        let mut object = Map::new();
        object.insert("ok".to_owned(), json!(ok));
        object.insert("scenario".to_owned(), json!(self.scenario));
        object.insert("mode".to_owned(), json!(self.options.mode.name()));
        if self.cases > 0 {
            object.insert("cases".to_owned(), json!(self.cases));
        }
        object.insert("failures".to_owned(), json!(self.failures));
        object.append(&mut self.figures);
        object.insert("wall_seconds".to_owned(), json!(self.began.elapsed().as_secs()));
        Report { ok, failures: self.failures, json: Value::Object(object) }
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whether everything held.
    pub ok: bool,
    /// What did not.
    pub failures: Vec<String>,
    /// One object with everything.
    pub json: Value,
}

/// Tells the person who waits.
#[expect(clippy::print_stderr, reason = "progress of a developer's tool is talk, and talk is stderr")]
pub fn say(text: &str) {
    eprintln!("e2e: {text}");
}

/// The beginnings of a scenario's words: names of machines become names of links, which are short.
fn short(scenario: &str) -> String {
    scenario.split('-').map(|word| word.get(..4).unwrap_or(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SCENARIOS;

    #[test]
    fn machines_of_two_scenarios_are_told_apart() {
        let names: std::collections::BTreeSet<String> =
            SCENARIOS.iter().map(|scenario| short(scenario.name)).collect();
        assert_eq!(names.len(), SCENARIOS.len(), "{names:?}");
        assert!(names.iter().all(|name| name.len() <= 8), "{names:?}");
    }
}
