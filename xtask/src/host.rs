//! What a developer's host must have installed.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Debian packages for building the kit and our programs.
pub const BUILD: &[&str] =
    &["gcc", "libc6-dev", "libseccomp-dev", "ca-certificates", "curl", "git", "xz-utils"];

/// Debian packages whose programs tests use.
pub const TEST: &[&str] =
    &["busybox-static", "dosfstools", "fdisk", "gdisk", "genisoimage", "openssl", "xfsprogs", "xorriso"];

/// Debian packages for emulated machines with a TPM.
pub const TPM: &[&str] = &["swtpm"];

/// Programs without which nothing can be built here: the program, and how one gets it.
const COMMANDS: [(&str, &str); 1] =
    [("go", "Go 1.26 or later builds the third-party parts: https://go.dev/dl")];

/// Programs that are missing, each with what to do, one sentence each.
#[must_use]
pub fn missing_commands() -> Vec<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let missing = COMMANDS.iter().filter(|(name, _)| !has(name));
    missing.map(|(name, remedy)| format!("There is no `{name}` in PATH. {remedy}.")).collect()
}

/// Installs the packages that are missing, saying so; on another distribution it names them.
///
/// # Errors
/// When they cannot be installed.
pub fn ensure_packages(wanted: &[&str]) -> Result<()> {
    let Ok(query) = Command::new("dpkg-query").args(["-W", "-f=${Package} ${Status}\n"]).output() else {
        eprintln!(
            "  this is no Debian, so nothing is installed: what Debian calls {} must be there",
            wanted.join(", ")
        );
        return Ok(());
    };
    let installed = String::from_utf8_lossy(&query.stdout);
    let has = |name: &str| installed.lines().any(|line| line == format!("{name} install ok installed"));
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !has(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    ensure!(
        rustix::process::geteuid().is_root(),
        "the Debian packages {0} are missing, and only root can install them: run `apt-get install {0}`",
        missing.join(" ")
    );
    eprintln!("  installing the Debian packages {}", missing.join(" "));
    let apt =
        |args: &[&str]| Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").output();
    let update = apt(&["update", "-qq"]).context("apt-get does not run")?;
    ensure!(update.status.success(), "apt-get update: {}", String::from_utf8_lossy(&update.stderr));
    let install = [&["install", "-y", "-qq", "--no-install-recommends"], missing.as_slice()].concat();
    let install = apt(&install).context("apt-get does not run")?;
    if !install.status.success() {
        bail!("apt-get install {}: {}", missing.join(" "), String::from_utf8_lossy(&install.stderr));
    }
    Ok(())
}
