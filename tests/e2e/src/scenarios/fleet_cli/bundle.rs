//! A support bundle as whoever is asked for help opens it: unpacked by another program, and searched for secrets.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use corten_config::values::to_base64;

use crate::tool::Tool;

/// Kinds of private keys in PEM.
const KEYS: [&str; 4] = ["", "EC ", "RSA ", "ED25519 "];

/// A bundle that was unpacked.
pub(super) struct Bundle {
    folder: PathBuf,
}

impl Bundle {
    /// Unpacks a bundle with the library of Python.
    pub(super) fn unpack(file: &Path, folder: PathBuf) -> Result<Self> {
        let (from, to) = (file.to_string_lossy(), folder.to_string_lossy());
        Tool::new("python3", "python3").run(&["-m", "zipfile", "--extract", &*from, &*to])?;
        Ok(Self { folder })
    }

    /// A file of it, which says something.
    pub(super) fn text(&self, name: &str) -> Result<String> {
        let bytes = std::fs::read(self.folder.join(name)).with_context(|| format!("{name} is missing"))?;
        ensure!(!bytes.is_empty(), "{name} is empty");
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Fails if one of these secrets, or any private key, stands in a file. A secret is told by its name alone.
    pub(super) fn check_without(&self, secrets: &[(&str, String)]) -> Result<()> {
        let keys = KEYS.map(|kind| format!("-----BEGIN {kind}PRIVATE KEY"));
        // Whole groups of three bytes, which are the same whatever follows.
        let encoded = keys.map(|key| to_base64(key.as_bytes().get(..key.len() / 3 * 3).unwrap_or_default()));
        for file in files(&self.folder)? {
            let bytes = std::fs::read(&file)?;
            let text = String::from_utf8_lossy(&bytes);
            for (what, secret) in secrets {
                ensure!(secret.len() >= 8, "{what} is no secret");
                ensure!(!text.contains(secret), "{what} stands in {}", file.display());
                let form = to_base64(secret.get(..secret.len() / 3 * 3).unwrap_or_default());
                ensure!(!text.contains(&form), "{what} stands in {} in base64", file.display());
            }
            let is_encoded = encoded.iter().any(|key| text.contains(key));
            let has_key = is_encoded || text.contains("PRIVATE KEY-----\nM");
            ensure!(!has_key, "a private key stands in {}", file.display());
        }
        Ok(())
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            all.extend(files(&path)?);
        } else {
            all.push(path);
        }
    }
    Ok(all)
}
