//! A file system tree as data.
//!
//! Invariants: paths are relative and plain (no `.`, `..` or empty parts), each node's folder is
//! in the tree, and iteration is in an order in which folders come before their contents.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// What a node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A folder.
    Folder,
    /// A file with these bytes.
    Bytes(Vec<u8>),
    /// A file with the bytes of this one.
    Copy(PathBuf),
    /// A symbolic link.
    Link(String),
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Permission bits.
    pub mode: u32,
    /// What it holds.
    pub content: Content,
}

/// Entries by path, all owned by root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, Node>);

impl Tree {
    /// What is in a folder: files as copies of those there, folders and links, with their permission bits.
    ///
    /// # Errors
    /// When the folder cannot be read, or holds something else, such as a device.
    pub fn of_folder(folder: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.read_folder(folder, "").with_context(|| format!("reading `{}`", folder.display()))?;
        Ok(tree)
    }

    fn read_folder(&mut self, folder: &Path, below: &str) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (place, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            let metadata = entry.metadata()?;
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_dir() {
                self.insert(&path, mode, Content::Folder);
                self.read_folder(&place, &path)?;
            } else if metadata.is_symlink() {
                self.link(&path, &fs::read_link(&place)?.to_string_lossy());
            } else if metadata.is_file() {
                self.copy(&path, mode, place);
            } else {
                bail!("`{path}` is neither a file nor a folder nor a link");
            }
        }
        Ok(())
    }

    /// Without the node at this path and what is below it.
    pub fn remove(&mut self, path: &str) -> &mut Self {
        let below = format!("{path}/");
        self.0.retain(|other, _| other != path && !other.starts_with(&below));
        self
    }

    /// A folder, readable by all.
    pub fn folder(&mut self, path: &str) -> &mut Self {
        self.insert(path, 0o755, Content::Folder)
    }

    /// A file with these bytes.
    pub fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.insert(path, mode, Content::Bytes(bytes.into()))
    }

    /// A file with the bytes of `source`.
    pub fn copy(&mut self, path: &str, mode: u32, source: impl Into<PathBuf>) -> &mut Self {
        self.insert(path, mode, Content::Copy(source.into()))
    }

    /// A symbolic link to `target`.
    pub fn link(&mut self, path: &str, target: &str) -> &mut Self {
        self.insert(path, 0o777, Content::Link(target.to_owned()))
    }

    /// Any node; the last one at a path wins. Missing folders above appear.
    pub fn insert(&mut self, path: &str, mode: u32, content: Content) -> &mut Self {
        debug_assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")), "`{path}` is not plain");
        let mut above = path;
        while let Some((folder, _)) = above.rsplit_once('/') {
            self.0.entry(folder.to_owned()).or_insert(Node { mode: 0o755, content: Content::Folder });
            above = folder;
        }
        self.0.insert(path.to_owned(), Node { mode, content });
        self
    }

    /// The node at this path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.0.get(path)
    }

    /// All nodes, folders before their contents.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Writes the tree below an empty or missing folder.
    ///
    /// # Errors
    /// When the folder has contents already or the file system refuses.
    pub fn write_folder(&self, target: &Path) -> Result<()> {
        fs::create_dir_all(target).with_context(|| format!("making `{}`", target.display()))?;
        if fs::read_dir(target)?.next().is_some() {
            bail!("`{}` is not empty", target.display());
        }
        for (path, node) in self.iter() {
            let place = target.join(path);
            node.write(&place).with_context(|| format!("writing `{}`", place.display()))?;
        }
        Ok(())
    }
}

impl Node {
    /// Length of a file's contents.
    ///
    /// # Errors
    /// When the file to copy cannot be read.
    pub fn size(&self) -> Result<u64> {
        match &self.content {
            Content::Bytes(bytes) => Ok(bytes.len() as u64),
            Content::Copy(source) => {
                Ok(fs::metadata(source).with_context(|| format!("reading `{}`", source.display()))?.len())
            }
            Content::Folder | Content::Link(_) => Ok(0),
        }
    }

    /// Writes a file's contents.
    ///
    /// # Errors
    /// When the file to copy cannot be read or `out` refuses.
    pub fn stream(&self, out: &mut impl Write) -> Result<()> {
        match &self.content {
            Content::Bytes(bytes) => out.write_all(bytes)?,
            Content::Copy(source) => {
                let mut file =
                    File::open(source).with_context(|| format!("opening `{}`", source.display()))?;
                io::copy(&mut file, out)?;
            }
            Content::Folder | Content::Link(_) => {}
        }
        Ok(())
    }

    fn write(&self, place: &Path) -> Result<()> {
        match &self.content {
            Content::Folder => fs::create_dir_all(place)?,
            Content::Link(target) => return Ok(symlink(target, place)?),
            Content::Copy(source) => {
                fs::copy(source, place).with_context(|| format!("copying `{}`", source.display()))?;
            }
            Content::Bytes(bytes) => fs::write(place, bytes)?,
        }
        Ok(fs::set_permissions(place, fs::Permissions::from_mode(self.mode))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_appear_and_come_first() {
        let mut tree = Tree::default();
        tree.file("usr/bin/a", 0o755, *b"a").link("bin", "usr/bin").file("usr-b", 0o644, *b"");
        let paths: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["bin", "usr", "usr-b", "usr/bin", "usr/bin/a"]);
    }

    #[test]
    fn a_written_folder_has_contents_modes_and_links() {
        let folder = tempfile::tempdir().expect("folder");
        let target = folder.path().join("root");
        let mut tree = Tree::default();
        tree.file("usr/bin/a", 0o555, *b"a").link("bin", "usr/bin");
        tree.write_folder(&target).expect("write");
        assert_eq!(fs::read(target.join("bin/a")).expect("read"), b"a");
        assert_eq!(
            fs::metadata(target.join("usr/bin/a")).expect("metadata").permissions().mode() & 0o777,
            0o555
        );
        assert!(tree.write_folder(&target).is_err(), "a folder with contents is refused");
        let mut read = Tree::of_folder(&target).expect("read");
        let modes: Vec<(&str, u32)> = read.iter().map(|(path, node)| (path, node.mode)).collect();
        assert_eq!(modes, [("bin", 0o777), ("usr", 0o755), ("usr/bin", 0o755), ("usr/bin/a", 0o555)]);
        assert_eq!(read.remove("usr/bin").iter().count(), 2);
    }
}
