//! The key that opens the store: a file that only its owner reads.
//!
//! The file has one line, the base64 of 32 random bytes. It wraps the master key, which is in the store and encrypts the
//! values, so that the file can be exchanged without writing every value anew.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_base::fs::{Durability, write_atomic};
use corten_base::{Rng, Secret};

use crate::sealer::KEY_BYTES;

/// Longest file that is read, bytes.
const FILE_MAX: u64 = 4096;
/// Bits of a mode that let others in.
const OTHERS: u32 = 0o077;

/// A file with a key.
#[derive(Clone, Debug)]
pub struct KeyFile(PathBuf);

/// A key that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the key of the store in {path}; without it the store cannot be opened")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write a new key of the store to {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read the file.
    #[error(
        "others than its owner may read {path} (mode {mode:o}): `chmod 600` it, and think about who has read it"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// No key is in it.
    #[error("{path} holds no key: it should have one line, the base64 of 32 bytes")]
    Content {
        /// The file.
        path: PathBuf,
    },
}

impl KeyFile {
    /// The key in this file.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a new random key, on the disk before this returns. A file that is there is an error: it may be the only
    /// key of a store.
    ///
    /// # Errors
    /// When there is a file, or it cannot be written.
    pub fn create(&self, rng: &Rng) -> Result<Secret<[u8; KEY_BYTES]>, KeyError> {
        let failed = |source| KeyError::Write { path: self.0.clone(), source };
        if self.0.exists() {
            return Err(failed(io::Error::from(io::ErrorKind::AlreadyExists)));
        }
        let key: [u8; KEY_BYTES] = rng.bytes();
        let line = format!("{}\n", STANDARD.encode(key));
        write_atomic(&self.0, line.as_bytes(), 0o600, Durability::Durable).map_err(failed)?;
        Ok(Secret::new(key))
    }

    /// Reads the key.
    ///
    /// # Errors
    /// When the file is not there, others may read it, or no key is in it.
    pub fn read(&self) -> Result<Secret<[u8; KEY_BYTES]>, KeyError> {
        let path = self.0.clone();
        let failed = |source| KeyError::Read { path: self.0.clone(), source };
        let mut options = OpenOptions::new();
        let file = options.read(true).open(&path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode();
        if mode & OTHERS != 0 {
            return Err(KeyError::Open { path, mode: mode & 0o777 });
        }
        let mut line = String::new();
        file.take(FILE_MAX).read_to_string(&mut line).map_err(failed)?;
        let bytes = STANDARD.decode(line.trim()).ok();
        let key = bytes.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok());
        key.map(Secret::new).ok_or(KeyError::Content { path })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = KeyFile::at(folder.path().join("key"));
        assert!(matches!(file.read(), Err(KeyError::Read { .. })));
        let key = file.create(&Rng::seeded(1)).expect("made");
        assert!(file.read().is_ok_and(|read| read == key));
        assert!(
            matches!(file.create(&Rng::seeded(2)), Err(KeyError::Write { .. })),
            "it may be the only one"
        );
    }

    #[test]
    fn a_file_that_others_may_read_or_without_key_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = KeyFile::at(folder.path().join("key"));
        std::fs::write(file.path(), "c2hvcnQ=\n").expect("written");
        set_permissions(file.path(), Permissions::from_mode(0o644)).expect("mode");
        assert!(matches!(file.read(), Err(KeyError::Open { mode: 0o644, .. })));
        set_permissions(file.path(), Permissions::from_mode(0o600)).expect("mode");
        let text = file.read().expect_err("refused").to_string();
        assert!(text.contains("holds no key"), "{text}");
    }
}
