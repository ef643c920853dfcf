//! `cargo xtask e2e`: tells scenarios with real machines and stock clients.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use corten_e2e::{Client, Managed, Mode, Options, SCENARIOS, Scenario};
use corten_harness::cleanup::Cleanup;
use serde_json::json;

use crate::build::Profile;
use crate::progress::Steps;
use crate::{build, host, kit};

/// Tell scenarios with real machines and stock clients.
#[derive(Debug, Parser)]
pub struct E2e {
    /// Scenarios to tell; `--list` names them.
    #[arg(required_unless_present_any = ["all", "list"])]
    names: Vec<String>,
    /// Every scenario, on every kind of machine that it can be told with.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Name the scenarios, the kinds of machines of each and what each shows.
    #[arg(long)]
    list: bool,
    /// Container machines (else the first kind that the scenario has).
    #[arg(long, conflicts_with_all = ["qemu", "all"])]
    container: bool,
    /// QEMU machines.
    #[arg(long, conflicts_with = "all")]
    qemu: bool,
    /// Which programs drive machines and the manager: those of Talos and Omni, or ours.
    #[arg(long, value_enum, default_value = "talosctl")]
    client: Driver,
    /// Take the image in this folder instead of building what has changed.
    #[arg(long)]
    image: Option<PathBuf>,
    /// Seed of everything that is random in a scenario; the kernel's choice, printed, if absent.
    #[arg(long)]
    seed: Option<u64>,
    /// How often a scenario repeats what it repeats.
    #[arg(long)]
    rounds: Option<u32>,
    /// First of the ports of the loopback that machines and managers use. Above 32767 Linux takes ports for connections: one
    /// could be taken while a manager is restarted.
    #[arg(long, default_value_t = 22_000)]
    port: u16,
    /// The last line of standard output is one JSON object.
    #[arg(long)]
    json: bool,
}

/// Programs that drive machines and the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Driver {
    /// The unmodified clients of Talos and Omni.
    Talosctl,
    /// Our own.
    Corten,
}

impl E2e {
    /// What every scenario is told; the kind of machine is each one's own.
    fn options(&self) -> Options {
        let seed = || u64::from_le_bytes(corten_base::Rng::kernel().bytes::<8>()) >> 32;
        Options {
            repository: kit::repository(),
            mode: Mode::Container,
            image: self.image.clone(),
            client: match self.client {
                Driver::Talosctl => Client::Talosctl,
                Driver::Corten => Client::Corten,
            },
            first_port: self.port,
            seed: self.seed.unwrap_or_else(seed),
            rounds: self.rounds,
        }
    }

    /// The kind of machine that is asked for.
    const fn mode(&self) -> Option<Mode> {
        match (self.container, self.qemu) {
            (true, _) => Some(Mode::Container),
            (_, true) => Some(Mode::Qemu),
            _ => None,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When there is no such scenario, or one fails.
pub fn run(wanted: &E2e) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if wanted.list {
        for scenario in SCENARIOS {
            let modes: Vec<&str> = scenario.modes.iter().map(|mode| mode.name()).collect();
            writeln!(out, "{:<12} {:<16} {}", scenario.name, modes.join(","), scenario.about)?;
        }
        return Ok(());
    }
    let chosen = chosen(wanted)?;
    build_missing(wanted, &chosen)?;
    Cleanup::handle_interrupts()?;
    let mut reports = Vec::new();
    let options = wanted.options();
    for (scenario, mode) in chosen {
        reports.push(corten_e2e::run(scenario, Options { mode, ..options.clone() })?);
    }
    let ok = reports.iter().all(|report| report.ok);
    if wanted.json {
        match reports.as_slice() {
            [report] => writeln!(out, "{}", report.json)?,
            reports => {
                let all: Vec<_> = reports.iter().map(|report| report.json.clone()).collect();
                writeln!(out, "{}", json!({ "ok": ok, "scenarios": all }))?;
            }
        }
    }
    let failures: Vec<String> = reports.into_iter().flat_map(|report| report.failures).collect();
    ensure!(ok, "{}", failures.join("\n"));
    Ok(())
}

/// Builds what the scenarios need and what is not there yet.
fn build_missing(wanted: &E2e, chosen: &[(&'static Scenario, Mode)]) -> Result<()> {
    let mut steps = Steps::default();
    steps.run("packages of the host", || host::ensure_packages(host::BUILD))?;
    let is_managed = chosen.iter().any(|(scenario, _)| scenario.managed != Managed::No);
    let mut parts = vec!["kubernetes", "clients/talosctl"];
    if chosen.iter().any(|(scenario, mode)| *mode == Mode::Qemu || scenario.on_disks) {
        parts.push("debian/qemu");
    }
    if is_managed && wanted.client == Driver::Talosctl {
        parts.push("clients/omnictl");
    }
    let is_chosen = |name: &str| chosen.iter().any(|(scenario, _)| scenario.name == name);
    if is_chosen("resources") {
        steps.run("packages of the host", || host::ensure_packages(host::TPM))?;
    }
    if is_chosen("api") || is_chosen("resources") {
        parts.push("clients/machinery");
    }
    steps.run("parts that run on the host", || kit::open()?.make(&parts))?;
    if is_managed
        || wanted.client == Driver::Corten
        || chosen.iter().any(|(scenario, _)| scenario.takes_corten)
    {
        build::corten(&mut steps)?;
    }
    if is_managed {
        build::fleet(Profile::Debug, &mut steps)?;
        build::emulator(Profile::Debug, &mut steps)?;
    }
    if wanted.image.is_none() {
        let flavours: BTreeSet<_> =
            chosen.iter().flat_map(|(scenario, mode)| scenario.flavours(*mode)).collect();
        for flavour in flavours {
            build::image(flavour, corten_config::defaults::KUBERNETES_VERSION, &mut steps)?;
        }
    }
    Ok(())
}

/// The scenarios with the kinds of machines to tell them with.
fn chosen(wanted: &E2e) -> Result<Vec<(&'static Scenario, Mode)>> {
    if wanted.all {
        let pairs = |scenario: &'static Scenario| scenario.modes.iter().map(move |mode| (scenario, *mode));
        return Ok(SCENARIOS.iter().flat_map(pairs).collect());
    }
    let choose = |name: &String| {
        let scenario = corten_e2e::find(name)?;
        let first = scenario.modes.first().copied().unwrap_or(Mode::Container);
        Ok((scenario, wanted.mode().unwrap_or(first)))
    };
    wanted.names.iter().map(choose).collect()
}
