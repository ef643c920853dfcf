//! `DiskUsage`: what folders occupy, deepest first.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use corten_api::machine::{DiskUsageInfo, DiskUsageRequest};
use tonic::Status;

use super::super::status;
use super::super::stream::{Step, Work};
use super::{DEPTH_MAX, absolute, children, relative};

/// Bytes of the blocks that the kernel counts.
const BLOCK_BYTES: u64 = 512;

/// Folders that are being added up.
#[derive(Debug)]
pub struct Usage {
    request: DiskUsageRequest,
    root: PathBuf,
    /// Whether the root was entered.
    begun: bool,
    /// From the root down to the folder whose entries are added.
    open: Vec<Folder>,
}

/// One folder and what of it was added already.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    size: i64,
    rest: Vec<PathBuf>,
}

/// What the path of a request occupies; clients send one path per call.
///
/// # Errors
/// When the path cannot be read.
pub fn disk_usage(request: DiskUsageRequest) -> Result<Usage, Status> {
    let Some(path) = request.paths.first() else {
        return Err(Status::invalid_argument("no path to measure was given"));
    };
    let root = absolute(path);
    fs::symlink_metadata(&root).map_err(|error| status::file(&root, &error))?;
    Ok(Usage { request, root, begun: false, open: Vec::new() })
}

impl Work for Usage {
    type Item = DiskUsageInfo;

    fn step(&mut self, out: &mut Vec<DiskUsageInfo>) -> Result<Step, Status> {
        if !self.begun {
            self.begun = true;
            self.enter(self.root.clone(), out);
            return Ok(Step::More);
        }
        match self.open.last_mut().map(|folder| folder.rest.pop()) {
            None => return Ok(Step::Done),
            Some(Some(path)) => self.enter(path, out),
            Some(None) => {
                if let Some(folder) = self.open.pop() {
                    self.add(&folder.path, folder.size, true, out);
                }
            }
        }
        Ok(Step::More)
    }
}

impl Usage {
    /// Opens a folder, or adds what is none. An entry that is gone meanwhile occupies nothing.
    fn enter(&mut self, path: PathBuf, out: &mut Vec<DiskUsageInfo>) {
        let Ok(metadata) = fs::symlink_metadata(&path) else { return };
        let size = occupied(&metadata);
        if metadata.is_dir() && self.open.len() < DEPTH_MAX {
            let rest = children(&path);
            self.open.push(Folder { path, size, rest });
        } else {
            self.add(&path, size, metadata.is_dir(), out);
        }
    }

    /// Adds an entry to the folder that it is in, and shows it if it is asked for.
    fn add(&mut self, path: &Path, size: i64, is_dir: bool, out: &mut Vec<DiskUsageInfo>) {
        let level = self.open.len();
        if let Some(parent) = self.open.last_mut() {
            parent.size = parent.size.saturating_add(size);
        }
        let DiskUsageRequest { all, threshold, recursion_depth, .. } = self.request;
        // talosctl asks for one level more than it is told to show; no depth is every level.
        let is_near = recursion_depth <= 0 || i32::try_from(level).is_ok_and(|level| level < recursion_depth);
        let is_large = threshold == 0
            || (threshold > 0 && size >= threshold)
            || (threshold < 0 && size <= threshold.saturating_neg());
        if (is_dir || all || level == 0) && is_near && is_large {
            out.push(DiskUsageInfo {
                name: path.display().to_string(),
                size,
                relative_name: relative(&self.root, path),
                ..DiskUsageInfo::default()
            });
        }
    }
}

fn occupied(metadata: &Metadata) -> i64 {
    i64::try_from(metadata.blocks().saturating_mul(BLOCK_BYTES)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{run, tree};
    use super::*;

    fn usage(root: &Path, all: bool, recursion_depth: i32) -> Vec<(String, i64)> {
        let paths = vec![root.display().to_string()];
        let request = DiskUsageRequest { paths, all, recursion_depth, ..DiskUsageRequest::default() };
        let infos = run(disk_usage(request)).expect("sizes");
        infos.into_iter().map(|info| (info.relative_name, info.size)).collect()
    }

    #[test]
    fn folders_come_after_what_is_in_them_and_hold_its_size() {
        let folder = tree();
        let of = |path: &str| occupied(&fs::symlink_metadata(folder.path().join(path)).expect("metadata"));
        let (file, link) = (of("sub/file"), of("link"));
        let (sub, root) = (of("sub") + file, of("") + of("sub") + file + link);
        let name = |name: &str, size| (name.to_owned(), size);
        let every = [name("link", link), name("sub/file", file), name("sub", sub), name(".", root)];
        assert_eq!(usage(folder.path(), true, 9), every);
        assert_eq!(usage(folder.path(), false, 9), [name("sub", sub), name(".", root)]);
        assert_eq!(usage(folder.path(), true, 0), every, "all levels");
        assert_eq!(usage(folder.path(), true, 1), [name(".", root)]);
        assert_eq!(usage(folder.path(), true, 2), [name("link", link), name("sub", sub), name(".", root)]);
    }

    #[test]
    fn a_file_is_its_own_root() {
        let folder = tree();
        assert_eq!(usage(&folder.path().join("sub/file"), false, 0).len(), 1);
    }
}
