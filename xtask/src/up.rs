//! `cargo xtask up`: builds what is missing, starts a machine and makes it a Kubernetes node that serves a page.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use corten_harness::{Bind, ContainerMachine, ContainerSpec, Forward, LabSpec, Lifetime, Registry, preflight};

use crate::{image, kit};

const API_PORT: u16 = 50000;
const KUBERNETES_PORT: u16 = 6443;
const BOOT_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the command.
///
/// # Errors
/// When the host lacks something, or a step does not succeed in time.
pub fn run(args: &[String]) -> Result<()> {
    let container = args.iter().any(|arg| arg == "--container");
    ensure!(container, "only --container yet");
    let missing = preflight::container_machine();
    if !missing.is_empty() {
        bail!("this host cannot run a container machine:\n  {}", missing.join("\n  "));
    }
    if !args.iter().any(|arg| arg == "--no-build") {
        image::run(&["container".to_owned()])?;
    }
    let folder = kit::repository().join("target/machines/corten");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let machine = ContainerMachine::start(spec(folder)?)?;
    machine.wait_for_boot(1, BOOT_TIMEOUT)?;
    let entry = machine.detach()?;
    println!("machine {} at 127.0.0.1:{API_PORT}, files in {}", entry.name, entry.folder.display());
    Ok(())
}

fn spec(folder: PathBuf) -> Result<ContainerSpec> {
    let image = kit::repository().join("target/image/container");
    let mut spec = ContainerSpec::new("corten", image.join("rootfs"), folder, LabSpec::new("corten"));
    spec.forwards = [API_PORT, KUBERNETES_PORT].map(|port| Forward { host_port: port, machine_port: port }).to_vec();
    spec.binds = vec![Bind {
        host: image.join("images").canonicalize().context("there are no images yet")?,
        machine: PathBuf::from("/system/imagecache"),
        read_only: true,
    }];
    spec.lifetime = Lifetime::Detached;
    spec.registry = Some(registry_folder());
    spec.env.insert("CORTEN_PLATFORM".to_owned(), "container".to_owned());
    Ok(spec)
}

fn registry_folder() -> PathBuf {
    kit::repository().join("target/machines")
}

/// `cargo xtask down`: takes every machine away.
///
/// # Errors
/// When one does not go.
pub fn down(_: &[String]) -> Result<()> {
    let registry = Registry::new(registry_folder());
    for entry in registry.list()? {
        registry.down(&entry.name, Duration::from_secs(30))?;
        println!("{} is gone", entry.name);
        fs::remove_dir_all(&entry.folder).with_context(|| format!("cannot remove {}", entry.folder.display()))?;
    }
    Ok(())
}
