//! `cargo xtask spec`: measures what SPECIFICATION.md promises.
//!
//! Memory is PSS of init, machined, apid, trustd and dataplane, and the tmpfs that they fill, which is all but the state
//! of containerd, its shims and runc.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use corten_e2e::cx::say;
use corten_e2e::inside::{self, Process};
use corten_e2e::scenarios::node::Node;
use corten_e2e::{Client, Cx, Mode, Options};
use corten_harness::ContainerMachine;
use corten_harness::cleanup::Cleanup;
use corten_sys::procfs;
use serde_json::{Map, Value, json};

use crate::progress::Steps;
use crate::{build, host, kit, programs};

/// Programs of ours that run all the time.
const OURS: [&str; 5] = ["init", "machined", "apid", "trustd", "dataplane"];
/// Folders that are tmpfs, from the machine's root.
const TMPFS: [&str; 3] = ["run", "system", "tmp"];
/// Folders there that programs of others fill.
const OTHERS: [&str; 2] = ["run/containerd", "system/run/containerd"];
const MEMORY_MAX_MIB: f64 = 24.0;
const CPU_MAX_PERCENT: f64 = 1.0;
const BUILD_MAX: Duration = Duration::from_secs(600);
/// Files of `target/image/cloud` with a budget in bytes.
const SIZES: [(&str, u64); 2] = [("corten.efi", 90_000_000), ("root.sqsh", 75_000_000)];
/// Between two looks.
const PERIOD: Duration = Duration::from_secs(5);

/// Measure what SPECIFICATION.md promises.
///
/// The story of `e2e node` is told on a container machine up to its reboot, by stock clients; then the Ready control
/// plane is left alone while the memory and CPU of our programs are taken. Sizes come from `target/image/cloud`.
#[derive(Debug, Parser)]
pub struct Spec {
    /// How long to look.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Also compile the node's programs from nothing, in a folder of their own.
    #[arg(long)]
    build_time: bool,
    /// Take the image in this folder instead of target/image/container.
    #[arg(long)]
    image: Option<PathBuf>,
    /// The last line of standard output is one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the machine does not become Ready, or a budget is exceeded.
pub fn run(wanted: &Spec) -> Result<()> {
    Cleanup::handle_interrupts()?;
    let mut figures = Map::new();
    let mut misses = Vec::new();
    build_missing(wanted)?;
    sizes(&kit::repository(), &mut figures, &mut misses)?;
    if wanted.build_time {
        build_time(&kit::repository(), &mut figures, &mut misses)?;
    }
    machine(wanted, &mut figures, &mut misses)?;
    figures.insert("ok".to_owned(), json!(misses.is_empty()));
    figures.insert("misses".to_owned(), json!(misses));
    for (name, value) in &figures {
        say(&format!("{name}: {value}"));
    }
    if wanted.json {
        writeln!(std::io::stdout().lock(), "{}", Value::Object(figures))?;
    }
    ensure!(misses.is_empty(), "{}", misses.join("; "));
    Ok(())
}

/// Builds what is measured and is not there yet.
fn build_missing(wanted: &Spec) -> Result<()> {
    let mut steps = Steps::default();
    steps.run("packages of the host", || host::ensure_packages(host::BUILD))?;
    steps.run("parts that run on the host", || kit::open()?.make(&["kubernetes", "clients/talosctl"]))?;
    let mut flavours = vec!["cloud"];
    flavours.extend(wanted.image.is_none().then_some("container"));
    for flavour in flavours {
        build::image(flavour, corten_config::defaults::KUBERNETES_VERSION, &mut steps)?;
    }
    Ok(())
}

/// Sizes of what `cargo xtask image cloud` wrote.
fn sizes(repository: &Path, figures: &mut Map<String, Value>, misses: &mut Vec<String>) -> Result<()> {
    for (name, max) in SIZES {
        let path = repository.join("target/image/cloud").join(name);
        let size = fs::metadata(&path)
            .with_context(|| format!("there is no {}: run `cargo xtask image cloud`", path.display()))?
            .len();
        figures.insert(format!("{}_bytes", name.replace('.', "_")), json!(size));
        if size > max {
            misses.push(format!("{name} has {size} bytes, and its budget is {max}"));
        }
    }
    Ok(())
}

/// Compiles the node's programs in a folder that is empty before and gone afterwards.
fn build_time(repository: &Path, figures: &mut Map<String, Value>, misses: &mut Vec<String>) -> Result<()> {
    let folder = repository.join("target/spec-build");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot empty the folder of the build")?;
    }
    let fetched = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(repository)
        .args(["fetch", "--quiet", "--locked"])
        .status()
        .context("cannot start cargo")?;
    ensure!(fetched.success(), "cargo fetch ended with {fetched}");
    let began = Instant::now();
    programs::build_in(&folder)?;
    let took = began.elapsed();
    fs::remove_dir_all(&folder).context("cannot remove the folder of the build")?;
    figures.insert("build_seconds".to_owned(), json!(took.as_secs()));
    if took > BUILD_MAX {
        misses.push(format!(
            "the build took {} s, and its budget is {} s",
            took.as_secs(),
            BUILD_MAX.as_secs()
        ));
    }
    Ok(())
}

/// A Ready machine that nobody asks anything.
fn machine(wanted: &Spec, figures: &mut Map<String, Value>, misses: &mut Vec<String>) -> Result<()> {
    let options = Options {
        repository: kit::repository(),
        mode: Mode::Container,
        image: wanted.image.clone(),
        client: Client::Talosctl,
        first_port: 22_800,
        seed: 0,
        rounds: None,
    };
    let mut cx = Cx::new(options, "spec")?;
    let node = Node::tell(&mut cx)?;
    let grace = node.cluster(&cx)?.limit(60);
    let container = node.machine.container()?;
    let ours = ours(container)?;
    let (cpu_before, began) = (cpu_ticks(&ours)?, Instant::now());
    let mut totals = Vec::new();
    let mut worst: Vec<(String, Vec<f64>)> = Vec::new();
    say(&format!("measuring for {} minutes", wanted.minutes));
    while began.elapsed() < Duration::from_secs(wanted.minutes * 60) {
        let sample = sample(container, &ours)?;
        totals.push(sample.iter().map(|(_, mib)| mib).sum::<f64>());
        for (name, mib) in sample {
            match worst.iter_mut().find(|(known, _)| *known == name) {
                Some((_, all)) => all.push(mib),
                None => worst.push((name, vec![mib])),
            }
        }
        std::thread::sleep(PERIOD);
    }
    let ticks = cpu_ticks(&ours)? - cpu_before;
    let percent = 100.0 * ticks as f64 / procfs::ticks_per_second() as f64 / began.elapsed().as_secs_f64();
    let memory = p95(&mut totals);
    figures.insert("minutes".to_owned(), json!(wanted.minutes));
    figures.insert("memory_mib_p95".to_owned(), json!(rounded(memory)));
    // Sorted by now.
    let middle = totals.get(totals.len() / 2).copied().unwrap_or_default();
    figures.insert("memory_mib_median".to_owned(), json!(rounded(middle)));
    for (name, mut all) in worst {
        figures.insert(format!("memory_mib_p95_{name}"), json!(rounded(p95(&mut all))));
    }
    figures.insert("cpu_percent".to_owned(), json!(rounded(percent)));
    if memory > MEMORY_MAX_MIB {
        misses.push(format!("our programs take {memory:.1} MiB, and their budget is {MEMORY_MAX_MIB}"));
    }
    if percent > CPU_MAX_PERCENT {
        misses.push(format!(
            "our programs take {percent:.2} % of a core, and their budget is {CPU_MAX_PERCENT}"
        ));
    }
    node.machine.stop(grace)?;
    drop(cx.finish(Ok(())));
    Ok(())
}

/// Our programs; each of them must be there once.
fn ours(machine: &ContainerMachine) -> Result<Vec<Process>> {
    OURS.iter().map(|name| inside::only(machine, name)).collect()
}

/// MiB of each of our programs, and of the tmpfs that they fill.
fn sample(machine: &ContainerMachine, ours: &[Process]) -> Result<Vec<(String, f64)>> {
    const MIB: f64 = (1 << 20) as f64;
    let mut all = Vec::new();
    for process in ours {
        ensure!(procfs::is_same_process(process.pid, process.start_ticks), "{} has ended", process.name);
        all.push((process.name.clone(), procfs::pss_bytes(process.pid)? as f64 / MIB));
    }
    let root = machine.root()?;
    let tmpfs = TMPFS.iter().map(|folder| filled(&root.join(folder), &root)).sum::<Result<u64>>()?;
    all.push(("tmpfs".to_owned(), tmpfs as f64 / MIB));
    Ok(all)
}

/// Bytes that the files below a folder take on its file system.
fn filled(folder: &Path, root: &Path) -> Result<u64> {
    if OTHERS.iter().any(|other| folder == root.join(other)) {
        return Ok(0);
    }
    let device = fs::metadata(folder).with_context(|| format!("cannot look at {}", folder.display()))?.dev();
    let mut bytes = 0;
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        // It may be gone by now.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        match metadata.is_dir() {
            // A folder may go while it is looked at, too.
            true if metadata.dev() == device => bytes += filled(&path, root).unwrap_or_default(),
            true => {}
            false => bytes += metadata.blocks() * 512,
        }
    }
    Ok(bytes)
}

/// Ticks of processor time that they have used so far.
fn cpu_ticks(ours: &[Process]) -> Result<u64> {
    let ticks = |process: &Process| {
        let stat =
            procfs::process_stat(process.pid).with_context(|| format!("{} has ended", process.name))?;
        Ok(stat.user_ticks + stat.system_ticks)
    };
    ours.iter().map(ticks).sum()
}

fn p95(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() * 95).div_ceil(100).saturating_sub(1);
    values.get(index).copied().unwrap_or_default()
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_95th_percentile_leaves_out_one_in_twenty() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert!((p95(&mut values) - 95.0).abs() < f64::EPSILON);
        assert!((p95(&mut [7.0]) - 7.0).abs() < f64::EPSILON);
    }
}
