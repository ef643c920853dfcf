//! The API under attack: clients that are slow, many, silent, greedy or broken, and one that is polite. Then certificates
//! and the CA change under open streams.
//!
//! ```text
//! in the machine's network:  attackers, on a processor of their own ─▶ apid ◀─ a polite client: its p99 against its quiet one
//! on the host:               memory of apid ─▶ at most its budget, and what it was afterwards
//! ```
//!
//! In quiet times the attackers' processor is busy as well, with work that reaches nobody: where two processors are threads
//! of one core, whoever works on one slows the other down, and that is not what the machine is asked about.
//!
//! Attackers and the polite client come from different addresses of the machine: what one address takes is bounded for
//! that address, which nobody can be spared who shares it.

mod attacks;
mod polite;
mod processors;
mod rotation;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use corten_base::{Clock, Secret};
use corten_client::{Client, Credentials, Endpoints, Server, TalosConfig};
use corten_harness::{ContainerMachine, wait_for};
use corten_sys::procfs;
use tonic::transport::Channel;

use self::attacks::{Attack, Tally};
use self::polite::Quality;
use self::processors::{Processors, stay_on};
use crate::cluster::{Cluster, ClusterPlan, Files};
use crate::cx::Cx;
use crate::inside::{self, Process, spawn_inside};
use crate::machine::API_PORT;

/// How long each attack goes on, and how long it is quiet first.
const ATTACK: Duration = Duration::from_secs(20);
/// What apid may take, whatever comes (SPECIFICATION.md).
const MEMORY_MAX: u64 = 32 << 20;
/// How much slower than in quiet times the slowest hundredth of polite calls may be.
const SLOWER_MAX: f64 = 2.0;
/// By how much apid may be larger afterwards.
const LARGER_MAX: f64 = 1.1;
/// How soon it has given back what the attacks needed.
const RECOVERY_MAX: Duration = Duration::from_secs(120);
/// Memory that whoever is busy elsewhere works on.
const BUSY_BYTES: usize = 256 << 10;
/// Between two looks at memory.
const LOOK: Duration = Duration::from_millis(100);

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    let processors = Processors::split()?;
    stay_on(&processors.machine)?;
    let options = cx.machine(0)?;
    let plan = ClusterPlan::of(&options);
    let files = Files::write(&plan, cx.folder())?;
    let started = Instant::now();
    let machine = options.start()?;
    let cluster = cx.cluster(plan, files, &machine, started)?;
    cluster.wait_maintenance()?;
    cluster.apply()?;
    cluster.wait_api()?;
    let story = Story {
        container: machine.container()?,
        target: Target::of(&cluster, processors)?,
        cluster: &cluster,
    };
    attacked(cx, &story)?;
    rotation::run(cx, &story)?;
    let grace = cluster.limit(60);
    machine.stop(grace)
}

/// The machine and how it is reached.
struct Story<'a> {
    container: &'a ContainerMachine,
    cluster: &'a Cluster<'a>,
    target: Target,
}

/// How clients inside the machine's network reach its API.
#[derive(Clone, Debug)]
struct Target {
    /// As the polite client does.
    polite: SocketAddr,
    /// As attackers do; the kernel gives them other addresses of their own there.
    rude: Vec<SocketAddr>,
    authorities: Vec<u8>,
    own: (Vec<u8>, Secret<Vec<u8>>),
    processors: Processors,
}

impl Target {
    fn of(cluster: &Cluster<'_>, processors: Processors) -> Result<Self> {
        let text = std::fs::read_to_string(&cluster.files.talosconfig).context("cannot read talosconfig")?;
        let config = TalosConfig::parse(&text)?;
        let [authorities, crt, key] = config.context(None)?.pem()?;
        Ok(Self {
            polite: SocketAddr::from(([127, 0, 0, 1], API_PORT)),
            rude: vec![
                SocketAddr::from((cluster.plan.node, API_PORT)),
                SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, API_PORT)),
            ],
            authorities,
            own: (crt, Secret::new(key)),
            processors,
        })
    }

    /// A connection that is made when it is first used.
    fn channel(&self, to: SocketAddr, server: Server) -> Result<Channel> {
        let credentials = Credentials { server, own: Some(self.own.clone()), clock: Clock::system() };
        Ok(Endpoints::parse([to.to_string()], API_PORT)?.connect(&credentials)?)
    }

    /// Whoever attacks does not look at certificates.
    fn rude(&self, number: usize) -> Result<Channel> {
        let to = self.rude.get(number % self.rude.len().max(1)).context("there is nobody to attack")?;
        self.channel(*to, Server::Anyone)
    }

    fn polite(&self) -> Result<Client> {
        let server = Server::Authorities(self.authorities.clone());
        Ok(Client::new(self.channel(self.polite, server)?))
    }
}

/// Each attack in turn, with the polite client before and during each.
fn attacked(cx: &mut Cx, story: &Story<'_>) -> Result<()> {
    let apid = apid(story)?;
    let idle = measure(story, ATTACK)?;
    cx.figure("idle_p99_microseconds", idle.p99()?.as_micros() as u64);
    let resting = Memory::watch(&apid);
    let elsewhere = busy_elsewhere(story.target.processors, Instant::now() + ATTACK);
    let quiet = measure(story, ATTACK)?;
    elsewhere.join().map_err(|_| anyhow!("who is busy elsewhere panicked"))??;
    let resting = resting.end()?;
    cx.figure("quiet_calls", quiet.answered());
    cx.figure("quiet_p99_microseconds", quiet.p99()?.as_micros() as u64);
    cx.figure("apid_bytes_before", resting.last);
    let (mut peak, mut served, mut refused) = (0, 0, 0);
    for attack in Attack::ALL {
        let mut outcome = None;
        cx.case(&format!("{}: others are served, and memory is bounded", attack.sentence()), || {
            let found = outcome.insert(endure(story, &apid, attack)?);
            check(found, &quiet)
        });
        let Some(Outcome { quality, memory, tally }) = outcome else { continue };
        let name = attack.name();
        cx.figure(&format!("{name}_served"), tally.served);
        cx.figure(&format!("{name}_refused"), tally.refused);
        cx.figure(&format!("{name}_apid_bytes_peak"), memory.peak);
        cx.figure(&format!("{name}_p99_microseconds"), quality.p99()?.as_micros() as u64);
        peak = peak.max(memory.peak);
        served += tally.served;
        refused += tally.refused;
    }
    cx.figure("apid_bytes_peak", peak);
    cx.figure("served", served);
    cx.figure("refused", refused);
    afterwards(cx, story, &apid, resting.last);
    Ok(())
}

/// What an attack has done.
struct Outcome {
    quality: Quality,
    memory: Memory,
    tally: Tally,
}

fn check(outcome: &Outcome, quiet: &Quality) -> Result<()> {
    let Outcome { quality, memory, tally } = outcome;
    ensure!(tally.served + tally.refused > 0, "nobody attacked");
    ensure!(memory.peak <= MEMORY_MAX, "apid took {} bytes", memory.peak);
    let (before, now) = (quiet.p99()?, quality.p99()?);
    let slower = now.as_secs_f64() / before.as_secs_f64();
    ensure!(slower <= SLOWER_MAX, "p99 of a polite client is {now:?}, and was {before:?}");
    Ok(())
}

/// An attack, with the polite client and the memory of apid watched meanwhile.
fn endure(story: &Story<'_>, apid: &Process, attack: Attack) -> Result<Outcome> {
    let target = story.target.clone();
    let end = Instant::now() + ATTACK;
    let memory = Memory::watch(apid);
    let attackers = spawn_inside(story.container, move || attacks::run(attack, &target, end))?;
    let quality = measure(story, ATTACK);
    let tally = attackers.join().map_err(|_| anyhow!("the attackers panicked"))???;
    let (quality, memory) = (quality?, memory.end()?);
    Ok(Outcome { quality, memory, tally })
}

/// The attackers' processor works until `end`, and nobody is asked for anything.
fn busy_elsewhere(processors: Processors, end: Instant) -> JoinHandle<Result<()>> {
    std::thread::spawn(move || {
        stay_on(&processors.attackers)?;
        let mut block = vec![0_u8; BUSY_BYTES];
        while Instant::now() < end {
            for byte in &mut block {
                *byte = std::hint::black_box(byte.wrapping_mul(31).wrapping_add(7));
            }
        }
        Ok(())
    })
}

/// Polite calls from inside of the machine's network.
fn measure(story: &Story<'_>, time: Duration) -> Result<Quality> {
    let target = story.target.clone();
    let measuring = spawn_inside(story.container, move || polite::run(&target, time))?;
    measuring.join().map_err(|_| anyhow!("the polite client panicked"))??
}

/// apid is the one that it was, has not panicked, and gives back what it took.
fn afterwards(cx: &mut Cx, story: &Story<'_>, apid: &Process, before: u64) {
    cx.case("apid is the process that it was, and nothing has panicked", || {
        let now = self::apid(story)?;
        ensure!(now == *apid, "it was {apid:?}, and is {now:?}");
        for service in ["apid", "machined"] {
            let log = story.cluster.admin().run(&["logs", service])?;
            ensure!(!log.contains("panicked"), "{service} has panicked:\n{log}");
        }
        Ok(())
    });
    let mut after = None;
    cx.case("apid gives back what the attacks needed", || {
        let most = (before as f64 * LARGER_MAX) as u64;
        let evidence = || format!("apid takes {} bytes", procfs::pss_bytes(apid.pid).unwrap_or_default());
        let found = wait_for("apid to be as small as it was", RECOVERY_MAX, evidence, || {
            procfs::pss_bytes(apid.pid).ok().filter(|bytes| *bytes <= most)
        })?;
        after = Some(found);
        Ok(())
    });
    if let Some(bytes) = after {
        cx.figure("apid_bytes_after", bytes);
    }
}

fn apid(story: &Story<'_>) -> Result<Process> {
    inside::only(story.container, "apid")
}

/// Memory of a process, looked at often.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// The most.
    peak: u64,
    /// At the end.
    last: u64,
}

/// Looks at the memory of a process until it is ended.
struct Watching {
    end: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    thread: JoinHandle<()>,
    pid: u32,
}

impl Memory {
    fn watch(process: &Process) -> Watching {
        let (end, peak, pid) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), process.pid);
        let thread = std::thread::spawn({
            let (end, peak) = (Arc::clone(&end), Arc::clone(&peak));
            move || {
                while !end.load(Ordering::SeqCst) {
                    peak.fetch_max(procfs::pss_bytes(pid).unwrap_or_default(), Ordering::SeqCst);
                    std::thread::sleep(LOOK);
                }
            }
        });
        Watching { end, peak, thread, pid }
    }
}

impl Watching {
    fn end(self) -> Result<Memory> {
        self.end.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow!("the look at memory panicked"))?;
        let last = procfs::pss_bytes(self.pid).context("apid is gone")?;
        Ok(Memory { peak: self.peak.load(Ordering::SeqCst).max(last), last })
    }
}
