//! A machine's programs: which there are, and how they are compiled.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use corten_image_builder::elf;

use crate::kit;

/// What our programs are compiled for; naming it keeps the flags away from build scripts.
const TARGET: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

/// Where one of them is.
pub fn built(name: &str) -> PathBuf {
    kit::repository().join("target").join(TARGET).join("release").join(name)
}

/// Where our programs are once they are built.
pub fn paths() -> impl Iterator<Item = PathBuf> {
    PROGRAMS.iter().map(|(_, name)| built(name))
}

/// Packages with a machine's programs, and the program of each.
const PROGRAMS: [(&str, &str); 3] =
    [("corten-init", "init"), ("corten-machined", "machined"), ("corten-dataplane", "dataplane")];

/// How a machine's programs are compiled. Without shared libraries: the root's C library is not the building host's. With
/// partial RELRO calls between crates are direct; with full RELRO the compiler makes each through a table of addresses,
/// 0.3 MiB that every process writes when it starts and keeps for itself. The linker makes RELRO full all the same.
const COMPILER: [&str; 2] = ["-Ctarget-feature=+crt-static", "-Crelro-level=partial"];
/// All crates are optimized together: a sixth less text, most of which a machine has in memory, and two minutes of the
/// build.
pub const LTO: (&str, &str) = ("CARGO_PROFILE_RELEASE_LTO", "fat");
/// Between flags in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\u{1f}";
/// What only linking is told: full RELRO; relocations in their packed form, which is two megabytes smaller; functions with
/// the same code are there once.
const LINKER: [&str; 3] = ["-z,relro,-z,now", "-z,pack-relative-relocs", "--icf=all"];

/// Builds our programs, where the image takes them from.
///
/// # Errors
/// When they do not compile.
pub fn build() -> Result<()> {
    build_in(&kit::repository().join("target"))
}

/// Builds our programs with all that they need in a folder of cargo's.
///
/// # Errors
/// When they do not compile.
pub fn build_in(folder: &Path) -> Result<()> {
    let compiler = compiler(&kit::repository(), &cargo_home()?);
    for (package, program) in PROGRAMS {
        let linker = LINKER.iter().flat_map(|words| ["-C".to_owned(), format!("link-arg=-Wl,{words}")]);
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(kit::repository())
            .env("CARGO_ENCODED_RUSTFLAGS", &compiler)
            .env(LTO.0, LTO.1)
            .args(["rustc", "--quiet", "--release", "--locked", "--target", TARGET])
            .arg("--target-dir")
            .arg(folder)
            .args(["--package", package, "--bin", program, "--"])
            .args(linker)
            .status()?;
        ensure!(status.success(), "cargo ended with {status}");
        let path = folder.join(TARGET).join("release").join(program);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(elf::is_hardened(&bytes)?, "{} has a fixed place or no full RELRO", path.display());
    }
    Ok(())
}

/// Flags of the compiler, in cargo's encoding. Where this host keeps sources is no part of a program: it is the same from
/// everywhere, and tells nothing.
fn compiler(repository: &Path, cargo: &Path) -> OsString {
    let mut flags = OsString::from(COMPILER.join(SEPARATOR));
    for (from, to) in [(cargo, "/cargo"), (repository, "/corten")] {
        flags.push(SEPARATOR);
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    flags
}

/// Where cargo keeps the sources of libraries.
fn cargo_home() -> Result<PathBuf> {
    let own = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let usual = || std::env::home_dir().map(|home| home.join(".cargo"));
    own.or_else(usual).context("cargo has no home: set CARGO_HOME")
}
