//! From a specification to a process: resolves names to descriptors, groups and capabilities.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use corten_supervisor::{Capabilities, CgroupLimits, Namespace, ProcessSpec, ResourceLimit, StdioSpec};
use corten_sys::cgroup::{Cgroups, Limits};
use corten_sys::namespace::Namespaces;
use corten_sys::process::{Launch, Process, capability, grantable_limit, limit_number, seccomp};

use crate::log::chain;

/// Descriptors that init keeps for others.
pub type Stored = BTreeMap<String, OwnedFd>;

/// Starts what the specification says. The error is for people.
pub fn start(spec: &ProcessSpec, stored: &Stored, cgroups: Option<&Cgroups>) -> Result<Process, String> {
    let launch = build(spec, stored, cgroups)?;
    launch.start().map_err(|error| chain(&error))
}

fn build(spec: &ProcessSpec, stored: &Stored, cgroups: Option<&Cgroups>) -> Result<Launch, String> {
    let arguments = spec.argv.iter().map(|argument| text(argument)).collect::<Result<Vec<_>, _>>()?;
    let program = arguments.first().cloned().ok_or("argv is empty")?;
    let environment = spec.env.iter().map(|(name, value)| text(&format!("{name}={value}")));
    let descriptors =
        spec.inherit.iter().map(|fd| duplicate(stored, &fd.stored).map(|copy| (copy, fd.target)));
    let limits = spec.rlimits.iter().map(limit).collect::<Result<_, _>>()?;
    Ok(Launch {
        program,
        arguments,
        environment: environment.collect::<Result<_, _>>()?,
        working_dir: text(spec.working_dir.as_deref().unwrap_or("/"))?,
        stdio: stdio(&spec.stdio, stored)?,
        descriptors: descriptors.collect::<Result<_, _>>()?,
        cgroups: enter(spec, cgroups)?,
        uid: spec.uid,
        gid: spec.gid,
        groups: spec.groups.clone(),
        capabilities: capabilities(&spec.capabilities)?,
        ambient: spec.uid != 0 && matches!(spec.capabilities, Capabilities::Only(_)),
        limits,
        no_new_privs: spec.no_new_privs,
        oom_score_adj: spec.oom_score_adj,
        namespaces: namespaces(&spec.namespaces),
        read_only_mounts: spec.sandbox.read_only_mounts,
        seccomp: spec.sandbox.deny_admin_syscalls.then(seccomp::Filter::without_administration),
        terminal: matches!(spec.stdio, StdioSpec::Terminal(_)),
    })
}

fn text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| "a text contains a NUL byte".to_owned())
}

fn duplicate(stored: &Stored, name: &str) -> Result<OwnedFd, String> {
    let fd = stored.get(name).ok_or_else(|| format!("there is no stored descriptor `{name}`"))?;
    fd.try_clone().map_err(|error| format!("cannot duplicate the descriptor `{name}`: {error}"))
}

fn stdio(spec: &StdioSpec, stored: &Stored) -> Result<[OwnedFd; 3], String> {
    let null = || open(OpenOptions::new().read(true).write(true), "/dev/null");
    let thrice = |fd: OwnedFd| {
        let copy = || fd.try_clone().map_err(|error| format!("cannot duplicate a descriptor: {error}"));
        Ok([copy()?, copy()?, fd])
    };
    match spec {
        StdioSpec::Null => thrice(null()?),
        StdioSpec::Log(path) => {
            let [_, output, error] = thrice(open_log(Path::new(path))?)?;
            Ok([null()?, output, error])
        }
        StdioSpec::Stored(name) => thrice(duplicate(stored, name)?),
        StdioSpec::Terminal(path) => thrice(open(OpenOptions::new().read(true).write(true), path)?),
    }
}

/// Opens a log for appending, so that whoever rotates it may cut it short under us.
fn open_log(path: &Path) -> Result<OwnedFd, String> {
    if let Some(folder) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
        made.map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    }
    open(OpenOptions::new().append(true).create(true).mode(0o640), &path.to_string_lossy())
}

fn open(options: &OpenOptions, path: &str) -> Result<OwnedFd, String> {
    options.open(path).map(OwnedFd::from).map_err(|error| format!("cannot open {path}: {error}"))
}

fn limit(limit: &ResourceLimit) -> Result<(u32, u64, u64), String> {
    let number = limit_number(&limit.resource).ok_or_else(|| format!("no resource `{}`", limit.resource))?;
    let wanted = (limit.soft.unwrap_or(u64::MAX), limit.hard.unwrap_or(u64::MAX));
    let (soft, hard) = grantable_limit(number, wanted).map_err(|error| chain(&error))?;
    Ok((number, soft, hard))
}

fn enter(spec: &ProcessSpec, cgroups: Option<&Cgroups>) -> Result<Vec<File>, String> {
    let (Some(path), Some(cgroups)) = (&spec.cgroup, cgroups) else { return Ok(Vec::new()) };
    let enter = || {
        cgroups.create(path)?;
        cgroups.limit(path, &group_limits(&spec.limits))?;
        cgroups.open_for_join(path)
    };
    enter().map_err(|error| chain(&error))
}

fn group_limits(limits: &CgroupLimits) -> Limits {
    Limits {
        memory_min_bytes: limits.memory_min_bytes,
        memory_low_bytes: limits.memory_low_bytes,
        memory_max_bytes: limits.memory_max_bytes,
        cpu_weight: limits.cpu_weight,
    }
}

/// What a host did not give us we cannot pass on, so the wish is cut to that.
fn capabilities(wanted: &Capabilities) -> Result<Option<capability::Set>, String> {
    let named = |names: &[String]| {
        capability::Set::from_names(names.iter().map(String::as_str))
            .map_err(|name| format!("no capability `{name}`"))
    };
    let ours = || capability::Set::effective().map_err(|error| chain(&error));
    Ok(match wanted {
        Capabilities::Keep => None,
        Capabilities::Only(names) => Some(named(names)?.common(ours()?)),
        Capabilities::Without(names) => Some(ours()?.without(named(names)?)),
    })
}

fn namespaces(wanted: &[Namespace]) -> Namespaces {
    wanted.iter().fold(Namespaces::default(), |all, namespace| {
        all.and(match namespace {
            Namespace::Mount => Namespaces::MOUNT,
            Namespace::Net => Namespaces::NET,
            Namespace::Uts => Namespaces::UTS,
            Namespace::Ipc => Namespaces::IPC,
            Namespace::Cgroup => Namespaces::CGROUP,
        })
    })
}
