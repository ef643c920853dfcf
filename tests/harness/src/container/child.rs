//! Process 1 of a container machine until it becomes init.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{PipeReader, PipeWriter, Read, Write};

use anyhow::{Context, Result};
use corten_sys::namespace::{Namespaces, unshare};
use corten_sys::network::Links;
use corten_sys::sysctl::set_hostname;

use super::groups::HostGroups;
use super::{ContainerSpec, tree};

const INIT: &str = "/sbin/init";

/// Waits for the launcher to have done its part, arranges the machine and becomes init. Returns an exit code only if
/// that fails; why is written to `report`.
pub fn child_main(spec: &ContainerSpec, groups: &HostGroups, go: PipeReader, mut report: PipeWriter) -> i32 {
    match become_init(spec, groups, go) {
        Ok(never) => match never {},
        Err(error) => {
            // A launcher that is gone needs no report.
            let _ = report.write_all(format!("{error:#}").as_bytes());
            1
        }
    }
}

fn become_init(spec: &ContainerSpec, groups: &HostGroups, mut go: PipeReader) -> Result<Infallible> {
    // A launcher that is killed takes the machine along.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot bind the machine to its launcher")?;
    go.read_exact(&mut [0]).context("the launcher gave up")?;
    rustix::process::setsid().context("cannot start a session")?;
    let console = OpenOptions::new()
        .append(true)
        .create(true)
        .open(spec.folder.join("console.log"))
        .context("cannot open console.log")?;
    let null = OpenOptions::new().read(true).open("/dev/null").context("cannot open /dev/null")?;
    // We are in our groups by now, so that these become the roots of what the machine sees.
    unshare(Namespaces::CGROUP)?;
    configure_network(spec)?;
    set_hostname(&spec.name)?;
    tree::enter(spec, groups)?;
    rustix::stdio::dup2_stdin(&null).context("cannot arrange standard input")?;
    rustix::stdio::dup2_stdout(&console).context("cannot arrange standard output")?;
    rustix::stdio::dup2_stderr(&console).context("cannot arrange standard error")?;
    let program = CString::new(INIT).context("a path has no NUL byte")?;
    let error = corten_sys::process::exec(&program, std::slice::from_ref(&program), &environment(spec)?);
    Err(error).with_context(|| format!("cannot execute {INIT} of the root"))
}

fn configure_network(spec: &ContainerSpec) -> Result<()> {
    let mut links = Links::open()?;
    links.set_up("lo")?;
    links.add_address("eth0", spec.address, spec.lab.prefix_length)?;
    links.set_up("eth0")?;
    links.add_default_route(spec.lab.gateway)?;
    Ok(())
}

fn environment(spec: &ContainerSpec) -> Result<Vec<CString>> {
    let base = [("CORTEN_PLATFORM", "container"), ("container", "corten"), ("PATH", "/usr/bin:/usr/sbin")];
    let base = base.into_iter().filter(|(name, _)| !spec.env.contains_key(*name));
    let own = spec.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let entry = |(name, value)| CString::new(format!("{name}={value}"));
    base.chain(own).map(entry).collect::<Result<_, _>>().context("the environment contains a NUL byte")
}
