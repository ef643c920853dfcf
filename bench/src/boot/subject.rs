//! One side of a pair: a machine in a folder of its own, that is switched on, watched and switched off.

use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use corten_base::Platform;
use corten_client::TalosConfig;
use corten_e2e::Mode;
use corten_e2e::cluster::{ClusterPlan, Files};
use corten_e2e::machine::{Machine, MachineOptions};
use corten_image_builder::{archive, esp};
use corten_kubernetes::{Client, Kubeconfig};
use corten_sys::{clock, procfs};

use super::console::Console;
use super::history::{self, History};
use super::papers::{self, Addressee, Papers};
use super::timeline::{Phase, Timeline};
use super::watch::{self, Sighting};

/// How long a boot may take on real hardware.
const BOOT_MAX: Duration = Duration::from_secs(120);
/// How long a machine may take to switch itself off.
const OFF_MAX: Duration = Duration::from_secs(60);
/// How often a running machine is looked at.
const POLL: Duration = Duration::from_millis(200);
/// Pause between two questions to an API server that does not answer yet.
const PAUSE_CONTAINER: Duration = Duration::from_millis(50);
const PAUSE_QEMU: Duration = Duration::from_millis(200);
/// Gateway of a QEMU machine.
const QEMU_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Volume on which our machine finds its configuration; the file system needs this much at least.
const CONFIG_LABEL: &str = "metal-iso";
const CONFIG_SIZE: u64 = 64 << 20;
/// Tells our machine where its configuration is; the floor gets the same and does not care.
const CONFIG_ARGUMENT: &str = "talos.config=metal-iso";

/// Whose machine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Without our programs.
    Floor,
    /// Ours.
    Ours,
}

/// Whether the machine boots for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// From a blank disk.
    First,
    /// From what the first one left.
    Later,
}

/// A machine that can be booted.
#[derive(Debug)]
pub struct Subject {
    side: Side,
    options: MachineOptions,
    /// The cluster's files, kubeconfig among them.
    files: Files,
}

/// Name, address and platform of the machine, for its papers.
pub fn addressee(options: &MachineOptions) -> Addressee {
    let (gateway, platform) = match options.mode {
        Mode::Container => (options.lab().gateway, Platform::Container),
        Mode::Qemu => (QEMU_GATEWAY, Platform::Metal),
    };
    Addressee {
        name: options.name.clone(),
        address: options.address(),
        gateway,
        prefix_length: options.lab().prefix_length,
        platform,
    }
}

/// Writes the cluster's files and what the machine is told; gives both.
pub fn papers(side: Side, options: &MachineOptions) -> Result<(Files, Papers)> {
    let mut plan = ClusterPlan::of(options);
    if side == Side::Floor {
        plan.patches.push(papers::WITHOUT_OUR_PROGRAMS.to_owned());
    }
    let files = Files::write(&plan, &options.folder.join("operator"))?;
    let configuration = fs::read(&files.controlplane).context("cannot read the configuration")?;
    let scratch = options.folder.join("papers");
    super::empty(&scratch)?;
    let papers = papers::make(&configuration, &addressee(options), &scratch)?;
    corten_e2e::cluster::write_secret(&files.kubeconfig, &papers.admin)?;
    Ok((files, papers))
}

impl Subject {
    /// A machine that was never switched on.
    pub fn prepare(side: Side, mut options: MachineOptions) -> Result<Self> {
        super::empty(&options.folder)?;
        let (files, papers) = papers(side, &options)?;
        match options.mode {
            Mode::Container => {
                let state = options.folder.join("state");
                fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
                match side {
                    Side::Ours => drop(fs::copy(&files.controlplane, state.join("userdata.yaml"))?),
                    Side::Floor => write_tar(&papers, &state.join("papers.tar"))?,
                }
            }
            Mode::Qemu => {
                let disk = options.folder.join("papers.raw");
                match side {
                    Side::Ours => write_volume(&files.controlplane, &disk)?,
                    Side::Floor => write_tar(&papers, &disk)?,
                }
                options.further_disks = vec![disk];
                options.kernel_arguments = vec![CONFIG_ARGUMENT.to_owned()];
                options.write_disk()?;
            }
        }
        Ok(Self { side, options, files })
    }

    /// Switches the machine on, waits until its node is Ready, and switches it off again. Gives what was seen, and for
    /// our machine what it remembers.
    pub fn boot(&self, boot: Boot) -> Result<(Timeline, History)> {
        let mut console = Console::from_now(&self.options.folder.join("console.log"));
        let machine = self.options.start()?;
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let measured = tokio.block_on(self.measure(&machine, &mut console, boot));
        let measured = measured.map_err(|error| error.context(machine.evidence()));
        match measured {
            Ok(measured) => {
                self.switch_off(machine)?;
                Ok(measured)
            }
            Err(error) => Err(error),
        }
    }

    async fn measure(
        &self,
        machine: &Machine,
        console: &mut Console,
        boot: Boot,
    ) -> Result<(Timeline, History)> {
        let limit = BOOT_MAX * self.options.mode.pace();
        let watched = tokio::time::timeout(limit, self.watch(machine, console, boot));
        let sightings = watched.await.map_err(|_| anyhow!("no Ready node within {limit:?}"))??;
        let process = started(machine)?;
        let begin = match process {
            Some(started) => started,
            None => console.kernel_start().context("the console shows no line of the kernel")?,
        };
        let mut timeline = Timeline::default();
        if process.is_some() {
            timeline.reach(Phase::Userspace, 0.0);
        }
        let history = match self.side {
            Side::Floor => {
                tell(console, process, &mut timeline);
                History::default()
            }
            Side::Ours => {
                let history = history::ask(&self.credentials()?, process).await?;
                history.fill(&mut timeline);
                history
            }
        };
        for (phase, at) in sightings {
            timeline.reach(phase, seconds(begin, at));
        }
        Ok((timeline, history))
    }

    /// Watches the node, keeps the console, and bootstraps where that is a client's business.
    async fn watch(&self, machine: &Machine, console: &mut Console, boot: Boot) -> Result<Vec<Sighting>> {
        // The machine runs already, but for less time than its kubelet needs to say anything.
        let power_on = SystemTime::now();
        let mut config = Kubeconfig::load(&self.files.kubeconfig).await?;
        config.server = format!("https://{}:{}", Ipv4Addr::LOCALHOST, self.options.kubernetes_port);
        let client = Client::new(&config)?;
        let pause = match self.options.mode {
            Mode::Container => PAUSE_CONTAINER,
            Mode::Qemu => PAUSE_QEMU,
        };
        let bootstrap = async {
            if self.side == Side::Ours && boot == Boot::First {
                history::bootstrap(&self.credentials()?).await?;
            }
            std::future::pending::<Result<Infallible>>().await
        };
        tokio::select! {
            sightings = watch::node(&client, pause, power_on) => Ok(sightings),
            // None of the others comes to a good end, and nothing of them is needed after the first.
            Err(error) = console.follow() => Err(error),
            Err(error) = bootstrap => Err(error),
            Err(error) = alive(machine) => Err(error),
        }
    }

    fn credentials(&self) -> Result<corten_client::Context> {
        let text = fs::read_to_string(&self.files.talosconfig).context("cannot read the talosconfig")?;
        let config = TalosConfig::parse(&text)?;
        config.contexts.get(&config.context).cloned().context("the talosconfig has no current context")
    }

    /// In order, so that the next boot finds what this one wrote. The floor's only button is a port.
    fn switch_off(&self, machine: Machine) -> Result<()> {
        let limit = OFF_MAX * self.options.mode.pace();
        if self.side == Side::Ours {
            return machine.stop(limit);
        }
        let mut button = TcpStream::connect((Ipv4Addr::LOCALHOST, self.options.api_port))
            .context("cannot reach the floor's button")?;
        button.write_all(b"\n").context("cannot press the floor's button")?;
        drop(button);
        let began = Instant::now();
        while machine.check().is_ok() {
            if began.elapsed() > limit {
                bail!("the floor did not switch itself off within {limit:?}\n{}", machine.evidence());
            }
            std::thread::sleep(POLL);
        }
        machine.cut_power()
    }
}

/// Ends only with the machine.
async fn alive(machine: &Machine) -> Result<Infallible> {
    loop {
        machine.check()?;
        tokio::time::sleep(POLL).await;
    }
}

fn write_tar(papers: &Papers, path: &Path) -> Result<()> {
    let file = fs::File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    archive::tar(&papers.tree, file)
}

fn write_volume(configuration: &Path, path: &Path) -> Result<()> {
    let data = fs::read(configuration).context("cannot read the configuration")?;
    let entries = [esp::Entry { path: "config.yaml".to_owned(), data: &data }];
    esp::write_labelled(path, CONFIG_LABEL, CONFIG_SIZE, 2, &entries)
}

/// When process 1 of a container machine started; nothing for a machine with its own kernel.
fn started(machine: &Machine) -> Result<Option<SystemTime>> {
    let Machine::Container(container) = machine else { return Ok(None) };
    let pid = container.status()?.pid.context("the machine does not run")?;
    let ticks = procfs::process_stat(pid)?.start_ticks as f64 / procfs::ticks_per_second() as f64;
    let age = clock::since_boot().saturating_sub(Duration::from_secs_f64(ticks));
    Ok(SystemTime::now().checked_sub(age))
}

/// What the floor said of itself: on a kernel of its own by that kernel's time, else by ours.
fn tell(console: &Console, process: Option<SystemTime>, timeline: &mut Timeline) {
    for line in console.lines() {
        let phase = line.text.strip_prefix("floor: ").and_then(Phase::from_name);
        let at = line.stamp.or_else(|| process.map(|started| seconds(started, line.seen)));
        if let Some((phase, at)) = phase.zip(at) {
            timeline.reach(phase, at);
        }
    }
}

fn seconds(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).unwrap_or_default().as_secs_f64()
}
