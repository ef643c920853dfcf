//! machined: puts the parts together and runs them on one thread.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use corten_base::{Capabilities, Clock, Platform, Rng, chain, log, paths, spawn};
use corten_controllers_block::meta;
use corten_controllers_network as network;
use corten_controllers_siderolink as siderolink;
use corten_resource::{Runtime, State, StateOptions};
use corten_sys::kmsg;
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;

use crate::api::debug::Debug;
use crate::api::{Lanes, Parts, serve};
use crate::configuration::Configuration;
use crate::configuration::generations::Generations;
use crate::events::Events;
use crate::evidence::Evidence;
use crate::sequencer::tasks::Machine;
use crate::sequencer::{self, Engine};
use crate::services::backend::container::Containers;
use crate::services::backend::process::Processes;
use crate::services::{Backends, Services};
use crate::{logs, wire_events};

/// Threads for kernel calls that may block: our own, and those of clients.
const BLOCKING_THREADS_MAX: usize = 6 + Lanes::WIDTH;

/// Runs machined until init ends it.
pub fn main() -> ExitCode {
    log::init_mirrored(false, kernel_log());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build();
    let result = runtime.context("cannot start the event loop").and_then(|runtime| runtime.block_on(run()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("machined ends: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// On a kernel of our own the log also goes to the kernel's, which shows it on every console and keeps it for `dmesg`.
fn kernel_log() -> Option<log::Mirror> {
    let shares_kernel = platform().is_ok_and(|platform| !platform.capabilities().power);
    if shares_kernel {
        return None;
    }
    let writer = Mutex::new(kmsg::Writer::open().ok()?);
    Some(Box::new(move |level, line| {
        // A record that cannot be written has no better place to be told than the file it is in as well.
        let _ = writer.lock().write(kmsg_severity(level), &format!("machined: {line}"));
    }))
}

/// Progress is a notice, which init lets the console show; the kernel's own chatter is below.
fn kmsg_severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 5,
        Level::DEBUG | Level::TRACE => 7,
    }
}

async fn run() -> anyhow::Result<()> {
    let (clock, rng, platform) = (Clock::system(), Rng::kernel(), platform()?);
    let options =
        StateOptions { journal: Some(paths::JOURNAL.into()), clock: clock.clone(), rng: rng.clone() };
    let state =
        State::open(corten_resources::registry(), options).context("cannot open the resource journal")?;
    let events = Events::new(clock.clone(), &rng);

    let (init, init_events, driver) = corten_supervisor::Client::new(paths::INIT_SOCKET);
    let _init = spawn("init connection", driver);
    let processes = Processes::new(init.clone(), init_events);
    let notices = processes.subscribe();
    let backends = Backends::new(processes, Containers::new(clock.clone())?);
    let services = Services::new(state.clone(), events.clone(), backends, clock.clone(), rng.clone());
    let configuration =
        Configuration::new(state.clone(), Generations::below(Path::new(paths::STATE)), platform);

    let evidence = Evidence::new(state.clone(), clock.clone(), platform.capabilities().power);
    let runtime = controllers(&state, platform, &clock, &rng, &init, &events)?;
    let runtime = runtime.start().context("the controllers do not fit together")?;
    let (sequencer, requests) = sequencer::channel();
    let machine = Machine {
        state: state.clone(),
        configuration: configuration.clone(),
        services: services.clone(),
        events: events.clone(),
        init: init.clone(),
        evidence: evidence.clone(),
        capabilities: capabilities(platform),
        rng: rng.clone(),
    };
    let engine =
        Engine::new(requests, Arc::new(machine), events.clone(), state.clone(), capabilities(platform));
    let debug = Debug::new(state.clone(), services.clone(), events.clone(), clock.clone(), rng.clone());
    let parts = Parts {
        state: state.clone(),
        configuration,
        services: services.clone(),
        sequencer: sequencer.clone(),
        events: events.clone(),
        evidence: evidence.clone(),
        debug: debug.clone(),
        init: init.clone(),
        graph: runtime.graph().edges().into(),
        platform,
        clock,
        rng,
        lanes: Lanes::default(),
    };

    let _tasks = [
        spawn("services", services.run()),
        spawn("sequencer", engine.run()),
        spawn("machine status events", wire_events::follow_machine_status(state.clone(), events)),
        spawn("log bounds", logs::bound()),
        spawn("META", meta::settle(state.clone())),
        spawn("console", crate::console::tell(state.clone())),
        spawn("evidence", evidence.clone().run()),
        spawn("debug containers", debug.resume()),
        spawn("power requests", crate::power::follow(init, notices, sequencer, evidence)),
    ];
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = serve::machine(parts) => result,
        result = serve::apid(state.clone()) => result,
        result = serve::trustd(state) => result,
        _ = terminate.recv() => Ok(()),
    }
}

/// Every controller of every domain.
fn controllers(
    state: &State,
    platform: Platform,
    clock: &Clock,
    rng: &Rng,
    init: &corten_supervisor::Client,
    events: &Events,
) -> anyhow::Result<Runtime> {
    let capabilities = capabilities(platform);
    let mut runtime = Runtime::with_rng(state.clone(), clock.clone(), rng.clone());
    let machine = corten_controllers_runtime::Machine {
        platform,
        capabilities,
        restrict_oom_score: !crate::services::backend::container::has_capability("CAP_SYS_RESOURCE"),
    };
    let arguments = launchers_arguments();
    let own_arguments = capabilities.links || arguments.is_some();
    corten_controllers_runtime::register(&mut runtime, machine, arguments, init);
    corten_controllers_block::register(&mut runtime, capabilities, own_disk(), init, rng);
    let dependencies = network::Dependencies {
        kernel: network::Kernel::connect().context("cannot talk to the kernel's network")?,
        capabilities,
        clock: clock.clone(),
        rng: rng.clone(),
        folders: network::Folders::default(),
    };
    network::register(&mut runtime, dependencies);
    let dependencies = siderolink::Dependencies {
        capabilities,
        own_arguments,
        events: events.clone(),
        clock: clock.clone(),
        rng: rng.clone(),
    };
    siderolink::register(&mut runtime, dependencies);
    corten_controllers_secrets::register(&mut runtime, rng);
    let kubernetes = corten_controllers_kubernetes::Dependencies::machine(capabilities);
    corten_controllers_kubernetes::register(&mut runtime, &kubernetes);
    corten_controllers_discovery::register(&mut runtime, rng);
    Ok(runtime)
}

/// What software may do to this machine: its launcher may have given it a disk.
fn capabilities(platform: Platform) -> Capabilities {
    let capabilities = platform.capabilities();
    Capabilities { disks: capabilities.disks || own_disk().is_some(), ..capabilities }
}

/// The kernel's name of the only disk that is this machine's, on a machine of a host.
fn own_disk() -> Option<String> {
    std::env::var("CORTEN_DISK").ok()
}

/// What the launcher of a machine of a host gave it in the place of a kernel's arguments.
fn launchers_arguments() -> Option<String> {
    std::env::var("CORTEN_CMDLINE").ok()
}

/// The platform that init or the kernel's arguments name.
fn platform() -> anyhow::Result<Platform> {
    if let Ok(name) = std::env::var("CORTEN_PLATFORM") {
        return Platform::from_name(&name)
            .with_context(|| format!("CORTEN_PLATFORM={name} is not a platform"));
    }
    let cmdline = std::fs::read_to_string("/proc/cmdline").context("cannot read the kernel's arguments")?;
    let name = cmdline.split_whitespace().filter_map(|word| word.strip_prefix("talos.platform=")).next_back();
    let name = name.context("the kernel argument talos.platform is missing")?;
    Platform::from_name(name)
        .with_context(|| format!("talos.platform={name} is not supported; use metal or nocloud"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_controllers_of_every_platform_fit_together() {
        for platform in [Platform::Container, Platform::Metal, Platform::NoCloud] {
            let state = State::new(corten_resources::registry());
            let (init, _, _) = corten_supervisor::Client::new(paths::INIT_SOCKET);
            let (clock, rng) = (Clock::system(), Rng::kernel());
            let events = Events::new(clock.clone(), &rng);
            let runtime = controllers(&state, platform, &clock, &rng, &init, &events);
            runtime.expect("controllers").check().expect("they fit together");
        }
    }
}
