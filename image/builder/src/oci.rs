//! Writing an OCI image layout: layers, configurations, manifests and the index that names them.
//!
//! Blobs are kept by digest, so images share layers. Layers are plain tar: the volume or file that holds the layout is
//! compressed once, and a machine need not decompress and hash them in its container runtime. Nothing in a configuration
//! depends on the day.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use corten_base::Arch;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::archive;
use crate::tree::Tree;

/// Folder of a layout with the files of each layer, by digest. A layer is not compressed, so that its digest is its
/// diff id.
const LAYERS: &str = "layers/sha256";

/// How a container of the image starts.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// User, or empty for root.
    pub user: String,
    /// Version of the software inside.
    pub version: String,
}

/// A layer in the layout.
#[derive(Clone, Debug)]
pub struct Layer {
    digest: String,
    size: u64,
}

/// A layout that is being written.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    arch: Arch,
    names: BTreeMap<String, Value>,
}

impl Layout {
    /// Begins a layout in an empty folder.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn begin(folder: &Path, arch: Arch) -> Result<Self> {
        fs::create_dir_all(folder.join("blobs/sha256"))
            .with_context(|| format!("making `{}`", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), arch, names: BTreeMap::new() })
    }

    /// Adds the tree as a layer: a blob, and the same files as a folder, which a machine uses where they are.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn layer(&self, tree: &Tree) -> Result<Layer> {
        let path = self.folder.join("blobs/sha256/.new");
        let mut content = Hashing::new(BufWriter::new(File::create(&path)?));
        archive::tar(tree, &mut content)?;
        let (digest, size) = (content.digest(), content.count);
        content.inner.into_inner()?.sync_data()?;
        fs::rename(&path, self.blob(&digest))?;
        let unpacked = self.folder.join(LAYERS).join(&digest);
        if !unpacked.exists() {
            tree.write_folder(&unpacked)
                .with_context(|| format!("unpacking a layer to `{}`", unpacked.display()))?;
        }
        Ok(Layer { digest, size })
    }

    /// Adds an image made of these layers under each of the names.
    ///
    /// # Errors
    /// When a blob cannot be written.
    pub fn image(&mut self, names: &[String], layers: &[Layer], config: &Config) -> Result<()> {
        let config = self.put(&json!({
            "architecture": self.arch.as_str(),
            "os": "linux",
            "config": {
                "User": config.user,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Entrypoint": config.entrypoint,
                "WorkingDir": "/",
                "Labels": { "org.opencontainers.image.version": config.version },
            },
            "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|layer| format!("sha256:{}", layer.digest)).collect::<Vec<_>>() },
        }), "application/vnd.oci.image.config.v1+json")?;
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": format!("sha256:{}", layer.digest), "size": layer.size }))
            .collect();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = self.put(
            &json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers }),
            media_type,
        )?;
        for name in names {
            self.names.insert(name.clone(), manifest.clone());
        }
        Ok(())
    }

    /// Writes the index.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<()> {
        let mut manifests = Vec::new();
        for (name, mut descriptor) in self.names {
            descriptor["platform"] = json!({ "architecture": self.arch.as_str(), "os": "linux" });
            descriptor["annotations"] =
                json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name });
            manifests.push(descriptor);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests });
        fs::write(self.folder.join("index.json"), serde_json::to_vec_pretty(&index)?)?;
        Ok(fs::write(self.folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?)
    }

    fn put(&self, value: &Value, media_type: &str) -> Result<Value> {
        let bytes = serde_json::to_vec(value)?;
        let digest = hex::encode(Sha256::digest(&bytes));
        fs::write(self.blob(&digest), &bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() }))
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest)
    }
}

/// The files of a finished layout as a tree: `oci-layout`, `index.json`, blobs.
///
/// # Errors
/// When the folder is not a layout.
pub fn tree(layout: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    for name in ["oci-layout", "index.json"] {
        tree.copy(name, 0o644, layout.join(name));
    }
    let blobs = layout.join("blobs/sha256");
    for entry in fs::read_dir(&blobs).with_context(|| format!("listing `{}`", blobs.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        tree.copy(&format!("blobs/sha256/{name}"), 0o644, blobs.join(&name));
    }
    Ok(tree)
}

/// The same with the unpacked layers: what a machine's image cache holds.
///
/// # Errors
/// When the folder is not a layout that was written here.
pub fn cache(layout: &Path) -> Result<Tree> {
    let mut all = tree(layout)?;
    for (path, node) in Tree::of_folder(&layout.join(LAYERS))?.iter() {
        all.insert(&format!("{LAYERS}/{path}"), node.mode, node.content.clone());
    }
    Ok(all)
}

/// Counts and hashes what passes.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    count: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), count: 0 }
    }

    fn digest(&self) -> String {
        hex::encode(self.hash.clone().finalize())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path) {
        let mut layout = Layout::begin(folder, Arch::Amd64).expect("begin");
        let mut tree = Tree::default();
        tree.file("usr/bin/hello", 0o755, *b"hello");
        let layer = layout.layer(&tree).expect("layer");
        let config = Config { entrypoint: vec!["/usr/bin/hello".into()], ..Config::default() };
        layout
            .image(&["example.org/hello:1".into(), "example.org/hello:latest".into()], &[layer], &config)
            .expect("image");
        layout.finish().expect("finish");
    }

    #[test]
    fn blobs_have_their_digest_as_name_and_two_runs_are_equal() {
        let (one, two) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        write(one.path());
        write(two.path());
        assert_eq!(
            fs::read(one.path().join("index.json")).expect("index"),
            fs::read(two.path().join("index.json")).expect("index")
        );
        let blobs = fs::read_dir(one.path().join("blobs/sha256")).expect("blobs");
        let mut count = 0;
        for entry in blobs {
            let entry = entry.expect("entry");
            let bytes = fs::read(entry.path()).expect("blob");
            assert_eq!(entry.file_name().to_string_lossy(), hex::encode(Sha256::digest(&bytes)));
            count += 1;
        }
        assert_eq!(count, 3, "layer, configuration, manifest");
    }

    #[test]
    fn a_cache_has_each_layer_as_a_blob_and_as_a_folder_of_its_diff_id() {
        let folder = tempfile::tempdir().expect("folder");
        write(folder.path());
        let (layout, cache) = (tree(folder.path()).expect("layout"), cache(folder.path()).expect("cache"));
        let hello = cache.iter().find(|(path, _)| path.ends_with("/usr/bin/hello")).expect("unpacked");
        let (digest, mode) = (hello.0.split('/').nth(2).expect("digest"), hello.1.mode);
        assert_eq!(mode, 0o755);
        assert!(layout.get(&format!("blobs/sha256/{digest}")).is_some(), "{digest}");
        assert!(layout.iter().all(|(path, _)| !path.starts_with(LAYERS)));
    }
}
