//! Upkeep of mounted file systems: telling the disk what is unused, and checking.
//!
//!     VolumeStatus, VolumeMountStatus ──▶ what is due ──▶ VolumeTrimSchedule, FSScrubSchedule, FSScrubStatus
//!
//! Invariants:
//! - Times are fixed by interval and volume, not counted from the start of the machine: one that restarts often does
//!   its upkeep too, and machines that were made together do not all begin at once.
//! - One file system is looked after at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use corten_base::blocking;
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::block::{
    Filesystem, ScrubSchedule, ScrubStatus, VolumeMountStatus, VolumeStatus, VolumeTrimSchedule,
};
use corten_sys::filesystem::{self, Scrubbed, XfsMetadata};
use sha2::{Digest, Sha256};

/// Even a large disk has heard what is unused by then, and a large file system is checked.
const DEADLINE: Duration = Duration::from_secs(3600);
/// What a check found is told up to this many places.
const FINDINGS_MAX: usize = 8;
/// Clocks are set, and machines sleep: the next time is looked at again after this.
const LOOK: Duration = Duration::from_secs(600);
/// What is said of a file system without fault.
const SUCCESS: &str = "success";

/// What is done to a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// The disk is told what is unused.
    Trim,
    /// It is checked.
    Scrub,
}

/// A task for a mounted volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    task: Task,
    volume: String,
    target: String,
    interval: Duration,
    filesystem: Filesystem,
}

impl Job {
    /// The first time after this one.
    fn next(&self, since: SystemTime) -> SystemTime {
        let interval = self.interval.as_secs().max(1);
        let digest = Sha256::digest(format!("{:?} {}", self.task, self.volume));
        let seed = digest.iter().take(8).fold(0_u64, |seed, byte| seed << 8 | u64::from(*byte));
        let offset = seed % interval;
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let passed = since.saturating_sub(offset) / interval + u64::from(since >= offset);
        UNIX_EPOCH + Duration::from_secs(offset.saturating_add(passed.saturating_mul(interval)))
    }
}

/// What upkeep does to the world.
pub trait Caretaker: Send + Sync + 'static {
    /// Does a task; the text is what is to be told of it.
    fn run(&self, job: &Job) -> anyhow::Result<String>;
}

/// The machine's file systems.
#[derive(Clone, Copy, Debug)]
pub struct Mounted;

impl Caretaker for Mounted {
    fn run(&self, job: &Job) -> anyhow::Result<String> {
        let root = File::open(&job.target).with_context(|| format!("cannot open {}", job.target))?;
        match job.task {
            Task::Trim => {
                let bytes = filesystem::trim(&root)?;
                Ok(format!("{bytes} bytes are unused"))
            }
            Task::Scrub if job.filesystem == Filesystem::Xfs => scrub(&root),
            Task::Scrub => anyhow::bail!("{:?} cannot be checked while it is mounted", job.filesystem),
        }
    }
}

/// Looks after mounted file systems.
pub struct Upkeep<C = Mounted> {
    caretaker: Arc<C>,
    /// Time of the last look.
    now: SystemTime,
    /// When each task was done last, or seen first.
    since: BTreeMap<(Task, String), SystemTime>,
    /// What checks found.
    found: BTreeMap<String, ScrubStatus>,
}

controller!(impl<C: Caretaker> Upkeep<C>, "block.Upkeep",
    inputs: [weak VolumeStatus, weak VolumeMountStatus],
    outputs: [exclusive VolumeTrimSchedule, exclusive ScrubSchedule, exclusive ScrubStatus]);

impl<C: Caretaker> Upkeep<C> {
    /// By this caretaker; nothing done yet.
    pub fn new(caretaker: C) -> Self {
        let caretaker = Arc::new(caretaker);
        Self { caretaker, now: UNIX_EPOCH, since: BTreeMap::new(), found: BTreeMap::new() }
    }

    fn jobs(view: &View<Self>) -> Vec<Job> {
        let mut jobs = Vec::new();
        for volume in view.list::<VolumeStatus>() {
            let Some(mount) =
                view.get::<VolumeMountStatus>(volume.id()).filter(|mount| !mount.spec.read_only)
            else {
                continue;
            };
            let status = &volume.spec;
            let tasks = [
                (Task::Trim, status.trim_enabled, status.trim_interval),
                (Task::Scrub, status.scrub_enabled, status.scrub_interval),
            ];
            for (task, _, interval) in tasks.into_iter().filter(|(_, is_enabled, _)| *is_enabled) {
                jobs.push(Job {
                    task,
                    volume: volume.id().to_owned(),
                    target: mount.spec.target.clone(),
                    interval,
                    filesystem: status.filesystem,
                });
            }
        }
        jobs
    }
}

impl<C: Caretaker> Driver for Upkeep<C> {
    type Observed = BTreeMap<(Task, String), SystemTime>;
    type Op = Job;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Self::Observed> {
        self.now = view.now();
        let jobs = Self::jobs(view);
        let is_there =
            |task: Task, volume: &str| jobs.iter().any(|job| job.task == task && job.volume == volume);
        self.since.retain(|(task, volume), _| is_there(*task, volume));
        self.found.retain(|volume, _| is_there(Task::Scrub, volume));
        for job in jobs {
            self.since.entry((job.task, job.volume)).or_insert(self.now);
        }
        Ok(self.since.clone())
    }

    fn plan(&self, view: &View<Self>, since: &Self::Observed) -> Plan<Self, Job> {
        let mut plan = Plan::new().again_in(LOOK);
        for job in Self::jobs(view) {
            let (filesystem, interval) = (job.target.clone(), job.interval);
            let Some(since) = since.get(&(job.task, job.volume.clone())) else { continue };
            let next = job.next(*since);
            match job.task {
                Task::Trim => {
                    plan.put(&job.volume, VolumeTrimSchedule { filesystem, interval, next: Some(next) });
                }
                Task::Scrub => {
                    plan.put(&job.volume, ScrubSchedule { filesystem, interval, next: Some(next) });
                }
            }
            match next.duration_since(view.now()) {
                Ok(wait) => plan = plan.again_in(wait),
                Err(_) => {
                    plan.op(job);
                }
            }
        }
        for (volume, status) in &self.found {
            plan.put(volume, status.clone());
        }
        plan
    }

    async fn apply(&mut self, job: Job) -> anyhow::Result<()> {
        let begun = self.now;
        self.since.insert((job.task, job.volume.clone()), begun);
        let (caretaker, of) = (Arc::clone(&self.caretaker), job.clone());
        let started = tokio::time::Instant::now();
        let done = blocking(DEADLINE, move || caretaker.run(&of)).await?;
        let said = done.unwrap_or_else(|error| format!("{error:#}"));
        tracing::info!(volume = job.volume, task = ?job.task, "{said}");
        if job.task == Task::Scrub {
            let status = ScrubStatus {
                mountpoint: job.target,
                interval: job.interval,
                time: Some(begun),
                duration: started.elapsed(),
                status: said,
            };
            self.found.insert(job.volume, status);
        }
        Ok(())
    }
}

/// Checks what XFS can check while it is mounted: the headers and trees of its allocation groups, quotas, counters.
fn scrub(root: &File) -> anyhow::Result<String> {
    filesystem::scrub_xfs(root, XfsMetadata::Probe).context("the kernel checks no mounted file systems")?;
    let groups = filesystem::xfs_groups(root)?;
    let of_group: [fn(u32) -> XfsMetadata; 10] = [
        XfsMetadata::SuperBlock,
        XfsMetadata::FreeSpace,
        XfsMetadata::FreeList,
        XfsMetadata::Inodes,
        XfsMetadata::FreeByPlace,
        XfsMetadata::FreeBySize,
        XfsMetadata::InodeTree,
        XfsMetadata::FreeInodeTree,
        XfsMetadata::Owners,
        XfsMetadata::Shared,
    ];
    let of_all =
        [XfsMetadata::UserQuota, XfsMetadata::GroupQuota, XfsMetadata::ProjectQuota, XfsMetadata::Counters];
    let of_groups = (0..groups).flat_map(|group| of_group.map(|metadata| metadata(group)));
    let mut findings = Vec::new();
    let mut count = 0_usize;
    for metadata in of_groups.chain(of_all) {
        let finding = match filesystem::scrub_xfs(root, metadata)? {
            Scrubbed::Sound | Scrubbed::Absent => continue,
            Scrubbed::Corrupt => format!("{metadata:?} is damaged"),
            Scrubbed::Unclear => format!("{metadata:?} could not be checked"),
        };
        count += 1;
        if findings.len() < FINDINGS_MAX {
            findings.push(finding);
        }
    }
    if count == 0 {
        return Ok(SUCCESS.to_owned());
    }
    Ok(format!("{count} findings: {}; save what is in it and run xfs_repair", findings.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    struct Recorder(Arc<Mutex<Vec<Job>>>);

    impl Caretaker for Recorder {
        fn run(&self, job: &Job) -> anyhow::Result<String> {
            self.0.lock().expect("no panic").push(job.clone());
            Ok(SUCCESS.to_owned())
        }
    }

    fn job(task: Task, volume: &str) -> Job {
        Job {
            task,
            volume: volume.to_owned(),
            target: format!("/var/mnt/{volume}"),
            interval: HOUR,
            filesystem: Filesystem::Xfs,
        }
    }

    #[test]
    fn times_are_fixed_and_differ_by_volume() {
        let job_a = job(Task::Trim, "u-a");
        let start = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let first = job_a.next(start);
        assert!(first > start && first <= start + HOUR);
        assert_eq!(job_a.next(start + Duration::from_secs(1)), first, "a restart changes nothing");
        assert_eq!(job_a.next(first), first + HOUR, "once for each time");
        assert_ne!(job(Task::Trim, "u-b").next(start), first);
        assert!(job_a.next(UNIX_EPOCH) <= UNIX_EPOCH + HOUR);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_is_done_once_and_told() {
        let done = Arc::<Mutex<Vec<Job>>>::default();
        let of = Arc::clone(&done);
        let runtime = TestRuntime::new(corten_resources::registry(), move |runtime| {
            runtime.register(Upkeep::new(Recorder(of)));
        });
        let status = VolumeStatus {
            filesystem: Filesystem::Xfs,
            trim_enabled: true,
            trim_interval: HOUR,
            scrub_enabled: true,
            scrub_interval: HOUR,
            ..VolumeStatus::default()
        };
        runtime.put(resource("u-a", status));
        let mount = VolumeMountStatus { target: "/var/mnt/u-a".to_owned(), ..VolumeMountStatus::default() };
        runtime.put(resource("u-a", mount));
        runtime.quiet().await;
        assert!(
            runtime.state().get::<VolumeTrimSchedule>("u-a").is_some_and(|plan| plan.spec.next.is_some())
        );
        assert!(done.lock().expect("no panic").is_empty(), "nothing is due");
        for _ in 0..8 {
            runtime.advance(Duration::from_secs(600)).await;
        }
        while runtime.state().get::<ScrubStatus>("u-a").is_none() {
            runtime.advance(Duration::from_secs(1)).await;
        }
        let tasks: Vec<Task> = done.lock().expect("no panic").iter().map(|job| job.task).collect();
        assert!(tasks.contains(&Task::Trim) && tasks.contains(&Task::Scrub) && tasks.len() <= 4, "{tasks:?}");
        let found = runtime.state().get::<ScrubStatus>("u-a").expect("a status").spec;
        assert_eq!((found.status.as_str(), found.mountpoint.as_str()), (SUCCESS, "/var/mnt/u-a"));
    }
}
