//! `cargo xtask e2e NAME`: tells a scenario (see `--list`).
//!
//! Options: `--container` or `--qemu` (the scenario's first kind otherwise), `--client talosctl|corten`, `--image FOLDER`, `--seed N`,
//! `--rounds N`, `--port FIRST` (ports of the loopback from there on), `--json` (the last line of standard output is
//! one object), `--all` (every scenario on every kind of machine), `--list`.

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::{Context, Result, bail, ensure};
use corten_e2e::{Client, Mode, Options, SCENARIOS, Scenario};
use corten_harness::cleanup::Cleanup;
use serde_json::json;

use crate::progress::Steps;
use crate::{build, host, kit};

/// What is asked for.
struct Wanted {
    names: Vec<String>,
    all: bool,
    list: bool,
    json: bool,
    mode: Option<Mode>,
    options: Options,
}

/// Runs the command.
///
/// # Errors
/// When an argument is unknown or a scenario fails.
pub fn run(args: &[String]) -> Result<()> {
    let wanted = parse(args)?;
    let mut out = std::io::stdout().lock();
    if wanted.list {
        for scenario in SCENARIOS {
            let modes: Vec<&str> = scenario.modes.iter().map(|mode| mode.name()).collect();
            writeln!(out, "{:<12} {:<16} {}", scenario.name, modes.join(","), scenario.about)?;
        }
        return Ok(());
    }
    let chosen = chosen(&wanted)?;
    build_missing(&wanted, &chosen)?;
    Cleanup::handle_interrupts()?;
    let mut reports = Vec::new();
    for (scenario, mode) in chosen {
        let options = Options { mode, ..wanted.options.clone() };
        reports.push(corten_e2e::run(scenario, options)?);
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
fn build_missing(wanted: &Wanted, chosen: &[(&'static Scenario, Mode)]) -> Result<()> {
    let mut steps = Steps::default();
    steps.run("packages of the host", || host::ensure_packages(host::BUILD))?;
    let mut parts = vec!["kubernetes", "clients/talosctl"];
    if chosen.iter().any(|(scenario, mode)| *mode == Mode::Qemu || scenario.on_disks) {
        parts.push("debian/qemu");
    }
    steps.run("parts that run on the host", || kit::open()?.make(&parts))?;
    if wanted.options.client == Client::Corten {
        build::corten(&mut steps)?;
    }
    if wanted.options.image.is_none() {
        let flavours: BTreeSet<_> =
            chosen.iter().flat_map(|(scenario, mode)| scenario.flavours(*mode)).collect();
        for flavour in flavours {
            build::image(flavour, corten_config::defaults::KUBERNETES_VERSION, &mut steps)?;
        }
    }
    Ok(())
}

/// The scenarios with the kinds of machines to tell them with.
fn chosen(wanted: &Wanted) -> Result<Vec<(&'static Scenario, Mode)>> {
    if wanted.all {
        let pairs = |scenario: &'static Scenario| scenario.modes.iter().map(move |mode| (scenario, *mode));
        return Ok(SCENARIOS.iter().flat_map(pairs).collect());
    }
    ensure!(!wanted.names.is_empty(), "which scenario? `cargo xtask e2e --list` names them");
    let choose = |name: &String| {
        let scenario = corten_e2e::find(name)?;
        let first = scenario.modes.first().copied().unwrap_or(Mode::Container);
        Ok((scenario, wanted.mode.unwrap_or(first)))
    };
    wanted.names.iter().map(choose).collect()
}

fn parse(args: &[String]) -> Result<Wanted> {
    let seed = corten_base::Rng::kernel().bytes::<8>();
    let options = Options {
        repository: kit::repository(),
        mode: Mode::Container,
        image: None,
        client: Client::Talosctl,
        first_port: 52_000,
        seed: u64::from_le_bytes(seed) >> 32,
        rounds: None,
    };
    let mut wanted = Wanted { names: Vec::new(), all: false, list: false, json: false, mode: None, options };
    let mut rest = args.iter();
    while let Some(option) = rest.next() {
        let mut value = || rest.next().with_context(|| format!("`{option}` needs a value"));
        let options = &mut wanted.options;
        match option.as_str() {
            "--all" => wanted.all = true,
            "--list" => wanted.list = true,
            "--json" => wanted.json = true,
            "--container" => wanted.mode = Some(Mode::Container),
            "--qemu" => wanted.mode = Some(Mode::Qemu),
            "--image" => options.image = Some(value()?.into()),
            "--client" => options.client = client(value()?)?,
            "--seed" => options.seed = value()?.parse().context("the seed is not a number")?,
            "--rounds" => options.rounds = Some(value()?.parse().context("the rounds are not a number")?),
            "--port" => options.first_port = value()?.parse().context("the port is not one")?,
            other if other.starts_with('-') => bail!("`{other}` is not an option"),
            name => wanted.names.push(name.to_owned()),
        }
    }
    Ok(wanted)
}

fn client(name: &str) -> Result<Client> {
    match name {
        "talosctl" => Ok(Client::Talosctl),
        "corten" => Ok(Client::Corten),
        other => bail!("`{other}` is no client; there are talosctl and corten"),
    }
}
