//! The emulator as a program.
//!
//! ```text
//! corten-emulator --machines 100 --kernel-args "siderolink.api=… talos.events.sink=… talos.logging.kernel=…"
//! corten-emulator tunnel-device ADDRESS      the child with the namespace, which the program starts itself
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use corten_base::chain;
use corten_emulator::kernel_args::KernelArgs;
use corten_emulator::{CHILD, Emulator, Model, Options, Schematic, child, control};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use semver::Version;
use tokio::signal::unix::{SignalKind, signal};

/// Threads for what blocks: requests to the child, which are answered at once, and files.
const BLOCKING_THREADS: usize = 4;
/// Descriptors of a machine at rest: its WireGuard socket, the listener of its API, two connections of the manager to
/// it, events, log. What it has more for a moment while it joins is in the spare ones.
const DESCRIPTORS_EACH: u64 = 6;
/// Descriptors of the process itself, and spare ones.
const DESCRIPTORS_SPARE: u64 = 512;

/// Emulates machines that join a manager.
#[derive(Debug, Parser)]
#[command(name = "corten-emulator", version)]
struct Arguments {
    /// Kernel arguments of all machines, as the manager shows them.
    #[arg(long)]
    kernel_args: String,
    /// How many machines.
    #[arg(long, default_value_t = 1)]
    machines: u32,
    /// How many of them are switched on in a second; 0 for all at once.
    #[arg(long, default_value_t = 50)]
    per_second: u32,
    /// Version of Talos, with or without its v.
    #[arg(long, default_value = "1.14.0")]
    talos_version: String,
    /// File with the schematic that the image was made of; without one, that of an image without customization.
    #[arg(long)]
    schematic: Option<PathBuf>,
    /// There is a system on the disk from the start.
    #[arg(long)]
    installed: bool,
    /// The firmware boots signed systems only.
    #[arg(long)]
    secure_boot: bool,
    /// Hardware follows from this number: UUIDs, network cards.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Machines join and shake hands, and nobody can connect to them; needs no user namespaces.
    #[arg(long)]
    without_api: bool,
    /// Socket that takes a line of JSON for each thing to look at or to disturb.
    #[arg(long)]
    control: Option<PathBuf>,
}

/// Why the program ends.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("--kernel-args: {0}")]
    KernelArgs(#[from] corten_emulator::kernel_args::KernelArgsError),
    #[error("--talos-version {0:?} is no version")]
    Version(String),
    #[error("cannot read the schematic {0:?}")]
    Schematic(PathBuf, #[source] std::io::Error),
    #[error("cannot start")]
    Start(#[source] std::io::Error),
    #[error("cannot make the network of the machines; try --without-api")]
    Network(#[source] std::io::Error),
    #[error("cannot serve the control socket")]
    Control(#[source] std::io::Error),
    #[error(
        "{machines} machines need {needed} open files, and this process may have {limit}; run several \
         processes with fewer machines each, or raise the limit (ulimit -n)"
    )]
    Descriptors { machines: u32, needed: u64, limit: u64 },
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    // The child must not have a second thread: this comes first.
    if words.next().as_deref() == Some(CHILD) {
        let address = words.next().unwrap_or_default();
        return if child(&address).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    corten_base::log::init(false);
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{}", chain(&failure));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let limit = raise_descriptors();
    has_descriptors(arguments.machines, arguments.without_api, limit)?;
    let model = model(&arguments)?;
    let program =
        if arguments.without_api { None } else { Some(std::env::current_exe().map_err(Failure::Start)?) };
    let options = Options { seed: arguments.seed, ..Options::new(program) };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().max_blocking_threads(BLOCKING_THREADS).build();
    runtime.map_err(Failure::Start)?.block_on(emulate(arguments, options, model))
}

fn model(arguments: &Arguments) -> Result<Model, Failure> {
    let text = arguments.talos_version.trim_start_matches('v');
    let version = Version::parse(text).map_err(|_| Failure::Version(arguments.talos_version.clone()))?;
    let mut model = Model::new(KernelArgs::parse(&arguments.kernel_args)?, version);
    if let Some(path) = &arguments.schematic {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| Failure::Schematic(path.clone(), error))?;
        model.system.schematic = Schematic::new(&text);
    }
    (model.installed, model.secure_boot) = (arguments.installed, arguments.secure_boot);
    Ok(model)
}

async fn emulate(arguments: Arguments, options: Options, model: Model) -> Result<(), Failure> {
    let emulator = Arc::new(Emulator::open(options, model).await.map_err(Failure::Network)?);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Start)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Start)?;
    let control = {
        let (emulator, path) = (Arc::clone(&emulator), arguments.control.clone());
        async move {
            match path {
                Some(path) => control::serve(emulator, &path).await.map_err(Failure::Control),
                None => std::future::pending().await,
            }
        }
    };
    let starting = async {
        emulator.add_many(arguments.machines, arguments.per_second).await;
        tracing::info!(machines = arguments.machines, "all machines are switched on");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = control => served,
        () = starting => Ok(()),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// As many descriptors as the host allows; how many those are, if there is a limit.
fn raise_descriptors() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(error = %error, "the number of descriptors cannot be raised");
        return current;
    }
    maximum
}

/// Refuses more machines than there are descriptors for, instead of failing when most of them have joined.
fn has_descriptors(machines: u32, without_api: bool, limit: Option<u64>) -> Result<(), Failure> {
    let each = if without_api { 1 } else { DESCRIPTORS_EACH };
    let needed = u64::from(machines).saturating_mul(each).saturating_add(DESCRIPTORS_SPARE);
    match limit {
        Some(limit) if limit < needed => Err(Failure::Descriptors { machines, needed, limit }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_machines_than_there_are_descriptors_for_are_refused_with_a_way_out() {
        assert!(has_descriptors(2500, false, Some(20_000)).is_ok());
        assert!(has_descriptors(10_000, false, None).is_ok());
        assert!(has_descriptors(10_000, true, Some(20_000)).is_ok());
        let refused = has_descriptors(10_000, false, Some(20_000)).expect_err("too many");
        assert!(refused.to_string().contains("several processes"), "{refused}");
    }
}
