//! `bench fleet-join`: what it costs the manager when machines join, when they become members, and when they stay.
//!
//! ```text
//! processor 0: corten-fleet with its child     ◀─ join, stay ─     processor 1: emulator processes, this program
//!        ├─ /proc: processor time, memory by part, open files (meter)
//!        ├─ /metrics: how many machines have come so far
//!        └─ lists and watches of a client (probe)                  ─▶ budgets (budget) ─▶ table, JSON
//! ```
//!
//! Machines come in steps: 100, 1,000, 10,000, and as many as are asked for. After each step memory is taken by part,
//! and a client lists and watches.
//!
//! **Joined** is a machine when its unique token is in META, it has called again with it and has its link, the manager
//! has its status by watching it (processors, version, stage), and all of that is kept. Its streams of events and of
//! logs stay open. With `members` all of them then become members of clusters, which is what makes them speak mTLS. What
//! that costs is told, and has no budget: a cluster is more than a join. Then all lose their power and join as members; that
//! and the first join together have the budget of a join.
//!
//! **Processor time** is that of the manager and all it has started, from `/proc`, between the first machine's power
//! and the last one's status, divided by the machines of the step. Those that were there before cost their rest
//! meanwhile. The run is void when the emulators were busier than their processor allows: then it is they who were
//! waited for.
//!
//! **Open files**: a process may have 20,000 here, and a machine takes six of an emulator's. So machines are shared out
//! to processes; all of them count, and those of the manager are printed too.

mod budget;
mod members;
pub(crate) mod meter;
mod probe;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_e2e::fleet::etcd::Etcd;
use corten_e2e::fleet::{Manager, Security, kind};
use corten_e2e::tool::Tool;
use corten_fleet_resources::machine::{Machine, MachineStatus};
use corten_harness::{Emulator, EmulatorSpec, FleetPorts, FleetSpec};
use corten_resource::Query;
use serde_json::Value;

use crate::{Report, say};

pub use budget::Variant;

use budget::{Found, Rest, Step};
use meter::Memory;
use probe::Probe;

/// Processor of the manager.
const MANAGER: usize = 0;
/// Processor of the emulators and of this program.
const EMULATORS: usize = 1;
/// How many machines there are after each step; the last step has as many as are asked for.
const STEPS: [u32; 3] = [100, 1_000, 10_000];
/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at memory at rest; each walks all open files.
const LOOK_AT_REST: Duration = Duration::from_secs(10);
/// Between two looks whether the manager is at rest again, and how long one waits for that.
const SETTLE_LOOK: Duration = Duration::from_secs(5);
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// A manager that takes less than so much of a core is at rest: its budget.
const SETTLED_CORES: f64 = 0.3;
/// What answering the page of counters may take.
const PAGE_MAX: Duration = Duration::from_secs(10);
/// Longest page that is read, bytes.
const PAGE_BYTES_MAX: u64 = 4 << 20;
/// How long all machines of a step may take, whatever their number.
const JOIN_MAX: Duration = Duration::from_secs(1800);

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Root of the repository.
    pub repository: PathBuf,
    /// `corten-fleet`, as it is released.
    pub fleet: PathBuf,
    /// `corten-emulator`, as it is released.
    pub emulator: PathBuf,
    /// `corten`, for what is asked of the manager.
    pub corten: PathBuf,
    /// How many machines join.
    pub machines: u32,
    /// How many of them an emulator process has at most.
    pub per_process: u32,
    /// How many machines are switched on in a second.
    pub per_second: u32,
    /// Whether they become members of clusters.
    pub members: bool,
    /// How long they are left alone afterwards.
    pub rest: Duration,
    /// Which manager this is.
    pub variant: Variant,
    /// The program `etcd`, for the variant with the store there.
    pub etcd: Option<PathBuf>,
    /// First port of the manager.
    pub first_port: u16,
}

/// Runs the benchmark. What was found before a failure is in the report too.
pub fn run(options: &Options) -> Result<Report> {
    ensure!(options.per_process > 0 && options.machines > 0, "there is nothing to join");
    meter::stay_on(EMULATORS)?;
    let folder = options.repository.join("target/bench/fleet-join");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let mut bench = Bench::start(options, folder.clone())?;
    bench.found.failure = bench.measure().err().map(|error| format!("{error:#}"));
    let found = std::mem::take(&mut bench.found);
    drop(bench);
    if found.failure.is_none() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let head = format!("{} of {} machines:\n", found.machines(), options.machines);
    Ok(Report { ok: found.is_ok(), text: head + &found.text(), json: found.json() })
}

struct Bench<'a> {
    options: &'a Options,
    folder: PathBuf,
    manager: Manager,
    /// Ends after the manager.
    etcd: Option<Etcd>,
    probe: Probe,
    emulators: Vec<Emulator>,
    found: Found,
}

/// Processor time so far, seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    manager: f64,
    emulators: f64,
}

impl Spent {
    fn since(self, before: Self) -> Self {
        Self { manager: self.manager - before.manager, emulators: self.emulators - before.emulators }
    }
}

impl<'a> Bench<'a> {
    /// A manager without machines.
    fn start(options: &'a Options, folder: PathBuf) -> Result<Self> {
        let ports = FleetPorts(options.first_port);
        let mut spec = FleetSpec::new("fleet", &options.fleet, folder.join("fleet"), ports);
        spec.processor = Some(MANAGER);
        let etcd =
            options.etcd.as_deref().map(|program| start_etcd(options, program, &folder)).transpose()?;
        spec.settings = settings(options.variant, etcd.as_ref());
        let client = Tool::new(&options.corten, "corten").with(["fleet"]);
        let manager = Manager::start(spec, &client, Security::Plain)?;
        meter::all_on(&manager.fleet.processes()?, MANAGER)?;
        let probe = Probe::new(&manager.fleet.spec().api_url(), &manager.fleet.administrator()?)?;
        let empty = Memory::of(&manager.fleet.processes()?)?;
        let found = Found { variant: options.variant, empty, ..Found::default() };
        Ok(Self { options, folder, manager, etcd, probe, emulators: Vec::new(), found })
    }

    fn measure(&mut self) -> Result<()> {
        for machines in steps(self.options.machines) {
            let step = self.grow(machines)?;
            self.found.steps.push(step);
        }
        if self.options.members {
            self.found.members = Some(self.cluster()?);
        }
        self.found.rest = Some(self.rest()?);
        self.found.etcd_bytes = self.etcd_bytes()?;
        Ok(())
    }

    /// Machines join until there are so many.
    fn grow(&mut self, machines: u32) -> Result<Step> {
        let joined = machines - self.found.machines();
        let (before, began) = (self.spent()?, Instant::now());
        self.switch_on(joined)?;
        self.wait_joined(machines, began)?;
        let seconds = began.elapsed().as_secs_f64();
        let spent = self.spent()?.since(before);
        self.probe.label()?;
        self.settle()?;
        let processes = self.manager.fleet.processes()?;
        Ok(Step {
            machines,
            joined,
            seconds,
            manager: spent.manager,
            emulators: spent.emulators,
            memory: Memory::of(&processes)?,
            open_files: meter::open_files(&processes)?,
            emulator_bytes: self.emulator_bytes()?,
            list: self.probe.lists()?,
            watch: self.probe.watches()?,
        })
    }

    /// Starts the emulator processes of so many machines.
    fn switch_on(&mut self, machines: u32) -> Result<()> {
        let arguments = self.manager.kernel_arguments()?;
        let shares = shares(machines, machines.div_ceil(self.options.per_process));
        let processes = u32::try_from(shares.len())?;
        for machines in shares {
            let number = self.emulators.len();
            let name = format!("emulator-{number}");
            let mut spec = EmulatorSpec::new(name, &self.options.emulator, &self.folder, arguments.as_str());
            (spec.machines, spec.seed, spec.processor) = (machines, number as u64, Some(EMULATORS));
            spec.per_second = self.options.per_second.div_ceil(processes.max(1));
            // Members are of the version that their cluster has, and need not be installed first.
            spec.talos_version = Some(corten_base::version::TAG.trim_start_matches('v').to_owned());
            spec.installed = true;
            let emulator = Emulator::start(&spec)?;
            meter::all_on(&emulator.processes()?, EMULATORS)?;
            self.emulators.push(emulator);
        }
        Ok(())
    }

    /// Waits until everybody is there. The emulators are asked first, which costs the manager nothing.
    fn wait_joined(&mut self, machines: u32, began: Instant) -> Result<()> {
        let wanted = u64::from(machines);
        let mut told = Instant::now();
        let mut asked: Option<Instant> = None;
        loop {
            let mut joined = 0;
            for emulator in &mut self.emulators {
                emulator.check()?;
                joined += emulator.joined()?;
            }
            let mut known = (0, 0, 0);
            let mut whole = 0;
            if joined >= wanted {
                let page = self.page()?;
                let count = |kind: &str| resources(&page, kind);
                known = (
                    count(kind::MACHINE_STATUS),
                    count(kind::SNAPSHOT),
                    count("PendingMachines.omni.sidero.dev"),
                );
                let is_due = asked.is_none_or(|at| at.elapsed() >= LOOK_AT_REST);
                if known.0 >= wanted && known.1 >= wanted && known.2 == 0 && is_due {
                    whole = self.whole()?;
                    asked = Some(Instant::now());
                }
                if whole >= wanted {
                    return Ok(());
                }
            }
            ensure!(
                began.elapsed() < JOIN_MAX,
                "after {} s {joined} of {wanted} machines have joined; {} are known, {} have told their \
                 stage, {} wait, and {whole} are connected and have told their hardware:\n{}",
                JOIN_MAX.as_secs(),
                known.0,
                known.1,
                known.2,
                self.manager.fleet.evidence()
            );
            if told.elapsed() >= LOOK_AT_REST {
                say(&format!("{joined} of {wanted} machines have joined, {} are known", known.0));
                told = Instant::now();
            }
            std::thread::sleep(LOOK);
        }
    }

    /// How many machines are connected and have told what they are made of. Asked when the counters say that all have
    /// come, and not often, since it costs the manager something, which is measured with the rest.
    fn whole(&self) -> Result<u64> {
        let all = self.probe.list::<MachineStatus>(&Query::default())?;
        let is_whole = |status: &MachineStatus| {
            let processors = status.hardware.as_ref().map_or(0, |hardware| hardware.processors.len());
            status.connected && processors > 0
        };
        let statuses = all.iter().filter_map(|status| status.resource::<MachineStatus>());
        Ok(statuses.filter(|status| is_whole(&status.spec)).count() as u64)
    }

    /// Waits until the manager is at rest again after many have joined: that is when lists and watches have their budgets.
    fn settle(&self) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < SETTLE_MAX {
            let (before, look) = (self.spent()?, Instant::now());
            std::thread::sleep(SETTLE_LOOK);
            if self.spent()?.since(before).manager < look.elapsed().as_secs_f64() * SETTLED_CORES {
                return Ok(());
            }
        }
        say(&format!(
            "the manager is still at work {} s after the last machine joined",
            SETTLE_MAX.as_secs()
        ));
        Ok(())
    }

    /// All machines are left alone.
    fn rest(&mut self) -> Result<Rest> {
        say(&format!("{} s at rest", self.options.rest.as_secs()));
        let (before, began) = (self.spent()?, Instant::now());
        let mut looks = Vec::new();
        while began.elapsed() < self.options.rest {
            std::thread::sleep(LOOK_AT_REST.min(self.options.rest));
            looks.push(Memory::of(&self.manager.fleet.processes()?)?);
        }
        let seconds = began.elapsed().as_secs_f64();
        let Spent { manager, emulators } = self.spent()?.since(before);
        let connected = self.connected()?;
        let wanted = self.found.machines() as usize;
        ensure!(connected == wanted, "{connected} of {wanted} machines are still connected");
        looks.sort_unstable_by_key(|memory| memory.total());
        let memory = looks.get(looks.len() * 95 / 100).or(looks.last()).copied().unwrap_or_default();
        Ok(Rest { seconds, manager, emulators, memory })
    }

    /// How many machines the manager takes for connected.
    fn connected(&self) -> Result<usize> {
        let all = self.probe.list::<Machine>(&Query::default())?;
        let machines = all.iter().filter_map(|machine| machine.resource::<Machine>());
        Ok(machines.filter(|machine| machine.connected).count())
    }

    fn spent(&self) -> Result<Spent> {
        let mut emulators = 0.0;
        for emulator in &self.emulators {
            emulators += meter::seconds(&emulator.processes()?);
        }
        Ok(Spent { manager: meter::seconds(&self.manager.fleet.processes()?), emulators })
    }

    fn emulator_bytes(&self) -> Result<u64> {
        let mut sum = 0;
        for emulator in &self.emulators {
            let memory = Memory::of(&emulator.processes()?)?;
            sum += memory.process + memory.children;
        }
        Ok(sum)
    }

    fn etcd_bytes(&self) -> Result<Option<u64>> {
        let memory = self.etcd.as_ref().map(|etcd| Memory::of(&etcd.processes())).transpose()?;
        Ok(memory.map(|memory| memory.process + memory.children))
    }

    /// The manager's own counters.
    fn page(&self) -> Result<String> {
        let port = self.manager.fleet.spec().ports.metrics();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut stream = TcpStream::connect_timeout(&address, PAGE_MAX).context("no page of counters")?;
        stream.set_read_timeout(Some(PAGE_MAX))?;
        let request = b"GET /metrics HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\n\r\n";
        stream.write_all(request).context("cannot ask for the page of counters")?;
        let mut page = String::new();
        stream.take(PAGE_BYTES_MAX).read_to_string(&mut page).context("cannot read the page of counters")?;
        let status = page.lines().next().unwrap_or_default();
        ensure!(status.starts_with("HTTP/1.1 200"), "the page of counters is `{status}`");
        Ok(page)
    }
}

/// One member of etcd on the manager's processor, after the manager's ports.
fn start_etcd(options: &Options, program: &Path, folder: &Path) -> Result<Etcd> {
    // What a thread starts has its processor; that of a process which runs already would miss some of its threads.
    meter::stay_on(MANAGER)?;
    let etcd = Etcd::start(program, &folder.join("etcd"), options.first_port + FleetPorts::COUNT, 1);
    meter::stay_on(EMULATORS)?;
    etcd
}

/// Settings of the manager that is measured.
fn settings(variant: Variant, etcd: Option<&Etcd>) -> BTreeMap<String, Value> {
    // Named, so that a host that forbids the one does not have the other measured in its place.
    let stack = match variant {
        Variant::UserStack => "userspace",
        Variant::Kernel | Variant::Etcd => "kernel",
    };
    let mut settings = etcd.map(Etcd::settings).unwrap_or_default();
    settings.insert("services.siderolink.tunnelStack".to_owned(), stack.into());
    settings
}

/// How many machines there are after each step.
fn steps(machines: u32) -> Vec<u32> {
    STEPS.into_iter().filter(|step| *step < machines).chain([machines]).collect()
}

/// How many resources of a type the page tells.
fn resources(page: &str, kind: &str) -> u64 {
    let name = format!("corten_fleet_resources{{type=\"{kind}\"}} ");
    let count = page.lines().find_map(|line| line.strip_prefix(name.as_str()));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

/// Machines of each process; those that are left over go to the first ones.
fn shares(machines: u32, processes: u32) -> Vec<u32> {
    (0..processes).map(|number| machines / processes + u32::from(number < machines % processes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_shared_out_to_the_last() {
        assert_eq!(shares(10, 3), [4, 3, 3]);
        assert_eq!(shares(2, 4), [1, 1, 0, 0]);
        assert_eq!(shares(9_000, 9_000_u32.div_ceil(2_500)), [2_250; 4]);
    }

    #[test]
    fn growth_has_the_steps_that_are_compared() {
        assert_eq!(steps(50), [50]);
        assert_eq!(steps(1_000), [100, 1_000]);
        assert_eq!(steps(10_000), [100, 1_000, 10_000]);
        assert_eq!(steps(12_000), [100, 1_000, 10_000, 12_000]);
    }

    #[test]
    fn counters_are_found_by_their_whole_type() {
        let page = "HTTP/1.1 200 OK\r\n\r\ncorten_fleet_resources{type=\"Links.omni.sidero.dev\"} 7\n";
        assert_eq!(resources(page, "Links.omni.sidero.dev"), 7);
        assert_eq!(resources(page, "Link"), 0);
    }
}
