//! Images of an OCI layout whose layers also lie there as folders, ready to be used where they are.
//!
//! ```text
//! LAYOUT/index.json, blobs/sha256/…     the OCI image layout
//! LAYOUT/layers/sha256/HEX/             the files of the layer with this diff id
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::image_config::{DOCUMENT, Document, parse_config};

/// Folder of a layout with unpacked layers.
const LAYERS: &str = "layers";
/// Annotation with the name of an image, as containerd writes it.
const NAME: &str = "io.containerd.image.name";

/// An image that needs no unpacking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpackedImage {
    /// Complete reference.
    pub name: String,
    pub(crate) manifest: Blob,
    pub(crate) config: Blob,
    /// Digests of the layers as they are stored, lowest first.
    pub(crate) layers: Vec<String>,
    /// Digests of the unpacked layers, lowest first.
    pub(crate) diff_ids: Vec<String>,
    /// Their folders.
    pub(crate) folders: Vec<PathBuf>,
}

/// A small blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) bytes: Vec<u8>,
}

impl UnpackedImage {
    /// All images of a layout that are for this machine and have all their layers there as folders.
    ///
    /// # Errors
    /// When the layout's index cannot be read, or names what is not there or not an image.
    pub fn all_in(layout: &Path) -> io::Result<Vec<Self>> {
        let index: Index = parse(&read(&layout.join("index.json"))?)?;
        let named = index.manifests.iter().filter_map(|it| Some((it.annotations.get(NAME)?, it)));
        let mut found = Vec::new();
        for (name, entry) in named {
            found.extend(Self::read(layout, name, entry)?);
        }
        Ok(found)
    }

    fn read(layout: &Path, name: &str, entry: &Entry) -> io::Result<Option<Self>> {
        let manifest = blob(layout, &entry.digest, &entry.media_type)?;
        let document: Document = parse(&manifest.bytes)?;
        let Some(target) = document.config else {
            // An index of several architectures; pulled as from any registry.
            return Ok(None);
        };
        let config = blob(layout, &target.digest, &target.media_type)?;
        let diff_ids = parse_config(&config.digest, &config.bytes).map_err(invalid)?.diff_ids;
        let folders: Option<Vec<PathBuf>> = diff_ids.iter().map(|id| folder(layout, id)).collect();
        let Some(folders) = folders.filter(|folders| !folders.is_empty()) else { return Ok(None) };
        let layers = document.layers.into_iter().map(|layer| layer.digest).collect();
        Ok(Some(Self { name: name.to_owned(), manifest, config, layers, diff_ids, folders }))
    }
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    digest: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// Folder of an unpacked layer, if it is there.
fn folder(layout: &Path, diff_id: &str) -> Option<PathBuf> {
    let folder = layout.join(LAYERS).join("sha256").join(hex_of(diff_id)?);
    folder.is_dir().then_some(folder)
}

fn blob(layout: &Path, digest: &str, media_type: &str) -> io::Result<Blob> {
    let hex = hex_of(digest).ok_or_else(|| invalid(format!("`{digest}` is not a SHA-256 digest")))?;
    let bytes = read(&layout.join("blobs/sha256").join(hex))?;
    Ok(Blob { media_type: media_type.to_owned(), digest: digest.to_owned(), bytes })
}

/// The digits of a SHA-256 digest, which are safe in a path.
fn hex_of(digest: &str) -> Option<&str> {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.bytes().all(is_digit))
}

/// A whole file that must be small.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(named)?;
    file.take(DOCUMENT as u64 + 1).read_to_end(&mut bytes).map_err(named)?;
    match bytes.len() > DOCUMENT {
        true => Err(named(invalid("larger than an image document may be"))),
        false => Ok(bytes),
    }
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(invalid)
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    /// A layout with one image of one layer, unpacked or not.
    fn layout(is_unpacked: bool) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let (manifest, config) = ("1".repeat(64), "2".repeat(64));
        write(
            "index.json",
            &format!(
                r#"{{"manifests":[{{"mediaType":"m","digest":"sha256:{manifest}","annotations":{{"{NAME}":"a/b:1"}}}},
                    {{"mediaType":"m","digest":"sha256:{manifest}"}}]}}"#
            ),
        );
        write(
            &format!("blobs/sha256/{manifest}"),
            &format!(
                r#"{{"config":{{"mediaType":"c","digest":"sha256:{config}"}},"layers":[{{"digest":"{LAYER}"}}]}}"#
            ),
        );
        write(&format!("blobs/sha256/{config}"), &format!(r#"{{"rootfs":{{"diff_ids":["{LAYER}"]}}}}"#));
        if is_unpacked {
            write(&format!("layers/sha256/{}/hello", &LAYER[7..]), "hello");
        }
        folder
    }

    #[test]
    fn named_images_with_unpacked_layers_are_found() {
        let folder = layout(true);
        let found = UnpackedImage::all_in(folder.path()).unwrap();
        let [image] = &found[..] else { panic!("{found:?}") };
        assert_eq!((image.name.as_str(), image.config.media_type.as_str()), ("a/b:1", "c"));
        assert_eq!((&image.layers[..], &image.diff_ids[..]), (&[LAYER.to_owned()][..], &image.layers[..]));
        assert!(image.folders[0].join("hello").is_file());
    }

    #[test]
    fn an_image_whose_layers_are_only_blobs_is_left_to_a_pull() {
        assert_eq!(UnpackedImage::all_in(layout(false).path()).unwrap(), []);
    }

    #[test]
    fn no_index_makes_the_parser_panic_and_no_digest_leaves_the_layout() {
        bolero::check!().for_each(|bytes: &[u8]| {
            for entry in parse::<Index>(bytes).into_iter().flat_map(|index| index.manifests) {
                assert!(hex_of(&entry.digest).is_none_or(|hex| !hex.contains(['/', '.'])));
            }
        });
    }

    #[test]
    fn a_digest_that_is_a_path_is_refused() {
        let folder = layout(true);
        let evil = r#"{"manifests":[{"mediaType":"m","digest":"sha256:../../../etc/passwd","annotations":{"io.containerd.image.name":"a"}}]}"#;
        std::fs::write(folder.path().join("index.json"), evil).unwrap();
        let error = UnpackedImage::all_in(folder.path()).unwrap_err();
        assert!(error.to_string().contains("is not a SHA-256 digest"), "{error}");
    }
}
