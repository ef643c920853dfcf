//! Builds that other commands need, each only when something that goes into it has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use corten_image_builder::Flavour;
use sha2::{Digest, Sha256};

use crate::progress::Steps;
use crate::{image, kit, programs};

/// What builds images, from the root of the repository: a change there may change every image.
const BUILDERS: [&str; 6] = [
    "image/builder/src",
    "image/kit",
    "lib/base/src",
    "xtask/src/image.rs",
    "xtask/src/programs.rs",
    "Cargo.lock",
];

/// The image of a flavour, built unless it is there already; its folder.
///
/// # Errors
/// When a part cannot be built.
pub fn image(flavour: &str, kubernetes_version: &str, steps: &mut Steps) -> Result<PathBuf> {
    steps.run("programs of the machine", programs::build)?;
    let folder = kit::repository().join("target/image").join(flavour);
    let (key, stamp) = (key(flavour, kubernetes_version)?, folder.join(image::STAMP));
    let mut more = vec![kubernetes_version.to_owned()];
    more.retain(|version| version != corten_config::defaults::KUBERNETES_VERSION);
    let known = Flavour::from_name(flavour).with_context(|| format!("there is no flavour `{flavour}`"))?;
    steps.run(&format!("image {flavour}"), || {
        if fs::read_to_string(&stamp).is_ok_and(|built| built == key) {
            return Ok(());
        }
        image::run(&image::Image::usual(known, more))?;
        fs::write(&stamp, &key).with_context(|| format!("cannot write {}", stamp.display()))
    })?;
    Ok(folder)
}

/// Everything that decides an image's bytes: our programs, the builder itself, what was asked for.
fn key(flavour: &str, kubernetes_version: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for text in [flavour, kubernetes_version] {
        hash.update(text);
        hash.update([0]);
    }
    for path in programs::paths() {
        add(&mut hash, &path)?;
    }
    for path in BUILDERS {
        add(&mut hash, &kit::repository().join(path))?;
    }
    Ok(hex::encode(hash.finalize()))
}

/// Adds a file, or all files of a folder in the order of their names.
fn add(hash: &mut Sha256, path: &Path) -> Result<()> {
    let cannot = || format!("cannot read {}", path.display());
    if path.is_dir() {
        let entries = fs::read_dir(path).with_context(cannot)?;
        let mut entries: Vec<PathBuf> =
            entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>().with_context(cannot)?;
        entries.sort();
        return entries.iter().try_for_each(|entry| add(hash, entry));
    }
    let bytes = fs::read(path).with_context(cannot)?;
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
    Ok(())
}

/// How a program is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Fast to build.
    Debug,
    /// As it is released, for what is measured.
    Release,
}

/// Our command line for this host; its path.
///
/// # Errors
/// When it cannot be built.
pub fn corten(steps: &mut Steps) -> Result<PathBuf> {
    program("command line", "corten", Profile::Debug, &[], steps)
}

/// The manager for this host; its path.
///
/// # Errors
/// When it cannot be built.
pub fn fleet(profile: Profile, steps: &mut Steps) -> Result<PathBuf> {
    program("manager", "corten-fleet", profile, &[], steps)
}

/// The emulator of machines for this host; its path.
///
/// # Errors
/// When it cannot be built.
pub fn emulator(profile: Profile, steps: &mut Steps) -> Result<PathBuf> {
    program("emulated machines", "corten-emulator", profile, &[], steps)
}

/// Parts of a machine's programs that are measured alone; the path of the program that has them. What is measured is
/// linked as the machine's programs are.
///
/// # Errors
/// When it cannot be built.
pub fn bench(profile: Profile, steps: &mut Steps) -> Result<PathBuf> {
    let environment: &[_] = if profile == Profile::Release { &[programs::LTO] } else { &[] };
    program("parts to be measured", "corten-bench", profile, environment, steps)
}

/// A package's program of the same name, built with more in cargo's environment.
fn program(
    what: &str,
    package: &str,
    profile: Profile,
    environment: &[(&str, &str)],
    steps: &mut Steps,
) -> Result<PathBuf> {
    let (folder, release): (_, &[&str]) = match profile {
        Profile::Debug => ("target/debug", &[]),
        Profile::Release => ("target/release", &["--release"]),
    };
    let build = ["build", "--quiet", "--package", package];
    steps.run(what, || {
        let mut command = cargo_command(&[&build[..], release].concat());
        ended(command.envs(environment.iter().copied()))
    })?;
    let path = kit::repository().join(folder).join(package);
    ensure!(path.is_file(), "{} was not built", path.display());
    Ok(path)
}

/// A cargo command in this repository.
#[must_use]
pub fn cargo_command(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(kit::repository()).args(args);
    command
}

/// Runs cargo in this repository.
///
/// # Errors
/// When it fails.
pub fn cargo(args: &[&str]) -> Result<()> {
    ended(&mut cargo_command(args))
}

fn ended(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot start cargo")?;
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    ensure!(status.success(), "cargo {} ended with {status}", arguments.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_covers_what_builds_images_and_is_stable() {
        let hash = |path: &str| {
            let mut hash = Sha256::new();
            add(&mut hash, &kit::repository().join(path)).unwrap();
            hex::encode(hash.finalize())
        };
        for path in BUILDERS {
            assert_eq!(hash(path), hash(path));
        }
        assert_ne!(hash(BUILDERS[0]), hash(BUILDERS[1]));
    }
}
