//! The one form in which resources are stored: long texts in plain, names in full.
//!
//! ```text
//! compressed twin (zstd) ─▶ plain text          short names of extensions ─▶ siderolabs/NAME
//! ```

use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::kubernetes::KubernetesManifestGroup;
use corten_fleet_resources::machine::ExtensionsConfiguration;
use corten_fleet_resources::provider::ConfigPatchRequest;
use corten_resource::{AnyResource, Resource, Spec};

use crate::dictionaries::Dictionaries;

/// Most bytes that a compressed text may have in plain.
pub const EXPANDED_BYTES_MAX: usize = 1024 * 1024;
/// Whose extensions are meant when none is named.
const EXTENSIONS: &str = "siderolabs/";

/// The resource as it is stored.
///
/// # Errors
/// When a compressed text is damaged or too long; the text says which and what to do.
pub fn normal(resource: AnyResource, dictionaries: &Dictionaries) -> Result<AnyResource, String> {
    if let Some(patch) = resource.resource::<ConfigPatch>() {
        let found = plain(patch, dictionaries, |spec| (&mut spec.data, &mut spec.compressed_data))?;
        return Ok(found.unwrap_or(resource));
    }
    if let Some(patch) = resource.resource::<ConfigPatchRequest>() {
        let found = plain(patch, dictionaries, |spec| (&mut spec.data, &mut spec.compressed_data))?;
        return Ok(found.unwrap_or(resource));
    }
    if let Some(group) = resource.resource::<KubernetesManifestGroup>() {
        let found = plain(group, dictionaries, |spec| (&mut spec.data, &mut spec.compressed_data))?;
        return Ok(found.unwrap_or(resource));
    }
    if let Some(extensions) = resource.resource::<ExtensionsConfiguration>() {
        return Ok(in_full(extensions).unwrap_or(resource));
    }
    Ok(resource)
}

/// The resource with its text in plain; `None` if it is already.
fn plain<S: Spec>(
    resource: &Resource<S>,
    dictionaries: &Dictionaries,
    texts: fn(&mut S) -> (&mut String, &mut Vec<u8>),
) -> Result<Option<AnyResource>, String> {
    let mut resource = resource.clone();
    let (text, compressed) = texts(&mut resource.spec);
    if compressed.is_empty() {
        return Ok(None);
    }
    *text = expand(compressed, dictionaries)?;
    compressed.clear();
    Ok(Some(resource.into()))
}

fn expand(compressed: &[u8], dictionaries: &Dictionaries) -> Result<String, String> {
    let bytes = dictionaries.expand(compressed, EXPANDED_BYTES_MAX).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "the compressed text is not UTF-8".to_owned())
}

/// The resource with all names in full; `None` if they are.
fn in_full(resource: &Resource<ExtensionsConfiguration>) -> Option<AnyResource> {
    let is_short = |name: &String| !name.is_empty() && !name.contains('/');
    if !resource.spec.extensions.iter().any(is_short) {
        return None;
    }
    let mut resource = resource.clone();
    for name in resource.spec.extensions.iter_mut().filter(|name| is_short(name)) {
        name.insert_str(0, EXTENSIONS);
    }
    Some(resource.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::any;

    fn prepared(resource: AnyResource) -> Result<AnyResource, String> {
        normal(resource, &Dictionaries::default())
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(text, 3).expect("compressed")
    }

    fn patch(compressed_data: Vec<u8>) -> AnyResource {
        any("400-x", ConfigPatch { compressed_data, ..ConfigPatch::default() }, &[("a", "b")])
    }

    #[test]
    fn a_compressed_text_is_stored_in_plain() {
        let stored = prepared(patch(packed(b"machine: {}\n"))).expect("normal");
        let expected = ConfigPatch { data: "machine: {}\n".to_owned(), ..ConfigPatch::default() };
        assert_eq!(stored.spec::<ConfigPatch>(), Some(&expected));
        assert_eq!(stored.metadata().labels.get("a").map(String::as_str), Some("b"));
        assert!(prepared(patch(Vec::new())).expect("normal") == patch(Vec::new()));
        let group = KubernetesManifestGroup { compressed_data: packed(b"a: 1"), ..Default::default() };
        let stored = prepared(any("g", group, &[])).expect("normal");
        assert_eq!(stored.spec::<KubernetesManifestGroup>().map(|group| group.data.as_str()), Some("a: 1"));
    }

    #[test]
    fn a_damaged_text_and_one_that_expands_beyond_the_bound_are_refused() {
        let zeros = vec![b' '; EXPANDED_BYTES_MAX + 1];
        assert!(prepared(patch(packed(&zeros[1..]))).is_ok());
        for compressed in [packed(&zeros), b"x".to_vec(), packed(&[0xff])] {
            assert!(prepared(patch(compressed)).is_err());
        }
    }

    #[test]
    fn names_of_extensions_are_stored_in_full() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let given = ExtensionsConfiguration { extensions: names(&["gvisor", "other/x", ""]) };
        let stored = prepared(any("e", given, &[])).expect("normal");
        let expected = names(&["siderolabs/gvisor", "other/x", ""]);
        assert_eq!(stored.spec::<ExtensionsConfiguration>().map(|it| &it.extensions), Some(&expected));
    }

    #[test]
    fn no_bytes_make_the_reader_fall() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = prepared(patch(bytes.to_vec()));
        });
    }
}
