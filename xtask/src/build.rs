//! Builds that other commands need, each only when something that goes into it has changed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::{image, kit};

/// The image of a flavour, built unless it is there already; its folder.
///
/// # Errors
/// When a part cannot be built.
pub fn image(flavour: &str, kubernetes_version: &str) -> Result<PathBuf> {
    step("building the programs of the machine", image::programs)?;
    let folder = kit::repository().join("target/image").join(flavour);
    let key = key(flavour, kubernetes_version)?;
    let stamp = folder.join("built");
    if fs::read_to_string(&stamp).is_ok_and(|built| built == key) {
        return Ok(folder);
    }
    let _ = fs::remove_file(&stamp);
    let mut args = vec![flavour.to_owned()];
    if kubernetes_version != corten_config::defaults::KUBERNETES_VERSION {
        args.extend(["--kubernetes".to_owned(), kubernetes_version.to_owned()]);
    }
    step(&format!("building the image `{flavour}`"), || image::run(&args))?;
    fs::write(stamp, key)?;
    Ok(folder)
}

/// Everything that decides an image's bytes: our programs, the builder itself, what was asked for.
fn key(flavour: &str, kubernetes_version: &str) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(flavour);
    hash.update(kubernetes_version);
    let [init, machined] = image::program_paths();
    let itself = PathBuf::from("/proc/self/exe");
    for path in [init, machined, itself] {
        hash.update(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(hex::encode(hash.finalize()))
}

/// Our command line for this host; its path.
///
/// # Errors
/// When it cannot be built.
pub fn corten() -> Result<PathBuf> {
    step("building the command line", || cargo(&["build", "--quiet", "--package", "corten"]))?;
    let path = kit::repository().join("target/debug/corten");
    ensure!(path.is_file(), "{} was not built", path.display());
    Ok(path)
}

/// Runs cargo in this repository.
///
/// # Errors
/// When it fails.
#[expect(clippy::disallowed_methods, reason = "runs on the developer's host, not on a machine")]
pub fn cargo(args: &[&str]) -> Result<()> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program).current_dir(kit::repository()).args(args).status()?;
    ensure!(status.success(), "cargo {} ended with {status}", args.join(" "));
    Ok(())
}

/// Says what takes long, and how long it took.
fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = std::time::Instant::now();
    let result = work()?;
    let seconds = began.elapsed().as_secs_f64();
    if seconds > 2.0 {
        eprintln!("  {what}: {seconds:.0} s");
    }
    Ok(result)
}
