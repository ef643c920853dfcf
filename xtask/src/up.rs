//! `cargo xtask up`: builds what is missing, starts a machine and makes it a Kubernetes node that serves a page.
//!
//! Nothing is built twice: an image is made anew only when what goes into it has changed. Whatever stops this
//! program before the end takes the machine away with it: its launcher notices that nobody is there any more. With
//! `--fleet` there are two machines and a manager.

mod fleet;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use corten_e2e::cluster::{Cluster, ClusterPlan, Files};
use corten_e2e::machine::{MachineOptions, Mode};
use corten_e2e::tool::Tool;
use corten_harness::cleanup::Cleanup;
use corten_harness::qemu::Program;
use corten_harness::{Lifetime, Registry, leftovers, preflight};
use serde_json::{Map, Value};

use crate::progress::Steps;
use crate::{build, host, kit};

const NAME: &str = "corten";
const API_PORT: u16 = 50_000;
const KUBERNETES_PORT: u16 = 6443;
const SUBNET: u8 = 0;
const DOWN_TIMEOUT: Duration = Duration::from_secs(60);

/// Seconds since power-on, by what had happened then.
type Figures = Vec<(&'static str, f64)>;

/// Start a machine that becomes a Kubernetes node.
///
/// Builds what is missing, boots the machine, and ends when a pod of it serves a page through a service. The folder with
/// its talosconfig and kubeconfig is printed together with the commands to try next.
///
/// With --fleet, Corten Fleet is started on its embedded store, two machines join it and become a cluster that it
/// manages. Machines in QEMU boot a disk image that Fleet makes for them, which is already installed.
#[derive(Debug, Parser)]
pub struct Up {
    /// Start Corten Fleet and two machines, and let it make a cluster of them.
    #[arg(long)]
    fleet: bool,
    /// A machine in namespaces of this kernel instead of one in QEMU.
    #[arg(long)]
    container: bool,
    /// Use the processor's virtualization; `auto` tries whether a guest really boots.
    #[arg(long, value_enum, default_value = "auto")]
    kvm: Kvm,
    /// Memory of a QEMU machine, MiB.
    #[arg(long, default_value_t = 3072)]
    memory: u32,
    /// Processors of a QEMU machine.
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// Disk of a QEMU machine, GiB; it grows as it is used.
    #[arg(long, default_value_t = 8)]
    disk: u64,
    /// Kubernetes version, as in the image cache.
    #[arg(long, default_value = corten_config::defaults::KUBERNETES_VERSION)]
    kubernetes_version: String,
    /// The last line of standard output is one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kvm {
    Auto,
    On,
    Off,
}

/// Runs the command.
///
/// # Errors
/// When the host lacks something, or a step does not succeed in time.
pub fn run(up: &Up) -> Result<()> {
    let began = Instant::now();
    let mut steps = Steps::default();
    let result = if up.fleet { fleet::ready(up, &mut steps) } else { ready(up, &mut steps) };
    if up.json {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", report(&result, &steps, began.elapsed()))?;
    }
    result.map(drop)
}

/// What programs are told: whether it went well, with the figures and the seconds of each step of building.
fn report(result: &Result<Figures>, steps: &Steps, total: Duration) -> Value {
    let mut object = Map::new();
    object.insert("ok".to_owned(), result.is_ok().into());
    object.insert("total_seconds".to_owned(), total.as_secs_f64().into());
    object.insert("build_seconds".to_owned(), steps.json());
    match result {
        Ok(figures) => {
            object.extend(figures.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
        }
        Err(error) => drop(object.insert("error".to_owned(), format!("{error:#}").into())),
    }
    Value::Object(object)
}

/// Builds what is missing and starts the machine, until a page is served.
fn ready(up: &Up, steps: &mut Steps) -> Result<Figures> {
    if let Some(entry) = registry().find(NAME)? {
        bail!(
            "a machine is up already, its files are in {}; `cargo xtask down` takes it away",
            entry.folder.display()
        );
    }
    check_host(up)?;
    steps.run("packages of the host", || host::ensure_packages(host::BUILD))?;
    let mode = if up.container { Mode::Container } else { Mode::Qemu };
    let image = build::image(mode.flavour(), &up.kubernetes_version, steps)?;
    let corten = build::corten(steps)?;
    let mut parts = steps.run("parts that run on the host", || kit::open()?.make(parts_of_host(mode)))?;
    let kubernetes = parts.remove("kubernetes").context("Kubernetes was not made")?.program("kubernetes");
    let qemu = parts.remove("debian/qemu").map(|made| made.tree());
    let options = machine_options(up, mode, image, qemu, steps)?;
    Cleanup::handle_interrupts()?;
    let away = Cleanup::register(|| drop(take_away(Duration::ZERO)));
    let figures = bring_up(up, &options, &corten, &kubernetes)?;
    away.keep();
    tell(&options, &corten, &kubernetes)?;
    Ok(figures)
}

/// Components whose programs run beside the machine.
const fn parts_of_host(mode: Mode) -> &'static [&'static str] {
    match mode {
        Mode::Container => &["kubernetes"],
        Mode::Qemu => &["kubernetes", "debian/qemu"],
    }
}

/// Refuses a host on which no machine can run, with everything that it lacks.
fn check_host(up: &Up) -> Result<()> {
    let mut missing = preflight::ports(&[API_PORT, KUBERNETES_PORT]);
    if up.container {
        missing.extend(preflight::container_machine());
    } else {
        missing.extend(preflight::memory(u64::from(up.memory) << 20));
    }
    if up.kvm == Kvm::On && !Path::new("/dev/kvm").exists() {
        missing.push("There is no /dev/kvm: leave out `--kvm on`, or load the kernel module kvm.".to_owned());
    }
    missing.extend(host::missing_commands());
    ensure!(missing.is_empty(), "this host cannot run a machine:\n  {}", missing.join("\n  "));
    Ok(())
}

fn machine_options(
    up: &Up,
    mode: Mode,
    image: PathBuf,
    qemu: Option<PathBuf>,
    steps: &mut Steps,
) -> Result<MachineOptions> {
    let folder = registry_folder().join(NAME);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let mut options = MachineOptions::new(mode, NAME, image, folder);
    (options.api_port, options.kubernetes_port, options.subnet) = (API_PORT, KUBERNETES_PORT, SUBNET);
    (options.memory_mib, options.cpus, options.disk_gib) = (up.memory, up.cpus, up.disk);
    options.lifetime = Lifetime::Detached;
    options.registry = Some(registry_folder());
    if let Some(tree) = qemu {
        options.kvm = steps.run("KVM probe", || use_kvm(up.kvm, &tree, &options.image))?;
        options.qemu = vec![tree];
    }
    Ok(options)
}

/// Whether to use KVM: it opens on hosts where guests then hang, so only a guest that boots counts.
fn use_kvm(wish: Kvm, qemu: &Path, image: &Path) -> Result<bool> {
    match wish {
        Kvm::On => Ok(true),
        Kvm::Off => Ok(false),
        Kvm::Auto => {
            let scratch = registry_folder().join("kvm-probe");
            fs::create_dir_all(&scratch)?;
            let works = Program::find(&[qemu.to_owned()])?.probe_kvm(&image.join("vmlinuz"), &scratch);
            fs::remove_dir_all(&scratch)?;
            say(if works { "KVM boots guests here" } else { "KVM boots no guest here: emulating" });
            Ok(works)
        }
    }
}

fn bring_up(up: &Up, options: &MachineOptions, corten: &Path, kubernetes: &Path) -> Result<Figures> {
    let mut plan = ClusterPlan::of(options);
    plan.kubernetes_version.clone_from(&up.kubernetes_version);
    let files = Files::write(&plan, &options.folder)?;
    let started = Instant::now();
    let machine = options.start()?;
    let kubectl = Tool::new(kubernetes, "kubectl");
    let client = Tool::new(corten, "corten");
    let progress = |text: &str| say(text);
    let cluster = Cluster { plan, files, machine: &machine, client, kubectl, started, progress: &progress };
    let figures = cluster.bring_up().map_err(|error| error.context(machine.evidence()))?;
    machine.leave()?;
    Ok(figures.0)
}

fn tell(options: &MachineOptions, corten: &Path, kubernetes: &Path) -> Result<()> {
    let folder = options.folder.display();
    let corten = corten.display();
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nThe node is Ready and a pod serves a page. Files: {folder}\n")?;
    writeln!(out, "Try next:")?;
    writeln!(out, "  export TALOSCONFIG={folder}/talosconfig KUBECONFIG={folder}/kubeconfig")?;
    writeln!(out, "  {corten} service")?;
    writeln!(out, "  {corten} get members                  (get rd lists everything there is to get)")?;
    writeln!(out, "  talosctl health                 (any talosctl; the talosconfig is the same)")?;
    writeln!(out, "  {} kubectl get pods -A", kubernetes.display())?;
    writeln!(out, "  cargo xtask down                (takes the machine away)")?;
    Ok(())
}

fn say(text: &str) {
    eprintln!("  {text}");
}

fn registry_folder() -> PathBuf {
    kit::repository().join("target/machines")
}

fn registry() -> Registry {
    Registry::new(registry_folder())
}

/// Take every machine of `up` away, with its files.
#[derive(Debug, Parser)]
pub struct Down {}

/// `cargo xtask down`: takes every machine of `up` away, with its files.
///
/// # Errors
/// When one does not go.
pub fn down() -> Result<()> {
    take_away(DOWN_TIMEOUT)
}

/// Takes away what is up, after it had so long to end in order.
fn take_away(grace: Duration) -> Result<()> {
    let registry = registry();
    for entry in registry.list()? {
        registry.down(&entry.name, grace)?;
    }
    for (name, folder) in machine_folders()? {
        let mounts = leftovers::remove(&folder)?;
        for mount in mounts {
            say(&format!("{} was still mounted", mount.display()));
        }
        say(&format!("the machine {name} is gone"));
    }
    Ok(())
}

/// Folders of machines, also of those whose launcher is gone.
fn machine_folders() -> Result<Vec<(String, PathBuf)>> {
    let folder = registry_folder();
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot list {}", folder.display()))?,
    };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(folders.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_how_it_went_in_either_case() {
        let steps = Steps::default();
        let good = report(&Ok(vec![("ready_seconds", 3.0)]), &steps, Duration::from_secs(9));
        assert_eq!((&good["ok"], &good["ready_seconds"]), (&true.into(), &3.0.into()));
        let bad = report(&Err(anyhow::anyhow!("no bridge")), &steps, Duration::from_secs(9));
        assert_eq!((&bad["ok"], &bad["error"]), (&false.into(), &"no bridge".into()));
    }
}
