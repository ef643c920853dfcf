//! What init is asked to run: the complete description of one process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One process as init starts it, restarts it and stops it.
///
/// The program is `argv[0]` and must be an absolute path; the environment is exactly `env`, nothing is inherited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Program and arguments; `argv[0]` is an absolute path.
    pub argv: Vec<String>,
    /// The whole environment of the process.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory; `/` if absent.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// Opaque to init and given back in the status, so that an adopting machined can tell whether what runs is what it
    /// wants.
    #[serde(default)]
    pub revision: String,
    /// Group below the machine's root, such as `system/apid`; init makes it if it is missing.
    #[serde(default)]
    pub cgroup: Option<String>,
    /// Limits written to that group where the host has cgroup v2.
    #[serde(default)]
    pub limits: CgroupLimits,
    /// User id.
    #[serde(default)]
    pub uid: u32,
    /// Group id.
    #[serde(default)]
    pub gid: u32,
    /// Supplementary groups; the process has exactly these.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// Capabilities.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Resource limits, by lower-case name without the `RLIMIT_` prefix.
    #[serde(default)]
    pub rlimits: Vec<ResourceLimit>,
    /// Forbid gaining privileges by exec.
    #[serde(default)]
    pub no_new_privs: bool,
    /// Written to `oom_score_adj`; a refusal by the host is not an error.
    #[serde(default)]
    pub oom_score_adj: Option<i32>,
    /// Where standard output and error go.
    #[serde(default)]
    pub stdio: StdioSpec,
    /// Stored descriptors to give to the process.
    #[serde(default)]
    pub inherit: Vec<InheritedFd>,
    /// Fresh namespaces for the process.
    #[serde(default)]
    pub namespaces: Vec<Namespace>,
    /// Confinement beyond capabilities.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// What happens after an exit.
    #[serde(default)]
    pub restart: Restart,
    /// Signal number that asks the process to end.
    #[serde(default = "default_stop_signal")]
    pub stop_signal: i32,
}

impl ProcessSpec {
    /// A root process with nothing dropped, silent, never restarted.
    pub fn new<I, A>(argv: I) -> Self
    where
        I: IntoIterator<Item = A>,
        A: Into<String>,
    {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            working_dir: None,
            revision: String::new(),
            cgroup: None,
            limits: CgroupLimits::default(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            capabilities: Capabilities::Keep,
            rlimits: Vec::new(),
            no_new_privs: false,
            oom_score_adj: None,
            stdio: StdioSpec::Null,
            inherit: Vec::new(),
            namespaces: Vec::new(),
            sandbox: Sandbox::default(),
            restart: Restart::Never,
            stop_signal: default_stop_signal(),
        }
    }

    /// Checks everything that can be checked without the kernel.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        let program = self.argv.first().ok_or(InvalidSpec::NoProgram)?;
        if !program.starts_with('/') {
            return Err(InvalidSpec::RelativeProgram(program.clone()));
        }
        let texts = self.argv.iter().chain(self.env.keys()).chain(self.env.values());
        if let Some(text) = texts.into_iter().find(|text| text.contains('\0')) {
            return Err(InvalidSpec::NulByte(text.replace('\0', "\\0")));
        }
        if let Some(cgroup) = self.cgroup.as_deref().filter(|cgroup| !is_plain_relative_path(cgroup)) {
            return Err(InvalidSpec::Cgroup(cgroup.to_owned()));
        }
        if !(1..=64).contains(&self.stop_signal) {
            return Err(InvalidSpec::StopSignal(self.stop_signal));
        }
        if let Some(fd) = self.inherit.iter().find(|fd| !(3..=128).contains(&fd.target)) {
            return Err(InvalidSpec::InheritedTarget(fd.target));
        }
        Ok(())
    }
}

/// Why a [`ProcessSpec`] cannot be run by anyone.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidSpec {
    /// `argv` is empty.
    #[error("argv is empty")]
    NoProgram,
    /// `argv[0]` is not absolute.
    #[error("program `{0}` is not an absolute path")]
    RelativeProgram(String),
    /// exec cannot carry NUL bytes.
    #[error("`{0}` contains a NUL byte")]
    NulByte(String),
    /// The group would leave the machine's root.
    #[error("cgroup `{0}` is not a plain path below the machine's root")]
    Cgroup(String),
    /// No such signal.
    #[error("{0} is not a signal number")]
    StopSignal(i32),
    /// Descriptors 0 to 2 are stdio and high numbers are a mistake.
    #[error("descriptor {0} is outside 3 to 128")]
    InheritedTarget(i32),
}

/// cgroup v2 limits; absent means untouched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CgroupLimits {
    /// `memory.min`: never reclaimed.
    pub memory_min_bytes: Option<u64>,
    /// `memory.low`: reclaimed last.
    pub memory_low_bytes: Option<u64>,
    /// `memory.max`: killed above.
    pub memory_max_bytes: Option<u64>,
    /// `cpu.weight`, 1 to 10000.
    pub cpu_weight: Option<u32>,
}

/// Which capabilities the process has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capabilities {
    /// What init has.
    #[default]
    Keep,
    /// Exactly these, by name such as `CAP_NET_BIND_SERVICE`: in every set, ambient included, so that an unprivileged
    /// user keeps them over exec; everything else leaves the bounding set.
    Only(Vec<String>),
    /// What init has, without these.
    Without(Vec<String>),
}

/// One resource limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// Lower-case name without prefix: `nofile`, `core`, `nproc`.
    pub resource: String,
    /// Soft limit; absent is infinity.
    pub soft: Option<u64>,
    /// Hard limit; absent is infinity.
    pub hard: Option<u64>,
}

/// Standard output and error of the process; standard input is always `/dev/null` unless a stored descriptor is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StdioSpec {
    /// Nowhere.
    #[default]
    Null,
    /// Appended to this file, which init opens (and makes, with its directories) at every start.
    Log(String),
    /// The stored descriptor of this name, for all three.
    Stored(String),
    /// A terminal such as `/dev/tty2`, for all three; it becomes the controlling terminal.
    Terminal(String),
}

/// A stored descriptor given to a process under a fixed number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InheritedFd {
    /// Name under which it was stored.
    pub stored: String,
    /// Number in the process, 3 or above.
    pub target: i32,
}

/// A kernel namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    /// Mounts; propagation from the machine stays on (slave).
    Mount,
    /// Network.
    Net,
    /// Host name.
    Uts,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// cgroup view rooted at the process's own group.
    Cgroup,
}

/// Confinement of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    /// All mounts read-only for the process; needs [`Namespace::Mount`].
    pub read_only_mounts: bool,
    /// Refuse system calls that no service of ours needs (mounting, modules, kexec, tracing, clocks, keys, BPF).
    pub deny_admin_syscalls: bool,
}

/// What happens after an exit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Stays down; the exit is in the history.
    #[default]
    Never,
    /// Started again after a delay that doubles from the first to the second value and falls back after a run longer
    /// than the second.
    Always {
        /// First delay.
        backoff_ms_min: u64,
        /// Largest delay.
        backoff_ms_max: u64,
    },
}

fn default_stop_signal() -> i32 {
    15
}

fn is_plain_relative_path(path: &str) -> bool {
    path.len() <= 256
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_an_ordinary_spec() {
        let mut spec = ProcessSpec::new(["/usr/bin/apid", "--verbose"]);
        spec.cgroup = Some("system/apid".into());
        assert_eq!(spec.validate(), Ok(()));
    }

    #[test]
    fn refuses_what_cannot_run() {
        assert_eq!(ProcessSpec::new(Vec::<String>::new()).validate(), Err(InvalidSpec::NoProgram));
        assert_eq!(ProcessSpec::new(["apid"]).validate(), Err(InvalidSpec::RelativeProgram("apid".into())));
        assert!(matches!(ProcessSpec::new(["/a", "b\0c"]).validate(), Err(InvalidSpec::NulByte(_))));
        for cgroup in ["", "/system", "system/../..", "system//apid", "."] {
            let mut spec = ProcessSpec::new(["/a"]);
            spec.cgroup = Some(cgroup.into());
            assert_eq!(spec.validate(), Err(InvalidSpec::Cgroup(cgroup.into())));
        }
        let mut spec = ProcessSpec::new(["/a"]);
        spec.stop_signal = 0;
        assert_eq!(spec.validate(), Err(InvalidSpec::StopSignal(0)));
        let mut spec = ProcessSpec::new(["/a"]);
        spec.inherit.push(InheritedFd { stored: "x".into(), target: 1 });
        assert_eq!(spec.validate(), Err(InvalidSpec::InheritedTarget(1)));
    }
}
