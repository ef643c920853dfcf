//! Where made components are kept: outside the repository, by the hash of their inputs.
//!
//! ```text
//! $CORTEN_CACHE or ~/.cache/corten
//!   store/<name>-<version>-<key>/   finished components, never changed again
//!   work/<key>/                     being made; renamed into the store at the end
//!   lock/<key>                      held while making, so that two runs do not make the same
//!   apt/                            private package lists and archives
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::manifest::Manifest;
use crate::recipe::Component;

/// Raised when the way components are made changes so that old ones must not be used.
const LAYOUT: &str = "1";

/// The folder tree described above.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache named by `CORTEN_CACHE`, else the one in the home folder.
    ///
    /// # Errors
    /// When neither variable is set or the folder cannot be made.
    pub fn open() -> Result<Self> {
        let root = match std::env::var_os("CORTEN_CACHE") {
            Some(root) => PathBuf::from(root),
            None => Path::new(&std::env::var_os("HOME").context("neither CORTEN_CACHE nor HOME is set")?)
                .join(".cache/corten"),
        };
        Self::at(root)
    }

    /// The cache in this folder.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn at(root: PathBuf) -> Result<Self> {
        for part in ["store", "work", "lock"] {
            std::fs::create_dir_all(root.join(part))
                .with_context(|| format!("making `{}`", root.join(part).display()))?;
        }
        Ok(Self { root })
    }

    /// A folder below the cache's root.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where the component with this key is, or will be.
    pub(crate) fn place(&self, component: &Component, key: &str) -> PathBuf {
        let name = component.name.replace('/', "-");
        self.root.join("store").join(format!("{name}-{}-{}", component.version, &key[..16]))
    }

    /// The component's manifest when it is already there.
    pub(crate) fn find(&self, component: &Component, key: &str) -> Result<Option<Manifest>> {
        let path = self.place(component, key).join("manifest.json");
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(
                serde_json::from_slice(&bytes).with_context(|| format!("reading `{}`", path.display()))?,
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading `{}`", path.display())),
        }
    }

    /// Waits until nobody else makes this key; the lock ends with the returned file.
    pub(crate) fn lock(&self, key: &str) -> Result<File> {
        let path = self.root.join("lock").join(key);
        let file = File::create(&path).with_context(|| format!("opening `{}`", path.display()))?;
        file.lock().with_context(|| format!("locking `{}`", path.display()))?;
        Ok(file)
    }

    /// An empty folder to make the component in.
    pub(crate) fn work(&self, key: &str) -> Result<PathBuf> {
        let work = self.root.join("work").join(key);
        if work.exists() {
            std::fs::remove_dir_all(&work).with_context(|| format!("emptying `{}`", work.display()))?;
        }
        std::fs::create_dir_all(work.join("out")).with_context(|| format!("making `{}`", work.display()))?;
        Ok(work)
    }

    /// Moves `work/out` with its manifest into the store and drops the rest.
    pub(crate) fn keep(
        &self,
        component: &Component,
        key: &str,
        work: &Path,
        manifest: &Manifest,
    ) -> Result<PathBuf> {
        let place = self.place(component, key);
        let out = work.join("out");
        std::fs::write(out.join("manifest.json"), serde_json::to_vec_pretty(manifest)?)?;
        if place.exists() {
            std::fs::remove_dir_all(&place).with_context(|| format!("clearing `{}`", place.display()))?;
        }
        std::fs::rename(&out, &place).with_context(|| format!("keeping `{}`", place.display()))?;
        std::fs::remove_dir_all(work).with_context(|| format!("removing `{}`", work.display()))?;
        Ok(place)
    }
}

/// Hash over named inputs; lengths are hashed too, so that no two lists collide.
pub(crate) fn key(inputs: &[(String, Vec<u8>)]) -> String {
    let mut hash = Sha256::new();
    hash.update(LAYOUT);
    for (name, value) in inputs {
        for part in [name.as_bytes(), value] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hex::encode(hash.finalize())
}

/// SHA-256 of a file.
pub(crate) fn file_hash(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("opening `{}`", path.display()))?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).with_context(|| format!("reading `{}`", path.display()))?;
    Ok(hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_depend_on_names_values_and_their_borders() {
        let one = key(&[("a".into(), b"bc".to_vec())]);
        assert_eq!(one, key(&[("a".into(), b"bc".to_vec())]));
        assert_ne!(one, key(&[("ab".into(), b"c".to_vec())]));
        assert_ne!(one, key(&[("a".into(), b"bd".to_vec())]));
    }

    #[test]
    fn a_component_is_kept_whole_and_found_again() {
        let folder = tempfile::tempdir().expect("folder");
        let cache = Cache::at(folder.path().to_owned()).expect("cache");
        let component = crate::find("etcd").expect("component");
        let key = key(&[]);
        assert!(cache.find(component, &key).expect("look").is_none());
        let work = cache.work(&key).expect("work");
        std::fs::write(work.join("out/file"), b"x").expect("write");
        let manifest = Manifest { name: "etcd".into(), ..Manifest::default() };
        let place = cache.keep(component, &key, &work, &manifest).expect("keep");
        assert!(place.join("file").exists() && !work.exists());
        assert_eq!(cache.find(component, &key).expect("look"), Some(manifest));
    }
}
