//! `cargo xtask up --fleet`: the manager, and two machines that dial home and become a cluster that serves a page.
//!
//! ```text
//! corten-fleet ─┬▶ disk image with join data ─▶ two machines in QEMU boot it ─┬▶ join ─▶ template ─▶ cluster ─▶ page
//!               └▶ kernel arguments ─▶ two container machines start with them ┘
//! ```

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use corten_base::version::TAG;
use corten_e2e::cluster::{NO_ELECTIONS, NO_TIME_SERVER};
use corten_e2e::cx::{DICTIONARY, DICTIONARY_FILE};
use corten_e2e::fleet::hosted::{Hosted, HostedFiles};
use corten_e2e::fleet::media;
use corten_e2e::fleet::members::Members;
use corten_e2e::fleet::template::Template;
use corten_e2e::fleet::{Manager, Security};
use corten_e2e::machine::{MachineOptions, Mode};
use corten_e2e::tool::Tool;
use corten_harness::cleanup::Cleanup;
use corten_harness::{FleetPorts, FleetSpec, LabSpec, Lifetime, preflight};

use super::{Figures, Kvm, Up, parts_of_host, registry, registry_folder, say, take_away, use_kvm};
use crate::build::Profile;
use crate::progress::Steps;
use crate::{build, host, kit};

/// Name of the manager and of its folder.
const NAME: &str = "fleet";
/// Name of the cluster.
const CLUSTER: &str = "home";
/// Machines: the first is the control plane.
const MACHINES: u8 = 2;
/// First port of the manager.
const PORTS: FleetPorts = FleetPorts(50_100);
/// Port of the first machine's API; each machine takes two of the next ten.
const MACHINE_PORT: u16 = 50_000;
/// How long a machine may take to join, on bare metal.
const JOIN_MAX: Duration = Duration::from_secs(120);

/// Builds what is missing and starts everything, until a page is served.
pub(super) fn ready(up: &Up, steps: &mut Steps) -> Result<Figures> {
    if let Some(entry) = registry().list()?.into_iter().next() {
        bail!("`{}` is up already; `cargo xtask down` takes everything away", entry.name);
    }
    check_host(up)?;
    steps.run("packages of the host", || host::ensure_packages(host::BUILD))?;
    let mode = if up.container { Mode::Container } else { Mode::Qemu };
    let image = build::image(mode.flavour(), &up.kubernetes_version, steps)?;
    let (corten, fleet) = (build::corten(steps)?, build::fleet(Profile::Debug, steps)?);
    let wanted = [parts_of_host(mode), &[DICTIONARY]].concat();
    let mut parts = steps.run("parts that run on the host", || kit::open()?.make(&wanted))?;
    let dictionary = parts.remove(DICTIONARY).context("the dictionary was not fetched")?;
    let dictionary = dictionary.folder.join(DICTIONARY_FILE);
    let kubernetes = parts.remove("kubernetes").context("Kubernetes was not made")?.program("kubernetes");
    let programs = Programs { corten, fleet, kubernetes, dictionary };
    let mut model = MachineOptions::new(mode, "corten", image, registry_folder());
    (model.memory_mib, model.cpus, model.disk_gib) = (up.memory, up.cpus, up.disk);
    if let Some(made) = parts.remove("debian/qemu") {
        model.kvm = steps.run("KVM probe", || use_kvm(up.kvm, &made.tree(), &model.image))?;
        model.qemu = vec![made.tree()];
    }
    Cleanup::handle_interrupts()?;
    let away = Cleanup::register(|| drop(take_away(Duration::ZERO)));
    let figures = bring_up(up, &model, &programs)?;
    away.keep();
    tell(&programs)?;
    Ok(figures)
}

/// Programs that run on the host.
struct Programs {
    corten: PathBuf,
    fleet: PathBuf,
    kubernetes: PathBuf,
    /// What omnictl compresses long texts with.
    dictionary: PathBuf,
}

/// Refuses a host on which this cannot run, with everything that it lacks.
fn check_host(up: &Up) -> Result<()> {
    let machines = (0..MACHINES).flat_map(|number| {
        let first = MACHINE_PORT + u16::from(number) * 10;
        [first, first + 1]
    });
    let ports: Vec<u16> = machines.chain(PORTS.tcp()).collect();
    let mut missing = preflight::ports(&ports);
    if up.container {
        missing.extend(preflight::container_machine());
    } else {
        missing.extend(preflight::memory((u64::from(up.memory) * u64::from(MACHINES)) << 20));
        if !rustix::process::geteuid().is_root() {
            missing.push("Machines that share a network need root: run this as root.".to_owned());
        }
    }
    if up.kvm == Kvm::On && !Path::new("/dev/kvm").exists() {
        missing.push("There is no /dev/kvm: leave out `--kvm on`, or load the kernel module kvm.".to_owned());
    }
    missing.extend(host::missing_commands());
    ensure!(missing.is_empty(), "this host cannot run a manager and machines:\n  {}", missing.join("\n  "));
    Ok(())
}

/// Folder of the manager, in which the operator's files are too.
fn folder() -> PathBuf {
    registry_folder().join(NAME)
}

/// The network of the manager and its machines.
fn lab() -> LabSpec {
    LabSpec::new("corten")
}

/// What lets machines join.
enum Ticket {
    /// A disk image that the manager made, for machines that have disks.
    Disk(PathBuf),
    /// Kernel arguments, for machines that have none.
    Arguments(String),
}

impl Ticket {
    fn get(manager: &Manager, mode: Mode) -> Result<Self> {
        if mode == Mode::Container {
            return manager.kernel_arguments().map(Self::Arguments);
        }
        let packed = folder().join("metal.raw.xz");
        media::download_disk(manager, CLUSTER, TAG.trim_start_matches('v'), &packed)?;
        media::unpack(&packed).map(Self::Disk)
    }
}

/// A machine that joins, by its number from 0 on.
fn machine(model: &MachineOptions, number: u8, ticket: &Ticket) -> MachineOptions {
    let mut options = model.clone();
    options.name = format!("corten-{}", number + 1);
    options.folder = registry_folder().join(&options.name);
    options.api_port = MACHINE_PORT + u16::from(number) * 10;
    options.kubernetes_port = options.api_port + 1;
    options.shared_lab = Some(lab());
    options.number = 2 + number;
    match ticket {
        Ticket::Disk(image) => options.disk_image = Some(image.clone()),
        Ticket::Arguments(line) => {
            options.kernel_arguments = line.split_whitespace().map(str::to_owned).collect();
        }
    }
    options.lifetime = Lifetime::Detached;
    options.registry = Some(registry_folder());
    options
}

/// Takes away what an earlier one has left.
fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

fn start_manager(model: &MachineOptions, programs: &Programs) -> Result<Manager> {
    let folder = folder();
    clear(&folder)?;
    let mut spec = FleetSpec::new(NAME, &programs.fleet, folder, PORTS);
    spec.lab = Some(lab());
    spec.dictionaries.push(programs.dictionary.clone());
    spec.lifetime = Lifetime::Detached;
    spec.registry = Some(registry_folder());
    if model.mode == Mode::Qemu {
        let settings = media::settings(&model.image, &media::urls(PORTS, lab().gateway));
        spec.settings.extend(settings.map(|(setting, value)| (setting.to_owned(), value)));
    }
    let client = Tool::new(&programs.corten, "corten").with(["fleet"]);
    Manager::start(spec, &client, Security::Tls)
}

fn bring_up(up: &Up, model: &MachineOptions, programs: &Programs) -> Result<Figures> {
    let started = Instant::now();
    say("starting Corten Fleet");
    let manager = start_manager(model, programs)?;
    let mut figures = vec![("fleet_seconds", started.elapsed().as_secs_f64())];
    if model.mode == Mode::Qemu {
        say("making the disk image that machines boot");
    }
    let ticket = Ticket::get(&manager, model.mode)?;
    let machines: Vec<_> = (0..MACHINES).map(|number| machine(model, number, &ticket)).collect();
    machines.iter().try_for_each(|machine| clear(&machine.folder))?;
    say("waiting for two machines to join");
    let members = Members::join(&manager, &machines, JOIN_MAX * model.mode.pace())?;
    figures.push(("joined_seconds", started.elapsed().as_secs_f64()));
    say(&format!("two machines have joined: after {:.1} s", started.elapsed().as_secs_f64()));
    let (control_planes, workers) = members.uuids.split_at(1);
    let template = Template {
        name: CLUSTER.to_owned(),
        talos_version: members.version.clone(),
        kubernetes_version: up.kubernetes_version.clone(),
        control_planes: control_planes.to_vec(),
        workers: workers.to_vec(),
        patches: match model.mode {
            Mode::Container => Vec::new(),
            Mode::Qemu => vec![NO_TIME_SERVER.to_owned(), NO_ELECTIONS.to_owned()],
        },
    };
    let evidence = || members.evidence();
    let hosted = Hosted {
        manager: &manager,
        files: HostedFiles::write(&template, &folder())?,
        template,
        kubectl: Tool::new(&programs.kubernetes, "kubectl"),
        started,
        pace: model.mode.pace(),
        progress: &say,
        evidence: &evidence,
    };
    figures.extend(hosted.bring_up()?);
    drop(hosted);
    members.leave()?;
    manager.leave()?;
    Ok(figures)
}

fn tell(programs: &Programs) -> Result<()> {
    let folder = folder();
    let spec = FleetSpec::new(NAME, &programs.fleet, &folder, PORTS);
    let url = format!("https://127.0.0.1:{}", PORTS.api());
    let (corten, kubernetes) = (programs.corten.display(), programs.kubernetes.display());
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nThe cluster `{CLUSTER}` serves a page. Files: {}\n", folder.display())?;
    writeln!(out, "Try next, with the key of the first administrator, which is good for a day:")?;
    writeln!(out, "  export OMNI_ENDPOINT={url} SSL_CERT_FILE={}", authority(&folder).display())?;
    writeln!(out, "  export OMNI_SERVICE_ACCOUNT_KEY=$(cat {})", spec.administrator_key().display())?;
    writeln!(out, "  {corten} fleet get machines     (omnictl get machines: any omnictl 1.8 to 1.10)")?;
    writeln!(out, "  {corten} fleet cluster status {CLUSTER}")?;
    writeln!(out, "  {corten} fleet get controllers     (what waits, and for what)")?;
    writeln!(out, "  {corten} fleet jointoken kernel-args     (what one more machine boots with)")?;
    writeln!(out, "  KUBECONFIG={}/kubeconfig {kubernetes} kubectl get pods -A", folder.display())?;
    writeln!(out, "  cargo xtask down                (takes the manager and its machines away)")?;
    Ok(())
}

/// File with the authority that clients must trust.
fn authority(folder: &Path) -> PathBuf {
    folder.join("papers/authority.crt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_have_names_ports_and_addresses_of_their_own() {
        let model = MachineOptions::new(Mode::Container, "corten", "/image".into(), "/machines".into());
        let ticket = Ticket::Arguments("siderolink.api=grpc://a:1 quiet".to_owned());
        let all = [0, 1].map(|number| machine(&model, number, &ticket));
        assert_eq!(all.each_ref().map(|one| one.name.as_str()), ["corten-1", "corten-2"]);
        assert_eq!(all.each_ref().map(|one| one.api_port), [50_000, 50_010]);
        assert_ne!(all[0].address(), all[1].address());
        assert_eq!(all[0].kernel_arguments.len(), 2);
        assert!(all.iter().all(|one| one.api_port + 1 < PORTS.api()));
    }
}
