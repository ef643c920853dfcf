//! Files of the machine: list, disk usage, read, copy.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use corten_api::common::Data;
use corten_api::machine::{DiskUsageInfo, DiskUsageRequest, FileInfo, ListRequest, list_request::Type};
use flate2::Compression;
use flate2::write::GzEncoder;
use tonic::Status;

use super::stream::{Sender, data, send_reader};

/// Deepest folder that is walked, whatever a client asks for.
const DEPTH_MAX: usize = 128;
/// Size of the pieces a copy is sent in.
const COPY_BYTES: usize = 64 * 1024;
/// What is read of files that claim to be empty (procfs, sysfs, cgroupfs).
const PSEUDO_FILE_BYTES_MAX: u64 = 4096;

/// The path a client means; relative ones start at the root.
fn absolute(path: &str) -> PathBuf {
    if path.starts_with('/') { PathBuf::from(path) } else { Path::new("/").join(path) }
}

fn to_status(path: &Path, error: &io::Error) -> Status {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::NotFound => Status::not_found(text),
        io::ErrorKind::PermissionDenied => Status::permission_denied(text),
        _ => Status::unknown(text),
    }
}

/// Sends the entries below `root`.
///
/// # Errors
/// When the root itself cannot be read; trouble further down stands in the entries.
pub fn list(sender: &Sender<FileInfo>, request: &ListRequest) -> Result<(), Status> {
    let root = absolute(&request.root);
    fs::symlink_metadata(&root).map_err(|error| to_status(&root, &error))?;
    let depth = match (request.recurse, request.recursion_depth) {
        (false, _) => 1,
        (true, depth) if depth > 0 => usize::try_from(depth).unwrap_or(DEPTH_MAX).min(DEPTH_MAX),
        (true, _) => DEPTH_MAX,
    };
    let types: Vec<Type> = request.types().collect();
    let mut pending = vec![(root.clone(), 0)];
    while let Some((path, level)) = pending.pop() {
        let info = file_info(&root, &path);
        let is_dir = info.is_dir;
        if wanted(&types, &info) && sender.blocking_send(Ok(info)).is_err() {
            return Ok(());
        }
        if is_dir && level < depth {
            pending.extend(children(&path).into_iter().rev().map(|child| (child, level + 1)));
        }
    }
    Ok(())
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
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
    let relative = path.strip_prefix(root).ok().filter(|rest| !rest.as_os_str().is_empty());
    let mut info = FileInfo {
        name: path.display().to_string(),
        relative_name: relative.map_or_else(|| ".".to_owned(), |rest| rest.display().to_string()),
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

/// Sends what folders occupy, deepest first.
///
/// # Errors
/// When the path cannot be read.
pub fn disk_usage(sender: &Sender<DiskUsageInfo>, request: &DiskUsageRequest) -> Result<(), Status> {
    let Some(path) = request.paths.first() else {
        return Err(Status::invalid_argument("no path to measure was given"));
    };
    let root = absolute(path);
    fs::symlink_metadata(&root).map_err(|error| to_status(&root, &error))?;
    usage_below(sender, request, &root, &root, 0).map(drop)
}

fn usage_below(
    sender: &Sender<DiskUsageInfo>,
    request: &DiskUsageRequest,
    root: &Path,
    path: &Path,
    level: i32,
) -> Result<i64, Status> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(0) };
    let mut size = i64::try_from(metadata.blocks().saturating_mul(512)).unwrap_or(i64::MAX);
    if metadata.is_dir() && usize::try_from(level).is_ok_and(|level| level < DEPTH_MAX) {
        for child in children(path) {
            size = size.saturating_add(usage_below(sender, request, root, &child, level + 1)?);
        }
    }
    let shown = (metadata.is_dir() || request.all || level == 0) && level <= request.recursion_depth;
    let large = request.threshold == 0
        || (request.threshold > 0 && size >= request.threshold)
        || (request.threshold < 0 && size <= -request.threshold);
    if shown && large {
        let relative = path.strip_prefix(root).ok().filter(|rest| !rest.as_os_str().is_empty());
        let info = DiskUsageInfo {
            name: path.display().to_string(),
            size,
            relative_name: relative.map_or_else(|| ".".to_owned(), |rest| rest.display().to_string()),
            ..DiskUsageInfo::default()
        };
        sender.blocking_send(Ok(info)).map_err(|_| Status::cancelled("the client left"))?;
    }
    Ok(size)
}

/// Sends a regular file in blocks.
///
/// # Errors
/// When it does not exist or is no regular file.
pub fn read(sender: &Sender<Data>, path: &str) -> Result<(), Status> {
    let path = absolute(path);
    let metadata = fs::metadata(&path).map_err(|error| to_status(&path, &error))?;
    if !metadata.is_file() {
        return Err(Status::invalid_argument(format!("{} is not a regular file", path.display())));
    }
    let file = File::open(&path).map_err(|error| to_status(&path, &error))?;
    send_reader(sender, file)
}

/// Sends a file or folder as a compressed tar archive with names relative to it.
///
/// # Errors
/// When the root cannot be read; files that cannot be are named after all others were sent.
pub fn copy(sender: &Sender<Data>, root: &str) -> Result<(), Status> {
    let root = absolute(root);
    let metadata = fs::symlink_metadata(&root).map_err(|error| to_status(&root, &error))?;
    let sink = Pieces { sender, buffer: Vec::with_capacity(COPY_BYTES) };
    let mut archive = tar::Builder::new(GzEncoder::new(sink, Compression::fast()));
    archive.follow_symlinks(false);
    let mut errors = Vec::new();
    if metadata.is_dir() {
        let mut pending = children(&root);
        while let Some(path) = pending.pop() {
            let name = path.strip_prefix(&root).unwrap_or(&path).to_owned();
            match append(&mut archive, &path, &name) {
                Ok(is_dir) if is_dir => pending.extend(children(&path)),
                Ok(_) => {}
                Err(error) => errors.push(format!("{}: {error}", path.display())),
            }
        }
    } else {
        let name = PathBuf::from(root.file_name().unwrap_or_default());
        append(&mut archive, &root, &name).map_err(|error| to_status(&root, &error))?;
    }
    let finish = archive.into_inner().and_then(GzEncoder::finish).and_then(|mut sink| sink.flush());
    finish.map_err(|error| Status::cancelled(error.to_string()))?;
    if errors.is_empty() { Ok(()) } else { Err(Status::unknown(errors.join("; "))) }
}

/// Adds one entry; tells whether it is a folder.
fn append<W: Write>(archive: &mut tar::Builder<W>, path: &Path, name: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_file() && metadata.len() == 0 {
        let mut contents = Vec::new();
        File::open(path)?.take(PSEUDO_FILE_BYTES_MAX).read_to_end(&mut contents)?;
        let mut header = tar::Header::new_gnu();
        header.set_metadata(&metadata);
        header.set_size(contents.len() as u64);
        archive.append_data(&mut header, name, contents.as_slice())?;
    } else if metadata.is_dir() || metadata.is_file() || metadata.is_symlink() {
        archive.append_path_with_name(path, name)?;
    }
    Ok(metadata.is_dir())
}

/// Collects what the compressor writes and sends it in pieces.
struct Pieces<'a> {
    sender: &'a Sender<Data>,
    buffer: Vec<u8>,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= COPY_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let bytes = Bytes::from(std::mem::take(&mut self.buffer));
        self.sender.blocking_send(Ok(data(bytes))).map_err(|_| io::Error::other("the client left"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use futures::StreamExt;

    use super::super::stream::from_blocking;
    use super::*;

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("sub")).expect("sub");
        fs::write(folder.path().join("sub/file"), b"hello").expect("file");
        symlink("sub/file", folder.path().join("link")).expect("link");
        folder
    }

    async fn names(request: ListRequest) -> Vec<String> {
        let entries = from_blocking(move |sender| list(sender, &request));
        entries.map(|entry| entry.expect("entry").relative_name).collect().await
    }

    #[tokio::test]
    async fn a_listing_is_one_level_deep_unless_asked() {
        let folder = tree();
        let root = folder.path().display().to_string();
        let flat = ListRequest { root: root.clone(), ..ListRequest::default() };
        assert_eq!(names(flat).await, [".", "link", "sub"]);
        let deep = ListRequest { root, recurse: true, ..ListRequest::default() };
        assert_eq!(names(deep).await, [".", "link", "sub", "sub/file"]);
    }

    #[tokio::test]
    async fn modes_are_those_of_go() {
        let folder = tree();
        let request = ListRequest {
            root: folder.path().display().to_string(),
            types: vec![Type::Symlink.into()],
            ..ListRequest::default()
        };
        let entries: Vec<_> = from_blocking(move |sender| list(sender, &request))
            .map(|entry| entry.expect("entry"))
            .collect()
            .await;
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].mode & go_mode::SYMLINK, go_mode::SYMLINK);
        assert_eq!(entries[0].link, "sub/file");
    }

    #[tokio::test]
    async fn only_regular_files_are_read() {
        let folder = tree();
        let root = folder.path().display().to_string();
        let file = format!("{root}/sub/file");
        let blocks: Vec<_> = from_blocking(move |sender| read(sender, &file)).collect().await;
        assert_eq!(blocks.len(), 1);
        assert_eq!(blocks[0].as_ref().expect("data").bytes.as_ref(), b"hello");
        let refused: Vec<_> = from_blocking(move |sender| read(sender, &root)).collect().await;
        assert_eq!(refused[0].as_ref().expect_err("refused").code(), tonic::Code::InvalidArgument);
        let missing: Vec<_> = from_blocking(move |sender| read(sender, "/no/such")).collect().await;
        assert_eq!(missing[0].as_ref().expect_err("missing").code(), tonic::Code::NotFound);
    }

    #[tokio::test]
    async fn a_copy_holds_names_relative_to_its_root() {
        let folder = tree();
        let root = folder.path().display().to_string();
        let pieces: Vec<_> = from_blocking(move |sender| copy(sender, &root)).collect().await;
        let bytes: Vec<u8> =
            pieces.into_iter().flat_map(|piece| piece.expect("data").bytes.to_vec()).collect();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let mut paths: Vec<String> = archive
            .entries()
            .expect("entries")
            .map(|entry| entry.expect("entry").path().expect("path").display().to_string())
            .collect();
        paths.sort();
        assert_eq!(paths, ["link", "sub", "sub/file"]);
    }
}
