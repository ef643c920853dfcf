//! Files that a template names, relative to the folder of the template.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use corten_config::read::BYTES_MAX;

/// A file that a template names and that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It cannot be read as UTF-8.
    #[error("failed to read {path:?}; the path counts from the folder of the template")]
    Read {
        /// The path as written.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is not below the folder that files may come from, symbolic links followed.
    #[error("{path:?} is outside of {allowed}; move the file there, or permit its folder with --allowed-dir")]
    Outside {
        /// The path as written.
        path: String,
        /// The folder that is permitted.
        allowed: PathBuf,
    },
    /// It is longer than any configuration.
    #[error("{path:?} is larger than {} bytes; take out what is no configuration", BYTES_MAX)]
    TooLarge {
        /// The path as written.
        path: String,
    },
    /// No files are read for this template.
    #[error("{path:?} cannot be read for this template; write its text inline")]
    NoFiles {
        /// The path as written.
        path: String,
    },
}

/// Gives the files that a template names.
pub trait Loader {
    /// The text of a file, whose path is as the template has it.
    ///
    /// # Errors
    /// When there is no such text, or the template may not have it.
    fn load(&self, path: &str) -> Result<String, LoadError>;
}

/// Files on the disk, below a folder if that is wanted.
#[derive(Clone, Debug)]
pub struct FolderLoader {
    folder: PathBuf,
    allowed: Option<PathBuf>,
}

impl FolderLoader {
    /// Files relative to `folder`, only those below `allowed` if it is given.
    ///
    /// # Errors
    /// When one of the folders does not exist.
    pub fn new(folder: &Path, allowed: Option<&Path>) -> io::Result<Self> {
        Ok(Self { folder: fs::canonicalize(folder)?, allowed: allowed.map(fs::canonicalize).transpose()? })
    }
}

impl Loader for FolderLoader {
    fn load(&self, path: &str) -> Result<String, LoadError> {
        let failed = |source| LoadError::Read { path: path.to_owned(), source };
        let canonical = fs::canonicalize(self.folder.join(path)).map_err(failed)?;
        if let Some(allowed) = self.allowed.as_ref().filter(|allowed| !canonical.starts_with(allowed)) {
            return Err(LoadError::Outside { path: path.to_owned(), allowed: allowed.clone() });
        }
        let mut text = String::new();
        let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        File::open(canonical).and_then(|file| file.take(limit).read_to_string(&mut text)).map_err(failed)?;
        if text.len() > BYTES_MAX {
            return Err(LoadError::TooLarge { path: path.to_owned() });
        }
        Ok(text)
    }
}

/// No files at all, for templates that come without a folder.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Loader for NoFiles {
    fn load(&self, path: &str) -> Result<String, LoadError> {
        Err(LoadError::NoFiles { path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("template/patches")).unwrap();
        fs::write(folder.path().join("template/patches/a.yaml"), "machine: {}\n").unwrap();
        fs::write(folder.path().join("secret.yaml"), "secret: true\n").unwrap();
        let link = folder.path().join("template/patches/link.yaml");
        std::os::unix::fs::symlink("../../secret.yaml", link).unwrap();
        folder
    }

    #[test]
    fn paths_count_from_the_folder_of_the_template() {
        let folder = folder();
        let loader = FolderLoader::new(&folder.path().join("template"), None).unwrap();
        assert_eq!(loader.load("patches/a.yaml").unwrap(), "machine: {}\n");
        assert_eq!(loader.load("../secret.yaml").unwrap(), "secret: true\n");
        assert!(matches!(loader.load("b.yaml"), Err(LoadError::Read { .. })));
    }

    #[test]
    fn nothing_outside_of_the_permitted_folder_is_read_by_any_way() {
        let folder = folder();
        let template = folder.path().join("template");
        let loader = FolderLoader::new(&template, Some(&template)).unwrap();
        assert!(loader.load("patches/a.yaml").is_ok());
        let absolute = folder.path().join("secret.yaml");
        for path in ["../secret.yaml", "patches/link.yaml", absolute.to_str().unwrap()] {
            assert!(matches!(loader.load(path), Err(LoadError::Outside { .. })), "{path}");
        }
    }
}
