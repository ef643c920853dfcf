//! `List`: the entries below a folder.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use corten_api::machine::{FileInfo, ListRequest, Xattr, list_request::Type};
use rustix::fs::{lgetxattr, lgetxattr_query, llistxattr, llistxattr_query};
use rustix::io;
use tonic::Status;

use super::super::status;
use super::super::stream::{Step, Work};
use super::{DEPTH_MAX, absolute, children, relative};

/// A walk through folders.
#[derive(Debug)]
pub struct Listing {
    root: PathBuf,
    depth: usize,
    types: Vec<Type>,
    /// Whether extended attributes are told too.
    attributes: bool,
    /// Paths and how deep they are; the next one is last.
    pending: Vec<(PathBuf, usize)>,
}

/// The entries that a request is about, its root first.
///
/// # Errors
/// When the root itself cannot be read; trouble further down stands in the entries.
pub fn list(request: &ListRequest) -> Result<Listing, Status> {
    let root = absolute(&request.root);
    fs::symlink_metadata(&root).map_err(|error| status::file(&root, &error))?;
    let depth = match (request.recurse, request.recursion_depth) {
        (false, _) => 1,
        (true, depth) if depth > 0 => usize::try_from(depth).unwrap_or(DEPTH_MAX).min(DEPTH_MAX),
        (true, _) => DEPTH_MAX,
    };
    let pending = vec![(root.clone(), 0)];
    let (types, attributes) = (request.types().collect(), request.report_xattrs);
    Ok(Listing { root, depth, types, attributes, pending })
}

impl Work for Listing {
    type Item = FileInfo;

    fn step(&mut self, out: &mut Vec<FileInfo>) -> Result<Step, Status> {
        let Some((path, level)) = self.pending.pop() else { return Ok(Step::Done) };
        let mut info = file_info(&self.root, &path);
        if info.is_dir && level < self.depth {
            self.pending.extend(children(&path).into_iter().map(|child| (child, level + 1)));
        }
        if wanted(&self.types, &info) {
            if self.attributes {
                info.xattrs = attributes(&path);
            }
            out.push(info);
        }
        Ok(Step::More)
    }
}

fn wanted(types: &[Type], info: &FileInfo) -> bool {
    types.is_empty()
        || types.iter().any(|kind| match kind {
            Type::Regular => info.mode & go_mode::TYPE == 0,
            Type::Directory => info.mode & go_mode::DIR != 0,
            Type::Symlink => info.mode & go_mode::SYMLINK != 0,
        })
}

fn file_info(root: &Path, path: &Path) -> FileInfo {
    let mut info = FileInfo {
        name: path.display().to_string(),
        relative_name: relative(root, path),
        ..FileInfo::default()
    };
    match fs::symlink_metadata(path) {
        Ok(metadata) => {
            info.size = i64::try_from(metadata.len()).unwrap_or(i64::MAX);
            info.mode = go_mode::of(&metadata);
            info.modified = metadata.mtime();
            info.is_dir = metadata.is_dir();
            info.uid = metadata.uid();
            info.gid = metadata.gid();
            if metadata.is_symlink() {
                info.link = fs::read_link(path).map(|link| link.display().to_string()).unwrap_or_default();
            }
            if metadata.is_dir()
                && let Err(error) = fs::read_dir(path)
            {
                info.error = error.to_string();
            }
        }
        Err(error) => info.error = error.to_string(),
    }
    info
}

/// Extended attributes. The kernel bounds them; one that is gone meanwhile, or is for nobody, is left out.
fn attributes(path: &Path) -> Vec<Xattr> {
    let names = told(llistxattr_query(path), |buffer| llistxattr(path, buffer)).unwrap_or_default();
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let attribute = |name: &[u8]| {
        let data = told(lgetxattr_query(path, name), |buffer| lgetxattr(path, name, buffer))?;
        Some(Xattr { name: String::from_utf8_lossy(name).into_owned(), data })
    };
    names.filter_map(attribute).collect()
}

/// What the kernel tells, which has told how much it is.
fn told(size: io::Result<usize>, ask: impl Fn(&mut [u8]) -> io::Result<usize>) -> Option<Vec<u8>> {
    let mut bytes = vec![0; size.ok()?];
    let length = ask(&mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// File modes as Go's `os.FileMode` numbers them; clients format them with Go's rules.
mod go_mode {
    use super::{FileTypeExt, Metadata, MetadataExt};

    pub const DIR: u32 = 1 << 31;
    pub const SYMLINK: u32 = 1 << 27;
    const DEVICE: u32 = 1 << 26;
    const NAMED_PIPE: u32 = 1 << 25;
    const SOCKET: u32 = 1 << 24;
    const SETUID: u32 = 1 << 23;
    const SETGID: u32 = 1 << 22;
    const CHAR_DEVICE: u32 = 1 << 21;
    const STICKY: u32 = 1 << 20;
    /// Bits of everything that is not a regular file.
    pub const TYPE: u32 = DIR | SYMLINK | DEVICE | NAMED_PIPE | SOCKET | CHAR_DEVICE;

    pub fn of(metadata: &Metadata) -> u32 {
        let kind = metadata.file_type();
        let bits = [
            (kind.is_dir(), DIR),
            (kind.is_symlink(), SYMLINK),
            (kind.is_block_device(), DEVICE),
            (kind.is_char_device(), DEVICE | CHAR_DEVICE),
            (kind.is_fifo(), NAMED_PIPE),
            (kind.is_socket(), SOCKET),
            (metadata.mode() & 0o4000 != 0, SETUID),
            (metadata.mode() & 0o2000 != 0, SETGID),
            (metadata.mode() & 0o1000 != 0, STICKY),
        ];
        bits.iter().filter(|(set, _)| *set).fold(metadata.mode() & 0o777, |mode, (_, bit)| mode | bit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{run, tree};
    use super::*;

    fn names(request: &ListRequest) -> Vec<String> {
        let entries = run(list(request)).expect("entries");
        entries.into_iter().map(|entry| entry.relative_name).collect()
    }

    #[test]
    fn a_listing_is_one_level_deep_unless_asked() {
        let folder = tree();
        let root = folder.path().display().to_string();
        let flat = ListRequest { root: root.clone(), ..ListRequest::default() };
        assert_eq!(names(&flat), [".", "link", "sub"]);
        let deep = ListRequest { root, recurse: true, ..ListRequest::default() };
        assert_eq!(names(&deep), [".", "link", "sub", "sub/file"]);
    }

    #[test]
    fn modes_are_those_of_go() {
        let folder = tree();
        let request = ListRequest {
            root: folder.path().display().to_string(),
            types: vec![Type::Symlink.into()],
            ..ListRequest::default()
        };
        let entries = run(list(&request)).expect("entries");
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].mode & go_mode::SYMLINK, go_mode::SYMLINK);
        assert_eq!(entries[0].link, "sub/file");
    }

    #[test]
    fn extended_attributes_are_told_to_whom_asks_for_them() {
        let folder = tree();
        let file = folder.path().join("sub/file");
        let set = rustix::fs::setxattr(&file, "user.colour", b"red", rustix::fs::XattrFlags::empty());
        set.expect("a file system with attributes");
        let told = |report_xattrs| {
            let root = file.display().to_string();
            let request = ListRequest { root, report_xattrs, ..ListRequest::default() };
            run(list(&request)).expect("entries").remove(0).xattrs
        };
        let colour =
            |xattrs: &[Xattr]| xattrs.iter().find(|it| it.name == "user.colour").map(|it| it.data.clone());
        assert_eq!(colour(&told(true)), Some(b"red".to_vec()));
        assert!(told(false).is_empty());
    }

    #[test]
    fn a_root_that_is_absent_is_an_error_of_the_call() {
        let request = ListRequest { root: "/no/such".to_owned(), ..ListRequest::default() };
        assert_eq!(list(&request).expect_err("absent").code(), tonic::Code::NotFound);
    }
}
