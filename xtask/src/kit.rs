//! `cargo xtask kit`: makes third-party components that are not in the cache yet.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Parser;
use corten_base::Arch;
use corten_image_kit::{Kit, all, recipes};

use crate::host;

/// Components that nobody needs every day.
const ON_REQUEST: &[&str] = &[
    "kubernetes-1.35",
    "debian/kernel-metal",
    "debian/qemu",
    "debian/busybox",
    "clients/ctr",
    "clients/omnictl",
    "clients/dictionary",
    "clients/machinery",
    "clients/siderolink",
    "debian/wireguard-tools",
];

/// Make third-party components that are not in the cache yet.
///
/// Each is pinned, built or fetched once, and kept in the cache by what it is made of. Names and folders go to standard
/// output, so that a script can use them.
#[derive(Debug, Parser)]
pub struct Make {
    /// Components to make instead of all that images need.
    components: Vec<String>,
    /// Name the components and their versions, and make none.
    #[arg(long)]
    list: bool,
}

/// Runs the command.
///
/// # Errors
/// When a component cannot be made.
pub fn run(make: &Make) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if make.list {
        for component in all() {
            writeln!(out, "{:<22} {}", component.name, component.version)?;
        }
        return Ok(());
    }
    host::ensure_packages(host::BUILD)?;
    let mut names: Vec<&str> = make.components.iter().map(String::as_str).collect();
    if names.is_empty() {
        names =
            all().iter().map(|component| component.name).filter(|name| !ON_REQUEST.contains(name)).collect();
    }
    for (name, made) in open()?.make(&names)? {
        writeln!(out, "{name:<22} {:<26} {}", made.manifest.version, made.folder.display())?;
    }
    Ok(())
}

/// The kit of this repository.
///
/// # Errors
/// When the cache has no place.
pub fn open() -> Result<Kit> {
    Kit::open(&recipes(&repository()), Arch::current())
}

/// Root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
