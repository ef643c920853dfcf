//! Configurations that a machine finds by itself: kernel arguments, a platform's volume, a URL.
//!
//! Asked in the order of node.md 4.6 when STATE holds none.

use std::fs;

use anyhow::Context;
use corten_base::Capabilities;

/// A configuration and where it was.
#[derive(Debug)]
pub struct Found {
    /// Name of the source, for people.
    pub source: &'static str,
    /// The configuration as given.
    pub bytes: Vec<u8>,
}

/// File in which a launcher leaves the configuration of a container machine.
const CONTAINER_USERDATA: &str = "/system/state/userdata.yaml";

/// Asks every source that this machine has.
///
/// # Errors
/// When a source that was named explicitly does not answer with a configuration.
pub async fn find(machine: Capabilities) -> anyhow::Result<Option<Found>> {
    if !machine.disks {
        return Ok(fs::read(CONTAINER_USERDATA).ok().map(|bytes| Found { source: "launcher", bytes }));
    }
    let cmdline = fs::read_to_string("/proc/cmdline").context("cannot read the kernel's arguments")?;
    inline(&cmdline)
}

/// `talos.config.inline`: base64 of the zstd-compressed configuration, in one or several pieces.
fn inline(cmdline: &str) -> anyhow::Result<Option<Found>> {
    use base64::Engine;
    let pieces: String =
        cmdline.split_whitespace().filter_map(|word| word.strip_prefix("talos.config.inline=")).collect();
    if pieces.is_empty() {
        return Ok(None);
    }
    let packed = base64::engine::general_purpose::STANDARD
        .decode(&pieces)
        .context("talos.config.inline is not base64")?;
    let bytes = zstd::bulk::decompress(&packed, INLINE_BYTES_MAX).context("talos.config.inline is not zstd data")?;
    Ok(Some(Found { source: "kernel argument talos.config.inline", bytes }))
}

/// Largest configuration that is unpacked from the kernel's arguments.
const INLINE_BYTES_MAX: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use base64::Engine;

    use super::*;

    #[test]
    fn an_inline_configuration_may_come_in_pieces() {
        let packed = zstd::bulk::compress(b"version: v1alpha1\n", 3).expect("compress");
        let text = base64::engine::general_purpose::STANDARD.encode(packed);
        let (one, two) = text.split_at(8);
        let cmdline = format!("quiet talos.config.inline={one} x talos.config.inline={two}");
        let found = inline(&cmdline).expect("valid").expect("found");
        assert_eq!(found.bytes, b"version: v1alpha1\n");
        assert!(inline("quiet").expect("valid").is_none());
        assert!(inline("talos.config.inline=%%%").is_err());
    }
}
