//! Files that other programs read: what is wanted, what is there, and the smallest change between them.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Most files that a folder of ours may hold; more is not ours.
const FOLDER_FILES_MAX: usize = 256;
/// Largest file that is compared; ours are certificates and small configurations.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Owner of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Owner {
    /// Root.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };

    /// A user and the group of the same number.
    #[must_use]
    pub const fn both(id: u32) -> Self {
        Self { uid: id, gid: id }
    }
}

/// A wanted file.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute path.
    pub path: String,
    /// Content; may be secret.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: Owner,
}

impl File {
    /// A wanted file.
    #[must_use]
    pub fn new(path: impl Into<String>, content: impl Into<Vec<u8>>, mode: u32, owner: Owner) -> Self {
        Self { path: path.into(), content: content.into(), mode, owner }
    }

    fn print(&self) -> Print {
        Print { hash: Sha256::digest(&self.content).into(), mode: self.mode, owner: Some(self.owner) }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({}, {} bytes, {:o})", self.path, self.content.len(), self.mode)
    }
}

/// What is compared of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Print {
    hash: [u8; 32],
    mode: u32,
    /// Unknown where owners are not managed.
    owner: Option<Owner>,
}

impl Print {
    fn shows(&self, file: &File) -> bool {
        let wanted = file.print();
        self.hash == wanted.hash
            && self.mode == wanted.mode
            && (self.owner.is_none() || self.owner == wanted.owner)
    }
}

/// What is on disk, by path.
pub type Observed = BTreeMap<String, Print>;

/// A change of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write it, whole.
    Write(File),
    /// Remove it.
    Remove(String),
}

/// Identifies the content of files: equal texts mean equal files, over restarts and reboots.
#[must_use]
pub fn version(files: &[File]) -> String {
    let mut sorted: Vec<&File> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let mut hash = Sha256::new();
    for file in sorted {
        hash.update(file.path.as_bytes());
        hash.update([0]);
        hash.update(Sha256::digest(&file.content));
    }
    hex::encode(&hash.finalize()[..8])
}

/// Changes that make the wanted files out of the observed ones; what is observed and not wanted goes.
#[must_use]
pub fn changes(wanted: &[File], observed: &Observed) -> Vec<Change> {
    let writes = wanted
        .iter()
        .filter(|file| !observed.get(&file.path).is_some_and(|print| print.shows(file)))
        .cloned()
        .map(Change::Write);
    let stale = observed.keys().filter(|path| !wanted.iter().any(|file| &file.path == *path));
    writes.chain(stale.cloned().map(Change::Remove)).collect()
}

/// The file system below a root: `/` on a machine, another folder in tests.
#[derive(Clone, Debug)]
pub struct Disk {
    root: PathBuf,
    /// Give files to their owners; off where the caller is not root.
    chown: bool,
}

impl Disk {
    /// The machine's.
    #[must_use]
    pub fn machine() -> Self {
        Self { root: PathBuf::from("/"), chown: true }
    }

    /// Everything below `root`, owned by whoever runs.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), chown: false }
    }

    /// Where a path of the machine is.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Every file directly inside these folders.
    ///
    /// # Errors
    /// When a folder or file cannot be read, or a folder holds more than we would put there.
    pub fn observe_folders(&self, folders: &[String]) -> io::Result<Observed> {
        let mut all = Observed::new();
        for folder in folders {
            let entries = match std::fs::read_dir(self.path(folder)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries.take(FOLDER_FILES_MAX) {
                let name = entry?.file_name();
                let path = format!("{folder}/{}", name.to_string_lossy());
                all.extend(self.observe(&path)?.map(|print| (path, print)));
            }
        }
        Ok(all)
    }

    /// These files.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn observe_files<'a>(&self, paths: impl IntoIterator<Item = &'a str>) -> io::Result<Observed> {
        let mut all = Observed::new();
        for path in paths {
            all.extend(self.observe(path)?.map(|print| (path.to_owned(), print)));
        }
        Ok(all)
    }

    fn observe(&self, path: &str) -> io::Result<Option<Print>> {
        let place = self.path(path);
        let metadata = match std::fs::symlink_metadata(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata?,
        };
        let owner = self.chown.then(|| Owner { uid: metadata.uid(), gid: metadata.gid() });
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Ok(Some(Print { hash: [0; 32], mode: 0, owner }));
        }
        let hash = Sha256::digest(std::fs::read(&place)?).into();
        Ok(Some(Print { hash, mode: metadata.permissions().mode() & 0o7777, owner }))
    }

    /// Applies one change.
    ///
    /// # Errors
    /// When the file system refuses; a file is then either the old or the new one, never half.
    pub fn apply(&self, change: &Change) -> io::Result<()> {
        match change {
            Change::Write(file) => self.write(file),
            Change::Remove(path) => match std::fs::remove_file(self.path(path)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            },
        }
    }

    fn write(&self, file: &File) -> io::Result<()> {
        let place = self.path(&file.path);
        let folder = place.parent().unwrap_or(Path::new("/"));
        if !folder.exists() {
            std::fs::create_dir_all(folder)?;
        }
        let temporary = place.with_extension("corten-new");
        // An own path: the mode and owner must be right before the content is there.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
        let mut handle = options.open(&temporary)?;
        if self.chown {
            chown(&temporary, Some(file.owner.uid), Some(file.owner.gid))?;
        }
        io::Write::write_all(&mut handle, &file.content)?;
        handle.set_permissions(std::fs::Permissions::from_mode(file.mode))?;
        // Some of these are the machine's identity: whoever reads one must find it again after a loss of power. On the
        // tmpfs where the others are it costs nothing.
        handle.sync_all()?;
        std::fs::rename(&temporary, &place)?;
        std::fs::File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &str, mode: u32) -> File {
        File::new(path, content, mode, Owner::ROOT)
    }

    #[test]
    fn changes_until_the_folder_is_as_wanted_and_then_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::below(folder.path());
        let wanted = [file("/a/one", "1", 0o400), file("/a/two", "2", 0o644)];
        let settle = |wanted: &[File]| {
            let observed = disk.observe_folders(&["/a".into()]).expect("observe");
            let all = changes(wanted, &observed);
            all.iter().for_each(|change| disk.apply(change).expect("apply"));
            all.len()
        };
        assert_eq!(settle(&wanted), 2);
        assert_eq!(settle(&wanted), 0);
        assert_eq!(settle(&[file("/a/one", "1", 0o600)]), 2, "one mode to change, one file to remove");
        assert_eq!(settle(&[file("/a/one", "1", 0o600)]), 0);
    }

    #[test]
    fn versions_depend_on_paths_and_contents_and_not_on_order() {
        let (a, b) = (file("/a", "1", 0o400), file("/b", "2", 0o400));
        assert_eq!(version(&[a.clone(), b.clone()]), version(&[b, a.clone()]));
        assert_ne!(version(&[a]), version(&[file("/a", "2", 0o400)]));
    }

    #[test]
    fn secrets_do_not_show() {
        assert!(!format!("{:?}", file("/a", "hunter2", 0o400)).contains("hunter2"));
    }
}
