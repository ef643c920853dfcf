//! Configurations that a machine finds by itself, in the order of node.md 4.6, when STATE holds none.
//!
//!     talos.config.early ─▶ the platform's (URL, volume) ─▶ talos.config.inline ─▶ nothing: maintenance
//!
//! A source that fails is logged with its cause and the next one is asked: a machine that cannot reach its source
//! must still be reachable itself. So is the next one when what was found is not complete. Everything that is read is
//! bounded.

mod arguments;
mod url;
mod volume;
mod web;

use std::fs;
use std::io::Read;

use anyhow::{Context, bail, ensure};
use corten_base::{Capabilities, Rng, chain};
use corten_resource::State;

use self::arguments::Arguments;

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
/// Largest configuration, unpacked.
const CONFIG_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Asks the sources of this machine until one has a complete configuration; gives what each of them has, in order.
pub async fn find(machine: Capabilities, state: &State, rng: &Rng) -> Vec<Found> {
    if !machine.disks {
        let userdata = fs::read(CONTAINER_USERDATA).ok();
        return userdata.map(|bytes| Found { source: "launcher", bytes }).into_iter().collect();
    }
    let cmdline = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let arguments = Arguments(&cmdline);
    let early = "kernel argument talos.config.early";
    let mut found: Vec<Found> = taken(early, arguments.packed("talos.config.early")).into_iter().collect();
    if !is_complete(&found) {
        let (name, given) = platform(arguments, state, rng).await;
        found.extend(taken(name, given));
    }
    if !is_complete(&found) {
        found.extend(taken("kernel argument talos.config.inline", arguments.packed("talos.config.inline")));
    }
    found
}

/// Whether the search is over.
fn is_complete(found: &[Found]) -> bool {
    found.last().is_some_and(|last| corten_config::is_complete(&last.bytes))
}

/// What the platform has, with the name of its source.
async fn platform(
    arguments: Arguments<'_>,
    state: &State,
    rng: &Rng,
) -> (&'static str, anyhow::Result<Option<Vec<u8>>>) {
    match (arguments.last("talos.platform"), arguments.last("talos.config")) {
        (Some("nocloud"), _) => ("volume cidata", volume::nocloud(state).await),
        (_, None | Some("none")) => ("platform", Ok(None)),
        (_, Some("metal-iso")) => ("volume metal-iso", volume::metal_iso(state).await.map(Some)),
        (_, Some(address)) => {
            ("kernel argument talos.config", web::fetch(address, state, rng).await.map(Some))
        }
    }
}

/// Unpacks what a source gave; a failure is logged.
fn taken(source: &'static str, given: anyhow::Result<Option<Vec<u8>>>) -> Option<Found> {
    match given.and_then(|given| given.map(unpacked).transpose()) {
        Ok(bytes) => bytes.map(|bytes| Found { source, bytes }),
        Err(error) => {
            tracing::error!(source, "no configuration from there: {}", chain(error.as_ref()));
            None
        }
    }
}

/// Platforms with small limits carry the configuration gzip-compressed.
fn unpacked(bytes: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    let bytes = if bytes.starts_with(&GZIP) {
        let mut plain = Vec::new();
        let mut reader =
            flate2::read::MultiGzDecoder::new(bytes.as_slice()).take(CONFIG_BYTES_MAX as u64 + 1);
        reader.read_to_end(&mut plain).context("the configuration is not whole gzip data")?;
        plain
    } else {
        bytes
    };
    ensure!(bytes.len() <= CONFIG_BYTES_MAX, "the configuration is larger than {CONFIG_BYTES_MAX} bytes");
    if bytes.iter().all(u8::is_ascii_whitespace) {
        bail!("the configuration is empty");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("compress");
        encoder.finish().expect("compress")
    }

    #[test]
    fn payloads_may_be_compressed_and_are_bounded() {
        assert_eq!(unpacked(b"version: v1alpha1\n".to_vec()).expect("plain"), b"version: v1alpha1\n");
        assert_eq!(unpacked(gzip(b"version: v1alpha1\n")).expect("gzip"), b"version: v1alpha1\n");
        assert!(unpacked(gzip(&vec![b' '; CONFIG_BYTES_MAX + 1])).is_err(), "a bomb");
        assert!(unpacked(vec![0x1f, 0x8b, 0]).is_err(), "cut short");
        assert!(unpacked(b" \n".to_vec()).is_err(), "empty");
    }

    #[test]
    fn a_failed_source_is_no_configuration() {
        assert!(taken("test", Err(anyhow::anyhow!("unreachable"))).is_none());
        assert!(taken("test", Ok(None)).is_none());
        assert_eq!(taken("test", Ok(Some(b"a: b".to_vec()))).expect("found").bytes, b"a: b");
    }

    #[test]
    fn the_search_ends_with_a_complete_configuration_and_not_before() {
        let found = |text: &str| Found { source: "test", bytes: text.as_bytes().to_vec() };
        let partial = "{apiVersion: v1alpha1, kind: EventSinkConfig, endpoint: 'h:1'}";
        assert!(!is_complete(&[]));
        assert!(!is_complete(&[found(partial)]));
        assert!(is_complete(&[found(partial), found("version: v1alpha1\n")]));
    }

    #[test]
    fn no_payload_makes_it_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = unpacked(bytes.to_vec());
        });
    }
}
