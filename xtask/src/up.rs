//! `cargo xtask up`: builds what is missing, starts a machine and makes it a Kubernetes node that serves a page.
//!
//! Nothing is built twice: an image is made anew only when what goes into it has changed. Whatever stops this
//! program before the end takes the machine away with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use corten_e2e::cluster::{Cluster, ClusterPlan, Files};
use corten_e2e::machine::{MachineOptions, Mode};
use corten_e2e::tool::Tool;
use corten_harness::cleanup::Cleanup;
use corten_harness::qemu::Program;
use corten_harness::{Lifetime, Registry, preflight};

use crate::{build, host, kit};

const NAME: &str = "corten";
const API_PORT: u16 = 50_000;
const KUBERNETES_PORT: u16 = 6443;
const SUBNET: u8 = 0;
const DOWN_TIMEOUT: Duration = Duration::from_secs(60);

/// Start a machine that becomes a Kubernetes node.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask up", bin_name = "cargo xtask up")]
struct Up {
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
pub fn run(args: &[String]) -> Result<()> {
    let up = Up::parse_from(std::iter::once("up".to_owned()).chain(args.iter().cloned()));
    let began = Instant::now();
    host::ensure_packages(host::BUILD)?;
    let mut missing = preflight::ports(&[API_PORT, KUBERNETES_PORT]);
    if up.container {
        missing.extend(preflight::container_machine());
    }
    if let Some(entry) = registry().find(NAME)? {
        bail!(
            "a machine is up already, its files are in {}; `cargo xtask down` takes it away",
            entry.folder.display()
        );
    }
    ensure!(missing.is_empty(), "this host cannot run a machine:\n  {}", missing.join("\n  "));
    let mode = if up.container { Mode::Container } else { Mode::Qemu };
    let image = build::image(mode.flavour(), &up.kubernetes_version)?;
    let corten = build::corten()?;
    let options = machine_options(&up, mode, image)?;
    Cleanup::handle_interrupts()?;
    let away = Cleanup::register(|| drop(down(&[])));
    let result = bring_up(&up, &options, corten);
    match result {
        Ok(figures) => {
            std::mem::forget(away);
            tell(&up, &options, &figures, began)
        }
        Err(error) => {
            drop(away);
            Err(error)
        }
    }
}

fn machine_options(up: &Up, mode: Mode, image: PathBuf) -> Result<MachineOptions> {
    let folder = registry_folder().join(NAME);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let mut options = MachineOptions::new(mode, NAME, image, folder);
    (options.api_port, options.kubernetes_port, options.subnet) = (API_PORT, KUBERNETES_PORT, SUBNET);
    (options.memory_mib, options.cpus, options.disk_gib) = (up.memory, up.cpus, up.disk);
    options.lifetime = Lifetime::Detached;
    options.registry = Some(registry_folder());
    if mode == Mode::Qemu {
        let tree =
            kit::open()?.make(&["debian/qemu"])?.remove("debian/qemu").context("QEMU was not made")?.tree();
        options.kvm = use_kvm(up.kvm, &tree, &options.image)?;
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

fn bring_up(up: &Up, options: &MachineOptions, corten: PathBuf) -> Result<Vec<(&'static str, f64)>> {
    let mut plan = ClusterPlan::of(options);
    plan.kubernetes_version.clone_from(&up.kubernetes_version);
    let files = Files::write(&plan, &options.folder)?;
    let started = Instant::now();
    let machine = options.start()?;
    let kubernetes =
        kit::open()?.make(&["kubernetes"])?.remove("kubernetes").context("Kubernetes was not made")?;
    let kubectl = Tool::new(kubernetes.program("kubernetes"), "kubectl");
    let client = Tool::new(corten, "corten");
    let progress = |text: &str| say(text);
    let cluster = Cluster { plan, files, machine: &machine, client, kubectl, started, progress: &progress };
    let figures = cluster.bring_up().map_err(|error| error.context(machine.evidence()))?;
    machine.leave()?;
    Ok(figures.0)
}

fn tell(up: &Up, options: &MachineOptions, figures: &[(&'static str, f64)], began: Instant) -> Result<()> {
    use std::io::Write;
    let folder = options.folder.display();
    let corten = build::corten()?;
    let kubernetes =
        kit::open()?.make(&["kubernetes"])?.remove("kubernetes").context("Kubernetes was not made")?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nThe node is Ready and a pod serves a page. Files: {folder}\n")?;
    writeln!(out, "Try next:")?;
    writeln!(out, "  export TALOSCONFIG={folder}/talosconfig KUBECONFIG={folder}/kubeconfig")?;
    writeln!(out, "  {} service", corten.display())?;
    writeln!(
        out,
        "  {} get members                  (get rd lists everything there is to get)",
        corten.display()
    )?;
    writeln!(out, "  talosctl health                 (any talosctl; the talosconfig is the same)")?;
    writeln!(out, "  {} kubectl get pods -A", kubernetes.program("kubernetes").display())?;
    writeln!(out, "  cargo xtask down                (takes the machine away)")?;
    if up.json {
        let mut object = serde_json::Map::new();
        object.insert("ok".to_owned(), true.into());
        object.insert("total_seconds".to_owned(), began.elapsed().as_secs_f64().into());
        object.extend(figures.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
        writeln!(out, "{}", serde_json::Value::Object(object))?;
    }
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

/// `cargo xtask down`: takes every machine of `up` away, with its files.
///
/// # Errors
/// When one does not go.
pub fn down(_: &[String]) -> Result<()> {
    let registry = registry();
    for entry in registry.list()? {
        registry.down(&entry.name, DOWN_TIMEOUT)?;
        fs::remove_dir_all(&entry.folder)
            .with_context(|| format!("cannot remove {}", entry.folder.display()))?;
        say(&format!("the machine {} is gone", entry.name));
    }
    Ok(())
}
