//! The launcher of a container machine: a process with one thread that forks the machine's process 1, waits for its
//! end, and starts it again if that was a reboot.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use corten_supervisor::exit_code;
use corten_sys::namespace::Namespaces;
use corten_sys::network::{Links, PeerNamespace};
use corten_sys::process::{Forked, WaitStatus, fork_single_threaded, reap};
use corten_sys::signal::{number, send_to_pidfd};

use super::child::child_main;
use super::disk::{LoopDisk, Nodes};
use super::groups::HostGroups;
use super::{ContainerSpec, SPEC_FILE};
use crate::forward;
use crate::lab::Membership;
use crate::launcher::{Ears, Wake};
use crate::qemu::storage::Recorder;
use crate::registry::Registry;
use crate::status::{Phase, Status};

/// Tells the machine which disk of the kernel is its own.
const DISK: &str = "CORTEN_DISK";
/// A machine that was asked to power off may take this long; machined's own shutdown has its bounds within.
const POWER_OFF_MAX: Duration = Duration::from_secs(600);
/// A machine that ends this often without having lived is broken, and starting it again helps nobody.
const REBOOTS_MAX: u32 = 1000;

/// The launcher role: the only argument is the machine's folder.
pub(crate) fn launcher_main(arguments: &[OsString]) -> Result<()> {
    let [folder] = arguments else { bail!("usage: FOLDER") };
    let folder = Path::new(folder);
    let text = std::fs::read(folder.join(SPEC_FILE)).context("cannot read the machine's specification")?;
    let spec: ContainerSpec = serde_json::from_slice(&text).context("cannot understand the specification")?;
    let mut status = Status::starting();
    let result = launch(&spec, &mut status);
    if let Some(registry) = &spec.registry {
        // Whoever ended the machine may have removed it first.
        let _ = std::fs::remove_file(Registry::new(registry).path(&spec.name));
    }
    status.pid = None;
    match &result {
        Ok(message) => (status.phase, status.message) = (Phase::Ended, message.clone()),
        Err(error) => (status.phase, status.message) = (Phase::Failed, format!("{error:#}")),
    }
    status.write(folder)?;
    result.map(drop)
}

/// Makes what is outside of the machine, runs it, and takes everything away again. The result tells how it ended.
fn launch(spec: &ContainerSpec, status: &mut Status) -> Result<String> {
    // Before we listen to signals, which keeps them from programs that are started then.
    let storage = spec.disk.as_deref().map(|disk| Storage::open(spec, disk)).transpose()?;
    let mut ears = Ears::open()?;
    // Started before we move into the lab, because it listens on the host.
    let forwarder = forward::start(&spec.lab.namespace(), spec.address, &spec.forwards)?;
    let lab = Membership::join(&spec.lab, &spec.name)?;
    let mut spec = spec.clone();
    if let Some(storage) = &storage {
        spec.env.insert(DISK.to_owned(), storage.disk.name());
    }
    let groups = HostGroups::create(&spec.name);
    let result = match &groups {
        Ok(groups) => run(&spec, groups, &lab, &mut ears, status),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    if let Some(mut forwarder) = forwarder {
        drop(forwarder.stdin.take());
        forwarder.wait().context("cannot wait for the port forwarder")?;
    }
    let removed = groups.and_then(|groups| groups.remove());
    let left = lab.leave();
    let detached = storage.map_or(Ok(()), Storage::close);
    let ended = result?;
    detached?;
    removed?;
    left?;
    Ok(ended)
}

/// What is behind a machine's disk.
struct Storage {
    disk: LoopDisk,
    recorder: Option<Recorder>,
}

impl Storage {
    fn open(spec: &ContainerSpec, disk: &Path) -> Result<Self> {
        let record = |recording| Recorder::start(recording, disk, &spec.folder);
        let recorder = spec.record.as_ref().map(record).transpose()?;
        let disk = LoopDisk::attach(recorder.as_ref().map_or(disk, |recorder| &recorder.file))?;
        Ok(Self { disk, recorder })
    }

    fn close(self) -> Result<()> {
        self.disk.detach()?;
        self.recorder.map_or(Ok(()), Recorder::stop)
    }
}

fn run(
    spec: &ContainerSpec,
    groups: &HostGroups,
    lab: &Membership,
    ears: &mut Ears,
    status: &mut Status,
) -> Result<String> {
    loop {
        let machine = boot(spec, groups, lab)?;
        status.boots += 1;
        (status.phase, status.pid) = (Phase::Running, Some(machine.pid));
        status.write(&spec.folder)?;
        let nodes = spec.env.get(DISK).map(|disk| Nodes::keep(disk.clone(), machine.pid));
        let is_stopped = hold(&machine, ears)?;
        // The next boot forks, which takes a process with one thread.
        drop(nodes);
        let end = reap(machine.pid)?;
        let is_reboot = end == WaitStatus::Code(exit_code::REBOOT) && status.boots < REBOOTS_MAX;
        if is_stopped || !is_reboot {
            return Ok(describe(end));
        }
    }
}

fn describe(end: WaitStatus) -> String {
    match end {
        WaitStatus::Code(exit_code::POWER_OFF) => "powered off".to_owned(),
        WaitStatus::Code(exit_code::REBOOT) => "rebooted, and stays down".to_owned(),
        WaitStatus::Code(exit_code::HALT) => "halted".to_owned(),
        WaitStatus::Code(code) => format!("init ended with exit code {code}"),
        WaitStatus::Signal(signal) => format!("ended by signal {signal}"),
    }
}

/// Forks process 1 of a fresh machine, gives it its groups and its cable, and returns when it has become init.
fn boot(spec: &ContainerSpec, groups: &HostGroups, lab: &Membership) -> Result<Forked> {
    let (go_reader, mut go) = io::pipe().context("cannot make a pipe")?;
    let (mut report, report_writer) = io::pipe().context("cannot make a pipe")?;
    let namespaces =
        Namespaces::PID.and(Namespaces::NET).and(Namespaces::MOUNT).and(Namespaces::UTS).and(Namespaces::IPC);
    let machine =
        fork_single_threaded(namespaces, move || child_main(spec, groups, go_reader, report_writer))?;
    let arranged = arrange(spec, groups, lab, machine.pid)
        .and_then(|()| go.write_all(b"g").context("process 1 did not wait"));
    if let Err(error) = arranged {
        send_to_pidfd(machine.pidfd.as_fd(), number::KILL)?;
        reap(machine.pid)?;
        return Err(error);
    }
    let mut failure = String::new();
    report.read_to_string(&mut failure).context("cannot read process 1's report")?;
    if !failure.is_empty() {
        reap(machine.pid)?;
        bail!("{failure}");
    }
    Ok(machine)
}

fn arrange(spec: &ContainerSpec, groups: &HostGroups, lab: &Membership, pid: u32) -> Result<()> {
    groups.join(pid)?;
    let link = format!("m-{}", spec.name);
    let mut links = Links::open()?;
    // The cable of the boot before goes with its namespace, which may take a moment.
    links.delete(&link)?;
    links.add_cable(&link, "eth0", hardware_address(spec), PeerNamespace::Process(pid))?;
    lab.plug(&link)
}

/// The same at every boot, different for every name: FNV-1a, in the range of locally administered addresses.
fn hardware_address(spec: &ContainerSpec) -> [u8; 6] {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in spec.lab.name.bytes().chain([0]).chain(spec.name.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let [_, _, _, a, b, c, d, e] = hash.to_be_bytes();
    [0x02, a, b, c, d, e]
}

/// Waits for the end of the machine. True if someone wanted it to end.
fn hold(machine: &Forked, ears: &mut Ears) -> Result<bool> {
    let pidfd = machine.pidfd.as_fd();
    let mut deadline = None;
    loop {
        match ears.wait(pidfd, deadline)? {
            Wake::Ended => return Ok(deadline.is_some()),
            Wake::Stop => {
                deadline.get_or_insert(Instant::now() + POWER_OFF_MAX);
                tolerate_gone(send_to_pidfd(pidfd, number::TERMINATE))?;
            }
            Wake::Cut | Wake::Deadline => {
                tolerate_gone(send_to_pidfd(pidfd, number::KILL))?;
                ears.wait_for_end(pidfd)?;
                return Ok(true);
            }
        }
    }
}

/// A machine that ended in this very moment is what was wanted.
fn tolerate_gone(result: corten_sys::Result<()>) -> Result<()> {
    const NO_SUCH_PROCESS: i32 = 3;
    match result {
        Err(error) if error.errno() == Some(NO_SUCH_PROCESS) => Ok(()),
        result => Ok(result?),
    }
}
