//! Services as resources: what should run, what runs, and the intents that API calls leave behind.
//!
//! Controllers decide *what* should run and write [`ServiceSpec`]; the service manager alone decides *when* to start, stop and restart, and
//! reports through [`Service`]. A service that must not start yet still has a specification: `waiting_for` says what it waits for, so that
//! `service` lists it with its reason.

use std::time::{Duration, SystemTime};

use corten_resource::{Enumeration, Record, Resource};

/// How a service is executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum Runner {
    /// A process that init starts on behalf of machined.
    #[default]
    #[variant(0, "process")]
    Process,
    /// A container in the Kubernetes containerd.
    #[variant(1, "container")]
    Container,
}

/// What happens after the service ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum Restart {
    /// Start again, whatever the exit status was.
    #[default]
    #[variant(0, "always")]
    Always,
    /// Leave it finished.
    #[variant(1, "never")]
    Never,
    /// Start again until it once ended with status 0.
    #[variant(2, "untilSuccess")]
    UntilSuccess,
}

/// How health is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum HealthProbe {
    /// No check: health is unknown while running.
    #[default]
    #[variant(0, "none")]
    None,
    /// Somebody listens at `target` (`address:port`).
    #[variant(1, "tcp")]
    Tcp,
    /// A GET of `target` (an `http://` URL) answers 200.
    #[variant(2, "http")]
    Http,
    /// A connection to the unix socket at `target` succeeds.
    #[variant(3, "unix")]
    Unix,
    /// The containerd behind the socket `target` answers its health service.
    #[variant(4, "containerd")]
    Containerd,
}

/// What uses a service besides the calls that asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum UseProbe {
    /// Nothing.
    #[default]
    #[variant(0, "none")]
    None,
    /// Containers that run in the containerd behind the socket `target`.
    #[variant(1, "containerd")]
    Containerd,
}

/// A service runs only while it is used, and some time longer.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct OnDemand {
    /// How long it goes on after its last use.
    #[field(1, "idleTime")]
    pub idle_time: Duration,
    /// What else uses it.
    #[field(2, "probe")]
    pub probe: UseProbe,
    /// What the probe is directed at; its form depends on the kind.
    #[field(3, "target", omitempty)]
    pub target: String,
}

/// When and how a service's health is checked.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct HealthCheck {
    /// Kind of probe.
    #[field(1, "probe")]
    pub probe: HealthProbe,
    /// What the probe is directed at; its form depends on the kind.
    #[field(2, "target", omitempty)]
    pub target: String,
    /// Time from start to the first probe.
    #[field(3, "initialDelay")]
    pub initial_delay: Duration,
    /// Time between probes.
    #[field(4, "period")]
    pub period: Duration,
    /// Time after which a probe counts as failed.
    #[field(5, "timeout")]
    pub timeout: Duration,
}

/// A process started by init.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ProcessRun {
    /// Program (absolute path) and its arguments.
    #[field(1, "args")]
    pub args: Vec<String>,
    /// Environment as `KEY=value`; nothing is inherited.
    #[field(2, "environment", omitempty)]
    pub environment: Vec<String>,
    /// User the process runs as.
    #[field(3, "uid")]
    pub uid: u32,
    /// Group the process runs as.
    #[field(4, "gid")]
    pub gid: u32,
    /// Capabilities kept for a user that is not root (`CAP_NET_BIND_SERVICE`); root keeps all.
    #[field(5, "capabilities", omitempty)]
    pub capabilities: Vec<String>,
    /// Cgroup below the machine's root cgroup (`/system/apid`).
    #[field(6, "cgroup")]
    pub cgroup: String,
    /// OOM score adjustment.
    #[field(7, "oomScoreAdjust")]
    pub oom_score_adjust: i32,
    /// Forbid gaining privileges through exec.
    #[field(8, "noNewPrivileges")]
    pub no_new_privileges: bool,
    /// Send signals to the main process only; children (shims) survive a restart.
    #[field(9, "keepChildren")]
    pub keep_children: bool,
    /// Every mount is read-only to it.
    #[field(10, "readOnlyMounts")]
    pub read_only_mounts: bool,
}

/// A mount of a service container.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ContainerMount {
    /// Path inside the container.
    #[field(1, "destination")]
    pub destination: String,
    /// File system type (`bind`, `tmpfs`, `proc`, …).
    #[field(2, "type")]
    pub kind: String,
    /// Path on the machine, or the pseudo device.
    #[field(3, "source")]
    pub source: String,
    /// Mount options (`rbind`, `rshared`, `ro`, …).
    #[field(4, "options", omitempty)]
    pub options: Vec<String>,
}

/// A container in the Kubernetes containerd, in the host's network namespace; standard output goes to the service's log file.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ContainerRun {
    /// Namespace of containerd (`system`).
    #[field(1, "namespace")]
    pub namespace: String,
    /// Image reference.
    #[field(2, "image")]
    pub image: String,
    /// Program and arguments; they replace the image's entry point and command.
    #[field(3, "args")]
    pub args: Vec<String>,
    /// Environment as `KEY=value`, added to the image's.
    #[field(4, "environment", omitempty)]
    pub environment: Vec<String>,
    /// Mounts, besides `/proc`, `/sys`, `/dev` and their standard company.
    #[field(5, "mounts", omitempty)]
    pub mounts: Vec<ContainerMount>,
    /// User inside the container.
    #[field(6, "uid")]
    pub uid: u32,
    /// Group inside the container.
    #[field(7, "gid")]
    pub gid: u32,
    /// All capabilities, all devices, no seccomp, no masked paths, writable sysfs and cgroups.
    #[field(8, "privileged")]
    pub privileged: bool,
    /// Share the machine's PID namespace.
    #[field(9, "hostPid")]
    pub host_pid: bool,
    /// Root file system of the container is not writable.
    #[field(10, "readOnlyRoot")]
    pub read_only_root: bool,
    /// Cgroup below the machine's root cgroup (`/podruntime/etcd`).
    #[field(11, "cgroup")]
    pub cgroup: String,
    /// OOM score adjustment.
    #[field(12, "oomScoreAdjust")]
    pub oom_score_adjust: i32,
    /// Propagation of the root mount (`shared`, `rslave`); empty means private.
    #[field(13, "rootfsPropagation", omitempty)]
    pub rootfs_propagation: String,
    /// Directories made on the machine before the start, with owner and mode.
    #[field(14, "directories", omitempty)]
    pub directories: Vec<ServiceDirectory>,
}

/// A directory of the machine that must exist before a service starts.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ServiceDirectory {
    /// Absolute path.
    #[field(1, "path")]
    pub path: String,
    /// Permission bits.
    #[field(2, "mode")]
    pub mode: u32,
    /// Owner.
    #[field(3, "uid")]
    pub uid: u32,
    /// Group.
    #[field(4, "gid")]
    pub gid: u32,
}

/// What should run. The id is the service's id (`etcd`).
///
/// Written by the domain that owns the service; read by the service manager. Ours only, never shown over the API.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ServiceSpecs.corten.dev", namespace = "runtime", internal)]
pub struct ServiceSpec {
    /// Which of `process` and `container` counts.
    #[field(1, "runner")]
    pub runner: Runner,
    /// The process, when that is the runner.
    #[field(2, "process", omitempty)]
    pub process: ProcessRun,
    /// The container, when that is the runner.
    #[field(3, "container", omitempty)]
    pub container: ContainerRun,
    /// Not empty: publish the state Waiting with these reasons and do not start.
    #[field(4, "waitingFor", omitempty)]
    pub waiting_for: Vec<String>,
    /// Health check.
    #[field(5, "health", omitempty)]
    pub health: HealthCheck,
    /// Restart policy.
    #[field(6, "restart")]
    pub restart: Restart,
    /// A change of this text restarts the service even when nothing else changed (content of its files).
    #[field(7, "revision", omitempty)]
    pub revision: String,
    /// The API may start, stop and restart it.
    #[field(8, "control")]
    pub control: bool,
    /// Runs only while there is a [`ServiceDemand`]; absent for a service that always runs.
    #[field(9, "onDemand", omitempty)]
    pub on_demand: Option<OnDemand>,
}

/// Somebody needs a service that runs on demand. The id is the service's id.
///
/// Written by the service manager for those who use the service; journalled, so that a new machined ends what its predecessor started. Ours
/// only.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ServiceDemands.corten.dev", namespace = "runtime", internal)]
pub struct ServiceDemand {
    /// When the last use ended; absent while it lasts.
    #[field(1, "idleSince", omitempty)]
    pub idle_since: Option<SystemTime>,
}

/// State of a service as clients see it. The id is the service's id.
///
/// Written by the service manager; read by `get services`, upgrade clients and controllers that wait for a service.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "Services.v1alpha1.talos.dev",
    namespace = "runtime",
    aliases("svc"),
    columns("Running" => "{.running}", "Healthy" => "{.healthy}", "Health Unknown" => "{.unknown}")
)]
pub struct Service {
    /// The service runs.
    #[field(1, "running")]
    pub running: bool,
    /// The last check succeeded.
    #[field(2, "healthy")]
    pub healthy: bool,
    /// There was no check yet, or there is none.
    #[field(3, "unknown")]
    pub unknown: bool,
}

/// Somebody asked this machine to start the first member of etcd.
///
/// Written by the API; read by the etcd controllers. Ours only.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "BootstrapIntents.corten.dev", namespace = "runtime", internal)]
pub struct BootstrapIntent {
    /// Restore the snapshot that was uploaded before, instead of starting empty.
    #[field(1, "recoverEtcd")]
    pub recover_etcd: bool,
    /// Do not check the snapshot's hash (it is a copy of a data directory).
    #[field(2, "recoverSkipHashCheck")]
    pub recover_skip_hash_check: bool,
}

impl BootstrapIntent {
    /// Id of the only one.
    pub const ID: &'static str = "bootstrap";
}
