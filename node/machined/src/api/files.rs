//! Files of the machine: list, disk usage, read, copy.
//!
//! Each is [`Work`](super::stream::Work) over paths, one entry or one piece of a file at a time.

mod copy;
mod list;
mod open;
mod read;
mod usage;

pub use copy::copy;
pub use list::list;
pub use read::read;
pub use usage::disk_usage;

use std::fs;
use std::path::{Path, PathBuf};

/// Deepest folder that is walked, whatever a client asks for.
const DEPTH_MAX: usize = 128;

/// The path a client means; relative ones start at the root.
fn absolute(path: &str) -> PathBuf {
    if path.starts_with('/') { PathBuf::from(path) } else { Path::new("/").join(path) }
}

/// What is in a folder, the last name first, as a stack of work wants it. A folder that cannot be read is empty.
fn children(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable_by(|one, other| other.cmp(one));
    paths
}

/// The path below `root`; `.` is the root itself.
fn relative(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).ok().filter(|rest| !rest.as_os_str().is_empty());
    below.map_or_else(|| ".".to_owned(), |rest| rest.display().to_string())
}

#[cfg(test)]
mod testing {
    use std::os::unix::fs::symlink;

    use tonic::Status;

    use super::super::stream::{Step, Work};
    use super::fs;

    /// A folder with `link` to `sub/file`, which says hello.
    pub fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("sub")).expect("sub");
        fs::write(folder.path().join("sub/file"), b"hello").expect("file");
        symlink("sub/file", folder.path().join("link")).expect("link");
        folder
    }

    /// Does the work to its end.
    pub fn run<W: Work>(work: Result<W, Status>) -> Result<Vec<W::Item>, Status> {
        let (mut work, mut items) = (work?, Vec::new());
        while work.step(&mut items)? == Step::More {}
        Ok(items)
    }
}
