//! The OCI images that the floor imports: a few of those in the layout of our image cache, the same bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use corten_image_builder::Tree;
use serde_json::{Value, json};

/// Annotation of an index's entries with the name of the image.
const NAME: &str = "org.opencontainers.image.ref.name";

/// Where a layout has its blobs.
const BLOBS: &str = "blobs/sha256/";

/// Whether a path of a layout is a blob's.
#[must_use]
pub fn is_blob(path: &str) -> bool {
    path.starts_with(BLOBS)
}

/// The layout at `layout` with only the images of these names.
pub fn subset(layout: &Path, names: &BTreeSet<String>) -> Result<Tree> {
    let index = read(&layout.join("index.json"))?;
    let is_wanted =
        |entry: &&Value| entry["annotations"][NAME].as_str().is_some_and(|name| names.contains(name));
    let entries: Vec<&Value> =
        index["manifests"].as_array().into_iter().flatten().filter(is_wanted).collect();
    let found: BTreeSet<&str> =
        entries.iter().filter_map(|entry| entry["annotations"][NAME].as_str()).collect();
    let missing: Vec<&String> = names.iter().filter(|name| !found.contains(name.as_str())).collect();
    ensure!(missing.is_empty(), "the image cache in {} lacks {missing:?}", layout.display());
    let mut tree = Tree::default();
    for entry in &entries {
        let manifest = blob(layout, entry, &mut tree)?;
        let manifest = read(&manifest)?;
        let layers = manifest["layers"].as_array().into_iter().flatten();
        for part in layers.chain([&manifest["config"]]) {
            blob(layout, part, &mut tree)?;
        }
    }
    let index = json!({ "schemaVersion": 2, "mediaType": index["mediaType"], "manifests": entries });
    tree.file("index.json", 0o644, index.to_string());
    tree.copy("oci-layout", 0o644, layout.join("oci-layout"));
    Ok(tree)
}

/// Adds the blob that a descriptor names, and gives its place.
fn blob(layout: &Path, descriptor: &Value, tree: &mut Tree) -> Result<std::path::PathBuf> {
    let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    let path = format!("{BLOBS}{}", digest.context("a descriptor has a SHA-256 digest")?);
    let place = layout.join(&path);
    tree.copy(&path, 0o644, &place);
    Ok(place)
}

fn read(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}

#[cfg(test)]
mod tests {
    use corten_base::Arch;
    use corten_image_builder::oci::{Config, Layout};

    use super::*;

    #[test]
    fn only_what_is_named_comes_along() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut layout = Layout::begin(folder.path(), Arch::Amd64).expect("a layout");
        for name in ["a", "b"] {
            let mut tree = Tree::default();
            tree.file(name, 0o644, name);
            let layer = layout.layer(&tree).expect("a layer");
            layout.image(&[format!("test/{name}:1")], &[layer], &Config::default()).expect("an image");
        }
        layout.finish().expect("an index");
        let names = BTreeSet::from(["test/a:1".to_owned()]);
        let tree = subset(folder.path(), &names).expect("a part");
        let blobs = tree.iter().filter(|(path, _)| is_blob(path)).count();
        assert_eq!(blobs, 3, "manifest, configuration, layer");
        let unknown = subset(folder.path(), &BTreeSet::from(["test/c:1".to_owned()]));
        assert!(unknown.expect_err("it is not there").to_string().contains("test/c:1"));
    }
}
