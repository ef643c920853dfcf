//! Resources whose long texts may stand compressed, as plain ones.

use std::io;

use corten_config::read::BYTES_MAX;
use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::kubernetes::KubernetesManifestGroup;
use corten_resource::{AnyResource, Pointer, Resource};

/// A compressed text that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlainError {
    /// It is no zstd frame, or it is longer than any configuration.
    #[error("failed to unpack {pointer}; it is damaged or larger than {} bytes, write it anew", BYTES_MAX)]
    Unpack {
        /// Which resource.
        pointer: Pointer,
        /// Why.
        source: io::Error,
    },
    /// It is not UTF-8.
    #[error("{pointer} is not UTF-8; write it anew")]
    NotText {
        /// Which resource.
        pointer: Pointer,
    },
}

/// The resource with its text in plain.
pub(crate) fn plain(resource: &AnyResource) -> Result<AnyResource, PlainError> {
    let metadata = || resource.metadata().clone();
    if let Some(patch) = resource.spec::<ConfigPatch>()
        && !patch.compressed_data.is_empty()
    {
        let data = unpack(resource, &patch.compressed_data)?;
        let spec = ConfigPatch { data, ..ConfigPatch::default() };
        return Ok(Resource { metadata: metadata(), spec }.into());
    }
    if let Some(group) = resource.spec::<KubernetesManifestGroup>()
        && !group.compressed_data.is_empty()
    {
        let data = unpack(resource, &group.compressed_data)?;
        let spec = KubernetesManifestGroup { data, mode: group.mode, ..KubernetesManifestGroup::default() };
        return Ok(Resource { metadata: metadata(), spec }.into());
    }
    Ok(resource.clone())
}

fn unpack(resource: &AnyResource, bytes: &[u8]) -> Result<String, PlainError> {
    let failed = |source| PlainError::Unpack { pointer: resource.pointer(), source };
    let text = zstd::bulk::decompress(bytes, BYTES_MAX).map_err(failed)?;
    String::from_utf8(text).map_err(|_| PlainError::NotText { pointer: resource.pointer() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_texts_are_read_and_broken_ones_refused() {
        let patch = |compressed_data| {
            AnyResource::new("default", "a", ConfigPatch { compressed_data, ..ConfigPatch::default() })
        };
        let packed = patch(zstd::bulk::compress(b"machine: {}\n", 3).unwrap());
        assert_eq!(plain(&packed).unwrap().spec::<ConfigPatch>().unwrap().data, "machine: {}\n");
        assert!(matches!(plain(&patch(b"x".to_vec())), Err(PlainError::Unpack { .. })));
        assert!(plain(&patch(Vec::new())).unwrap() == patch(Vec::new()));
    }
}
