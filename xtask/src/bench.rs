//! `cargo xtask bench`: measures side by side with something comparable, in the same run.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use corten_bench::{Report, apid, boot, fleet_join, state};
use corten_e2e::Mode;
use corten_harness::cleanup::Cleanup;
use corten_harness::{FleetPorts, preflight};

use crate::build::Profile;
use crate::progress::Steps;
use crate::{build, host, kit};

/// Measure side by side with a peer, in the same run.
#[derive(Debug, Parser)]
pub struct Bench {
    #[command(subcommand)]
    name: Name,
}

#[derive(Debug, Subcommand)]
enum Name {
    Boot(Boot),
    FleetJoin(FleetJoin),
    State(State),
    Apid(Apid),
}

/// Boot our image and the floor alternately and compare the seconds from the kernel's first line to a Ready node.
///
/// The floor is the least that makes a node Ready: the same kernel, command line, firmware, programs and images,
/// started by a short shell script instead of our programs. bench/src/boot.rs says what is the same and what is not.
/// Each pair is a first boot from a blank disk and a later boot of either side; the median of the pairs counts.
/// Time in which our machine waits for nothing but the client that bootstraps it is printed and left out.
#[derive(Debug, Parser)]
#[command(
    after_help = "Budgets (SPECIFICATION.md): container 1.5; QEMU 1.25 at the first boot, 1.1 later.\n\n\
                  Examples:\n  cargo xtask bench boot --container --rounds 1 --history\n  cargo xtask bench boot --json"
)]
struct Boot {
    /// Only container machines.
    #[arg(long, conflicts_with = "qemu")]
    container: bool,
    /// Only QEMU machines.
    #[arg(long)]
    qemu: bool,
    /// Pairs of each kind of machine.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Print what the services of our machine did, second by second, for each boot.
    #[arg(long)]
    history: bool,
    /// Take the images in this folder, laid out like target/image, instead of building what has changed.
    #[arg(long)]
    images: Option<PathBuf>,
    /// First of four ports of the loopback.
    #[arg(long, default_value_t = 23_100)]
    port: u16,
    /// The last line of standard output is one JSON object.
    #[arg(long)]
    json: bool,
}

/// Let emulated machines join Corten Fleet and stay, and measure what that costs it.
///
/// Fleet runs on processor 0 and the emulators on processor 1, each alone. A machine has joined when Fleet
/// knows its link, its hardware and its stage, and has kept them. A run in which the emulators take more than 90 % of
/// their processor is void.
#[derive(Debug, Parser)]
#[command(
    after_help = "Budgets (SPECIFICATION.md): 60 ms of Fleet's processor for a join; with 10,000 machines at rest 1 GiB and 0.3 processors.\n\n\
                  Examples:\n  cargo xtask bench fleet-join --machines 100 --json\n  cargo xtask bench fleet-join --machines 10000 --rest 600"
)]
struct FleetJoin {
    /// How many machines join.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    machines: u32,
    /// Most machines of an emulator process; each takes six of its open files.
    #[arg(long, default_value_t = 2500, value_parser = clap::value_parser!(u32).range(1..=3000))]
    per_process: u32,
    /// Afterwards all become members of clusters, so that they speak mTLS.
    #[arg(long)]
    members: bool,
    /// Which manager: `kernel` has the kernel's TCP and its store in a file, `user-stack` a TCP of its own for each
    /// machine, `etcd` its store in an etcd.
    #[arg(long, default_value = "kernel")]
    variant: fleet_join::Variant,
    /// How many machines are switched on in a second.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    per_second: u32,
    /// Seconds for which they are left alone afterwards.
    #[arg(long, default_value_t = 600)]
    rest: u64,
    /// First of the ports of the loopback, some thirty.
    #[arg(long, default_value_t = 23_600)]
    port: u16,
    /// The last line of standard output is one JSON object.
    #[arg(long)]
    json: bool,
}

/// Serve resources over gRPC, ours beside the Go state that Talos is made of, and compare processor time and memory.
///
/// Each side runs on processor 0 alone, the same client drives either from processor 1. bench/src/state.rs says what is
/// the same and what is not. The median of the rounds counts.
#[derive(Debug, Parser)]
#[command(
    after_help = "Goals: lists and events 5 times as many per processor second, unary calls twice, a quarter of \
                        the memory.\n\nExample:\n  cargo xtask bench state --json"
)]
struct State {
    /// How often both sides are measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// The last line of standard output is one JSON object.
    #[arg(long)]
    json: bool,
}

/// Pass calls on, apid beside the proxy that Talos's apid is made of, and compare processor time and memory.
///
/// Each side runs on processor 0 alone, with the same client in front and the same backend behind on processor 1.
/// bench/src/apid.rs says what is the same and what is not. The median of the rounds counts.
#[derive(Debug, Parser)]
#[command(
    after_help = "Goals: half the processor time of a call, to one machine and to 32; a copy of 1 GiB in 8 MiB.\n\n\
                        Example:\n  cargo xtask bench apid --json"
)]
struct Apid {
    /// How often both sides are measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// First of two ports of the loopback.
    #[arg(long, default_value_t = 53_700)]
    port: u16,
    /// The last line of standard output is one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When a part is missing or a budget is not held.
pub fn run(bench: &Bench) -> Result<()> {
    match &bench.name {
        Name::Boot(wanted) => boot(wanted),
        Name::FleetJoin(wanted) => fleet_join(wanted),
        Name::State(wanted) => state(wanted),
        Name::Apid(wanted) => apid(wanted),
    }
}

fn state(wanted: &State) -> Result<()> {
    host::ensure_packages(host::BUILD)?;
    Cleanup::handle_interrupts()?;
    let mut steps = Steps::default();
    let report = state::run(&state::Options {
        repository: kit::repository(),
        ours: build::bench(Profile::Release, &mut steps)?,
        peer: peer("peers/state", "statepeer", &mut steps)?,
        rounds: wanted.rounds,
    })?;
    publish(&report, wanted.json)
}

fn apid(wanted: &Apid) -> Result<()> {
    host::ensure_packages(host::BUILD)?;
    let missing = preflight::ports(&[wanted.port, wanted.port.saturating_add(1)]);
    if !missing.is_empty() {
        bail!("this host cannot run the benchmark:\n  {}", missing.join("\n  "));
    }
    Cleanup::handle_interrupts()?;
    let mut steps = Steps::default();
    let report = apid::run(&apid::Options {
        repository: kit::repository(),
        ours: build::bench(Profile::Release, &mut steps)?,
        peer: peer("peers/proxy", "proxypeer", &mut steps)?,
        rounds: wanted.rounds,
        first_port: wanted.port,
    })?;
    publish(&report, wanted.json)
}

/// A program of the kit.
fn peer(component: &str, program: &str, steps: &mut Steps) -> Result<PathBuf> {
    let mut made = steps.run(component, || kit::open()?.make(&[component]))?;
    let made = made.remove(component).with_context(|| format!("the kit did not make `{component}`"))?;
    Ok(made.program(program))
}

fn fleet_join(wanted: &FleetJoin) -> Result<()> {
    let etcd = FleetPorts::COUNT..FleetPorts::COUNT + 2;
    let ports = etcd.map(|number| wanted.port + number).chain(FleetPorts(wanted.port).tcp());
    let missing = preflight::ports(&ports.collect::<Vec<_>>());
    if !missing.is_empty() {
        bail!("this host cannot run the benchmark:\n  {}", missing.join("\n  "));
    }
    Cleanup::handle_interrupts()?;
    let mut steps = Steps::default();
    let etcd = match wanted.variant {
        fleet_join::Variant::Etcd => Some(component("etcd")?.join("bin/etcd")),
        fleet_join::Variant::Kernel | fleet_join::Variant::UserStack => None,
    };
    let report = fleet_join::run(&fleet_join::Options {
        repository: kit::repository(),
        fleet: build::fleet(Profile::Release, &mut steps)?,
        emulator: build::emulator(Profile::Release, &mut steps)?,
        corten: build::corten(&mut steps)?,
        machines: wanted.machines,
        per_process: wanted.per_process,
        members: wanted.members,
        variant: wanted.variant,
        etcd,
        per_second: wanted.per_second,
        rest: Duration::from_secs(wanted.rest),
        first_port: wanted.port,
    })?;
    publish(&report, wanted.json)
}

/// The folder of a component of the kit.
fn component(name: &str) -> Result<PathBuf> {
    let mut made = kit::open()?.make(&[name])?;
    Ok(made.remove(name).with_context(|| format!("the kit did not make `{name}`"))?.folder)
}

/// Prints what came out.
fn publish(report: &Report, json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "{}", report.text)?;
    if json {
        writeln!(out, "{}", report.json)?;
    }
    if report.ok { Ok(()) } else { bail!("a budget is not held; the table above says which") }
}

fn boot(wanted: &Boot) -> Result<()> {
    host::ensure_packages(host::BUILD)?;
    let mut modes = vec![Mode::Container, Mode::Qemu];
    modes.retain(|mode| match mode {
        Mode::Container => !wanted.qemu,
        Mode::Qemu => !wanted.container,
    });
    let ports: Vec<u16> = (wanted.port..wanted.port.saturating_add(4)).collect();
    let missing = [preflight::ports(&ports), preflight::container_machine()].concat();
    if !missing.is_empty() {
        bail!("this host cannot run the benchmark:\n  {}", missing.join("\n  "));
    }
    Cleanup::handle_interrupts()?;
    let mut steps = Steps::default();
    if wanted.images.is_none() {
        for mode in &modes {
            build::image(mode.flavour(), corten_config::defaults::KUBERNETES_VERSION, &mut steps)?;
        }
    }
    let report = boot::run(&boot::Options {
        repository: kit::repository(),
        images: wanted.images.clone().unwrap_or_else(|| kit::repository().join("target/image")),
        modes,
        rounds: wanted.rounds.into(),
        history: wanted.history,
        first_port: wanted.port,
    })?;
    publish(&report, wanted.json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_machines_are_the_usual_and_one_can_be_chosen() {
        let parsed = |args: &str| Boot::try_parse_from(args.split_whitespace());
        let usual = parsed("boot").expect("arguments");
        assert_eq!((usual.container, usual.qemu, usual.rounds), (false, false, 5));
        assert!(parsed("boot --container --rounds 3 --json").is_ok());
        for wrong in ["boot --container --qemu", "boot --rounds 0", "boot --slow"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
