//! Configurations on STATE, as generations.
//!
//!     config/generations/000007.yaml   bytes as given
//!     config/current                   number of the generation that the machine starts with
//!
//! A generation is on disk, whole, before `current` names it; so a loss of power at any moment leaves the old
//! or the new configuration.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use corten_base::fs::{Durability, write_atomic};

/// Generations kept beside the current one.
const KEPT: u64 = 8;
const MODE: u32 = 0o600;

/// The folder of generations.
#[derive(Clone, Debug)]
pub struct Generations(PathBuf);

impl Generations {
    /// Generations below the root of STATE.
    #[must_use]
    pub fn below(state: &Path) -> Self {
        Self(state.join("config"))
    }

    /// The bytes of the current generation.
    ///
    /// # Errors
    /// When it is named but cannot be read.
    pub fn current(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(number) = self.current_number()? else { return Ok(None) };
        let path = self.path(number);
        fs::read(&path).map(Some).with_context(|| format!("cannot read the configuration {}", path.display()))
    }

    /// Keeps `bytes` as the new current generation.
    ///
    /// # Errors
    /// When they cannot be written; the old generation is then still current.
    pub fn commit(&self, bytes: &[u8]) -> anyhow::Result<u64> {
        let number = self.newest()?.unwrap_or(0) + 1;
        let path = self.path(number);
        write_atomic(&path, bytes, MODE, Durability::Durable)
            .with_context(|| format!("cannot write the configuration {}", path.display()))?;
        let current = self.0.join("current");
        write_atomic(&current, format!("{number}\n").as_bytes(), MODE, Durability::Durable)
            .with_context(|| format!("cannot write {}", current.display()))?;
        self.forget_before(number.saturating_sub(KEPT));
        Ok(number)
    }

    fn current_number(&self) -> anyhow::Result<Option<u64>> {
        let path = self.0.join("current");
        match fs::read_to_string(&path) {
            Ok(text) => {
                let number = text.trim().parse();
                number.map(Some).with_context(|| format!("{} does not hold a number", path.display()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn newest(&self) -> anyhow::Result<Option<u64>> {
        Ok(self.numbers().max().max(self.current_number()?))
    }

    fn numbers(&self) -> impl Iterator<Item = u64> {
        let entries = fs::read_dir(self.0.join("generations"));
        entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".yaml")?.parse().ok())
    }

    fn forget_before(&self, first: u64) {
        for number in self.numbers().filter(|number| *number < first) {
            let _ = fs::remove_file(self.path(number));
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.0.join("generations").join(format!("{number:06}.yaml"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_committed_bytes_are_current() {
        let folder = tempfile::tempdir().expect("a folder");
        let generations = Generations::below(folder.path());
        assert_eq!(generations.current().expect("none"), None);
        for number in 1..=20u64 {
            let bytes = format!("# {number}\n").into_bytes();
            assert_eq!(generations.commit(&bytes).expect("commit"), number);
            assert_eq!(generations.current().expect("current"), Some(bytes));
        }
        assert!(generations.numbers().count() <= 9);
    }

    #[test]
    fn a_generation_that_was_not_named_is_not_current() {
        let folder = tempfile::tempdir().expect("a folder");
        let generations = Generations::below(folder.path());
        generations.commit(b"one").expect("commit");
        // Power is lost after the file and before `current`.
        fs::write(generations.path(2), b"two").expect("write");
        assert_eq!(generations.current().expect("current"), Some(b"one".to_vec()));
        assert_eq!(generations.commit(b"three").expect("commit"), 3);
    }
}
