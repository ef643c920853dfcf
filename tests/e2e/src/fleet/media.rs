//! Installation media that a manager makes for its own machines.
//!
//! ```text
//! folder of an image ─▶ settings of the manager ─▶ preset ─▶ download ─▶ disk with what a machine needs to join
//! ```

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use corten_harness::FleetPorts;
use serde_json::{Value, json};

use super::Manager;
use crate::tool::Tool;

/// How long a medium may take to be made and downloaded.
pub const DOWNLOAD_MAX: Duration = Duration::from_secs(600);

/// Where people reach media, and where machines do from another address of the same host.
#[must_use]
pub fn urls(ports: FleetPorts, machines: Ipv4Addr) -> [String; 2] {
    [format!("https://127.0.0.1:{}", ports.api()), format!("http://{machines}:{}", ports.machine_api())]
}

/// Settings of a manager that makes media from the folder of an image.
#[must_use]
pub fn settings(image: &Path, [people, machines]: &[String; 2]) -> [(&'static str, Value); 3] {
    [
        ("media.images", json!([image])),
        ("registries.factories.primary.url", json!(people)),
        ("registries.factories.primary.pxeURL", json!(machines)),
    ]
}

/// Downloads a disk for machines of this version by a preset of this name, packed by xz.
///
/// # Errors
/// When the manager does not make it.
pub fn download_disk(manager: &Manager, preset: &str, version: &str, packed: &Path) -> Result<()> {
    manager.run(&["media", "preset", "create", preset, "--talos-version", version])?;
    let listed = manager.run(&["media", "preset", "list"])?;
    ensure!(listed.contains(preset), "the preset is not listed:\n{listed}");
    let path = packed.to_string_lossy();
    let line = ["media", "download", preset, "--format", "raw", "--output", &*path];
    manager.output(&line, DOWNLOAD_MAX)?.success().map(drop)
}

/// Unpacks a disk beside its packed form; its path.
///
/// # Errors
/// When it is damaged, or there is no `xz`.
pub fn unpack(packed: &Path) -> Result<PathBuf> {
    let name = packed.to_string_lossy();
    Tool::new("xz", "xz").run_for(&["--decompress", "--keep", "--force", &*name], DOWNLOAD_MAX)?;
    Ok(packed.with_extension(""))
}
