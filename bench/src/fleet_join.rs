//! `bench fleet-join`: what it costs the manager when machines join, and when they stay.
//!
//! ```text
//! processor 0: corten-fleet with its child      ◀─ join, stay ─      processor 1: emulator processes
//!        └─ /metrics: how many machines have come so far
//! ```
//!
//! **Joined** is a machine when its unique token is in META, it has called again with it and has its link, the manager
//! has its status by watching it (processors, version, stage), and all of that is kept. Its streams of events and of
//! logs stay open. There is no cluster: mTLS and its watches belong to `e2e fleet-cluster`.
//!
//! **Processor time** is that of the manager and all it has started, from `/proc`, between the first machine's power and
//! the last one's status, divided by the machines; asking for it costs one page of counters a second. The run is void
//! when the emulators were busier than their processor allows: then it is they who were waited for.
//!
//! **Memory** is PSS of the same processes. Sockets are counted for the whole host, manager and emulators together,
//! since the kernel does not tell them apart.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_e2e::fleet::{Manager, Security, kind};
use corten_e2e::tool::Tool;
use corten_harness::{Emulator, EmulatorSpec, FleetPorts, FleetSpec};
use corten_sys::procfs;
use serde_json::{Map, Value, json};

use crate::{Report, say};

/// Processor of the manager.
const MANAGER: usize = 0;
/// Processor of the emulators.
const EMULATORS: usize = 1;
/// Milliseconds of the manager's processor for one join.
const JOIN_BUDGET_MS: f64 = 60.0;
/// Machines for which the budgets at rest hold.
const REST_MACHINES: u32 = 10_000;
/// Memory of the manager with so many, bytes.
const REST_BUDGET_BYTES: u64 = 1 << 30;
/// Share of a processor with so many.
const REST_BUDGET_CORES: f64 = 0.3;
/// Busier emulators make a run void, in processors.
const EMULATORS_MAX: f64 = 0.9;
/// Between two looks at the counters.
const LOOK: Duration = Duration::from_secs(1);
/// What answering the page of counters may take.
const PAGE_MAX: Duration = Duration::from_secs(10);
/// Longest page that is read, bytes.
const PAGE_BYTES_MAX: u64 = 4 << 20;
/// How long all machines may take, whatever their number.
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
    /// In how many emulator processes.
    pub processes: u32,
    /// How many machines are switched on in a second.
    pub per_second: u32,
    /// How long they are left alone afterwards.
    pub rest: Duration,
    /// First port of the manager.
    pub first_port: u16,
}

/// Runs the benchmark.
pub fn run(options: &Options) -> Result<Report> {
    ensure!(options.processes > 0 && options.machines > 0, "there is nothing to join");
    let folder = options.repository.join("target/bench/fleet-join");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let mut spec =
        FleetSpec::new("fleet", &options.fleet, folder.join("fleet"), FleetPorts(options.first_port));
    spec.processor = Some(MANAGER);
    let client = Tool::new(&options.corten, "corten").with(["fleet"]);
    let manager = Manager::start(spec, &client, Security::Plain)?;
    let mut bench = Bench { options, manager, emulators: Vec::new(), folder: folder.clone() };
    let mut figures = bench.join()?;
    figures.extend(bench.rest()?);
    drop(bench);
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(report(options, &figures))
}

/// Figures by their names.
type Figures = Map<String, Value>;

struct Bench<'a> {
    options: &'a Options,
    manager: Manager,
    emulators: Vec<Emulator>,
    folder: PathBuf,
}

/// Processor time so far, seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    manager: f64,
    emulators: f64,
}

impl Bench<'_> {
    /// All machines join.
    fn join(&mut self) -> Result<Figures> {
        let arguments = self.manager.kernel_arguments()?;
        let memory = self.memory()?;
        let before = self.spent()?;
        let began = Instant::now();
        let shares = shares(self.options.machines, self.options.processes);
        for (number, machines) in (0_u32..).zip(shares) {
            let name = format!("emulator-{number}");
            let mut spec = EmulatorSpec::new(name, &self.options.emulator, &self.folder, arguments.as_str());
            (spec.machines, spec.seed, spec.processor) = (machines, u64::from(number), Some(EMULATORS));
            spec.per_second = self.options.per_second.div_ceil(self.options.processes);
            self.emulators.push(Emulator::start(&spec)?);
        }
        self.wait_joined(began)?;
        let seconds = began.elapsed().as_secs_f64();
        let spent = self.spent()?.since(before);
        self.verify()?;
        let machines = f64::from(self.options.machines);
        let grown = self.memory()?.saturating_sub(memory);
        Ok(figures([
            ("join_seconds", rounded(seconds)),
            ("joins_per_second", rounded(machines / seconds)),
            ("manager_ms_per_join", rounded(spent.manager * 1000.0 / machines)),
            ("manager_cores_joining", rounded(spent.manager / seconds)),
            ("emulator_cores_joining", rounded(spent.emulators / seconds)),
            ("memory_bytes_empty", json!(memory)),
            ("memory_bytes_per_machine", json!(grown / u64::from(self.options.machines))),
        ]))
    }

    /// Waits until the counters say that everybody is there.
    fn wait_joined(&mut self, began: Instant) -> Result<()> {
        let wanted = u64::from(self.options.machines);
        let mut told = Instant::now();
        loop {
            let page = self.page()?;
            let count = |kind: &str| resources(&page, kind);
            let (known, staged) = (count(kind::MACHINE_STATUS), count(kind::SNAPSHOT));
            let pending = count("PendingMachines.omni.sidero.dev");
            if known >= wanted && staged >= wanted && pending == 0 {
                return Ok(());
            }
            for emulator in &mut self.emulators {
                emulator.check()?;
            }
            let waited = began.elapsed();
            ensure!(
                waited < JOIN_MAX,
                "after {} s {known} machines are known, {staged} have told their stage, {pending} wait:\n{}",
                waited.as_secs(),
                self.manager.fleet.evidence()
            );
            if told.elapsed() >= Duration::from_secs(10) {
                say(&format!("{known} of {wanted} machines are known, {pending} wait"));
                told = Instant::now();
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Fails unless every machine is connected and has told what it is made of; asked once, and not measured.
    fn verify(&self) -> Result<()> {
        let all = self.manager.list(kind::MACHINE_STATUS)?;
        let is_whole = |status: &&Value| {
            let spec = &status["spec"];
            let processors = spec["hardware"]["processors"].as_array().map_or(0, Vec::len);
            spec["connected"] == true && processors > 0
        };
        let whole = all.iter().filter(is_whole).count();
        let wanted = self.options.machines as usize;
        ensure!(whole == wanted, "{whole} of {wanted} machines are connected and have told what they are");
        Ok(())
    }

    /// All machines are left alone.
    fn rest(&mut self) -> Result<Figures> {
        say(&format!("{} s at rest", self.options.rest.as_secs()));
        let (before, began) = (self.spent()?, Instant::now());
        let mut memory = Vec::new();
        while began.elapsed() < self.options.rest {
            std::thread::sleep(LOOK);
            memory.push(self.memory()?);
        }
        let seconds = began.elapsed().as_secs_f64();
        let spent = self.spent()?.since(before);
        let connected = self.manager.list(kind::MACHINE)?;
        let connected = connected.iter().filter(|machine| machine["spec"]["connected"] == true).count();
        ensure!(connected == self.options.machines as usize, "{connected} machines are still connected");
        memory.sort_unstable();
        let p95 = memory.get(memory.len() * 95 / 100).or(memory.last()).copied().unwrap_or_default();
        Ok(figures([
            ("rest_seconds", rounded(seconds)),
            ("manager_cores_at_rest", rounded(spent.manager / seconds)),
            ("emulator_cores_at_rest", rounded(spent.emulators / seconds)),
            ("memory_bytes_at_rest_p95", json!(p95)),
            ("kernel_socket_bytes_of_host", json!(socket_bytes()?)),
        ]))
    }

    fn spent(&self) -> Result<Spent> {
        let mut emulators = 0.0;
        for emulator in &self.emulators {
            emulators += seconds_of(&emulator.processes()?);
        }
        Ok(Spent { manager: seconds_of(&self.manager.fleet.processes()?), emulators })
    }

    /// PSS of the manager with all that it has started, bytes.
    fn memory(&self) -> Result<u64> {
        let mut sum = 0;
        for pid in self.manager.fleet.processes()? {
            sum += procfs::pss_bytes(pid)?;
        }
        Ok(sum)
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

impl Spent {
    fn since(self, before: Self) -> Self {
        Self { manager: self.manager - before.manager, emulators: self.emulators - before.emulators }
    }
}

/// Processor time of processes that are alive, seconds.
fn seconds_of(processes: &[u32]) -> f64 {
    let ticks: u64 = processes
        .iter()
        .filter_map(|pid| procfs::process_stat(*pid).ok())
        .map(|stat| stat.user_ticks + stat.system_ticks)
        .sum();
    ticks as f64 / procfs::ticks_per_second() as f64
}

/// Memory of all TCP sockets of this host, bytes.
fn socket_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/sockstat").context("cannot read /proc/net/sockstat")?;
    Ok(tcp_pages(&text) * procfs::page_bytes())
}

/// `TCP: inuse 5 orphan 0 tw 0 alloc 10 mem 2` has 2 pages.
fn tcp_pages(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    let pages = words.windows(2).find(|pair| pair[0] == "mem").and_then(|pair| pair[1].parse().ok());
    pages.unwrap_or_default()
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

fn figures<const N: usize>(all: [(&str, Value); N]) -> Figures {
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Thousandths are all that a noisy host can tell.
fn rounded(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}

/// What came out, against the budgets.
fn report(options: &Options, figures: &Figures) -> Report {
    let number = |name: &str| figures.get(name).and_then(Value::as_f64).unwrap_or_default();
    let is_void = number("emulator_cores_joining") > EMULATORS_MAX;
    let mut misses = Vec::new();
    if number("manager_ms_per_join") > JOIN_BUDGET_MS {
        misses.push(format!("a join takes more than {JOIN_BUDGET_MS} ms of the manager's processor"));
    }
    if options.machines >= REST_MACHINES {
        if number("memory_bytes_at_rest_p95") > REST_BUDGET_BYTES as f64 {
            misses.push(format!("the manager takes more than {REST_BUDGET_BYTES} bytes"));
        }
        if number("manager_cores_at_rest") > REST_BUDGET_CORES {
            misses.push(format!("the manager takes more than {REST_BUDGET_CORES} processors at rest"));
        }
    }
    if is_void {
        misses.push("void: the emulators were too busy; switch fewer machines on in a second".to_owned());
    }
    let mut text = format!("{} machines in {} processes:\n", options.machines, options.processes);
    text.extend(figures.iter().map(|(name, value)| format!("  {name:<30}{value:>14}\n")));
    text.extend(misses.iter().map(|miss| format!("  OVER BUDGET: {miss}\n")));
    let mut object = Map::new();
    object.insert("ok".to_owned(), json!(misses.is_empty()));
    object.insert("bench".to_owned(), json!("fleet-join"));
    object.insert("void".to_owned(), json!(is_void));
    object.insert("machines".to_owned(), json!(options.machines));
    object.insert("misses".to_owned(), json!(misses));
    object.extend(figures.clone());
    Report { ok: misses.is_empty(), text, json: Value::Object(object) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(machines: u32) -> Options {
        Options {
            repository: "/r".into(),
            fleet: "/f".into(),
            emulator: "/e".into(),
            corten: "/c".into(),
            machines,
            processes: 2,
            per_second: 50,
            rest: Duration::ZERO,
            first_port: 1,
        }
    }

    #[test]
    fn machines_are_shared_out_to_the_last() {
        assert_eq!(shares(10, 3), [4, 3, 3]);
        assert_eq!(shares(2, 4), [1, 1, 0, 0]);
    }

    #[test]
    fn counters_are_found_by_their_whole_type() {
        let page = "HTTP/1.1 200 OK\r\n\r\ncorten_fleet_resources{type=\"Links.omni.sidero.dev\"} 7\n";
        assert_eq!(resources(page, "Links.omni.sidero.dev"), 7);
        assert_eq!(resources(page, "Link"), 0);
        assert_eq!(tcp_pages("sockets: used 9\nTCP: inuse 5 orphan 0 tw 0 alloc 10 mem 2\n"), 2);
    }

    #[test]
    fn a_run_with_busy_emulators_is_void_and_budgets_at_rest_count_for_many_only() {
        let all = |emulators: f64, join: f64| {
            figures([
                ("emulator_cores_joining", json!(emulators)),
                ("manager_ms_per_join", json!(join)),
                ("memory_bytes_at_rest_p95", json!(2_u64 << 30)),
            ])
        };
        assert!(report(&options(100), &all(0.5, 59.0)).ok);
        assert!(!report(&options(100), &all(0.5, 61.0)).ok);
        let void = report(&options(100), &all(0.95, 1.0));
        assert!(!void.ok && void.json["void"] == true, "{}", void.text);
        assert!(report(&options(REST_MACHINES), &all(0.5, 1.0)).text.contains("OVER BUDGET"));
    }
}
