//! The power goes at any moment of the first boot, and the machine becomes Ready, is the same and has clean disks.
//!
//! One boot from power-on to Ready is recorded, request by request. Each cut is that disk as a loss of power would have
//! left it (see [`crate::writelog`]): half of the cuts at a random moment, half at a random request, which is where the
//! machine writes. Once the machine is Ready its power goes again, and its filesystems are checked.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_base::Rng;

use super::node_faults::resume;
use crate::cluster::{ClusterPlan, Files};
use crate::cx::{Cx, say};
use crate::disk_check;
use crate::machine::{MachineOptions, copy_sparse};
use crate::tool::Tool;
use crate::writelog::{self, WriteLog};

/// Cuts, unless the command line says otherwise.
const CUTS: u32 = 40;

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    let seed = cx.options().seed;
    let cuts = cx.options().rounds.unwrap_or(CUTS);
    cx.figure("seed", seed);
    let rng = Rng::seeded(seed);
    let recorded = record(cx)?;
    let log = WriteLog::open(&recorded.log)?;
    cx.figure("recorded_requests", log.entries().len());
    cx.figure("recorded_flushes", log.entries().iter().filter(|entry| entry.is_flush()).count());
    cx.seconds("recorded_seconds", recorded.ready.as_secs_f64());
    let mut lost = 0;
    for number in 0..cuts {
        let at = recorded.cut(number, &log, &rng);
        lost += cut(cx, &recorded, &log, number, at, &rng)?;
    }
    cx.figure("cuts", cuts);
    cx.figure("writes_dropped", lost);
    Ok(())
}

/// A boot from power-on to Ready, on record.
struct Recorded {
    options: MachineOptions,
    plan: ClusterPlan,
    files: Files,
    /// The disk before it was switched on.
    blank: PathBuf,
    log: PathBuf,
    /// Requests on record at moments after power-on.
    moments: Vec<(Duration, u64)>,
    ready: Duration,
    identity: String,
    /// Requests on record when the identity was known to be on the disk.
    identity_at: u64,
}

impl Recorded {
    /// After how many requests the power goes.
    fn cut(&self, number: u32, log: &WriteLog, rng: &Rng) -> usize {
        let total = log.entries().len();
        if number.is_multiple_of(2) {
            return (rng.fraction() * total as f64) as usize;
        }
        let moment = self.ready.mul_f64(rng.fraction());
        let after = self.moments.iter().find(|(at, _)| *at >= moment);
        after.map_or(total, |(_, count)| (*count as usize).min(total))
    }
}

fn record(cx: &Cx) -> Result<Recorded> {
    let mut options = cx.machine(0)?;
    let plan = ClusterPlan::of(&options);
    let files = Files::write(&plan, cx.folder())?;
    options.write_disk()?;
    let blank = cx.folder().join("blank.raw");
    copy_sparse(&options.disk(), &blank).context("cannot copy the blank disk")?;
    let log = cx.folder().join("writes.log");
    options.record = Some(log.clone());
    let started = Instant::now();
    let machine = options.start()?;
    let cluster = cx.cluster(plan.clone(), files.clone(), &machine, started)?;
    let clock = Clockwork::start(log.clone(), started);
    cluster.wait_maintenance()?;
    cluster.apply()?;
    cluster.wait_api()?;
    cluster.bootstrap()?;
    cluster.fetch_kubeconfig()?;
    let identity = identity(&cluster.admin())?;
    cluster.wait_node_ready()?;
    let identity_at = writelog::count(&log)?;
    let ready = started.elapsed();
    let moments = clock.stop()?;
    machine.cut_power()?;
    options.record = None;
    Ok(Recorded { options, plan, files, blank, log, moments, ready, identity, identity_at })
}

/// Notes how the log grows with time.
struct Clockwork {
    end: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<(Duration, u64)>>,
}

impl Clockwork {
    fn start(log: PathBuf, started: Instant) -> Self {
        const PERIOD: Duration = Duration::from_millis(100);
        let end = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let end = end.clone();
            move || {
                let mut moments = Vec::new();
                while !end.load(Ordering::SeqCst) {
                    // Before the first request there is no superblock.
                    moments.push((started.elapsed(), writelog::count(&log).unwrap_or_default()));
                    std::thread::sleep(PERIOD);
                }
                moments
            }
        });
        Self { end, thread }
    }

    fn stop(self) -> Result<Vec<(Duration, u64)>> {
        self.end.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow::anyhow!("the log was not watched to its end"))
    }
}

/// One loss of power. Gives how many writes it dropped.
fn cut(cx: &mut Cx, recorded: &Recorded, log: &WriteLog, number: u32, at: usize, rng: &Rng) -> Result<usize> {
    let disk = recorded.options.disk();
    copy_sparse(&recorded.blank, &disk).context("cannot copy the blank disk")?;
    let kept = log.replay(&disk, at, rng)?;
    let sentence = format!(
        "cut {} after {at} requests: {} kept for sure, {} by luck, {} lost",
        number + 1,
        kept.flushed,
        kept.lucky,
        kept.lost
    );
    let began = Instant::now();
    say(&sentence);
    let recovered = recover(cx, recorded, at);
    let seconds = began.elapsed().as_secs();
    cx.case(&format!("{sentence}: after {seconds} s Ready, the same and clean"), || recovered);
    Ok(kept.lost)
}

fn recover(cx: &Cx, recorded: &Recorded, at: usize) -> Result<()> {
    let machine = recorded.options.start()?;
    let cluster = cx.cluster(recorded.plan.clone(), recorded.files.clone(), &machine, Instant::now())?;
    resume(&cluster)?;
    let now = identity(&cluster.admin())?;
    if at as u64 >= recorded.identity_at {
        ensure!(now == recorded.identity, "the identity was {} and is {now}", recorded.identity);
    }
    machine.cut_power()?;
    disk_check::filesystems(&recorded.options)
}

fn identity(admin: &Tool) -> Result<String> {
    let identity = admin.run(&["get", "identities", "local", "-o", "jsonpath={.spec.nodeId}"])?;
    ensure!(!identity.trim().is_empty(), "the machine has no identity");
    Ok(identity.trim().to_owned())
}
