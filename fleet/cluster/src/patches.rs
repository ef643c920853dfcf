//! Which patches a machine gets, in which order, and what they may not change (fleet.md 3.1, 3.14).
//!
//! ```text
//! ConfigPatch (all) ─selected─▶ those of the machine, wide scope first ─named─▶ texts with their ids ─▶ generate
//!                                                                            └─▶ ClusterMachineConfigPatches
//! text ─▶ Patch ─forbidden─▶ findings, for the check of a new patch and before a configuration is made
//! ```

mod forbidden;

use std::borrow::Cow;
use std::io;

use corten_base::Secret;
use corten_config::read::BYTES_MAX;
use corten_fleet_resources::config::{ClusterMachineConfigPatches, ConfigPatch};
use corten_fleet_resources::labels::{self, PatchLayer};
use corten_resource::Resource;

pub(crate) use forbidden::{DIRECTIVE, FORBIDDEN_ROLE};
pub use forbidden::{Finding, Patch, forbidden};

/// Where a machine is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Name of its cluster.
    pub cluster: &'a str,
    /// Id of its machine set.
    pub machine_set: &'a str,
    /// Its UUID.
    pub machine: &'a str,
}

/// A patch that a machine gets.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'a> {
    /// What it is for.
    pub layer: PatchLayer,
    /// The patch.
    pub patch: &'a Resource<ConfigPatch>,
}

/// The patches of a machine in the order in which they apply: by layer, and within a layer by id. Those that are
/// disabled or going away are left out.
pub fn selected<'a>(
    patches: impl IntoIterator<Item = &'a Resource<ConfigPatch>>,
    place: &Place<'_>,
) -> Vec<Selected<'a>> {
    let in_use = patches.into_iter().filter(|patch| {
        !patch.metadata.is_tearing_down() && !patch.metadata.labels.contains_key(labels::DISABLED)
    });
    let mut selected: Vec<Selected<'a>> =
        in_use.filter_map(|patch| Some(Selected { layer: layer_at(patch, place)?, patch })).collect();
    selected.sort_by(|a, b| (a.layer, a.patch.id()).cmp(&(b.layer, b.patch.id())));
    selected
}

/// The layer of a patch, if its labels name this place.
fn layer_at(patch: &Resource<ConfigPatch>, place: &Place<'_>) -> Option<PatchLayer> {
    let labels = &patch.metadata.labels;
    let is = |key: &str, value: &str| labels.get(key).is_some_and(|label| label == value);
    let layer = PatchLayer::of(labels)?;
    let is_here = match layer {
        PatchLayer::Machine => is(labels::MACHINE, place.machine),
        PatchLayer::ClusterMachine => {
            is(labels::CLUSTER, place.cluster) && is(labels::CLUSTER_MACHINE, place.machine)
        }
        PatchLayer::MachineSet => {
            is(labels::CLUSTER, place.cluster) && is(labels::MACHINE_SET, place.machine_set)
        }
        PatchLayer::Cluster => is(labels::CLUSTER, place.cluster),
    };
    is_here.then_some(layer)
}

/// A patch as text, with the name that errors call it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPatch {
    /// Id of the resource, or its place in a list.
    pub id: String,
    /// YAML.
    pub text: Secret<String>,
}

/// A patch whose compressed text cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchTextError {
    /// It is no zstd frame, or it is longer than any configuration.
    #[error("patch `{id}` cannot be unpacked; it is damaged or has over {} bytes, write it anew", BYTES_MAX)]
    Unpack {
        /// Which patch.
        id: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not UTF-8.
    #[error("patch `{id}` is not UTF-8; write it anew")]
    NotText {
        /// Which patch.
        id: String,
    },
}

/// The text of a patch, plain or unpacked.
///
/// # Errors
/// When it is damaged or too long.
pub fn text<'a>(id: &str, patch: &'a ConfigPatch) -> Result<Cow<'a, str>, PatchTextError> {
    if patch.compressed_data.is_empty() {
        return Ok(Cow::Borrowed(&patch.data));
    }
    unpack(id, &patch.compressed_data).map(Cow::Owned)
}

fn unpack(id: &str, bytes: &[u8]) -> Result<String, PatchTextError> {
    let failed = |source| PatchTextError::Unpack { id: id.to_owned(), source };
    let text = zstd::bulk::decompress(bytes, BYTES_MAX).map_err(failed)?;
    String::from_utf8(text).map_err(|_| PatchTextError::NotText { id: id.to_owned() })
}

/// The texts of patches, in their order.
///
/// # Errors
/// When one is damaged or too long.
pub fn named(selected: &[Selected<'_>]) -> Result<Vec<NamedPatch>, PatchTextError> {
    let named = |selected: &Selected<'_>| {
        let id = selected.patch.id();
        let text = text(id, &selected.patch.spec)?.into_owned();
        Ok(NamedPatch { id: id.to_owned(), text: Secret::new(text) })
    };
    selected.iter().map(named).collect()
}

/// The resource that keeps the patches of a machine.
#[must_use]
pub fn to_spec(patches: &[NamedPatch]) -> ClusterMachineConfigPatches {
    ClusterMachineConfigPatches {
        patches: patches.iter().map(|patch| patch.text.reveal().clone()).collect(),
        compressed_patches: Vec::new(),
    }
}

/// The patches that a resource keeps. Their ids are not in it, so they are called by their places.
///
/// # Errors
/// When one is damaged or too long.
pub fn from_spec(spec: &ClusterMachineConfigPatches) -> Result<Vec<NamedPatch>, PatchTextError> {
    let count = spec.patches.len().max(spec.compressed_patches.len());
    let place = |index: usize| format!("{} of {count}", index + 1);
    if spec.compressed_patches.is_empty() {
        let plain = spec.patches.iter().enumerate();
        return Ok(plain
            .map(|(index, text)| NamedPatch { id: place(index), text: Secret::new(text.clone()) })
            .collect());
    }
    let packed = spec.compressed_patches.iter().enumerate();
    packed
        .map(|(index, bytes)| {
            let id = place(index);
            let text = Secret::new(unpack(&id, bytes)?);
            Ok(NamedPatch { id, text })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::labels::{
        CLUSTER, CLUSTER_MACHINE, DISABLED, MACHINE, MACHINE_SET, SYSTEM_PATCH,
    };
    use corten_resource::Phase;

    use super::*;
    use crate::testing;

    const PLACE: Place<'_> = Place { cluster: "prod", machine_set: "prod-workers", machine: "m1" };

    fn patch(id: &str, entries: &[(&str, &str)]) -> Resource<ConfigPatch> {
        let spec = ConfigPatch { data: format!("# {id}\n"), ..ConfigPatch::default() };
        let mut patch = Resource::new(id, spec);
        patch.metadata.labels = testing::labels(entries);
        patch
    }

    fn ids(patches: &[Resource<ConfigPatch>]) -> Vec<&str> {
        selected(patches, &PLACE).iter().map(|selected| selected.patch.id()).collect()
    }

    #[test]
    fn layers_come_before_ids() {
        let patches = [
            patch("100-machine", &[(MACHINE, "m1")]),
            patch("200-one", &[(CLUSTER, "prod"), (CLUSTER_MACHINE, "m1")]),
            patch("300-b", &[(CLUSTER, "prod"), (MACHINE_SET, "prod-workers")]),
            patch("300-a", &[(CLUSTER, "prod"), (MACHINE_SET, "prod-workers")]),
            patch("950-system", &[(CLUSTER, "prod"), (SYSTEM_PATCH, "")]),
        ];
        assert_eq!(ids(&patches), ["950-system", "300-a", "300-b", "200-one", "100-machine"]);
    }

    #[test]
    fn patches_of_other_places_are_left_out() {
        let patches = [
            patch("a", &[(CLUSTER, "test")]),
            patch("b", &[(CLUSTER, "prod"), (MACHINE_SET, "prod-control-planes")]),
            patch("c", &[(CLUSTER, "test"), (MACHINE_SET, "prod-workers")]),
            patch("d", &[(CLUSTER, "prod"), (CLUSTER_MACHINE, "m2")]),
            patch("e", &[(MACHINE, "m2")]),
            patch("f", &[]),
        ];
        assert!(ids(&patches).is_empty());
    }

    #[test]
    fn a_patch_of_a_machine_follows_it_between_clusters() {
        assert_eq!(ids(&[patch("a", &[(MACHINE, "m1"), (CLUSTER, "test")])]), ["a"]);
    }

    #[test]
    fn disabled_patches_and_those_that_go_away_do_not_apply() {
        let mut gone = patch("gone", &[(CLUSTER, "prod")]);
        gone.metadata.phase = Phase::TearingDown;
        assert!(ids(&[gone, patch("off", &[(CLUSTER, "prod"), (DISABLED, "")])]).is_empty());
    }

    #[test]
    fn packed_texts_are_read_and_broken_ones_named() {
        let packed = |bytes: &[u8]| ConfigPatch { compressed_data: bytes.to_vec(), ..ConfigPatch::default() };
        let good = packed(&zstd::bulk::compress(b"machine: {}\n", 3).unwrap());
        assert_eq!(text("a", &good).unwrap(), "machine: {}\n");
        let error = text("500-x", &packed(b"x")).unwrap_err().to_string();
        assert!(error.starts_with("patch `500-x` cannot be unpacked"), "{error}");
    }

    #[test]
    fn patches_survive_their_resource_without_ids() {
        let patches = [patch("a", &[(CLUSTER, "prod")]), patch("b", &[(CLUSTER, "prod")])];
        let named = named(&selected(&patches, &PLACE)).unwrap();
        let back = from_spec(&to_spec(&named)).unwrap();
        assert_eq!(back.iter().map(|patch| patch.id.as_str()).collect::<Vec<_>>(), ["1 of 2", "2 of 2"]);
        assert!(back.iter().zip(&named).all(|(back, named)| back.text == named.text));
        let packed = ClusterMachineConfigPatches {
            patches: Vec::new(),
            compressed_patches: vec![zstd::bulk::compress(b"x: 1", 3).unwrap()],
        };
        let read = from_spec(&packed).unwrap();
        assert_eq!(read.first().map(|patch| patch.text.reveal().as_str()), Some("x: 1"));
    }
}
