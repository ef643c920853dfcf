//! What clients compress long texts with, besides nothing.
//!
//! ```text
//! files ─▶ Dictionaries ─▶ number ─▶ dictionary ─▶ text in plain
//! ```
//!
//! omnictl has the dictionary 1 and takes it for every text of more than 2048 bytes. It is data of omnictl, not of this
//! manager, so that whoever wants such texts names its file.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use zstd::bulk::Decompressor;
use zstd::dict::DecoderDictionary;
use zstd::zstd_safe;

/// Most bytes of a dictionary.
const BYTES_MAX: u64 = 16 << 20;

/// A file that is no dictionary.
#[derive(Debug, thiserror::Error)]
pub enum DictionaryError {
    /// It cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// It is too long.
    #[error("{} has {bytes} bytes, and a dictionary at most {BYTES_MAX}", .file.display())]
    Long {
        /// The file.
        file: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// It is something else.
    #[error("{} is no dictionary of zstd with a number", .0.display())]
    Other(PathBuf),
    /// Two have one number.
    #[error("{} has the number {number} as another one has; leave one out", .file.display())]
    Twice {
        /// The later file.
        file: PathBuf,
        /// The number.
        number: NonZeroU32,
    },
}

/// Why a text cannot be had in plain.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// Nobody gave the dictionary.
    #[error(
        "the text is compressed with dictionary {0}, which this manager does not have: name its file in \
         features.configDataDictionaries, apply the text with `corten fleet`, which sends it in plain, or divide it into \
         texts of at most 2048 bytes"
    )]
    Unknown(NonZeroU32),
    /// It is damaged or too long.
    #[error("the compressed text is damaged or longer than {0} bytes; send it in plain")]
    Damaged(usize),
}

/// Dictionaries by their numbers.
#[derive(Default)]
pub struct Dictionaries(BTreeMap<NonZeroU32, DecoderDictionary<'static>>);

impl fmt::Debug for Dictionaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Dictionaries {
    /// Those of these files.
    ///
    /// # Errors
    /// When a file cannot be read, is no dictionary, or has the number of another one.
    pub fn open(files: &[PathBuf]) -> Result<Self, DictionaryError> {
        let mut found = Self::default();
        for path in files {
            found.add(path)?;
        }
        Ok(found)
    }

    fn add(&mut self, path: &Path) -> Result<(), DictionaryError> {
        let unreadable = |error| DictionaryError::Read(path.to_owned(), error);
        let length = std::fs::metadata(path).map_err(unreadable)?.len();
        if length > BYTES_MAX {
            return Err(DictionaryError::Long { file: path.to_owned(), bytes: length });
        }
        let content = std::fs::read(path).map_err(unreadable)?;
        let number = zstd_safe::get_dict_id_from_dict(&content);
        let number = number.ok_or_else(|| DictionaryError::Other(path.to_owned()))?;
        match self.0.insert(number, DecoderDictionary::copy(&content)) {
            None => Ok(()),
            Some(_) => Err(DictionaryError::Twice { file: path.to_owned(), number }),
        }
    }

    /// A compressed text of at most so many bytes in plain.
    ///
    /// # Errors
    /// When the dictionary is missing, or the text is damaged or too long.
    pub fn expand(&self, compressed: &[u8], bytes_max: usize) -> Result<Vec<u8>, ExpandError> {
        let decompressor = match zstd_safe::get_dict_id_from_frame(compressed) {
            None => Decompressor::new(),
            Some(number) => {
                let dictionary = self.0.get(&number).ok_or(ExpandError::Unknown(number))?;
                Decompressor::with_prepared_dictionary(dictionary)
            }
        };
        let plain = decompressor.and_then(|mut it| it.decompress(compressed, bytes_max));
        plain.map_err(|_| ExpandError::Damaged(bytes_max))
    }
}

#[cfg(test)]
mod tests {
    use zstd::bulk::Compressor;

    use super::*;

    /// A dictionary of texts that are alike.
    fn dictionary() -> Vec<u8> {
        let texts: Vec<_> =
            (0..200).map(|it| format!("machine:\n  env:\n    NAME_{it}: value {}\n", it * 7)).collect();
        zstd::dict::from_samples(&texts, 1024).expect("a dictionary")
    }

    #[test]
    fn a_text_is_had_with_its_dictionary_and_refused_without() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, content) = (folder.path().join("1.zdict"), dictionary());
        std::fs::write(&path, &content).expect("written");
        let mut compressor = Compressor::with_dictionary(3, &content).expect("a compressor");
        let packed = compressor.compress(b"machine:\n  env:\n    NAME_1: x\n").expect("compressed");
        let known = Dictionaries::open(std::slice::from_ref(&path)).expect("opened");
        assert_eq!(known.expand(&packed, 100).expect("plain"), b"machine:\n  env:\n    NAME_1: x\n");
        assert_eq!(known.expand(&packed, 5), Err(ExpandError::Damaged(5)));
        let unknown = Dictionaries::default().expand(&packed, 100).expect_err("refused");
        assert!(matches!(unknown, ExpandError::Unknown(_)) && unknown.to_string().contains("corten fleet"));
        assert!(matches!(Dictionaries::open(&[path.clone(), path]), Err(DictionaryError::Twice { .. })));
    }

    #[test]
    fn what_is_no_dictionary_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes");
        std::fs::write(&path, "machine: {}").expect("written");
        let error = Dictionaries::open(&[path]).expect_err("refused").to_string();
        assert!(error.contains("notes is no dictionary"), "{error}");
        assert!(matches!(Dictionaries::open(&[folder.path().join("none")]), Err(DictionaryError::Read(..))));
    }
}
