//! The power goes at any moment of the first boot, and the machine becomes Ready, is the same and has clean disks.
//!
//! One boot from power-on to Ready is recorded, request by request. Each cut is that disk as a loss of power would have
//! left it (see [`crate::writelog`]): half of the cuts at a random moment, half at a random request, which is where the
//! machine writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_base::Rng;
use corten_harness::wait_for;
use corten_sys::loopdev::{LoopDevice, LoopOptions};

use super::node_faults::resume;
use crate::cluster::{Cluster, ClusterPlan, Files};
use crate::cx::{Cx, say};
use crate::machine::{MachineOptions, copy_sparse};
use crate::tool::{Tool, USUAL};
use crate::writelog::{self, WriteLog};

/// Cuts, unless the command line says otherwise.
const CUTS: u32 = 40;
/// Partitions with filesystems that must be clean.
const FILESYSTEMS: [&str; 2] = ["STATE", "EPHEMERAL"];

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
    shut_down(&cluster)?;
    drop(machine);
    check_filesystems(&recorded.options)
}

fn identity(admin: &Tool) -> Result<String> {
    let identity = admin.run(&["get", "identities", "local", "-o", "jsonpath={.spec.nodeId}"])?;
    ensure!(!identity.trim().is_empty(), "the machine has no identity");
    Ok(identity.trim().to_owned())
}

fn shut_down(cluster: &Cluster<'_>) -> Result<()> {
    cluster.admin().run_for(&["shutdown", "--wait=false", "--force"], cluster.limit(20))?;
    let evidence = || cluster.machine.evidence();
    wait_for("the machine to power off", cluster.limit(60), evidence, || {
        cluster.machine.check().err().map(drop)
    })
}

/// The node's own checkers find nothing.
fn check_filesystems(options: &MachineOptions) -> Result<()> {
    let disk = std::fs::File::open(options.disk()).context("cannot open the disk")?;
    let scan = LoopOptions { read_only: true, scan_partitions: true, block_size_bytes: 0 };
    let device = LoopDevice::attach(std::os::fd::AsFd::as_fd(&disk), scan)?;
    let result = FILESYSTEMS.iter().try_for_each(|label| check_filesystem(options, device.path(), label));
    device.detach()?;
    result
}

fn check_filesystem(options: &MachineOptions, device: &Path, label: &str) -> Result<()> {
    let partition = wait_for(&format!("partition {label}"), Duration::from_secs(5), String::new, || {
        partition(device, label)
    })?;
    let root = options.image.join("rootfs");
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    let loader = Tool::new(libraries.join("ld-linux-x86-64.so.2"), "xfs_repair");
    let (libraries, program) = (libraries.to_string_lossy(), root.join("usr/sbin/xfs_repair"));
    let checker = loader.with(["--library-path", &libraries, &program.to_string_lossy()]);
    say(&format!("checking {label}"));
    checker.run_for(&["-n".as_ref(), partition.as_os_str()], USUAL).map(drop)
}

/// The device of a partition of that label.
fn partition(device: &Path, label: &str) -> Option<PathBuf> {
    let name = device.file_name()?.to_str()?;
    let wanted = format!("PARTNAME={label}");
    for entry in std::fs::read_dir("/sys/class/block").ok()?.flatten() {
        let part = entry.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(entry.path().join("uevent")).unwrap_or_default();
        if part.starts_with(&format!("{name}p")) && text.lines().any(|line| line == wanted) {
            return Some(Path::new("/dev").join(part));
        }
    }
    None
}
